"""Batches as a pure function of the step: `batches[step]` is the same whoever asks and whenever.

So there is no position to remember: a run that is resumed at step 1000 asks for batch 1000.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .errors import InputError
from .text import PAD, SPECIAL_TOKENS

PAD_ID = SPECIAL_TOKENS.index(PAD)


def encode(tokens, vocab, direction, max_tokens=None) -> np.ndarray:
    """Tokens -> word ids as a model of this direction reads them; of a long text the last `max_tokens` are kept."""
    ids = np.array(vocab.encode(tokens), np.int32)
    if max_tokens is not None:
        ids = ids[-max_tokens:]
    return ids[::-1].copy() if direction == "backward" else ids


class LMBatch(NamedTuple):
    ids: np.ndarray  # (T, B)
    targets: np.ndarray  # (T, B), the ids one word later
    starts_epoch: bool  # the carried state must begin anew here


class LMBatches:
    """Windows of at most `bptt` words over `batch_size` parallel streams, epoch after epoch.

    Each epoch puts the documents in a new order (a function of seed and epoch), joins them into one long text and
    cuts it into B streams of equal length; up to B words at the end of an epoch are left out. A text too short for
    B streams of two words gets fewer streams. Raises InputError for one of fewer than two words.
    """

    def __init__(self, documents, batch_size, bptt, seed, *, shuffle=True):
        """documents: a list of integer arrays of word ids"""
        self.documents, self.bptt, self.seed, self.shuffle = documents, bptt, seed, shuffle
        self.n_tokens = sum(len(d) for d in documents)
        if self.n_tokens < 2:
            raise InputError(f"the text for the language model has {self.n_tokens} words; at least 2 are needed")
        self.batch_size = min(batch_size, (self.n_tokens - 1) // 2 or 1)
        self.stream_length = (self.n_tokens - 1) // self.batch_size
        self.steps_per_epoch = -(-self.stream_length // bptt)
        self._epoch_streams = lru_cache(maxsize=1)(self._make_streams)

    def __getitem__(self, step) -> LMBatch:
        epoch, window = divmod(step, self.steps_per_epoch)
        ids, targets = self._epoch_streams(epoch)
        rows = slice(window * self.bptt, (window + 1) * self.bptt)
        return LMBatch(ids[rows], targets[rows], starts_epoch=window == 0)

    def _make_streams(self, epoch):
        """-> ids, targets (stream_length, B)"""
        order = np.arange(len(self.documents))
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        text = np.concatenate([self.documents[n] for n in order])
        n = self.stream_length * self.batch_size
        return tuple(
            np.ascontiguousarray(text[start : start + n].reshape(self.batch_size, -1).T) for start in (0, 1)
        )


class TextBatch(NamedTuple):
    ids: np.ndarray  # (T, B), padded at the end
    lengths: np.ndarray  # (B,)
    labels: np.ndarray | None  # (B,)
    rows: np.ndarray  # (B,), which of the texts these are


def pad_batch(texts, rows, labels=None) -> TextBatch:
    """The texts of these rows side by side, (T, B) with T the longest of them (at least 1)."""
    lengths = np.array([len(texts[r]) for r in rows])
    ids = np.full((max(1, lengths.max()), len(rows)), PAD_ID, np.int64)
    for b, r in enumerate(rows):
        ids[: lengths[b], b] = texts[r]
    return TextBatch(ids, lengths, None if labels is None else labels[rows], np.asarray(rows))


class TextBatches:
    """Labelled texts in batches of about equal length, epoch after epoch, shuffled anew in each.

    The rows are shuffled, sorted by length within pools of 50 batches (little padding, much chance), cut into batches
    whose sizes differ by at most one, and the batches shuffled. So no batch is ever left with a single row, on which
    batch norm could not train. Raises InputError for fewer than two texts.
    """

    POOL = 50

    def __init__(self, texts, labels, batch_size, seed):
        """texts: a list of integer arrays of word ids; labels (N,)"""
        if len(texts) < 2:
            raise InputError(f"training a classifier needs at least 2 texts, got {len(texts)}")
        if batch_size < 2:
            raise InputError(f"batch_size: batch norm needs at least 2 texts in a batch, got {batch_size}")
        self.texts, self.labels, self.seed = texts, labels, seed
        self.batch_size = min(batch_size, len(texts))
        # 2 * n_batches <= N keeps every batch at two rows or more
        self.steps_per_epoch = max(1, min(-(-len(texts) // self.batch_size), len(texts) // 2))
        self._epoch_rows = lru_cache(maxsize=1)(self._make_rows)

    def __getitem__(self, step) -> TextBatch:
        epoch, n = divmod(step, self.steps_per_epoch)
        return pad_batch(self.texts, self._epoch_rows(epoch)[n], self.labels)

    def _make_rows(self, epoch):
        """-> a list of arrays of row numbers, one per batch"""
        rng = np.random.default_rng([self.seed, epoch])
        lengths = np.array([len(t) for t in self.texts])
        rows = rng.permutation(len(self.texts))
        pool = self.POOL * self.batch_size
        pools = [rows[start : start + pool] for start in range(0, len(rows), pool)]
        rows = np.concatenate([p[np.argsort(-lengths[p], kind="stable")] for p in pools])
        batches = np.array_split(rows, self.steps_per_epoch)
        return [batches[n] for n in rng.permutation(len(batches))]


def evaluation_batches(texts, labels=None, batch_size=128, max_tokens=16_384):
    """Every text once, longest first so that batches need little padding; `rows` says where each belongs.

    Batches of long texts have fewer rows, so that none holds more than `max_tokens` (unless a single text does):
    memory is bounded whatever comes.
    """
    order = np.argsort([-len(t) for t in texts], kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, len(texts[order[start]]))
        rows = order[start : start + max(1, min(batch_size, max_tokens // longest))]
        yield pad_batch(texts, rows, labels)
        start += len(rows)
