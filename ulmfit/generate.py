"""Text from a language model: read the prompt, draw a next word, read that, draw another.

A model that reads backward takes the prompt for the end of a text and says, from its last word to its first, what
comes before it.
"""

from itertools import islice

import numpy as np

from minilstm import NonFiniteError, to_numpy

from .batching import encode
from .config import DIRECTIONS, NOT_NEGATIVE, SHARE, Limit, whole
from .errors import InputError
from .text import BOS, EOS, FLD, PAD, UNK, detokenize, tokenize
from .vocab import Vocab

NO_WORDS = (UNK, PAD, EOS, FLD)  # no text has any of them, but for xxunk
LIMITS = {"temperature": NOT_NEGATIVE, "top_k": whole(1), "top_p": Limit("above 0 and at most 1", SHARE.holds)}


def generate(model, vocab: Vocab, direction, prompt="", *, n_tokens=100, seed=1, unknown=False, **how) -> str:
    """The prompt with at most n_tokens more tokens, as readable text. It ends earlier where the model begins another.

    how: temperature, top_k and top_p of `next_word_probabilities`; unknown: whether it may say <unk>.
    """
    if direction not in DIRECTIONS:
        raise InputError(f"direction: expected {' or '.join(DIRECTIONS)}, got {direction!r}")
    tokens = tokenize(prompt)
    forbidden = vocab.encode(NO_WORDS[1:] if unknown else NO_WORDS)
    # between two documents there is an xxbos: at a text's beginning, and as a backward model reads, before its end
    context = [vocab.stoi[BOS], *encode(tokens[1:], vocab, direction)]
    drawn = islice(draw_words(model, context, np.random.default_rng(seed), forbidden=forbidden, **how), n_tokens)
    said = []
    for id in drawn:
        if id == vocab.stoi[BOS]:
            break
        said.append(vocab.itos[id])
    return detokenize([*reversed(said), *tokens[1:]] if direction == "backward" else [*tokens[1:], *said])


def check_sampling(**how):
    """Raise InputError for the first of LIMITS that does not hold; a top_k of None is no limit."""
    for name, value in how.items():
        if value is not None and not LIMITS[name].holds(value):
            raise InputError(f"{name}: expected {LIMITS[name].words}, got {value:g}")


def draw_words(model, context, rng, **how):
    """Word ids without end, each drawn from what the model expects after all before it; its states are carried.

    context: word ids, at least one, in the order in which the model reads. how: see `next_word_probabilities`.
    """
    logits, states = model.logits(np.reshape(context, (-1, 1)))  # (T, 1, V)
    while True:
        p = next_word_probabilities(to_numpy(logits[-1, 0]), **how)
        id = int(rng.choice(len(p), p=p))
        yield id
        logits, states = model.logits(np.array([[id]]), states)


def next_word_probabilities(logits, *, temperature=1.0, top_k=None, top_p=1.0, forbidden=()) -> np.ndarray:
    """logits (V,) -> probabilities (V,), float64, that add up to 1

    temperature: below 1 likely words become likelier, above 1 less so; at 0 only the likeliest is left. Of the words
    that are not forbidden the top_k likeliest stay; and of these the fewest that have a share of top_p.
    Raises InputError for a temperature, top_k or top_p that cannot be, and NonFiniteError for logits that are not
    finite: training diverged.
    """
    check_sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    if not np.isfinite(logits).all():
        raise NonFiniteError("the model's answers are not finite, so its training diverged: lower its rate")
    z = np.array(logits, np.float64)
    z[list(forbidden)] = -np.inf
    order = np.argsort(-z, kind="stable")[: top_k if temperature > 0 else 1]  # the likeliest first
    with np.errstate(over="ignore"):  # of a tiny temperature
        p = np.exp((z[order] - z[order[0]]) / (temperature or 1))
    p /= p.sum()
    if top_p < 1:
        p[np.cumsum(p) - p >= top_p] = 0  # never the first
    result = np.zeros(len(z))
    result[order] = p / p.sum()
    return result
