"""Dropout masks drawn on the GPU (dropout_mask.cu), with the bits that minilstm/dropout.py says.

The host sends a key, a counter and a threshold; the mask of `weight_hh` of a large layer would be 20 MB a step.

Compiled for all GPUs since sm_75, and executed on the CPU from the same text; not yet measured on a GPU.
"""

import math

import numpy as np

from .cupy_checks import storage
from .cupy_launch import cupy, launch

THREADS = 128           # a block
NUMBERS = 16            # that a thread draws
WORDS = 4 * 8           # bytes of shared memory that a thread needs in version 2


def dropout_mask(shape, dtype, key, step, threshold, scale, version=2):
    """key (2,) and step, uint64 -> mask of this shape, on the device: 0 where a number is below the threshold, else the
    scale; None where dtype is not float32 or float64. Raises ValueError for a threshold outside 0..65536."""
    mask = cupy.empty(shape, dtype)
    if (S := storage(mask)) is None:
        return None
    if not 0 <= threshold <= 65536:
        raise ValueError(f"threshold: expected 0..65536, got {threshold}")
    if n := math.prod(shape):
        key_0, key_1 = (np.uint64(k) for k in key)
        args = key_0, key_1, np.uint64(step), np.uint32(threshold), mask.dtype.type(scale), np.int64(n), mask
        grid, shared = -(-n // (NUMBERS * THREADS)), WORDS * THREADS if version == 2 else 0
        launch("dropout_mask.cu", f"dropout_mask_{version}<{S}>", (grid,), (THREADS,), args, shared_mem=shared)
    return mask
