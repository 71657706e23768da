"""What all compiled passes over large arrays have in common, and the simplest of them: a sum of squares.

Plain NumPy goes over memory once for every operator and makes a new array each time. Such a pass does next to no
arithmetic, so what it costs is how often memory is read and written: a compiled one does it once, and the members of
the team share the arrays. Where plain NumPy needs one pass as well, there is little to be had: the product with a
dropout mask and the scaling of a gradient took the same time in either, and have no twin.

The functions here and in the files built on this one return None, and have done nothing, where the arrays are not such
as `fits` and `flat` say. Then the plain code is to be used.
"""

import numpy as np

from .cpu_compile import compiled, inlined
from .cpu_team import run, share

SMALL = 16_384      # with fewer numbers than that, NumPy's passes take no longer than it takes to call compiled code
WORTH = 1_000_000   # numbers for which it pays to wake another thread, which takes 50 to 100 microseconds
BLOCK = 4096        # numbers that one member goes over in one piece: every member has whole ones
PARTS = 64          # sums side by side, so that they are added up vector by vector: always these, on every processor


def fits(*arrays) -> bool:
    """Can compiled code take them as they are: contiguous, writeable, all float32 or all float64?"""
    dtype = arrays[0].dtype
    return dtype in (np.float32, np.float64) and all(
        type(a) is np.ndarray and a.dtype == dtype and a.flags.carray for a in arrays
    )


def is_small(n) -> bool:
    return n < SMALL


def flat(*arrays):
    """The arrays as views of one dimension; None where they do not fit, or not each other, or are small."""
    if is_small(arrays[0].size) or not fits(*arrays) or len({a.shape for a in arrays}) > 1:
        return None
    return [a.reshape(-1) for a in arrays]


def threads_for(n) -> int:
    """How many threads a pass over n numbers keeps busy."""
    return 1 + n // WORTH


@inlined
def own(x, team):
    """-> a view of this member's numbers of x. A view, because a loop that begins at 0 is one that the compiler knows
    how to vectorise."""
    first, last = own_range(len(x), team)
    return x[first:last]


@inlined
def own_range(n, team):
    """-> first, last + 1 of this member's numbers, of n: whole blocks, so that which of them go by vectors and which
    one by one, where the compiler may round differently, does not depend on the number of members."""
    member, members, _ = team
    first, last = share((n + BLOCK - 1) // BLOCK, member, members)
    return first * BLOCK, min(last * BLOCK, n)


def sum_of_squares(x):
    """-> the sum of x**2, a float: added up in float64, where the square of a float32 cannot overflow, block by block
    and then from block to block, so that it is the same for any number of threads"""
    if (arrays := flat(x)) is None:
        return None
    sums = np.empty(-(-x.size // BLOCK))
    run(_sums_of_squares, *arrays, sums, at_most=threads_for(x.size))
    return float(sums.sum())


@compiled
def _sums_of_squares(team, x, sums):
    """sums (blocks,) of the squares of each block of x"""
    member, members, _ = team
    first, last = share(len(sums), member, members)
    parts = np.empty(PARTS)
    for block in range(first, last):
        parts[:] = 0
        for start in range(block * BLOCK, min((block + 1) * BLOCK, len(x)), PARTS):
            piece = x[start : start + PARTS]
            for j in range(len(piece)):
                parts[j] += np.float64(piece[j]) * np.float64(piece[j])
        sums[block] = 0
        for j in range(PARTS):
            sums[block] += parts[j]
