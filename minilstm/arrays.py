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
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    driver, cuda = (f"{n // 1000}.{n % 1000 // 10}" for n in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    return {"gpu": name, "driver": f"for CUDA up to {driver}", "cuda": cuda}
