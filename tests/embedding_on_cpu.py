"""The kernels of embedding.cu, executed on the CPU and compared with NumPy: to the bit, since the same numbers are
multiplied, and added in the same order. Arrays lie between ones: a row of NaN is what a word gets that there is not, so
that NaNs around an array would hide who reads there."""

from pathlib import Path

import numpy as np

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "embedding.cu").read_text(encoding="utf-8")
TYPES = {"float": np.float32, "double": np.float64}
BORDER = 32    # rows before and behind an array
NAMES = [f"embedding_{direction}<{S}>" for direction in ("forward", "backward") for S in TYPES]


def problem(dtype, N, V, E, masked, seed):
    """-> weight (V, E), dy (N, E), ids (N,), row_mask (V,) or None; -1 and V, which are no words, among the ids"""
    rng = np.random.default_rng(seed)
    weight, dy = rng.standard_normal((V, E)).astype(dtype), rng.standard_normal((N, E)).astype(dtype)
    ids = rng.integers(0, V, N).astype(np.int32)
    ids[rng.random(N) < 0.1] = -1
    ids[rng.random(N) < 0.1] = V
    row_mask = rng.integers(0, 2, V).astype(dtype) / dtype(0.7) if masked else None
    return weight, dy, ids, row_mask


def check_forward(kernel, N, V, E, masked=True, threads=32, seed=0):
    """-> y (N, E), a row of NaN for what is no word"""
    weight, _, ids, row_mask = problem(_dtype(kernel), N, V, E, masked, seed)
    known = (ids >= 0) & (ids < V)
    y = _launch(kernel, (N,), threads, (weight, ids, row_mask), (V, E), np.zeros((N, E), weight.dtype))
    safe = np.where(known, ids, 0)
    expected = weight[safe] if row_mask is None else weight[safe] * row_mask[safe, None]
    np.testing.assert_array_equal(y, np.where(known[:, None], expected, np.nan))


def check_backward(kernel, N, V, E, masked=True, threads=32, blocks=3, seed=0):
    """-> dweight (V, E), added to what was there"""
    weight, dy, ids, row_mask = problem(_dtype(kernel), N, V, E, masked, seed)
    known = (ids >= 0) & (ids < V)
    dweight = _launch(kernel, (blocks, -(-E // threads)), threads, (dy, ids, row_mask), (N, V, E), weight)
    expected = weight.copy()
    np.add.at(expected, ids[known], dy[known] if row_mask is None else (dy * row_mask[ids * known, None])[known])
    np.testing.assert_array_equal(dweight, expected)


def check_all(kernels, names=NAMES, sizes=((1, 1, 1), (31, 5, 7), (33, 2, 40), (100, 9, 70))):
    """Every kernel; kernels: name -> kernel; sizes: N, V, E"""
    for name in names:
        check = check_forward if "forward" in name else check_backward
        for N, V, E in sizes:
            for masked in (True, False):
                check(kernels(name), N, V, E, masked, seed=N)


def _dtype(kernel):
    return TYPES[kernel.name.split("<")[1][:-1]]


def _launch(kernel, grid, threads, ins, numbers, out):
    """The kernel on copies of its arguments, which lie between ones; neither these nor any of `ins` may change
    -> what becomes of `out`"""
    framed = [None if a is None else _framed(a) for a in (*ins, out)]
    arrays = [np.uint64(0) if a is None else a[BORDER:-BORDER] for a in framed]
    kernel(grid, (threads,), (*arrays[:-1], *map(np.int32, numbers), arrays[-1]))
    result = arrays[-1].copy()
    for before, after in zip(ins, framed[:-1], strict=True):
        assert before is None or (after == _framed(before)).all(), "an argument was changed"
    framed[-1][BORDER:-BORDER] = 1
    assert (framed[-1] == 1).all(), "a write beside an array"
    return result


def _framed(a):
    framed = np.ones((len(a) + 2 * BORDER, *a.shape[1:]), a.dtype)
    framed[BORDER:-BORDER] = a
    return framed


NAMES_FOR_BUGS = ["embedding_forward<float>", "embedding_backward<float>"]


def check_bugs(kernels):
    check_all(kernels, NAMES_FOR_BUGS, sizes=((31, 5, 7), (33, 2, 40), (100, 9, 70)))
