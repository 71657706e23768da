"""Kernels compiled before they are needed, on all processors at once. CuPy compiles a kernel at its first launch, a
second or several for each, one after the other; the sizes of a check need some hundred, and its time is limited."""

import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module

import numpy as np
from gpu_ladder import module, offers, runnable

from minilstm.recurrence import storage_dtype
from minilstm.twins import registry


def compile_ahead(gpu, journal, sizes, until):
    """Compile what a forward and a backward of these sizes, (B, H, precision), will launch. What cannot be compiled is
    passed over: whoever launches it will hear the reason."""
    kernels = runnable()
    wanted = dict.fromkeys(
        how for B, H, precision in sizes for kernel in kernels if offers(kernel, precision)
        for how in launched(gpu, kernel.name, B, H, precision)
    )  # fmt: skip
    if not wanted:
        return
    compiled = import_module(f"{registry()[0].__name__}.cupy_launch").kernel
    with journal.doing(provider="nvrtc"), ThreadPoolExecutor(os.cpu_count()) as pool:
        making = [pool.submit(compiled, *how) for how in wanted]
        try:
            for n, _ in enumerate(as_completed(making, timeout=max(0, until - time.time()))):
                journal.beat(provider="nvrtc", compiled=n + 1, of=len(making))
        except TimeoutError:
            pool.shutdown(cancel_futures=True)


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
