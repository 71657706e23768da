"""What .ci/run asks of the quickstart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci"


def check(out):
    return subprocess.run([sys.executable, CI / "check_quickstart.py", out], capture_output=True, text=True)


def metrics(folder, **numbers):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(numbers))


@pytest.mark.parametrize("ours, baseline, scratch, good", [
    (13.3, 19.6, 27.9, True), (19.6, 19.6, 27.9, False), (20.0, 19.6, 27.9, False), (13.3, 19.6, 13.3, False),
    (13.3, 19.6, 9.0, False), (13.3, None, 27.9, False),
])  # fmt: skip
def test_quickstart_must_beat_the_baseline_and_itself_from_random_weights(ours, baseline, scratch, good, tmp_path):
    metrics(tmp_path, test_error=ours, baseline_error=baseline)
    metrics(tmp_path / "without", test_error=scratch, baseline_error=50.0)
    done = check(tmp_path)
    assert done.returncode == (0 if good else 1)
    said = f"test error {ours}, TF-IDF + linear SVM {baseline}, random weights {scratch}\n"
    assert done.stdout + done.stderr == (said if good else f"quickstart must beat the others: {said}")


def test_a_quickstart_that_has_not_finished_is_none(tmp_path):
    metrics(tmp_path, test_error=1.0, baseline_error=2.0)
    done = check(tmp_path)
    missing = tmp_path / "without" / "metrics.json"
    assert (done.returncode, done.stderr) == (1, f"quickstart has not finished: {missing} is missing\n")


def test_ci_asks_for_it_where_the_quickstart_was_run():
    lines = (CI / "run").read_text().splitlines()
    n = lines.index('step make quickstart ARGS="--out $out/quickstart"')
    assert lines[n + 1] == 'step .venv/bin/python .ci/check_quickstart.py "$out/quickstart"'
