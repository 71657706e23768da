"""LSTM(precision="float16" or "bfloat16"): a layer of float32 that multiplies and stores in 16 bits, on the stand-in
for CuPy, against the same layer in float64."""

import sys

import numpy as np
import pytest
from cuda_on_cpu import needs_gxx
from cupy_on_cpu import in_place_of_cupy
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import length_kinds, normal, seeds, some_lengths

from minilstm import LSTM, available_kernels
from minilstm.recurrence import storage_dtype

# Half a unit in the last place, with which every product and every stored number is rounded; and how much of it may be
# seen in an output or a gradient after a few steps, in proportion to its largest number.
HALF_ULP = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
SEEN = 24    # 8 was the most in 1,200 draws

OFFERED = [(k.name, precision) for k in available_kernels() for precision in k.precisions]
pytestmark = needs_gxx


@pytest.fixture(scope="module", autouse=True)
def cupy():
    pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
    with in_place_of_cupy() as stand_in:
        yield stand_in


def layers(kernel, precision, I, H, cupy):
    """-> the layer on the "device", and the same one in float64 on the host"""
    ours = LSTM(I, H, rng=np.random.default_rng(1), kernel=kernel, precision=precision)
    exact = LSTM(I, H, rng=np.random.default_rng(1), dtype=np.float64, kernel="reference")
    for name, p in ours.params.items():
        exact.params[name][...] = p
        ours.params[name] = cupy.asarray(p)
    return ours, exact


def everything(layer, x, state, dy, dstate, **options):
    """-> all that a forward and a backward return, in one list"""
    y, last, cache = layer.forward(x, state, **options)
    dx, dfirst, grads = layer.backward(dy, dstate, cache)
    return [y, *last, dx, *dfirst, *grads.values()]


@pytest.mark.parametrize("kernel, precision", OFFERED)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, sizes=st.tuples(st.integers(1, 4), *[st.integers(1, 17)] * 3), kind=length_kinds)
def test_16_bits_are_as_near_as_16_bits_can_be(kernel, precision, seed, sizes, kind, cupy):
    T, B, I, H = sizes
    rng = np.random.default_rng(seed)
    ours, exact = layers(kernel, precision, I, H, cupy)
    lengths = some_lengths(rng, kind, T, B)
    x, dy = normal(rng, T, B, I, dtype=np.float32), normal(rng, T, B, H, dtype=np.float32)
    h0, c0, dh_T, dc_T = normal(rng, 4, B, H, dtype=np.float32)
    mask = rng.integers(0, 2, (4 * H, H)).astype(np.float32) * 2

    def run(layer, put):
        return everything(layer, put(x), (put(h0), put(c0)), put(dy), (put(dh_T), put(dc_T)),
                          lengths=lengths, weight_hh_mask=put(mask))  # fmt: skip

    for got, want in zip(run(ours, cupy.asarray), run(exact, np.float64), strict=True):
        assert type(got) is cupy.ndarray and got.dtype == np.float32
        assert abs(got.get() - want).max() <= SEEN * HALF_ULP[precision] * max(1, abs(want).max())


@pytest.mark.parametrize("kernel, precision", OFFERED)
def test_it_is_in_16_bits_that_it_computes(kernel, precision, cupy):
    """More exact than it should be is wrong, too: then the memory and the time were not saved."""
    ours, exact = layers(kernel, precision, 8, 16, cupy)
    x = normal(np.random.default_rng(0), 3, 4, 8, dtype=np.float32)
    y, _, cache = ours.forward(cupy.asarray(x))
    assert abs(y.get() - exact.forward(x.astype(np.float64))[0]).max() > HALF_ULP[precision] / 64
    storage = storage_dtype(precision, ours.dtype)
    assert cache.x.dtype == cache.h.dtype == cache.ifgo.dtype == cache.weight_hh.dtype == storage
    assert cache.c.dtype == np.float32
    assert ours.plan(cupy.asarray(x)).kernel == kernel


def test_auto_takes_a_kernel_that_offers_it(cupy):
    layer, _ = layers("auto", "bfloat16", 2, 3, cupy)
    plan = layer.plan(cupy.zeros((1, 1, 2), np.float32))
    assert (plan.kernel, "bfloat16") in OFFERED


def test_bfloat16_without_ml_dtypes_says_what_to_install(cupy, monkeypatch):
    layer, _ = layers("cupy", "bfloat16", 2, 3, cupy)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match="precision 'bfloat16' needs the package ml_dtypes: pip install ml_dtypes"):
        layer.forward(cupy.zeros((1, 1, 2), np.float32))
