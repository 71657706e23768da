"""The learning rate range test (Smith 2017): train some steps while the rate grows from tiny to huge, and look where
the loss begins to fall and where it explodes. The weights that this makes are of no use afterwards.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minilstm import MaskSource, NonFiniteError, clip_grad_norm
from minilstm.params import assign

from .batching import LMBatches, TextBatches, encode
from .classifier import TextClassifier
from .corpus import Corpus
from .groups import group_lrs, layer_groups, lrs_by_name
from .language_model import LanguageModel, grow_vocabulary
from .optimizers import make_optimizer
from .text import tokenize
from .train import ClassifierTask, LMTask
from .vocab import Vocab

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
    or gradients are not finite. task: as for `train.fit`; its model is trained in place.
    """
    optimizer, mean, lowest = make_optimizer(task.recipe), 0.0, math.inf
    for step in range(n_steps):
        lr = low * (high / low) ** (step / max(1, n_steps - 1))
        with np.errstate(all="ignore"):  # what is not finite ends the test
            loss, carry, trained = _train_step(task, optimizer, step, carry, lr)
        if not math.isfinite(loss):
            return
        mean += (loss - mean) / min(step + 1, MEMORY)
        lowest = min(lowest, mean)
        yield RangeStep(step, lr, loss, mean)
        if not trained or mean > diverged * lowest:
            return


def _train_step(task, optimizer, step, carry, lr):
    """-> the loss, the next step's carry, and whether the gradients were finite and the weights were changed"""
    recipe, groups = task.recipe, layer_groups(task.model)
    made = task.loss_and_grads(step, carry)
    try:
        clip_grad_norm(made.grads, recipe.clip)
    except NonFiniteError:
        return made.loss, made.carry, False
    rates = lrs_by_name(groups, group_lrs(recipe, lr * made.lr_scale, len(groups)))
    optimizer.step(task.model.params, made.grads, rates)
    return made.loss, made.carry, True


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


# --- something to train: stage 1 has pipeline.prepare_pretraining


def finetuning_task(model, vocab, texts, recipe, seed, direction) -> LMTask:
    """The training task of stage 2, on a language model with its vocabulary grown by that of the texts."""
    corpus = Corpus(texts)
    union = vocab.union(Vocab.build(corpus.counts(), max_size=10**6, min_freq=1))
    grown = LanguageModel(len(union), model.size, rng=np.random.default_rng(seed))
    assign(grown.params, grow_vocabulary(model.params, union.rows_in(vocab)))
    documents = [d[::-1] if direction == "backward" else d for d in corpus.encode(union)]
    stage = recipe.finetune
    batches = LMBatches(documents, stage.batch_size, stage.bptt, seed, variable=stage.variable_bptt)
    return LMTask(grown, batches, stage, MaskSource(seed))


def classifying_task(model, vocab, dataset, recipe, seed, direction) -> ClassifierTask:
    """The training task of stage 3. No plan thaws its layers within a few steps: all are trained, or the `last`."""
    plan = "last" if recipe.classify.unfreezing == "last" else "full"
    texts = [encode(tokenize(t), vocab, direction) for t in dataset.train.texts]
    classifier = TextClassifier(len(vocab), model.size, len(dataset.classes), rng=np.random.default_rng(seed))
    assign(classifier.encoder.params, model.encoder.params)
    batches = TextBatches(texts, dataset.train.labels, recipe.classify.batch_size, seed)
    return ClassifierTask(classifier, batches, replace(recipe.classify, unfreezing=plan), MaskSource(seed))
