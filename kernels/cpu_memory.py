"""Large arrays that are used again: fresh memory from the system costs more than filling it with numbers.

The system hands out memory page by page, on first touch and zeroed; an LSTM's backward pass would spend a tenth of its
time in that. `empty` is `np.empty` on blocks that are kept. A block is free when no array refers to it any more, which
Python's own reference count knows: nobody has to give anything back, and what a cache still holds is never overwritten.
"""

import math
import os
import sys
import threading

import numpy as np

_SMALL = 1 << 18        # below this many bytes np.empty does as well
_PATIENCE = 256         # calls after which a block that nobody wanted goes back to the system

_blocks: list[list] = []        # [block, number of the call that used it last]
_calls = 0
_lock = threading.Lock()


def _after_fork():
    """The child has no other threads, but it may have been forked while one of them had the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def empty(shape, dtype):
    """An array with anything in it, like `np.empty`; aligned to a cache line."""
    global _calls
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < _SMALL:
        return np.empty(shape, dtype)
    with _lock:
        _calls += 1
        free = [entry for entry in _blocks if _is_free(entry)]
        fitting = [entry for entry in free if n_bytes <= entry[0].size <= 2 * n_bytes + (1 << 20)]
        entry = min(fitting, key=lambda e: e[0].size, default=None)
        if entry is None:
            entry = [_aligned(n_bytes), 0]
            _blocks.append(entry)
        entry[1] = _calls
        array = entry[0][:n_bytes].view(dtype).reshape(shape)
        stale = [id(e) for e in free if e is not entry and _calls - e[1] > _PATIENCE]
        if stale:
            _blocks[:] = [e for e in _blocks if id(e) not in stale]
    return array


def plain(array, dtype=None):
    """`array` as a kernel takes it: C-contiguous, aligned and writable; a copy only where it is not.

    No kernel writes to what is only read, but to Numba a read-only array is of another type, for which it would compile
    everything once more.
    """
    return np.require(array, dtype, "CAW")


def release():
    """Give every block that is free back to the system."""
    with _lock:
        _blocks[:] = [entry for entry in _blocks if not _is_free(entry)]


def held() -> int:
    """Bytes in all blocks, in use or not."""
    return sum(block.nbytes for block, _ in _blocks)


def _is_free(entry):
    return sys.getrefcount(entry[0]) == 2       # the entry's reference, and the one of this call's argument


def _aligned(n_bytes):
    """A block that all its views name as their base. (Views of a plain view would name what that was made of.)"""
    whole = np.empty(n_bytes + 64, np.uint8)
    return np.frombuffer(memoryview(whole), np.uint8, n_bytes, offset=-whole.ctypes.data % 64)
