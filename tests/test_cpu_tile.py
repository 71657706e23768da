"""The register tile and what covers a strip with it, on whole numbers: every result must be exact, and what lies
around it untouched."""

import itertools

import numpy as np
import pytest
from on_cpu import both_dtypes, whole

from minilstm_kernels.cpu_compile import compiled
from minilstm_kernels.cpu_tile import (
    ROWS,
    VECTORS,
    copy,
    count_strips,
    lanes,
    multiply_gates,
    multiply_strip,
    strip,
    strip_columns,
    tile,
    transpose,
)

GUARD = 99


@compiled
def run_strip(rows, vectors, K, A, B, INIT, OUT):
    multiply_strip(rows, vectors, K, A, B, INIT, OUT)


@compiled
def run_gates(rows, step, K, A, B, INIT, OUT):
    multiply_gates(rows, step, K, A, B, INIT, OUT)


@compiled
def run_tile(a, b, out, L, K):
    tile(5, 1, a, 0, K, 1, b, 0, L, out, 0, L, out, 0, L, L, K, 0)


@compiled
def run_transpose(target, target_at, target_row, source, source_at, source_row):
    transpose(target, target_at, target_row, source, source_at, source_row)


@compiled
def run_copy(target, target_at, source, source_at, n):
    copy(target, target_at, source, source_at, n)
    copy(target, target_at + n + 1, source, source_at, 3)


