"""Training: one generator, and what a language model and a classifier each mean by a step.

`fit` yields a StepLog for every step and keeps no callbacks: whoever wants to print, save, validate or stop does so
between two steps, in an ordinary for loop. On a GPU, where steps are made ahead of what is known of them (ahead.py),
several StepLogs come at once, and all but printing waits for the last of them.
"""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

from minilstm import (
    LSTMState,
    MaskSource,
    NonFiniteError,
    RunningStats,
    clip_grad_norm,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from minilstm.arrays import number
from minilstm.params import non_finite

from .ahead import train_ahead, trains_ahead
from .batching import LMBatches, TextBatches
from .groups import UNFREEZING, group_lrs, layer_groups, lrs_by_name
from .memory import memory_explained
from .schedules import rate_function


class StepLog(NamedTuple):
    step: int  # from 0
    epoch: float  # how many epochs are done after this step
    loss: float
    lr: float  # of the top layer group
    grad_norm: float  # before clipping
    tokens: int  # words this step has seen
    seconds: float
    penalty: float = 0.0  # what AR and TAR add to the loss, which is without them
    skipped: str | None = None  # why nothing was changed, if it was not: recipes.Training.skip_nonfinite


class Step(NamedTuple):
    """What a task makes of one step. On a GPU loss and penalty are arrays of shape () there."""

    loss: float  # the mean cross-entropy, in nats
    grads: dict  # of the loss and the penalty together, for the layer groups that are trained
    carry: object  # what the next step begins with
    began_with: object  # so does the next step where this one is left out
    tokens: int
    penalty: float = 0.0
    lr_scale: float = 1.0  # of this step's rates


@dataclass
class LMTask:
    """Truncated BPTT. The carry is the LSTM's states, which an epoch's first window does not inherit."""

    model: object
    batches: LMBatches
    recipe: object  # recipes.LMTraining
    masks: MaskSource
    carry_type = LSTMState
    measure = "perplexity"  # what validation reports

    def data(self) -> list:
        """All that it learns from, as arrays."""
        return list(self.batches.documents)

    def loss_and_grads(self, step, carry):
        """-> Step; with scale_lr, rates are in proportion to BPTT of variable length (Merity et al. 2017, 4.1)"""
        batch, recipe = self.batches[step], self.recipe
        masks = self.model.encoder.draw_masks(self.masks, step, batch.ids.shape[1], recipe.dropouts)
        states = None if batch.starts_epoch else carry
        _, new_states, cache = self.model.forward(
            batch.ids, batch.targets, states, masks=masks, ar=recipe.ar, tar=recipe.tar
        )
        lr_scale = len(batch.ids) / recipe.bptt if self.batches.variable and recipe.scale_lr else 1.0
        grads = self.model.backward(cache)
        return Step(cache.cross_entropy, grads, new_states, states, batch.ids.size, cache.penalty, lr_scale)


@dataclass
class ClassifierTask:
    """Labelled texts. The carry is the batch norms' running statistics."""

    model: object
    batches: TextBatches
    recipe: object  # recipes.ClassifierTraining
    masks: MaskSource
    carry_type = RunningStats
    measure = "validation_error"  # what validation reports

    def data(self) -> list:
        """All that it learns from, as arrays."""
        return [*self.batches.texts, self.batches.labels]

    def loss_and_grads(self, step, carry):
        """-> Step, with the gradients of the layer groups that this epoch trains"""
        batch, recipe, groups = self.batches[step], self.recipe, layer_groups(self.model)
        trained = UNFREEZING[recipe.unfreezing](step // self.batches.steps_per_epoch, len(groups))
        n_unfrozen = len(groups) - trained.start  # the walk down ends at the lowest group that is trained
        ar, tar = (recipe.ar, recipe.tar) if n_unfrozen > 1 else (0.0, 0.0)  # only the encoder can obey them
        masks = self.model.draw_masks(self.masks, step, len(batch.rows), recipe.dropouts)
        logits, stats, cache = self.model.forward(
            batch.ids, batch.lengths, carry, training=True, masks=masks,
            bptt=recipe.bptt, max_tokens=recipe.max_tokens, ar=ar, tar=tar,
        )  # fmt: skip
        loss, loss_cache = softmax_cross_entropy_forward(logits, batch.labels)
        dlogits = softmax_cross_entropy_backward(1.0, loss_cache)
        grads = self.model.backward(dlogits, cache, n_unfrozen)
        names = {name for n in trained for name in groups[n].params}
        grads = {name: g for name, g in grads.items() if name in names}
        return Step(number(loss), grads, stats, carry, int(batch.lengths.sum()), cache.penalty)


AT_ONCE = 16  # steps on a GPU that are looked at together
LATER = object()  # in place of a carry: the model is some steps further than this StepLog


def fit(task, optimizer, n_steps, *, carry=None, start=0, skipped=0, at_once=None):
    """Train task.model in place, from step `start` to `n_steps`; yields (StepLog, carry) after every step.

    A loss, gradient or carry that is not finite never reaches the weights nor the next step. NonFiniteError names the
    step, the layers and the tensors, after as many steps as the recipe lets skip; `skipped` of them have been before.

    On a GPU up to `at_once` steps of an epoch (None: AT_ONCE) are made before the host looks at any of them. Only with
    the last of their StepLogs comes a carry, and with the others LATER. What they come to does not depend on at_once.
    """
    per_epoch, ahead = task.batches.steps_per_epoch, trains_ahead(task)
    rate = rate_function(task.recipe, n_steps, per_epoch, len(layer_groups(task.model)))
    step = start
    while step < n_steps:
        if ahead:
            stop = min(n_steps, step + (at_once or AT_ONCE), step - step % per_epoch + per_epoch)
            logs, carry = _make_ahead(task, optimizer, rate, range(step, stop), carry)
            for log in logs:
                yield log, carry if log is logs[-1] else LATER
            step += len(logs)
            if step == stop:
                continue  # otherwise the next one is bad: it is made once more, and watched
        log, carry = _make(task, optimizer, rate, step, carry)
        if log.skipped is not None:
            skipped += 1
            broken = non_finite(task.model.params)  # which no step that is left out will mend
            if broken or skipped > task.recipe.skip_nonfinite:
                raise NonFiniteError(f"step {step}: {log.skipped}; {_remedy(skipped - 1, broken)}")
        yield log, carry
        step += 1


def _make(task, optimizer, rate, step, carry):
    """A step, all of whose numbers are looked at before it changes anything -> StepLog, carry"""
    began = time.perf_counter()
    with memory_explained(task, step, carry):
        made = task.loss_and_grads(step, carry)
    lr, norm, why = rate(step) * made.lr_scale, math.nan, None
    try:
        norm, carry = update(task, optimizer, made, lr), made.carry
    except NonFiniteError as e:
        why, carry = str(e), made.began_with
    numbers = float(made.loss), lr, norm, made.tokens, time.perf_counter() - began, float(made.penalty), why
    return StepLog(step, (step + 1) / task.batches.steps_per_epoch, *numbers), carry


def _make_ahead(task, optimizer, rate, steps, carry):
    """Steps on a GPU -> [StepLog], the carry after them; fewer than asked for where the next one is bad"""
    began = time.perf_counter()
    seen, carry = train_ahead(task, optimizer, rate, steps, carry)
    seconds, per_epoch = (time.perf_counter() - began) / len(steps), task.batches.steps_per_epoch
    return [
        StepLog(s.step, (s.step + 1) / per_epoch, s.loss, s.lr, s.grad_norm, s.tokens, seconds, s.penalty) for s in seen
    ], carry


def _remedy(skipped, broken):
    helps = "a lower learning rate or a smaller clip usually helps"
    if broken:
        return helps
    if skipped:
        return f"it is number {skipped + 1} of such steps; {helps}"
    return f"{helps}; skip_nonfinite=N would leave out up to N such steps"


def update(task, optimizer, made, lr) -> float:
    """Change task.model by what a step has made, a Step, at the rate `lr` of the top layer group -> the gradient's norm
    before clipping. Raises NonFiniteError, and changes nothing, where loss, gradient or carry are not finite."""
    recipe, params, groups = task.recipe, task.model.params, layer_groups(task.model)
    if not math.isfinite(loss := float(made.loss)):
        bad = by_layer(non_finite(params) or non_finite(made.grads), groups) or "the activations"
        raise NonFiniteError(f"the loss is {loss}; not finite: {bad}")
    if bad := _non_finite_carry(made.carry):
        raise NonFiniteError(f"what is carried to the next step is not finite: {bad}")
    try:
        norm = clip_grad_norm(made.grads, recipe.clip)
    except NonFiniteError:
        raise NonFiniteError(f"gradient is not finite in {by_layer(non_finite(made.grads), groups)}") from None
    optimizer.step(params, made.grads, lrs_by_name(groups, group_lrs(recipe, lr, len(groups))))
    return norm


def by_layer(names, groups) -> str:
    """Parameters in words, below their layer groups: "lstm_0 (encoder.lstm.weight_hh_l0), decoder (decoder.bias)" """
    found = ((group.name, [name for name in group.params if name in names]) for group in groups)
    return ", ".join(f"{layer} ({', '.join(tensors)})" for layer, tensors in found if tensors)


def _non_finite_carry(carry):
    arrays = {f"{field} of {type(pair).__name__} {n}": a for n, pair in enumerate(carry or ())
              for field, a in pair._asdict().items()}  # fmt: skip
    return ", ".join(non_finite(arrays))
