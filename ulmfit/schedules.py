"""Learning rates as pure functions of the step: t in 0..n_steps-1, n_steps, the largest rate -> the rate at t."""

import math
from bisect import bisect_right

from .groups import phase_starts


def constant(t, n_steps, lr_max):
    return lr_max


def slanted_triangular(t, n_steps, lr_max, cut_frac=0.1, ratio=32):
    """Slanted triangular learning rates (Howard & Ruder 2018, equation 3): a short linear rise from lr_max / ratio
    over the first `cut_frac` of all steps, then a long linear fall back toward it.

    The paper's formula divides by zero below 10 steps and goes negative where n_steps * cut_frac is no integer; here
    the rise takes cut = max(1, floor(n_steps * cut_frac)) steps and the fall the n_steps - cut that are left, which is
    the same thing wherever the paper's formula is sound. Past n_steps the rate stays at its floor.
    """
    cut = max(1, math.floor(n_steps * cut_frac))
    p = t / cut if t < cut else max(0.0, 1 - (t - cut) / max(1, n_steps - cut))
    return lr_max * (1 + p * (ratio - 1)) / ratio


def cosine(t, n_steps, lr_max):
    """Half a cosine from lr_max down toward 0 (Loshchilov & Hutter 2017, without restarts)."""
    return lr_max * 0.5 * (1 + math.cos(math.pi * min(t, n_steps) / n_steps))


def one_cycle(t, n_steps, lr_max, rise=0.25, start=25, end=1e5):
    """One cycle (Smith 2018) in fastai's form: half a cosine up from lr_max / start over the first `rise` of the
    steps, and half a cosine down to lr_max / end."""
    cut = max(1, math.floor(n_steps * rise))
    if t < cut:
        low, p = lr_max / start, t / cut
    else:
        low, p = lr_max / end, 1 - min(1.0, (t - cut) / max(1, n_steps - cut))
    return low + (lr_max - low) * 0.5 * (1 - math.cos(math.pi * p))


def linear_warmup(t, n_steps, lr_max, warmup=0.1):
    """A linear rise to lr_max over the first `warmup` of the steps, then constant. Unlike slanted triangular rates
    it never comes down again."""
    cut = max(1, math.floor(n_steps * warmup))
    return lr_max * min(1.0, (t + 1) / cut)


SCHEDULES = {f.__name__: f for f in (constant, slanted_triangular, cosine, one_cycle, linear_warmup)}


def rate_function(recipe, n_steps, steps_per_epoch, n_groups):
    """-> a function: step -> the top layer group's rate under a recipes.Training.

    With `restart` a classifier's schedule runs anew in every phase of the unfreezing, in all but the plan's last with
    `warm_cut_frac`.
    """
    starts = [n * steps_per_epoch for n in phase_starts(recipe.unfreezing, n_groups)] if recipe.restart else [0]
    stops = [min(start, n_steps) for start in starts[1:]] + [n_steps]

    def rate(step):
        n = bisect_right(starts, step) - 1
        warm = recipe.restart and n < len(starts) - 1 and recipe.warm_cut_frac is not None
        cut_frac = recipe.warm_cut_frac if warm else recipe.cut_frac
        options = (cut_frac, recipe.ratio) if recipe.schedule == "slanted_triangular" else ()
        return SCHEDULES[recipe.schedule](step - starts[n], stops[n] - starts[n], recipe.lr, *options)

    return rate
