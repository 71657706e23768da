"""Layers side by side, beside layers one after the other: numbers on NumPy arrays and on the stand-in for CuPy, and
there the order of everything that the streams do (streams_on_cpu.py)."""

import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import cupy_on_cpu
import numpy as np
import pytest
from cuda_on_cpu import needs_gxx
from cupy_on_cpu import in_place_of_cupy, no_waiting
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import every_recurrence, same_bits
from strategies import length_kinds, seeds, sizes
from streams_on_cpu import watched
from test_stack import StackCase, StackProblem

import minilstm_kernels
from minilstm import LSTM, LSTMStack, LSTMState, gradcheck, stack, to_device, to_numpy, wavefront
from minilstm.wavefront import WavefrontCache, cells, choose, cut

cases = st.builds(
    StackCase, T=st.integers(1, 9), B=sizes, I=sizes, Hs=st.lists(sizes, min_size=2, max_size=4), lengths=length_kinds,
    masks=st.booleans(), seed=seeds,
)  # fmt: skip
pieces = st.integers(2, 5)
CASE = StackCase(T=11, B=3, I=2, Hs=[4, 5, 3], lengths="mixed", masks=True, seed=4)


def everything(p, n_pieces, device="cpu", waiting=True, **options):
    """{name: array of the host} of all that a stack returns, in so many pieces (None: one layer after the other)"""
    there, made = partial(to_device, device=device), {}
    p.stack.wavefront = n_pieces
    for n, layer in enumerate(p.stack.layers):
        layer.params = {name: there(p.inputs[f"{name}_l{n}"]) for name in layer.params}
    x, dy = there(p.inputs["x"]), there(p.d["y"])
    states, dstates = (
        [LSTMState(*(there(a[f"{s}{zero}_l{n}"]) for s in "hc")) for n in range(p.n)]
        for a, zero in ((p.inputs, "0"), (p.d, ""))
    )
    masks = {
        name: None if masks is None else [there(mask) for mask in masks]
        for name, masks in (("input_masks", p.input_masks), ("weight_hh_masks", p.weight_hh_masks))
    }
    with nullcontext() if waiting else no_waiting():
        y, states, cache = p.stack.forward(x, states, lengths=p.lengths, **masks, **options)
        made = {"y": y} | {f"{s}_l{n}": a for n, state in enumerate(states) for s, a in zip("hc", state, strict=True)}
        if cache is not None:
            del y, states
            dx, dstates, grads = p.stack.backward(dy, dstates, cache)
            made |= {f"d{s}_l{n}": a for n, d in enumerate(dstates) for s, a in zip("hc", d, strict=True)}
            made |= {"dx": dx} | grads
    return {name: to_numpy(a) for name, a in made.items()}


def near(found, wanted, tolerance):
    assert found.keys() == wanted.keys()
    for name, want in wanted.items():
        assert found[name].shape == want.shape and found[name].dtype == want.dtype, name
        allowed = tolerance * max(1, np.abs(want).max(initial=0))
        assert np.abs(found[name] - want).max(initial=0) <= allowed, name


# --- numbers


@given(case=cases, n_pieces=pieces)
def test_it_is_the_serial_stack(case, n_pieces):
    p = StackProblem(case)
    serial, found = everything(p, None), everything(p, n_pieces)
    near(found, serial, 1e-12)
    without = everything(p, n_pieces, need_cache=False)
    same_bits(without, {name: found[name] for name in without})


@settings(max_examples=6, deadline=None)
@given(case=cases, n_pieces=pieces)
def test_every_output_against_every_input(case, n_pieces):
    p = StackProblem(case)
    p.stack.wavefront = n_pieces
    gradcheck(p.forward, p.backward, p.inputs, rng=np.random.default_rng(case.seed), zero=p.zero_by_nature())


