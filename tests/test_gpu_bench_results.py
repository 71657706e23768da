"""What gpu_check writes down survives whatever ends the process; and in what order and until when it measures."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ABOUT = {"kernel_name": "lstm", "precision": "float32", "mode": "full", "shape": {"B": 1}}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
def results(script):
    return script("gpu_results")


# --- rows


def test_a_row_has_the_median_and_the_percentiles_of_its_samples(results):
    values = [5.0, 1.0, 2.0, 3.0, 4.0, 100.0]
    row = results.row("bench", provider="torch", metric="milliseconds", values=values, **ABOUT)
    assert (row["y_50"], row["n"], row["shape"]) == ("3.5", "6", '{"B": 1}')
    assert [float(row[y]) for y in ("y_20", "y_80")] == [np.quantile(values, q) for q in (0.2, 0.8)]
    assert {*row, "run", "timestamp"} == set(results.COLUMNS)


def test_without_samples_there_are_no_numbers_but_a_reason_on_one_line(results):
    row = results.row("bench", provider="torch", note="out of\n  memory " + "x" * 9000, **ABOUT)
    assert row["y_50"] == row["y_20"] == row["y_80"] == "" and row["n"] == "0"
    assert row["note"].startswith("out of memory x") and len(row["note"]) == 2000


@pytest.mark.parametrize("gpu, name", [
    ("NVIDIA H200", "nvidia-h200.csv"), ("Tesla V100-SXM2 (16GB)", "tesla-v100-sxm2-16gb.csv"),
])  # fmt: skip
def test_a_file_is_named_after_its_gpu(gpu, name, results):
    assert results.file_name(gpu) == name


# --- the file


@given(notes=st.lists(texts, min_size=1, max_size=4), cut=st.integers(0, 10**6))
def test_a_file_that_was_cut_off_anywhere_keeps_its_whole_rows_and_is_added_to(notes, cut, tmp_path_factory):
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(BENCHMARKS)
        import gpu_results as results
    path = tmp_path_factory.mktemp("journal") / "a.csv"
    for note in notes:
        results.Journal(path, "one").write([results.row("bench", provider="a, \"b\"", note=note, **ABOUT)])
    whole = path.read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    path.write_bytes(kept)
    rows = results.read(path)
    assert len(rows) == max(kept.count(b"\n") - 1, 0)
    assert [row["note"] for row in rows] == [" ".join(note.split()) for note in notes][: len(rows)]
    results.Journal(path, "two").write([results.row("bench", provider="after", note="it", **ABOUT)])
    assert [row["run"] for row in results.read(path)] == ["one"] * len(rows) + ["two"]


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[1]]
from gpu_results import Journal, row
journal = Journal(sys.argv[2], "r")
for n in range(5):
    with journal.doing(provider=f"p{n}", kernel_name="lstm"):
        if n == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        journal.write([row("bench", "lstm", f"p{n}", values=[n])])
"""


def test_what_was_measured_before_a_kill_is_there_and_what_was_going_on_is_known(results, tmp_path):
    path = tmp_path / "a.csv"
    done = subprocess.run([sys.executable, "-c", KILLED, str(BENCHMARKS), str(path)])
    assert done.returncode == -9
    assert [row["provider"] for row in results.read(path)] == ["p0", "p1", "p2"]
    was = results.Journal(path).was_doing()
    assert (was["provider"], was["kernel_name"]) == ("p3", "lstm")


