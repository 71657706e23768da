"""One step of an optimiser in one pass over a parameter, its gradient and its moments.

The formulas are those of minilstm/optim.py, where they are written out one operator at a time: Adam's are thirteen, and
each goes over memory. What is alike for all numbers (rates, bias corrections) comes computed. All functions change p
and the moments in place and return True, or change nothing and return None where `flat` says no. `scale` multiplies the
gradient; where it is not finite, nothing changes.

The results lie within four units in the last place (of the largest number) of the plain ones, because a product and a
sum may be rounded together here. They have the same bits for any number of threads.
"""

import math

import numpy as np

from .cpu_compile import compiled, inlined
from .cpu_passes import flat, own, threads_for
from .cpu_team import run


def sgd(p, g, velocity, lr, momentum, weight_decay, scale=1.0):
    """velocity: None without momentum"""
    if (arrays := flat(p, g) if velocity is None else flat(p, g, velocity)) is None:
        return None
    if not _scale(arrays, scale):
        return True
    lr, momentum, weight_decay = (p.dtype.type(factor) for factor in (lr, momentum, weight_decay))
    if velocity is None:
        run(_sgd, *arrays, lr, weight_decay, at_most=threads_for(p.size))
    else:
        run(_sgd_with_momentum, *arrays, lr, momentum, weight_decay, at_most=threads_for(p.size))
    return True


def asgd(p, g, mean, lr, weight_decay, n, scale=1.0):
    """mean: of p, over n of its values with the new one; None: not yet"""
    if mean is None:
        return sgd(p, g, None, lr, 0, weight_decay, scale)
    if (arrays := flat(p, g, mean)) is None:
        return None
    if not _scale(arrays, scale):
        return True
    lr, weight_decay, n = (p.dtype.type(factor) for factor in (lr, weight_decay, n))
    run(_asgd, *arrays, lr, weight_decay, n, at_most=threads_for(p.size))
    return True


def adam(p, g, exp_avg, exp_avg_sq, betas, eps, weight_decay, shrink, step_size, correction, scale=1.0):
    """p = shrink * p - step_size * exp_avg / (correction * sqrt(exp_avg_sq) + eps); weight_decay is the gradient's"""
    if (arrays := flat(p, g, exp_avg, exp_avg_sq)) is None:
        return None
    if not _scale(arrays, scale):
        return True
    factors = (1 - betas[0], betas[1], 1 - betas[1], eps, weight_decay, shrink, step_size, correction)
    run(_adam, *arrays, *(p.dtype.type(factor) for factor in factors), at_most=threads_for(p.size))
    return True


def _scale(arrays, scale):
    """Put the gradient, the second of the arrays, to this scale -> is there to be an update?"""
    if scale != 1:
        arrays[1] = arrays[1] * arrays[1].dtype.type(scale)
    return math.isfinite(scale)


@compiled
def _sgd(team, p, g, lr, weight_decay):
    p, g = own(p, team), own(g, team)
    for i in range(len(p)):
        p[i] -= lr * decayed(g[i], p[i], weight_decay)


@compiled
def _sgd_with_momentum(team, p, g, velocity, lr, momentum, weight_decay):
    p, g, velocity = own(p, team), own(g, team), own(velocity, team)
    for i in range(len(p)):
        velocity[i] = momentum * velocity[i] + decayed(g[i], p[i], weight_decay)
        p[i] -= lr * velocity[i]


@compiled
def _asgd(team, p, g, mean, lr, weight_decay, n):
    p, g, mean = own(p, team), own(g, team), own(mean, team)
    for i in range(len(p)):
        p[i] -= lr * decayed(g[i], p[i], weight_decay)
        mean[i] += (p[i] - mean[i]) / n


@compiled
def _adam(team, p, g, m, v, new1, beta2, new2, eps, weight_decay, shrink, step_size, correction):
    p, g, m, v = own(p, team), own(g, team), own(m, team), own(v, team)
    for i in range(len(p)):
        p_i = shrink * p[i]
        g_i = decayed(g[i], p[i], weight_decay)
        m[i] += new1 * (g_i - m[i])
        v[i] = beta2 * v[i] + new2 * (g_i * g_i)
        p[i] = p_i - step_size * (m[i] / (correction * np.sqrt(v[i]) + eps))


@inlined
def decayed(g, p, weight_decay):
    """The gradient with weight decay; without it an infinite p must not come in as 0 * inf."""
    return g + weight_decay * p if weight_decay != 0 else g
