"""The recurrence as a CUDA graph, launched by CuPy: all steps of a call, each of them one kernel (lstm_step.cu), are
one launch for the host, which would need several microseconds for every step.

A graph repeats its launches with the arguments that they had when it was made. So that every call can have arrays of
its own, its kernels read the arrays' addresses from a table, which a tiny kernel writes first. That one gets them as
arguments, by value: the driver copies them when the launch is queued, and the host may go on to the next call while the
GPU is still busy with one before. A table belongs to one graph, and both to one thread of the host and one stream, on
which table, graph, table, graph come in the order in which that thread has queued them: a table is written when the
graph before has been through with it. (CuPy's memory pool relies on the same order: what is freed here while the GPU
still uses it is given again to the same stream alone.)

A graph is made at the first call with its sizes, for which every step is launched once, and is kept.

Compiled for all GPUs since sm_75, and executed on the CPU from the same text; not yet measured on a GPU.
"""

from functools import lru_cache
from threading import current_thread

import numpy as np

from .cupy_launch import STORAGE, cupy, kernel, launch
from .gpu_recurrence import begin_backward, begin_forward, end_forward, states

__all__ = ["forward", "backward", "states", "plan"]

FILE = "lstm_step.cu"
KEPT = 128              # graphs: texts come in many lengths
ADDRESSES = 9           # in a table
ROWS = (64, 32, 16)     # of a block of version 2, from the one that reads least to the one that gives most blocks
BLOCKS = 100            # that make use of a large GPU: nearly one for each of its multiprocessors


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True, version=2):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) on the host or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)

    float32, float64, or float16 and bfloat16 with c0 and c_T in float32. version: which step_forward of lstm_step.cu;
    where the second has no place, it is the first. Raises ValueError for arrays of other shapes or dtypes, or that are
    not on the device.
    """
    x_gates, weight_hh, saved, y = begin_forward(
        cupy, tuple(STORAGE), x_gates, weight_hh, h0, c0, lengths, need_cache
    )  # fmt: skip
    if y.size:      # an empty grid cannot be launched
        h, c, ifgo, lengths = saved
        T, B, H = y.shape
        arrays = x_gates, _aligned(weight_hh), lengths, h, c, y, ifgo if need_cache else None
        _run(plan("forward", version, B, H, y.dtype), range(T), len(h), B, H, arrays)
    return end_forward(y, saved, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh, version=2):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero); dc_T has the dtype of c_T
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    dy, dh_T, dc, weight_hh, dgates, dh0 = begin_backward(cupy, dy, dh_T, dc_T, saved, weight_hh)
    if not dgates.size:
        return dgates, dh_T.copy(), dc
    _, c, ifgo, lengths = saved
    T, B, H = len(dgates), *dh0.shape
    arrays = dy if len(dy) == T else None, dh_T, _aligned(weight_hh), ifgo, lengths, c, dc, dgates, dh0
    _run(plan("backward", version, B, H, dh0.dtype), range(T - 1, -2, -1), T, B, H, arrays)    # step -1 gives dh0
    return dgates, dh0, dc


def plan(direction, version, B, H, dtype):
    """-> the name of the kernel, its grid and its block: see lstm_step.cu. They depend on nothing else, so that the
    order of all sums, and with it every bit, is the same on any GPU."""
    storage, units = STORAGE[dtype.name], 1 if direction == "backward" else 4    # units: columns for each
    if version == 1 or H % 2 or 4 * H * H >= 2**31:    # version 2 counts the numbers of weight_hh by int
        return f"step_{direction}_1<{storage}>", (-(-H // 16), -(-B // 16)), (16, 16)

    def grid(rows):
        return -(-units * H // max(rows, 16)), -(-B // rows)

    useful = [rows for rows in ROWS if rows < 2 * B and rows * dtype.itemsize < 512 and np.prod(grid(rows)) >= BLOCKS]
    rows = 1 if B == 1 else useful[0] if useful else ROWS[-1]
    V = 4 if H % 4 == 0 and dtype.itemsize < 8 else 2
    return f"step_{direction}_2<{storage}, {V}, {rows}>", grid(rows), (256,)


def _aligned(a):
    """The array, from a multiple of 16 bytes on, as version 2 reads it."""
    return a.copy() if a.data.ptr % 16 else a


# --- graphs -----------------------------------------------------------------------------------------------------------


def _run(how, steps, n, B, H, arrays):
    """Launch the graph of these steps, for these arrays. n: the argument that follows the step."""
    where = cupy.cuda.get_current_stream(), cupy.cuda.runtime.getDevice(), current_thread()
    table, graph = _captured(*how, steps, n, B, H, *where)
    addresses = [0 if a is None else a.data.ptr for a in arrays] + [0] * (ADDRESSES - len(arrays))
    launch(FILE, "publish", (1,), (1,), (table, *map(np.uint64, addresses)))
    graph.launch()


@lru_cache(KEPT)
def _captured(name, grid, block, steps, n, B, H, stream, device, thread):
    """-> a table, and the graph that reads it. stream, device and thread tell graphs apart; that this remembers them
    keeps their names from being given to others."""
    step = kernel(FILE, name)    # compiled and loaded now: not while launches are captured
    table = cupy.empty(ADDRESSES, np.uint64)
    capturing = cupy.cuda.Stream(non_blocking=True)    # the default stream cannot be captured
    with capturing:
        capturing.begin_capture()
        for t in steps:
            step(grid, block, (table, *map(np.int32, (t, n, B, H))))
        return table, capturing.end_capture()
