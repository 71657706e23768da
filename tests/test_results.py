"""The README's tables are what the results files say, and a finished run becomes a row of them."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ulmfit.config import RunConfig
from ulmfit.config_files import change_recipe, from_plain
from ulmfit.metrics import wilson_interval
from ulmfit.recipes import LAPTOP, QUICKSTART, Recipe

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef"


def run(script, *args, root=ROOT):
    return subprocess.run([sys.executable, root / "benchmarks" / script, *args], capture_output=True, text=True)


def copy_of_benchmarks(tmp_path):
    """The scripts in a place where they may write."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    scripts = [path.name for path in (ROOT / "benchmarks").glob("*.py")]
    for script in (*scripts, "results/trec6_rivals.csv", "results/choices.csv"):
        (tmp_path / "benchmarks" / script).write_text((ROOT / "benchmarks" / script).read_text())
    (tmp_path / "kernels").mkdir()
    for readme in ("README.md", "benchmarks/README.md", "kernels/README.md"):
        (tmp_path / readme).write_text((ROOT / readme).read_text())
    return tmp_path


def finished_run(folder, seed, error, commit=COMMIT):
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
        "directions": {
            "forward": {"pretrain": None, "finetune": stage | {"seconds": 20.0}, "classify": stage},
            "backward": {"classify": stage},
        },
        "commit": commit,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text("pretrained: /somewhere/shipped\nrecipe: {vocab_size: 10}\n")
    return folder


def test_readme_is_what_the_results_say():
    result = run("report.py", "--check")
    assert result.returncode == 0, result.stderr


def test_runs_become_rows_and_rows_a_table(tmp_path):
    root = copy_of_benchmarks(tmp_path)
    runs = [finished_run(tmp_path / "old", 3, 50.0, commit="earlier")]
    runs += [finished_run(tmp_path / f"run{seed}", seed, error) for seed, error in ((1, 7.0), (2, 9.0))]
    for _ in range(2):  # the second time they are replaced, not added
        assert run("collect_runs.py", *runs, root=root).returncode == 0
    with open(root / "benchmarks" / "results" / "runs.csv", newline="") as f:
        rows = [row for row in csv.DictReader(f) if row["commit"] == COMMIT]
    assert [(r["seed"], r["test_error"], r["parameters"]) for r in rows] == [("1", "7.0", "1234"), ("2", "9.0", "1234")]
    assert "somewhere" not in str(rows), "a path of this machine does not belong into the results"
    assert run("report.py", "--check", root=root).returncode == 1
    assert run("report.py", root=root).returncode == 0
    assert run("report.py", "--check", root=root).returncode == 0
    readme, more = ((root / name).read_text() for name in ("README.md", "benchmarks/README.md"))
    seeds = re.search(r"<!-- seeds -->(.*)<!-- /seeds -->", more, re.DOTALL)[1]
    assert "| 1 | 7.0 | 8.0 | 9.0 | 9.2 | 10.0 | 30.0 | 80 s; 4 min |" in seeds
    assert "commit 0123456789." in seeds and "| **mean of 2** | 8.00 ± 1.41 | 9.00 ± 1.41 | 10.00 ± 1.41 |" in seeds
    everybody = re.search(r"<!-- trec6 -->(.*)<!-- /trec6 -->", readme, re.DOTALL)[1]
    assert "| **ULMFiT here, both directions** | 8.00 ± 1.41 | 5.9 to 10.7 | here, 2 seeds |" in everybody
    errors = [float(re.match(r"[\d.]+", line.split("|")[2].strip())[0]) for line in everybody.split("\n")[3:-1]]
    assert errors == sorted(errors) and len(errors) > 10


def test_a_readme_without_markers_is_refused(tmp_path):
    root = copy_of_benchmarks(tmp_path)
    (root / "README.md").write_text("nothing to fill in")
    result = run("report.py", root=root)
    assert result.returncode == 1 and "no markers" in result.stderr


def row(commit="b", *, n_train="10", words=5, **other):
    config = json.dumps({"recipe": {"vocab_size": words}})
    return {"dataset": "d", "experiment": "", "commit": commit, "n_train": n_train, "config": config, **other}


