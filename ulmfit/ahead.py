"""Training on a GPU: many steps are ordered, one after another, and then looked at together.

To look at a loss the host has to wait until the device has come to it, and afterwards the device, until the host has
ordered more. So nobody looks at every step. What guards the weights meanwhile is a number on the device, the scale of
the gradients: it is NaN where a loss, a gradient or what is carried on is not finite, and once it was NaN it stays so.
Such a step, and all that are ordered after it, leave weights and moments as they are, bit for bit.

When the host looks, and finds such a step, it goes back to before it: the weights are still those. What it does about
it, and in what words, is the business of train.py, which makes that step anew and watches it.
"""

import math
from typing import Any, NamedTuple

from minilstm import clip_scale, grad_norm
from minilstm.arrays import fetch, is_cupy

from .groups import group_lrs, layer_groups, lrs_by_name


class Seen(NamedTuple):
    """A step that was made, and seen to be good."""

    step: int
    lr: float  # of the top layer group
    tokens: int
    loss: float
    grad_norm: float
    penalty: float


class Ordered(NamedTuple):
    """A step of which nobody knows yet how it has gone."""

    step: int
    lr: float
    tokens: int
    numbers: tuple  # loss, norm, penalty, scale: arrays of shape () on the device
    carry: Any  # what it began with
    state: dict  # the optimiser's, before it


def trains_ahead(task) -> bool:
    """Is the model on a GPU?"""
    return is_cupy(next(iter(task.model.params.values())))


def train_ahead(task, optimizer, rate, steps, carry):
    """Make these steps at the rates rate(step) -> [Seen], the carry after them

    Fewer are seen where one has come to a number that is not finite: then everything is as it was before that one.
    """
    ordered, scale = [], 0.0
    recipe, params, groups = task.recipe, task.model.params, layer_groups(task.model)
    for step in steps:
        before = carry, _state(optimizer)
        made = task.loss_and_grads(step, carry)
        lr, norm, carry = rate(step) * made.lr_scale, grad_norm(made.grads), made.carry
        carried = (a for pair in carry or () for a in pair)
        scale = clip_scale(norm, recipe.clip) + _zero_if_finite(scale, made.loss, *carried)
        lrs = lrs_by_name(groups, group_lrs(recipe, lr, len(groups)))
        optimizer.step(params, made.grads, lrs, scale=scale)
        ordered.append(Ordered(step, lr, made.tokens, (made.loss, norm, made.penalty, scale), *before))
    numbers, seen = iter(fetch([n for one in ordered for n in one.numbers])), []
    for one in ordered:
        loss, norm, penalty, scale = (next(numbers) for _ in one.numbers)
        if not math.isfinite(scale):
            optimizer.state = one.state
            return seen, one.carry
        seen.append(Seen(one.step, one.lr, one.tokens, loss, norm, penalty))
    return seen, carry


def _zero_if_finite(*arrays):
    """A number on the device: 0 where all numbers of these arrays are finite, NaN where one is not."""
    return sum((0 * a).sum() if is_cupy(a) else 0 * a for a in arrays)


def _state(optimizer) -> dict:
    """An optimiser's state as it is now: its moments by reference, since a bad step does not change them, and a copy of
    the counts of its steps, which are the host's and count those as well."""
    return {
        moment: {name: a if is_cupy(a) else a.copy() for name, a in arrays.items()}
        for moment, arrays in optimizer.state.items()
    }
