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

from .cpu_compile import compiled
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
        _gates_forward(x_gates[t], gates, h[now], c[now], t < lengths, h[new], c[new], y[t])
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
        _gates_backward(zero if dy is None else dy[t], dh, ifgo[t], c[t], c[t + 1], alive, dc, dgates[t])
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
def _gates_forward(x, gates, h_prev, c_prev, alive, h, c, y):
    """One step. x (B,4H), the input's share; gates (B,4H), in: the state's share, out: ifgo; alive (B,)
    -> writes gates, h, c, y (B,H)

    Several short loops over a row, not one long one: each has few enough arrays for the compiler to vectorise.
    """
    B, H = h.shape
    for b in range(B):
        if not alive[b]:
            h[b], c[b], y[b], gates[b] = h_prev[b], c_prev[b], 0, 0
            continue
        x_b, ifgo = x[b], gates[b]
        for j in range(2 * H):
            ifgo[j] = sigmoid(x_b[j] + ifgo[j])
        x_g, x_o = x_b[2 * H : 3 * H], x_b[3 * H :]
        i, f, g, o = ifgo[:H], ifgo[H : 2 * H], ifgo[2 * H : 3 * H], ifgo[3 * H :]
        for j in range(H):
            g[j] = tanh(x_g[j] + g[j])
        for j in range(H):
            o[j] = sigmoid(x_o[j] + o[j])
        c_old, c_new, h_new, y_new = c_prev[b], c[b], h[b], y[b]
        for j in range(H):
            c_new[j] = f[j] * c_old[j] + i[j] * g[j]
        for j in range(H):
            h_new[j] = o[j] * tanh(c_new[j])
        y_new[:] = h_new


@compiled
def _gates_backward(dy, dh, ifgo, c_prev, c, alive, dc, dgates):
    """The same step backward. dy, dh (B,H); ifgo (B,4H); c_prev, c (B,H); alive (B,)
    -> writes dgates (B,4H) and dc (B,H), in: of c, out: of c_prev"""
    B, H = dh.shape
    one = dh.dtype.type(1)                  # 1 - o with a plain 1 would be computed in float64
    for b in range(B):
        if not alive[b]:
            dgates[b] = 0
            continue
        i, f, g, o = ifgo[b, :H], ifgo[b, H : 2 * H], ifgo[b, 2 * H : 3 * H], ifgo[b, 3 * H :]
        d = dgates[b]
        di, df, dg, do = d[:H], d[H : 2 * H], d[2 * H : 3 * H], d[3 * H :]
        dy_b, dh_b, dc_b, c_old, c_new = dy[b], dh[b], dc[b], c_prev[b], c[b]
        for j in range(H):                  # h = o * tanh(c)
            tanh_c, dh_j = tanh(c_new[j]), dh_b[j] + dy_b[j]
            do[j] = dh_j * tanh_c * o[j] * (one - o[j])
            dc_b[j] += dh_j * o[j] * (one - tanh_c * tanh_c)
        for j in range(H):                  # c = f * c_prev + i * g, and the activations
            di[j] = dc_b[j] * g[j] * i[j] * (one - i[j])
            dg[j] = dc_b[j] * i[j] * (one - g[j] * g[j])
        for j in range(H):
            df[j] = dc_b[j] * c_old[j] * f[j] * (one - f[j])
            dc_b[j] *= f[j]
