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

`sigmoid` and `tanh` below are wrong by at most 2.4 and 2.6 units in the last place (ULP) of their result in float32,
2.4 and 2.9 in float64, measured over 7 million numbers; the tests hold them under 3. Results below the smallest
normal number may be 0. NaN stays NaN; infinity and |x| = 1e4 give exactly 0, 1 or -1.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

# "contract": a product and a sum may become one fused multiply-add. No other liberty is given: no reordering, so
# that results repeat bit for bit, and no assumption that NaN does not happen.
# "numpy": x / 0 is infinity, where Python's own model raises, and a loop that may raise is not vectorised.
_OPTIONS = dict(nogil=True, error_model="numpy", fastmath={"contract"})


def compiled(function):
    """`function` compiled by Numba for this processor on its first call, and kept on disk where that is possible.

    The cache looks at the date of this file alone: keep in one file what is compiled together. It also remembers
    the name of the module, and a checkout can import this file as `minilstm_kernels` or `kernels`: one cache each.
    """
    function.__qualname__ = f"{function.__module__}.{function.__name__}"
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:                    # neither the package's folder nor the home folder can be written
        return njit(**_OPTIONS)(function)


class Saved(NamedTuple):
    """What backward needs. Row t of h and c is the state before step t."""

    h: np.ndarray        # (T+1, B, H)
    c: np.ndarray        # (T+1, B, H)
    ifgo: np.ndarray     # (T, B, 4H), activated; 0 past a row's length
    lengths: np.ndarray  # (B,), T everywhere where none were given


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)"""
    x_gates = np.ascontiguousarray(x_gates)
    T, (B, H) = x_gates.shape[0], h0.shape
    rows = T + 1 if need_cache else 2       # without a cache two rows of state take turns
    h, c = np.empty((rows, B, H), x_gates.dtype), np.empty((rows, B, H), x_gates.dtype)
    ifgo = np.empty((T if need_cache else 1, B, 4 * H), x_gates.dtype)
    y = np.empty((T, B, H), x_gates.dtype)
    lengths = np.full(B, T) if lengths is None else np.array(lengths)
    h[0], c[0] = h0, c0
    for t in range(T):
        now, new, gates = t % rows, (t + 1) % rows, ifgo[t % len(ifgo)]
        np.matmul(h[now], weight_hh.T, out=gates)
        _gates_forward(x_gates[t], gates, h[now], c[now], t < lengths, h[new], c[new], y[t])
    last = T % rows
    return y, h[last].copy(), c[last].copy(), Saved(h, c, ifgo, lengths) if need_cache else None


def backward(dy, dh_T, dc_T, saved, weight_hh):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero)
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    h, c, ifgo, lengths = saved
    T, B, H = ifgo.shape[0], *h.shape[1:]
    zero = np.zeros((B, H), h.dtype)
    dh, dc = (np.array(zero if d is None else d, h.dtype, order="C") for d in (dh_T, dc_T))
    dy = None if dy is None else np.ascontiguousarray(dy)
    dgates = np.empty_like(ifgo)
    for t in reversed(range(T)):
        alive = t < lengths
        _gates_backward(zero if dy is None else dy[t], dh, ifgo[t], c[t], c[t + 1], alive, dc, dgates[t])
        if alive.all():
            np.matmul(dgates[t], weight_hh, out=dh)
        else:                               # a row that has ended hands its dh on untouched
            np.copyto(dh, dgates[t] @ weight_hh, where=alive[:, None])
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


# --- sigmoid and tanh, so that the compiler can vectorise the loops that call them --------------------------
#
# The C library's tanh is a call for every element, and a loop with a call in it is not vectorised. These two are
# straight lines of arithmetic on one exponential of a negative number: nothing overflows and nothing branches.
#
#     exp(x) = 2**n * exp(r)      n = the integer nearest to x / ln 2, so |r| <= ln(2) / 2
#     exp(r) = 1 + r + r**2/2! + ... + r**K/K!    K = 7 (float32), 13 (float64): the rest is below half an ULP
#     2**n   = n + bias, shifted into the bits of the exponent


def sigmoid(x):
    """1 / (1 + exp(-x)). Only in compiled code, on a float32 or float64 scalar; see `_activations`."""
    raise TypeError("sigmoid and tanh of cpu_gates work in compiled code only")


def tanh(x):
    """The same for tanh(x)."""
    return sigmoid(x)


def _activations(real, integer, mantissa_bits, bias, lowest, ln2_high, ln2_low, K):
    """-> sigmoid, tanh for one type. Every constant has that type: beside an int, float32 would become float64."""
    one, two, lowest, per_ln2 = real(1), real(2), real(lowest), real(1 / math.log(2))
    ln2_high, ln2_low = real(ln2_high), real(ln2_low)
    rounder, shift, bias = real(1.5 * 2**mantissa_bits), integer(mantissa_bits), integer(bias)
    highest_term, *terms = (real(1 / math.factorial(k)) for k in range(K, 0, -1))
    terms = tuple(terms)

    @njit(**_OPTIONS)
    def exp_parts(x):
        """x <= 0 -> scale, p with exp(x) = scale * (1 + p); near 0, p keeps the digits that exp(x) - 1 loses"""
        x = lowest if x < lowest else x     # written so that NaN passes
        shifted = x * per_ln2 + rounder     # so large that its last bit counts ones: rounded, and n is in its bits
        n = shifted - rounder
        r = (x - n * ln2_high) - n * ln2_low    # ln 2 in two parts, because n * ln2_high is exact
        p = highest_term
        for term in terms:
            p = p * r + term
        scale = integer((real(shifted).view(integer) + bias) << shift)
        return real(scale.view(real)), p * r

    def sigmoid(x):
        scale, p = exp_parts(-abs(x))
        z = scale + scale * p               # exp(-|x|), in 0..1
        return (one if x >= 0 else z) / (one + z)

    def tanh(x):
        scale, p = exp_parts(-two * abs(x))
        z_minus_1 = scale * p + (scale - one)   # z = exp(-2|x|), and tanh|x| = (1 - z) / (1 + z)
        return math.copysign(-z_minus_1 / (two + z_minus_1), x)

    return sigmoid, tanh


_BY_TYPE = {
    types.float32: _activations(np.float32, np.int32, 23, 127, -88.0,
                                0.693359375, -2.12194440054690582e-4, K=7),
    types.float64: _activations(np.float64, np.int64, 52, 1023, -709.0,
                                0.69314718036912381649, 1.90821492927058770002e-10, K=13),
}
overload(sigmoid)(lambda x: _BY_TYPE[x][0])
overload(tanh)(lambda x: _BY_TYPE[x][1])
