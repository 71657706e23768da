"""Second rung of the CPU ladder: weight_hh is packed once a call, not at every step.

A BLAS copies ("packs") its right-hand matrix into the order in which its inner loop reads it, every time it is called,
and an LSTM calls it T times with the same weight_hh. With few rows in the batch that copying costs more than the
multiplying: at B = 16 a product reaches half its speed or less. The loop over time and the gates are those of the rung
below (cpu_gates.py); the product is this package's own (cpu_gemm.py), which hands out what it has packed and takes it
again. What is left is a call from Python, and threads that wake and go to sleep, twice a step: the next rung.
"""

from .cpu_gates import states, walk_backward, walk_forward
from .cpu_gemm import linear_dx, linear_forward
from .cpu_memory import plain

__all__ = ["backward", "forward", "states"]


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), saved (None with need_cache=False)"""
    weight_hh, packed = plain(weight_hh), None

    def times_weight(h, out):
        nonlocal packed
        packed = linear_forward(h, weight_hh, None, out, packed=packed)

    return walk_forward(times_weight, x_gates, h0, c0, lengths, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero)
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    weight_hh, packed = plain(weight_hh), None

    def times_weight(dgates, out):
        nonlocal packed
        packed = linear_dx(dgates, weight_hh, out, packed=packed)

    return walk_backward(times_weight, dy, dh_T, dc_T, saved)
