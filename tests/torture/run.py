"""Torture: what a run survives, measured. `make torture` takes ten to twenty minutes, with ARGS=--short one.

    python tests/torture/run.py                          all tests, into benchmarks/results/torture.csv
    python tests/torture/run.py --only kills --seed 7    one of them, with the seed that a failure was told with

Exit code 1 where a promise is broken. The numbers of the fuzzers come from tests/fuzz/run.py.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "torture.csv"
SIZES = {  # of each test: so many kills, damages, ...; and in the short form. All strangers there are
    "kills": (200, 2), "damages": (10_000, 100), "inputs": (60, 60), "strangers": (1000, 8), "full_disk": (60, 3),
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few of each kind; nothing is recorded")
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES), metavar="TEST", help=", ".join(SIZES))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="default: the clock's")
    parser.add_argument("--note", default="", help="kept with the results: what else the machine had to do")
    asked = parser.parse_args()
    prepare()
    broken = [test for test in asked.only if not run(test, asked)]
    if broken:
        sys.exit(f"promises broken: {', '.join(broken)}; again with --seed {asked.seed} --only {' '.join(broken)}")


def prepare():
    """Here and in all processes that are started: the tests' modules, and one thread, since two runs go on at once."""
    paths = [str(ROOT), str(ROOT / "tests")]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    import interrupting

    interrupting.PATIENCE = 900  # seconds: a machine may have much else to do
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"


def run(test, asked) -> bool:
    """One test, its numbers told and kept -> whether every promise was"""
    from importlib import import_module

    import numpy as np
    from torture.promises import keep, rows

    began = time.monotonic()

    def tell(line):
        print(f"{test:10} {time.monotonic() - began:5.0f} s  {line}", flush=True)

    size = SIZES[test][asked.short]
    tell(f"seed {asked.seed}, size {size:,}")
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        rng = np.random.default_rng([asked.seed, list(SIZES).index(test)])
        numbers = import_module(f"torture.{test}").torture(Path(folder), rng, size, tell)
    for number in numbers:
        tell(number)
    if not asked.short:
        keep(RESULTS, rows(test, numbers, time.monotonic() - began, asked.seed, asked.note))
    return all(number.kept for number in numbers)


if __name__ == "__main__":
    main()
