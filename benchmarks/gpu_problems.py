"""The same numbers for everybody: inputs and weights of an LSTM of some layers, what must come out, and what is wrong
with what did. Names are those of the parameters of `torch.nn.LSTM`; a gradient is `d` + name."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from minilstm import LSTMStack, to_device

# Of an array's largest number. What is rounded are inputs, weights and the state at each of 70 steps; a wrong layout or
# a gate in another's place gives errors near 1.
TOLERANCES = {
    "float32": 1e-4, "bfloat16x3": 1e-3, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1, "float64": 1e-10,
}  # fmt: skip


class Problem(NamedTuple):
    """Arrays of the host, float32."""

    x: np.ndarray  # (T, B, H)
    dy: np.ndarray  # (T, B, H)
    params: dict  # weight_ih_l0 (4H, H), weight_hh_l0 (4H, H), bias_ih_l0 (4H,), bias_hh_l0 (4H,), weight_ih_l1, ...


def problem(cell) -> Problem:
    rng = np.random.default_rng([cell.T, cell.B, cell.H])
    x, dy = (rng.standard_normal((cell.T, cell.B, cell.H), dtype=np.float32) for _ in range(2))
    return Problem(x, dy, weights(cell.H, cell.layers))


@lru_cache(maxsize=4)
def weights(H, layers) -> dict:
    rng, bound = np.random.default_rng([H, layers]), H**-0.5
    shapes = {"weight_ih": (4 * H, H), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}
    return {f"{name}_l{n}": (2 * bound * rng.random(shape, dtype=np.float32) - bound)
            for n in range(layers) for name, shape in shapes.items()}  # fmt: skip


class Zeros(np.random.Generator):
    """Draws nothing: for weights that are replaced at once."""

    def uniform(self, low, high, shape):
        return np.zeros(shape)


class Stack:
    """minilstm.LSTMStack with one of its kernels, as an `LSTMStack` is used: a contender."""

    def __init__(self, gpu, cell, given, kernel, wavefront=None, dtype=np.float32, precision=None):
        precision = precision or cell.precision    # as LSTM(precision=) has it
        if precision in ("float32", "float64") or dtype == np.float64:
            precision = None
        rng = Zeros(np.random.PCG64())
        how = {"kernel": kernel, "precision": precision, "wavefront": wavefront}
        self.stack = LSTMStack(cell.H, [cell.H] * cell.layers, rng=rng, dtype=dtype, **how)
        self.gpu, (x, dy, params) = gpu, given
        self.x, self.dy = (to_device(a.astype(dtype), gpu.kind) for a in (x, dy))
        for n, layer in enumerate(self.stack.layers):
            layer.params = {name: to_device(params[f"{name}_l{n}"].astype(dtype), gpu.kind) for name in layer.params}

    def start(self, mode):
        self.mode = mode

    def call(self):
        y, states, cache = self.stack.forward(self.x, need_cache=self.mode == "full")
        if self.mode != "full":
            return y, states
        dx, _, grads = self.stack.backward(self.dy, None, cache)
        return y, states, dx, grads

    def arrays(self):
        """{name: tensor} of all that comes out of a call"""
        y, states, *rest = self.call()
        made = {"y": y} | {f"{name}_T_l{n}": a for n, s in enumerate(states) for name, a in s._asdict().items()}
        if rest:
            dx, grads = rest
            made |= {"dx": dx} | {f"d{name}": a for name, a in grads.items()}
        return {name: self.gpu.tensor(a) for name, a in made.items()}


def expected(gpu, cell, given, mode) -> dict:
    """What the plain version says, in float64; on the device, where it does not take long. The checks compare it with
    the CPU's."""
    plain = Stack(gpu, cell, given, "reference", dtype=np.float64)
    plain.start(mode)
    return plain.arrays()


def difference(found, wanted, tolerance) -> str | None:
    """What is wrong with some tensors, or None. `tolerance` is relative to each one's largest number."""
    if found.keys() != wanted.keys():
        return f"there came {', '.join(sorted(found))} and not {', '.join(sorted(wanted))}"
    for name, want in wanted.items():
        got = found[name].detach().to(want.dtype)
        if got.shape != want.shape:
            return f"{name} has the shape {tuple(got.shape)} and not {tuple(want.shape)}"
        if want.numel() == 0:
            continue
        error = float((got - want).abs().max() / want.abs().max().clamp_min(1e-30))
        if not error <= tolerance:  # NaN is not, either
            return f"{name} is off by {error:.2g} of its largest number (allowed: {tolerance:.2g})"
    return None
