"""Softmax cross-entropy over a large vocabulary on the GPU, with the linear layer below it, `chunk` rows at a time.

The products are cuBLAS's; what lies between them, the softmax, the loss and the gradient, is one kernel that goes over
the logits twice (cross_entropy.cu), where plain code does so eight times and waits for each chunk's loss. Never more
than `chunk` rows of logits exist. Nothing here waits for the device: the loss is a number there.

Compiled for all GPUs since sm_75, and executed on the CPU from the same text; not yet measured on a GPU.
"""

import numpy as np

from .cupy_checks import check, check_integers, storage
from .cupy_launch import cupy, launch

THREADS = 512       # a block: one row
NO_INDEX = np.int64(np.iinfo(np.int64).min)     # that no target has


def linear_cross_entropy(x, weight, bias, targets, ignore_index, chunk, need_grads, version=2):
    """x (N, E), weight (V, E), bias (V,), targets (N,), on the device
    -> loss, a float64 array of shape (), and (dx (N, E), dweight (V, E), dbias (V,)) or None

    None where x is not float32 or float64. A target that there is not makes the loss NaN. Raises ValueError for arrays
    of other shapes and dtypes, or that are not on the device. version: which kernel of cross_entropy.cu.
    """
    if (S := storage(x)) is None:
        return None
    (N, E), V = x.shape, len(weight)
    x, weight = check("x", x, (N, E), x.dtype), check("weight", weight, (V, E), x.dtype)
    bias = check("bias", bias, (V,), x.dtype)
    check_integers("targets", targets, (N,))
    targets = cupy.ascontiguousarray(targets.astype(np.int64))
    ignored = NO_INDEX if ignore_index is None else np.int64(ignore_index)
    n = cupy.maximum((targets != ignored).sum(), 1).reshape(1)
    nll, grads = cupy.zeros(N, np.float64), None
    if need_grads:
        grads = dx, dweight, dbias = cupy.empty_like(x), cupy.zeros_like(weight), cupy.zeros_like(bias)
        product = cupy.empty_like(weight)
    logits = cupy.empty((min(chunk, N), V), x.dtype)
    for start in range(0, N, chunk):
        rows = slice(start, start + chunk)
        p = logits[: len(x[rows])]  # (chunk, V)
        cupy.dot(x[rows], weight.T, out=p)
        args = bias, targets[rows], ignored, n, V, int(need_grads), p, nll[rows]
        launch("cross_entropy.cu", f"cross_entropy_{version}<{S}>", (len(p),), (THREADS,), args)
        if need_grads:
            cupy.dot(p, weight, out=dx[rows])
            dweight += cupy.dot(p.T, x[rows], out=product)
            dbias += p.sum(axis=0)
    return nll.sum() / n[0], grads
