"""How large are the gradients, all together, and what to do where they are too large, or not finite.

On the host that is a number, and gradients that are not finite raise. On the device the norm stays there: to look at it
the host would have to wait for everything it has ordered so far. So it becomes a scale, which the optimiser multiplies
the gradients with, and which is NaN where no update must be made:

    norm = grad_norm(grads)
    optimizer.step(params, grads, lrs, scale=clip_scale(norm, max_norm))
"""

import math

import numpy as np

from .arrays import get_array_module, is_cupy
from .checks import check_number
from .params import non_finite
from .twins import twin


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity where there must be none; the message names the tensors."""


def grad_norm(grads, *, kernel="auto"):
    """The Euclidean norm of all gradients together, inf or NaN if any of them is not finite.

    A float; of arrays on the device a float64 array of shape () there, for which nothing waits. There it is inf for
    finite numbers of float64, too, where the square of one, some 1e308, is not.
    """
    compiled = twin("sum_of_squares", kernel, *grads.values())
    xp = get_array_module(*grads.values())
    if xp is not np:
        total = None if compiled is None else compiled(*grads.values())
        return xp.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads.values()) if total is None else total)
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(_sum_of_squares(g, compiled) for g in grads.values())
        if math.isfinite(total) or non_finite(grads):
            return math.sqrt(total)
        # finite, but its square is not: once more, in units of the largest number
        largest = max(float(abs(g).max()) for g in grads.values() if g.size)
        return largest * math.sqrt(sum(float(((g / largest) ** 2).sum()) for g in grads.values()))


def _sum_of_squares(g, compiled):
    total = None if compiled is None else compiled(g)
    if total is None:
        g = g.astype(np.float64, copy=False)  # where the square of a float32 neither overflows nor vanishes
        total = float((g * g).sum())
    return total


def clip_scale(norm, max_norm):
    """What gradients of this norm are to be multiplied with so that theirs is at most max_norm (None: any): at most 1,
    0 where max_norm is, and NaN where the norm is not finite. A number for a number, an array of shape () on the device
    for one there."""
    if max_norm is not None:
        check_number("max_norm", max_norm)
    xp = get_array_module(norm)
    allowed = 1.0 if max_norm is None else max_norm / xp.maximum(norm, max_norm or 1.0)
    scale = xp.where(xp.isfinite(norm), allowed, xp.nan)
    return scale if is_cupy(norm) else float(scale)


def clip_grad_norm(grads, max_norm, *, kernel="auto") -> float:
    """Scale all gradients in place so that their norm is at most `max_norm` (None: no clipping) -> the norm before.

    Raises NonFiniteError, naming the gradients, when one holds a NaN or an infinity: no update is ever made of those.
    Waits for the device where the gradients are there.
    """
    if max_norm is not None:
        check_number("max_norm", max_norm)
    norm = float(grad_norm(grads, kernel=kernel))
    if not math.isfinite(norm):
        raise NonFiniteError("gradient is not finite in " + ", ".join(non_finite(grads)))
    if max_norm is not None and norm > max_norm:
        for g in grads.values():
            g *= max_norm / norm
    return norm
