"""The three stages of ULMFiT, straight down.

    1. pre-train    a language model on general text
    2. fine-tune    the same model on the task's text, with the vocabulary grown by the task's words
    3. classify     its encoder under a new head, unfrozen from the top, one layer group an epoch

Every stage trains in `_train`, which logs each step, saves a checkpoint every minute and goes on from one.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from minilstm import MaskSource
from minilstm.params import assign, count_params

from .batching import LMBatches, TextBatches, encode
from .classifier import TextClassifier
from .corpus import Corpus
from .errors import InputError
from .groups import layer_groups
from .language_model import LanguageModel, grow_vocabulary
from .metrics import error_percent, perplexity
from .optimizers import averaged, begin_averaging, make_optimizer
from .text import tokenize
from .train import ClassifierTask, LMTask, fit, lm_loss, predict_logits
from .vocab import Vocab

CHECKPOINT_SECONDS = 60


@dataclass
class Stage:
    """Where a stage writes and whom it tells: a RunDirectory, a name that is its own there, and a Progress."""

    run: object
    name: str
    progress: object


def prepare_pretraining(corpus: Corpus, recipe, seed, direction):
    """-> the training task of stage 1, its vocabulary, and the documents held out for validation (one in a hundred)"""
    vocab = Vocab.build(corpus.counts(), max_size=recipe.vocab_size, min_freq=recipe.min_freq)
    train, valid = _hold_out(_in_direction(corpus.encode(vocab), direction), seed)
    model = LanguageModel(len(vocab), recipe.size, rng=np.random.default_rng(seed))
    return _lm_task(model, train, recipe.pretrain, seed), vocab, valid


def steps_in(minutes, task, n_timed=8) -> int:
    """How many training steps fit into so many minutes on this machine, from the median of a few (the first two are
    warm-up). They train the task's model, which is of no use afterwards."""
    seconds = [log.seconds for log, _ in fit(task, make_optimizer(task.recipe), n_timed)][2:]
    return max(1, int(60 * minutes / np.median(seconds)))


def pretrain(stage, corpus: Corpus, recipe, seed, direction):
    """Stage 1: a language model from scratch -> model, vocabulary, what to report."""
    task, vocab, valid = prepare_pretraining(corpus, recipe, seed, direction)
    report = _train_lm(stage, task, valid, seed)
    return task.model, vocab, report | {"vocab_size": len(vocab), "unknown_percent": 100 * corpus.unknown_share(vocab)}


def from_scratch(texts, recipe, seed):
    """In place of stage 1: a language model that knows the task's words and nothing else -> model, vocabulary."""
    vocab = Vocab.build(Corpus(texts).counts(), max_size=10**6, min_freq=1)
    return LanguageModel(len(vocab), recipe.size, rng=np.random.default_rng(seed)), vocab


def finetune(stage, model, vocab, texts, recipe, seed, direction, *, valid_texts=()):
    """Stage 2: the language model on the task's own text -> model, vocabulary, what to report.

    The vocabulary is the union of both: words of the task that the model has not met get the mean of all rows.
    """
    corpus = Corpus(texts)
    task_vocab = Vocab.build(corpus.counts(), max_size=10**6, min_freq=1)
    union = vocab.union(task_vocab)
    grown = LanguageModel(len(union), model.size, rng=np.random.default_rng(seed))
    assign(grown.params, grow_vocabulary(model.params, union.rows_in(vocab)))
    documents = _in_direction(corpus.encode(union), direction)
    valid = _in_direction(Corpus(valid_texts).encode(union), direction)
    task = _lm_task(grown, documents, recipe.finetune, seed)
    report = _train_lm(stage, task, valid, seed)
    report |= {"vocab_size": len(union), "new_words": len(union) - len(vocab)}
    return grown, union, report


def classify(stage, model, vocab, dataset, recipe, seed, direction):
    """Stage 3: a classifier on the language model's encoder -> classifier, running statistics, what to report."""
    train, valid = (
        [encode(tokenize(t), vocab, direction) for t in part.texts]
        for part in (dataset.train, dataset.valid)
    )
    size = replace(model.size, head=recipe.size.head)
    classifier = TextClassifier(len(vocab), size, len(dataset.classes), rng=np.random.default_rng(seed))
    assign(classifier.encoder.params, model.encoder.params)
    batches = TextBatches(train, dataset.train.labels, recipe.classify.batch_size, seed)
    task = ClassifierTask(classifier, batches, recipe.classify, MaskSource(seed))
    windows = {"bptt": recipe.classify.bptt, "max_tokens": recipe.classify.max_tokens}

    def validate(stats):
        predicted = predict_logits(classifier, stats, valid, **windows).argmax(axis=1)
        return {"validation_error": error_percent(dataset.valid.labels, predicted)}

    stats, report = _train(stage, task, validate, initial_carry=classifier.initial_stats())
    return classifier, tuple(stats), report


def _lm_task(model, documents, recipe, seed):
    batches = LMBatches(documents, recipe.batch_size, recipe.bptt, seed, variable=recipe.variable_bptt)
    return LMTask(model, batches, recipe, MaskSource(seed))


def _train_lm(stage, task, valid, seed):
    batches = LMBatches(valid, 32, task.recipe.bptt, seed, shuffle=False) if sum(map(len, valid)) > 1 else None
    if batches is None and task.recipe.optimizer == "nt_asgd":
        raise InputError("optimizer: nt_asgd watches the perplexity of held-out text, and there is none; choose adam")

    def validate(_):
        return {"perplexity": perplexity(lm_loss(task.model, batches)) if batches else None}

    return _train(stage, task, validate)[1]


def _train(stage, task, validate, initial_carry=None):
    """Train to the end, from the newest checkpoint if there is one -> the last carry, what to report.

    validate(carry) -> {name: number}, asked at the end of every epoch and of the stage: of NT-ASGD's mean weights, as
    soon as there are some, with which the stage ends, too.
    """
    recipe, per_epoch = task.recipe, task.batches.steps_per_epoch
    n_steps = getattr(recipe, "steps", None) or max(1, round(recipe.epochs * per_epoch))
    optimizer, params = make_optimizer(recipe), task.model.params
    start, carry, totals = stage.run.load_checkpoint(stage.name, params, optimizer, task.carry_type)
    stage.run.forget_log(stage.name, start)
    totals = {"seconds": 0.0, "tokens": 0, "validations": [], **totals}
    begin_averaging(optimizer, recipe, totals["validations"], per_epoch)
    stage.progress.begin(stage.name, n_steps, start, layer_groups(task.model))
    began = saved = time.perf_counter()
    before = totals["seconds"]
    validation, losses = {}, []
    if start == n_steps:
        validation = validate(carry)
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


def _in_direction(documents, direction):
    return [d[::-1] for d in documents] if direction == "backward" else documents


def _hold_out(documents, seed, share=0.01):
    """-> most documents for training, a hundredth of them (chosen by seed alone) for validation"""
    if len(documents) < 2:
        return documents, []  # nothing to hold out: no validation perplexity
    order = np.random.default_rng(seed).permutation(len(documents))
    n_valid = max(1, round(share * len(documents)))
    return [documents[n] for n in sorted(order[n_valid:])], [documents[n] for n in sorted(order[:n_valid])]
