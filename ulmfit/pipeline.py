"""The three stages of ULMFiT, straight down.

    1. pre-train    a language model on general text
    2. fine-tune    the same model on the task's text, with the vocabulary grown by the task's words
    3. classify     its encoder under a new head, unfrozen from the top, one layer group an epoch

Every stage trains in `_train`, which logs each step, saves a checkpoint every minute and goes on from one.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from minilstm import NonFiniteError
from minilstm.params import count_params, non_finite

from .batching import LMBatches, encode
from .checkpoints import origin
from .corpus import Corpus
from .devices import carry_to, moments_to, task_to
from .errors import InputError
from .evaluation import lm_loss, predict_logits
from .groups import layer_groups
from .interrupts import SignalsWait
from .metrics import error_percent, perplexity
from .optimizers import averaged, begin_averaging, make_optimizer
from .provenance import differences
from .tasks import classifying_task, finetuning_task, in_direction, pretraining_task
from .text import tokenize
from .train import LATER, by_layer, fit

CHECKPOINT_SECONDS = 60
NOTHING_YET = {"seconds": 0.0, "tokens": 0, "skipped": 0, "epoch_loss": 0.0, "epoch_steps": 0}


@dataclass
class Stage:
    """Where a stage writes and whom it tells: a RunDirectory, a name that is its own there, and a Progress; and where
    it computes."""

    run: object
    name: str
    progress: object
    device: str = "cpu"


def steps_in(minutes, task, n_timed=8) -> int:
    """How many training steps fit into so many minutes on this machine, from the median of a few (the first two are
    warm-up). They train the task's model, which is of no use afterwards."""
    seconds = [log.seconds for log, _ in fit(task, make_optimizer(task.recipe), n_timed, at_once=1)][2:]
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
    weights, as soon as there are some, with which the stage ends, too. Ctrl-C and SIGTERM are heard between two steps,
    when a checkpoint has been saved. Model and carry are on the host before and after.
    """
    recipe, per_epoch = task.recipe, task.batches.steps_per_epoch
    n_steps = recipe.steps or max(1, round(recipe.epochs * per_epoch))
    optimizer, made_of = make_optimizer(recipe), origin(task)
    start, carry, totals = _begin(stage, task, optimizer, made_of, initial_carry)
    if start < n_steps:
        _note_environment(stage, totals["computed_with"])
    params = task.model.params
    begin_averaging(optimizer, recipe, totals["validations"], per_epoch)
    stage.progress.begin(stage.name, n_steps, start, layer_groups(task.model), task.measure)
    began = saved = time.perf_counter()
    before = totals["seconds"]
    steps = fit(task, optimizer, n_steps, carry=carry, start=start, skipped=totals["skipped"])
    with SignalsWait() as signals:
        for log, new_carry in steps:
            _count(stage, log, totals)
            if new_carry is LATER:  # the model is further on than this step
                continue
            done, carry = log.step + 1, new_carry
            if done % per_epoch == 0 or done == n_steps:
                with averaged(params, optimizer, keep=done == n_steps):
                    totals["validations"].append(validate(carry))
                begin_averaging(optimizer, recipe, totals["validations"], per_epoch)
                stage.progress.epoch(log, _mean_loss(totals), totals["validations"][-1])
            stopping = signals.waiting is not None
            if stopping or time.perf_counter() - saved > CHECKPOINT_SECONDS or done == n_steps:
                totals["seconds"] = before + time.perf_counter() - began
                _check_finite(log.step, task.model, optimizer)
                stage.run.flush_log()
                stage.run.checkpoints.save(stage.name, done, made_of, params, optimizer, carry, totals)
                saved = time.perf_counter()
            if stopping:
                signals.deliver()
    stage.progress.end()
    totals["seconds"] = before + time.perf_counter() - began
    task_to(task, "cpu")
    return carry_to(carry, "cpu"), _report(stage, task, n_steps, totals)


def _begin(stage, task, optimizer, made_of, carry):
    """Put what the newest checkpoint holds in place, if there is one, and all of it on the stage's device
    -> the first step, what it begins with, what has been counted so far"""
    load, params = stage.run.checkpoints.load, task.model.params
    start, loaded_carry, totals = load(stage.name, made_of, params, optimizer, task.carry_type)
    stage.run.forget_log(stage.name, start)
    task_to(task, stage.device), moments_to(optimizer, stage.device)
    lists = {"validations": [], "computed_with": []}
    return start, carry_to(loaded_carry or carry, stage.device), NOTHING_YET | lists | totals


def _note_environment(stage, computed_with):
    """Add what computes the stage from here on to what has done so before, and say so where that was something else."""
    now = stage.run.environment
    changed = computed_with and differences(computed_with[-1], now)
    if changed:
        stage.progress.message(f"{stage.name} was begun with {changed}; what follows may round differently")
    if changed or not computed_with:
        computed_with.append(now)


def _report(stage, task, n_steps, totals):
    """What metrics.json says of a stage; computed_with: where not all of it was computed with what ends the run."""
    seconds, tokens = totals["seconds"], totals["tokens"]
    report = {"seconds": seconds, "steps": n_steps, "skipped_steps": totals["skipped"], "tokens": tokens}
    report |= {"parameters": count_params(task.model.params), "tokens_per_second": tokens / seconds}
    report |= {"validations": [v[task.measure] for v in totals["validations"]]}
    if any(differences(environment, stage.run.environment) for environment in totals["computed_with"]):
        report["computed_with"] = totals["computed_with"]
    return report | totals["validations"][-1]


def _count(stage, log, totals):
    """What is said and remembered of each step, a StepLog."""
    stage.run.log(stage.name, log)
    stage.progress.step(log)
    totals["tokens"] += log.tokens
    if log.skipped:
        totals["skipped"] += 1
        stage.progress.message(f"step {log.step} is left out: {log.skipped}")
    else:
        totals["epoch_loss"] += log.loss
        totals["epoch_steps"] += 1


def _mean_loss(totals):
    """Of the epoch that has ended; the next one is counted anew."""
    mean = totals["epoch_loss"] / totals["epoch_steps"] if totals["epoch_steps"] else math.nan
    totals |= {"epoch_loss": 0.0, "epoch_steps": 0}
    return mean


def _check_finite(step, model, optimizer):
    """Raise NonFiniteError where finite gradients have made weights or moments that are not, by a huge rate or by
    squares too large: such a state is never saved, and would often train on without a word."""
    for what, arrays in {"weights": model.params, **optimizer.state}.items():
        if bad := by_layer(non_finite(arrays), layer_groups(model)):
            remedy = "a lower learning rate or a smaller clip usually helps"
            raise NonFiniteError(f"step {step}: {what} not finite in {bad}; {remedy}")
