"""What the GPU kernels are to reach on a GPU of the H100's class, held against what was measured. A target is met when
all of its cells were measured and it holds; what was not measured is never met."""

from collections.abc import Callable
from typing import NamedTuple

from gpu_cells import GATES, LARGE, MODES, cells
from gpu_lm import METRIC, NAME
from gpu_rows import DEFAULT, Key, fastest, geometric_mean, medians, ratios

KEYS = {Key(cell.precision, mode, tuple(cell.shape.items())) for cell in cells() for mode in MODES}
LARGE_GATES = 2 * sum(B >= LARGE for B, _ in GATES)  # forward and backward


class Target(NamedTuple):
    text: str
    measure: Callable  # rows -> the number that counts (None: nothing measured), cells measured, cells there are
    limit: float
    at_least: bool = False

    def verdict(self, rows) -> tuple[str, str]:
        """-> the number, and whether that is enough"""
        value, measured, there_are = self.measure(rows)
        if value is None:
            return "-", "not measured"
        shown = f"{value:.2f}" if measured == there_are else f"{value:.2f} ({measured} of {there_are} cells)"
        if not (value >= self.limit if self.at_least else value <= self.limit):
            return shown, "**missed**"
        return shown, "met" if measured == there_are else "so far"


def persistent(key):
    """cuDNN has a persistent kernel for it."""
    return key.precision == "float16" and key["layers"] == 1 and key["H"] in (256, 512) and key["B"] > 1


def bound_by_arithmetic(key):
    return key.precision == "float32" and key["H"] == 1150 and key["B"] >= 64


def of_ratios(wanted, how=geometric_mean):
    """Of our time over cuDNN's best, in all cells that are wanted"""

    def measure(rows):
        found = [value for key, value in ratios(rows).items() if key in KEYS and wanted(key)]
        return (how(found) if found else None), len(found), sum(map(wanted, KEYS))

    return measure


def of_kernel(kernel, wanted):
    """The worst of a kernel's time over that of cuDNN's default"""

    def measure(rows):
        found = [times[kernel] / times[DEFAULT] for key, times in medians(rows, "lstm").items()
                 if key in KEYS and wanted(key) and kernel in times and DEFAULT in times]  # fmt: skip
        return max(found, default=None), len(found), sum(map(wanted, KEYS))

    return measure


def of_step(H):
    """Microseconds a step of our fastest loop, forward, in bfloat16 with 64 rows"""

    def measure(rows):
        for key, times in medians(rows, "recurrence").items():
            if (key.precision, key.mode, key["H"], key["B"]) == ("bfloat16", "inference", H, 64):
                return 1e3 * fastest(times, rivals=False)[1] / key["T"], 1, 1
        return None, 0, 1

    return measure


def gates_over_copy(rows):
    """The worst of the best version's rate over that of a copy, with thousands of rows, in float32"""
    copies = [rate for times in medians(rows, "copy", "GB/s").values() for rate in times.values()]
    found = [max(rates.values()) for key, rates in medians(rows, "gates", "GB/s").items() if large(key)]
    return (min(found) / copies[-1] if found and copies else None), len(found), LARGE_GATES


def large(key):
    return key.precision == "float32" and key["B"] >= LARGE


def numba_over_cuda(rows):
    """The worst of the time in Numba CUDA over the time in CUDA C++, of the gates with thousands of rows"""
    found = [rates["cupy"] / rates["numba-cuda"] for key, rates in medians(rows, "gates", "GB/s").items()
             if large(key) and {"cupy", "numba-cuda"} <= rates.keys()]  # fmt: skip
    return max(found, default=None), len(found), LARGE_GATES


def of_language_model(rows):
    """Our time over PyTorch's, of a whole training step"""
    found = [rate["torch"] / rate["ulmfit"] for rate in medians(rows, NAME, METRIC).values()
             if {"torch", "ulmfit"} <= rate.keys()]  # fmt: skip
    return (found[-1] if found else None), len(found), 1


TARGETS = (
    Target("gates, thousands of rows: part of the bandwidth of a copy", gates_over_copy, 0.85, at_least=True),
    Target("gates: Numba CUDA over CUDA C++, the worst", numba_over_cuda, 1.3),
    Target("`graph` over cuDNN as PyTorch chooses, float32, B <= 64, H <= 512: the worst",
           of_kernel("graph", lambda key: key.precision == "float32" and key["B"] <= 64 and key["H"] <= 512), 1.0),
    Target("ours over cuDNN's best where it has no persistent kernel: geometric mean",
           of_ratios(lambda key: not persistent(key) and not bound_by_arithmetic(key)), 0.5),
    Target("the same where it has one", of_ratios(persistent), 0.9),
    Target("float32, H = 1150, B >= 64, which arithmetic bounds", of_ratios(bound_by_arithmetic), 1.1),
    Target("all cells: geometric mean", of_ratios(lambda key: True), 0.6),
    Target("all but those that arithmetic bounds: the worst",
           of_ratios(lambda key: not bound_by_arithmetic(key), max), 1.0),
    Target("a training step of an AWD-LSTM language model: our time over PyTorch's", of_language_model, 1 / 1.5),
    Target("microseconds a step forward, H = 512, B = 64, bfloat16", of_step(512), 1.2),
    Target("microseconds a step forward, H = 1150, B = 64, bfloat16", of_step(1150), 4.0),
)  # fmt: skip
