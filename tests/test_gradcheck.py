"""The checker itself: it passes right gradients and fails wrong ones, of every kind of wrong."""

import numpy as np
import pytest
from hypothesis import given
from problems import LSTMProblem
from strategies import LSTMCase, seeds

from minilstm import gradcheck

CASE = LSTMCase(T=3, B=2, I=3, H=3, lengths="mixed", weight_drop=True, seed=5)


def check(spoil=lambda grads, d: None, **options):
    """gradcheck of an LSTM whose right gradients `spoil` has got its hands on."""
    p = LSTMProblem(CASE)

    def backward(inputs, d):
        grads = p.backward(inputs, d)
        spoil(grads, d)
        return grads

    return gradcheck(p.forward, backward, p.inputs, rng=np.random.default_rng(0), **options)


INPUTS = list(LSTMProblem(CASE).inputs)


def test_right_gradients_pass_with_room_to_spare():
    assert 0 < check(directions=3) < 1e-8


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("factor", [1.001, 0.999, -1, 2])
def test_a_scaled_gradient_fails(name, factor):
    def spoil(grads, d):
        grads[name] = grads[name] * factor

    with pytest.raises(AssertionError, match=f"d y / d {name}: analytic"):
        check(spoil)


@pytest.mark.parametrize("name", INPUTS)
def test_one_number_too_little_fails(name):
    def spoil(grads, d):
        grads[name] = grads[name].copy()
        grads[name].flat[abs(grads[name]).argmax()] = 0

    with pytest.raises(AssertionError, match=f"/ d {name}: analytic"):
        check(spoil)


def test_one_dropped_term_fails():
    """The share of the last step's state is missing: the other two outputs hide nothing."""

    def spoil(grads, d):
        if d["c"] is not None:
            grads["c0"] = grads["c0"] - 1e-3 * d["c"]

    with pytest.raises(AssertionError, match="d c / d c0: analytic"):
        check(spoil)


@pytest.mark.parametrize("name", INPUTS)
def test_zeros_fail(name):
    def spoil(grads, d):
        grads[name] = np.zeros_like(grads[name])

    with pytest.raises(AssertionError, match=f"d y / d {name} is zero everywhere"):
        check(spoil)


def test_zeros_fail_even_where_they_are_said_to_be_natural():
    def spoil(grads, d):
        grads["x"] = np.zeros_like(grads["x"])

    with pytest.raises(AssertionError, match="d y / d x: analytic 0"):
        check(spoil, zero={("y", "x")})


def test_zeros_by_nature_must_be_named():
    def forward(a):
        return {"y": a["x"] * 2, "z": a["x"] * 0}

    def backward(a, d):
        return {"x": d["y"] * 2 if d["z"] is None else d["z"] * 0}

    inputs, rng = {"x": np.ones(3)}, np.random.default_rng(0)
    gradcheck(forward, backward, inputs, rng=rng, zero={("z", "x")})
    with pytest.raises(AssertionError, match="d z / d x is zero everywhere"):
        gradcheck(forward, backward, inputs, rng=rng)


@given(seed=seeds)
def test_a_transposed_gradient_fails(seed):
    """On a square matrix, where the shape gives nothing away."""
    rng = np.random.default_rng(seed)
    w, x = rng.standard_normal((3, 3)), rng.standard_normal((2, 3))

    def run(transposed):
        def backward(a, d):
            dw = d["y"].T @ x
            return {"w": dw.T if transposed else dw}

        gradcheck(lambda a: {"y": x @ a["w"].T}, backward, {"w": w}, rng=rng, directions=2)

    run(transposed=False)
    with pytest.raises(AssertionError, match="d y / d w: analytic"):
        run(transposed=True)


@pytest.mark.parametrize("wrong", [lambda g: g.T, lambda g: g[:1], lambda g: g.sum(), lambda g: g[None]])
def test_another_shape_fails(wrong):
    def spoil(grads, d):
        grads["weight_ih"] = wrong(grads["weight_ih"])

    with pytest.raises(AssertionError, match=r"d y / d weight_ih: expected shape \(12, 3\)"):
        check(spoil)


@pytest.mark.parametrize("name", INPUTS)
def test_a_missing_gradient_fails(name):
    with pytest.raises(AssertionError, match=f"d y / d {name}: expected shape"):
        check(lambda grads, d: grads.pop(name))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_fails(bad):
    def spoil(grads, d):
        grads["h0"] = grads["h0"] * bad

    with pytest.raises(AssertionError, match="d y / d h0"), np.errstate(invalid="ignore"):
        check(spoil)


def test_numbers_are_welcome_as_inputs_and_outputs():
    rng = np.random.default_rng(0)
    gradcheck(lambda a: {"y": a["x"] ** 3}, lambda a, d: {"x": d["y"] * 3 * a["x"] ** 2}, {"x": 1.5}, rng=rng)
    with pytest.raises(AssertionError, match="d y / d x"):
        gradcheck(lambda a: {"y": a["x"] ** 3}, lambda a, d: {"x": d["y"] * 3}, {"x": 1.5}, rng=rng)


def test_nothing_to_check_is_no_proof():
    x = {"x": np.ones(2)}
    with pytest.raises(ValueError, match="directions: expected at least 1, got 0"):
        gradcheck(lambda a: {"y": a["x"]}, lambda a, d: {"x": d["y"]}, x, rng=np.random.default_rng(0), directions=0)
    for inputs, outputs in ((x, {}), ({}, {"y": 1.0})):
        with pytest.raises(ValueError, match="expected inputs and outputs, got"):
            gradcheck(lambda a, y=outputs: y, lambda a, d: {}, inputs, rng=np.random.default_rng(0))
