"""The learning rate range test (Smith 2017): train some steps while the rate grows from tiny to huge, and look where
the loss begins to fall and where it explodes. The weights that this makes are of no use afterwards.
"""

import math
from typing import NamedTuple

import numpy as np

from minilstm import NonFiniteError

from .memory import memory_explained
from .optimizers import make_optimizer
from .train import update

MEMORY = 10  # the smoothed loss is a mean over about so many steps


class RangeStep(NamedTuple):
    step: int
    lr: float  # of the top layer group
    loss: float
    smoothed: float


class Suggestions(NamedTuple):
    """Rates for the top layer group; None where the loss never fell."""

    steepest: float | None  # the smoothed loss falls fastest here
    tenth: float | None  # of the rate at which it is lowest


def range_test(task, *, low=1e-7, high=10.0, n_steps=100, carry=None, diverged=4.0):
    """Yield a RangeStep for each step, while the top group's rate grows from `low` to `high`, by one factor a step.

    It ends early, and without an error, where the smoothed loss is `diverged` times its lowest so far, and where loss
    or gradients are not finite. task: as for `train.fit`; its model is trained in place. Raises StepTooLarge where
    memory runs out.
    """
    optimizer, mean, lowest = make_optimizer(task.recipe), 0.0, math.inf
    for step in range(n_steps):
        lr = low * (high / low) ** (step / max(1, n_steps - 1))
        with np.errstate(all="ignore"):  # what is not finite ends the test
            with memory_explained(task, step, carry):
                made = task.loss_and_grads(step, carry)
            trained, carry = _is_trained(task, optimizer, made, lr * made.lr_scale), made.carry
        loss = float(made.loss)  # on a GPU, too, every one is looked at: it may be the last
        if not math.isfinite(loss):
            return
        mean += (loss - mean) / min(step + 1, MEMORY)
        lowest = min(lowest, mean)
        yield RangeStep(step, lr, loss, mean)
        if not trained or mean > diverged * lowest:
            return


def _is_trained(task, optimizer, made, lr):
    """Whether a step could change the weights: all that it has made was finite."""
    try:
        update(task, optimizer, made, lr)
    except NonFiniteError:
        return False
    return True


def suggest(steps) -> Suggestions:
    """From the RangeSteps of a test. The first few, whose mean is over hardly any losses, do not count."""
    steps = steps[MEMORY - 1 :]
    if not steps:
        return Suggestions(None, None)
    smoothed, lrs = np.array([s.smoothed for s in steps]), np.array([s.lr for s in steps])
    lowest = int(smoothed.argmin())
    if lowest == 0:
        return Suggestions(None, None)
    slopes = np.diff(smoothed[: lowest + 1])  # the rates are evenly spaced on a logarithmic scale
    return Suggestions(float(lrs[slopes.argmin()]), float(lrs[lowest] / 10))