@every_recurrence
@settings(max_examples=8, deadline=None)
@given(case=cases, n_pieces=pieces)
def test_y_and_the_states_have_the_same_bits_where_products_do(kernel, device, case, n_pieces):
    """With one weight for each gate that is not zero, what a layer reads is multiplied to the same bits by any product,
    however many rows it has; the steps are the same. (But cuBLAS may choose another way on another stream.)"""
    p = StackProblem(case, dtype=np.float32, kernel=kernel)
    for n in range(p.n):
        p.inputs[f"weight_ih_l{n}"][:, 1:] = 0
    serial, found = everything(p, None, device), everything(p, n_pieces, device)
    outputs = ["y", *(f"{s}_l{n}" for n in range(p.n) for s in "hc")]
    if device == "cpu" or kernel in ("graph", "cluster", "persistent"):
        same_bits({name: found[name] for name in outputs}, {name: serial[name] for name in outputs})
    near(found, serial, 1e-5)


@given(seed=seeds, n_pieces=st.integers(2, 40))
def test_the_sums_over_pieces_are_as_good_as_those_over_the_whole(seed, n_pieces):
    case = StackCase(T=40, B=3, I=4, Hs=[5, 6], lengths="mixed", masks=True, seed=seed)
    exact = everything(StackProblem(case), None)
    p = StackProblem(case, dtype=np.float32)
    serial, found = everything(p, None), everything(p, n_pieces)
    same_bits(found, everything(p, n_pieces))
    for name, want in exact.items():
        floor = 16 * np.finfo(np.float32).eps * max(1, np.abs(want).max())
        assert np.abs(found[name] - want).max() <= 2 * np.abs(serial[name] - want).max() + floor, name


@given(case=cases, n_pieces=pieces)
def test_stopping_early_is_the_top_of_the_full_backward(case, n_pieces):
    p = StackProblem(case)
    p.stack.wavefront = n_pieces
    cache = p.run(p.inputs)[2]
    full = p.undo(p.d, cache)
    for lowest in range(p.n):
        g = p.undo(p.d, cache, lowest=lowest, need_dx=False)
        assert g.pop("x") is None
        same_bits(g, {name: full[name] for name in full if name != "x" and int(name[-1]) >= lowest})
        assert (p.undo(p.d, cache, lowest=lowest)["x"] is None) == (lowest > 0)


def test_no_rows_at_all():
    found = {}
    for n_pieces in (None, 2):
        p = LSTMStack(3, [4, 5], rng=np.random.default_rng(0), wavefront=n_pieces)
        y, states, cache = p.forward(np.zeros((6, 0, 3), np.float32), lengths=np.zeros(0, int))
        dx, _, grads = p.backward(y, None, cache)
        found[n_pieces] = {"y": y, "h": states[1].h, "dx": dx} | grads
    same_bits(found[None], found[2])


def test_without_dy_or_without_states_nothing_comes_from_there():
    p = StackProblem(CASE)
    found = {}
    for n_pieces in (None, 4):
        p.stack.wavefront = n_pieces
        cache = p.run(p.inputs)[2]
        found[n_pieces] = [p.undo({"y": p.d["y"]}, cache), p.undo({"c_l0": p.d["c_l0"]}, cache)]
    for serial, side_by_side in zip(found[None], found[4], strict=True):
        near(side_by_side, serial, 1e-12)
    assert found[4][0]["x"].any() and not found[4][1]["weight_hh_l1"].any()


def test_a_cache_has_the_states_of_every_piece():
    p = StackProblem(CASE)
    serial = p.run(p.inputs)[2]
    p.stack.wavefront = 4
    cache = p.run(p.inputs)[2]
    assert isinstance(cache, WavefrontCache) and cache.pieces == [slice(0, 2), slice(2, 5), slice(5, 8), slice(8, 11)]
    for n, layer in enumerate(serial.layers):
        for piece, part in zip(cache.pieces, cache.layers[n], strict=True):
            near({"h": part.h}, {"h": layer.h[piece.start : piece.stop + 1]}, 1e-12)
            near({"ifgo": part.ifgo}, {"ifgo": layer.ifgo[piece]}, 1e-12)
            assert part.weight_hh is cache.layers[n][0].weight_hh  # dropped once, not once a piece
    same_bits(dict(p.stack.params), {name: p.inputs[name] for name in p.stack.params})  # and not in the layer itself


