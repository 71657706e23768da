"""Penalties on what the last LSTM layer says (Merity et al. 2017, section 4.6; Merity, McCann & Socher 2017).

    AR, activation regularisation             alpha * mean of y[t]**2                 small activations
    TAR, temporal activation regularisation   beta  * mean of (y[t + 1] - y[t])**2    that change slowly

Each mean is taken over all numbers that count. Steps past a row's end count nowhere, and a change counts when both of
its steps lie inside. The paper writes norms; the squares and means are those of its authors' program.
"""

import numpy as np

from .arrays import get_array_module
from .checks import check_float_array, check_lengths
from .twins import twin


def activation_regularization_forward(y, alpha, lengths=None, *, kernel="auto"):
    """y (T, B, H), lengths (B,) in 0..T or None (all T) -> penalty, a number, cache

    kernel: "auto" sums with the compiled twin where there is one, "reference" with NumPy.
    """
    inside = _inside(y, lengths)
    y = _zero_outside(y, inside)
    scale = alpha / _count(y, inside)
    return scale * _sum_of_squares(y, kernel), (y, scale)


def activation_regularization_backward(dpenalty, cache):
    """dpenalty, a number -> dy (T, B, H), zero past every row's end"""
    y, scale = cache
    return y * y.dtype.type(2 * scale * dpenalty)


def temporal_activation_regularization_forward(y, beta, lengths=None, *, kernel="auto"):
    """y (T, B, H), lengths (B,) in 0..T or None (all T) -> penalty, a number, cache. A single step changes nothing."""
    inside = _inside(y, lengths)
    y = _zero_outside(y, inside)  # before the difference: padding may be anything
    later = None if inside is None else inside[1:]  # where a step is inside, the one before it is, too
    changes = _zero_outside(y[1:] - y[:-1], later)  # (T-1, B, H)
    scale = beta / _count(changes, later)
    return scale * _sum_of_squares(changes, kernel), (y.shape, changes, scale)


def temporal_activation_regularization_backward(dpenalty, cache):
    """dpenalty, a number -> dy (T, B, H), zero past every row's end"""
    shape, changes, scale = cache
    dchanges = changes * changes.dtype.type(2 * scale * dpenalty)
    dy = get_array_module(changes).zeros(shape, changes.dtype)
    dy[1:] = dchanges
    dy[:-1] -= dchanges
    return dy


def _inside(y, lengths):
    """(T, B, 1) booleans on the host: is this step one of its row's? None where all are. Raises for arguments that do
    not fit."""
    check_float_array("y", y, ("T", "B", "H"))
    lengths = check_lengths(lengths, *y.shape[:2])
    return None if lengths is None else np.arange(len(y))[:, None, None] < lengths[:, None]


def _zero_outside(x, inside):
    if inside is None:
        return x
    xp = get_array_module(x)
    return xp.where(xp.asarray(inside), x, 0)


def _sum_of_squares(x, kernel):
    """A number of the type of x, where x is."""
    compiled = twin("sum_of_squares", kernel, x)
    total = None if compiled is None else compiled(x)
    return (x * x).sum() if total is None else get_array_module(x).asarray(total, x.dtype)[()]


def _count(x, inside):
    """How many numbers of x count, at least 1."""
    return max(1, x.size if inside is None else int(inside.sum()) * x.shape[2])
