"""A sum of squares, and one step of an optimiser in one pass over a parameter, its gradient and its moments, on the GPU
(optim.cu). The formulas are those of minilstm/optim.py.

`scale` multiplies the gradient: a number, or one on the device, for which nobody waits. Where it is not finite, nothing
changes. The optimisers change p and the moments in place and return True, or change nothing and return None where the
arrays are not float32 or float64, or not contiguous. They raise ValueError, before any launch, for arrays of different
shapes or dtypes, or that are not on the device.

Compiled for all GPUs since sm_75, and executed on the CPU from the same text; not yet measured on a GPU.
"""

import numpy as np

from .cupy_checks import check, storage
from .cupy_launch import cupy, launch

THREADS = 256       # a block
PIECE = 8192        # numbers whose squares a block adds up


def sum_of_squares(*arrays):
    """-> the sum of the squares of all of them, a float64 array of shape () on the device, added in a fixed order; or
    None where one of them is not float32 or float64"""
    if any(storage(a) is None for a in arrays):
        return None
    arrays = [check(f"array {n}", a, a.shape, a.dtype) for n, a in enumerate(arrays) if a.size]
    pieces = [-(-a.size // PIECE) for a in arrays]
    sums, total, done = cupy.empty(sum(pieces), np.float64), cupy.zeros((), np.float64), 0
    for a, n in zip(arrays, pieces, strict=True):
        args = a, np.int64(a.size), PIECE, sums[done : done + n]
        launch("optim.cu", f"squares_of_pieces<{storage(a)}>", (n,), (THREADS,), args)
        done += n
    if done:
        launch("optim.cu", "total_of_pieces", (1,), (THREADS,), (sums, done, total))
    return total


def sgd(p, g, velocity, lr, momentum, weight_decay, scale=1.0):
    """velocity: None without momentum"""
    return _step("sgd", (p, g, velocity), scale, (lr, momentum, weight_decay))


def asgd(p, g, mean, lr, weight_decay, n, scale=1.0):
    """mean: of p, over n of its values with the new one; None: not yet"""
    if mean is None:
        return sgd(p, g, None, lr, 0, weight_decay, scale)
    return _step("asgd", (p, g, mean), scale, (lr, weight_decay, n))


def adam(p, g, exp_avg, exp_avg_sq, betas, eps, weight_decay, shrink, step_size, correction, scale=1.0):
    """p = shrink * p - step_size * exp_avg / (correction * sqrt(exp_avg_sq) + eps); weight_decay is the gradient's"""
    factors = (1 - betas[0], betas[1], 1 - betas[1], eps, weight_decay, shrink, step_size, correction)
    return _step("adam", (p, g, exp_avg, exp_avg_sq), scale, factors)


def _step(kernel, arrays, scale, factors):
    """Launch the kernel with p, g and the moments (None: there is none) -> True, or None: not for such arrays"""
    p, given = arrays[0], [a for a in arrays if a is not None]
    for n, a in enumerate(given):
        check(("p", "g", "moment 1", "moment 2")[n], a, p.shape, p.dtype)
    if storage(p) is None or not all(a.flags.c_contiguous for a in given):
        return None
    if not p.size:
        return True
    if not isinstance(scale, cupy.ndarray):
        scale = None if scale == 1 else cupy.full((), scale, np.float64)
    else:
        check("scale", scale, (), np.float64)
    V = 16 // p.dtype.itemsize
    if p.size % V or any(a.data.ptr % 16 for a in given):
        V = 1
    grid = -(-p.size // (V * THREADS))
    args = *arrays, scale, *map(p.dtype.type, factors), np.int64(p.size)
    launch("optim.cu", f"{kernel}<{storage(p)}, {V}>", (grid,), (THREADS,), args)
    return True
