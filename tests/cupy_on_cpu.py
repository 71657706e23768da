"""A stand-in for CuPy where there is no GPU: its arrays are NumPy's under another name, and its kernels are executed on
the CPU (cuda_on_cpu.py), so that the code for the GPU, kernels/cupy_*.py and the engine on CuPy arrays, can be run.

As strict as CuPy where it matters: arrays of the host and of the "device" do not mix, and a reduction gives an array.
"""

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import cuda_on_cpu
import numpy as np


class ndarray(np.ndarray):
    """An array "on the device"."""

    __module__ = "cupy"

    def get(self):
        return np.array(self.view(np.ndarray))

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        _refuse_host_arrays((*inputs, *out))
        if out:
            options["out"] = tuple(_bare(a) for a in out)
        return _there(getattr(ufunc, method)(*(_bare(a) for a in inputs), **options))

    def __setitem__(self, key, value):
        _refuse_host_arrays([value])
        super().__setitem__(key, value)


class _StandIn(ModuleType):
    """Any function of NumPy that is asked for, with results "on the device"."""

    ndarray = ndarray
    RawModule = cuda_on_cpu.RawModule
    cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=RuntimeError))

    def __getattr__(self, name):
        theirs = getattr(np, name)
        if not callable(theirs) or isinstance(theirs, type):
            return theirs

        def ours(*args, **options):
            if name not in ("asarray", "array"):
                _refuse_host_arrays((*args, *options.values()))
            options = {k: _bare(a) for k, a in options.items()}
            return _there(theirs(*(_bare(a) for a in args), **options))

        return ours


def _refuse_host_arrays(values):
    for value in values:
        if type(value) is np.ndarray:
            raise TypeError(f"Unsupported type {np.ndarray}")


def _bare(a):
    if isinstance(a, tuple | list):
        return type(a)(map(_bare, a))
    return a.view(np.ndarray) if isinstance(a, ndarray) else a


def _there(result):
    if isinstance(result, tuple):
        return tuple(map(_there, result))
    return np.asarray(result).view(ndarray) if isinstance(result, np.ndarray | np.generic) else result


cupy = _StandIn("cupy")


@contextmanager
def in_place_of_cupy():
    """In this block `import cupy` gives the stand-in, and kernels/cupy_*.py are imported anew, with it."""

    def concerned():
        return {name for name in sys.modules if name.split(".")[0] == "cupy" or ".cupy_" in name}

    before = {name: sys.modules.pop(name) for name in concerned()}
    sys.modules["cupy"] = cupy
    try:
        yield cupy
    finally:
        for name in concerned():
            del sys.modules[name]
        sys.modules.update(before)
