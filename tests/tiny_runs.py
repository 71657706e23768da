"""Whole runs of a second on questions about pets, for the tests of experiments: what they are told, what they leave,
and a power failure. The data and a finished run are fixtures in conftest.py."""

import csv
import json
from dataclasses import replace

from tiny import DROPOUTS, SIZE

from ulmfit.config import STAGES, RunConfig
from ulmfit.progress import Silent
from ulmfit.recipes import ClassifierTraining, LMTraining, Recipe

LM = LMTraining(epochs=1, batch_size=2, lr=0.01, bptt=8, dropouts=replace(DROPOUTS, head=(0.0, 0.0)))
RECIPE = Recipe(
    size=SIZE, vocab_size=60, min_freq=1, pretrain=LM, finetune=LM,
    classify=ClassifierTraining(epochs=5, batch_size=8, lr=0.05, dropouts=replace(DROPOUTS, output=0.0)),
)  # fmt: skip
MODELS = ("model.safetensors", "vocab.json")
TIMING = {"seconds", "tokens_per_second", "peak_memory_mb"}


def text(kind, k):
    return f"is {kind}{k} a {'cat' if k % 2 else 'dog'} ?"


def make_pets(folder):
    """A CSV file to train on, one to test with, and a small text -> the folder"""
    for kind, n in (("train", 40), ("test", 10)):
        with open(folder / f"{kind}.csv", "w", newline="") as f:
            rows = [(text(kind, k), "feline" if k % 2 else "canine") for k in range(n)]
            csv.writer(f).writerows([("text", "label"), *rows])
    (folder / "text.txt").write_text("\n\n".join(f"The cat number {k} sat on a mat ." for k in range(20)))
    return folder


def config_for(pets, **changes):
    return RunConfig(**{
        "dataset": str(pets / "train.csv"), "test_file": str(pets / "test.csv"), "seed": 5,
        "stages": STAGES, "pretrained": None, "pretrain_text": str(pets / "text.txt"), "recipe": RECIPE, **changes,
    })  # fmt: skip


def model_bytes(out):
    """Every model and vocabulary that a run has left, by its place."""
    return {str(p.relative_to(out)): p.read_bytes() for name in MODELS for p in out.rglob(name)}


def untimed(metrics):
    """Metrics without what depends on the hour."""
    if isinstance(metrics, dict):
        return {k: untimed(v) for k, v in metrics.items() if k not in TIMING}
    return metrics


def untimed_log(out):
    return [untimed(json.loads(line)) for line in (out / "log.jsonl").read_text().splitlines()]


class Killed(Exception):
    pass


class KilledAt(Silent):
    """The power fails at a step of a stage, or as the stage begins."""

    def __init__(self, stage, step):
        self.where, self.stage, self.starts = (stage, step), None, {}

    def begin(self, stage, n_steps, start, groups, measure):
        self.stage, self.starts[stage] = stage, start
        if self.where == (stage, "begin"):
            raise Killed

    def step(self, log):
        if self.where == (self.stage, log.step):
            raise Killed
