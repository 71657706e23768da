import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import copies, load, same_bits
from strategies import length_kinds, normal, scaled_mask, seeds, sizes, some_lengths

from minilstm import LSTMStack, LSTMState, gradcheck


@dataclasses.dataclass
class StackCase:
    T: int
    B: int
    I: int
    Hs: list
    lengths: str
    masks: bool
    seed: int


stack_cases = st.builds(
    StackCase, T=sizes, B=sizes, I=sizes, Hs=st.lists(sizes, min_size=1, max_size=3), lengths=length_kinds,
    masks=st.booleans(), seed=seeds,
)  # fmt: skip


class StackProblem:
    """A stack as a pair of functions: outputs y, h_l0, c_l0, ...; inputs x, h0_l0, c0_l0, ... and the parameters."""

    def __init__(self, case, dtype=np.float64, kernel="reference"):
        T, B, sizes_in = case.T, case.B, [case.I, *case.Hs[:-1]]
        rng = np.random.default_rng(case.seed)
        self.n = len(case.Hs)
        self.stack = LSTMStack(case.I, case.Hs, rng=rng, dtype=dtype, kernel=kernel)
        self.inputs = {"x": normal(rng, T, B, case.I, dtype=dtype)} | copies(self.stack.params)
        self.d = {"y": normal(rng, T, B, case.Hs[-1], dtype=dtype)}
        for n, H in enumerate(case.Hs):
            self.inputs |= {f"{s}0_l{n}": normal(rng, B, H, dtype=dtype) for s in "hc"}
            self.d |= {f"{s}_l{n}": normal(rng, B, H, dtype=dtype) for s in "hc"}
        self.lengths = some_lengths(rng, case.lengths, T, B)
        self.input_masks = self.weight_hh_masks = None
        if case.masks:
            self.input_masks = [scaled_mask(rng, (1, B, size), dtype) for size in sizes_in]
            self.weight_hh_masks = [scaled_mask(rng, (4 * H, H), dtype) for H in case.Hs]

    def run(self, inputs, **options):
        load(self.stack, inputs)
        states = [LSTMState(inputs[f"h0_l{n}"], inputs[f"c0_l{n}"]) for n in range(self.n)]
        masks = {"input_masks": self.input_masks, "weight_hh_masks": self.weight_hh_masks}
        return self.stack.forward(inputs["x"], states, lengths=self.lengths, **masks, **options)

    def forward(self, inputs, **options):
        y, states, _ = self.run(inputs, **options)
        return {"y": y} | {f"{s}_l{n}": getattr(state, s) for n, state in enumerate(states) for s in "hc"}

    def undo(self, d, cache, **options):
        dstates = [LSTMState(d.get(f"h_l{n}"), d.get(f"c_l{n}")) for n in range(self.n)]
        dx, dstates, grads = self.stack.backward(d.get("y"), dstates, cache, **options)
        dstates = {f"{s}0_l{n}": getattr(d, s) for n, d in enumerate(dstates) if d is not None for s in "hc"}
        return {"x": dx, **dstates, **grads}

    def backward(self, inputs, d):
        return self.undo(d, self.run(inputs)[2])

    def zero_by_nature(self):
        """No layer hears of a higher one; and with no step at all, only the states pass through."""
        layers = range(self.n)
        above = {
            (f"{s}_l{n}", x) for n in layers for s in "hc" for x in self.inputs if x != "x" and int(x[-1]) > n
        }
        if self.lengths is None or self.lengths.any():
            return above
        everything = {(y, x) for y in self.d for x in self.inputs}
        return everything - {(f"{s}_l{n}", f"{s}0_l{n}") for n in layers for s in "hc"}


@given(case=stack_cases)
def test_every_output_against_every_input(case):
    p = StackProblem(case)
    rng = np.random.default_rng(case.seed + 1)
    gradcheck(p.forward, p.backward, p.inputs, rng=rng, zero=p.zero_by_nature())
    assert p.undo(p.d, p.run(p.inputs)[2]).keys() == p.inputs.keys()


@given(case=stack_cases)
def test_a_stack_is_its_layers_one_after_the_other(case):
    p = StackProblem(case)
    y, states, _ = p.run(p.inputs)
    x = p.inputs["x"]
    for n, layer in enumerate(p.stack.layers):
        if p.input_masks is not None:
            x = x * p.input_masks[n]
        state = LSTMState(p.inputs[f"h0_l{n}"], p.inputs[f"c0_l{n}"])
        mask = None if p.weight_hh_masks is None else p.weight_hh_masks[n]
        x, new_state, _ = layer.forward(x, state, lengths=p.lengths, weight_hh_mask=mask)
        same_bits(new_state._asdict(), states[n]._asdict())
    assert (x == y).all()


