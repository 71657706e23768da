"""Sigmoid, tanh and ReLU, each beside its derivative.

The derivatives of sigmoid and tanh are written in terms of the *output*, because that is what the LSTM keeps.
"""

from .arrays import get_array_module


def sigmoid(x):
    """1 / (1 + exp(-x)), written with tanh: no exp that could overflow, so |x| = 1e4 gives 0 or 1 in silence."""
    xp = get_array_module(x)
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def dsigmoid(y):
    """d sigmoid / dx where y = sigmoid(x)."""
    return y * (1 - y)


def tanh(x):
    return get_array_module(x).tanh(x)


def dtanh(y):
    """d tanh / dx where y = tanh(x)."""
    return 1 - y * y


def relu_forward(x):
    """x of any shape -> y, cache."""
    y = get_array_module(x).maximum(x, 0)
    return y, y


def relu_backward(dy, cache):
    """-> dx. At the kink x = 0 the derivative is taken as 0, as PyTorch does."""
    return dy * (cache > 0)
