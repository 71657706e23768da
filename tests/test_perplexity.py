"""The perplexity of a text: every token but the first counts once, whatever the number of streams."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import language_model, spread

from minilstm import NonFiniteError
from ulmfit import perplexity
from ulmfit.batching import LMBatches
from ulmfit.errors import InputError
from ulmfit.evaluation import lm_loss
from ulmfit.perplexity import text_perplexity, token_losses
from ulmfit.text import SPECIAL_TOKENS
from ulmfit.vocab import UNK_ID, Vocab

VOCAB = Vocab((*SPECIAL_TOKENS, "a", "b", "c", "."))
TEXTS = ["a b c .", "c c a", "b", "a . b . c ."]
MODEL = spread(language_model(len(VOCAB)), np.random.default_rng(1))


def ids_of(text):
    return np.array(VOCAB.encode(["xxbos", *text.split()]))


def long_text(n, seed=0):
    return np.random.default_rng(seed).integers(0, len(VOCAB), n)


class Unigram:
    """A language model without any memory: word k always has the logit k / 100."""

    def logits(self, ids, states=None):
        return np.broadcast_to(np.arange(700) / 100, (*ids.shape, 700)).copy(), states


@given(n=st.integers(2, 700), streams=st.integers(1, 12))
def test_every_token_has_its_own_loss_at_its_own_place(n, streams):
    ids = np.random.default_rng(n).permutation(n)
    expected = np.log(np.exp(np.arange(700) / 100).sum()) - ids[1:] / 100
    np.testing.assert_allclose(token_losses(Unigram(), ids, min(streams, n - 1)), expected, rtol=1e-9)


def test_one_stream_is_the_loss_of_the_validation():
    """Another way to the same number: train.lm_loss over batches of one stream, whatever the window."""
    result = text_perplexity(MODEL, VOCAB, TEXTS, "forward", batch_size=1)
    for bptt in (1, 3, 100):
        loss = lm_loss(MODEL, LMBatches([ids_of(t) for t in TEXTS], 1, bptt, 0, shuffle=False))
        assert result.perplexity == pytest.approx(math.exp(loss), rel=1e-10)
    assert result.bits_per_token == pytest.approx(math.log2(result.perplexity), rel=1e-12)
    assert (result.documents, result.tokens, result.streams, result.direction) == (4, 18, 1, "forward")


def test_a_backward_model_reads_each_document_from_its_end():
    result = text_perplexity(MODEL, VOCAB, iter(TEXTS), "backward", batch_size=1)
    loss = lm_loss(MODEL, LMBatches([ids_of(t)[::-1] for t in TEXTS], 1, 70, 0, shuffle=False))
    assert result.perplexity == pytest.approx(math.exp(loss), rel=1e-10) and result.direction == "backward"
    assert result.perplexity != pytest.approx(text_perplexity(MODEL, VOCAB, TEXTS, "forward").perplexity, rel=1e-3)


@pytest.mark.parametrize("streams", [2, 3, 7])
def test_streams_side_by_side_give_what_one_gives_thanks_to_their_warm_up(streams, monkeypatch):
    ids = long_text(1100)
    alone = token_losses(MODEL, ids, 1)
    np.testing.assert_allclose(token_losses(MODEL, ids, streams), alone, rtol=1e-4)
    monkeypatch.setattr(perplexity, "WARM_UP", 0)
    cold = token_losses(MODEL, ids, streams)
    starts = np.linspace(0, len(alone), streams + 1).astype(int)[1:-1]
    assert (abs(cold - alone)[starts] > 1e-2).all()


def test_the_window_changes_nothing(monkeypatch):
    ids = long_text(400)
    whole = token_losses(MODEL, ids, 3)
    monkeypatch.setattr(perplexity, "LOGITS_AT_ONCE", 7)
    np.testing.assert_allclose(token_losses(MODEL, ids, 3), whole, rtol=1e-12)


@pytest.mark.parametrize("n, batch_size, streams", [(999, 32, 1), (1999, 32, 1), (2000, 32, 2), (9000, 4, 4)])
def test_short_texts_get_fewer_streams(n, batch_size, streams):
    texts = [" ".join("abc"[k % 3] for k in range(n - 1))]
    result = text_perplexity(MODEL, VOCAB, texts, "forward", batch_size=batch_size)
    assert (result.tokens, result.streams) == (n, streams)


def test_unknown_words_are_one_word_and_are_left_out_of_the_second_number():
    texts = ["a zebra b <unk> gnu", "c"]
    ids = np.concatenate([VOCAB.encode("xxbos a xxunk b xxunk xxunk".split()), ids_of("c")])
    logits, _ = MODEL.logits(ids[:-1, None])
    p = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(axis=1, keepdims=True)
    losses = [-math.log(row[target]) for row, target in zip(p, ids[1:], strict=True)]
    known = [loss for loss, target in zip(losses, ids[1:], strict=True) if target != UNK_ID]
    result = text_perplexity(MODEL, VOCAB, texts, "forward")
    assert result.unknown_percent == pytest.approx(100 * 3 / 8)
    assert result.perplexity == pytest.approx(math.exp(np.mean(losses)), rel=1e-10)
    assert result.known_perplexity == pytest.approx(math.exp(np.mean(known)), rel=1e-10)


def test_where_all_is_unknown_nothing_is_left():
    result = text_perplexity(MODEL, VOCAB, ["zebra"], "forward")
    assert result.known_perplexity is None and result.unknown_percent == 50 and result.perplexity > 1


@pytest.mark.parametrize("texts", [[], [""]])
def test_a_text_that_is_too_short_is_refused(texts):
    with pytest.raises(InputError, match=f"the text has {len(texts)} tokens; a perplexity needs at least 2"):
        text_perplexity(MODEL, VOCAB, texts, "forward")


def test_a_model_that_has_diverged_is_no_measure():
    model = language_model(len(VOCAB))
    model.params["decoder.bias"][3] = np.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        text_perplexity(model, VOCAB, TEXTS, "forward")
