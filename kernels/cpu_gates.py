"""First rung of the CPU ladder: the gates of a time step in one compiled pass; the product stays with BLAS.

Plain NumPy walks over (B, 4H) arrays some twenty times a step, once for every `*`, `+` and `tanh`. Here one pass
works on a row while it is in the cache, and its sigmoid and tanh are a few multiply-adds that the compiler turns
into vector instructions. What this rung leaves alone is `h @ weight_hh.T`, which takes most of the step from H = 256
on and is the business of the next rung. Times beside the plain version: README.md in this folder.

The passes run on one thread. Numba's threads beside those of OpenBLAS, which spin while they wait for the next
product, make each other up to ten times slower.

The products take the weights as they are. Measured with OpenBLAS 0.3.31 on two Zen 4 cores in float32: a
transposed copy made once, or `weight_hh @ h.T`, is 15 % faster to 10 % slower at (B, H) = (16, 256) and within
6 % from (64, 256) to (64, 1150), while making the copy costs as much as one to six steps.
"""

from typing import NamedTuple

import numpy as np

from .cpu_compile import compiled, inlined
from .cpu_math import sigmoid, tanh
from .cpu_memory import plain


class Saved(NamedTuple):
    """What backward needs. Row t of h and c is the state before step t."""

    h: np.ndarray        # (T+1, B, H)
    c: np.ndarray        # (T+1, B, H)
    ifgo: np.ndarray     # (T, B, 4H), activated; 0 past a row's length
    lengths: np.ndarray  # (B,), T everywhere where none were given


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)"""
    def times_weight(h, out):
        np.matmul(h, weight_hh.T, out=out)

    return walk_forward(times_weight, x_gates, h0, c0, lengths, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero)
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    def times_weight(dgates, out):
        np.matmul(dgates, weight_hh, out=out)

    return walk_backward(times_weight, dy, dh_T, dc_T, saved)


def walk_forward(times_weight, x_gates, h0, c0, lengths, need_cache):
    """The loop over time; times_weight(h (B,H), out (B,4H)) does the product of a step."""
    x_gates = plain(x_gates)
    T, (B, H) = x_gates.shape[0], h0.shape
    rows = T + 1 if need_cache else 2       # without a cache two rows of state take turns
    h, c = np.empty((rows, B, H), x_gates.dtype), np.empty((rows, B, H), x_gates.dtype)
    ifgo = np.empty((T if need_cache else 1, B, 4 * H), x_gates.dtype)
    y = np.empty((T, B, H), x_gates.dtype)
    lengths = np.full(B, T) if lengths is None else np.array(lengths)
    h[0], c[0] = h0, c0
    for t in range(T):
        now, new, gates = t % rows, (t + 1) % rows, ifgo[t % len(ifgo)]
        times_weight(h[now], gates)
        step_forward(x_gates[t], gates, h[now], c[now], t < lengths, h[new], c[new], y[t])
    last = T % rows
    return y, h[last].copy(), c[last].copy(), Saved(h, c, ifgo, lengths) if need_cache else None


def walk_backward(times_weight, dy, dh_T, dc_T, saved):
    """The same loop backward; times_weight(dgates (B,4H), out (B,H)) does the product of a step."""
    h, c, ifgo, lengths = saved
    T, B, H = ifgo.shape[0], *h.shape[1:]
    zero = np.zeros((B, H), h.dtype)
    dh, dc = (np.array(zero if d is None else d, h.dtype, order="C") for d in (dh_T, dc_T))
    dy = None if dy is None else plain(dy)
    dgates, product = np.empty_like(ifgo), np.empty_like(dh)
    for t in reversed(range(T)):
        alive = t < lengths
        step_backward(zero if dy is None else dy[t], dh, ifgo[t], c[t], c[t + 1], alive, dc, dgates[t])
        times_weight(dgates[t], product)
        if alive.all():
            dh, product = product, dh
        else:                               # a row that has ended hands its dh on untouched
            np.copyto(dh, product, where=alive[:, None])
    return dgates, dh, dc


def states(saved):
    """-> h (T+1,B,H), c (T+1,B,H), ifgo (T,B,4H)"""
    return saved.h, saved.c, saved.ifgo


@compiled
def step_forward(x, gates, h_prev, c_prev, alive, h, c, y):
    """One step. x (B,4H), the input's share; gates (B,4H), in: the state's share, out: ifgo; alive (B,)
    -> writes gates, h, c, y (B,H)"""
    B, H = h.shape
    for b in range(B):
        if not alive[b]:
            h[b], c[b], y[b], gates[b] = h_prev[b], c_prev[b], 0, 0
            continue
        x_b, ifgo = x[b], gates[b]
        for j in range(4 * H):
            ifgo[j] += x_b[j]
        gates_forward(ifgo[:H], ifgo[H : 2 * H], ifgo[2 * H : 3 * H], ifgo[3 * H :], c_prev[b], c[b], h[b])
        y[b] = h[b]


@compiled
def step_backward(dy, dh, ifgo, c_prev, c, alive, dc, dgates):
    """The same step backward. dy, dh (B,H); ifgo (B,4H); c_prev, c (B,H); alive (B,)
    -> writes dgates (B,4H) and dc (B,H), in: of c, out: of c_prev"""
    B, H = dh.shape
    for b in range(B):
        if not alive[b]:
            dgates[b] = 0
            continue
        g, d = ifgo[b], dgates[b]
        gates_backward(dy[b], dh[b], g[:H], g[H : 2 * H], g[2 * H : 3 * H], g[3 * H :], c_prev[b], c[b],
                       dc[b], d[:H], d[H : 2 * H], d[2 * H : 3 * H], d[3 * H :])  # fmt: skip


# --- a row, for all rungs ------------------------------------------------------------------------------------------
#
# Several short loops, not one long one: each has few enough arrays for the compiler to vectorise.


@inlined
def gates_forward(i, f, g, o, c_prev, c, h):
    """One row, some units. i, f, g, o, in: before activation, out: after -> writes c and h"""
    n = len(c)
    for j in range(n):
        i[j] = sigmoid(i[j])
    for j in range(n):
        f[j] = sigmoid(f[j])
    for j in range(n):
        g[j] = tanh(g[j])
    for j in range(n):
        o[j] = sigmoid(o[j])
    for j in range(n):
        c[j] = f[j] * c_prev[j] + i[j] * g[j]
    for j in range(n):
        h[j] = o[j] * tanh(c[j])


@inlined
def gates_backward(dy, dh, i, f, g, o, c_prev, c, dc, di, df, dg, do):
    """One row, some units: di, df, dg, do before activation are written; dc, in: of c, out: of c_prev"""
    one = dh.dtype.type(1)                  # 1 - o with a plain 1 would be computed in float64
    n = len(c)
    for j in range(n):                      # h = o * tanh(c)
        tanh_c, dh_j = tanh(c[j]), dh[j] + dy[j]
        do[j] = dh_j * tanh_c * o[j] * (one - o[j])
        dc[j] += dh_j * o[j] * (one - tanh_c * tanh_c)
    for j in range(n):                      # c = f * c_prev + i * g, and the activations
        di[j] = dc[j] * g[j] * i[j] * (one - i[j])
        dg[j] = dc[j] * i[j] * (one - g[j] * g[j])
    for j in range(n):
        df[j] = dc[j] * c_prev[j] * f[j] * (one - f[j])
        dc[j] *= f[j]