def left(rng, rows, K, layout, dtype):
    """-> a (rows, K), and the same as an operand that lies in memory in one of the ways that are in use"""
    a, at = whole(rng, rows, K, dtype=dtype), int(rng.integers(0, 9))
    if layout == "row by row":
        stride, buffer = K + 3, np.full(at + (rows + 1) * (K + 3), GUARD, dtype)
        for r in range(rows):
            buffer[at + r * stride : at + r * stride + K] = a[r]
        return a, (buffer, at, stride, 1, ROWS * stride)
    if layout == "column by column":
        stride, buffer = rows + 2, np.full(at + K * (rows + 2), GUARD, dtype)
        for r, k in np.ndindex(rows, K):
            buffer[at + k * stride + r] = a[r, k]
        return a, (buffer, at, 1, stride, ROWS)
    a_tile = ROWS * K + 5  # tile by tile, as cpu_gemm packs the columns of dy
    buffer = np.full(at + (rows // ROWS + 1) * a_tile, GUARD, dtype)
    for r, k in np.ndindex(rows, K):
        buffer[at + r // ROWS * a_tile + k * ROWS + r % ROWS] = a[r, k]
    return a, (buffer, at, 1, ROWS, a_tile)


LAYOUTS = "row by row", "column by column", "tile by tile"


@both_dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("begin", ["with a row", "with rows", "in place"])
def test_a_strip_of_any_number_of_rows_and_vectors(layout, begin, dtype):
    rng, L = np.random.default_rng(0), lanes(dtype)
    for rows, vectors, K in itertools.product(range(1, 15), range(1, VECTORS + 1), (1, 2, 5)):
        a, A = left(rng, rows, K, layout, dtype)
        b = whole(rng, K, strip(dtype), dtype=dtype)
        columns, out_row = vectors * L, strip(dtype) + 3
        out = np.full((rows + 2, out_row), GUARD, dtype)
        OUT = (out.reshape(-1), out_row + 1, out_row)
        init = whole(rng, rows, columns, dtype=dtype)
        if begin == "with a row":
            init[:] = init[0]
            INIT = (np.concatenate([[GUARD], init[0]]).astype(dtype), 1, 0)
        elif begin == "with rows":
            INIT = (init.reshape(-1).copy(), 0, columns)
        else:
            out[1:-1, 1 : 1 + columns], INIT = init, OUT
        run_strip(rows, vectors, K, A, (b.reshape(-1), 0, strip(dtype)), INIT, OUT)
        want = np.full_like(out, GUARD)
        want[1:-1, 1 : 1 + columns] = init + a @ b[:, :columns]
        np.testing.assert_array_equal(out, want, err_msg=f"{rows} rows, {vectors} vectors, K = {K}")


@both_dtypes
def test_no_rows_write_nothing(dtype):
    a, b, out = np.ones(9, dtype), np.ones(strip(dtype), dtype), np.full(2 * strip(dtype), GUARD, dtype)
    run_strip(0, VECTORS, 1, (a, 0, 1, 1, ROWS), (b, 0, strip(dtype)), (b, 0, 0), (out, 0, strip(dtype)))
    assert (out == GUARD).all()


@both_dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_that_are_apart(layout, dtype):
    """As the gates of one vector of units are: `step` numbers from one to the next, what lies between is not theirs."""
    rng, L = np.random.default_rng(1), lanes(dtype)
    for rows, extra, b_at in itertools.product(range(1, 15), (0, 1, 3 * L), (0, 5)):
        K, step = 4, L + extra
        a, A = left(rng, rows, K, layout, dtype)
        b = whole(rng, K, strip(dtype) + 2, dtype=dtype)
        out = np.full((rows + 2, VECTORS * step + 1), GUARD, dtype)
        want = out.copy()
        for v in range(VECTORS):
            columns = slice(v * step, v * step + L)
            out[1:-1, columns] = whole(rng, rows, L, dtype=dtype)
            want[1:-1, columns] = out[1:-1, columns] + a @ b[:, v * L : (v + 1) * L]
        B = (np.concatenate([np.zeros(b_at), b.reshape(-1)]).astype(dtype), b_at, strip(dtype) + 2)
        OUT = (out.reshape(-1), out.shape[1], out.shape[1])
        run_gates(rows, step, K, A, B, OUT, OUT)
        np.testing.assert_array_equal(out, want, err_msg=f"{rows} rows, step {step}")


@both_dtypes
def test_a_tile_of_any_literal_size(dtype):
    rng, L, K = np.random.default_rng(2), lanes(dtype), 7
    a, b = whole(rng, 5, K, dtype=dtype), whole(rng, K, L, dtype=dtype)
    out = np.full((6, L), GUARD, dtype)
    out[:5] = whole(rng, 5, L, dtype=dtype)
    want = out + np.vstack([a @ b, np.zeros((1, L), dtype)])
    run_tile(a, b, out, L, K)
    np.testing.assert_array_equal(out, want)


def test_sums_are_taken_in_one_order_with_one_rounding_a_term():
    """The same in float64, where a product of float32 is exact, rounded to float32 after every term."""
    rng, K, dtype = np.random.default_rng(3), 300, np.dtype(np.float32)
    width = strip(dtype)
    a, b, init = (rng.standard_normal(s).astype(dtype) for s in ((7, K), (K, width), width))
    out, want = np.empty((7, width), dtype), np.broadcast_to(init, (7, width))
    run_strip(7, VECTORS, K, (a.reshape(-1), 0, K, 1, ROWS * K), (b.reshape(-1), 0, width), (init, 0, 0),
              (out.reshape(-1), 0, width))  # fmt: skip
    for k in range(K):
        want = (np.outer(a[:, k].astype(np.float64), b[k].astype(np.float64)) + want).astype(dtype)
    np.testing.assert_array_equal(out, want)


@both_dtypes
def test_transpose(dtype):
    L = lanes(dtype)
    source = np.arange(2 * (L + 3) * (L + 4), dtype=dtype).reshape(-1, L + 4)
    target = np.full((L + 2, L + 5), -1, dtype)
    run_transpose(target, target.shape[1] + 2, target.shape[1], source, 2 * source.shape[1] + 3, source.shape[1])
    want = np.full_like(target, -1)
    want[1 : L + 1, 2 : L + 2] = source[2 : L + 2, 3 : L + 3].T
    np.testing.assert_array_equal(target, want)


@both_dtypes
@pytest.mark.parametrize("n", [0, 1, 6, 50])
def test_copy(dtype, n):
    source, target = np.arange(60, dtype=dtype), np.full(70, -1, dtype)
    run_copy(target, 4, source, 7, n)
    want = np.full(70, -1, dtype)
    want[4 : 4 + n], want[5 + n : 8 + n] = np.arange(7, 7 + n), [7, 8, 9]
    np.testing.assert_array_equal(target, want)


@both_dtypes
def test_strips_cover_the_columns_in_order_and_are_about_equal(dtype):
    L, columns = lanes(dtype), strip_columns.py_func
    for n in range(1, 9 * strip(dtype) + 2):
        S = count_strips(n, dtype)
        starts, widths = zip(*(columns(s, S, n, L) for s in range(S)), strict=True)
        ends = [start + width * L for start, width in zip(starts, widths, strict=True)]
        assert [0, *ends[:-1]] == list(starts) and ends[-1] - L < n <= ends[-1]
        assert 1 <= min(widths) and max(widths) - min(widths) <= 1 and max(widths) <= VECTORS
