"""Every implementation of the recurrence, under every promise of the contract. What is registered is tested here."""

import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given
from problems import RECURRENCES, LSTMProblem, every_recurrence, same_bits
from strategies import LSTMCase, lstm_cases

from minilstm import LSTM, LSTMState, available_kernels, gradcheck, recurrence, to_device, to_numpy

# The floor under the reference's error, which may be zero by luck: 16 roundings of the array's largest number; in an
# array of few numbers all of them may be what is left of larger ones, so there it is 16 roundings of at least 1.
FLOOR = 16 * np.finfo(np.float32).eps
FEW = 500
LARGER = [
    LSTMCase(T=12, B=7, I=5, H=33, lengths="mixed", weight_drop=True, seed=1),
    LSTMCase(T=40, B=3, I=17, H=64, seed=2),
    LSTMCase(T=1, B=1, I=1, H=129, lengths="full", seed=3),
]


def assert_within_twice_the_reference(kernel, reference32, reference64):
    for name, exact in reference64.items():
        error, allowed = abs(kernel[name] - exact).max(), 2 * abs(reference32[name] - exact).max()
        floor = FLOOR * (abs(exact).max() if exact.size > FEW else max(1, abs(exact).max()))
        assert kernel[name].dtype == np.float32, name
        assert error <= allowed + floor, f"{name}: {error:.3g} is more than {allowed:.3g} + {floor:.3g}"


def check_float32(case, kernel, device):
    assert_within_twice_the_reference(
        LSTMProblem(case, dtype=np.float32, kernel=kernel, device=device).all_arrays(),
        LSTMProblem(case, dtype=np.float32).all_arrays(),
        LSTMProblem(case).all_arrays(),
    )


def check_float64(case, kernel, device):
    exact = LSTMProblem(case).all_arrays()
    for name, a in LSTMProblem(case, kernel=kernel, device=device).all_arrays().items():
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, exact[name], rtol=0, atol=1e-13 * max(1, abs(exact[name]).max()), err_msg=name)


@every_recurrence
@given(case=lstm_cases)
def test_float32_is_as_exact_as_the_reference(kernel, device, case):
    check_float32(case, kernel, device)


@every_recurrence
@given(case=lstm_cases)
def test_float64_is_the_reference(kernel, device, case):
    check_float64(case, kernel, device)


@every_recurrence
@pytest.mark.parametrize("case", LARGER, ids=lambda case: f"T{case.T}-B{case.B}-H{case.H}")
def test_larger_shapes(kernel, device, case):
    check_float32(case, kernel, device)
    check_float64(case, kernel, device)


@every_recurrence
@given(case=lstm_cases)
def test_every_gradient_is_right(kernel, device, case):
    p = LSTMProblem(case, kernel=kernel, device=device)
    rng = np.random.default_rng(case.seed + 1)
    gradcheck(p.forward, p.backward, p.inputs, rng=rng, zero=p.zero_by_nature())


@every_recurrence
@given(case=lstm_cases)
def test_steps_with_carried_state_are_one_call(kernel, device, case):
    """Forward, and backward with the state's gradients carried the other way; parameter gradients add up."""
    p = LSTMProblem(case, kernel=kernel, device=device)
    whole = p.all_arrays()
    x, dy, lengths = p.inputs["x"], p.d["y"], p.lengths
    inputs, ys, caches = dict(p.inputs), [], []
    for t in range(case.T):
        inputs["x"] = x[t : t + 1]
        step = None if lengths is None else (t < lengths).astype(int)
        y, (h, c), cache = p.run(inputs, lengths=step)
        inputs |= {"h0": to_numpy(h), "c0": to_numpy(c)}
        ys, caches = [*ys, to_numpy(y)], [*caches, cache]
    d, dxs, sums = {"h": p.d["h"], "c": p.d["c"]}, [], {}
    for t in reversed(range(case.T)):
        g = p.undo(d | {"y": dy[t : t + 1]}, caches[t])
        d, dxs = {"h": g["h0"], "c": g["c0"]}, [g["x"], *dxs]
        sums = {name: sums.get(name, 0) + g[name] for name in p.layer.params}
    steps = {"y": np.concatenate(ys), "h": inputs["h0"], "c": inputs["c0"], "dx": np.concatenate(dxs)}
    steps |= {"dh0": d["h"], "dc0": d["c"]} | {f"d{name}": g for name, g in sums.items()}
    for name, a in steps.items():
        np.testing.assert_allclose(a, whole[name], rtol=1e-12, atol=1e-13, err_msg=name)