def test_inference_keeps_nothing(monkeypatch):
    kept, forward = [], LSTM.forward

    def watched_forward(*args, **options):
        kept.append(forward(*args, **options))
        return kept[-1]

    monkeypatch.setattr(LSTM, "forward", watched_forward)
    p = StackProblem(CASE)
    p.stack.wavefront = 4
    assert p.run(p.inputs, need_cache=False)[2] is None
    assert [cache for _, _, cache in kept] == [None] * 4 * 3


@given(T=st.integers(1, 50), n_layers=sizes, n_pieces=st.integers(1, 9))
def test_every_cell_comes_after_those_it_waits_for(T, n_layers, n_pieces):
    order = cells(n_layers, n_pieces)
    place = {cell: k for k, cell in enumerate(order)}
    assert place.keys() == {(n, p) for n in range(n_layers) for p in range(n_pieces)}
    assert all(place[n, p] > max(place.get((n - 1, p), -1), place.get((n, p - 1), -1)) for n, p in order)
    if n_pieces <= T:
        lengths = [piece.stop - piece.start for piece in cut(T, n_pieces)]
        assert [t for piece in cut(T, n_pieces) for t in range(T)[piece]] == list(range(T))
        assert max(lengths) - min(lengths) <= 1


# --- what is asked for


X = np.zeros((6, 2, 3), np.float32)


@pytest.mark.parametrize("wish", [0, -1, 2.0, True, "four"])
def test_another_wish_is_refused(wish):
    with pytest.raises(ValueError, match='wavefront: expected None, "auto" or a number of pieces from 1, got'):
        LSTMStack(3, [4, 4], rng=np.random.default_rng(0), wavefront=wish)


@pytest.mark.parametrize("wish, Hs, T, n_pieces, why", [
    (None, [4, 4], 6, 1, "one layer after the other"), (3, [4, 4], 6, 3, "in 3 pieces: asked for"),
    (9, [4, 4], 6, 6, "in 6 pieces: asked for"), (3, [4], 6, 1, "nothing to do side by side"),
    (3, [4, 4], 1, 1, "nothing to do side by side"), ("auto", [4, 4], 6, 1, "a CPU has no streams"),
])  # fmt: skip
def test_a_plan_says_how_the_layers_go(wish, Hs, T, n_pieces, why):
    made = LSTMStack(3, Hs, rng=np.random.default_rng(0), kernel="reference", wavefront=wish)
    found, reason = choose(wish, made.layers, X[:T])
    assert found == n_pieces and why in reason
    plans = made.plan(X[:T])
    assert [plan.kernel for plan in plans] == ["reference"] * len(Hs)
    assert all((reason in plan.reason) == (wish is not None) for plan in plans)
    assert isinstance(made.forward(X[:T])[2], WavefrontCache) == (n_pieces > 1)


@pytest.mark.parametrize("arguments, error, message", [
    ({"x": X[0]}, ValueError, r"x: expected shape \(T, B, 3\), got \(2, 3\)"),
    ({"x": X[:0]}, ValueError, "x: expected at least one time step"),
    ({"x": None}, TypeError, "x: expected an array, got NoneType"),
    ({"lengths": [6, 7]}, ValueError, "lengths: expected values in 0..T = 6, got 7 in row 1"),
    ({"lengths": [6]}, ValueError, r"lengths: expected shape \(2,\)"),
    ({"states": [None, (X[0], X[0])]}, ValueError, r"state.h: expected shape \(2, 5\), got \(2, 3\)"),
    ({"input_masks": [None, np.ones((1, 2, 3), np.float32)]}, ValueError, r"mask: .*, got \(1, 2, 3\)"),
    ({"weight_hh_masks": [None, np.ones((5, 5), np.float32)]}, ValueError, r"weight_hh_mask: expected shape \(20, 5\)"),
])  # fmt: skip
def test_bad_arguments_of_forward(arguments, error, message):
    made = LSTMStack(3, [4, 5], rng=np.random.default_rng(0), wavefront=2)
    with pytest.raises(error, match=message):
        made.forward(**{"x": X} | arguments)


