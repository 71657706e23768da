"""Sampling from a language model: the words follow its probabilities, and it remembers what was said."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny import language_model, spread

from minilstm import NonFiniteError
from ulmfit.errors import InputError
from ulmfit.generate import NO_WORDS, draw_words, generate, next_word_probabilities
from ulmfit.text import SPECIAL_TOKENS
from ulmfit.vocab import Vocab

WORDS = ("a", "b", "c", "d", "e", ".")
VOCAB = Vocab((*SPECIAL_TOKENS, *WORDS))
MODEL = spread(language_model(len(VOCAB)), np.random.default_rng(2))
CONTEXT = VOCAB.encode(["xxbos", "a", "c", "b"])
logits_ = arrays(np.float64, st.integers(2, 30), elements=st.floats(-20, 20, width=32))


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def talkative(token, by=50.0):
    """The same model, with a strong wish to say this token."""
    model = spread(language_model(len(VOCAB)), np.random.default_rng(2))
    model.params["decoder.bias"][VOCAB.stoi[token]] += by
    return model


# --- one word


@given(z=logits_, temperature=st.floats(0.05, 20))
def test_with_nothing_left_out_it_is_the_softmax(z, temperature):
    p = next_word_probabilities(z, temperature=temperature)
    np.testing.assert_allclose(p, softmax(z / temperature), atol=1e-12)


@given(z=logits_, k=st.integers(1, 40))
def test_top_k_leaves_the_k_likeliest_in_their_proportions(z, k):
    p, whole = next_word_probabilities(z, top_k=k), softmax(z)
    left = p > 0
    assert left.sum() == min(k, len(z)) and p.sum() == pytest.approx(1, abs=1e-12)
    assert left.all() or z[left].min() >= z[~left].max()
    np.testing.assert_allclose(p[left], whole[left] / whole[left].sum(), rtol=1e-9)


@given(z=logits_, top_p=st.floats(0.01, 0.99))
def test_top_p_leaves_the_fewest_that_have_this_share(z, top_p):
    p, whole = next_word_probabilities(z, top_p=top_p), softmax(z)
    left = np.sort(whole[p > 0])
    assert left.sum() >= top_p - 1e-9 and left[1:].sum() < top_p + 1e-9
    assert (p == 0).sum() == 0 or left[0] >= whole[p == 0].max()
    np.testing.assert_allclose(p[p > 0], whole[p > 0] / left.sum(), rtol=1e-9)


@given(z=logits_, temperature=st.sampled_from([0.0, 1.0, 3.0]), data=st.data())
def test_what_is_forbidden_has_no_chance_and_takes_no_place(z, temperature, data):
    forbidden = data.draw(st.lists(st.integers(0, len(z) - 1), max_size=len(z) - 1, unique=True))
    p = next_word_probabilities(z, temperature=temperature, top_k=3, forbidden=forbidden)
    allowed = np.delete(np.arange(len(z)), forbidden)
    assert (p[forbidden] == 0).all() and p.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(p[allowed], next_word_probabilities(z[allowed], temperature=temperature, top_k=3))


@given(z=logits_, temperature=st.sampled_from([0.0, 1e-300, 5e-324]))
def test_without_any_warmth_it_is_the_likeliest_word(z, temperature):
    p = next_word_probabilities(z, temperature=temperature)
    likeliest = z == z.max()  # a tiny temperature leaves a chance to all of these; 0 takes the first
    assert (p[~likeliest] == 0).all() and (temperature > 0 or p[z.argmax()] == 1)


def test_huge_numbers_do_no_harm():
    assert next_word_probabilities(np.float32([3e38, -3e38, 0]), temperature=1e-3).tolist() == [1, 0, 0]
    np.testing.assert_allclose(next_word_probabilities(np.array([5.0, 1.0]), temperature=1e300), 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_that_has_diverged_says_nothing(bad):
    with pytest.raises(NonFiniteError, match="training diverged"):
        next_word_probabilities(np.array([0.0, bad]))


@pytest.mark.parametrize("name, wanted, values", [
    ("temperature", "a number from 0 up", (-1.0, -1e-9, np.nan, np.inf)),
    ("top_p", "above 0 and at most 1", (0.0, -0.5, 1.0000001, np.nan)),
    ("top_k", "a whole number from 1 up", (0, -3)),
])  # fmt: skip
def test_what_nothing_can_be_drawn_with(name, wanted, values):
    for value in values:
        with pytest.raises(InputError, match=f"^{name}: expected {wanted}, got {value:g}$"):
            next_word_probabilities(np.array([1.0, 3.0, 2.0]), **{name: value})
        with pytest.raises(InputError, match=f"^{name}: "):
            generate(MODEL, VOCAB, "forward", "a", **{name: value})


# --- many words


@pytest.mark.parametrize("how", [{}, {"temperature": 0.5}, {"top_k": 4}, {"top_p": 0.7}, {"forbidden": [0, 9]}])
def test_words_are_drawn_as_often_as_they_are_likely(how):
    """Pearson's chi-square, which for one seed in a thousand is beyond the bound (Wilson and Hilferty 1931)."""
    logits, _ = MODEL.logits(np.reshape(CONTEXT, (-1, 1)))
    z = logits[-1, 0] / how.get("temperature", 1.0)
    z[how.get("forbidden", [])] = -np.inf
    expected, n = softmax(z), 1000
    order = np.argsort(-expected)
    n_left = how.get("top_k") or int(np.searchsorted(np.cumsum(expected[order]), how.get("top_p", 2.0))) + 1
    expected[order[n_left:]] = 0
    expected *= n / expected.sum()
    rng, left = np.random.default_rng(0), expected > 0
    seen = np.bincount([next(draw_words(MODEL, CONTEXT, rng, **how)) for _ in range(n)], minlength=len(VOCAB))
    chi_square, k = ((seen - expected)[left] ** 2 / expected[left]).sum(), left.sum() - 1
    assert not seen[~left].any() and k >= 3
    assert chi_square < k * (1 - 2 / (9 * k) + 3.09 * np.sqrt(2 / (9 * k))) ** 3


