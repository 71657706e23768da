import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import same_bits
from strategies import BH, TBH, length_kinds, normal, seeds, some_lengths

from minilstm import concat_pool_backward, concat_pool_forward, gradcheck
from minilstm.pooling import concat_pools, pool_window_backward, pool_window_forward


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


# --- in windows

window_lengths = st.lists(st.integers(1, 4), min_size=1, max_size=4)  # T of each


def some_windows(rng, Ts, B, H, dtype=np.float64):
    """-> h (T, B, H) of each window, lengths (B,) of each: gaps anywhere"""
    h = distinct(rng, sum(Ts), B, H, dtype=dtype)
    return np.split(h, np.cumsum(Ts)[:-1]), [rng.integers(0, T + 1, B) for T in Ts]


def pool_all(windows, lengths):
    pools, caches = None, []
    for h, n in zip(windows, lengths, strict=True):
        pools, cache = pool_window_forward(h, n, pools)
        caches.append(cache)
    return pools, caches


@given(Ts=window_lengths, BH=BH, seed=seeds)
def test_windows_come_to_what_their_words_come_to_side_by_side(Ts, BH, seed):
    rng = np.random.default_rng(seed)
    windows, lengths = some_windows(rng, Ts, *BH)
    pooled = concat_pools(pool_all(windows, lengths)[0])
    for b in range(BH[0]):
        row = np.concatenate([h[: n[b], b] for h, n in zip(windows, lengths, strict=True)])
        wanted = [row[-1], row.max(axis=0), row.mean(axis=0)] if len(row) else [np.zeros(BH[1])] * 3
        np.testing.assert_allclose(pooled[b], np.concatenate(wanted), rtol=1e-13, atol=1e-13)


@given(Ts=window_lengths, BH=BH, seed=seeds)
def test_gradient_of_every_window(Ts, BH, seed):
    rng = np.random.default_rng(seed)
    windows, lengths = some_windows(rng, Ts, *BH)

    def forward(a):
        return {"pooled": concat_pools(pool_all(a.values(), lengths)[0])}

    def undo(a, d):
        pools, caches = pool_all(a.values(), lengths)
        return {name: pool_window_backward(d["pooled"], pools, c) for name, c in zip(a, caches, strict=True)}

    inputs = {f"h{n}": h for n, h in enumerate(windows)}
    zero = {("pooled", name) for name, n in zip(inputs, lengths, strict=True) if not n.any()}
    gradcheck(forward, undo, inputs, rng=rng, zero=zero)


@given(Ts=window_lengths, BH=BH, seed=seeds)
def test_what_lies_past_the_end_of_any_window_counts_nowhere(Ts, BH, seed):
    rng = np.random.default_rng(seed)
    windows, lengths = some_windows(rng, Ts, *BH, dtype=np.float32)
    dpooled = normal(rng, BH[0], 3 * BH[1], dtype=np.float32)

    def everything():
        pools, caches = pool_all(windows, lengths)
        dh = {f"dh{n}": pool_window_backward(dpooled, pools, cache) for n, cache in enumerate(caches)}
        return {"pooled": concat_pools(pools), **dh}

    before = everything()
    for n, (h, length) in enumerate(zip(windows, lengths, strict=True)):
        past = np.arange(len(h))[:, None] >= length
        h[past] = np.finfo(np.float32).max
        assert not before[f"dh{n}"][past].any() and before[f"dh{n}"].dtype == np.float32
    same_bits(before, everything())


def test_of_equal_maxima_in_two_windows_the_first_gets_the_gradient():
    pools, caches = pool_all([np.ones((2, 1, 1))] * 2, [[2], [2]])
    dh = [pool_window_backward(np.array([[0.0, 1.0, 0.0]]), pools, cache).ravel().tolist() for cache in caches]
    assert dh == [[1, 0], [0, 0]]


def test_a_number_that_is_not_finite_is_not_hidden():
    windows = [np.ones((1, 1, 2)), np.full((1, 1, 2), np.nan)]
    assert np.isnan(concat_pools(pool_all(windows, [[1], [1]])[0])).all()
