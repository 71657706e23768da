"""Layers seen as a pair of functions of dictionaries of arrays, which is what `gradcheck` takes and what is easy to
compare; and the list of all implementations of the recurrence, kept here alone."""

import numpy as np
import pytest
from strategies import normal, scaled_mask, some_lengths

from minilstm import LSTM, LSTMState, available_kernels, to_device, to_numpy


def _no_gpu():
    """Why there is no CuPy with a device, or None."""
    try:
        import cupy

        return None if cupy.cuda.runtime.getDeviceCount() else "no CUDA device"
    except Exception as e:  # not only ImportError: a broken CUDA raises its own
        return f"no CuPy with a device: {type(e).__name__}"


def _recurrences():
    no_gpu = _no_gpu()
    for kernel in available_kernels():
        for device in ("cpu", "cuda"):
            if kernel.device in ("any", device):
                reason = kernel.reason or (no_gpu if device == "cuda" else None)
                marks = [pytest.mark.gpu] if device == "cuda" else []
                marks += [pytest.mark.skip(reason=reason)] if reason else []
                yield pytest.param(kernel.name, device, id=f"{kernel.name}-{device}", marks=marks)


RECURRENCES = list(_recurrences())
every_recurrence = pytest.mark.parametrize("kernel, device", RECURRENCES)


class LSTMProblem:
    """One LSTM layer: outputs y, h, c; inputs x, h0, c0 and the parameters. Arrays are NumPy's outside, `device`'s
    inside. Problems of one case hold the same numbers whatever their dtype, kernel and device."""

    def __init__(self, case, *, dtype=np.float64, kernel="reference", device="cpu"):
        T, B, I, H = case.T, case.B, case.I, case.H
        rng = np.random.default_rng(case.seed)
        self.device = device
        self.layer = LSTM(I, H, rng=rng, dtype=dtype, kernel=kernel)
        self.inputs = {name: normal(rng, *shape, dtype=dtype) for name, shape in self._shapes(T, B, I, H).items()}
        for name in self.layer.params:
            self.inputs[name] *= dtype(H**-0.5)
        self.d = {"y": normal(rng, T, B, H, dtype=dtype)}
        self.d |= {name: normal(rng, B, H, dtype=dtype) for name in ("h", "c")}
        self.lengths = some_lengths(rng, case.lengths, T, B)
        self.mask = scaled_mask(rng, (4 * H, H), dtype) if case.weight_drop else None

    @staticmethod
    def _shapes(T, B, I, H):
        return {
            "x": (T, B, I), "h0": (B, H), "c0": (B, H),
            "weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,),
        }  # fmt: skip

    def run(self, inputs, **options):
        """forward as the layer returns it, its parameters set to those in `inputs`."""
        a = {name: to_device(v, self.device) for name, v in inputs.items()}
        for name in self.layer.params:
            self.layer.params[name] = a[name]
        mask = None if self.mask is None else to_device(self.mask, self.device)
        options = {"lengths": self.lengths, "weight_hh_mask": mask} | options
        return self.layer.forward(a["x"], LSTMState(a["h0"], a["c0"]), **options)

    def forward(self, inputs, **options):
        y, (h, c), _ = self.run(inputs, **options)
        return {"y": to_numpy(y), "h": to_numpy(h), "c": to_numpy(c)}

    def undo(self, d, cache):
        """backward from a dictionary of incoming gradients (None or absent: zero) to one of gradients."""
        dy, dh, dc = (None if d.get(k) is None else to_device(d[k], self.device) for k in ("y", "h", "c"))
        dx, (dh0, dc0), grads = self.layer.backward(dy, LSTMState(dh, dc), cache)
        assert grads.keys() == self.layer.params.keys()
        return {k: to_numpy(g) for k, g in {"x": dx, "h0": dh0, "c0": dc0, **grads}.items()}

    def backward(self, inputs, d):
        return self.undo(d, self.run(inputs)[2])

    def all_arrays(self):
        """Every output and every gradient, by name, and the states on the way."""
        y, (h, c), cache = self.run(self.inputs)
        arrays = {"y": y, "h": h, "c": c, "all h": cache.h, "all c": cache.c, "ifgo": cache.ifgo}
        gradients = {f"d{name}": g for name, g in self.undo(self.d, cache).items()}
        return {name: to_numpy(a) for name, a in arrays.items()} | gradients

    def zero_by_nature(self):
        """The (output, input) pairs without a connection: with no step at all, only the states pass through."""
        if self.lengths is None or self.lengths.any():
            return set()
        return {(y, x) for y in "yhc" for x in self.inputs} - {("h", "h0"), ("c", "c0")}


def same_bits(a, b):
    """Raise AssertionError unless two dictionaries of arrays agree in every bit, dtype and shape."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), f"{name} differs"


def load(layer, arrays):
    """Set a layer's parameters, in place, to the arrays of their names."""
    for name, p in layer.params.items():
        p[...] = arrays[name]


def copies(arrays):
    return {name: np.array(a) for name, a in arrays.items()}
