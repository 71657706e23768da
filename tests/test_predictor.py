"""Text in, class probabilities out: the same for a text alone as in any company."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import classifier, spread

from ulmfit.batching import encode
from ulmfit.errors import InputError
from ulmfit.model_files import Loaded, save_model
from ulmfit.predictor import Predictor
from ulmfit.progress import Silent
from ulmfit.text import SPECIAL_TOKENS, tokenize
from ulmfit.vocab import Vocab

WORDS = ["who", "is", "the", "man", "?", "paris"]
VOCAB = Vocab((*SPECIAL_TOKENS, *WORDS))
CLASSES = ("a", "b", "c")


def loaded(direction="forward", seed=0, vocab=VOCAB, classes=CLASSES, max_tokens=1400, bptt=70):
    rng = np.random.default_rng(seed)
    model = spread(classifier(len(vocab), C=len(classes), dtype=np.float32), rng)
    stats = tuple(type(s)(*(rng.random(a.shape).astype(np.float32) + 0.1 for a in s)) for s in model.initial_stats())
    return Loaded(model, vocab, direction, classes, stats, max_tokens, bptt)


PREDICTOR = Predictor([loaded()])
words = st.lists(st.sampled_from([*WORDS, "Unknown", "é", "\ud800", "!!!"]), min_size=1, max_size=30)
texts = st.lists(words.map(" ".join), min_size=1, max_size=9)


@given(texts=texts)
def test_a_text_alone_and_in_a_batch_has_the_same_label_and_probabilities(texts):
    together = PREDICTOR.predict_proba(texts)
    assert together.shape == (len(texts), 3)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-12)
    for text, p in zip(texts, together, strict=True):
        alone = PREDICTOR.predict_proba([text])[0]
        assert abs(alone - p).max() < 1e-5
        assert alone.argmax() == p.argmax() or np.sort(p)[-1] - np.sort(p)[-2] < 1e-5


@given(texts=texts, seed=st.integers(0, 99))
def test_the_order_of_the_texts_is_kept(texts, seed):
    order = np.random.default_rng(seed).permutation(len(texts))
    shuffled = PREDICTOR.predict_proba([texts[n] for n in order])
    np.testing.assert_allclose(shuffled, PREDICTOR.predict_proba(texts)[order], atol=1e-5)


def test_a_long_text_in_the_batch_changes_nothing_for_the_short_ones():
    short, long = "who is the man ?", "paris is the man " * 300
    assert len(tokenize(long)) > 1000 > len(tokenize(short))  # words that do not change would be counted, not read
    alone, p = PREDICTOR.predict_proba([short]), PREDICTOR.predict_proba([long, short])
    assert abs(alone[0] - p[1]).max() < 1e-5


def test_labels_are_the_most_probable_classes():
    texts = ["who ?", "paris paris", "the man is"]
    p = PREDICTOR.predict_proba(texts)
    assert PREDICTOR.predict(texts) == [CLASSES[n] for n in p.argmax(axis=1)]
    assert len(set(map(tuple, p.round(4)))) == 3  # the model does look at the text


def test_a_single_string_is_one_text_and_a_generator_is_as_good_as_a_list():
    assert (PREDICTOR.predict_proba("who ?") == PREDICTOR.predict_proba(["who ?"])).all()
    assert PREDICTOR.predict_proba(t for t in ["a", "b"]).shape == (2, 3)


def test_no_texts_give_no_answers_and_a_text_of_no_words_one():
    assert PREDICTOR.predict_proba([]).shape == (0, 3) and PREDICTOR.predict([]) == []
    blank = PREDICTOR.predict_proba(["", " \n", "\u2028", "\x00"])
    np.testing.assert_allclose(blank.sum(axis=1), 1, rtol=1e-6)
    assert (blank[:3] == blank[0]).all() and PREDICTOR.predict("") == [CLASSES[blank[0].argmax()]]


@pytest.mark.parametrize("ask", [PREDICTOR.predict, PREDICTOR.predict_proba, PREDICTOR.predict_proba_each])
@pytest.mark.parametrize("texts, where, kind", [(["ok", None], 1, "NoneType"), ([3.5], 0, "float"), ([[]], 0, "list")])
def test_what_is_no_text_is_refused_by_its_index(ask, texts, where, kind):
    with pytest.raises(TypeError, match=rf"^texts\[{where}\]: expected a str, got {kind}$"):
        ask(texts)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_text_is_read_in_the_classifiers_windows(direction):
    part = loaded(direction, bptt=2, max_tokens=4)
    texts = ["who is the man ? paris", "the ?", "\x00"]
    p = Predictor([part]).predict_proba(texts)
    for text, row in zip(texts, p, strict=True):
        ids = encode(tokenize(text), VOCAB, direction)
        logits, _, _ = part.model.forward(ids[:, None], [len(ids)], part.stats, bptt=2, max_tokens=4)
        np.testing.assert_allclose(row, np.exp(logits[0]) / np.exp(logits[0]).sum(), atol=1e-5)
    assert abs(p[0] - Predictor([loaded(direction)]).predict_proba(texts)[0]).max() > 1e-3  # not all of it is pooled
    assert abs(p[0] - Predictor([part]).predict_proba("man " + texts[0])[0]).max() > 1e-4  # but all of it is read


def test_a_very_long_text_can_be_read():
    p = Predictor([loaded()]).predict_proba(["who " + "is the " * 3_000, "who ?"])
    assert p.shape == (2, 3) and np.isfinite(p).all()


def test_ids_are_turned_round_for_a_backward_model():
    tokens = tokenize("who is the man ?")  # xxbos who is the man ?
    ids = VOCAB.encode(tokens)
    assert encode(tokens, VOCAB, "forward").tolist() == ids
    assert encode(tokens, VOCAB, "backward").tolist() == ids[::-1]


def test_two_directions_average_their_probabilities():
    """Each with a vocabulary of its own."""
    other = Vocab((*SPECIAL_TOKENS, *reversed(WORDS)))
    parts = [loaded("forward", 0), loaded("backward", 1, vocab=other)]
    texts = ["who is the man ?", "paris", "Who ? who !"]
    each = [Predictor([part]).predict_proba(texts) for part in parts]
    np.testing.assert_allclose(Predictor(parts).predict_proba(texts), (each[0] + each[1]) / 2, atol=1e-12)
    assert (abs(each[0] - each[1]) > 1e-3).any()
    backwards = Predictor([loaded("backward", 0)]).predict_proba(["who is the man ?"])
    assert abs(backwards - each[0][0]).max() > 1e-4  # it does read from the other end


def test_two_directions_must_have_the_same_classes():
    with pytest.raises(InputError, match="do not have the same classes"):
        Predictor([loaded(), loaded("backward", classes=("a", "c", "b"))])


def saved(folder, part):
    rest = {"classes": part.classes, "stats": part.stats, "max_tokens": part.max_tokens, "bptt": part.bptt}
    save_model(folder, part.model, part.vocab, part.direction, **rest)


def test_a_run_of_one_direction_and_of_both_can_be_loaded(tmp_path):
    forward, backward = loaded(), loaded("backward", 1)
    saved(tmp_path / "one", forward)
    saved(tmp_path / "both" / "forward", forward)
    saved(tmp_path / "both" / "backward", backward)
    texts = ["who is the man ?", "paris"]
    one = Predictor.load(tmp_path / "one").predict_proba(texts)
    np.testing.assert_allclose(one, PREDICTOR.predict_proba(texts), atol=1e-6)
    both = Predictor.load(str(tmp_path / "both"))
    assert [c.direction for c in both.classifiers] == ["forward", "backward"]
    expected = Predictor([forward, backward]).predict_proba(texts)
    np.testing.assert_allclose(both.predict_proba(texts), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_a_folder_without_a_run_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        Predictor.load(tmp_path / name)


@pytest.mark.parametrize("done", [(), ("forward",)])
def test_a_run_that_was_stopped_does_not_answer_with_half_of_its_models(done, tmp_path):
    run = tmp_path / "a run"
    for direction in done:
        saved(run / direction, loaded(direction))
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(InputError, match="not finished; .*to go on: ulmfit run --resume --out '.*/a run'$"):
        Predictor.load(run)
    if not done:
        (run / "metrics.json").write_text("{}")  # there is nothing to resume: the model was taken away
        with pytest.raises(InputError, match="no model.safetensors in it"):
            Predictor.load(run)
        (run / "metrics.json").unlink()
    saved(run / "forward", loaded("forward"))
    saved(run / "backward", loaded("backward", seed=1))  # now it is all there, and the test is about to begin
    assert len(Predictor.load(run).classifiers) == 2
    assert len(Predictor.load(run / "forward").classifiers) == 1


def test_a_saved_classifier_reads_texts_as_it_did_in_training(tmp_path):
    part = loaded(max_tokens=4, bptt=2)
    saved(tmp_path, part)
    text = "man man who is paris"
    p = Predictor.load(tmp_path).predict_proba(text)
    np.testing.assert_allclose(p, Predictor([part]).predict_proba(text), atol=1e-6)
    for other in (loaded(max_tokens=4), loaded(max_tokens=2, bptt=2), loaded()):
        assert np.abs(p - Predictor([other]).predict_proba(text)).max() > 1e-4


def test_how_far_the_reading_is_can_be_followed():
    told = []

    class Progress(Silent):
        def reads(self, n, total):
            told.append((n, total))

        def end(self):
            told.append("end")

    texts = ["a b c"] * 130 + ["b a " * 40]  # more than one batch
    each = PREDICTOR.predict_proba_each(texts, Progress())
    assert (each == PREDICTOR.predict_proba_each(texts)).all()
    *reads, (n, total), end = told
    assert end == "end" and n == total == len(PREDICTOR.classifiers) * sum(len(tokenize(text)) for text in texts)
    assert len(reads) == 1 and reads == sorted(reads)


def test_a_predictor_has_a_classifier():
    with pytest.raises(InputError, match="classifiers: expected at least one, got none"):
        Predictor([])