@pytest.mark.parametrize("older", [row("a"), row("b-changed"), row(n_train="11"), row(words=6)])
def test_a_table_is_of_one_measurement_and_that_is_the_last(older, script, monkeypatch):
    """Rows of another commit, of other data or of another recipe are no further seeds of it."""
    tables, others = script("tables"), [row(dataset="e"), row(experiment="x"), row(start="none")]
    rows = [row(start="shipped", seed="1"), row(start="shipped", seed="2")]
    monkeypatch.setattr(tables, "read_rows", lambda: [{**older, "start": "shipped"}, *rows, *others])
    assert tables.chosen("d", start="shipped") == rows
    assert tables.chosen("d", start="elsewhere") == []


def test_intervals_are_those_of_as_many_test_texts_as_there_were(script, monkeypatch):
    tables, errors = script("tables"), ("test_error", "forward_error", "backward_error", "baseline_error")
    of_50 = row(dataset="trec6", start="shipped", direction="both", n_test="50", **dict.fromkeys(errors, "4.0"))
    monkeypatch.setattr(tables, "read_rows", lambda: [of_50])
    low, high = wilson_interval(4.0, 50)
    lines = tables.trec6_table().splitlines()
    assert sum(f"| {low:.1f} to {high:.1f} |" in line for line in lines) == 4
    (cove,) = (line for line in lines if line.startswith("| CoVe"))
    low, high = wilson_interval(4.2, 50)  # on the same texts
    assert f"| {low:.1f} to {high:.1f} |" in cove


@pytest.mark.parametrize("commit, shown", [
    ("6b7873de488771c27229b92997985d15225c6014", "6b7873de48"), ("", ""),
    ("6b7873de488771c27229b92997985d15225c6014-changed", "6b7873de48-changed"),
])  # fmt: skip
def test_a_short_commit_still_says_that_the_code_was_changed(commit, shown, script):
    assert script("tables").short(commit) == shown


# --- the configurations in the results


def test_every_row_has_a_configuration_that_this_version_reads(script):
    rows = script("collect_runs").read_rows()
    for r in rows:
        config = from_plain(RunConfig, json.loads(r["config"]))
        assert (config.dataset, str(config.seed), config.direction) == (r["dataset"], r["seed"], r["direction"])
    assert len(rows) > 10


@pytest.mark.parametrize("dataset, start, recipe", [
    ("trec6", "shipped", LAPTOP), ("trec6", "none", LAPTOP),
    ("questions", "shipped", QUICKSTART), ("questions", "none", QUICKSTART),
])  # fmt: skip
def test_the_readmes_numbers_are_those_of_todays_recipe(dataset, start, recipe, script):
    """Whoever changes a default recipe has to measure anew."""
    rows = script("tables").chosen(dataset, start=start)
    assert rows or (dataset, start) == ("trec6", "none")  # which is in the table once it has been measured
    for r in rows:
        assert from_plain(RunConfig, json.loads(r["config"])).recipe == recipe


def test_choices_are_variants_of_todays_recipe(script):
    choices = script("bench_choices")
    for r in choices.read_rows():
        if r.get("config"):
            made = from_plain(Recipe, json.loads(r["config"]))
            assert made == change_recipe(LAPTOP, choices.VARIANTS[r["variant"]]), r["variant"]


def test_a_choice_is_written_with_its_recipe_and_one_without_is_kept(script, tmp_path, monkeypatch):
    """What was measured before there was the column config has none."""
    choices, variant = script("bench_choices"), "15 epochs of classifier"
    dataset = SimpleNamespace(corpus=[], valid=SimpleNamespace(texts=[]))
    monkeypatch.setattr("ulmfit.datasets.load_dataset", lambda name, data_dir, seed: dataset)
    monkeypatch.setattr("ulmfit.pipeline.finetune", lambda *_, **__: (None, None, {"perplexity": 30.0}))
    monkeypatch.setattr("ulmfit.pipeline.classify", lambda *_: (None, None, {"validation_error": 9.5}))
    monkeypatch.setattr(choices, "RESULTS", tmp_path / "choices.csv")
    old = {name: name for name in choices.COLUMNS[:-1]}
    choices.write_rows([old, *choices.measure([variant], 2, "folder")])
    without, new = choices.read_rows()
    assert without == old | {"config": ""}
    assert (new["variant"], new["seed"], new["validation_error"]) == (variant, "2", "9.5")
    assert from_plain(Recipe, json.loads(new["config"])) == change_recipe(LAPTOP, ["classify.epochs=15"])
