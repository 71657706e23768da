"""The short form of `make torture`; that its judges would see a broken promise; and what becomes of its numbers."""

import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import Answer
from torture import damages, dying, full_disk, inputs, kills
from torture.promises import COLUMNS, Number, keep, none_of, promise, rows

from minilstm import load_arrays, save_arrays
from ulmfit.errors import InputError

RUN = Path(__file__).parent / "torture" / "run.py"


@pytest.mark.parametrize("test", ["kills", "damages", "full_disk", "strangers"])
def test_the_short_form_keeps_all_promises(test):
    """The bad inputs are tested one by one elsewhere."""
    command = [sys.executable, RUN, "--short", "--only", test, "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "BROKEN" not in done.stdout, done.stdout + done.stderr
    assert "seed 5" in done.stdout and done.stdout.count("(promised: ") > 3


# --- the judges


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return damages.Trained(damages.classifier_task, tmp_path_factory.mktemp("damages"))


def newest(trained):
    return damages.path_of(trained.folder, damages.NEWEST)


def change(path, key, value):
    """A checkpoint whose checksum is right and whose contents are not."""
    arrays, metadata = load_arrays(path)
    name = next(iter(arrays))
    if key is None:
        save_arrays(path, arrays | {name: arrays[name] + 1}, metadata)
    else:
        save_arrays(path, arrays, metadata | {key: value})


@pytest.mark.parametrize("key, value, verdict", [
    (None, None, "silent"), ("totals", '{"n": 7}', "silent"), ("step", "5", "before"), ("step", "x", "before"),
    ("origin", "x", "error"),
])  # fmt: skip
def test_the_judge_of_damages_sees_what_was_not_saved(key, value, verdict, trained):
    trained.put_back()
    change(newest(trained), key, value)
    assert damages.judge(trained, "changed") == verdict


@pytest.mark.parametrize("said, verdict", [
    ("", "noisy"), ("warning: {0}: x\nwarning: {0}: x\n", "noisy"), ("warning: another: x\n", "noisy"),
    ("warning: {0}: x\n", "before"), (InputError("{0}: x"), "error"), (InputError("x"), "raw"), (KeyError("x"), "raw"),
])  # fmt: skip
def test_the_judge_of_damages_hears_what_is_said(said, verdict, trained, monkeypatch):
    def go_on():
        if isinstance(said, Exception):
            raise type(said)(str(said.args[0]).format(newest(trained)))
        return damages.BEFORE, True, said.format(newest(trained)).splitlines()

    monkeypatch.setattr(trained, "go_on", go_on)
    assert damages.judge(trained, "one bit") == verdict


def test_a_file_that_is_half_there_is_seen(tiny_run, tmp_path):
    whole = {p.relative_to(tiny_run): p.read_bytes() for p in tiny_run.rglob("*") if p.is_file()}
    assert kills.unreadable(tiny_run) == [] and len(whole) > 6
    for name, content in whole.items():
        (copy := tmp_path / name.name).write_bytes(content[: len(content) // 2])
        log = name.name == "log.jsonl"  # whose last line may be cut off
        assert kills.unreadable(tmp_path) == ([] if log else [copy]), name
        copy.unlink()
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n{"b\n{"c": 2}\n')
    assert kills.unreadable(tmp_path) == [tmp_path / "log.jsonl"]


@pytest.mark.parametrize("answer, fault", [
    ((2, "error: t.csv: name it\n"), None), ((2, "error: t.csv: x\n"), "unclear"),
    ((1, "error: t.csv: name it\n"), "unclear"), ((2, "error: t.csv: name it\nmore\n"), "unclear"),
    ((0, ""), "accepted"), ((1, "Traceback (most"), "traceback"), ((1, "error: internal error (K)\n"), "traceback"),
])  # fmt: skip
def test_the_judge_of_answers(answer, fault, monkeypatch):
    code, err = answer
    monkeypatch.setattr(inputs, "ulmfit", lambda *_, **__: Answer(code, "", err))
    found = inputs.on_the_command_line(inputs.bad_files.Mistake(["x"], ["t.csv", "name it"]))
    assert found is None if fault is None else found.startswith(fault)


@pytest.mark.parametrize("error, fault", [
    (InputError("t.csv: name it"), None), (InputError("t.csv"), "unclear"), (KeyError("t.csv: name it"), "traceback"),
    (None, "accepted"),
])  # fmt: skip
def test_the_judge_of_errors(error, fault):
    def call():
        if error is not None:
            raise error

    found = inputs.in_a_program(inputs.bad_files.Mistake([], ["t.csv", "name it"], call=call))
    assert found is None if fault is None else found.startswith(fault)


# --- how it kills


@pytest.mark.parametrize("n, left", [(1, ["a"]), (2, ["a", "b"]), (3, ["b"]), (4, ["b", "c"]), (5, ["c"]), (9, ["c"])])
def test_a_process_dies_just_before_it_touches_the_disk(n, left, tmp_path):
    """It opens b, renames b to a, which is there; opens b again, ... ; to read is no touch."""
    (tmp_path / "a").touch()
    code = f"""if True:
        import os, sys
        os.chdir({str(tmp_path)!r})
        sys.path.append({str(Path(dying.__file__).parent)!r})
        from dying import die_at_touch
        die_at_touch({n})
        open("a").read()
        open("b", "w").close()      # 1
        os.remove("a")              # 2
        open("c", "x").close()      # 3
        os.remove("b")              # 4
    """
    done = subprocess.run([sys.executable, "-c", code])
    assert sorted(os.listdir(tmp_path)) == left and done.returncode == (-9 if n <= 4 else 0)


def test_the_kinds_of_files_that_find_no_room():
    names = [".pretrain-forward-00000003.safetensors.12.tmp", "log.jsonl", ".vocab.json.7.tmp", ".writable.12.tmp"]
    kinds = ["pretrain-forward-.safetensors", "log.jsonl", "vocab.json", "writable"]
    assert [full_disk._kind(name) for name in names] == kinds
    opened, rng = ["a", "b", "a", "a", "c"] * 3, np.random.default_rng(0)
    chosen = full_disk._chosen(opened, rng, 8)
    assert {opened[n] for n in chosen[:3]} == {"a", "b", "c"} and len(set(chosen)) == 8


# --- numbers


def test_a_promise_is_kept_within_its_bounds():
    numbers = [Number("x", 200, at_least=200), Number("x", 199, at_least=200), none_of("x", 0), none_of("x", 1)]
    assert [n.kept for n in numbers] == [True, False, True, False]
    assert [str(n) for n in numbers] == [
        "200 x (promised: at least 200)", "199 x (promised: at least 200)  BROKEN", "0 x (promised: none)",
        "1 x (promised: none)  BROKEN",
    ]  # fmt: skip
    assert str(Number("x", 12345.5)) == "12,345.5 x" and promise(1, 2000) == "at least 1 and at most 2,000"


def test_the_rows_of_a_test_take_the_place_of_its_earlier_ones(tmp_path):
    path = tmp_path / "torture.csv"
    for seed, test in itertools.product((1, 2), ("kills", "inputs")):
        keep(path, rows(test, [Number("a", 1.5, at_least=1), none_of("b", 1)], 62.4, seed, "beside others"))
    with open(path, newline="") as f:
        kept = list(csv.DictReader(f))
    assert [(r["test"], r["number"], r["seed"]) for r in kept] == [
        (test, number, "2") for test in ("kills", "inputs") for number in "ab"
    ]
    assert tuple(kept[0]) == COLUMNS and kept[0]["seconds"] == "62" and kept[0]["note"] == "beside others"
    assert [(r["measured"], r["at_least"], r["at_most"], r["kept"]) for r in kept[:2]] == [
        ("1.5", "1", "", "True"), ("1", "0", "0", "False"),
    ]  # fmt: skip
    assert kept[0]["python"] == ".".join(map(str, sys.version_info[:3])) and json.dumps(kept)


def test_a_broken_promise_is_exit_code_1_and_says_how_to_see_it_again(tmp_path):
    code = f"""if True:
        import sys, runpy
        sys.path[:0] = {[str(RUN.parents[1])]!r}
        from torture import damages
        from torture.promises import none_of
        damages.torture = lambda *_: [none_of("lost", 3)]
        sys.argv = ["run.py", "--short", "--only", "damages", "--seed", "9"]
        runpy.run_path({str(RUN)!r}, run_name="__main__")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "promises broken: damages; again with --seed 9 --only damages\n")
    assert "3 lost (promised: none)  BROKEN" in done.stdout


# --- the README's table


def fuzzed(target, seconds, findings=0):
    return {"target": target, "seconds": str(seconds), "executions": "1000", "findings": str(findings)}


@pytest.mark.parametrize("lost, runs, kept", [
    (0, [fuzzed("a", 300, 1), fuzzed("b", 700), fuzzed("a", 300)], ["kept", "kept"]),
    (2, [fuzzed("a", 599), fuzzed("b", 600)], ["**broken: lost**", "so far"]),
    (0, [fuzzed("a", 700)], ["kept", "so far"]),
    (0, [fuzzed("b", 700), fuzzed("a", 700, 1)], ["kept", "**broken**"]),
    (0, [], ["kept", "-"]),
])  # fmt: skip
def test_the_table_says_what_was_kept_and_what_not(lost, runs, kept, script, tmp_path, monkeypatch):
    """A finding of an earlier run of a fuzzer has been mended; its minutes are added up."""
    module = script("torture_tables")
    made = rows("kills", [Number("runs killed", 1200, at_least=1000), none_of("lost", lost)], 120, 7, "beside others")
    made = [{name: str(row.get(name, "")) for name in COLUMNS} for row in made]
    monkeypatch.setattr(module, "results", {"torture.csv": made, "fuzz.csv": runs}.get)
    for target in ("a", "b"):
        (tmp_path / target).mkdir()
    monkeypatch.setattr(module, "CORPUS", tmp_path)
    lines = module.torture_table().splitlines()
    first, last = lines[2], lines[1 + len(module.TESTS) + 1]
    assert f"| 1,200 runs killed, {lost} lost |" in first
    assert [line.split(" | ")[-1].rstrip(" |") for line in (first, last)] == kept
    assert lines[3].endswith("| not measured yet | - |")
    assert lines[-1].startswith("2 minutes, seed 7; Python ") and lines[-1].endswith("; beside others.")
    if len(runs) == 3:
        assert "2 of 2 targets so long, 3,000 executions, 0 findings left" in last
