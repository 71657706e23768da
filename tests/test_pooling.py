import numpy as np
import pytest
from hypothesis import given
from problems import same_bits
from strategies import TBH, length_kinds, normal, seeds, some_lengths

from minilstm import concat_pool_backward, concat_pool_forward, gradcheck


def distinct(rng, *shape, dtype=np.float64):
    """Numbers with at least 1/8 between any two: no ties for the maximum."""
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) / 8 - n / 16).astype(dtype)


def backward(h, dpooled, lengths):
    return concat_pool_backward(dpooled, concat_pool_forward(h, lengths)[1])


@given(TBH=TBH, kind=length_kinds, seed=seeds)
def test_gradient(TBH, kind, seed):
    rng = np.random.default_rng(seed)
    h, lengths = distinct(rng, *TBH), some_lengths(rng, kind, *TBH[:2])
    zero = set() if lengths is None or lengths.any() else {("pooled", "h")}
    gradcheck(
        lambda a: {"pooled": concat_pool_forward(a["h"], lengths)[0]},
        lambda a, d: {"h": backward(a["h"], d["pooled"], lengths)},
        {"h": h},
        rng=rng,
        zero=zero,
        directions=2,
    )


@given(TBH=TBH, kind=length_kinds, seed=seeds)
def test_last_max_and_mean_of_what_is_there(TBH, kind, seed):
    T, B, H = TBH
    rng = np.random.default_rng(seed)
    h, lengths = distinct(rng, T, B, H), some_lengths(rng, kind, T, B)
    pooled, _ = concat_pool_forward(h, lengths)
    for b, n in enumerate([T] * B if lengths is None else lengths):
        row = h[:n, b]
        wanted = [row[-1], row.max(axis=0), row.mean(axis=0)] if n else [np.zeros(H)] * 3
        np.testing.assert_allclose(pooled[b], np.concatenate(wanted), rtol=1e-13)


@given(TBH=TBH, seed=seeds)
def test_what_lies_past_the_end_counts_nowhere(TBH, seed):
    T, B, H = TBH
    rng = np.random.default_rng(seed)
    h, lengths = distinct(rng, T, B, H, dtype=np.float32), rng.integers(0, T + 1, B)
    dpooled = normal(rng, B, 3 * H, dtype=np.float32)
    before = {"pooled": concat_pool_forward(h, lengths)[0], "dh": backward(h, dpooled, lengths)}
    past = np.arange(T)[:, None] >= lengths
    h[past] = np.finfo(np.float32).max
    dpooled[lengths == 0] = np.nan
    same_bits(before, {"pooled": concat_pool_forward(h, lengths)[0], "dh": backward(h, dpooled, lengths)})
    assert not before["dh"][past].any()
    assert {a.dtype for a in before.values()} == {np.dtype(np.float32)}


def test_full_lengths_are_no_lengths():
    rng = np.random.default_rng(0)
    h, dpooled = distinct(rng, 4, 2, 3), normal(rng, 2, 9)
    (a, cache_a), (b, cache_b) = concat_pool_forward(h), concat_pool_forward(h, [4, 4])
    assert (a == b).all()
    assert (concat_pool_backward(dpooled, cache_a) == concat_pool_backward(dpooled, cache_b)).all()


def test_of_equal_maxima_the_first_gets_the_gradient():
    h = np.ones((3, 1, 1))
    dh = backward(h, np.array([[0.0, 1.0, 0.0]]), None)
    assert dh.ravel().tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "h, lengths, error, message",
    [
        (np.ones((4, 3)), None, ValueError, r"h: expected shape \(T, B, H\), got \(4, 3\)"),
        (np.ones((4, 3, 2), int), None, TypeError, "h: expected a floating-point array, got dtype int64"),
        (np.ones((4, 3, 2)), [1, 2], ValueError, r"lengths: expected shape \(3,\), got \(2,\)"),
        (np.ones((4, 3, 2)), [1, 2, 5], ValueError, "lengths: expected values in 0..T = 4, got 5 in row 2"),
    ],
)
def test_bad_arguments(h, lengths, error, message):
    with pytest.raises(error, match=message):
        concat_pool_forward(h, lengths)


def test_bad_dpooled():
    with pytest.raises(ValueError, match=r"dpooled: expected shape \(3, 6\), got \(3, 2\)"):
        backward(np.ones((4, 3, 2)), np.ones((3, 2)), None)


def test_no_time_step_is_refused():
    with pytest.raises(ValueError, match=r"h: expected at least one time step, got shape \(0, 2, 3\)"):
        concat_pool_forward(np.zeros((0, 2, 3)))
