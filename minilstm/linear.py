"""y = x @ weight.T + bias"""

import numpy as np

from .checks import check_float_array, check_size
from .params import uniform


class Linear:
    """params: weight (out, in), bias (out,), both U(-1/sqrt(in), 1/sqrt(in)) at first, as `torch.nn.Linear` does."""

    def __init__(self, in_features, out_features, *, rng, dtype=np.float32):
        check_size("in_features", in_features), check_size("out_features", out_features)
        bound = in_features**-0.5
        self.params = {
            "weight": uniform(rng, (out_features, in_features), bound, dtype),
            "bias": uniform(rng, (out_features,), bound, dtype),
        }

    def forward(self, x):
        """x (N, in) -> y (N, out), cache"""
        weight = self.params["weight"]
        check_float_array("x", x, ("N", weight.shape[1]), weight.dtype)
        return x @ weight.T + self.params["bias"], x

    def backward(self, dy, cache):
        """dy (N, out) -> dx (N, in), grads"""
        weight, x = self.params["weight"], cache
        check_float_array("dy", dy, (len(x), weight.shape[0]), weight.dtype)
        return dy @ weight, {"weight": dy.T @ x, "bias": dy.sum(axis=0)}
