"""Does it work here? Every kernel computes a small layer forward and backward, beside the plain version in float64."""

import statistics
import time
from typing import NamedTuple

import numpy as np

from minilstm import available_kernels, to_device, to_numpy
from minilstm.recurrence import get_recurrence

T, B, H = 20, 8, 48
SECONDS = 0.2               # to take the time of a kernel; compiling is not counted
NAMES = "y", "h_T", "c_T", "dgates", "dh0", "dc0"


class Tested(NamedTuple):
    """A kernel, and what came of it."""

    name: str
    device: str
    summary: str
    reason: str | None      # why it is not available here
    fault: str | None       # what is wrong with it, where it is available
    error: float | None     # the largest difference from the plain version in float64, of float32
    milliseconds: float | None  # forward and backward, there and back


def try_kernels() -> list[Tested]:
    """All kernels, the best first and the plain version at the end."""
    reference, *kernels = available_kernels()
    arguments = _arguments()
    exact, plain = (_run(get_recurrence("reference"), "cpu", arguments, dtype) for dtype in (np.float64, np.float32))
    return [_try(kernel, arguments, exact, plain) for kernel in (*kernels, reference)]


def _try(kernel, arguments, exact, plain) -> Tested:
    about = kernel.name, kernel.device, kernel.summary
    if kernel.reason is not None:
        return Tested(*about, kernel.reason, None, None, None)
    try:
        recurrence = get_recurrence(kernel.name)
    except RuntimeError as e:       # nothing is wrong with a machine without a GPU, whatever is installed on it
        said = str(e.__cause__ or e)
        return Tested(*about, *((said, None) if kernel.device == "cuda" else (None, said)), None, None)
    device = "cuda" if kernel.device == "cuda" else "cpu"
    try:
        found = _run(recurrence, device, arguments, np.float32)
        milliseconds = _milliseconds(lambda: _run(recurrence, device, arguments, np.float32))
    except Exception as e:          # whatever it is, it must not keep the other kernels from being tested
        return Tested(*about, None, f"{type(e).__name__}: {e}", None, None)
    errors = {name: float(abs(found[name] - exact[name]).max()) for name in NAMES}
    wrong = [name for name in NAMES if not errors[name] <= _allowed(plain[name], exact[name])]  # NaN is wrong, too
    fault = f"wrong: {', '.join(wrong)}" if wrong else None
    return Tested(*about, None, fault, float(np.max(list(errors.values()))), milliseconds)


def _arguments():
    """-> x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), dy (T,B,H), dh_T and dc_T (B,H); lengths (B,)"""
    rng = np.random.default_rng(0)
    shapes = (T, B, 4 * H), (4 * H, H), (B, H), (B, H), (T, B, H), (B, H), (B, H)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    arrays[1] /= np.float32(H**0.5)
    lengths = rng.integers(0, T + 1, B)
    lengths[:2] = 0, T
    return arrays, lengths


def _run(recurrence, device, arguments, dtype):
    """Forward and backward -> everything that they return, as NumPy arrays by name"""
    arrays, lengths = arguments
    *ins, dy, dh_T, dc_T = (to_device(a.astype(dtype), device) for a in arrays)
    *outs, saved = recurrence.forward(*ins, lengths)
    grads = recurrence.backward(dy, dh_T, dc_T, saved, ins[1])
    return dict(zip(NAMES, map(to_numpy, (*outs, *grads)), strict=True))


def _allowed(plain, exact):
    """Twice the error of the plain version in float32, and 16 roundings of the largest number."""
    return 2 * abs(plain - exact).max() + 16 * np.finfo(np.float32).eps * max(1, abs(exact).max())


def _milliseconds(function) -> float:
    """The median of a few calls"""
    times, end = [], time.perf_counter() + SECONDS
    while not times or (len(times) < 9 and time.perf_counter() < end):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
