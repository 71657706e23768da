"""Training: one generator, and what a language model and a classifier each mean by a step.

`fit` yields a StepLog for every step and keeps no callbacks: whoever wants to print, save, validate or stop does so
between two steps, in an ordinary for loop.
"""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minilstm import (
    LSTMState,
    MaskSource,
    NonFiniteError,
    RunningStats,
    clip_grad_norm,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from minilstm.params import non_finite

from .batching import LMBatches, TextBatches, evaluation_batches
from .groups import UNFREEZING, discriminative_lrs, layer_groups, lrs_by_name
from .schedules import SCHEDULES


class StepLog(NamedTuple):
    step: int  # from 0
    epoch: float  # how many epochs are done after this step
    loss: float
    lr: float  # of the top layer group
    grad_norm: float  # before clipping
    tokens: int  # words this step has seen
    seconds: float


@dataclass
class LMTask:
    """Truncated BPTT. The carry is the LSTM's states, which an epoch's first window does not inherit."""

    model: object
    batches: LMBatches
    recipe: object  # recipes.LMTraining
    masks: MaskSource
    carry_type = LSTMState

    def loss_and_grads(self, step, carry):
        """-> loss, grads, the next step's carry, number of words"""
        batch = self.batches[step]
        ids, targets = batch.ids, batch.targets
        masks = self.model.encoder.draw_masks(self.masks, step, ids.shape[1], self.recipe.dropouts)
        loss, states, cache = self.model.forward(ids, targets, None if batch.starts_epoch else carry, masks=masks)
        return loss, self.model.backward(cache), states, ids.size


@dataclass
class ClassifierTask:
    """Labelled texts. The carry is the batch norms' running statistics."""

    model: object
    batches: TextBatches
    recipe: object  # recipes.ClassifierTraining
    masks: MaskSource
    carry_type = RunningStats

    def loss_and_grads(self, step, carry):
        """-> loss, grads of the layer groups that this epoch trains, the next step's carry, number of words"""
        batch = self.batches[step]
        n_groups = len(layer_groups(self.model))
        n_unfrozen = UNFREEZING[self.recipe.unfreezing](step // self.batches.steps_per_epoch, n_groups)
        masks = self.model.draw_masks(self.masks, step, len(batch.rows), self.recipe.dropouts)
        logits, stats, cache = self.model.forward(batch.ids, batch.lengths, carry, training=True, masks=masks)
        loss, loss_cache = softmax_cross_entropy_forward(logits, batch.labels)
        dlogits = softmax_cross_entropy_backward(1.0, loss_cache)
        return float(loss), self.model.backward(dlogits, cache, n_unfrozen), stats, int(batch.lengths.sum())


def rates_at(model, recipe, n_steps):
    """-> a function: step -> {parameter name: learning rate}, the top layer group's rate"""
    groups, schedule = layer_groups(model), SCHEDULES[recipe.schedule]

    def rates(step):
        lr = schedule(step, n_steps, recipe.lr)
        return lrs_by_name(groups, discriminative_lrs(lr, len(groups), recipe.lr_factor)), lr

    return rates


def fit(task, optimizer, n_steps, *, carry=None, start=0):
    """Train task.model in place, from step `start` to `n_steps`; yields (StepLog, carry) after every step.

    A loss or gradient that is not finite never reaches the weights: NonFiniteError names the step and the tensors.
    """
    rates = rates_at(task.model, task.recipe, n_steps)
    params = task.model.params
    for step in range(start, n_steps):
        began = time.perf_counter()
        loss, grads, carry, n_tokens = task.loss_and_grads(step, carry)
        norm = _checked_norm(step, loss, grads, params, task.recipe.clip)
        lrs, lr = rates(step)
        optimizer.step(params, grads, lrs)
        epoch = (step + 1) / task.batches.steps_per_epoch
        yield StepLog(step, epoch, loss, lr, norm, n_tokens, time.perf_counter() - began), carry


def _checked_norm(step, loss, grads, params, clip):
    remedy = "a lower learning rate or a smaller clip usually helps"
    if not math.isfinite(loss):
        bad = non_finite(params) or non_finite(grads) or ["the activations"]
        raise NonFiniteError(f"step {step}: the loss is {loss}; not finite: {', '.join(bad)}; {remedy}")
    try:
        return clip_grad_norm(grads, clip)
    except NonFiniteError as e:
        raise NonFiniteError(f"step {step}: {e}; {remedy}") from None


def lm_loss(model, batches: LMBatches) -> float:
    """Mean loss in nats per word over one epoch of `batches`, without any dropout; exp of it is the perplexity."""
    total, words, states = 0.0, 0, None
    for step in range(batches.steps_per_epoch):
        ids, targets, _ = batches[step]
        loss, states, _ = model.forward(ids, targets, states, need_cache=False)
        total, words = total + loss * ids.size, words + ids.size
    return total / words


def predict_logits(model, stats, texts, batch_size=128) -> np.ndarray:
    """texts: integer arrays of word ids -> logits (N, C), in the order of the texts"""
    logits = np.zeros((len(texts), model.n_classes), model.dtype)
    for batch in evaluation_batches(texts, batch_size=batch_size):
        logits[batch.rows], _, _ = model.forward(batch.ids, batch.lengths, stats, need_cache=False)
    return logits
