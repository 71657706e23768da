"""Dropout: masks are arguments, and where they come from.

No mask means evaluation: nothing in the engine asks whether it is training. A mask holds 0 or 1/(1-p), so it is
multiplied in as it is, forward and backward. The four dropouts of AWD-LSTM (Merity et al. 2017) differ only in the
mask's shape:

    element            x.shape      every number on its own
    locked over time   (1, B, H)    the same units at every time step (Gal & Ghahramani 2016)
    embedding rows     (V, 1)       whole words (Gal & Ghahramani 2016)
    weight drop        (4H, H)      entries of weight_hh (Wan et al. 2013)
"""

import math
import zlib

import numpy as np

from .arrays import to_device
from .checks import check_counter, check_mask
from .twins import twin


def dropout_forward(x, mask):
    """x and a mask that broadcasts to it (None: no dropout) -> y. The mask itself is all that backward needs."""
    if mask is None:
        return x
    check_mask("mask", mask, x)
    return x * mask


def dropout_backward(dy, mask):
    """-> dx"""
    return dy if mask is None else dy * mask


class MaskSource:
    """Masks from a counter, not from a stream: the same (seed, kind, layer, step) gives the same mask anywhere.

    The bits are those of Philox4x64-10 (Salmon et al. 2011) with

        key     = (seed, crc32(kind) * 2**32 + layer)
        counter = (block, 0, step, 0)    block = 1, 2, 3, ...

    Each block yields four 64-bit words, each word four 16-bit numbers, lowest first; an element is dropped when its
    number is below round(p * 65536). So p is rounded to a multiple of 2**-16, the scale 1/(1-p) uses the rounded p,
    and a GPU can make the same bits in ten rounds of integer arithmetic without anything large drawn on the host.
    Nothing is carried from call to call: a resumed run has its masks for free.
    """

    def __init__(self, seed: int, *, kernel="auto", device="cpu"):
        """kernel: "auto" draws with the compiled twin where there is one, "reference" with NumPy; the bits are equal.
        device: where the masks are wanted, "cpu" or "cuda"."""
        if device not in ("cpu", "cuda"):
            raise ValueError(f'device: expected "cpu" or "cuda", got {device!r}')
        self.seed, self.kernel, self.device = check_counter("seed", seed, 2**64), kernel, device

    def mask(self, kind: str, shape, p: float, *, step: int, layer: int = 0, dtype=np.float32):
        """A scaled mask of this shape, or None where p is 0. Raises ValueError unless 0 <= p < 1, and for a step or a
        layer that the counter cannot hold; TypeError for a dtype that is not a floating one."""
        if not 0 <= p < 1:
            raise ValueError(f"dropout p ({kind}): expected 0 <= p < 1, got {p}")
        step, layer = check_counter("step", step, 2**64), check_counter("layer", layer, 2**32)
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"dtype: expected a floating-point one, got {np.dtype(dtype)}")
        threshold = min(round(p * 65536), 65535)
        if threshold == 0:
            return None
        scale = 65536 / (65536 - threshold)
        compiled = twin("dropout_mask", self.kernel, device=self.device)
        if compiled is not None:
            mask = compiled(shape, dtype, self._key(kind, layer), np.uint64(step), threshold, scale)
            if mask is not None:
                return mask
        numbers = self._uint16(kind, layer, step, math.prod(shape))
        return to_device(np.where(numbers < threshold, 0, np.asarray(scale, dtype)).reshape(shape), self.device)

    def _uint16(self, kind, layer, step, n):
        """n 16-bit numbers."""
        counter = np.array([0, 0, step, 0], np.uint64)  # NumPy's Philox counts up before each block: from 1 on
        words = np.random.Philox(key=self._key(kind, layer), counter=counter).random_raw(-(-n // 4))
        return words.astype("<u8", copy=False).view("<u2")[:n]

    def _key(self, kind, layer):
        return np.array([self.seed, (zlib.crc32(kind.encode()) << 32) + layer], np.uint64)