def test_a_gradient_of_another_length_is_refused():
    """Its pieces might all have the right shape."""
    made = LSTMStack(3, [4, 5], rng=np.random.default_rng(0), wavefront=2)
    y, _, cache = made.forward(X)
    for dy in (np.concatenate([y, y[:1]]), y[:-1], y[:, :1]):
        with pytest.raises(ValueError, match=r"dy: expected shape \(6, 2, 5\), got"):
            made.backward(dy, None, cache)


# --- streams


@pytest.fixture
def cupy():
    with in_place_of_cupy() as stand_in:
        yield stand_in


@settings(max_examples=20, deadline=None)
@given(case=cases, n_pieces=pieces, need_cache=st.booleans())
def test_streams_wait_for_what_they_read_and_nobody_else_does(case, n_pieces, need_cache):
    """Two calls, so that memory is found again; the host does not wait."""
    with in_place_of_cupy():
        p = StackProblem(case, dtype=np.float32)
        with watched() as watch:
            for _ in range(2):
                found = everything(p, n_pieces, "cuda", waiting=False, need_cache=need_cache)
        assert not watch.faults
        cut_up = case.T > 1
        assert len(watch.clocks) == 1 + p.n * cut_up
    serial = everything(p, None)
    near(found, {name: serial[name] for name in found}, 1e-5)


def run_watched(p, n_pieces=3, **options):
    with in_place_of_cupy(), watched(**options) as watch:
        for _ in range(2):
            everything(p, n_pieces, "cuda")
    return watch


def test_every_wait_between_two_layers_is_missed_if_it_is_left_out():
    """Stream 0 is the caller's. With it some are in order by way of others as well: a higher layer does not begin
    before the lowest has, and in forward the highest ends last."""
    p = StackProblem(StackCase(T=2, B=2, I=2, Hs=[2, 2, 2], lengths="full", masks=False, seed=0), dtype=np.float32)
    watch = run_watched(p, 2)
    waits = [tuple(list(watch.clocks).index(stream) for stream in pair) for pair in watch.waits]
    assert len(waits) == 2 * 2 * (3 + 4 + 3)  # of two calls, forward and backward: at the begin, between, at the end
    forward, backward = waits[:10], waits[10:20]
    assert forward[:3] == backward[:3] == [(1, 0), (2, 0), (3, 0)]
    assert forward[-3:] == backward[-3:] == [(0, 1), (0, 2), (0, 3)]
    for k in (0, *range(3, 7), 9, *range(12, 20)):
        assert run_watched(p, 2, deaf_to={k}).faults, k


SOURCE = Path(wavefront.__file__).read_text(encoding="utf-8")
FORGETFUL = [  # what is no longer referred to while another stream still reads it
    ("dropout_forward(ys[n - 1, p] if n", "dropout_forward(ys.pop((n - 1, p)) if n"),
    ("dys[n, p], new_dstates[n] or", "dys.pop((n, p)), new_dstates[n] or"),
]
HASTY = [  # what is announced before it is there
    ("if n > 0:\n", "if n > 1:\n"), ("if n < last:\n", "if n < last - 1:\n"),
    ("wait_event(done[n - 1, p])", "wait_event(done[n - 1, max(p - 1, 0)])"),
    ("wait_event(done[n + 1, p])", "wait_event(done[n + 1, min(p + 1, n_pieces - 1)])"),
    ("with streams[n] as stream", "with streams[(n + p) % len(streams)] as stream"),
]  # fmt: skip


