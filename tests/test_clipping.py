"""How large gradients are, and what becomes of those that are too large, or not finite. (On the GPU:
test_cuda_training.py.)"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import copies, same_bits
from strategies import seeds
from test_optim import some
from twice import plain_and_compiled  # noqa: F401

from minilstm import NonFiniteError, clip_grad_norm, clip_scale, grad_norm


@given(seed=seeds, max_norm=st.floats(0.01, 10))
def test_clipping_reports_the_norm_and_keeps_the_direction(seed, max_norm):
    grads = some(seed)
    before = copies(grads)
    norm = np.sqrt(sum((g**2).sum() for g in before.values()))
    assert clip_grad_norm(grads, max_norm) == pytest.approx(norm, rel=1e-12)
    assert grad_norm(grads) == pytest.approx(min(norm, max_norm), rel=1e-12)
    for name, g in grads.items():
        np.testing.assert_allclose(g, before[name] * min(1, max_norm / norm), rtol=1e-12)


def test_without_a_limit_or_below_it_no_bit_changes():
    for max_norm in (None, 1e6):
        grads = some(dtype=np.float32)
        assert clip_grad_norm(grads, max_norm) == pytest.approx(grad_norm(some(dtype=np.float32)))
        same_bits(grads, some(dtype=np.float32))
    assert clip_grad_norm({}, 1.0) == 0 and clip_grad_norm({"a": np.zeros(3)}, 1.0) == 0


@pytest.mark.parametrize("dtype, huge", [(np.float32, 1e38), (np.float64, 1e200)])
def test_huge_but_finite_gradients_are_clipped_and_not_lost(dtype, huge):
    """Their squares overflow, they do not."""
    grads = {"a": np.array([3 * huge, 0], dtype), "b": np.array([[-1.5 * huge]], dtype), "none": np.zeros(0, dtype)}
    assert clip_grad_norm(grads, 1.0) == pytest.approx(huge * np.hypot(3, 1.5), rel=1e-5)
    norm = np.hypot(3, 1.5)
    np.testing.assert_allclose(grads["a"], [3 / norm, 0], rtol=1e-5)
    np.testing.assert_allclose(grads["b"], [[-1.5 / norm]], rtol=1e-5)
    assert grads["a"].dtype == dtype


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("max_norm", [None, 0.25])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_raises_by_name_and_changes_nothing(bad, max_norm, dtype):
    grads = some(dtype=dtype) | {"d": np.full(2, np.finfo(dtype).max)}
    grads["b"][1, 1] = bad
    before = copies(grads)
    with pytest.raises(NonFiniteError, match="^gradient is not finite in b$"):
        clip_grad_norm(grads, max_norm)
    same_bits(before, grads)
    grads["c"][...] = bad
    with pytest.raises(NonFiniteError, match="in b, c$"):
        clip_grad_norm(grads, max_norm)


@given(norm=st.floats(min_value=0) | st.just(math.nan), max_norm=st.floats(1e-6, 1e6))
def test_a_scale_brings_the_norm_down_and_never_up(norm, max_norm):
    scale = clip_scale(norm, max_norm)
    if not math.isfinite(norm):
        assert math.isnan(scale) and math.isnan(clip_scale(norm, None))
    elif norm <= max_norm:
        assert scale == 1
    else:
        assert scale == max_norm / norm < 1 or max_norm / norm == 1
    if math.isfinite(norm):
        assert clip_scale(norm, None) == 1
    assert clip_scale(norm, 0) == 0 or not math.isfinite(norm)


@pytest.mark.parametrize("max_norm", [-1.0, math.nan])
def test_a_limit_below_zero_would_turn_gradients_round(max_norm):
    for call in (lambda: clip_grad_norm(some(), max_norm), lambda: clip_scale(1.0, max_norm)):
        with pytest.raises(ValueError, match="max_norm: expected a number from 0, got"):
            call()


@pytest.mark.parametrize("n", [10, 20_000])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_squares_neither_vanish_nor_overflow(n, size):
    """Whether or not there are enough numbers for compiled code."""
    assert grad_norm({"a": np.full(n, size, np.float32)}) == pytest.approx(size * n**0.5, rel=1e-6, abs=0)
