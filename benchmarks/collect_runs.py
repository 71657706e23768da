"""Finished runs -> rows of benchmarks/results/runs.csv.

    python benchmarks/collect_runs.py runs/trec6-1 runs/trec6-2 runs/trec6-3
    python benchmarks/collect_runs.py --experiment two_step runs/two_step-1

A row says what was run, on which commit and machine, and every number that the README shows. Its last column is the
run's config.yaml as JSON, which is YAML, too: saved as a file it replays with `ulmfit run --config FILE`, once folders
are added that are not those of this machine. A run that is in the file already (same commit and configuration) is
replaced.
"""

import argparse
import csv
import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "runs.csv"
KEY = ("experiment", "dataset", "n_train", "start", "seed", "direction", "commit", "config")
PATHS = ("data_dir", "test_file", "pretrained", "pretrain_text")
COLUMNS = (
    *KEY[:-1], "n_test", "parameters", "pretrain_steps", "pretrain_tokens", "pretrain_seconds",
    "pretrain_perplexity", "finetune_tokens", "finetune_seconds", "finetune_perplexity", "classify_tokens",
    "classify_seconds", "validation_error", "test_error", "ci95_low", "ci95_high", "forward_error", "backward_error",
    "forward_seconds", "backward_seconds",
    "baseline_error", "seconds", "peak_memory_mb", "python", "numpy", "numba", "blas", "processor", "config",
)  # fmt: skip


def row_of(run, experiment="") -> dict:
    """The row of one run directory. `start` says what the language model grew from: shipped, none, or a text."""
    import yaml  # here alone: the tables, which need this file to read rows, are made without it

    run = Path(run)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    stages = {name: stage or {} for name, stage in metrics["stages"].items()}
    row = {name: metrics.get(name) for name in COLUMNS}
    row |= {name: metrics["versions"].get(name) for name in ("python", "numpy", "numba", "blas", "processor")}
    for stage in ("pretrain", "finetune", "classify"):
        row |= {f"{stage}_tokens": stages[stage].get("tokens"), f"{stage}_seconds": stages[stage].get("seconds")}
    low, high = metrics["test_error_ci95"]
    return row | {
        "experiment": experiment,
        "start": Path(config["pretrained"] or config["pretrain_text"] or "embedded").name,
        "parameters": stages["classify"].get("parameters"),
        "pretrain_steps": stages["pretrain"].get("steps"),
        "pretrain_perplexity": stages["pretrain"].get("perplexity"),
        "finetune_perplexity": stages["finetune"].get("perplexity"),
        "validation_error": stages["classify"].get("validation_error"),
        "ci95_low": low,
        "ci95_high": high,
        **{f"{d}_error": error for d, error in metrics["test_error_by_direction"].items()},
        **{f"{d}_seconds": trained(reports) for d, reports in metrics["directions"].items()},
        "config": json.dumps(config | {name: named(config.get(name)) for name in PATHS}, separators=(",", ":")),
    }


def trained(reports):
    """Seconds of all stages in one direction."""
    return sum(report["seconds"] for report in reports.values() if report)


def named(path):
    """A path of this machine by its last name."""
    return path and Path(path).name


def read_rows() -> list[dict]:
    if not RESULTS.is_file():
        return []
    with open(RESULTS, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def write_rows(rows):
    with open(RESULTS, "w", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="", help="a name for runs that are not of the default recipe")
    parser.add_argument("runs", nargs="+", help="run directories that `ulmfit run` has finished")
    asked = parser.parse_args()
    new = [row_of(run, asked.experiment) for run in asked.runs]
    keys = {tuple(str(row[k]) for k in KEY) for row in new}
    write_rows([row for row in read_rows() if tuple(row[k] for k in KEY) not in keys] + new)
    print(f"{len(new)} rows written to {RESULTS}")


if __name__ == "__main__":
    main()
