"""Where is an array? The only file of the engine that knows that CuPy exists.

There is no global device flag: an array's own module says where it lives, and mixing the two is an error.
"""

import sys

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
        raise RuntimeError("device 'cuda' needs CuPy: pip install 'minilstm[cuda13]' (or [cuda12])") from e
    return cupy.asarray(x)


def to_numpy(x) -> np.ndarray:
    """The same numbers as a NumPy array."""
    return x.get() if is_cupy(x) else np.asarray(x)
