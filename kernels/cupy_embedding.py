"""An embedding's rows gathered on the GPU, and their gradients added up in the order of the places (embedding.cu).

Compiled for all GPUs since sm_75, and executed on the CPU from the same text; not yet measured on a GPU.
"""

import numpy as np

from .cupy_checks import check, check_integers, storage
from .cupy_launch import cupy, launch

THREADS = 128       # a block, at most: a column each
BLOCKS = 2048       # that the words are dealt out to


def embedding_forward(weight, ids, row_mask):
    """weight (V, E), ids of any shape, row_mask (V, 1) or None, all on the device -> weight[ids] * row_mask[ids]
    (..., E); NaN for an id that there is not. None where weight is not float32 or float64."""
    if (S := storage(weight)) is None:
        return None
    V, E = weight.shape
    weight, ids, row_mask = check("weight", weight, (V, E), weight.dtype), _ids(ids), _mask(row_mask, V, weight.dtype)
    y = cupy.empty((*ids.shape, E), weight.dtype)
    if y.size:
        args = weight, ids, row_mask, V, E, y
        launch("embedding.cu", f"embedding_forward<{S}>", (ids.size,), (_threads(E),), args)
    return y


def embedding_backward(dy, ids, row_mask, V):
    """dy (..., E), ids and row_mask as in forward -> dweight (V, E), the places of a word added in their order. None
    where dy is not float32 or float64."""
    if (S := storage(dy)) is None:
        return None
    E, ids, row_mask = dy.shape[-1], _ids(ids), _mask(row_mask, V, dy.dtype)
    dy, dweight = check("dy", dy, (*ids.shape, E), dy.dtype), cupy.zeros((V, E), dy.dtype)
    if dy.size and V:
        grid = min(V, BLOCKS), -(-E // _threads(E))
        args = dy, ids, row_mask, ids.size, V, E, dweight
        launch("embedding.cu", f"embedding_backward<{S}>", grid, (_threads(E),), args)
    return dweight


def _threads(E):
    """Whole warps."""
    return min(THREADS, -(-E // 32) * 32)


def _ids(ids):
    check_integers("ids", ids, getattr(ids, "shape", ()))
    return ids.astype(np.int32, order="C")


def _mask(row_mask, V, dtype):
    return None if row_mask is None else check("row_mask", row_mask, (V, 1), dtype)
