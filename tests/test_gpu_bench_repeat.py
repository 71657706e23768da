"""Kernels that are launched again and again, and what compute-sanitizer has to say."""

import time
from importlib.util import find_spec

import gpu_on_cpu
import pytest

pytestmark = [pytest.mark.torch, pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")]


@pytest.fixture
def check(script, tmp_path, monkeypatch):
    """A function: the name of a stand-in's fault, the text of compute-sanitizer or None -> {what: note}"""
    repeat = script("gpu_repeat")
    monkeypatch.setattr(repeat, "TIMES", 4)
    monkeypatch.setattr(repeat, "SHAPE", {"T": 3, "B": 2, "H": 5, "layers": 1})
    monkeypatch.setattr(repeat, "SECONDS", 3)
    journal = script("gpu_results").Journal(tmp_path / "a.csv", "run")

    def run(fault, sanitizer=None):
        if sanitizer:
            (tmp_path / "compute-sanitizer").write_text(f"#!/bin/sh\n{sanitizer}\n")
            (tmp_path / "compute-sanitizer").chmod(0o755)
        monkeypatch.setattr(repeat.shutil, "which", lambda name: sanitizer and str(tmp_path / name))
        monkeypatch.setattr(repeat, "KERNELS", (fault,))
        with gpu_on_cpu.kernels(fault) as gpu:
            for _ in range(2):  # once is enough
                repeat.check(gpu, journal, time.time() + 60)
        assert journal.was_doing() is None
        rows = [row for row in journal.rows if row["part"] == "check"]
        assert len(rows) == 4
        refused = script("gpu_bench").failed_check(journal, fault, "float32")  # no broken promise is a slight one
        assert (refused is not None) == (fault == "unsteady")
        return {row["kernel_name"]: (row["note"], script("gpu_results").failed(row)) for row in rows}

    return run


def test_who_is_steady_passes_and_a_tool_that_is_not_there_is_no_failure(check):
    notes = check("plain")
    assert notes["repeat"] == ("", False)
    assert notes["memcheck"] == ("refused: compute-sanitizer is not installed", False)


def test_who_is_unsteady_does_not(check):
    note, failed = check("unsteady")["repeat"]
    assert failed and note.startswith("of 4 launches, ") and note.endswith(" arrays have other bits")


@pytest.mark.parametrize("text, said, failed", [
    ("echo 'ERROR SUMMARY: 0 errors'", "", False),
    ("echo 'ERROR SUMMARY: 2 errors'; exit 9", "exit code 9: ERROR SUMMARY: 2 errors", True),
    ("exec sleep 60", "refused: racecheck had not ended when its time was up", False),
])  # fmt: skip
def test_what_a_tool_finds_is_said(text, said, failed, check):
    assert check("plain", text)["racecheck"] == (said, failed)
