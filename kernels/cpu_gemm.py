"""The three matrix products of a linear layer on the CPU, by the tile of cpu_tile.py and the team of cpu_team.py.

    linear_forward      y = x @ weight.T + bias
    linear_dx           dx = dy @ weight
    linear_dweight      dweight = dy.T @ x, dbias = dy.sum(0)

NumPy's product is as fast, by the BLAS it was built with. What that cannot do: share its threads with other kernels
(the threads of two libraries on the same cores make each other many times slower), give the same bits on every
processor and for every number of threads.

They follow the classical scheme (Goto & van de Geijn 2008). The right-hand matrix is first copied ("packed") into
strips as wide as a tile, so that the tile reads it front to back. KC rows of a strip stay in the second-level cache
while ROW_BLOCK rows of the left-hand matrix pass over them; the sums wait in the result from one KC to the next.

`order` (n,), where it is given, says which row of weight and bias makes which column of y: row order[j] column j, and
zeros where order[j] is -1. So the LSTM gets its gates with the padding it wants, without a copy.

All arrays are C-contiguous and of one type, float32 or float64.
"""

import numpy as np

from .cpu_compile import compiled, inlined
from .cpu_memory import empty
from .cpu_team import barrier, run, share
from .cpu_threads import get_num_threads
from .cpu_tile import KC, ROWS, VECTORS, copy, count_strips, multiply_strip, strip, strip_columns, transpose

ROW_BLOCK = 32 * ROWS       # rows that pass over a strip together
WORTH = 40_000_000          # multiply-adds for which it pays to wake another thread: some 0.3 milliseconds


def linear_forward(x, weight, bias, out, order=None, packed=None):
    """x (M, K), weight (N, K), bias (N,) or None; out (M, n) = x @ weight[order].T + bias[order]
    -> the weight, packed: the next call with the same weight takes it and packs nothing"""
    order = np.arange(len(weight)) if order is None else order
    begin = np.zeros(len(order) + strip(x.dtype), x.dtype)
    if bias is not None:
        begin[: len(order)] = np.where(order < 0, 0, bias[order])
    return _run_multiply(x, weight, order, True, packed, begin, out)


def linear_dx(dy, weight, out, packed=None):
    """dy (M, N), weight (N, K); out (M, K) = dy @ weight -> the weight, packed, as above"""
    begin = np.zeros(weight.shape[1] + strip(dy.dtype), dy.dtype)
    return _run_multiply(dy, weight, np.arange(0), False, packed, begin, out)


def _run_multiply(a, weight, order, transposed, packed, begin, out):
    if not a.shape[1]:
        out[:] = begin[: out.shape[1]]
        return packed
    ready = packed is not None
    if not ready:
        packed = empty((count_strips(out.shape[1], a.dtype), a.shape[1], strip(a.dtype)), a.dtype)
    members = threads_for_product(out.size * a.shape[1])
    run(_multiply, a, weight, order, transposed, ready, packed, begin, out, at_most=members)
    return packed


