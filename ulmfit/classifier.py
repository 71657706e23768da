"""The classifier: the language model's encoder, concat pooling, and a head of two blocks.

    ids (T, B) -> encoder -> h (T, B, E) -> [h_last, max, mean] (B, 3E)
        -> batch norm -> dropout -> linear (B, 50) -> ReLU -> batch norm -> dropout -> linear -> logits (B, C)
"""

from typing import NamedTuple

import numpy as np

from minilstm import (
    BatchNorm,
    Linear,
    concat_pool_backward,
    concat_pool_forward,
    dropout_backward,
    dropout_forward,
    relu_backward,
    relu_forward,
)
from minilstm.params import collect, prefixed

from .awd_lstm import AWDLSTM, EncoderMasks


class ClassifierMasks(NamedTuple):
    """The masks of one step."""

    encoder: EncoderMasks
    head: tuple  # (B, 3E) and (B, hidden), element-wise; each of them or None


class Head:
    """children: bn1 (3E), linear1 (3E -> hidden), bn2 (hidden), linear2 (hidden -> C)"""

    def __init__(self, in_features, hidden, n_classes, *, rng, dtype=np.float32):
        self.widths = (in_features, hidden)
        self.children = {
            "bn1": BatchNorm(in_features, dtype=dtype),
            "linear1": Linear(in_features, hidden, rng=rng, dtype=dtype),
            "bn2": BatchNorm(hidden, dtype=dtype),
            "linear2": Linear(hidden, n_classes, rng=rng, dtype=dtype),
        }

    @property
    def params(self):
        return collect(self.children)

    def forward(self, x, stats, *, training, masks=(None, None)):
        """x (B, 3E), (RunningStats, RunningStats) -> logits (B, C), (RunningStats, RunningStats), cache"""
        bn1, linear1, bn2, linear2 = self.children.values()
        x, stats1, bn1_cache = bn1.forward(x, stats[0], training=training)
        x, linear1_cache = linear1.forward(dropout_forward(x, masks[0]))
        x, relu_cache = relu_forward(x)
        x, stats2, bn2_cache = bn2.forward(x, stats[1], training=training)
        x, linear2_cache = linear2.forward(dropout_forward(x, masks[1]))
        return x, (stats1, stats2), (bn1_cache, linear1_cache, relu_cache, bn2_cache, linear2_cache, masks)

    def backward(self, dlogits, cache):
        """dlogits (B, C) -> dx (B, 3E), grads: forward, read upwards"""
        bn1, linear1, bn2, linear2 = self.children.values()
        bn1_cache, linear1_cache, relu_cache, bn2_cache, linear2_cache, masks = cache
        dx, linear2_grads = linear2.backward(dlogits, linear2_cache)
        dx, bn2_grads = bn2.backward(dropout_backward(dx, masks[1]), bn2_cache)
        dx = relu_backward(dx, relu_cache)
        dx, linear1_grads = linear1.backward(dx, linear1_cache)
        dx, bn1_grads = bn1.backward(dropout_backward(dx, masks[0]), bn1_cache)
        grads = zip(self.children, (bn1_grads, linear1_grads, bn2_grads, linear2_grads), strict=True)
        return dx, {name: g for part, part_grads in grads for name, g in prefixed(part, part_grads).items()}


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

    def forward(self, ids, lengths, stats, *, training=False, masks=None, need_cache=True):
        """ids (T, B), lengths (B,), running statistics -> logits (B, C), new statistics, cache"""
        encoder_masks, head_masks = masks if masks is not None else (None, (None, None))
        h, _, encoder_cache = self.encoder.forward(ids, lengths=lengths, masks=encoder_masks, need_cache=need_cache)
        pooled, pool_cache = concat_pool_forward(h, lengths)
        logits, stats, head_cache = self.head.forward(pooled, stats, training=training, masks=head_masks)
        return logits, stats, (encoder_cache, pool_cache, head_cache) if need_cache else None

    def backward(self, dlogits, cache, n_unfrozen=None):
        """dlogits (B, C) -> grads of the `n_unfrozen` topmost layer groups: head, LSTM layers, embedding. None: all.

        Frozen means absent: the walk down simply stops early, which is also why it is cheaper.
        """
        encoder_cache, pool_cache, head_cache = cache
        dpooled, grads = self.head.backward(dlogits, head_cache)
        grads = prefixed("head", grads)
        if n_unfrozen == 1:
            return grads
        dh = concat_pool_backward(dpooled, pool_cache)
        encoder_unfrozen = None if n_unfrozen is None else n_unfrozen - 1
        return grads | prefixed("encoder", self.encoder.backward(dh, encoder_cache, n_unfrozen=encoder_unfrozen))
