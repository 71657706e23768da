"""Top rung of the CPU ladder: an LSTM layer whose weights stay where they are needed, for the whole sequence.

At every time step `h @ weight_hh.T` needs all of weight_hh again. A library's product cannot know that it is the same
matrix as before: it packs it anew, wakes its threads and lets them go, T times. Here

- weight_hh is packed once a call, into strips of 16 units (a vector of them) times four gates;
- every thread owns some units for all steps: their strips, which stay in its cache, and their h and c (or, where
  weight_hh is small and the batch large, some rows);
- a step is: own strips times h (the tile of cpu_tile.py, which begins its sums with what the input says), then the
  gates of the same units while they are in the cache, then one barrier, because the next step needs everybody's h.

No Python runs between two steps, and nothing is copied. Backward is the same road home: the gates of own units
backward, a barrier, own columns of dgates @ weight_hh, a barrier. What is left, the input's share before the loop and
the gradients of the weights after it, are three large products (cpu_gemm.py).

A barrier is cheap beside a step: 0.05 microseconds between two threads, where the step's product takes 17 at (B, H) =
(16, 256) and 1300 at (64, 1150) on two cores of 250 GFLOP/s. From step to step a thread reads its strips from its
second-level or the common third-level cache; at B = 1 that reading is all there is, and the speed of the cache is the
floor.

Layout: H is padded to whole vectors, Hp, with zeros that stay zeros. Row t of h and c is the state before step t.
The results have the same bits for any number of threads, and a row has them whatever batch it is in.
"""

from typing import NamedTuple

import numpy as np

from .cpu_compile import compiled, inlined
from .cpu_gates import gates_backward, gates_forward
from .cpu_gemm import linear_dweight, linear_dx, linear_forward, pack, pack_transposed, threads_for_product
from .cpu_memory import empty, plain
from .cpu_team import barrier, run, share
from .cpu_threads import get_num_threads
from .cpu_tile import KC, ROWS, VECTORS, count_strips, lanes, multiply_gates, multiply_strip, strip, strip_columns

STEP_WORTH = 200_000    # multiply-adds a step for which it pays to have another thread: a barrier costs as much
PRIVATE = 3_000_000     # bytes of weight_hh for which a cache can hold it once for every thread


class Saved(NamedTuple):
    """What backward needs. The padding is zero, and what lies past a row's length."""

    h: np.ndarray        # (T+1, B, Hp)
    c: np.ndarray        # (T+1, B, Hp)
    gates: np.ndarray    # (T, B, 4, Hp), i, f, g, o, activated
    lengths: np.ndarray  # (B,), T everywhere where none were given
    hidden_size: int     # H


# --- a whole layer -----------------------------------------------------------------------------------------------


def layer_forward(x, weight_ih, weight_hh, bias, h0, c0, lengths=None, need_cache=True):
    """x (T,B,I), weight_ih (4H,I), weight_hh (4H,H), bias (4H,), h0 and c0 (B,H), lengths (B,) or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)"""
    (T, B, I), H = x.shape, h0.shape[1]
    Hp = padded(H, x.dtype)
    gates = empty((T * B, 4 * Hp), x.dtype)
    x, weight_ih = plain(x).reshape(T * B, I), plain(weight_ih)
    linear_forward(x, weight_ih, bias, gates, order=_gate_after_gate(H, x.dtype))
    return _run_forward(gates.reshape(T, B, 4, Hp), weight_hh, h0, c0, lengths, need_cache)


