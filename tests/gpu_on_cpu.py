"""The CPU in the place of a GPU for benchmarks/gpu_*.py: CuPy is the stand-in (cupy_on_cpu.py), PyTorch works on the
CPU, the kernels are the plain version under another name, some of them with a fault, and the clock is the computer's.
The times mean nothing; that everything runs, and what is written, does.

    GPU_ON_CPU=plain,dies python tests/gpu_on_cpu.py PART ...       gpu_part.py with small sizes and these kernels
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
from cupy_on_cpu import in_place_of_cupy

import minilstm_kernels
from minilstm.recurrence import ReferenceRecurrence
from minilstm_kernels.gpu_recurrence import Gates

ROOT = Path(__file__).resolve().parents[1]


class Cpu:
    """What benchmarks/gpu_clock.py's Gpu offers."""

    kind, torch_device = "cuda", "cpu"

    def __init__(self, cupy):
        import torch

        self.torch, self.cupy, self.captured = torch, cupy, 0

    @contextlib.contextmanager
    def working(self):
        yield

    def seconds(self, call, calls, host=None):
        made = []
        for _ in range(calls):
            began = time.perf_counter()
            call()
            made.append(time.perf_counter() - began)
        return made

    def host_seconds(self, call):
        return self.seconds(call, 1)[0]

    seconds_with_host = seconds

    def capture(self, call):
        """A graph writes the same memory at each replay: so what is in it was made once."""
        self.captured += 1
        return call, call()

    def stream_now(self):
        return 7

    def wait(self):
        pass

    release = wake = wait

    def tensor(self, a):
        return self.torch.from_numpy(a.get() if isinstance(a, self.cupy.ndarray) else a)

    def about(self):
        return {"gpu": "Stand-in 1", "driver": "none", "cuda": None, "cuda of cupy": "", "cudnn": None,
                "torch": self.torch.__version__, "cupy": "none", "clocks": ""}  # fmt: skip


def kernel(fault):
    """A module as kernels/ has them, with a ladder of two versions: the plain recurrence, with a fault of this name."""
    made, plain = ModuleType(f"minilstm_kernels.stand_in_{fault}"), ReferenceRecurrence()

    def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True, version=2):
        assert version in (1, 2)
        if fault == "raises":
            raise RuntimeError("no such\nlaunch")
        if fault == "refuses" and h0.shape[1] > 8:
            raise ValueError(f"H = {h0.shape[1]} is too large")
        if fault == "dies":
            os._exit(9)
        if fault == "hangs":
            time.sleep(600)
        y, h_T, c_T, saved = plain.forward(x_gates, weight_hh, h0, c0, lengths, need_cache)
        if fault == "wrong":
            y[-1] *= y.dtype.type(1.5)
        if fault == "unsteady":
            y *= y.dtype.type(1 + next(ticks) % 2 * 2.0**-22)
        return y, h_T, c_T, saved

    def backward(dy, dh_T, dc_T, saved, weight_hh, version=2):
        dgates, dh0, dc0 = plain.backward(dy, dh_T, dc_T, saved, weight_hh)
        return dgates * dgates.dtype.type(2 if fault == "wrong-back" else 1), dh0, dc0

    ticks = iter(range(10**9))
    made.forward, made.backward, made.states = forward, backward, plain.states
    step = Gates(np, ("float32", "float64"), lambda *a: lambda t: None, lambda *a: lambda t: None)
    made.LADDER = {1: step, 2: step}
    return made


@contextlib.contextmanager
def kernels(*faults):
    """In this block the kernels for a GPU are these, and CuPy is the stand-in. -> the device"""
    registered = minilstm_kernels.IMPLEMENTATIONS
    known = [minilstm_kernels.Implementation(fault, f"stand_in_{fault}", "cuda", (), "", "plain", ("float16",))
             for fault in faults]  # fmt: skip
    with in_place_of_cupy() as cupy:
        minilstm_kernels.IMPLEMENTATIONS = (*known, *(k for k in registered if k.device != "cuda"))
        sys.modules |= {f"minilstm_kernels.stand_in_{fault}": kernel(fault) for fault in faults}
        device = Cpu(cupy)
        threads = device.torch.get_num_threads()
        device.torch.set_num_threads(1)  # arrays are small, and other tests run besides
        try:
            yield device
        finally:
            device.torch.set_num_threads(threads)
            minilstm_kernels.IMPLEMENTATIONS = registered
            for fault in faults:
                del sys.modules[f"minilstm_kernels.stand_in_{fault}"]


def small():
    """{module: {name: value}}: sizes that take no time"""
    return {
        "gpu_cells": {"BATCHES": (3,), "HIDDEN": (8,), "LAYERS": (1,), "PRECISIONS": ("float32",), "T": 4},
        "gpu_micro": {"COPY_BYTES": 2**12, "N": 16, "LAUNCHES": 3, "CALLS": 2, "GATES": ((4, 8), (2, 3))},
        "gpu_lm": {"SHAPE": {"T": 4, "B": 2, "V": 50, "H": 5, "layers": 2}, "STEPS": 2, "ROUNDS": 2,
                   "SIZE": {"embedding": 3, "hidden": 5, "layers": 2}},
        "gpu_bench": {"TURN": 1e-4, "ROUNDS": 2, "MOST_CALLS": 2,
                      "language_model": lambda gpu, journal: None},
    }


def main(arguments):
    sys.path[:0] = [str(ROOT / "benchmarks")]
    import importlib

    import gpu_part

    for module, values in small().items():
        vars(importlib.import_module(module)).update(values)
    with kernels(*os.environ["GPU_ON_CPU"].split(",")) as device:
        return gpu_part.main(arguments, device=lambda: device)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
