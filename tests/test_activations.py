import math

import numpy as np
import pytest
from hypothesis import given
from strategies import BH, normal, seeds

from minilstm import gradcheck, relu_backward, relu_forward, sigmoid
from minilstm.activations import dsigmoid, dtanh, tanh


@pytest.mark.parametrize("x", [-30.0, -2.5, -1e-3, 0.0, 0.7, 12.0, 30.0])
def test_sigmoid_and_tanh_are_what_their_names_say(x):
    assert sigmoid(np.array([x]))[0] == pytest.approx(1 / (1 + math.exp(-x)), rel=1e-12, abs=1e-16)
    assert tanh(np.array([x]))[0] == pytest.approx(math.tanh(x), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_exact_and_silent(dtype):
    x = np.array([-1e4, 1e4, -np.inf, np.inf], dtype)
    assert sigmoid(x).tolist() == [0, 1, 0, 1]
    assert sigmoid(x).dtype == tanh(x).dtype == relu_forward(x)[0].dtype == dtype


@pytest.mark.parametrize("f, df", [(sigmoid, dsigmoid), (tanh, dtanh)])
@given(BH=BH, seed=seeds)
def test_derivatives_in_terms_of_the_output(f, df, BH, seed):
    rng = np.random.default_rng(seed)
    gradcheck(
        lambda a: {"y": f(a["x"])},
        lambda a, d: {"x": d["y"] * df(f(a["x"]))},
        {"x": normal(rng, *BH)},
        rng=rng,
    )


@given(BH=BH, seed=seeds)
def test_relu_gradient(BH, seed):
    rng = np.random.default_rng(seed)
    x = normal(rng, *BH)
    x += np.copysign(0.1, x)  # off the kink
    x[0, 0] = abs(x[0, 0])  # at least one unit is on
    gradcheck(
        lambda a: {"y": relu_forward(a["x"])[0]},
        lambda a, d: {"x": relu_backward(d["y"], relu_forward(a["x"])[1])},
        {"x": x},
        rng=rng,
    )


def test_relu_at_and_around_the_kink():
    y, cache = relu_forward(np.array([-2.0, 0.0, 3.0], np.float32))
    assert y.tolist() == [0, 0, 3]
    dx = relu_backward(np.ones(3, np.float32), cache)
    assert dx.tolist() == [0, 0, 1] and dx.dtype == np.float32