def layer_backward(dy, dh_T, dc_T, saved, x, weight_ih, weight_hh, need_dx=True):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero); x and the weights as in forward
    -> dx (T,B,I) or None, dh0 (B,H), dc0 (B,H), dweight_ih (4H,I), dweight_hh (4H,H), dbias (4H,)"""
    (T, B, I), H = x.shape, weight_hh.shape[1]
    dgates, dh0, dc0 = backward(dy, dh_T, dc_T, saved, weight_hh)
    dgates = dgates.reshape(T * B, 4 * H)
    x, weight_ih = plain(x).reshape(T * B, I), plain(weight_ih)
    dweight_ih, dweight_hh = empty((4 * H, I), x.dtype), empty((4 * H, H), x.dtype)
    dbias = np.empty(4 * H, x.dtype)
    h = saved.h[:-1].reshape(T * B, saved.h.shape[2])   # (T*B, Hp): padding and all
    linear_dweight(dgates, (x, h), (dweight_ih, dweight_hh), dbias)
    dx = None
    if need_dx:
        dx = empty((T * B, I), x.dtype)
        linear_dx(dgates, weight_ih, dx)
        dx = dx.reshape(T, B, I)
    return dx, dh0, dc0, dweight_ih, dweight_hh, dbias


# --- the recurrence alone ----------------------------------------------------------------------------------------


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)"""
    T, (B, H) = len(x_gates), h0.shape
    gates = empty((T, B, 4, padded(H, x_gates.dtype)), x_gates.dtype)
    gates[..., :H], gates[..., H:] = x_gates.reshape(T, B, 4, H), 0
    return _run_forward(gates, weight_hh, h0, c0, lengths, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero)
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    (T, B, _, Hp), H, dtype = saved.gates.shape, weight_hh.shape[1], weight_hh.dtype
    dh, dc = np.zeros((B, Hp), dtype), np.zeros((B, H), dtype)
    dh[:, :H], dc[:] = 0 if dh_T is None else dh_T, 0 if dc_T is None else dc_T
    dy = np.zeros((1, B, H), dtype) if dy is None else plain(dy)
    dgates = empty((T, B, 4 * H), dtype)
    packed = empty((count_strips(H, dtype), 4 * H, strip(dtype)), dtype)
    weight_hh = plain(weight_hh)
    members = _members(T, B, H)
    by_rows = _by_rows(B, weight_hh, members)
    run(_backward, by_rows, dy, saved.c, saved.gates, saved.lengths, weight_hh, packed, dh, dc, dgates, at_most=members)
    return dgates, dh[:, :H].copy(), dc


def states(saved):
    """-> h (T+1,B,H), c (T+1,B,H), ifgo (T,B,4H)"""
    (T, B, _, _), H = saved.gates.shape, saved.hidden_size
    return saved.h[..., :H], saved.c[..., :H], saved.gates[..., :H].reshape(T, B, 4 * H)


