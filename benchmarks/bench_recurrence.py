"""Each CPU recurrence beside the plain NumPy one: checked, then timed in turns in one process.

    python benchmarks/bench_recurrence.py          writes benchmarks/results/recurrence.csv (about a minute)

Forward, and forward with backward, at the shapes of small and of ULMFiT-size layers, float32. The contenders take
turns call by call, so that whatever else the machine does meets both; medians and 20/80 percentiles over all turns.
"""

import csv
import time
from pathlib import Path

import numpy as np

from minilstm import available_kernels
from minilstm.recurrence import get_recurrence
from ulmfit.provenance import commit, versions

RESULTS = Path(__file__).parent / "results" / "recurrence.csv"
SHAPES = ((20, 16, 48), (70, 16, 256), (70, 16, 400), (70, 64, 400), (70, 64, 1150))  # T, B, H
SECONDS = 4  # per shape and mode
TOLERANCE = 1e-4  # of the largest number in an array; the tests hold the kernels to far tighter bounds


def problem(T, B, H, rng):
    """-> the arguments of forward, and the incoming gradients"""
    normal = lambda *shape: rng.standard_normal(shape, dtype=np.float32)  # noqa: E731
    weight_hh = normal(4 * H, H) * np.float32(H**-0.5)
    return (normal(T, B, 4 * H), weight_hh, normal(B, H), normal(B, H)), (normal(T, B, H), normal(B, H), normal(B, H))


def call(recurrence, inputs, gradients, mode):
    """One call -> all arrays that come out of it."""
    y, h, c, saved = recurrence.forward(*inputs)
    if mode == "forward":
        return y, h, c
    return y, h, c, *recurrence.backward(*gradients, saved, inputs[1])


def check(contenders, inputs, gradients):
    """Raise AssertionError unless all contenders compute the same."""
    expected, *others = (call(r, inputs, gradients, "full") for r in contenders)
    for recurrence, found in zip(contenders[1:], others, strict=True):
        for a, b in zip(expected, found, strict=True):
            error = np.abs(a - b).max() / np.abs(a).max()
            assert error <= TOLERANCE, f"{recurrence.name}: error {error:.2g}"


def time_in_turns(contenders, inputs, gradients, mode):
    """-> {name: seconds of every call}"""
    seconds = {r.name: [] for r in contenders}
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(seconds[contenders[0].name]) < 10:
        for recurrence in contenders:
            start = time.perf_counter()
            call(recurrence, inputs, gradients, mode)
            seconds[recurrence.name].append(time.perf_counter() - start)
    return seconds


def main():
    names = [k.name for k in available_kernels() if k.reason is None and k.device in ("any", "cpu")]
    contenders = [get_recurrence(name) for name in names]
    about = {k: v for k, v in versions().items() if k in ("python", "numpy", "numba", "blas", "processor")}
    rows = []
    for T, B, H in SHAPES:
        inputs, gradients = problem(T, B, H, np.random.default_rng(0))
        check(contenders, inputs, gradients)
        for mode in ("forward", "full"):
            for name, seconds in time_in_turns(contenders, inputs, gradients, mode).items():
                p20, p50, p80 = (round(1e3 * q, 4) for q in np.percentile(seconds, (20, 50, 80)))
                row = {"kernel": name, "mode": mode, "T": T, "B": B, "H": H, "dtype": "float32", "calls": len(seconds)}
                rows.append(row | {"ms_p20": p20, "ms_p50": p50, "ms_p80": p80, **about, "commit": commit()})
                print(f"{T:>4} {B:>4} {H:>5} {mode:>8} {name:>10} {p50:9.3f} ms")
    with open(RESULTS, "w", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
