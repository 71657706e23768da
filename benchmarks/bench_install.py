"""What an installation costs: the wheel's size, and how long a fresh process takes to import, to help and to predict.

    python benchmarks/bench_install.py runs/trec6-1

builds the wheel, installs it with its core dependencies into a new environment and writes the medians of several
starts to benchmarks/results/install.csv, the last two of them with Numba and kernels that were compiled before. They
are warm: the files have been read before, so the disk plays no part.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ulmfit.provenance import commit, versions

# A small layer on the compiled kernels, in a process that has not used them yet: what loading them adds to a first call
FIRST_CALL = """
import time
import numpy as np
from minilstm import LSTM
lstm, x = LSTM(8, 16, rng=np.random.default_rng(0), kernel="cpu"), np.zeros((5, 4, 8), np.float32)
began = time.perf_counter()
y, state, cache = lstm.forward(x)
lstm.backward(y, None, cache)
print(time.perf_counter() - began)
"""
ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "install.csv"


def quiet(*command, **options):
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, **options)


def median_seconds(*command, repeats=9):
    """The median time of a command in a process of its own, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        quiet(*command, cwd="/")
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def median_printed(*command, repeats=9):
    """The median of the seconds that a command prints, after one that does not count."""
    said = [subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, cwd="/").stdout
            for _ in range(repeats + 1)]  # fmt: skip
    return statistics.median(map(float, said[1:]))


def measure(run, folder):
    """-> what is measured -> number, unit"""
    quiet(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    quiet(sys.executable, "-m", "venv", folder / "env")
    python, ulmfit = folder / "env" / "bin" / "python", folder / "env" / "bin" / "ulmfit"
    quiet(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    predict = (ulmfit, "predict", "What is the capital of France ?", "--model", Path(run).resolve())
    bare = {
        "wheel": (wheel.stat().st_size / 1e6, "MB"),
        "python -c pass": (median_seconds(python, "-c", "pass"), "s"),
        "import minilstm": (median_seconds(python, "-c", "import minilstm"), "s"),
        "import Predictor": (median_seconds(python, "-c", "from ulmfit.predictor import Predictor"), "s"),
        "ulmfit --help": (median_seconds(ulmfit, "--help"), "s"),
        "first prediction": (median_seconds(*predict), "s"),
    }
    quiet(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[numba]")
    return bare | {
        "first call of compiled kernels": (median_printed(python, "-c", FIRST_CALL), "s"),
        "first prediction with Numba": (median_seconds(*predict), "s"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run directory, to predict with")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        numbers = measure(asked.run, Path(folder))
    where = {name: versions()[name] for name in ("python", "numpy", "processor")} | {"commit": commit()}
    with open(RESULTS, "w", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, ("what", "value", "unit", *where), lineterminator="\n")
        table.writeheader()
        for what, (value, unit) in numbers.items():
            table.writerow({"what": what, "value": round(value, 3), "unit": unit, **where})
            print(f"{what:20} {value:.3f} {unit}")


if __name__ == "__main__":
    main()
