"""The classifier's head: two blocks (Howard & Ruder 2018, section 3.3).

    x (B, 3E) -> batch norm -> dropout -> linear (B, 50) -> ReLU -> batch norm -> dropout -> linear -> logits (B, C)
"""

import numpy as np

from minilstm import BatchNorm, Linear, dropout_backward, dropout_forward, relu_backward, relu_forward
from minilstm.params import collect, prefixed


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
