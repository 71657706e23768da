"""The READMEs' tables about GPUs, each made of the files that `make gpu-check` has written. 100 % is the time of the
fastest that there is of cuDNN: each of its algorithms called directly, PyTorch's choices, and both from CUDA graphs."""

from itertools import product

from gpu_cells import BATCHES, HIDDEN, LAYERS, MODES, PRECISIONS, T
from gpu_plots import plot_name
from gpu_rows import DEFAULT, fastest, files, geometric_mean, medians, ratios, runs
from gpu_targets import TARGETS
from speed_tables import digits, table
from tables import short

NOT_YET = (
    "Compiled and executed on the CPU, not yet measured on a GPU: `make gpu-check OUT=dir` measures, and\n"
    "`cp dir/*.csv benchmarks/results && python benchmarks/report.py` writes the tables."
)
SAID = {"full": "training", "inference": "inference"}


def percent(value):
    return "-" if value is None else f"{100 * value:.0f} %"


def group_of(key):
    return key.precision, key["layers"], key.mode


def about(rows):
    """Where the numbers come from."""
    made = []
    for run in runs(rows):
        said = (f"{run['gpu']}, driver {run['driver']}, CUDA {run['cuda']}, cuDNN {run['cudnn']}, "
                f"PyTorch {run['torch']}, CuPy {run['cupy']}; commit {short(run['commit'])}")  # fmt: skip
        made.append(said + (f"; {run['clocks']}" if run["clocks"] else ""))
    return "; ".join(dict.fromkeys(made)) + "."


def summary_table(rows) -> str:
    """A line for each precision and number of layers."""
    ours, times, lines = ratios(rows), medians(rows, "lstm"), []
    default = {key: of[DEFAULT] / fastest(of, rivals=True)[1] for key, of in times.items() if DEFAULT in of}
    for precision, layers in product(PRECISIONS, LAYERS):
        groups = [[value for key, value in of.items() if group_of(key) == (precision, layers, mode)]
                  for of in (ours, default) for mode in MODES]  # fmt: skip
        cells = f"{sum(map(len, groups[: len(MODES)]))} of {len(MODES) * len(BATCHES) * len(HIDDEN)}"
        lines.append([precision, str(layers), *(percent(geometric_mean(group)) for group in groups), cells])
    heads = ["precision", "layers", *(f"{who}: {SAID[mode]}" for who in ("ours", "PyTorch as it is") for mode in MODES)]
    sizes = f"B = {', '.join(map(str, sorted(BATCHES)))} and H = {', '.join(map(str, sorted(HIDDEN)))}, T = {T}"
    note = f"Parts of the time of cuDNN's best; less is faster. Geometric means over {sizes}. {about(rows)}"
    return "\n".join([*table([*heads, "cells"], lines), "", note])


def cells_table(rows) -> str:
    """Every cell: a line for each precision, number of layers and H."""
    found, lines = ratios(rows), []
    for precision, layers, H in product(PRECISIONS, LAYERS, sorted(HIDDEN)):
        mine = {(key["B"], key.mode): value for key, value in found.items()
                if (key.precision, key["layers"], key["H"]) == (precision, layers, H)}  # fmt: skip
        cells = (" / ".join(percent(mine.get((B, mode))) for mode in MODES) for B in sorted(BATCHES))
        lines.append([precision, str(layers), str(H), *cells])
    heads = ["precision", "layers", "H", *(f"B = {B}" for B in sorted(BATCHES))]
    note = f'Parts of the time of cuDNN\'s best, {" / ".join(SAID[mode] for mode in MODES)}; "-": not measured.'
    return "\n".join([*table(heads, lines), "", note])


def targets_table(rows) -> str:
    lines = [[t.text, f"{'>=' if t.at_least else '<='} {t.limit:g}", *t.verdict(rows)] for t in TARGETS]
    return "\n".join(table(["target", "", "measured", ""], lines))


def gates_table(rows) -> str:
    """What the gates of a step reach of the bandwidth of a copy."""
    copies = [rate for rates in medians(rows, "copy", "GB/s").values() for rate in rates.values()]
    rates = medians(rows, "gates", "GB/s")
    providers = sorted({provider for of in rates.values() for provider in of})
    lines = []
    for key, of in rates.items():
        parts = [of[p] / copies[-1] if copies and p in of else None for p in providers]
        cells = [f"{digits(of.get(p))} ({percent(part)})" if p in of else "-"
                 for p, part in zip(providers, parts, strict=True)]  # fmt: skip
        lines.append([f"{key['B']}, {key['H']}", key.precision, key.mode, *cells])
    copied = f"A copy reaches {digits(copies[-1])} GB/s" if copies else "No copy was measured"
    note = f"GB/s, and the part of a copy's. {copied}; products: {products(rows)}."
    return "\n".join([*table(["B, H", "precision", "mode", *providers], lines), "", note])


def products(rows):
    """The rates of large ones, the ceilings of arithmetic."""
    found = {key.precision: rate for key, of in medians(rows, "product", "TFLOP/s").items() for rate in of.values()}
    return ", ".join(f"{precision} {digits(rate)} TFLOP/s" for precision, rate in found.items()) or "not measured"


def for_all(*tables):
    """-> a function: the tables for each GPU that there are results of"""

    def text() -> str:
        parts = []
        for name, rows in files().items():
            parts += [f"**{runs(rows)[0]['gpu']}**" if runs(rows) else name, *(of(rows) for of in tables)]
        return "\n\n".join(parts) or NOT_YET

    return text


def plot(rows) -> str:
    return f"![time over cuDNN's best, over B](benchmarks/results/plots/{plot_name(runs(rows)[0]['gpu'])})"


TABLES = {
    "README.md": {"gpu": for_all(summary_table, targets_table, plot)},
    "kernels/README.md": {"gpu_cells": for_all(cells_table, gates_table)},
}