@every_recurrence
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 2e-6), (np.float64, 1e-13)])
@given(case=lstm_cases)
def test_a_padded_batch_is_its_rows_one_by_one(kernel, device, dtype, tolerance, case):
    case = dataclasses.replace(case, lengths="mixed")
    p = LSTMProblem(case, kernel=kernel, device=device, dtype=dtype)
    batch = p.forward(p.inputs) | p.backward(p.inputs, p.d)
    sums = dict.fromkeys(p.layer.params, 0)
    for b, n in enumerate(p.lengths):
        if n == 0:
            alone = {"h": p.inputs["h0"][b], "c": p.inputs["c0"][b], "h0": p.d["h"][b], "c0": p.d["c"][b]}
        else:
            row = p.inputs | {k: p.inputs[k][b : b + 1] for k in ("h0", "c0")} | {"x": p.inputs["x"][:n, b : b + 1]}
            y, (h, c), cache = p.run(row, lengths=None)
            d = {"y": p.d["y"][:n, b : b + 1], "h": p.d["h"][b : b + 1], "c": p.d["c"][b : b + 1]}
            g = p.undo(d, cache)
            sums = {name: sums[name] + g[name] for name in sums}
            np.testing.assert_allclose(batch["y"][:n, b], to_numpy(y)[:, 0], rtol=0, atol=tolerance)
            np.testing.assert_allclose(batch["x"][:n, b], g["x"][:, 0], rtol=0, atol=10 * tolerance)
            alone = {"h": to_numpy(h)[0], "c": to_numpy(c)[0], "h0": g["h0"][0], "c0": g["c0"][0]}
        assert not batch["y"][n:, b].any() and not batch["x"][n:, b].any()
        for name, a in alone.items():
            np.testing.assert_allclose(batch[name][b], a, rtol=0, atol=10 * tolerance, err_msg=name)
    for name, a in sums.items():
        np.testing.assert_allclose(batch[name], a, rtol=0, atol=20 * tolerance, err_msg=name)


@every_recurrence
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(case=lstm_cases)
def test_what_lies_past_the_end_changes_no_bit(kernel, device, dtype, case):
    """Other finite padding in x, and anything at all in dy, down to NaN and infinities."""
    p = LSTMProblem(dataclasses.replace(case, lengths="mixed"), kernel=kernel, device=device, dtype=dtype)
    before = p.forward(p.inputs) | p.backward(p.inputs, p.d)
    rng = np.random.default_rng(case.seed)
    past = np.arange(case.T)[:, None] >= p.lengths
    p.inputs["x"][past] = 1e3 * rng.standard_normal(p.inputs["x"][past].shape)
    p.d["y"][past] = rng.choice([np.nan, np.inf, -np.inf, np.finfo(dtype).max], p.d["y"][past].shape)
    same_bits(before, p.forward(p.inputs) | p.backward(p.inputs, p.d))


@every_recurrence
@given(case=lstm_cases)
def test_a_row_of_length_zero_hands_on_its_state(kernel, device, case):
    p = LSTMProblem(dataclasses.replace(case, lengths="mixed"), kernel=kernel, device=device)
    p.lengths[0] = 0
    out, g = p.forward(p.inputs), p.backward(p.inputs, p.d)
    for name, state in (("h", "h0"), ("c", "c0")):
        assert (out[name][0] == p.inputs[state][0]).all()
        assert (g[state][0] == p.d[name][0]).all()
    assert not out["y"][:, 0].any() and not g["x"][:, 0].any()


