"""What a result came from is written down: code, packages, machine, BLAS and data."""

import subprocess

import numpy as np
import pytest

from ulmfit import provenance
from ulmfit.provenance import blas, commit, fingerprint, versions


def test_versions_name_what_bears_on_a_result(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    found = versions()
    assert found["numpy"] == np.__version__ and "cores" in found["processor"]
    assert found["blas"] == blas() and "OPENBLAS_NUM_THREADS=7" in found["blas"]


def test_cupy_is_found_under_any_of_its_names(monkeypatch):
    monkeypatch.setattr(provenance, "_version", lambda package: "14.2" if package == "cupy-cuda12x" else None)
    assert versions()["cupy"] == "14.2"


def test_a_fingerprint_is_of_the_contents():
    a = np.arange(3)
    assert fingerprint(["x", "y"], a) == fingerprint(["x", "y"], a.copy())
    assert len({fingerprint(["x", "y"], a), fingerprint(["x", "z"], a), fingerprint(["x", "y"], a + 1)}) == 3


@pytest.mark.parametrize("top, expected", [("/somewhere/else", None), (None, "abc")], ids=["another's", "ours"])
def test_the_commit_is_of_our_own_repository(top, expected, monkeypatch):
    from pathlib import Path

    root = Path(provenance.__file__).resolve().parents[1]
    answers = {"--show-toplevel": top or str(root), "HEAD": "abc", "--untracked-files=no": ""}

    def git(command, **_):
        return subprocess.CompletedProcess(command, 0, stdout=answers[command[-1]] + "\n")

    monkeypatch.setattr(provenance.subprocess, "run", git)
    assert commit() == expected
