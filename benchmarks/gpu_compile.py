"""Kernels compiled before they are needed, on all processors at once, while others are checked or timed. CuPy compiles
a kernel at its first launch, a second or several for each, and the sizes of a check need some hundred."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from importlib import import_module

import numpy as np
from gpu_ladder import module, offers, runnable

from minilstm.recurrence import storage_dtype
from minilstm.twins import registry

BEAT = 1.0  # seconds between two signs of life


@contextmanager
def compiling(gpu, journal, sizes, until):
    """Within, what a forward and a backward of these sizes, (B, H, precision), will launch is compiled in the
    background, in this order. -> ready(*sizes), which returns when that is done for some of them, or the time is up.

    What cannot be compiled is passed over: whoever launches it will hear the reason. At the end, what has not begun is
    left; what has goes on, and so a process that is to end at once has to do so by os._exit.
    """
    needed = {size: kernels_of(gpu, *size) for size in dict.fromkeys(sizes)}
    if not any(needed.values()):
        yield lambda *_: None
        return
    compiled = import_module(f"{registry()[0].__name__}.cupy_launch").kernel
    alone = threading.Lock()

    def make(how):
        try:
            compiled(*how)
        except Exception:  # perhaps it is the compiler that could not do several things at once
            with alone:
                compiled(*how)

    with journal.doing(provider="nvrtc"):
        open_compiler(gpu.cupy)
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1))  # one processor is left for whoever is timed
    making = {how: pool.submit(make, how) for how in dict.fromkeys(how for some in needed.values() for how in some)}

    def ready(*some):
        missing = {making[how] for size in some for how in needed[size]}
        with journal.doing(provider="nvrtc"):
            while missing and time.time() < until:
                missing = wait_for(missing, timeout=min(BEAT, max(0, until - time.time()))).not_done
                journal.beat(provider="nvrtc", missing=len(missing))

    try:
        yield ready
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def open_compiler(cupy):
    """Compile something tiny. The first compilation of a process loads libraries of NVRTC's, and several at once fail
    where one of them has not got its own yet. (A template is never taken from CuPy's disk.)"""
    text = "template <int N> __global__ void nothing() {}"
    cupy.RawModule(code=text, options=("-std=c++17",), name_expressions=("nothing<0>",)).get_function("nothing<0>")


def kernels_of(gpu, B, H, precision):
    """What every kernel that can run here launches for a size"""
    return [how for kernel in runnable() if offers(kernel, precision)
            for how in launched(gpu, kernel.name, B, H, precision)]  # fmt: skip


def launched(gpu, name, B, H, precision):
    """-> the arguments of cupy_launch.kernel for both directions of a kernel whose text depends on the sizes; [] where
    there is no room, and for the others, which are few."""
    if name not in ("graph", "cluster", "persistent"):
        return []
    functions, found = module(name), []
    dtype = np.dtype(precision) if precision == "float64" else np.dtype(np.float32)
    dtype = dtype if precision in ("float32", "float64") else storage_dtype(precision, dtype)
    for direction in ("forward", "backward"):
        if name == "graph":
            found.append((functions.FILE, functions.plan(direction, 2, B, H, dtype)[0]))
            continue
        try:
            version = functions.VERSIONS.get(precision) or functions.best_version(dtype.name)
            how = functions.plan(direction, version, B, H, dtype.name, device(gpu))
        except ValueError:
            continue
        kernel = how.name(direction, version, functions.STORAGE[dtype.name])
        found.append((functions.FILE, kernel, name == "persistent", how.shared_mem, getattr(how, "cluster", 1)))
    return found


def device(gpu):
    """What the plans depend on."""
    runtime = gpu.cupy.cuda.runtime
    found = runtime.getDeviceProperties(runtime.getDevice())
    plans = import_module(f"{registry()[0].__name__}.cluster_plan")
    return plans.Device(found["multiProcessorCount"], found["sharedMemPerBlockOptin"])
