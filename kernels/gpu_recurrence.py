"""The recurrence on a GPU: what kernel files have in common, those that bring only the gates of a step and those that
bring all steps.

Of the first, a step is a product of the library, `h @ weight_hh.T`, and one launch that does everything else: such a
file brings a `Gates`, the module its arrays belong to and two functions that prepare a launch. The others bring one
function that launches them. Nothing here waits for the device: the host checks the arguments, then runs ahead and
leaves a queue of products and launches behind it. All arguments are checked before the first launch, because a kernel
that reads past the end of an array may ruin the whole process's work on the device.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np


class Gates(NamedTuple):
    """The gates of a step, forward and backward. Both functions take whole arrays, once a call, and return
    `launch(t)`, which does step t. What they read and write is described in `forward` and `backward` below."""

    xp: ModuleType          # cupy; numpy where a kernel is executed on the CPU, for tests
    dtypes: tuple[str, ...]
    prepare_forward: Callable[..., Callable[[int], None]]
    prepare_backward: Callable[..., Callable[[int], None]]


class Saved(NamedTuple):
    """What backward needs, on the device. Row t of h and c is the state before step t."""

    h: Any          # (T+1, B, H)
    c: Any          # (T+1, B, H), float32 where the others are float16
    ifgo: Any       # (T, B, 4H), activated; 0 past a row's length
    lengths: Any    # (B,) int32, T everywhere where none were given


def forward(gates, x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) on the host or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)

    All of one dtype, but c0 and c_T, which are float32 where that is float16. Raises ValueError for arrays of other
    shapes or dtypes, or that are not on the device.
    """
    xp = gates.xp
    x_gates, weight_hh, saved, y = begin_forward(xp, gates.dtypes, x_gates, weight_hh, h0, c0, lengths, need_cache)
    h, c, ifgo, lengths = saved
    if y.size:                              # an empty grid cannot be launched
        # reads x_gates, lengths, and of row t of h, c and ifgo (the rows come round again) the state before the step
        # and its product; writes row t + 1 of h and c, row t of y, and the gates over the product if they are kept
        launch = gates.prepare_forward(x_gates, lengths, h, c, ifgo, y, need_cache)
        for t in range(len(y)):
            xp.dot(h[t % len(h)], weight_hh.T, out=ifgo[t % len(ifgo)])
            launch(t)
    return end_forward(y, saved, need_cache)


