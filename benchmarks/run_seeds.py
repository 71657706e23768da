"""One experiment on several seeds, and its rows in benchmarks/results/runs.csv.

    python benchmarks/run_seeds.py runs/trec6 --seeds 1 2 3 4 5 --jobs 2 -- trec6 --data-dir DIR --direction both

runs `ulmfit run trec6 --data-dir DIR --direction both --seed N --out runs/trec6-N` for every seed. What is finished
is not run again, and what was stopped goes on. With several jobs each has one BLAS thread to itself: two runs side by
side with one thread each take less time than one after the other with two.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run_seed(out, seed, options, jobs):
    """One `ulmfit run`, its output in a file beside the run directory -> the run directory"""
    run = Path(f"{out}-{seed}")
    how = ["--resume", "--out", run] if (run / "config.yaml").is_file() else [*options, "--seed", seed, "--out", run]
    if not (run / "metrics.json").is_file():
        environment = os.environ | ({"OPENBLAS_NUM_THREADS": "1"} if jobs > 1 else {})
        with open(f"{run}.log", "a", encoding="utf-8") as log:
            command = [sys.executable, "-m", "ulmfit", "run", *map(str, how)]
            code = subprocess.run(command, stdout=log, stderr=log, env=environment).returncode
        if code:
            raise SystemExit(f"{run}: exit code {code}; see {run}.log")
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="run directories are OUT-SEED")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--experiment", default="", help="a name for the rows")
    parser.add_argument("options", nargs="+", help="after --: the data set and options of `ulmfit run`")
    asked = parser.parse_args()
    Path(asked.out).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(asked.jobs) as pool:
        runs = list(pool.map(lambda seed: run_seed(asked.out, seed, asked.options, asked.jobs), asked.seeds))
    collect = Path(__file__).with_name("collect_runs.py")
    subprocess.run([sys.executable, collect, "--experiment", asked.experiment, *runs], check=True)


if __name__ == "__main__":
    main()
