"""The gates of a step as one GPU kernel in CUDA C++ (lstm_gates.cu), launched by CuPy; the product stays with cuBLAS.

A step is two launches, where plain code on CuPy arrays has some twenty, each of which reads and writes all of its
(B, 4H) or (B, H) numbers. What remains is the host: at several microseconds a launch it is slower than the GPU for all
but large sizes, which is the business of the next rungs. (gpu_recurrence.py walks over time.)

Compiled for all GPUs since sm_75, and executed on the CPU from the same text; not yet measured on a GPU.
"""

from functools import partial

from . import gpu_recurrence
from .cupy_launch import STORAGE, cupy, launch
from .gpu_recurrence import Gates, states

__all__ = ["forward", "backward", "states", "plan", "VERSIONS"]

VERSIONS = {"tf32": 2}    # the product is cuBLAS's, in what CuPy is set to while a call lasts; the gates are the same
THREADS = 128    # a block, at most: small blocks, since a step has few units for many multiprocessors


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True, version=2):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) on the host or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)

    float32, float64, or float16 and bfloat16 with c0 and c_T in float32. version: which gates_forward of
    lstm_gates.cu.
    """
    return gpu_recurrence.forward(LADDER[version], x_gates, weight_hh, h0, c0, lengths, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh, version=2):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero); dc_T has the dtype of c_T
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    return gpu_recurrence.backward(LADDER[version], dy, dh_T, dc_T, saved, weight_hh)


def plan(direction, version, B, H, *arrays):
    """-> the name of the kernel for arrays like these, its grid and its block: see lstm_gates.cu"""
    dtype = arrays[0].dtype
    storage, V = STORAGE[dtype.name], 16 // dtype.itemsize
    if version == 1:
        return f"gates_{direction}_1<{storage}>", (-(-B * H // THREADS),), (THREADS,)
    if H % V or any(a.data.ptr % 16 for a in arrays):
        V = 1
    warps = -(-H // (32 * V))
    threads = min(THREADS, 32 * warps)
    return f"gates_{direction}_2<{storage}, {V}>", (B, -(-H // (threads * V))), (threads,)


def _prepare_forward(version, x_gates, lengths, h, c, ifgo, y, keep):
    B, H = y.shape[1:]
    how = plan("forward", version, B, H, x_gates, h, c, ifgo, y)

    def step(t):
        now, new, gates = t % len(h), (t + 1) % len(h), ifgo[t % len(ifgo)]
        args = x_gates[t], gates, h[now], c[now], lengths, t, B, H, h[new], c[new], y[t], gates if keep else None
        launch("lstm_gates.cu", *how, args)

    return step


def _prepare_backward(version, dy, dh_T, lengths, c, ifgo, dh_later, dc, dgates):
    B, H = dc.shape
    how = plan("backward", version, B, H, dy, dh_T, c, ifgo, dh_later, dc, dgates)

    def step(t):
        args = dy[t % len(dy)], dh_later, dh_T, ifgo[t], c[t], c[t + 1], lengths, t, B, H, dc, dgates[t]
        launch("lstm_gates.cu", *how, args)

    return step


LADDER = {
    version: Gates(cupy, tuple(STORAGE), partial(_prepare_forward, version), partial(_prepare_backward, version))
    for version in (1, 2)
}
