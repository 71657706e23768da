"""The README's tables are what the results files say, and a finished run becomes a row of them."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(script, *args, root=ROOT):
    return subprocess.run([sys.executable, root / "benchmarks" / script, *args], capture_output=True, text=True)


def copy_of_benchmarks(tmp_path):
    """The scripts in a place where they may write."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for script in ("report.py", "collect_runs.py"):
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
        "dataset": "trec6", "seed": seed, "direction": "forward", "n_train": 4907, "n_test": 500,
        "test_error": error, "test_error_ci95": [error - 2, error + 2.5], "baseline_error": 9.2, "seconds": 240.0,
        "stages": {
            "pretrain": stage | {"perplexity": 60.0},
            "finetune": stage | {"perplexity": 30.0},
            "classify": stage | {"validation_error": 10.0, "parameters": 1234},
        },
        "versions": {"python": "3.11.7", "numpy": "2.4.6", "numba": None, "platform": "Linux", "processor": "A"},
        "commit": "0123456789abcdef",
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text("pretrain_text: /somewhere/corpus.tar.gz\nrecipe: {vocab_size: 10}\n")
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
        rows = list(csv.DictReader(f))
    assert [(r["seed"], r["test_error"], r["parameters"]) for r in rows] == [("1", "7.0", "1234"), ("2", "9.0", "1234")]
    assert "somewhere" not in str(rows), "a path of this machine does not belong into the results"
    assert run("report.py", "--check", root=root).returncode == 1
    assert run("report.py", root=root).returncode == 0
    assert run("report.py", "--check", root=root).returncode == 0
    table = re.search(r"<!-- trec6 -->(.*)<!-- /trec6 -->", (root / "README.md").read_text(), re.DOTALL)[1]
    assert "| 1 | 7.0 (5.0 to 9.5) | 9.2 | 10.0 | 60.0, 30.0 | 4 min |" in table
    assert "**8.00 ± 1.41**" in table


def test_a_readme_without_markers_is_refused(tmp_path):
    root = copy_of_benchmarks(tmp_path)
    (root / "README.md").write_text("nothing to fill in")
    result = run("report.py", root=root)
    assert result.returncode == 1 and "no markers" in result.stderr
