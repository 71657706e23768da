"""What each of the three stages trains: a model, and batches of its text.

    pretraining_task    a language model with random weights, on general text
    finetuning_task     that model with its vocabulary grown, on the task's text
    classifying_task    its encoder under a new head, on the labelled texts
"""

from dataclasses import replace

import numpy as np

from minilstm import MaskSource
from minilstm.params import assign

from .batching import LMBatches, TextBatches, encode
from .classifier import TextClassifier
from .corpus import Corpus
from .language_model import LanguageModel, grow_vocabulary
from .text import tokenize
from .train import ClassifierTask, LMTask
from .vocab import Vocab

HELD_OUT = 0.01  # of the documents to pre-train on, for validation


def pretraining_task(corpus: Corpus, recipe, seed, direction):
    """-> the training task of stage 1, its vocabulary, and the documents held out for validation"""
    vocab = Vocab.build(corpus.counts(), max_size=recipe.vocab_size, min_freq=recipe.min_freq)
    train, valid = _hold_out(in_direction(corpus.encode(vocab), direction), seed)
    model = LanguageModel(len(vocab), recipe.size, rng=np.random.default_rng(seed))
    return _lm_task(model, train, recipe.pretrain, seed), vocab, valid


def training_tokens(corpus: Corpus, seed) -> int:
    """How many tokens of it stage 1 learns from: all but those of the documents that are held out."""
    return sum(map(len, _hold_out(corpus.documents, seed)[0]))


def finetuning_task(model, vocab, texts, recipe, seed, direction):
    """-> the training task of stage 2 and its vocabulary: the union of the model's and the texts'. Words that the
    model has not met get the mean of all rows."""
    corpus = Corpus(texts)
    union = vocab.union(task_vocabulary(corpus, recipe))
    grown = LanguageModel(len(union), model.size, rng=np.random.default_rng(seed))
    assign(grown.params, grow_vocabulary(model.params, union.rows_in(vocab)))
    return _lm_task(grown, in_direction(corpus.encode(union), direction), recipe.finetune, seed), union


def classifying_task(model, vocab, dataset, recipe, seed, direction) -> ClassifierTask:
    """The training task of stage 3."""
    texts = [encode(tokenize(text), vocab, direction) for text in dataset.train.texts]
    size = replace(model.size, head=recipe.size.head)
    classifier = TextClassifier(len(vocab), size, len(dataset.classes), rng=np.random.default_rng(seed))
    assign(classifier.encoder.params, model.encoder.params)
    batches = TextBatches(texts, dataset.train.labels, recipe.classify.batch_size, seed)
    return ClassifierTask(classifier, batches, recipe.classify, MaskSource(seed))


def task_vocabulary(corpus: Corpus, recipe) -> Vocab:
    """The words of the task's own text, but for the rarest: only where some words of it are unknown can a model learn
    what to make of an unknown word."""
    return Vocab.build(corpus.counts(), max_size=10**6, min_freq=recipe.task_min_freq)


def in_direction(documents, direction):
    return [d[::-1] for d in documents] if direction == "backward" else documents


def _lm_task(model, documents, recipe, seed):
    batches = LMBatches(documents, recipe.batch_size, recipe.bptt, seed, variable=recipe.variable_bptt)
    return LMTask(model, batches, recipe, MaskSource(seed))


def _hold_out(documents, seed):
    """-> most documents for training, some of them (chosen by seed alone) for validation"""
    if len(documents) < 2:
        return documents, []  # nothing to hold out: no validation perplexity
    order = np.random.default_rng(seed).permutation(len(documents))
    n_valid = max(1, round(HELD_OUT * len(documents)))
    return [documents[n] for n in sorted(order[n_valid:])], [documents[n] for n in sorted(order[:n_valid])]