def test_rows_are_on_the_disk_when_write_returns(results, tmp_path, monkeypatch):
    synced, journal = [], results.Journal(tmp_path / "a.csv")
    monkeypatch.setattr(results.os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").resolve()))
    journal.write([results.row("bench", provider="a", **ABOUT)])
    journal.write([results.row("bench", provider="b", **ABOUT)])
    assert synced == [journal.path.resolve()] * 2


def test_the_note_is_gone_after_the_work_and_stays_when_it_fails(results, tmp_path):
    journal = results.Journal(tmp_path / "a.csv")
    with journal.doing(provider="a"):
        assert journal.was_doing()["provider"] == "a"
        journal.beat(provider="b")
        assert journal.was_doing()["provider"] == "b"
    assert journal.was_doing() is None
    with pytest.raises(SystemExit), journal.doing(provider="c"):
        raise SystemExit
    assert journal.was_doing()["provider"] == "c"


def test_who_was_left_out_of_a_cell_stays_out_and_who_crashed_twice_out_of_all(results, tmp_path):
    journal, other = results.Journal(tmp_path / "a.csv"), {**ABOUT, "shape": {"B": 2}}
    journal.write([results.row("bench", provider="a", note="no memory", **ABOUT)])
    journal.write([results.row("bench", provider="b", note="its process ended (exit code 9)", **ABOUT)])
    assert journal.refusal("a", **ABOUT) == "no memory" and journal.refusal("a", **other) is None
    assert journal.refusal("b", **ABOUT).startswith("its process") and journal.refusal("b", **other) is None
    journal.write([results.row("bench", provider="b", note="its process was silent", **{**ABOUT, "mode": "inference"})])
    assert journal.refusal("b", **other) == "left out after 2 crashes: its process was silent"
    assert journal.refusal("c", **ABOUT) is None
    assert results.Journal(journal.path).refusal("b", **other) == journal.refusal("b", **other)


def test_what_was_measured_is_known_by_all_that_it_is(results, tmp_path):
    journal = results.Journal(tmp_path / "a.csv")
    journal.write([results.row("bench", provider="a", values=[1.0], note="slow", **ABOUT)])
    assert journal.measured(**ABOUT) and journal.measured(**ABOUT, provider="a")
    assert not journal.measured(**ABOUT, provider="b") and journal.refusal("a", **ABOUT) is None
    for name, value in (("kernel_name", "x"), ("precision", "tf32"), ("mode", "inference"), ("shape", {"B": 2})):
        assert not journal.measured(**{**ABOUT, name: value})


# --- order and time


def test_every_cell_comes_once_and_the_first_is_the_most_important(script):
    cells = script("gpu_cells")
    found = cells.cells()
    assert len(found) == len(set(found)) == 4 * 2 * 5 * 4
    assert found[0] == (1, 64, 512, "float32", 70)
    assert set(found) == {(*choice, 70) for choice in product((1, 3), (1, 16, 32, 64, 128), (256, 400, 512, 1150),
                                                              ("float32", "tf32", "float16", "bfloat16"))}  # fmt: skip


def test_no_cell_comes_before_one_that_is_more_important_in_every_respect(script):
    cells = script("gpu_cells")
    axes = (cells.LAYERS, cells.BATCHES, cells.HIDDEN, cells.PRECISIONS)
    ranks = np.array([[list(axis).index(value) for axis, value in zip(axes, cell[:4], strict=True)]
                      for cell in cells.cells()])  # fmt: skip
    later_is_better = (ranks[None] <= ranks[:, None]).all(2) & (ranks[None] != ranks[:, None]).any(2)
    assert not np.triu(later_is_better, 1).any()


def test_whenever_the_time_is_up_there_is_something_of_everything(script):
    cells = script("gpu_cells")
    first = cells.cells()[:40]
    for n, axis in enumerate((cells.LAYERS, cells.BATCHES, cells.HIDDEN, cells.PRECISIONS)):
        assert {cell[n] for cell in first} == set(axis)


@given(parts=st.lists(st.sampled_from(["check", "micro", "tests", "bench"]), min_size=1, unique=True),
       seconds=st.floats(1, 1e4), began=st.floats(0, 2e9))  # fmt: skip
def test_parts_share_the_time_and_the_last_ends_with_it(parts, seconds, began):
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(BENCHMARKS)
        from gpu_cells import SHARES, deadlines
    until = deadlines(parts, seconds, began)
    lengths = np.diff([began, *until.values()])
    assert list(until) == parts and until[parts[-1]] == pytest.approx(began + seconds)
    assert lengths / seconds == pytest.approx([SHARES[p] / sum(SHARES[q] for q in parts) for p in parts], abs=1e-3)


def test_all_shares_are_the_whole(script):
    assert sum(script("gpu_cells").SHARES.values()) == pytest.approx(1)


def test_a_shape_is_written_as_it_is_read(script):
    cell = script("gpu_cells").cells()[0]
    assert json.loads(json.dumps(cell.shape)) == {"T": 70, "B": 64, "H": 512, "layers": 1}
