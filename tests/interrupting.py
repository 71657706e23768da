"""Whole runs in processes of their own that are stopped by signals, wherever they are, and what must come of it.

`survive` is one such life: so many deaths at random moments, and then the end. Longer tortures are made of the same.
"""

import json
import signal
import subprocess
import sys
import time

from cli_helpers import HEARS_CTRL_C, TINY
from tiny_runs import model_bytes, untimed, untimed_log

from ulmfit.saving import is_left_over

PATIENCE = 60  # seconds that a process may take for anything
PROGRAM = """if True:
    import sys
    {signals}
    for name in ("sklearn.svm", "matplotlib.figure"):
        sys.modules[name] = None        # a run ends without them, and they take a second to load
    from ulmfit import pipeline
    pipeline.CHECKPOINT_SECONDS = float(sys.argv[1])
    {more}
    from ulmfit.cli import main
    sys.exit(main(sys.argv[2:]))
"""


def command_for(data, *options):
    """`ulmfit run` in three stages on cli_helpers' data, but for --out: some 230 steps."""
    files = [data / "train.csv", "--test-file", data / "test.csv", "--pretrain-text", data / "text.txt"]
    return ["run", *files, *TINY, "--set", "classify.epochs=30", *options]


def begin(arguments, out, *, seconds=-1, more="pass") -> subprocess.Popen:
    """Start or resume a run: a checkpoint after every step, or every so many seconds; more: a statement before it."""
    going_on = (out / "config.yaml").is_file()  # until then nothing has been done
    arguments = ["run", "--resume"] if going_on else arguments
    program = PROGRAM.format(signals=HEARS_CTRL_C, more=more)
    command = [sys.executable, "-c", program, str(seconds), *map(str, arguments), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(arguments, out, **how) -> str:
    """Let a run come to its end -> what it said"""
    process = begin(arguments, out, **how)
    said, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, ""), errors
    return said


def logged(out, stage="") -> int:
    """How many steps of the stages of this name, or of all, are in the log just now."""
    try:
        return (out / "log.jsonl").read_text().count(f'"stage": "{stage}')
    except FileNotFoundError:
        return 0


def wait_until(process, happened, every=0.001):
    """Look every so many seconds -> whether it has happened before the process ended"""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(every)
    return True


def survive(arguments, out, rng, kills, n_steps) -> int:
    """A run that is killed (SIGKILL) so many times, each time when it has come to a random one of its `n_steps` steps
    and a little further, and that then comes to its end -> how often it was really killed before that"""
    done = 0
    for _ in range(kills):
        process = begin(arguments, out)
        at = rng.integers(n_steps + 1)
        wait_until(process, lambda at=at: logged(out) >= at)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += process.returncode == -signal.SIGKILL
    finish(arguments, out)
    return done


def outcome(out) -> dict:
    """All that a run leaves, but for what depends on the hour and on the state of this checkout."""
    metrics = json.loads((out / "metrics.json").read_text())
    metrics.pop("commit")
    files = {name: (out / name).read_bytes() for name in ("config.yaml", "predictions.jsonl")}
    return {**files, "models": model_bytes(out), "log": untimed_log(out), "metrics": untimed(metrics)}


def litter(out) -> list:
    """What a complete run should not leave."""
    return [p for p in out.rglob("*") if is_left_over(p) or p.name in (".lock", "checkpoints")]
