"""What the tests of the command line share: a few questions, a tiny recipe, and a way to run a command and hear it."""

import contextlib
import csv
import io
import json
import subprocess
import sys
from typing import NamedTuple

from ulmfit.cli import main

SETTINGS = {
    "size.embedding": 8, "size.hidden": 8, "size.layers": 1, "size.head": 6, "min_freq": 1, "task_min_freq": 1,
    "pretrain.epochs": 1, "finetune.epochs": 1, "classify.epochs": 10, "classify.batch_size": 8, "classify.lr": 0.05,
    "classify.dropouts.head": "[0,0]", "classify.unfreezing": "full",
}  # fmt: skip
STAGES = ("pretrain", "finetune", "classify")


def tiny(*stages):
    """The recipe as options of a command that does these stages; it refuses constants of others."""
    others = {*STAGES} - {*stages} | ({"min_freq"} if "pretrain" not in stages else set())
    names = [name for name in SETTINGS if name.split(".")[0] not in others]
    return [word for name in names for word in ("--set", f"{name}={SETTINGS[name]}")]


TINY = tiny(*STAGES)
CLASSES = {"who": "HUM", "where": "LOC", "what": "ENTY"}
THINGS = ["the poet", "the red river", "John", "a village of", "my", "The Queen", "left", "it"] * 2
QUESTIONS = [
    (f"{word} is {thing} {n} ?", label)
    for n, thing in enumerate(THINGS)
    for word, label in CLASSES.items()
]
TEXT = "Who is the poet ? The river is where the village is .\n\nWhat is it ? It is a red queen , and she left .\n"


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def ulmfit(*arguments, stdin=b"") -> Answer:
    """Run a command in this process; stdin: what standard input holds, as bytes."""
    streams = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8") for data in (stdin, b"", b"")]
    streams[0].buffer.name = "<stdin>"
    before, sys.stdin = sys.stdin, streams[0]
    try:
        with contextlib.redirect_stdout(streams[1]), contextlib.redirect_stderr(streams[2]):
            code = main([str(a) for a in arguments])
    finally:
        sys.stdin = before
    for stream in streams[1:]:
        stream.flush()
    return Answer(code, *(s.buffer.getvalue().decode("utf-8") for s in streams[1:]))


HEARS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def start(*arguments, **options) -> subprocess.Popen:
    """Start a command in a process of its own, which hears Ctrl-C even where the tests run in the background."""
    code = f"{HEARS_CTRL_C}; import sys; from ulmfit.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def succeeds(*arguments, **options) -> Answer:
    answer = ulmfit(*arguments, **options)
    assert (answer.code, answer.err) == (0, ""), answer.err
    return answer


def predict_json(run, *arguments, **options):
    """The answers of `ulmfit predict` as dictionaries."""
    answer = succeeds("predict", *arguments, "--model", run, "--format", "jsonl", **options)
    return [json.loads(line) for line in answer.out.splitlines()]


def is_refused(answer, *parts, code=2):
    """One clear line on standard error that says all the parts, and the right exit code."""
    assert answer.code == code, answer
    assert "Traceback" not in answer.out + answer.err
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1, answer.err
    for part in map(str, parts):
        assert part in answer.err, answer.err


def write_table(path, rows, header=("text", "label")):
    with open(path, "w", encoding="utf-8", newline="") as f:
        csv.writer(f, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


def make_data(folder):
    """A training table, a test table and a text, all tiny -> the folder"""
    write_table(folder / "train.csv", QUESTIONS)
    write_table(folder / "test.csv", [(f"{word} is Mary ?", label) for word, label in CLASSES.items()])
    (folder / "text.txt").write_text(TEXT * 3)
    return folder


def train(data, out, *options):
    """`ulmfit run` on that data."""
    return ulmfit(
        "run", data / "train.csv", "--test-file", data / "test.csv", "--pretrain-text", data / "text.txt",
        "--out", out, *TINY, *options,
    )  # fmt: skip
