"""Batch normalisation (Ioffe & Szegedy 2015) over the rows of a batch."""

from typing import NamedTuple

import numpy as np

from .checks import check_float_array, check_size


class RunningStats(NamedTuple):
    """What evaluation normalises with. A buffer: it is carried along, but no gradient trains it."""

    mean: np.ndarray  # (F,)
    var: np.ndarray  # (F,), unbiased


class BatchNorm:
    """params: weight (F,), ones at first, and bias (F,), zeros. eps and momentum are PyTorch's defaults."""

    def __init__(self, num_features, *, dtype=np.float32, eps=1e-5, momentum=0.1):
        check_size("num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.params = {"weight": np.ones(num_features, dtype), "bias": np.zeros(num_features, dtype)}

    def initial_stats(self) -> RunningStats:
        """Mean 0 and variance 1, before the first batch."""
        weight = self.params["weight"]
        return RunningStats(weight * 0, weight * 0 + 1)

    def forward(self, x, stats, *, training):
        """x (N, F), RunningStats -> y (N, F), RunningStats, cache

        Training normalises with the batch's own mean and (biased) variance and moves the running statistics, which
        come back as a new value; evaluation normalises with the running ones. Raises ValueError for a training batch
        of one row, whose variance says nothing.
        """
        weight, bias = self.params["weight"], self.params["bias"]
        check_float_array("x", x, ("N", weight.shape[0]), weight.dtype)
        check_float_array("stats.mean", stats.mean, weight.shape, weight.dtype)
        check_float_array("stats.var", stats.var, weight.shape, weight.dtype)
        N = x.shape[0]
        if training and N < 2:
            raise ValueError(f"x: batch norm needs at least 2 rows to train on, got {N}; join it to another batch")
        mean, var = (x.mean(axis=0), x.var(axis=0)) if training else stats
        inv_std = (var + self.eps) ** -0.5  # (F,)
        x_hat = (x - mean) * inv_std  # (N, F)
        if training:
            m = self.momentum
            stats = RunningStats(
                (1 - m) * stats.mean + m * mean, (1 - m) * stats.var + m * var * (N / (N - 1))
            )
        return x_hat * weight + bias, stats, (x_hat, inv_std, training)

    def backward(self, dy, cache):
        """dy (N, F) -> dx (N, F), grads. In training, dx also runs through the batch's mean and variance."""
        x_hat, inv_std, training = cache
        check_float_array("dy", dy, x_hat.shape, x_hat.dtype)
        # y = x_hat * weight + bias
        grads = {"weight": (dy * x_hat).sum(axis=0), "bias": dy.sum(axis=0)}
        dx_hat = dy * self.params["weight"]
        # x_hat = (x - mean(x)) * inv_std(x)
        if training:
            dx_hat = dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)
        return dx_hat * inv_std, grads
