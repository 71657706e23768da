"""Arguments, before any launch: a kernel that reads past the end of an array may ruin all of a process's work on the
device, and says nothing about it."""

import numpy as np

from .cupy_launch import STORAGE, cupy

DTYPES = ("float32", "float64")     # of the kernels of a training step; the others are left to the plain code


def check(name, a, shape, dtype):
    """`a`, contiguous. Raises ValueError unless it is a CuPy array of this shape and dtype."""
    if not isinstance(a, cupy.ndarray):
        raise ValueError(f"{name}: expected a CuPy array, got {type(a).__module__}.{type(a).__name__}")
    if a.shape != tuple(shape) or a.dtype != dtype:
        raise ValueError(f"{name}: expected {np.dtype(dtype)} {tuple(shape)}, got {a.dtype} {a.shape}")
    return cupy.ascontiguousarray(a)


def storage(a):
    """What the dtype of an array is called in a .cu file, or None: the kernels of a training step do not take it."""
    return STORAGE[a.dtype.name] if a.dtype.name in DTYPES else None


def check_integers(name, ids, shape):
    """Raise ValueError unless `ids` is a CuPy array of integers of this shape. Their values are not looked at, because
    the host would have to wait for them: the kernels do not use one as an address that is none."""
    if not isinstance(ids, cupy.ndarray) or ids.dtype.kind not in "iu" or ids.shape != tuple(shape):
        got = f"{ids.dtype} {ids.shape}" if isinstance(ids, cupy.ndarray) else type(ids).__name__
        raise ValueError(f"{name}: expected a CuPy array of integers {tuple(shape)}, got {got}")
