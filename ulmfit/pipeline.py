"""The three stages of ULMFiT, straight down.

    1. pre-train    a language model on general text
    2. fine-tune    the same model on the task's text, with the vocabulary grown by the task's words
    3. classify     its encoder under a new head, unfrozen from the top, one layer group an epoch

Every stage trains in `_train`, which logs each step, saves a checkpoint every minute and goes on from one.
"""

import time
from dataclasses import dataclass

import numpy as np

from minilstm.params import count_params

from .batching import LMBatches, encode
from .corpus import Corpus
from .errors import InputError
from .groups import layer_groups
from .metrics import error_percent, perplexity
from .optimizers import averaged, begin_averaging, make_optimizer
from .tasks import classifying_task, finetuning_task, in_direction, pretraining_task
from .text import tokenize
from .train import fit, lm_loss, predict_logits

CHECKPOINT_SECONDS = 60


@dataclass
class Stage:
    """Where a stage writes and whom it tells: a RunDirectory, a name that is its own there, and a Progress."""

    run: object
    name: str
    progress: object


def steps_in(minutes, task, n_timed=8) -> int:
    """How many training steps fit into so many minutes on this machine, from the median of a few (the first two are
    warm-up). They train the task's model, which is of no use afterwards."""
    seconds = [log.seconds for log, _ in fit(task, make_optimizer(task.recipe), n_timed)][2:]
    return max(1, int(60 * minutes / np.median(seconds)))


def pretrain(stage, corpus: Corpus, recipe, seed, direction):
    """Stage 1: a language model from scratch -> model, vocabulary, what to report."""
    task, vocab, valid = pretraining_task(corpus, recipe, seed, direction)
    report = _train_lm(stage, task, valid, seed)
    return task.model, vocab, report | {"vocab_size": len(vocab), "unknown_percent": 100 * corpus.unknown_share(vocab)}


def finetune(stage, model, vocab, texts, recipe, seed, direction, *, valid_texts=()):
    """Stage 2: the language model on the task's own text -> model, vocabulary, what to report."""
    task, union = finetuning_task(model, vocab, texts, recipe, seed, direction)
    valid = in_direction(Corpus(valid_texts).encode(union), direction)
    report = _train_lm(stage, task, valid, seed)
    return task.model, union, report | {"vocab_size": len(union), "new_words": len(union) - len(vocab)}


def classify(stage, model, vocab, dataset, recipe, seed, direction):
    """Stage 3: a classifier on the language model's encoder -> classifier, running statistics, what to report."""
    task = classifying_task(model, vocab, dataset, recipe, seed, direction)
    valid = [encode(tokenize(text), vocab, direction) for text in dataset.valid.texts]
    windows = {"bptt": recipe.classify.bptt, "max_tokens": recipe.classify.max_tokens}

    def validate(stats):
        predicted = predict_logits(task.model, stats, valid, **windows).argmax(axis=1)
        return {"validation_error": error_percent(dataset.valid.labels, predicted)}

    stats, report = _train(stage, task, validate, initial_carry=task.model.initial_stats())
    return task.model, tuple(stats), report


def _train_lm(stage, task, valid, seed):
    batches = LMBatches(valid, 32, task.recipe.bptt, seed, shuffle=False) if sum(map(len, valid)) > 1 else None
    if batches is None and task.recipe.optimizer == "nt_asgd":
        raise InputError("optimizer: nt_asgd watches the perplexity of held-out text, and there is none; choose adam")

    def validate(_):
        return {"perplexity": perplexity(lm_loss(task.model, batches)) if batches else None}

    return _train(stage, task, validate)[1]


def _train(stage, task, validate, initial_carry=None):
    """Train to the end, from the newest checkpoint if there is one -> the last carry, what to report.

    validate(carry) -> {task.measure: number}, asked at the end of every epoch and of the stage: of NT-ASGD's mean
    weights, as soon as there are some, with which the stage ends, too.
    """
    recipe, per_epoch = task.recipe, task.batches.steps_per_epoch
    n_steps = recipe.steps or max(1, round(recipe.epochs * per_epoch))
    optimizer, params = make_optimizer(recipe), task.model.params
    start, carry, totals = stage.run.load_checkpoint(stage.name, params, optimizer, task.carry_type)
    stage.run.forget_log(stage.name, start)
    totals = {"seconds": 0.0, "tokens": 0, "validations": [], **totals}
    begin_averaging(optimizer, recipe, totals["validations"], per_epoch)
    stage.progress.begin(stage.name, n_steps, start, layer_groups(task.model), task.measure)
    began = saved = time.perf_counter()
    before = totals["seconds"]
    validation, losses = totals["validations"][-1] if start == n_steps else {}, []
    carry = carry or initial_carry
    for log, new_carry in fit(task, optimizer, n_steps, carry=carry, start=start):
        carry = new_carry
        totals |= {"seconds": before + time.perf_counter() - began, "tokens": totals["tokens"] + log.tokens}
        stage.run.log(stage.name, log)
        stage.progress.step(log)
        losses.append(log.loss)
        if (log.step + 1) % per_epoch == 0 or log.step + 1 == n_steps:
            with averaged(params, optimizer, keep=log.step + 1 == n_steps):
                validation = validate(carry)
            totals["validations"].append(validation)
            begin_averaging(optimizer, recipe, totals["validations"], per_epoch)
            stage.progress.epoch(log, float(np.mean(losses)), validation)
            losses = []
        if time.perf_counter() - saved > CHECKPOINT_SECONDS or log.step + 1 == n_steps:
            stage.run.save_checkpoint(stage.name, log.step + 1, params, optimizer, carry, totals)
            saved = time.perf_counter()
    stage.progress.end()
    seconds, tokens = before + time.perf_counter() - began, totals["tokens"]
    report = {"seconds": seconds, "steps": n_steps, "tokens": tokens, "parameters": count_params(params)}
    return carry, {**report, "tokens_per_second": tokens / seconds, **validation}