def linear_dweight(dy, xs, dweights, dbias, add=False):
    """dy (M, N), some x (M, K) -> of each its dweight (N, K) = dy.T @ x, and dbias (N,) = dy.sum(0); with `add`, added
    to what is there. Linear layers that are added up, as in an LSTM, have the same dy: it is packed only once.
    An x may be wider than its dweight: the columns beyond K are padding."""
    (M, N), width = dy.shape, strip(dy.dtype)
    widest = max(dweight.shape[1] for dweight in dweights)
    members = min(get_num_threads(), threads_for_product(M * N * widest))
    left = empty((members, ROW_BLOCK // ROWS, KC, ROWS), dy.dtype)
    n_strips = sum(count_strips(dweight.shape[1], dy.dtype) for dweight in dweights)
    right = empty((-(-M // KC), n_strips, KC, width), dy.dtype)
    run(_multiply_transposed, dy, tuple(xs), left, right, tuple(dweights), dbias, add, at_most=members)


def threads_for_product(multiply_adds) -> int:
    """How many threads a product of this size keeps busy."""
    return 1 + multiply_adds // WORTH


@compiled
def _multiply(team, a, weight, order, transposed, ready, packed, begin, out):
    """out (M, N) = begin + a (M, K) @ (weight[order].T if transposed else weight)"""
    member, members, counter = team
    (S, K, width), (M, N) = packed.shape, out.shape
    first, last = share(0 if ready else S, member, members)
    for s in range(first, last):
        start, vectors = strip_columns(s, S, N, width // VECTORS)
        if transposed:
            pack_transposed(weight, order, start, packed[s])
        else:
            pack(weight, start, packed[s])
    barrier(1, members, counter)
    first, last = share((M + ROW_BLOCK - 1) // ROW_BLOCK * S, member, members)
    a, packed, out = a.reshape(-1), packed.reshape(-1), out.reshape(-1)
    for unit in range(first, last):
        row, s = unit // S * ROW_BLOCK, unit % S
        start, vectors = strip_columns(s, S, N, width // VECTORS)
        rows = min(ROW_BLOCK, M - row)
        for k in range(0, K, KC):
            A, B = (a, row * K + k, K, 1, ROWS * K), (packed, (s * K + k) * width, width)
            INIT = (begin, start, 0) if k == 0 else (out, row * N + start, N)
            write_strip(rows, vectors, min(KC, K - k), A, B, INIT, (out, row * N + start, N), N - start)


@compiled
def _multiply_transposed(team, dy, xs, left, right, dweights, dbias, add):
    """each dweight (N, K) = dy (M, N).T @ its x (M, K), and dbias (N,) = the sums of dy; or added to them

    Each member has some groups of rows of the weights. It packs the columns of dy that are theirs so that the numbers
    which a tile needs at once lie side by side (left); the xs are packed by all together, side by side (right).
    """
    member, members, counter = team
    (M, N), (_, _, _, width), in_block = dy.shape, right.shape, ROW_BLOCK // ROWS
    first, last = share(len(right), member, members)
    for block in range(first, last):
        at = 0
        for n in range(len(xs)):
            x, K = xs[n], dweights[n].shape[1]
            S = (K + width - 1) // width
            for s in range(S):
                column, _ = strip_columns(s, S, K, width // VECTORS)
                pack(x[block * KC : min(M, (block + 1) * KC)], column, right[block, at + s])
            at += S
    barrier(1, members, counter)
    first, last = share((N + ROWS - 1) // ROWS, member, members)
    if not add:
        dbias[first * ROWS : last * ROWS] = 0
        for dweight in dweights:
            dweight[first * ROWS : last * ROWS] = 0
    flat_left, flat_right = left.reshape(-1), right.reshape(-1)
    for block in range(first, last, in_block):
        start, stop = block * ROWS, min(N, min(last, block + in_block) * ROWS)
        A = (flat_left, member * in_block * KC * ROWS, 1, ROWS, KC * ROWS)
        for m in range(0, M, KC):
            n_m, at = min(KC, M - m), 0
            pack_columns(dy, m, n_m, start, stop, left[member], dbias)
            for dweight in dweights:
                K, out = dweight.shape[1], dweight.reshape(-1)
                S = (K + width - 1) // width
                for s in range(S):
                    column, vectors = strip_columns(s, S, K, width // VECTORS)
                    B = (flat_right, (m // KC * right.shape[1] + at + s) * KC * width, width)
                    OUT = (out, start * K + column, K)
                    write_strip(stop - start, vectors, n_m, A, B, OUT, OUT, K - column)
                at += S


@inlined
def write_strip(rows, vectors, K, A, B, INIT, OUT, columns):
    """OUT = INIT + A @ B for a strip of so many vectors, of which only `columns` may be written"""
    width = B[2]
    lanes = width // VECTORS
    if vectors * lanes <= columns:
        multiply_strip(rows, vectors, K, A, B, INIT, OUT)
        return
    # The last vector would write beyond the row: by way of a tile that is wide enough.
    (a, a_at, a_row, a_k, a_tile), (init, init_at, init_row), (out, out_at, out_row) = A, INIT, OUT
    wide = np.zeros(ROWS * width, out.dtype)
    for first in range(0, rows, ROWS):
        n, at = min(ROWS, rows - first), a_at + first // ROWS * a_tile
        for r in range(n):
            copy(wide, r * width, init, init_at + (first + r) * init_row, columns)
        WIDE = (wide, 0, width)
        multiply_strip(n, vectors, K, (a, at, a_row, a_k, a_tile), B, WIDE, WIDE)
        for r in range(n):
            copy(out, out_at + (first + r) * out_row, wide, r * width, columns)


# --- packing --------------------------------------------------------------------------------------------------


@inlined
def pack_transposed(weight, order, start, packed):
    """packed (K, width) = weight[order].T[:, start : start + width], zeros beyond it"""
    K, width = packed.shape
    lanes = width // VECTORS
    for c in range(0, width, lanes):
        j, whole = start + c, 0             # how many of k go by squares of lanes by lanes
        if j + lanes <= len(order) and order[j] >= 0 and neighbours(order[j : j + lanes]):
            whole = K // lanes * lanes
            for k in range(0, whole, lanes):
                transpose(packed, k * width + c, width, weight, order[j] * K + k, K)
        for lane in range(lanes):
            row = order[j + lane] if j + lane < len(order) else -1
            for k in range(whole, K):
                packed[k, c + lane] = weight[row, k] if row >= 0 else packed.dtype.type(0)


@inlined
def neighbours(order):
    """Do these rows lie one behind the other?"""
    for n in range(1, len(order)):
        if order[n] != order[0] + n:
            return False
    return True


@inlined
def pack(x, start, packed):
    """packed (M, width) = x (M, N)[:, start : start + width], zeros beyond it"""
    (M, N), width = x.shape, packed.shape[1]
    columns = min(width, N - start)
    for k in range(M):
        copy(packed, k * width, x, k * N + start, columns)
        packed[k, columns:] = 0


@inlined
def pack_columns(dy, m, n_m, start, stop, left, sums):
    """left (groups, KC, ROWS) = dy[m : m + n_m, start : stop] in groups of ROWS columns, and their sums.

    Sixteen rows at a time: they are read from front to back, and what is written to a group lies together.
    """
    N, whole = dy.shape[1], (stop - start) // ROWS
    rest = stop - start - whole * ROWS
    for first in range(0, n_m, 16):
        last = min(first + 16, n_m)
        for g in range(whole):
            for k in range(first, last):
                copy(left, (g * KC + k) * ROWS, dy, (m + k) * N + start + g * ROWS, ROWS)
        for k in range(first, last):
            copy(left, (whole * KC + k) * ROWS, dy, (m + k) * N + stop - rest, rest)
            row, total = dy[m + k, start:stop], sums[start:stop]
            for c in range(len(row)):
                total[c] += row[c]
