"""The part of gpu_check that trains: the three stages run, and a device that computes something else is found out."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from cupy_on_cpu import in_place_of_cupy

import minilstm_kernels
from minilstm import get_num_threads


@pytest.fixture
def train(script, tmp_path):
    """A function: a kind of device -> the rows of the checks"""

    def run(kind, until=float("inf")):
        journal = script("gpu_results").Journal(tmp_path / f"{time.time()}.csv", "run")
        script("gpu_train").train(SimpleNamespace(kind=kind, wait=lambda: None), journal, until)
        assert journal.was_doing() is None and script("gpu_results").planned(journal.rows)[0] == 3
        return [row for row in journal.rows if row["part"] == "check"]

    return run


def plain(monkeypatch):
    """No kernels for a training step on a GPU, and one for the recurrence: they have tests of their own."""
    twin, all_of_them = minilstm_kernels.twin, minilstm_kernels.IMPLEMENTATIONS

    def of_the_cpu(name, device="cpu"):
        if device == "cuda":
            raise ImportError("none here")
        return twin(name, device)

    monkeypatch.setattr(minilstm_kernels, "twin", of_the_cpu)
    some = tuple(k for k in all_of_them if k.device == "cpu" or k.name == "cupy")
    monkeypatch.setattr(minilstm_kernels, "IMPLEMENTATIONS", some)


def test_three_stages_come_to_what_the_cpu_comes_to(train, monkeypatch):
    plain(monkeypatch)
    with in_place_of_cupy():
        rows = train("cuda")
    assert [row["shape"] for row in rows] == ['{"stage": "pretrain"}', '{"stage": "finetune"}', '{"stage": "classify"}']
    assert not any(row["note"] for row in rows) and all(float(row["y_50"]) <= 1 for row in rows)


@pytest.mark.parametrize("what, said", [
    ("loss", "the loss is off by"), ("parameter", "encoder.lstm.weight_hh_l1 is off"), ("nan", "is off by inf"),
])  # fmt: skip
def test_what_trains_to_something_else_does_not_pass(what, said, train, script, monkeypatch):
    module = script("gpu_train")
    right, calls = module.trained, []

    def trained(task, device):
        losses, found = right(task, "cpu")
        calls.append(device)
        if len(calls) % 2 == 0:  # the device's turn
            losses[-1] += 1e-2 * (what == "loss")
            found["encoder.lstm.weight_hh_l1"] += {"parameter": 0.01, "nan": np.nan}.get(what, 0)
        return losses, found

    monkeypatch.setattr(module, "trained", trained)
    rows = train("cpu")
    assert len(rows) == 3 and all(said in row["note"] for row in rows), [row["note"] for row in rows]


def test_a_stage_that_fails_does_not_stop_the_next_one(train, script, monkeypatch):
    module = script("gpu_train")
    right = module.trained

    def trained(task, device):
        if device == "cuda":
            raise RuntimeError("no such launch")
        return right(task, device)

    monkeypatch.setattr(module, "trained", trained)
    assert [row["note"] for row in train("cuda")] == ["RuntimeError: no such launch"] * 3


def test_nothing_is_compiled_for_the_cpu(train, monkeypatch):
    asked = []
    monkeypatch.setattr(minilstm_kernels, "load", lambda name: asked.append(name) or 1 / 0)
    train("cpu")
    assert asked == [] and {k.device for k in minilstm_kernels.IMPLEMENTATIONS} == {"cpu", "cuda"}


def test_when_the_time_is_up_nothing_is_trained(train):
    assert train("cpu", until=time.time() - 1) == []


@pytest.mark.torch
def test_a_step_of_a_language_model_is_timed_on_both_sides(script, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from gpu_on_cpu import kernels, small

    lm, targets = script("gpu_lm"), script("gpu_targets")
    for name, value in small()["gpu_lm"].items():
        monkeypatch.setattr(lm, name, value)
    journal = script("gpu_results").Journal(tmp_path / "a.csv", "run")
    threads = get_num_threads()
    with kernels("plain") as gpu:
        gpu.kind = "cpu"  # on which ulmfit has no other kernels then
        for _ in range(2):  # once is enough
            lm.language_model(gpu, journal)
    assert [(row["provider"], row["metric"], row["note"], row["n"]) for row in journal.rows] == [
        ("ulmfit", "tokens/s", "", "2"), ("torch", "tokens/s", "", "2")]  # fmt: skip
    assert get_num_threads() == threads
    ours, theirs = (float(row["y_50"]) for row in journal.rows)
    assert targets.of_language_model(journal.rows)[0] == pytest.approx(theirs / ours, rel=1e-4)
