"""The README's tables are what the results files say, and a finished run becomes a row of them."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef"


def run(script, *args, root=ROOT):
    return subprocess.run([sys.executable, root / "benchmarks" / script, *args], capture_output=True, text=True)


def copy_of_benchmarks(tmp_path):
    """The scripts in a place where they may write."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for script in ("report.py", "tables.py", "collect_runs.py", "results/trec6_rivals.csv", "results/choices.csv"):
        (tmp_path / "benchmarks" / script).write_text((ROOT / "benchmarks" / script).read_text())
    (tmp_path / "kernels").mkdir()
    for readme in ("README.md", "kernels/README.md"):
        (tmp_path / readme).write_text((ROOT / readme).read_text())
    return tmp_path


def finished_run(folder, seed, error):
    """What the scripts read of a run directory."""
    folder.mkdir()
    stage = {"seconds": 60.0, "steps": 10, "tokens": 1000, "tokens_per_second": 16.7}
    metrics = {
        "dataset": "trec6", "seed": seed, "direction": "both", "n_train": 4907, "n_test": 500,
        "test_error": error, "test_error_ci95": [error - 2, error + 2.5], "baseline_error": 9.2, "seconds": 240.0,
        "test_error_by_direction": {"forward": error + 1, "backward": error + 2}, "peak_memory_mb": 700.0,
        "stages": {
            "pretrain": None,
            "finetune": stage | {"perplexity": 30.0},
            "classify": stage | {"validation_error": 10.0, "parameters": 1234},
        },
        "versions": {"python": "3.11.7", "numpy": "2.4.6", "numba": None, "blas": "B", "processor": "A"},
        "directions": {"forward": {"pretrain": None, "classify": stage}, "backward": {"classify": stage}},
        "commit": COMMIT,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text("pretrained: /somewhere/shipped\nrecipe: {vocab_size: 10}\n")
    return folder


def test_readme_is_what_the_results_say():
    result = run("report.py", "--check")
    assert result.returncode == 0, result.stderr


def test_runs_become_rows_and_rows_a_table(tmp_path):
    root = copy_of_benchmarks(tmp_path)
    runs = [finished_run(tmp_path / f"run{seed}", seed, error) for seed, error in ((1, 7.0), (2, 9.0))]
    for _ in range(2):  # the second time they are replaced, not added
        assert run("collect_runs.py", *runs, root=root).returncode == 0
    with open(root / "benchmarks" / "results" / "runs.csv", newline="") as f:
        rows = [row for row in csv.DictReader(f) if row["commit"] == COMMIT]
    assert [(r["seed"], r["test_error"], r["parameters"]) for r in rows] == [("1", "7.0", "1234"), ("2", "9.0", "1234")]
    assert "somewhere" not in str(rows), "a path of this machine does not belong into the results"
    assert run("report.py", "--check", root=root).returncode == 1
    assert run("report.py", root=root).returncode == 0
    assert run("report.py", "--check", root=root).returncode == 0
    readme = (root / "README.md").read_text()
    seeds = re.search(r"<!-- seeds -->(.*)<!-- /seeds -->", readme, re.DOTALL)[1]
    assert "| 1 | 7.0 | 8.0 | 9.0 | 9.2 | 10.0 | 30.0 | 60 s; 4 min |" in seeds
    assert "| **mean of 2** | 8.00 ± 1.41 | 9.00 ± 1.41 | 10.00 ± 1.41 |" in seeds
    everybody = re.search(r"<!-- trec6 -->(.*)<!-- /trec6 -->", readme, re.DOTALL)[1]
    assert "| **ULMFiT here, both directions** | 8.00 ± 1.41 | 5.9 to 10.7 | here, 2 seeds |" in everybody
    errors = [float(re.match(r"[\d.]+", line.split("|")[2].strip())[0]) for line in everybody.split("\n")[3:-1]]
    assert errors == sorted(errors) and len(errors) > 10


def test_a_readme_without_markers_is_refused(tmp_path):
    root = copy_of_benchmarks(tmp_path)
    (root / "README.md").write_text("nothing to fill in")
    result = run("report.py", root=root)
    assert result.returncode == 1 and "no markers" in result.stderr