@given(case=stack_cases)
def test_stopping_early_is_the_top_of_the_full_backward(case):
    p = StackProblem(case)
    cache = p.run(p.inputs)[2]
    full = p.undo(p.d, cache)
    for lowest in range(p.n):
        g = p.undo(p.d, cache, lowest=lowest, need_dx=False)
        assert g.pop("x") is None
        wanted = {name for name in full if name != "x" and int(name[-1]) >= lowest}
        same_bits(g, {name: full[name] for name in wanted})
        assert (p.undo(p.d, cache, lowest=lowest)["x"] is None) == (lowest > 0)


@given(case=stack_cases)
def test_other_padding_changes_no_bit_and_neither_does_dropping_the_cache(case):
    p = StackProblem(dataclasses.replace(case, lengths="mixed"), dtype=np.float32)
    before = p.forward(p.inputs)
    same_bits(before, p.forward(p.inputs, need_cache=False))
    before |= p.backward(p.inputs, p.d)
    past = np.arange(case.T)[:, None] >= p.lengths
    p.inputs["x"][past] = -77
    p.d["y"][past] = np.nan
    same_bits(before, p.forward(p.inputs) | p.backward(p.inputs, p.d))
    assert {a.dtype for a in before.values()} == {np.dtype(np.float32)}


def test_locked_masks_hold_still_over_time():
    p = StackProblem(StackCase(T=3, B=2, I=4, Hs=[4], lengths="none", masks=True, seed=0))
    g = p.backward(p.inputs, p.d)
    dropped = np.broadcast_to(p.input_masks[0] == 0, g["x"].shape)
    assert dropped.any() and not g["x"][dropped].any() and g["x"][~dropped].all()


def test_parameters_are_the_layers_own_under_torch_names():
    stack = LSTMStack(3, [4, 5], rng=np.random.default_rng(0))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert list(stack.params) == [f"{name}_l{n}" for n in (0, 1) for name in names]
    assert stack.params["weight_ih_l1"] is stack.layers[1].params["weight_ih"]
    assert stack.params["weight_ih_l1"].shape == (20, 4)
    with pytest.raises(TypeError):
        stack.params["weight_ih_l0"] = 0


X = np.ones((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"states": [None]}, ValueError, "states: expected 2 entries, one per layer, got 1"),
        ({"input_masks": [None] * 3}, ValueError, "input_masks: expected 2 entries, one per layer, got 3"),
        ({"weight_hh_masks": []}, ValueError, "weight_hh_masks: expected 2 entries, one per layer, got 0"),
        ({"input_masks": [np.ones((1, 3, 5), np.float32), None]}, ValueError, r"mask: .*\(2, 3, 4\), got \(1, 3, 5\)"),
        ({"input_masks": [np.ones((9, 2, 3, 4), np.float32), None]}, ValueError, "mask: .*broadcasts to"),
        ({"input_masks": [np.ones((1, 3, 4)), None]}, TypeError, "mask: expected dtype float32, got float64"),
        ({"states": [None, (X[0], X[0])]}, ValueError, r"state.h: expected shape \(3, 5\), got \(3, 4\)"),
    ],
)
def test_bad_arguments_of_forward(options, error, message):
    stack = LSTMStack(4, [6, 5], rng=np.random.default_rng(0))
    with pytest.raises(error, match=message):
        stack.forward(X, **options)


def test_bad_arguments_elsewhere():
    with pytest.raises(ValueError, match="hidden_sizes: expected at least one layer"):
        LSTMStack(4, [], rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"hidden_sizes: expected a list, as \[5\], got int"):
        LSTMStack(4, 5, rng=np.random.default_rng(0))
    stack = LSTMStack(4, [6, 5], rng=np.random.default_rng(0))
    y, _, cache = stack.forward(X)
    with pytest.raises(ValueError, match="cache: expected the StackCache of a forward with need_cache=True, got None"):
        stack.backward(y, None, None)
    with pytest.raises(ValueError, match="cache: expected that of 1 layers, got one of 2"):
        LSTMStack(4, [5], rng=np.random.default_rng(0)).backward(y, None, cache)
    with pytest.raises(TypeError, match="x: expected an array, got list"):
        stack.forward([[1]], input_masks=[np.ones((1, 3, 4), np.float32), None])
    with pytest.raises(ValueError, match="dstates: expected 2 entries, one per layer, got 1"):
        stack.backward(y, [None], cache)
    for lowest in (-1, 2):
        with pytest.raises(ValueError, match=f"lowest: expected a layer in 0..1, got {lowest}"):
            stack.backward(y, None, cache, lowest=lowest)


def test_a_plan_for_every_layer():
    stack = LSTMStack(2, [3, 4], rng=np.random.default_rng(0), kernel="reference")
    assert [plan.kernel for plan in stack.plan(np.zeros((1, 1, 2), np.float32))] == ["reference", "reference"]
