"""LSTM(precision=...): a layer of float32 that multiplies and stores in 16 bits, or only multiplies in TF32 or in
pairs of bfloat16, on the stand-in for CuPy, against the same layer in float64."""

import sys

import numpy as np
import pytest
from cuda_on_cpu import needs_gxx, recording
from cupy_on_cpu import in_place_of_cupy
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import length_kinds, normal, seeds, some_lengths

from minilstm import LSTM, available_kernels
from minilstm.arrays import library_products
from minilstm.recurrence import storage_dtype

# Half a unit in the last place, with which every product and every stored number is rounded; and how much of it may be
# seen in an output or a gradient after a few steps, in proportion to its largest number.
HALF_ULP = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "tf32": 2.0**-11, "bfloat16x3": 2.0**-16}
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
def test_a_precision_is_as_near_as_it_can_be(kernel, precision, seed, sizes, kind, cupy):
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
def test_it_is_in_that_precision_that_it_computes(kernel, precision, cupy):
    """More exact than it should be is wrong, too: then the memory and the time were not saved."""
    ours, exact = layers(kernel, precision, 8, 16, cupy)
    x = normal(np.random.default_rng(0), 3, 4, 8, dtype=np.float32)
    y, _, cache = ours.forward(cupy.asarray(x))
    assert abs(y.get() - exact.forward(x.astype(np.float64))[0]).max() > HALF_ULP[precision] / 64
    storage = storage_dtype(precision, ours.dtype)
    assert cache.x.dtype == cache.h.dtype == cache.ifgo.dtype == cache.weight_hh.dtype == storage
    assert cache.c.dtype == np.float32
    assert ours.plan(cupy.asarray(x)).kernel == kernel


def test_library_products_are_in_tf32_in_a_block_and_afterwards_as_before(cupy):
    a = np.full((2, 3), 1 + 2.0**-12, np.float32)    # which TF32 has not
    exact, rounded = a @ a.T, np.ones((2, 3), np.float32) @ np.ones((3, 2), np.float32)
    there, core = cupy.asarray(a), cupy._core

    def product():
        return (there @ there.T).get()

    for before in (1, 7):    # default, TF32
        core.set_compute_type(np.float32, before)
        try:
            usual = product()
            with pytest.raises(ZeroDivisionError), library_products(there, "tf32"):
                assert (product() == rounded).all() and (a @ a.T == exact).all()
                raise ZeroDivisionError
            assert core.get_compute_type(np.float32) == before and (product() == usual).all()
            for x, precision in ((there, None), (there, "bfloat16x3"), (there, "float16"), (a, "tf32")):
                with library_products(x, precision):
                    assert core.get_compute_type(np.float32) == before
        finally:
            core.set_compute_type(np.float32, 1)
    assert not (exact == rounded).any()


@pytest.mark.parametrize("precision, in_tf32", [(None, False), ("tf32", True), ("bfloat16x3", False)])
def test_the_library_products_are_in_tf32_where_the_loop_is(precision, in_tf32, cupy):
    """One step from h = 0, whose own product is 0: y, and the gradients of x and of weights, are made by large ones."""
    ours, exact = layers("persistent" if precision else "cupy", precision, 40, 16, cupy)
    x, dy = (normal(np.random.default_rng(0), 1, 4, n, dtype=np.float32) for n in (40, 16))
    for layer, put in ((ours, cupy.asarray), (exact, np.float64)):
        y, _, cache = layer.forward(put(x))
        dx, _, grads = layer.backward(put(dy), None, cache)
        found = {"y": y, "dx": dx, "dweight_ih": grads["weight_ih"]}
        if layer is ours:
            got = found
    for name, want in found.items():
        error = abs(got[name].get() - want).max() / abs(want).max()
        assert error > HALF_ULP["tf32"] / 64 if in_tf32 else error < 2.0**-20, name


@pytest.mark.parametrize("precision, version", [("tf32", "3"), ("bfloat16x3", "4")])
@pytest.mark.parametrize("kernel", ["cluster", "persistent"])
def test_forward_and_backward_have_the_same_precision(kernel, precision, version, cupy):
    layer, _ = layers(kernel, precision, 2, 3, cupy)
    with recording() as launches:
        everything(layer, cupy.zeros((1, 1, 2), np.float32), None, None, None)
    names = [launch.name for launch in launches if launch.name.startswith("lstm")]
    assert [name.split("<")[0] for name in names] == ["lstm_forward", "lstm_backward"]
    assert {name.split(", ")[1] for name in names} == {version}


@pytest.mark.parametrize("precision", HALF_ULP)
def test_auto_takes_a_kernel_that_offers_it(precision, cupy):
    layer, _ = layers("auto", precision, 2, 3, cupy)
    plan = layer.plan(cupy.zeros((1, 1, 2), np.float32))
    assert (plan.kernel, precision) in OFFERED


def test_bfloat16_without_ml_dtypes_says_what_to_install(cupy, monkeypatch):
    layer, _ = layers("cupy", "bfloat16", 2, 3, cupy)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match="precision 'bfloat16' needs the package ml_dtypes: pip install ml_dtypes"):
        layer.forward(cupy.zeros((1, 1, 2), np.float32))