def padded(H, dtype):
    """Hp: H, rounded up to whole vectors"""
    return -(-H // lanes(dtype)) * lanes(dtype)


def _members(T, B, H):
    """How many threads a step keeps busy, and the whole call."""
    step = B * 4 * H * H
    return min(get_num_threads(), 1 + step // STEP_WORTH, threads_for_product(T * step))


def _by_rows(B, weight_hh, members):
    """Are the rows of the batch divided among the threads, and not the units? That needs no barrier, but every thread
    all of weight_hh, and enough rows for good tiles."""
    return weight_hh.nbytes <= PRIVATE and B >= 16 * members


def _gate_after_gate(H, dtype):
    """(4Hp,): which row of a weight makes which number of a row of `gates`; -1 is padding"""
    unit = np.arange(padded(H, dtype))
    return np.concatenate([np.where(unit < H, gate * H + unit, -1) for gate in range(4)])


def _gates_together(H, dtype):
    """(4Hp,): the same, but vector by vector of units, and for each of them gate by gate"""
    return _gate_after_gate(H, dtype).reshape(4, -1, lanes(dtype)).transpose(1, 0, 2).reshape(-1)


def _run_forward(gates, weight_hh, h0, c0, lengths, need_cache):
    (T, B, _, Hp), H, dtype = gates.shape, h0.shape[1], gates.dtype
    h, c = (empty((T + 1 if need_cache else 2, B, Hp), dtype) for _ in range(2))  # or two rows that take turns
    h[0, :, :H], c[0, :, :H], h[0, :, H:], c[0, :, H:] = h0, c0, 0, 0
    y = empty((T, B, H), dtype)
    lengths = np.full(B, T) if lengths is None else np.array(lengths, np.int64)
    packed = empty((4 * Hp // strip(dtype), H, strip(dtype)), dtype)
    order, weight_hh = _gates_together(H, dtype), plain(weight_hh)
    members = _members(T, B, H)
    by_rows = _by_rows(B, weight_hh, members)
    run(_forward, by_rows, gates, weight_hh, order, packed, lengths, h, c, y, at_most=members)
    last = T % len(h)
    h_T, c_T = h[last, :, :H].copy(), c[last, :, :H].copy()
    return y, h_T, c_T, Saved(h, c, gates, lengths, H) if need_cache else None


# --- compiled: what every member of the team does ----------------------------------------------------------------


@inlined
def own_part(units, rows, by_rows, member, members):
    """-> first unit, last + 1, first row, last + 1 of this member: a rectangle of all units times all rows"""
    across = 1 if by_rows else min(units, members)
    down = min(members // across, rows)
    if member >= across * down:
        return 0, 0, 0, 0
    first, last = share(units, member % across, across)
    first_row, last_row = share(rows, member // across, down)
    return first, last, first_row, last_row


@compiled
def _forward(team, by_rows, gates, weight_hh, order, packed, lengths, h, c, y):
    """gates, in: the input's share, out: activated; h[0] and c[0] are given, the other rows and y are written"""
    member, members, counter = team
    (T, B, _, Hp), (S, H, width) = gates.shape, packed.shape
    L = width // VECTORS
    first, last = share(S, member, members)
    for s in range(first, last):
        pack_transposed(weight_hh, order, s * width, packed[s])
    barrier(1, members, counter)
    first, last, first_row, last_row = own_part(Hp // L, B, by_rows, member, members)
    n_rows = last_row - first_row
    flat_gates, flat_h, flat_packed = gates.reshape(-1), h.reshape(-1), packed.reshape(-1)
    for t in range(T):
        now, new = t % len(h), (t + 1) % len(h)
        for unit in range(first, last):
            for gate in range(0, 4, VECTORS):
                s = (unit * 4 + gate) // VECTORS
                OUT = (flat_gates, ((t * B + first_row) * 4 + gate) * Hp + unit * L, 4 * Hp)
                for k in range(0, H, KC):
                    A = (flat_h, (now * B + first_row) * Hp + k, Hp, 1, ROWS * Hp)
                    multiply_gates(n_rows, Hp, min(KC, H - k), A, (flat_packed, (s * H + k) * width, width), OUT, OUT)
        start, stop = first * L, last * L
        for b in range(first_row, last_row):
            if t < lengths[b]:
                ifgo, end = gates[t, b], min(stop, H)
                gates_forward(ifgo[0, start:stop], ifgo[1, start:stop], ifgo[2, start:stop], ifgo[3, start:stop],
                               c[now, b, start:stop], c[new, b, start:stop], h[new, b, start:stop])
                y[t, b, start:end] = h[new, b, start:end]
            else:
                c[new, b, start:stop] = c[now, b, start:stop]
                h[new, b, start:stop] = h[now, b, start:stop]
                gates[t, b, :, start:stop] = 0
                y[t, b, start : min(stop, H)] = 0
        if not by_rows:                     # the next step needs everybody's h
            barrier(2 + t, members, counter)


@compiled
def _backward(team, by_rows, dy, c, gates, lengths, weight_hh, packed, dh, dc, dgates):
    """dgates is written; dh and dc, in: of the final state, out: of the initial one"""
    member, members, counter = team
    (T, B, _, Hp), (S, K, width) = gates.shape, packed.shape
    L, H = width // VECTORS, K // 4
    first, last = share(S, member, members)
    for s in range(first, last):
        pack(weight_hh, strip_columns(s, S, H, L)[0], packed[s])
    barrier(1, members, counter)
    first_unit, last_unit, first_row, last_row = own_part(Hp // L, B, by_rows, member, members)
    start, stop = first_unit * L, min(last_unit * L, H)
    first, last, top, bottom = own_part(S, B, by_rows, member, members)
    flat_dh, flat_dgates, flat_packed = dh.reshape(-1), dgates.reshape(-1), packed.reshape(-1)
    for t in range(T - 1, -1, -1):
        for b in range(first_row, last_row):
            if t < lengths[b]:
                ifgo, d = gates[t, b], dgates[t, b]
                gates_backward(
                    dy[t % len(dy), b, start:stop], dh[b, start:stop], ifgo[0, start:stop], ifgo[1, start:stop],
                    ifgo[2, start:stop], ifgo[3, start:stop], c[t, b, start:stop], c[t + 1, b, start:stop],
                    dc[b, start:stop], d[start:stop], d[H + start : H + stop], d[2 * H + start : 2 * H + stop],
                    d[3 * H + start : 3 * H + stop],
                )
                dh[b, start:stop] = 0       # it has been used, and the product below adds to it
            else:                           # a row that has ended hands its dh and dc on untouched
                for gate in range(4):
                    dgates[t, b, gate * H + start : gate * H + stop] = 0
        if not by_rows:
            barrier(2 * (T - 1 - t) + 2, members, counter)
        for s in range(first, last):
            column, vectors = strip_columns(s, S, H, L)
            OUT = (flat_dh, top * Hp + column, Hp)
            for k in range(0, K, KC):
                A, B_k = (flat_dgates, (t * B + top) * K + k, K, 1, ROWS * K), (flat_packed, (s * K + k) * width, width)
                multiply_strip(bottom - top, vectors, min(KC, K - k), A, B_k, OUT, OUT)
        if not by_rows:
            barrier(2 * (T - 1 - t) + 3, members, counter)
