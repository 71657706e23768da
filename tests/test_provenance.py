"""What a result came from is written down: code, packages, machine, BLAS and data."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from minilstm import LSTM, num_threads
from ulmfit import provenance
from ulmfit.provenance import blas, commit, fingerprint, versions


def test_versions_name_what_bears_on_a_result(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    with num_threads(3):
        found = versions()
    layer = LSTM(2, 2, rng=np.random.default_rng(0))
    _, _, cache = layer.forward(np.zeros((1, 1, 2), np.float32))
    assert (found["kernel"], found["threads"]) == (cache.recurrence.name, 3)
    assert found["numpy"] == np.__version__ and "cores" in found["processor"]
    assert found["blas"] == blas() and "OPENBLAS_NUM_THREADS=7" in found["blas"]


def test_cupy_is_found_under_any_of_its_names(monkeypatch):
    monkeypatch.setattr(provenance, "version", lambda package: "14.2" if package == "cupy-cuda12x" else None)
    assert versions()["cupy"] == "14.2"


def test_peak_memory_is_that_of_this_process_in_millions_of_bytes():
    """A new process begins, on Linux, with the peak of the one that made it: what it holds must be more than that."""
    code = "before = peak_memory(); much = b'x' * int((before + 100) * 1e6); print(peak_memory() - before)"
    command = [sys.executable, "-c", f"from ulmfit.provenance import peak_memory; {code}"]
    rise = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 100 <= rise < 160  # and the interpreter's own


def test_a_fingerprint_is_of_the_contents():
    a = np.arange(3)
    assert fingerprint(["x", "y"], a) == fingerprint(["x", "y"], a.copy())
    assert len({fingerprint(["x", "y"], a), fingerprint(["x", "z"], a), fingerprint(["x", "y"], a + 1)}) == 3


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository of a few files, the code under test among them, and a function that asks git."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*args):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@example.com", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    for name in ("ulmfit/provenance.py", "kernels/cpu.py", "README.md", "benchmarks/results/lstm.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").write_text("build/\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "ulmfit" / "provenance.py"))
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "x")
    return tmp_path, git


@pytest.mark.parametrize("file, changed", [
    (None, False), ("README.md", True), ("kernels/cpu.py", True),
    ("kernels/new.py", True), ("ulmfit/commands/new.py", True), ("minilstm/new.py", True),
    ("notes.txt", False), ("ulmfit/notes.txt", False), ("tests/new.py", False), ("ulmfit/build/new.py", False),
    ("benchmarks/results/lstm.csv", False),
])  # fmt: skip
def test_a_commit_is_marked_where_the_code_has_changed_since(file, changed, checkout):
    """A module that git has not been told of is code as well."""
    root, git = checkout
    if file is not None:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("something new")
    assert commit() == git("rev-parse", "HEAD") + ("-changed" if changed else "")


def test_the_commit_is_of_our_own_repository(checkout, monkeypatch):
    root, _ = checkout
    monkeypatch.setattr(provenance, "__file__", str(root / "env" / "ulmfit" / "provenance.py"))
    (root / "env" / "ulmfit").mkdir(parents=True)
    assert commit() is None
