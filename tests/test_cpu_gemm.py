"""The three products of a linear layer: exact on whole numbers, of any shape, for any number of threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_cpu import both_dtypes, team_of, whole
from strategies import seeds

from minilstm_kernels.cpu_gemm import ROW_BLOCK, linear_dweight, linear_dx, linear_forward
from minilstm_kernels.cpu_tile import KC, strip

rows, sizes, members = st.integers(0, 70), st.integers(1, 150), st.sampled_from([1, 2, 3, 5])
LARGE = [  # more than one block of k and of rows, and the last ones not full
    (ROW_BLOCK + 5, KC + 3, 131),
    (2 * ROW_BLOCK + 1, 2 * KC + 1, 65),
    (KC + 7, 33, ROW_BLOCK + 7),
    (2 * KC + 2, 70, 2 * ROW_BLOCK + 20),
    (1, KC, 300),
    (3, KC + 1, 1),
]
large = pytest.mark.parametrize("M, K, N", LARGE, ids=str)
GUARD = 99


class Guarded:
    """An array to be written, full of NaN at first, with rows before and behind it that nobody may touch."""

    def __init__(self, *shape, dtype):
        self.around = np.full((shape[0] + 4, *shape[1:]), GUARD, dtype)
        self.inside = self.around[2:-2]
        self.inside[...] = np.nan

    def assert_equal(self, want):
        np.testing.assert_array_equal(self.inside, want)
        assert (self.around[:2] == GUARD).all() and (self.around[-2:] == GUARD).all()


def check_forward(M, K, N, dtype, n_threads, seed):
    rng = np.random.default_rng(seed)
    x, weight, bias = whole(rng, M, K, dtype=dtype), whole(rng, N, K, dtype=dtype), whole(rng, N, dtype=dtype)
    kept, out = [a.copy() for a in (x, weight, bias)], Guarded(M, N, dtype=dtype)
    with team_of(n_threads):
        packed = linear_forward(x, weight, bias, out.inside)
        out.assert_equal(x @ weight.T + bias)
        linear_forward(x, weight, None, out.inside)
        out.assert_equal(x @ weight.T)
        again = whole(rng, M + 3, K, dtype=dtype)
        out = Guarded(M + 3, N, dtype=dtype)
        linear_forward(again, weight, bias, out.inside, packed=packed)
        out.assert_equal(again @ weight.T + bias)
    assert all((a == b).all() for a, b in zip(kept, (x, weight, bias), strict=True))


def check_dx(M, K, N, dtype, n_threads, seed):
    rng = np.random.default_rng(seed)
    dy, weight, out = whole(rng, M, K, dtype=dtype), whole(rng, K, N, dtype=dtype), Guarded(M, N, dtype=dtype)
    with team_of(n_threads):
        packed = linear_dx(dy, weight, out.inside)
        out.assert_equal(dy @ weight)
        out.inside[...] = np.nan
        linear_dx(dy, weight, out.inside, packed=packed)
        out.assert_equal(dy @ weight)


def check_dweight(M, widths, N, dtype, n_threads, seed):
    rng = np.random.default_rng(seed)
    dy, xs = whole(rng, M, N, dtype=dtype), [whole(rng, M, K, dtype=dtype) for K in widths]
    outs, dbias = [Guarded(N, K, dtype=dtype) for K in widths], Guarded(N, dtype=dtype)
    with team_of(n_threads):
        for times, add in ((1, False), (2, True), (1, False)):
            linear_dweight(dy, xs, [o.inside for o in outs], dbias.inside, add=add)
            for out, x in zip(outs, xs, strict=True):
                out.assert_equal(times * dy.T @ x)
            dbias.assert_equal(times * dy.sum(axis=0))


@both_dtypes
@given(M=rows, K=sizes, N=sizes, n_threads=members, seed=seeds)
def test_forward(dtype, M, K, N, n_threads, seed):
    check_forward(M, K, N, dtype, n_threads, seed)


@both_dtypes
@given(M=rows, K=sizes, N=sizes, n_threads=members, seed=seeds)
def test_dx(dtype, M, K, N, n_threads, seed):
    check_dx(M, K, N, dtype, n_threads, seed)


@both_dtypes
@given(M=rows, widths=st.lists(sizes, min_size=1, max_size=2), N=sizes, n_threads=members, seed=seeds)
def test_dweight(dtype, M, widths, N, n_threads, seed):
    check_dweight(M, widths, N, dtype, n_threads, seed)


@both_dtypes
@large
def test_blocks(M, K, N, dtype):
    check_forward(M, K, N, dtype, 3, seed=0)
    check_dx(M, K, N, dtype, 3, seed=1)
    check_dweight(M, (K, 17), N, dtype, 3, seed=2)


@both_dtypes
@settings(max_examples=30)
@given(N=st.integers(1, 100), seed=seeds, data=st.data())
def test_columns_in_another_order(dtype, N, seed, data):
    """Any rows of the weight in any order: runs of neighbours (those are packed by squares), and columns of zeros."""
    runs = st.builds(lambda start, n: list(range(start, min(start + n, N))), st.integers(0, N - 1), st.integers(1, 40))
    pieces = st.one_of(runs, st.integers(1, 20).map(lambda n: [-1] * n), st.permutations(range(min(N, 20))))
    order = np.array(sum(data.draw(st.lists(pieces, min_size=1, max_size=6), label="order"), []))
    rng = np.random.default_rng(seed)
    x, weight, bias = (whole(rng, *s, dtype=dtype) for s in ((5, 37), (N, 37), (N,)))
    out = Guarded(5, len(order), dtype=dtype)
    with team_of(2):
        for b in (bias, None):
            linear_forward(x, weight, b, out.inside, order=order)
            want = x @ weight[order].T + (0 if b is None else b[order])
            out.assert_equal(np.where(order < 0, 0, want))


@both_dtypes
def test_an_order_that_only_begins_and_ends_like_neighbours(dtype):
    N = strip(dtype)
    rng = np.random.default_rng(0)
    x, weight, out = whole(rng, 4, N, dtype=dtype), whole(rng, N, N, dtype=dtype), Guarded(4, N, dtype=dtype)
    for middle in ([2, 1], [-1, 2], [5, 5]):
        order = np.arange(N)
        order[1:3] = middle
        linear_forward(x, weight, None, out.inside, order=order)
        out.assert_equal(np.where(order < 0, 0, x @ weight[order].T))


@both_dtypes
def test_no_columns_in_x_leave_the_bias(dtype):
    out, bias = Guarded(3, 5, dtype=dtype), np.arange(5, dtype=dtype)
    linear_forward(np.zeros((3, 0), dtype), np.zeros((5, 0), dtype), bias, out.inside)
    out.assert_equal(np.broadcast_to(bias, (3, 5)))


def products(dtype, M=50, K=KC + 40, N=140, seed=0):
    """-> by name all results on numbers that are not whole"""
    rng = np.random.default_rng(seed)
    x, weight, bias, dy = (rng.standard_normal(s).astype(dtype) for s in ((M, K), (N, K), N, (M, N)))
    y, dx, dweight, dbias = (np.empty(s, dtype) for s in ((M, N), (M, K), (N, K), N))
    linear_forward(x, weight, bias, y)
    linear_dx(dy, weight, dx)
    linear_dweight(dy, [x], [dweight], dbias)
    return (x, weight, bias, dy), {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}


@both_dtypes
def test_errors_are_those_of_rounding(dtype):
    """Beside longer numbers: a sum of n terms, taken one by one, is wrong by less than n/2 roundings of its terms."""
    (x, weight, bias, dy), results = products(dtype, K=200)
    a = {"y": (x, weight.T), "dx": (dy, weight), "dweight": (dy.T, x), "dbias": (dy.T, np.ones((len(dy), 1), dtype))}
    for name, (left, right) in a.items():
        exact = (left.astype(np.longdouble) @ right.astype(np.longdouble)).reshape(results[name].shape)
        scale = (abs(left) @ abs(right)).reshape(exact.shape)
        if name == "y":
            exact, scale = exact + bias, scale + abs(bias)
        assert (abs(results[name] - exact) <= 0.5 * np.finfo(dtype).eps * (left.shape[1] + 1) * scale).all(), name


@both_dtypes
def test_any_number_of_threads_gives_the_same_bits(dtype):
    _, alone = products(dtype, M=ROW_BLOCK + 9)
    for n in (1, 2, 3, 5):
        with team_of(n):
            _, together = products(dtype, M=ROW_BLOCK + 9)
        for name, a in alone.items():
            assert a.tobytes() == together[name].tobytes(), f"{name}, {n} threads"


@both_dtypes
def test_a_row_alone_has_the_bits_it_has_in_a_batch(dtype):
    (x, weight, bias, dy), batch = products(dtype)
    for r in range(len(x)):
        y, dx = np.empty((1, len(weight)), dtype), np.empty((1, x.shape[1]), dtype)
        linear_forward(x[r : r + 1], weight, bias, y)
        linear_dx(dy[r : r + 1], weight, dx)
        assert y.tobytes() == batch["y"][r].tobytes() and dx.tobytes() == batch["dx"][r].tobytes()


def test_sums_go_over_k_in_one_order_from_the_bias_on():
    """The same in float64, where a product of float32 is exact, rounded to float32 after every term."""
    (x, weight, bias, dy), results = products(np.float32)
    x64, dy64 = x.astype(np.float64), dy.astype(np.float64)
    want = {"y": np.broadcast_to(bias, results["y"].shape), "dx": np.zeros_like(x), "dweight": np.zeros_like(weight)}
    for k in range(x.shape[1]):
        want["y"] = (np.outer(x64[:, k], weight[:, k]) + want["y"]).astype(np.float32)
    for n in range(dy.shape[1]):
        want["dx"] = (np.outer(dy64[:, n], weight[n]) + want["dx"]).astype(np.float32)
    for m in range(len(x)):
        want["dweight"] = (np.outer(dy64[m], x[m]) + want["dweight"]).astype(np.float32)
    for name, a in want.items():
        np.testing.assert_array_equal(results[name], a, err_msg=name)