@every_recurrence
@given(case=lstm_cases)
def test_without_a_cache_and_once_more_the_bits_are_the_same(kernel, device, case):
    p = LSTMProblem(case, kernel=kernel, device=device, dtype=np.float32)
    first = p.forward(p.inputs)
    same_bits(first, p.forward(p.inputs, need_cache=False))
    assert p.run(p.inputs, need_cache=False)[2] is None
    same_bits(first | p.backward(p.inputs, p.d), p.forward(p.inputs) | p.backward(p.inputs, p.d))


@every_recurrence
@given(case=lstm_cases)
def test_nothing_done_to_results_or_arguments_changes_a_gradient(kernel, device, case):
    p = LSTMProblem(case, kernel=kernel, device=device)
    lengths = None if p.lengths is None else p.lengths.copy()
    x, h0, c0 = (to_device(p.inputs[name].copy(), device) for name in ("x", "h0", "c0"))
    y, (h, c), cache = p.run(p.inputs | {"x": x, "h0": h0, "c0": c0}, lengths=lengths)
    for a in (y, h, c, h0, c0, *([] if lengths is None else [lengths])):
        a[...] = 7
    g = p.undo(p.d, cache)
    same_bits(g, p.backward(p.inputs, p.d))
    for name in ("h0", "c0", "x"):
        g[name][...] = 7  # nor do the returned gradients share memory with what was handed in or kept
    same_bits(p.undo(p.d, cache), p.backward(p.inputs, p.d))


@every_recurrence
@given(case=lstm_cases)
def test_states_have_a_row_before_every_step(kernel, device, case):
    p = LSTMProblem(case, kernel=kernel, device=device)
    y, (h_T, c_T), cache = p.run(p.inputs)
    h, c, ifgo = (to_numpy(a) for a in (cache.h, cache.c, cache.ifgo))
    assert h.shape == c.shape == (case.T + 1, case.B, case.H) and ifgo.shape == (case.T, case.B, 4 * case.H)
    assert (h[0] == p.inputs["h0"]).all() and (c[0] == p.inputs["c0"]).all()
    assert (h[-1] == to_numpy(h_T)).all() and (c[-1] == to_numpy(c_T)).all()
    alive = np.arange(case.T)[:, None] < (case.T if p.lengths is None else p.lengths)
    alive = np.broadcast_to(alive, (case.T, case.B))
    assert (h[1:][alive] == to_numpy(y)[alive]).all()
    assert not to_numpy(y)[~alive].any() and not ifgo[~alive].any() and ifgo[alive].all()


@every_recurrence
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_gates_saturate_in_silence(kernel, device, dtype):
    """Pre-activations of +-1e4: each gate is at one of its ends, the state counts steps, gradients stay finite."""
    T, B, H = 3, 2, 4
    layer = LSTM(H, H, rng=np.random.default_rng(0), dtype=dtype, kernel=kernel)
    for name, value in {"weight_ih": 0, "weight_hh": 0, "bias_hh": 0}.items():
        layer.params[name][...] = value
    # the four units: all open; input shut; candidate at -1; output shut
    signs = np.array([[1, -1, 1, 1], [1, 1, 1, 1], [1, 1, -1, 1], [1, 1, 1, -1]])  # rows i, f, g, o
    layer.params["bias_ih"][...] = 1e4 * signs.ravel()
    layer.params = {name: to_device(p, device) for name, p in layer.params.items()}
    x = to_device(np.ones((T, B, H), dtype), device)
    y, (h, c), cache = layer.forward(x)
    dx, (dh0, dc0), grads = layer.backward(y, LSTMState(h, c), cache)
    low = np.where(np.arange(4) == 2, -1, 0)[:, None]
    np.testing.assert_allclose(to_numpy(cache.ifgo)[0, 0].reshape(4, H), np.where(signs > 0, 1, low), atol=1e-30)
    np.testing.assert_allclose(to_numpy(c)[0], [3, 0, -3, 3], atol=1e-30)
    np.testing.assert_allclose(to_numpy(h)[0], np.tanh([3, 0, -3, 0]) * [1, 1, 1, 0], rtol=1e-6, atol=1e-30)
    for a in (dx, dh0, dc0, *grads.values()):
        assert np.isfinite(to_numpy(a)).all()
    assert to_numpy(dc0)[0, 0] != 0  # the open forget gate still carries


