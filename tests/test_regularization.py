"""AR and TAR: their values and gradients, and what counts."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from problems import same_bits
from strategies import TBH, length_kinds, normal, seeds, some_lengths
from twice import plain_and_compiled  # noqa: F401

from minilstm import (
    activation_regularization_backward,
    activation_regularization_forward,
    gradcheck,
    temporal_activation_regularization_backward,
    temporal_activation_regularization_forward,
)

AR = (activation_regularization_forward, activation_regularization_backward)
TAR = (temporal_activation_regularization_forward, temporal_activation_regularization_backward)
both = pytest.mark.parametrize("penalty", [AR, TAR], ids=["ar", "tar"])
weights = st.floats(0.1, 4)


def undo(penalty, y, weight, lengths=None, dpenalty=1.0):
    forward, backward = penalty
    return backward(dpenalty, forward(y, weight, lengths)[1])


def rows(y, lengths):
    """What each text really holds: a list of arrays (n, H)."""
    T, B, _ = y.shape
    return [y[:n, b] for b, n in enumerate([T] * B if lengths is None else lengths)]


def mean_square(parts):
    numbers = np.concatenate([part.ravel() for part in parts])
    return (numbers**2).mean() if numbers.size else 0.0


@both
@given(TBH=TBH, kind=length_kinds, weight=weights, seed=seeds)
def test_gradient(penalty, TBH, kind, weight, seed):
    rng = np.random.default_rng(seed)
    y, lengths = normal(rng, *TBH), some_lengths(rng, kind, *TBH[:2])
    least = 1 if penalty is AR else 2  # a single word does not change
    nothing = TBH[0] < least if lengths is None else lengths.max() < least
    gradcheck(
        lambda a: {"penalty": penalty[0](a["y"], weight, lengths)[0]},
        lambda a, d: {"y": undo(penalty, a["y"], weight, lengths, d["penalty"])},
        {"y": y},
        rng=rng,
        zero={("penalty", "y")} if nothing else set(),
        directions=2,
    )


@given(TBH=TBH, kind=length_kinds, weight=weights, seed=seeds)
@example(TBH=(1, 2, 3), kind="none", weight=1.0, seed=0)  # one step: nothing to change
def test_the_means_are_over_what_is_there(TBH, kind, weight, seed):
    rng = np.random.default_rng(seed)
    y, lengths = normal(rng, *TBH), some_lengths(rng, kind, *TBH[:2])
    texts = rows(y, lengths)
    changes = [np.diff(text, axis=0) for text in texts]
    assert AR[0](y, weight, lengths)[0] == pytest.approx(weight * mean_square(texts), rel=1e-12)
    assert TAR[0](y, weight, lengths)[0] == pytest.approx(weight * mean_square(changes), rel=1e-12)


@both
@given(TBH=TBH, seed=seeds)
def test_what_lies_past_the_end_counts_nowhere(penalty, TBH, seed):
    rng = np.random.default_rng(seed)
    y, lengths = normal(rng, *TBH, dtype=np.float32), rng.integers(0, TBH[0] + 1, TBH[1])
    before = {"penalty": penalty[0](y, 2.0, lengths)[0], "dy": undo(penalty, y, 2.0, lengths)}
    past = np.arange(TBH[0])[:, None] >= lengths
    y[past] = np.finfo(np.float32).max * rng.choice([-1, 1], y[past].shape)
    same_bits(before, {"penalty": penalty[0](y, 2.0, lengths)[0], "dy": undo(penalty, y, 2.0, lengths)})
    assert before["dy"].dtype == np.float32 and not before["dy"][past].any()


@both
def test_full_lengths_are_no_lengths(penalty):
    y = normal(np.random.default_rng(0), 4, 2, 3)
    assert penalty[0](y, 2.0)[0] == penalty[0](y, 2.0, [4, 4])[0]
    assert (undo(penalty, y, 2.0) == undo(penalty, y, 2.0, [4, 4])).all()


@both
def test_y_is_left_alone_and_the_cache_serves_twice(penalty):
    y = normal(np.random.default_rng(0), 4, 2, 3)
    before = y.copy()
    _, cache = penalty[0](y, 2.0)
    first, second = penalty[1](1.0, cache), penalty[1](3.0, cache)
    np.testing.assert_allclose(second, 3 * first, rtol=1e-12)
    assert (y == before).all()


@both
@pytest.mark.parametrize(
    "y, lengths, error, message",
    [
        (np.ones((4, 3)), None, ValueError, r"y: expected shape \(T, B, H\), got \(4, 3\)"),
        (np.ones((4, 3, 2), int), None, TypeError, "y: expected a floating-point array, got dtype int64"),
        (np.ones((4, 3, 2)), [1, 2], ValueError, r"lengths: expected shape \(3,\), got \(2,\)"),
        (np.ones((4, 3, 2)), [1, 2, 5], ValueError, "lengths: expected values in 0..T = 4, got 5 in row 2"),
    ],
)
def test_bad_arguments(penalty, y, lengths, error, message):
    with pytest.raises(error, match=message):
        penalty[0](y, 1.0, lengths)