@pytest.mark.parametrize("how", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}])
def test_greedy_words_are_those_of_reading_everything_anew(how):
    """The states that are carried from word to word are those of the whole text so far, prompt and all."""
    context = list(CONTEXT)
    for id in islice(draw_words(MODEL, CONTEXT, np.random.default_rng(0), **how), 12):
        logits, _ = MODEL.logits(np.reshape(context, (-1, 1)))
        assert id == logits[-1, 0].argmax()
        context.append(id)
    assert len(set(context)) > 3  # it does not say the same word all the time


def test_later_words_are_drawn_from_what_was_said_before():
    words = list(islice(draw_words(MODEL, CONTEXT, np.random.default_rng(5)), 10))
    rng, context = np.random.default_rng(5), list(CONTEXT)
    for id in words:
        logits, _ = MODEL.logits(np.reshape(context, (-1, 1)))
        assert id == rng.choice(len(VOCAB), p=softmax(logits[-1, 0]))
        context.append(id)


# --- a text


def test_a_seed_decides_the_text():
    texts = [generate(MODEL, VOCAB, "forward", "a b", seed=seed) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) == 3


def test_the_prompt_is_kept_with_words_that_the_model_does_not_know():
    assert generate(MODEL, VOCAB, "forward", "Zebra a, b", n_tokens=5).startswith("Zebra a, b")


@pytest.mark.parametrize("token", NO_WORDS)
def test_it_does_not_say_what_is_no_word_unless_it_may(token):
    model = talkative(token)
    text = generate(model, VOCAB, "forward", "a", n_tokens=40)
    assert "unk" not in text and "xx" not in text
    assert ("<unk>" in generate(model, VOCAB, "forward", "a", n_tokens=40, unknown=True)) == (token == "xxunk")


def test_a_text_has_at_most_so_many_tokens_and_ends_where_another_begins():
    model = talkative("d")
    assert generate(model, VOCAB, "forward", "a", n_tokens=7) == "a d d d d d d d"
    assert generate(talkative("xxbos"), VOCAB, "forward", "a b.", n_tokens=7) == "a b."


class Listener:
    """A language model that remembers what it was given to read, and says a, then b, ..."""

    def __init__(self):
        self.read = []

    def logits(self, ids, states=None):
        self.read += VOCAB.decode(ids[:, 0].tolist())
        said = states or 0
        z = np.zeros((*ids.shape, len(VOCAB)))
        z[-1, 0, VOCAB.stoi[WORDS[said]]] = 100.0
        return z, said + 1


def test_a_forward_model_goes_on():
    model = Listener()
    assert generate(model, VOCAB, "forward", "e d.", n_tokens=3) == "e d. a b c"
    assert model.read[:6] == ["xxbos", "e", "d", ".", "a", "b"]


def test_a_backward_model_takes_the_prompt_for_the_end():
    model = Listener()
    assert generate(model, VOCAB, "backward", "e d.", n_tokens=3) == "c b a e d."
    assert model.read[:6] == ["xxbos", ".", "d", "e", "a", "b"]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_without_a_prompt_a_text_of_its_own(direction):
    model = Listener()
    said = generate(model, VOCAB, direction, n_tokens=2)
    assert said == {"forward": "a b", "backward": "b a"}[direction] and model.read[:2] == ["xxbos", "a"]


def test_a_direction_is_one_of_two():
    with pytest.raises(InputError, match="direction: expected forward or backward, got 'sideways'"):
        generate(None, None, "sideways")