# --- the choice ----------------------------------------------------------------------------------------------------


def test_every_registered_kernel_is_tested_here():
    registry, _ = recurrence.registry()
    assert [param.values[0] for param in RECURRENCES if param.values[1] == "cpu"][0] == "reference"
    assert {k.name for k in registry.IMPLEMENTATIONS} == {param.values[0] for param in RECURRENCES} - {"reference"}


def test_auto_takes_what_can_run_and_says_why():
    plan = LSTM(2, 3, rng=np.random.default_rng(0)).plan(np.zeros((1, 1, 2), np.float32))
    runnable = [k.name for k in available_kernels() if k.device == "cpu" and k.reason is None]
    assert plan.kernel == (runnable[0] if runnable else "reference")
    assert plan.reason.startswith("auto: ")


def test_a_name_that_does_not_exist_or_cannot_run_raises():
    x = np.zeros((1, 1, 2), np.float32)
    with pytest.raises(ValueError, match="kernel: expected one of auto, reference.*got 'warp'"):
        LSTM(2, 3, rng=np.random.default_rng(0), kernel="warp").forward(x)
    for kernel in available_kernels():
        if kernel.reason or kernel.device == "cuda":
            with pytest.raises(RuntimeError, match=kernel.name):
                LSTM(2, 3, rng=np.random.default_rng(0), kernel=kernel.name).forward(x)
    with pytest.raises(RuntimeError, match="precision 'float16': no kernel that runs on cpu arrays here offers it"):
        LSTM(2, 3, rng=np.random.default_rng(0), precision="float16").forward(x)


X = np.zeros((1, 1, 2), np.float32)


def test_in_an_unpacked_tree_the_folder_beside_is_the_registry(monkeypatch):
    before = available_kernels()
    monkeypatch.setitem(sys.modules, "minilstm_kernels", None)  # as if it were not installed
    assert len(before) > 1 and available_kernels() == before


def test_without_any_registry_the_reference_remains(monkeypatch):
    monkeypatch.setattr(recurrence, "registry", lambda: (None, "minilstm_kernels is not installed"))
    assert [k.name for k in available_kernels()] == ["reference"]
    assert LSTM(2, 3, rng=np.random.default_rng(0)).plan(X).kernel == "reference"
    with pytest.raises(ValueError, match="got 'cpu-gates'"):
        LSTM(2, 3, rng=np.random.default_rng(0), kernel="cpu-gates").forward(X)


def test_only_auto_falls_back_when_a_kernel_turns_out_to_be_broken(monkeypatch):
    registry, _ = recurrence.registry()
    monkeypatch.setattr(registry, "_missing", lambda kernel: None)
    monkeypatch.setattr(registry, "import_module", lambda *args: 1 / 0)
    auto = LSTM(2, 3, rng=np.random.default_rng(0))
    assert auto.plan(X).kernel == "reference" and "ZeroDivisionError" in auto.plan(X).reason
    assert auto.forward(X)[0].shape == (1, 1, 3)
    with pytest.raises(RuntimeError, match="kernel 'cpu-gates' cannot run here: .*ZeroDivisionError"):
        LSTM(2, 3, rng=np.random.default_rng(0), kernel="cpu-gates").forward(X)
