"""The layer around the recurrence (which test_recurrence.py holds to the same promises for every kernel)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import LSTMProblem, copies, same_bits
from strategies import LSTMCase, lstm_cases, normal

from minilstm import LSTM, LSTMState, available_kernels, gradcheck

CASE = LSTMCase(T=4, B=3, I=2, H=5, lengths="mixed", weight_drop=True, seed=3)


@given(case=lstm_cases)
def test_every_output_against_every_input(case):
    """In more directions than for the kernels; and gradients of all outputs at once are the sum of one at a time."""
    p = LSTMProblem(case)
    rng = np.random.default_rng(case.seed + 1)
    gradcheck(p.forward, p.backward, p.inputs, rng=rng, zero=p.zero_by_nature(), directions=3)
    together = p.backward(p.inputs, p.d)
    apart = [p.backward(p.inputs, {name: d}) for name, d in p.d.items()]
    for name, g in together.items():
        np.testing.assert_allclose(g, sum(a[name] for a in apart), rtol=0, atol=1e-12, err_msg=name)


@given(case=lstm_cases.filter(lambda case: case.T > 1), data=st.data())
def test_split_anywhere(case, data):
    """Two calls with carried state are one, forward and backward; with lengths, each part has its share of them."""
    p = LSTMProblem(case)
    t = data.draw(st.integers(1, case.T - 1), label="t")
    n = p.lengths
    first, rest = p.inputs | {"x": p.inputs["x"][:t]}, p.inputs | {"x": p.inputs["x"][t:]}
    y1, (h, c), cache1 = p.run(first, lengths=None if n is None else n.clip(max=t))
    rest |= {"h0": h, "c0": c}
    y2, (h, c), cache2 = p.run(rest, lengths=None if n is None else (n - t).clip(min=0))
    g2 = p.undo(p.d | {"y": p.d["y"][t:]}, cache2)
    g1 = p.undo({"y": p.d["y"][:t], "h": g2["h0"], "c": g2["c0"]}, cache1)
    parts = {"y": np.concatenate([y1, y2]), "h": h, "c": c, "dh0": g1["h0"], "dc0": g1["c0"]}
    parts |= {"dx": np.concatenate([g1["x"], g2["x"]])}
    parts |= {f"d{name}": g1[name] + g2[name] for name in p.layer.params}
    whole = p.all_arrays()
    for name, a in parts.items():
        np.testing.assert_allclose(a, whole[name], rtol=1e-12, atol=1e-13, err_msg=name)


@given(case=lstm_cases)
def test_full_lengths_are_no_lengths(case):
    p = LSTMProblem(case)
    a, b = (p.run(p.inputs, lengths=n) for n in (None, [case.T] * case.B))
    same_bits(dict(zip("yhc", (a[0], *a[1]), strict=True)), dict(zip("yhc", (b[0], *b[1]), strict=True)))
    same_bits(p.undo(p.d, a[2]), p.undo(p.d, b[2]))


@given(case=lstm_cases)
def test_weight_drop_is_a_layer_with_fewer_weights(case):
    """The mask multiplies weight_hh on the way in, and its gradient on the way out, and nothing else."""
    p = LSTMProblem(case)
    p.mask = None
    dropped = np.random.default_rng(case.seed).choice([0.0, 1.25], (4 * case.H, case.H))
    plain = p.inputs | {"weight_hh": p.inputs["weight_hh"] * dropped}
    out, g = p.forward(plain), p.backward(plain, p.d)
    p.mask = dropped
    same_bits(out, p.forward(p.inputs))
    same_bits(g | {"weight_hh": g["weight_hh"] * dropped}, p.backward(p.inputs, p.d))


@pytest.mark.parametrize("kernel", ["reference", "auto"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_dtype_but_the_layers_own_comes_out(dtype, kernel):
    p = LSTMProblem(CASE, dtype=dtype, kernel=kernel)
    assert {a.dtype for a in p.all_arrays().values()} == {np.dtype(dtype)}
    p.mask = None
    y, state, cache = p.layer.forward(p.inputs["x"])
    dx, dstate, grads = p.layer.backward(y, None, cache)
    assert {a.dtype for a in (y, *state, dx, *dstate, *grads.values())} == {np.dtype(dtype)}


def test_none_means_zero():
    p = LSTMProblem(CASE)
    zeros = p.inputs | {"h0": np.zeros((3, 5)), "c0": np.zeros((3, 5))}
    y, state, cache = p.run(zeros)
    y2, state2, cache2 = p.layer.forward(p.inputs["x"], lengths=p.lengths, weight_hh_mask=p.mask)
    same_bits({"y": y, "h": state.h, "c": state.c}, {"y": y2, "h": state2.h, "c": state2.c})
    zero_d = {"y": p.d["y"], "h": np.zeros((3, 5)), "c": np.zeros((3, 5))}
    dx, dstate, grads = p.layer.backward(p.d["y"], None, cache2)
    same_bits(p.undo(zero_d, cache), {"x": dx, "h0": dstate.h, "c0": dstate.c, **grads})
    same_bits(p.undo({"h": p.d["h"]}, cache), p.undo({"y": 0 * p.d["y"], "h": p.d["h"]}, cache))
    assert not any(g.any() for g in p.undo({}, cache).values())


def test_need_dx_false_leaves_out_dx_alone():
    p = LSTMProblem(CASE)
    cache = p.run(p.inputs)[2]
    state = LSTMState(p.d["h"], p.d["c"])
    with_dx, without = p.layer.backward(p.d["y"], state, cache), p.layer.backward(p.d["y"], state, cache, need_dx=False)
    assert without[0] is None
    same_bits(with_dx[2], without[2])
    same_bits(with_dx[1]._asdict(), without[1]._asdict())


def test_the_two_biases_have_gradients_of_their_own():
    p = LSTMProblem(CASE)
    g = p.backward(p.inputs, p.d)
    assert (g["bias_ih"] == g["bias_hh"]).all() and not np.shares_memory(g["bias_ih"], g["bias_hh"])


def test_two_calls_do_not_disturb_each_other():
    """Nothing is hidden on the layer: an older cache is as good as a newer one."""
    p = LSTMProblem(CASE)
    first = p.run(p.inputs)[2]
    expected = p.undo(p.d, first)
    second = p.run(p.inputs | {"x": p.inputs["x"] + 1})[2]
    p.undo(p.d, second)
    same_bits(expected, p.undo(p.d, first))


def test_backward_leaves_its_arguments_alone():
    p = LSTMProblem(CASE)
    cache = p.run(p.inputs)[2]
    d, h = copies(p.d), cache.h.copy()
    p.undo(p.d, cache)
    same_bits(d, p.d)
    assert (cache.h == h).all()


def test_an_input_in_another_memory_order_is_the_same_input():
    p = LSTMProblem(CASE)
    strange = np.ascontiguousarray(p.inputs["x"].transpose(2, 1, 0)).transpose(2, 1, 0)
    assert not strange.flags.c_contiguous
    a, b = p.backward(p.inputs, p.d), p.backward(p.inputs | {"x": strange}, p.d)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kernel", ["reference", "auto"])
def test_an_empty_batch_works(kernel):
    layer = LSTM(2, 3, rng=np.random.default_rng(0), kernel=kernel)
    x = np.zeros((4, 0, 2), np.float32)
    y, state, cache = layer.forward(x, lengths=np.zeros(0, int))
    assert y.shape == (4, 0, 3) and state.h.shape == state.c.shape == (0, 3)
    dx, dstate, grads = layer.backward(y, state, cache)
    assert dx.shape == x.shape and dstate.h.shape == (0, 3)
    assert all(g.shape == layer.params[name].shape and not g.any() for name, g in grads.items())


def test_float32_and_float64_layers_start_alike():
    a, b = (LSTM(7, 9, rng=np.random.default_rng(1), dtype=dtype).params for dtype in (np.float32, np.float64))
    same_bits(dict(a), {name: p.astype(np.float32) for name, p in b.items()})
    for p in b.values():
        assert 0.9 / 3 < abs(p).max() <= 1 / 3  # U(-1/sqrt(H), 1/sqrt(H))
        assert abs(p.mean()) < 0.1


def test_the_cache_can_be_printed_and_read():
    p = LSTMProblem(CASE)
    cache = p.run(p.inputs)[2]
    text = repr(cache)
    for part in ("T=4, B=3, I=2, H=5, float64, kernel='reference'", "% dropped", "h (5, 3, 5)", "ifgo (4, 3, 20)"):
        assert part in text
    assert cache.x is not None and (cache.weight_hh == p.inputs["weight_hh"] * p.mask).all()
    assert "weight_hh: none, lengths: all T" in repr(p.run(p.inputs, lengths=None, weight_hh_mask=None)[2])


# --- errors at the door ----------------------------------------------------------------------------------------------

X, S = np.ones((4, 3, 2), np.float32), np.ones((3, 5), np.float32)
MASK = np.ones((20, 5), np.float32)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"x": X[0]}, ValueError, r"x: expected shape \(T, B, 2\), got \(3, 2\)"),
        ({"x": np.ones((4, 3, 7), np.float32)}, ValueError, r"x: expected shape \(T, B, 2\), got \(4, 3, 7\)"),
        ({"x": np.ones((0, 3, 2), np.float32)}, ValueError, r"x: expected at least one time step.*\(0, 3, 2\)"),
        ({"x": np.ones((4, 3, 2))}, TypeError, "x: expected dtype float32, got float64"),
        ({"x": np.ones((4, 3, 2), int)}, TypeError, "x: expected a floating-point array, got dtype int64"),
        ({"x": [[[1.0, 2.0]]]}, TypeError, "x: expected an array, got list"),
        ({"state": (S[:, 1:], S)}, ValueError, r"state.h: expected shape \(3, 5\), got \(3, 4\)"),
        ({"state": (S, S[:1])}, ValueError, r"state.c: expected shape \(3, 5\), got \(1, 5\)"),
        ({"state": (S, np.ones((3, 5)))}, TypeError, "state.c: expected dtype float32, got float64"),
        ({"state": (S, None)}, TypeError, "state.c: expected an array, got NoneType"),
        ({"lengths": [4, 4]}, ValueError, r"lengths: expected shape \(3,\), got \(2,\)"),
        ({"lengths": [4, 5, 4]}, ValueError, r"lengths: expected values in 0..T = 4, got 5 in row 1"),
        ({"lengths": [4, 3, -1]}, ValueError, r"lengths: expected values in 0..T = 4, got -1 in row 2"),
        ({"lengths": [4.0, 3.0, 2.0]}, TypeError, "lengths: expected integers, got dtype float64"),
        ({"weight_hh_mask": MASK[:5]}, ValueError, r"weight_hh_mask: expected shape \(20, 5\), got \(5, 5\)"),
        ({"weight_hh_mask": np.ones((20, 5))}, TypeError, "weight_hh_mask: expected dtype float32, got float64"),
    ],
)
def test_bad_arguments_of_forward(change, error, message):
    layer = LSTM(2, 5, rng=np.random.default_rng(0))
    with pytest.raises(error, match=message):
        layer.forward(**({"x": X} | change))


@pytest.mark.parametrize(
    "dy, dstate, error, message",
    [
        (np.ones((3, 3, 5), np.float32), None, ValueError, r"dy: expected shape \(4, 3, 5\), got \(3, 3, 5\)"),
        (np.ones((4, 3, 5)), None, TypeError, "dy: expected dtype float32, got float64"),
        (None, (S, np.ones(5, np.float32)), ValueError, r"dstate.c: expected shape \(3, 5\), got \(5,\)"),
        (None, (np.ones((3, 5), int), None), TypeError, "dstate.h: expected a floating-point array, got dtype int64"),
    ],
)
def test_bad_arguments_of_backward(dy, dstate, error, message):
    layer = LSTM(2, 5, rng=np.random.default_rng(0))
    with pytest.raises(error, match=message):
        layer.backward(dy, dstate, layer.forward(X)[2])


def test_backward_without_a_cache_says_what_is_missing():
    layer = LSTM(2, 5, rng=np.random.default_rng(0))
    y, state, cache = layer.forward(normal(np.random.default_rng(0), 4, 3, 2, dtype=np.float32), need_cache=False)
    with pytest.raises(ValueError, match="cache: expected the LSTMCache of a forward with need_cache=True, got None"):
        layer.backward(y, state, cache)


@pytest.mark.parametrize("state", [(np.zeros((3, 5)),), 3, np.zeros((2, 3, 5))], ids=["one", "number", "array"])
def test_a_state_is_a_pair(state):
    p = LSTMProblem(CASE)
    _, _, cache = p.layer.forward(p.inputs["x"])
    for call in (lambda: p.layer.forward(p.inputs["x"], state), lambda: p.layer.backward(None, state, cache)):
        with pytest.raises(TypeError, match=r"state: expected an LSTMState \(h, c\), got"):
            call()


@pytest.mark.parametrize("option, message", [
    ({"kernel": "nosuch"}, "kernel: expected one of auto, reference"),
    ({"precision": "int8"},
     "precision: kernel 'auto' does not offer 'int8'; expected None .*, bfloat16, bfloat16x3, float16, tf32"),
    ({"precision": "float16", "kernel": "reference"}, "kernel 'reference' does not offer 'float16'; expected None"),
    ({"precision": "float16", "dtype": np.float64}, "precision: expected None for float64"),
])  # fmt: skip
def test_a_kernel_that_does_not_exist_is_refused_when_the_layer_is_made(option, message):
    with pytest.raises(ValueError, match=message):
        LSTM(2, 3, rng=np.random.default_rng(0), **option)


@pytest.mark.parametrize("kernel", [k.name for k in available_kernels() if k.reason is None and k.device != "cuda"])
def test_no_kernel_reads_past_the_end_of_weights_that_somebody_put_there_or_of_anothers_cache(kernel):
    rng = np.random.default_rng(0)
    layer, other = (LSTM(I, H, rng=rng, kernel=kernel) for I, H in ((5, 7), (5, 9)))
    x = normal(rng, 4, 3, 5, dtype=np.float32)
    y, _, cache = layer.forward(x)
    with pytest.raises(ValueError, match="cache: expected that of a layer of I=5, H=9, got LSTMCache.*H=7"):
        other.backward(None, None, cache)
    for name in layer.params:
        right = layer.params[name]
        for wrong in (right[:-1], right[..., :-1]):
            layer.params[name] = wrong
            with pytest.raises(ValueError, match=rf"params\['{name}'\]: expected shape"):
                layer.forward(x)
        layer.params[name] = right
    assert (layer.forward(x)[0] == y).all()


@pytest.mark.torch
def test_a_tensor_of_pytorch_is_told_the_way():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(TypeError, match=r"x: expected an array, got Tensor; of a PyTorch tensor pass x.numpy\(\)"):
        LSTM(2, 5, rng=np.random.default_rng(0)).forward(torch.zeros(4, 3, 2))
