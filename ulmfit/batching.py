"""Batches as a pure function of the step: `batches[step]` is the same whoever asks and whenever.

So there is no position to remember: a run that is resumed at step 1000 asks for batch 1000.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .errors import InputError
from .text import PAD, SPECIAL_TOKENS

PAD_ID = SPECIAL_TOKENS.index(PAD)
VARIABLE = 0x62707474  # "bptt": keeps the random numbers for lengths apart from those for orders


def encode(tokens, vocab, direction) -> np.ndarray:
    """Tokens -> word ids in the order in which a model of this direction reads them."""
    ids = np.array(vocab.encode(tokens), np.int32)
    return ids[::-1].copy() if direction == "backward" else ids


class LMBatch(NamedTuple):
    ids: np.ndarray  # (T, B)
    targets: np.ndarray  # (T, B), the ids one word later
    starts_epoch: bool  # the carried state must begin anew here


class LMBatches:
    """Windows of `bptt` words over `batch_size` parallel streams, epoch after epoch; an epoch's last has the rest.

    Each epoch puts the documents in a new order (a function of seed and epoch), joins them into one long text and
    cuts it into B streams of equal length; up to B words at the end of an epoch are left out. A text too short for
    B streams of two words gets fewer streams. Raises InputError for one of fewer than two words.

    With `variable`, windows begin at other words in each epoch (Merity et al. 2017, section 4.1). Their lengths are
    drawn from the seed once, as many as cover a stream, and every epoch puts them in an order of its own: so all
    epochs have the same number of steps.
    """

    def __init__(self, documents, batch_size, bptt, seed, *, shuffle=True, variable=False):
        """documents: a list of integer arrays of word ids"""
        self.documents, self.bptt, self.seed, self.shuffle = documents, bptt, seed, shuffle
        self.n_tokens = sum(len(d) for d in documents)
        if self.n_tokens < 2:
            raise InputError(f"the text for the language model has {self.n_tokens} words; at least 2 are needed")
        self.batch_size = min(batch_size, (self.n_tokens - 1) // 2 or 1)
        self.stream_length = (self.n_tokens - 1) // self.batch_size
        lengths = _variable_lengths if variable else _equal_lengths
        self.variable, self.lengths = variable, lengths(self.stream_length, bptt, seed)  # (n,), of an epoch's windows
        self.steps_per_epoch = len(self.lengths)
        self._epoch_streams = lru_cache(maxsize=1)(self._make_streams)
        self._epoch_starts = lru_cache(maxsize=1)(self._make_starts)

    def __getitem__(self, step) -> LMBatch:
        epoch, window = divmod(step, self.steps_per_epoch)
        ids, targets = self._epoch_streams(epoch)
        starts = self._epoch_starts(epoch)
        rows = slice(starts[window], starts[window + 1])
        return LMBatch(ids[rows], targets[rows], starts_epoch=window == 0)

    def _make_starts(self, epoch):
        """-> where the windows start, and where the last one ends (n + 1,)"""
        lengths = self.lengths
        if self.variable:  # the rest, which may be short, stays at the end
            rng = np.random.default_rng([self.seed, VARIABLE, epoch])
            lengths = np.append(rng.permutation(lengths[:-1]), lengths[-1])
        return np.append(0, np.cumsum(lengths))

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


def _equal_lengths(total, bptt, seed):
    """Windows of bptt words, and the rest: integers, (n,), whose sum is `total`."""
    return np.diff(np.append(np.arange(0, total, bptt), total))


def _variable_lengths(total, bptt, seed):
    """Lengths as awd-lstm-lm draws them: about bptt, one time in twenty about half of it, at least 5; and the rest."""
    rng = np.random.default_rng([seed, VARIABLE])
    n = -(-total // 5)  # enough, were all of them as short as they may be
    base = np.where(rng.random(n) < 0.95, bptt, bptt / 2)
    ends = np.cumsum(np.maximum(5, rng.normal(base, 5).astype(int)))
    return np.diff(ends[ends < total], prepend=0, append=total)


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


def evaluation_batches(texts, labels=None, batch_size=128, max_tokens=65_536):
    """Every text once, longest first so that batches need little padding; `rows` says where each belongs.

    Batches of long texts have fewer rows, so that none holds more than `max_tokens` (unless a single text does):
    memory is bounded whatever comes. It can be a large number, as a classifier reads a batch window by window.
    """
    order = np.argsort([-len(t) for t in texts], kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, len(texts[order[start]]))
        rows = order[start : start + max(1, min(batch_size, max_tokens // longest))]
        yield pad_batch(texts, rows, labels)
        start += len(rows)


def text_windows(ids, lengths, bptt, n_last):
    """Padded texts in windows of `bptt` words, cut from their ends, so that all of them end in the last window.

    ids (T, B), lengths (B,) -> pairs of ids (T_w, B), padded, and lengths (B,) in 0..T_w, of the last `n_last`
    windows. A text of 150 words in windows of 70 reads 10, 70 and 70; where it has not begun yet its length is 0.
    """
    T, B = ids.shape
    n_windows = min(n_last, max(1, -(-int(lengths.max()) // bptt)))
    for n_after in reversed(range(n_windows)):
        stops = np.maximum(lengths - n_after * bptt, 0)
        starts = np.maximum(stops - bptt, 0)
        T_w = max(1, int((stops - starts).max()))
        steps = starts + np.arange(T_w)[:, None]  # (T_w, B)
        yield np.where(steps < stops, ids[np.minimum(steps, T - 1), np.arange(B)], PAD_ID), stops - starts
