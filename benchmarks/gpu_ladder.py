"""The kernels of ours that work on a GPU, with every version of their ladders; and their loop over time alone, without
the large products around it, as a contender."""

import inspect
from importlib.util import find_spec

import numpy as np

from minilstm import to_device
from minilstm.arrays import library_products
from minilstm.recurrence import ReferenceRecurrence, storage_dtype
from minilstm.twins import registry


def kernels():
    """[Availability] of every kernel that is for a GPU, those that cannot run here among them."""
    package, _ = registry()
    return [k for k in package.available(try_import=True) if k.device == "cuda"] if package else []


def runnable():
    return [k for k in kernels() if k.reason is None]


def offers(kernel, precision) -> bool:
    """Can a kernel be asked for this precision here? NumPy knows bfloat16 only with the package ml_dtypes."""
    known = precision != "bfloat16" or find_spec("ml_dtypes") is not None
    return known and precision in ("float32", "float64", *kernel.precisions)


def module(name):
    return registry()[0].load(name)


def default_version(name):
    """Of the kernel's ladder; None where it has no versions."""
    parameter = inspect.signature(module(name).forward).parameters.get("version")
    return None if parameter is None else parameter.default


def versions(name) -> dict:
    """{provider: options of the module's functions}. The version that is used by default has the kernel's own name."""
    default = default_version(name)
    ladder = getattr(module(name), "LADDER", ())
    return {name: {}, **{f"{name}-v{v}": {"version": v} for v in ladder if v != default}}


def products(name, precision) -> dict:
    """Options of the module's functions, where float32 arrays are multiplied in this precision."""
    named = getattr(module(name), "VERSIONS", {})
    return {"version": named[precision]} if precision in named else {}


WAVES = {"graph": (2, 4), "cluster": (2, 4)}  # pieces of a sequence, for kernels that may leave room for another layer


def arrangements(name, layers) -> dict:
    """{provider: LSTMStack's wavefront}: one layer after the other, and side by side"""
    return {name: None, **{f"{name}-wave{n}": n for n in WAVES.get(name, ()) if layers > 1}}


class Loop:
    """A kernel's `forward` and `backward` on gates that the input's product has been added to."""

    def __init__(self, gpu, cell, given, name, options):
        exact = name == "reference"
        self.functions, self.precision = ReferenceRecurrence() if exact else module(name), cell.precision
        self.gpu, self.options = gpu, options if exact else products(name, cell.precision) | options
        dtype = np.dtype(np.float64) if exact else storage_dtype(_precision(cell), np.dtype(np.float32))
        sums = np.promote_types(dtype, np.float32)
        T, B, H = cell.T, cell.B, cell.H
        x_gates = np.random.default_rng([T, B, H, 4]).standard_normal((T, B, 4 * H), dtype=np.float32)
        self.x_gates = to_device(x_gates, gpu.kind).astype(dtype)
        self.weight_hh = to_device(given.params["weight_hh_l0"], gpu.kind).astype(dtype)
        self.dy = to_device(given.dy, gpu.kind).astype(dtype)
        zeros = np.zeros((B, H), np.float32)
        self.h0, self.c0 = (to_device(zeros, gpu.kind).astype(d) for d in (dtype, sums))

    def start(self, mode):
        self.keep = mode == "full"

    def call(self):
        with library_products(self.x_gates, self.precision):
            return self._call()

    def _call(self):
        y, h_T, c_T, saved = self.functions.forward(
            self.x_gates, self.weight_hh, self.h0, self.c0, None, self.keep, **self.options
        )
        if not self.keep:
            return y, h_T, c_T
        return y, h_T, c_T, *self.functions.backward(self.dy, None, None, saved, self.weight_hh, **self.options)

    def arrays(self):
        names = ("y", "h_T", "c_T", "dgates", "dh0", "dc0")
        made = dict(zip(names, self.call(), strict=False))
        return {name: self.gpu.tensor(a.astype(np.promote_types(a.dtype, np.float32))) for name, a in made.items()}


def _precision(cell):
    """As LSTM(precision=) has it."""
    return None if cell.precision in ("float32", "float64") else cell.precision
