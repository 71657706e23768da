"""Where is an array? The only file of the engine that knows that CuPy exists.

There is no global device flag: an array's own module says where it lives, and mixing the two is an error.
"""

import sys
import threading
from contextlib import contextmanager
from functools import cache

import numpy as np


def is_cupy(x) -> bool:
    """True for a CuPy array. CuPy is never imported to find out: its arrays exist only where it already is."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def get_array_module(*arrays):
    """The module (numpy or cupy) that all these arrays belong to; None among them is passed over.

    Raises TypeError when NumPy and CuPy arrays are mixed.
    """
    on_gpu = {is_cupy(x) for x in arrays if x is not None}
    if on_gpu == {True, False}:
        raise TypeError("got NumPy and CuPy arrays in one call; bring them together with minilstm.to_device")
    return sys.modules["cupy"] if on_gpu == {True} else np


def to_device(x, device: str):
    """A NumPy or CuPy array on `device` ("cpu" or "cuda"); returned as it is when it is there already."""
    if device == "cpu":
        return to_numpy(x)
    if device != "cuda":
        raise ValueError(f'device: expected "cpu" or "cuda", got {device!r}')
    try:
        import cupy
    except ImportError as e:
        raise RuntimeError("device 'cuda' needs CuPy: pip install cupy-cuda13x (or cupy-cuda12x)") from e
    return cupy.asarray(x)


def to_numpy(x) -> np.ndarray:
    """The same numbers as a NumPy array."""
    return x.get() if is_cupy(x) else np.asarray(x)


def beside(x, other):
    """The same numbers on the device that `other` is on; None stays None."""
    return None if x is None else to_device(x, "cuda" if is_cupy(other) else "cpu")


# --- single numbers: a loss, a norm


def number(x):
    """A number of the host as a float. One on the device, an array of shape (), stays there: whoever looks at it waits
    until the device has done all that was ordered before."""
    return x if is_cupy(x) else float(x)


def fetch(numbers) -> list[float]:
    """Numbers, wherever each of them is, as floats; those on the device all at once, so that the host waits once."""
    there = [n for n in numbers if is_cupy(n)]
    if there:
        stack = sys.modules["cupy"].stack([n.astype(np.float64) for n in there])
        fetched = iter(stack.get().tolist())
    return [next(fetched) if is_cupy(n) else float(n) for n in numbers]


def about_gpu() -> dict[str, str]:
    """The device that `to_device` brings arrays to, and the CUDA beneath it, in words."""
    import cupy

    runtime = cupy.cuda.runtime
    driver, cuda = (f"{n // 1000}.{n % 1000 // 10}" for n in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    return {"gpu": gpu_name(), "driver": f"for CUDA up to {driver}", "cuda": cuda}


def gpu_name() -> str:
    """Of the device that CuPy works on."""
    return _properties()["name"].decode()


def _properties():
    """Of that device, as CUDA names them: every call of a layer asks, and the driver is asked once."""
    cupy = sys.modules["cupy"]
    return _properties_of(cupy, cupy.cuda.runtime.getDevice())


@cache
def _properties_of(cupy, number):
    return cupy.cuda.runtime.getDeviceProperties(number)


# --- products


@contextmanager
def library_products(x, precision):
    """In this block, with precision "tf32", CuPy multiplies float32 matrices like `x` in TF32 (cuBLAS): around the loop
    over time, and in it where a kernel leaves that to the library. At any other precision, and for NumPy's arrays, it
    changes nothing.

    CuPy has one such setting for a process, which it reads when a product is ordered; it is put back at the end. So for
    products that other threads order meanwhile it holds as well."""
    if precision != "tf32" or not is_cupy(x):
        yield
        return
    core = sys.modules["cupy"]._core
    before = core.get_compute_type(np.float32)
    core.set_compute_type(np.float32, _TF32)
    try:
        yield
    finally:
        core.set_compute_type(np.float32, before)


_TF32 = 7  # cupy._core._routines_linalg.COMPUTE_TYPE_TF32


# --- work side by side


@contextmanager
def side_by_side(x, n):
    """-> n streams for work on arrays like `x` that may be done at the same time

    `with stream:` is where work goes; `event = stream.record()` stands for all that went there so far, and
    `other.wait_event(event)` lets what goes to another come after it. All n begin after what was ordered before this
    block, and what is ordered after it comes after all n; the host waits for nothing. On the CPU, whose work has been
    done when a call returns, the n are one that does nothing.

    CuPy's memory pool gives what is freed to the stream that it was allocated on, at once, whoever else still reads it.
    So what one stream makes and another reads has to be referred to until this block has been left.
    """
    if not is_cupy(x):
        yield [_AlreadyDone()] * n
        return
    caller = sys.modules["cupy"].cuda.get_current_stream()
    streams = _streams_of(caller, n)
    begin = caller.record()
    for stream in streams:
        stream.wait_event(begin)
    try:
        yield streams
    finally:
        for stream in streams:
            caller.wait_event(stream.record())


def multiprocessors() -> int:
    """Of the device that CuPy works on."""
    return _properties()["multiProcessorCount"]


class _AlreadyDone:
    """The CPU, seen as a stream."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def record(self):
        pass

    def wait_event(self, event):
        pass


class _Kept(threading.local):
    """Of each thread, the streams that go with each stream it has called from: kept, because memory that was freed is
    found again by its stream, and CUDA graphs (kernels/cupy_graph.py) are, too. Other threads have others: whoever
    allocates on a stream has to come after all that was done with what was allocated there before."""

    def __init__(self):
        self.streams = {}  # (cupy, device, caller) -> streams


_kept = _Kept()


def _streams_of(caller, n):
    """The first n streams that go with this one, made now if there are not as many."""
    cupy = sys.modules["cupy"]
    mine = _kept.streams.setdefault((cupy, cupy.cuda.runtime.getDevice(), caller), [])
    while len(mine) < n:
        mine.append(cupy.cuda.Stream(non_blocking=True))  # the default stream would wait for others, and they for it
    return mine[:n]
