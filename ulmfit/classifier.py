"""The classifier: the language model's encoder, concat pooling, and a head.

    ids (T, B) -> windows of ids (T_w, B) -> encoder -> h (T_w, B, E) -> [h_last, max, mean] of all windows (B, 3E)
        -> head -> logits (B, C)

A text is read in windows of `bptt` words that end where it ends: BPT3C, back-propagation through time for text
classification (Howard & Ruder 2018, section 3.3). Each window begins in the state that the one before it ended in.
The last `max_tokens` words that it reads (in the backward direction the text's first), rounded up to whole windows, are
pooled, and each of their windows gets its gradient, which ends at the window's first word; whatever comes before them
is read for its state alone. So memory is bounded however long the text, and a text of at most `bptt` words is
backpropagated through as a whole.
"""

from typing import NamedTuple

import numpy as np

from minilstm import (
    LSTMState,
    activation_regularization_backward,
    activation_regularization_forward,
    temporal_activation_regularization_backward,
    temporal_activation_regularization_forward,
)
from minilstm.arrays import beside, get_array_module, number
from minilstm.checks import check_lengths, check_shape
from minilstm.params import add_grads, collect, prefixed
from minilstm.pooling import Pools, concat_pools, pool_window_backward, pool_window_forward

from .awd_lstm import AWDLSTM, EncoderMasks
from .batching import text_windows
from .head import Head
from .recipes import ClassifierTraining


class ClassifierMasks(NamedTuple):
    """The masks of one step."""

    encoder: EncoderMasks
    head: tuple  # (B, 3E) and (B, hidden), element-wise; each of them or None


class WindowCache(NamedTuple):
    """What backward needs of one pooled window."""

    encoder: tuple
    pool: tuple
    ar: tuple | None  # None where it is off
    tar: tuple | None


class ClassifierCache(NamedTuple):
    windows: list[WindowCache]  # oldest first
    pools: Pools
    head: tuple
    penalty: float  # AR and TAR of all windows


