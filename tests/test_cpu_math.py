"""Sigmoid, tanh and exp of compiled code: right to three units in the last place, and at the edges."""

import numpy as np
import pytest
from on_cpu import both_dtypes

from minilstm_kernels import cpu_math
from minilstm_kernels.cpu_compile import compiled
from minilstm_kernels.cpu_math import exp_of_negative, sigmoid, tanh


@compiled
def _sigmoid(x, out):
    for j in range(x.size):
        out[j] = sigmoid(x[j])


@compiled
def _tanh(x, out):
    for j in range(x.size):
        out[j] = tanh(x[j])


@compiled
def _exp(x, out):
    for j in range(x.size):
        out[j] = exp_of_negative(x[j])


def apply(loop, x):
    out = np.empty_like(x)
    loop(x, out)
    return out


@both_dtypes
@pytest.mark.parametrize("loop, exact", [
    (_sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    (_tanh, np.tanh),
    (_exp, lambda x: np.exp(-abs(x))),
], ids=["sigmoid", "tanh", "exp"])  # fmt: skip
def test_they_are_right_to_three_units_in_the_last_place(loop, exact, dtype):
    if np.finfo(np.longdouble).nmant <= np.finfo(dtype).nmant:
        pytest.skip("no wider type here to compare with")
    rng = np.random.default_rng(0)
    x = np.concatenate([s * rng.standard_normal(50_000) for s in (1e-6, 1e-2, 0.3, 1, 3, 10, 25)]).astype(dtype)
    x = -abs(x) if loop is _exp else x
    want = exact(x.astype(np.longdouble))
    normal = np.abs(want) > 2 * np.finfo(dtype).tiny
    unit = np.spacing(np.abs(want[normal]).astype(dtype))
    error = np.abs(apply(loop, x)[normal] - want[normal]) / unit
    assert error.max() < 3
    assert (apply(loop, x)[~normal] <= 4 * np.finfo(dtype).tiny).all()


@both_dtypes
def test_at_the_edges(dtype):
    x = np.array([np.inf, -np.inf, 1e4, -1e4, np.nan, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(apply(_sigmoid, x), [1, 0, 1, 0, np.nan, 0.5, 0.5])
    np.testing.assert_array_equal(apply(_tanh, x), [1, -1, 1, -1, np.nan, 0, 0])
    assert np.signbit(apply(_tanh, x)).tolist()[-2:] == [False, True]
    x = np.array([-np.inf, -1e4, -np.finfo(dtype).max, np.nan, 0.0, -0.0, -np.finfo(dtype).tiny], dtype)
    np.testing.assert_array_equal(apply(_exp, x), [0, 0, 0, np.nan, 1, 1, 1])


@both_dtypes
def test_a_number_alone_has_the_bits_it_has_in_a_row(dtype):
    """A vector's last numbers go through other instructions than the first."""
    x = -abs(np.random.default_rng(1).standard_normal(203)).astype(dtype)
    for loop in (_sigmoid, _tanh, _exp):
        row = apply(loop, x)
        assert all(apply(loop, x[j : j + 1])[0] == row[j] for j in range(x.size))


@pytest.mark.parametrize("function", [cpu_math.sigmoid, cpu_math.tanh, cpu_math.exp_of_negative])
def test_outside_compiled_code_they_say_so(function):
    with pytest.raises(TypeError, match="compiled code only"):
        function(1.0)
