"""Softmax cross-entropy over a large vocabulary, fused with the linear layer below it, `chunk` rows at a time.

The plain version and the definition is `linear_cross_entropy` in minilstm/loss.py; this one walks the same road with
the products of cpu_gemm.py, and what lies between, the softmax and its gradient, goes over a row of logits while it is
in the cache. Never more than `chunk` rows of logits exist; beside them stand two packed copies of the weight.
"""

import numpy as np

from .cpu_compile import compiled, inlined
from .cpu_gemm import linear_dweight, linear_dx, linear_forward
from .cpu_math import exp_of_negative
from .cpu_memory import empty, plain
from .cpu_passes import PARTS
from .cpu_team import run, share


def linear_cross_entropy(x, weight, bias, targets, ignore_index, chunk, need_grads):
    """x (N, E), weight (V, E), bias (V,), targets (N,), checked by the caller
    -> loss, (dx (N, E), dweight (V, E), dbias (V,)) or None"""
    x, weight, bias = (plain(a) for a in (x, weight, bias))
    targets = plain(targets, np.int64)
    counted = np.ones(len(x), bool) if ignore_index is None else targets != ignore_index
    n, total = max(int(counted.sum()), 1), 0.0
    if need_grads:
        dx, dweight, dbias = (empty(a.shape, x.dtype) for a in (x, weight, bias))
        if not len(x):
            dweight[:], dbias[:] = 0, 0
    logits = empty((min(chunk, len(x)), len(weight)), x.dtype)
    packed = packed_dx = None
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        p = logits[: len(x[rows])]  # (chunk, V)
        packed = linear_forward(x[rows], weight, bias, p, packed=packed)
        nll = np.empty(len(p))
        run(_softmax_and_gradient, p, targets[rows], counted[rows], n, need_grads, nll, at_most=1 + p.size // 500_000)
        total += float(nll.sum())
        if need_grads:
            packed_dx = linear_dx(p, weight, dx[rows], packed=packed_dx)
            linear_dweight(p, (x[rows],), (dweight,), dbias, add=start > 0)
    return total / n, (dx, dweight, dbias) if need_grads else None


@compiled
def _softmax_and_gradient(team, logits, targets, counted, n, need_grads, nll):
    """logits (N, V) -> nll (N,), of each row; logits becomes d(mean loss)/dlogits where need_grads"""
    member, members, _ = team
    first, last = share(len(logits), member, members)
    part = np.empty(PARTS, logits.dtype)
    for r in range(first, last):
        row = logits[r]
        largest = _largest(row, part)
        picked = row[targets[r]] - largest if counted[r] else row.dtype.type(0)
        total = _exp_and_sum(row, largest, part)
        nll[r] = np.log(total) - picked if counted[r] else 0.0
        if need_grads:
            scale = row.dtype.type(counted[r] / (total * n))
            for j in range(len(row)):
                row[j] *= scale
            if counted[r]:
                row[targets[r]] -= row.dtype.type(1.0 / n)


@inlined
def _largest(row, part):
    part[:] = -np.inf
    whole = len(row) // PARTS * PARTS
    for start in range(0, whole, PARTS):
        block = row[start : start + PARTS]
        for j in range(PARTS):
            part[j] = block[j] if block[j] > part[j] else part[j]
    largest = part[0]
    for j in range(PARTS):
        largest = max(largest, part[j])
    for j in range(whole, len(row)):
        largest = max(largest, row[j])
    return largest


@inlined
def _exp_and_sum(row, largest, part):
    """row = exp(row - largest) -> its sum"""
    part[:] = 0
    whole = len(row) // PARTS * PARTS
    for start in range(0, whole, PARTS):
        block = row[start : start + PARTS]
        for j in range(PARTS):
            block[j] = exp_of_negative(block[j] - largest)
            part[j] += block[j]
    total = 0.0
    for j in range(PARTS):
        total += part[j]
    for j in range(whole, len(row)):
        row[j] = exp_of_negative(row[j] - largest)
        total += row[j]
    return total