@pytest.mark.parametrize("text, instead", FORGETFUL + HASTY)
def test_a_schedule_with_a_fault_is_found_out(text, instead, monkeypatch):
    assert SOURCE.count(text) == 1 or text.startswith("with streams")
    copied = ModuleType("minilstm.wavefront_with_a_fault")
    vars(copied)["__package__"] = "minilstm"
    monkeypatch.setitem(sys.modules, copied.__name__, copied)
    exec(compile(SOURCE.replace(text, instead), copied.__name__, "exec"), vars(copied))
    for name in ("wavefront_forward", "wavefront_backward", "WavefrontCache"):
        monkeypatch.setattr(stack, name, getattr(copied, name))
    p = StackProblem(CASE, dtype=np.float32)
    assert run_watched(p, 5).faults
    monkeypatch.undo()
    assert not run_watched(p, 5).faults


def test_streams_are_kept_and_each_caller_and_each_thread_has_its_own(cupy):
    p = StackProblem(CASE, dtype=np.float32)
    with watched() as watch:
        everything(p, 3, "cuda")
        assert len(watch.clocks) == 1 + 3
        everything(p, 3, "cuda")
        assert len(watch.clocks) == 1 + 3
        with cupy.cuda.Stream():
            everything(p, 3, "cuda")
        assert len(watch.clocks) == 2 + 6
        thread = threading.Thread(target=everything, args=(p, 3, "cuda"))
        thread.start(), thread.join()
        assert len(watch.clocks) == 2 + 9 and not watch.faults


def test_streams_come_together_after_an_error_as_well(cupy):
    p = StackProblem(CASE, dtype=np.float32)
    p.input_masks[2] = np.ones((1, 3, 9), np.float32)
    with watched() as watch, pytest.raises(ValueError, match="mask: expected"):
        everything(p, 3, "cuda")
    caller = cupy_on_cpu._streams[-1]
    assert [waiting == caller for waiting, _ in watch.waits[-3:]] == [True] * 3 and not watch.faults


# --- kernels for a GPU


KERNELS = ["cupy", "graph", "cluster", "persistent"]


@needs_gxx
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_for_a_gpu_side_by_side(kernel, cupy, monkeypatch):
    """Executed on the CPU: a graph, its table and its arrays are those of the stream that it is launched on."""
    monkeypatch.setitem(cupy_on_cpu.PROPERTIES, "multiProcessorCount", 3)  # few blocks
    p = StackProblem(replace(CASE, Hs=[4, 4, 4]), dtype=np.float32, kernel=kernel)
    with watched() as watch:
        for _ in range(2):
            found = everything(p, 3, "cuda", waiting=False)
    assert not watch.faults
    near(found, everything(p, None, "cuda"), 1e-5)
    p.stack = StackProblem(replace(CASE, Hs=[4, 4, 4]), dtype=np.float32).stack
    near(found, everything(p, None), 1e-5)


@needs_gxx
def test_16_bits_are_stored_once_for_all_pieces(cupy):
    pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
    p = StackProblem(CASE, dtype=np.float32, kernel="cupy")
    for layer in p.stack.layers:
        layer.precision = "float16"
    serial, found = everything(p, None, "cuda"), everything(p, 3, "cuda")
    near(found, serial, 2.0**-9)
    cache = p.stack.forward(to_device(p.inputs["x"], "cuda"), weight_hh_masks=None)[2]
    assert cache.layers[1][0].weight_hh.dtype == np.float16
    assert all(part.weight_hh is cache.layers[1][0].weight_hh for part in cache.layers[1])


@pytest.mark.parametrize("kernel, n_pieces", [("graph", 3), ("cupy", 1), ("persistent", 1)])
def test_auto_asks_the_plan_for_the_gpu_at_hand(kernel, n_pieces, cupy):
    made = LSTMStack(3, [256] * 3, rng=np.random.default_rng(0), kernel=kernel, wavefront="auto")
    x = cupy.zeros((70, 16, 3), np.float32)
    found, reason = choose("auto", made.layers, x)
    assert (found, reason) == minilstm_kernels.choose_wavefront(3, 70, 16, 256, kernel, 132) and found == n_pieces
    assert all(plan.reason.endswith(reason) for plan in made.plan(x))
