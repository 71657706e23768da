"""The learning rates of a recipe as curves: step by step what training would use, from the same functions."""

import math
from dataclasses import replace

import numpy as np

from .classifier import TextClassifier
from .config import STAGES
from .groups import UNFREEZING, group_lrs, layer_groups
from .language_model import LanguageModel
from .plots import Panel
from .schedules import SCHEDULES, rate_function

POINTS = 5000  # of a curve, about


def schedule_panels(names, n_steps, lr) -> list:
    """The schedules of these names with their own constants, side by side -> one panel for plots.plot_rates"""
    curves = {name: [SCHEDULES[name](t, n_steps, lr) for t in range(n_steps)] for name in names}
    title = names[0] if len(names) == 1 else "schedules"
    return [Panel(title, "step", range(n_steps), curves, dashed=True)]


def recipe_panels(recipe) -> list:
    """All three stages of a recipes.Recipe, a line for each layer group -> panels for plots.plot_rates

    Where a group is frozen there is no line; groups with the same rates share one.
    """
    return [_stage_panel(stage, getattr(recipe, stage), _group_names(stage, recipe.size)) for stage in STAGES]


def _stage_panel(stage, recipe, groups):
    per_epoch = max(1, round(POINTS / recipe.epochs))
    n_steps = recipe.steps or max(1, round(recipe.epochs * per_epoch))
    rates = group_rates(recipe, n_steps, per_epoch, len(groups))  # (n_steps, groups)
    lines = {}
    for name, curve in reversed([*zip(groups, rates.T, strict=True)]):  # the top group's line is mostly the highest
        lines.setdefault(curve.tobytes(), ([], curve))[0].append(name)
    lines = {", ".join(names): curve for names, curve in lines.values()}
    title = f"{stage}: {recipe.schedule}, rate {recipe.lr:g}"
    title += f", unfreezing {recipe.unfreezing}" if stage == "classify" else ""
    unit, length = ("step", 1) if recipe.steps else ("epoch", per_epoch)
    return Panel(title, unit, np.arange(n_steps) / length, lines)


def group_rates(recipe, n_steps, steps_per_epoch, n_groups) -> np.ndarray:
    """(n_steps, n_groups): the rate of each layer group, lowest first, under a recipes.Training; NaN: frozen"""
    rate = rate_function(recipe, n_steps, steps_per_epoch, n_groups)
    plan = UNFREEZING[recipe.unfreezing]
    rates = np.full((n_steps, n_groups), math.nan)
    for step in range(n_steps):
        trained = plan(step // steps_per_epoch, n_groups)
        rates[step, trained] = np.array(group_lrs(recipe, rate(step), n_groups))[trained]
    return rates


def _group_names(stage, size) -> list[str]:
    """Lowest first, asked of the smallest model with so many layers."""
    small = replace(size, embedding=1, hidden=1, head=1)
    rng = np.random.default_rng(0)
    model = TextClassifier(1, small, 2, rng=rng) if stage == "classify" else LanguageModel(1, small, rng=rng)
    return [group.name for group in layer_groups(model)]
