"""Checks at the door: one clear line that names the argument, what was expected and what was got."""

import math

import numpy as np

from .arrays import is_cupy


def check_size(name, n):
    """Raise unless `n` is an integer from 1."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {type(n).__name__}")
    if n < 1:
        raise ValueError(f"{name}: expected at least 1, got {n}")


def check_counter(name, n, below):
    """-> `n` as an int. Raises TypeError unless it is an integer, ValueError unless it is in 0..below-1."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"{name}: expected an integer, got {type(n).__name__}")
    if not 0 <= n < below:
        raise ValueError(f"{name}: expected an integer in 0..2**{below.bit_length() - 1}-1, got {n}")
    return int(n)


def check_number(name, x, below=math.inf):
    """Raise ValueError unless 0 <= x < below; NaN is not."""
    if not 0 <= x < below:
        raise ValueError(f"{name}: expected a number from 0" + (f" and below {below}" if below < math.inf else "")
                         + f", got {x}")  # fmt: skip


def check_array(name, x, what="an array"):
    """Raise TypeError unless `x` is an array of NumPy's or CuPy's."""
    if not isinstance(x, np.ndarray | np.generic) and not is_cupy(x):
        remedy = "; of a PyTorch tensor pass x.numpy()" if hasattr(x, "numpy") else ""
        raise TypeError(f"{name}: expected {what}, got {type(x).__name__}{remedy}")


def check_float_array(name, x, shape, dtype=None):
    """Raise unless `x` is a floating array of this shape (letters in `shape` stand for any size) and dtype."""
    check_array(name, x)
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: expected a floating-point array, got dtype {x.dtype}")
    if dtype is not None and x.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {np.dtype(dtype)}, got {x.dtype}")
    check_shape(name, x, shape)


def check_shape(name, x, shape):
    """Raise ValueError unless `x.shape` fits `shape`, a tuple of sizes and of letters for free sizes."""
    fits = len(x.shape) == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape, x.shape, strict=True)
    )
    if not fits:
        want = ", ".join(str(size) for size in shape) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name}: expected shape ({want}), got {tuple(x.shape)}")


def check_mask(name, mask, x):
    """Raise unless `mask` has the dtype of `x` and broadcasts to its shape (and not the other way round)."""
    check_array("x", x)
    check_float_array(name, mask, getattr(mask, "shape", ()), x.dtype)
    try:
        fits = np.broadcast_shapes(mask.shape, x.shape) == tuple(x.shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: expected a shape that broadcasts to {tuple(x.shape)}, got {tuple(mask.shape)}")


def check_ids(name, ids, n, what="rows"):
    """Raise unless `ids` is an integer array with all values in 0..n-1. Those of an array on the device are not looked
    at, because that would mean to wait for it: whoever puts it there has checked them."""
    check_array(name, ids, "an array of integers")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an array of integers, got {ids.dtype}")
    if not is_cupy(ids) and ids.size and (int(ids.min()) < 0 or int(ids.max()) >= n):
        bad = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
        raise IndexError(f"{name}: expected ids in 0..{n - 1} ({n} {what}), got {bad}")


def check_lengths(lengths, T, B):
    """Return `lengths` (B,) as host integers after checking that each is in 0..T; None stays None."""
    if lengths is None:
        return None
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got dtype {lengths.dtype}")
    check_shape("lengths", lengths, (B,))
    outside = np.flatnonzero((lengths < 0) | (lengths > T))
    if outside.size:
        row = int(outside[0])
        raise ValueError(f"lengths: expected values in 0..T = {T}, got {int(lengths[row])} in row {row}")
    return lengths.astype(np.int64)
