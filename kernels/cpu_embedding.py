"""An embedding's rows, gathered and scattered in one pass, with the mask of the words.

Forward, every member has some of the places. Backward is one member's work, because most of it is to fill the gradient
of a large vocabulary with zeros, and one core does that as fast as the memory allows (48 MB took 0.6 ms; with two cores
1.0). So the places of a word are added up in their order, as `np.add.at` does it, and to the same bits.
"""

import numpy as np

from .cpu_compile import compiled
from .cpu_memory import empty
from .cpu_passes import fits, is_small, threads_for
from .cpu_team import run, share


def embedding_forward(weight, ids, row_mask):
    """weight (V, E), ids of any shape, row_mask (V, 1) or None -> weight[ids] * row_mask[ids], (..., E)"""
    mask = np.ones(1, weight.dtype) if row_mask is None else row_mask.reshape(-1)
    n, E = ids.size, weight.shape[1]
    if is_small(n * E) or not fits(weight, mask):
        return None
    y = empty((n, E), weight.dtype)
    run(_gather, weight, np.array(ids, np.int64).reshape(-1), mask, y, at_most=threads_for(y.size))
    return y.reshape(*ids.shape, E)


def embedding_backward(dy, ids, row_mask, V):
    """dy (..., E), ids and row_mask as in forward -> dweight (V, E)"""
    mask = np.ones(1, dy.dtype) if row_mask is None else row_mask.reshape(-1)
    n, E = ids.size, dy.shape[-1]
    if not fits(dy, mask):
        return None
    dweight = empty((V, E), dy.dtype)
    run(_scatter, dy.reshape(n, E), np.array(ids, np.int64).reshape(-1), mask, dweight, at_most=1)
    return dweight


@compiled
def _gather(team, weight, ids, mask, y):
    """mask (V,), or (1,) for all words"""
    member, members, _ = team
    first, last = share(len(ids), member, members)
    for n in range(first, last):
        row, out, factor = weight[ids[n]], y[n], mask[min(ids[n], len(mask) - 1)]
        for j in range(len(row)):
            out[j] = row[j] * factor


@compiled
def _scatter(team, dy, ids, mask, dweight):
    dweight[:] = 0
    product = np.empty(dy.shape[1], dy.dtype)
    for n in range(len(ids)):
        d, row, factor = dy[n], dweight[ids[n]], mask[min(ids[n], len(mask) - 1)]
        for j in range(len(row)):       # in a loop of its own: rounded before it is added, as in the plain version
            product[j] = d[j] * factor
        for j in range(len(row)):
            row[j] += product[j]
