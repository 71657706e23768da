"""The gates of a step as one GPU kernel in Numba CUDA: the same computation as in CUDA C++, written in Python.

A thread has one unit of one row of the batch, in all four gates: neighbouring threads read neighbouring numbers, and
every number is read and written once. Forward, that is per unit 4 of x_gates, 4 of the product and c in, and c, h, y
and, for a backward, 4 gates out; the arithmetic is nothing beside it. The product `h @ weight_hh.T` of a step is left
to the library (gpu_recurrence.py walks over time).

Works with Numba's own `numba.cuda` and with the `numba-cuda` package, which takes its place where it is installed. In
Numba's simulator (NUMBA_ENABLE_CUDASIM=1 before Numba is imported) it runs on NumPy arrays without a GPU. Compiled on
its first call with arrays of a type, which takes about a second. Not yet measured on a GPU.
"""

import math
import warnings

from numba import config, cuda

from . import gpu_recurrence
from .gpu_recurrence import Gates, states

__all__ = ["forward", "backward", "states"]

UNITS, ROWS = 32, 4     # of a block of threads: the loads of a warp are neighbours in memory

if config.ENABLE_CUDASIM:
    import numpy as xp
else:
    from .gpu_device import cupy_with_a_gpu

    xp = cupy_with_a_gpu()
    if not cuda.is_available():
        raise ImportError(f"Numba cannot use the GPU: {cuda.cuda_error() or 'its compiler, libnvvm, is missing'}")


# --- on the device ---------------------------------------------------------------------------------------------------


@cuda.jit(device=True)
def sigmoid(x):
    """Through exp(-|x|), which cannot overflow. All in x's own type: with a plain 1 it would be float64."""
    one = type(x)(1)
    z = math.exp(-abs(x))
    return (one if x >= 0 else z) / (one + z)


@cuda.jit(device=True)
def my_place():
    """-> the row and the unit of this thread. Rows go along the first dimension of the grid, which has no limit."""
    b = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    return b, cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x


@cuda.jit
def gates_forward(t, now, new, row, keep, x_gates, lengths, h, c, ifgo, y):
    """Step t, from row `now` of h and c (2 or T+1,B,H) to row `new`. x_gates (T,B,4H), the input's share; `row` of ifgo
    (1 or T,B,4H), in: the state's share, out, with `keep`: the gates after activation; lengths (B,); y (T,B,H)"""
    b, j = my_place()
    B, H = y.shape[1], y.shape[2]
    if b >= B or j >= H:
        return
    x, gates = x_gates[t, b], ifgo[row, b]
    if t >= lengths[b]:                     # a row that has ended
        gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j] = 0, 0, 0, 0
        c[new, b, j], h[new, b, j], y[t, b, j] = c[now, b, j], h[now, b, j], 0
        return
    i = sigmoid(x[j] + gates[j])
    f = sigmoid(x[H + j] + gates[H + j])
    g = math.tanh(x[2 * H + j] + gates[2 * H + j])
    o = sigmoid(x[3 * H + j] + gates[3 * H + j])
    c_new = f * c[now, b, j] + i * g
    h_new = o * math.tanh(c_new)
    if keep:
        gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j] = i, f, g, o
    c[new, b, j], h[new, b, j], y[t, b, j] = c_new, h_new, h_new


@cuda.jit
def gates_backward(t, dy_row, dy, dh_T, lengths, c, ifgo, dh_later, dc, dgates):
    """The same step backward. dy (1 or T,B,H); dh_T (B,H), of the final state; dh_later (B,H), what later steps say
    about the state after this one; dc (B,H), in: of c after this step, out: before it; writes row t of dgates (T,B,4H)
    """
    b, j = my_place()
    B, H = dc.shape
    if b >= B or j >= H:
        return
    d, gates = dgates[t, b], ifgo[t, b]
    if t >= lengths[b]:                     # a row that has ended hands its dh and dc on untouched
        d[j], d[H + j], d[2 * H + j], d[3 * H + j] = 0, 0, 0, 0
        return
    i, f, g, o = gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j]
    one = type(o)(1)
    # h = o * tanh(c)
    dh = (dh_later[b, j] if t + 1 < lengths[b] else dh_T[b, j]) + dy[dy_row, b, j]
    tanh_c = math.tanh(c[t + 1, b, j])
    d[3 * H + j] = dh * tanh_c * o * (one - o)
    dc_new = dc[b, j] + dh * o * (one - tanh_c * tanh_c)
    # c = f * c_prev + i * g
    d[j] = dc_new * g * i * (one - i)
    d[H + j] = dc_new * c[t, b, j] * f * (one - f)
    d[2 * H + j] = dc_new * i * (one - g * g)
    dc[b, j] = dc_new * f


# --- on the host -----------------------------------------------------------------------------------------------------


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) on the host or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)"""
    return gpu_recurrence.forward(GATES, x_gates, weight_hh, h0, c0, lengths, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero)
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    return gpu_recurrence.backward(GATES, dy, dh_T, dc_T, saved, weight_hh)


def _prepare_forward(x_gates, lengths, h, c, ifgo, y, keep):
    launch = _prepare(gates_forward, y.shape[1:], x_gates, lengths, h, c, ifgo, y)
    return lambda t: launch(t, t % len(h), (t + 1) % len(h), t % len(ifgo), keep)


def _prepare_backward(dy, dh_T, lengths, c, ifgo, dh_later, dc, dgates):
    launch = _prepare(gates_backward, dc.shape, dy, dh_T, lengths, c, ifgo, dh_later, dc, dgates)
    return lambda t: launch(t, t % len(dy))


def _prepare(kernel, BH, *arrays):
    """-> a function of the numbers that come before the arrays. What does not change from step to step is done here,
    once: to hand an array over to Numba takes longer than a small launch."""
    B, H = BH
    grid = -(-B // ROWS), -(-H // UNITS)
    arrays = [_for_numba(a) for a in arrays]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size")  # it is small because the batch is
        launch = kernel[grid, (UNITS, ROWS), _stream()]
    return lambda *numbers: launch(*numbers, *arrays)


def _for_numba(a):
    """The same memory as Numba's kind of array. Without `sync` CuPy's stream would be waited for, every time."""
    if config.ENABLE_CUDASIM:
        return cuda.devicearray.FakeCUDAArray(a)
    return cuda.as_cuda_array(a, sync=False)


def _stream():
    """The stream on which CuPy works now, so that products and gates stay in order. CUDA's own default stream is
    called 1: what Numba takes 0 to be can be configured."""
    return 0 if config.ENABLE_CUDASIM else cuda.external_stream(xp.cuda.get_current_stream().ptr or 1)


GATES = Gates(xp, ("float32", "float64"), _prepare_forward, _prepare_backward)