class TextClassifier:
    """params: encoder.embedding.weight, encoder.lstm.*, head.*; the head's running statistics are buffers that are
    carried as a value, `stats`."""

    kind = "classifier"

    def __init__(self, vocab_size, size, n_classes, *, rng, dtype=np.float32, kernel="auto"):
        self.size, self.vocab_size, self.n_classes, self.dtype = size, vocab_size, n_classes, np.dtype(dtype)
        self.encoder = AWDLSTM(vocab_size, size, rng=rng, dtype=dtype, kernel=kernel)
        self.head = Head(3 * size.embedding, size.head, n_classes, rng=rng, dtype=dtype)
        self.children = {"encoder": self.encoder, "head": self.head}

    @property
    def params(self):
        return collect(self.children)

    def initial_stats(self):
        return tuple(self.head.children[name].initial_stats() for name in ("bn1", "bn2"))

    def draw_masks(self, source, step, batch_size, dropouts) -> ClassifierMasks:
        """The masks of training step `step`, from a MaskSource and recipes.Dropouts."""
        head = [
            source.mask("head", (batch_size, width), p, step=step, layer=n, dtype=self.dtype)
            for n, (width, p) in enumerate(zip(self.head.widths, dropouts.head, strict=True))
        ]
        return ClassifierMasks(self.encoder.draw_masks(source, step, batch_size, dropouts), tuple(head))

    def forward(
        self, ids, lengths, stats, *, training=False, masks=None, need_cache=True,
        bptt=ClassifierTraining.bptt, max_tokens=ClassifierTraining.max_tokens, ar=0.0, tar=0.0,
    ):  # fmt: skip
        """ids (T, B), lengths (B,) or None (all T), running statistics -> logits (B, C), new statistics, cache

        ar and tar weigh the penalties on what the encoder says of the pooled words (minilstm.regularization); the
        cache, a ClassifierCache, holds what they come to. The masks of a step hold for all windows: what is locked
        over time is locked over the whole text (the authors' scripts draw new masks for every window).
        """
        encoder_masks, head_masks = masks if masks is not None else (None, (None, None))
        check_shape("ids", ids, ("T", "B"))
        T, B = ids.shape
        lengths = np.full(B, T) if lengths is None else check_lengths(lengths, T, B)
        n_pooled = -(-max_tokens // bptt)  # windows
        windows = list(text_windows(ids, lengths, bptt, n_pooled))
        ar, tar = _per_word_and_change(ar, tar, [n for _, n in windows])
        states = self._skim(ids, np.maximum(lengths - n_pooled * bptt, 0), encoder_masks, bptt)
        pools, penalty, caches = None, 0.0, []
        for window_ids, n in windows:
            h, states, encoder_cache = self.encoder.forward(
                window_ids, states, lengths=n, masks=encoder_masks, need_cache=need_cache
            )
            pools, pool_cache = pool_window_forward(h, n, pools)
            if need_cache:
                share, *penalty_caches = penalty_forward(h, n, ar, tar)
                penalty += share
                caches.append(WindowCache(encoder_cache, pool_cache, *penalty_caches))
        logits, stats, head_cache = self.head.forward(concat_pools(pools), stats, training=training, masks=head_masks)
        return logits, stats, ClassifierCache(caches, pools, head_cache, number(penalty)) if need_cache else None

    def _skim(self, ids, lengths, masks, bptt):
        """ids (T, B) -> the encoder's states after the first lengths[b] words of row b; nothing else is kept."""
        rows = np.flatnonzero(lengths)
        if not rows.size:
            return None
        B, lengths = len(lengths), lengths[rows]
        if masks is not None:
            inputs = [mask if mask is None else mask[:, beside(rows, mask)] for mask in masks.inputs]
            masks = masks._replace(inputs=inputs)
        states = None
        for start in range(0, int(lengths.max()), bptt):
            window = ids[start : start + bptt][:, rows]
            n = np.clip(lengths - start, 0, len(window))
            _, states, _ = self.encoder.forward(window, states, lengths=n, masks=masks, need_cache=False)
        return [LSTMState(*(_spread(a, rows, B) for a in state)) for state in states]

    def backward(self, dlogits, cache, n_unfrozen=None, dpenalty=1.0):
        """dlogits (B, C) -> grads of the `n_unfrozen` topmost layer groups: head, LSTM layers, embedding. None: all.

        Frozen means absent: the walk down simply stops early, which is also why it is cheaper. Windows are walked
        from the last to the first, and none hands its gradient on to the one before it. dpenalty: of cache.penalty,
        which is added to the loss as it is.
        """
        dpooled, grads = self.head.backward(dlogits, cache.head)
        grads = prefixed("head", grads)
        if n_unfrozen == 1:
            return grads
        encoder_grads, n_unfrozen = {}, None if n_unfrozen is None else n_unfrozen - 1
        for window in reversed(cache.windows):
            dh = pool_window_backward(dpooled, cache.pools, window.pool)
            if window.ar is not None:
                dh += activation_regularization_backward(dpenalty, window.ar)
            if window.tar is not None:
                dh += temporal_activation_regularization_backward(dpenalty, window.tar)
            window_grads = self.encoder.backward(dh, window.encoder, n_unfrozen=n_unfrozen)
            encoder_grads = add_grads(encoder_grads, window_grads)
        return grads | prefixed("encoder", encoder_grads)


def penalty_forward(h, lengths, ar, tar):
    """h (T, B, E) and lengths (B,) of one window, AR's weight per word and TAR's per change
    -> the window's share in the penalty, AR's cache, TAR's cache"""
    n_words, n_changes = _words_and_changes(lengths)
    still, ar_cache = activation_regularization_forward(h, ar * n_words, lengths) if ar else (0.0, None)
    slow, tar_cache = temporal_activation_regularization_forward(h, tar * n_changes, lengths) if tar else (0.0, None)
    return still + slow, ar_cache, tar_cache


def _per_word_and_change(ar, tar, lengths):
    """AR and TAR are means over the words, and the changes, of all windows. lengths: (B,) of each window
    -> weight per word, weight per change"""
    n_words, n_changes = np.sum([_words_and_changes(n) for n in lengths], axis=0).clip(1)
    return ar / n_words, tar / n_changes


def _words_and_changes(lengths):
    """How many there are in a window. A change lies between two of its words."""
    return int(lengths.sum()), int((lengths - 1).clip(0).sum())


def _spread(a, rows, B):
    """a (len(rows), H) -> (B, H), zero in the other rows"""
    spread = get_array_module(a).zeros((B, a.shape[1]), a.dtype)
    spread[beside(rows, a)] = a
    return spread