def backward(gates, dy, dh_T, dc_T, saved, weight_hh):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero); weight_hh (4H,H) as in forward
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)

    Raises ValueError as forward does.
    """
    xp = gates.xp
    dy, dh_T, dc, weight_hh, dgates, dh = begin_backward(xp, dy, dh_T, dc_T, saved, weight_hh)
    _, c, ifgo, lengths = saved
    if dgates.size:
        # reads row t of dy (of its only row, if it has one), and for dh the product of step t + 1 or, where step t
        # was a row's last, dh_T; reads and writes dc; writes row t of dgates
        launch = gates.prepare_backward(dy, dh_T, lengths, c, ifgo, dh, dc, dgates)
        for t in reversed(range(len(dgates))):
            launch(t)
            xp.dot(dgates[t], weight_hh, out=dh)
    # a row that has not begun hands on what it was given (where of CuPy 14 makes float32 of bfloat16)
    return dgates, xp.where((lengths > 0)[:, None], dh, dh_T).astype(dh.dtype, copy=False), dc


def states(saved):
    """-> h (T+1,B,H), c (T+1,B,H), ifgo (T,B,4H)"""
    return saved.h, saved.c, saved.ifgo


# --- kernels that do all steps ----------------------------------------------------------------------------------------


def forward_at_once(xp, dtypes, launch, x_gates, weight_hh, h0, c0, lengths, need_cache):
    """forward, by one kernel for all steps: launch(ins, outs), the arguments by name, in the order in which a kernel
    has them. What is not kept is None, and without a cache row t % rows of h and c is the state before step t."""
    x_gates, weight_hh, saved, y = begin_forward(xp, dtypes, x_gates, weight_hh, h0, c0, lengths, need_cache)
    h, c, ifgo, lengths = saved
    T, B, H = y.shape
    if y.size:
        launch(dict(x_gates=x_gates, weight_hh=weight_hh, lengths=lengths, T=T, B=B, H=H, rows=len(h)),
               dict(h=h, c=c, y=y, ifgo=ifgo if need_cache else None))  # fmt: skip
    return end_forward(y, saved, need_cache)


def backward_at_once(xp, launch, dy, dh_T, dc_T, saved, weight_hh):
    """backward, by one kernel for all steps: launch(ins, outs). Of dy, dh_T and dc_T, what is not there is None."""
    T, B, H, dtype = check_backward(xp, dy, dh_T, dc_T, saved, weight_hh)
    _, c, ifgo, lengths = saved
    dgates, dh0, dc0 = xp.empty((T, B, 4 * H), dtype), xp.empty((B, H), dtype), xp.empty((B, H), c.dtype)
    if dgates.size:
        d = {name: d if d is None else xp.ascontiguousarray(d) for name, d in dict(dy=dy, dh_T=dh_T, dc_T=dc_T).items()}
        ins = dict(ifgo=ifgo, c=c, weight_hh=xp.ascontiguousarray(weight_hh), lengths=lengths, T=T, B=B, H=H)
        launch(d | ins, dict(dgates=dgates, dh0=dh0, dc0=dc0))
    else:    # there is no step between
        for out, d in ((dh0, dh_T), (dc0, dc_T)):
            out[...] = 0 if d is None else d
    return dgates, dh0, dc0


# --- before the first launch, and after the last ---------------------------------------------------------------------


def begin_forward(xp, dtypes, x_gates, weight_hh, h0, c0, lengths, need_cache):
    """The arguments of forward, checked -> x_gates and weight_hh, contiguous; Saved, with the first state in row 0 of h
    and c; y (T,B,H), to be written. Without a cache two rows of state take turns, and there is one of ifgo."""
    T, B, H, dtype = check_forward(xp, dtypes, x_gates, weight_hh, h0, c0)
    lengths = xp.asarray(check_lengths(lengths, T, B))
    rows = T + 1 if need_cache else 2
    h, c = xp.empty((rows, B, H), dtype), xp.empty((rows, B, H), c0.dtype)
    ifgo = xp.empty((T if need_cache else 1, B, 4 * H), dtype)
    h[0], c[0] = h0, c0
    x_gates, weight_hh = xp.ascontiguousarray(x_gates), xp.ascontiguousarray(weight_hh)
    return x_gates, weight_hh, Saved(h, c, ifgo, lengths), xp.empty((T, B, H), dtype)


def end_forward(y, saved, need_cache):
    """-> what forward returns"""
    last = len(y) % len(saved.h)
    return y, saved.h[last].copy(), saved.c[last].copy(), saved if need_cache else None


def begin_backward(xp, dy, dh_T, dc_T, saved, weight_hh):
    """The arguments of backward, checked -> dy, with a single row of zeros where there was none, dh_T, a copy of dc_T,
    and weight_hh, all contiguous; dgates (T,B,4H) and dh0 (B,H), to be written"""
    T, B, H, dtype = check_backward(xp, dy, dh_T, dc_T, saved, weight_hh)
    dy = xp.zeros((1, B, H), dtype) if dy is None else xp.ascontiguousarray(dy)
    dh_T = xp.zeros((B, H), dtype) if dh_T is None else xp.ascontiguousarray(dh_T)
    dc = xp.zeros((B, H), saved.c.dtype) if dc_T is None else xp.array(dc_T, order="C")
    weight_hh = xp.ascontiguousarray(weight_hh)
    return dy, dh_T, dc, weight_hh, xp.empty((T, B, 4 * H), dtype), xp.empty((B, H), dtype)


def check_forward(xp, dtypes, x_gates, weight_hh, h0, c0):
    """-> T, B, H, dtype"""
    for name, a, axes in (("x_gates", x_gates, 3), ("h0", h0, 2)):
        if getattr(a, "ndim", None) != axes:
            raise ValueError(f"{name}: expected {axes} axes, got {getattr(a, 'shape', type(a).__name__)}")
    T, (B, H), dtype = len(x_gates), h0.shape, x_gates.dtype
    if dtype.name not in dtypes:
        raise ValueError(f"x_gates: expected one of {', '.join(dtypes)}, got {dtype}")
    _check(xp, "x_gates", x_gates, (T, B, 4 * H), dtype)
    _check(xp, "weight_hh", weight_hh, (4 * H, H), dtype)
    _check(xp, "h0", h0, (B, H), dtype)
    _check(xp, "c0", c0, (B, H), np.promote_types(dtype, np.float32))
    return T, B, H, dtype


def check_backward(xp, dy, dh_T, dc_T, saved, weight_hh):
    """-> T, B, H, dtype"""
    (T, B, H), dtype = (len(saved.ifgo), *saved.h.shape[1:]), saved.h.dtype
    _check(xp, "weight_hh", weight_hh, (4 * H, H), dtype)
    for name, d, shape in (("dy", dy, (T, B, H)), ("dh_T", dh_T, (B, H)), ("dc_T", dc_T, (B, H))):
        if d is not None:
            _check(xp, name, d, shape, saved.c.dtype if name == "dc_T" else dtype)
    return T, B, H, dtype


def _check(xp, name, a, shape, dtype):
    if not isinstance(a, xp.ndarray):
        kind = "CuPy" if xp.__name__ == "cupy" else "NumPy"
        raise ValueError(f"{name}: expected a {kind} array, got {type(a).__module__}.{type(a).__name__}")
    if a.shape != shape or a.dtype != dtype:
        raise ValueError(f"{name}: expected {dtype} {shape}, got {a.dtype} {a.shape}")


def check_lengths(lengths, T, B):
    """-> (B,) int32 on the host, a copy"""
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    if lengths.shape != (B,) or lengths.dtype.kind not in "iu" or ((lengths < 0) | (lengths > T)).any():
        raise ValueError(f"lengths: expected ({B},) integers from 0 to {T}, got {lengths}")
    return lengths.astype(np.int32)
