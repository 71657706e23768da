"""The benchmarks' harness: who may take part, who has his turn when, and what becomes of the numbers."""

import csv
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
ABOUT = {
    "extra_config_json": '{"threads": 2, "dtype": "float32"}', "device": "a box, 2 cores", "versions": "Python 3",
    "blas": "ablas 1.2, OMP_NUM_THREADS=2", "load": "0.25", "commit": "0123456789abcdef", "timestamp": "now",
}  # fmt: skip

SMALL = {"embedding": 4, "hidden": 5, "layers": 2}


@pytest.fixture(scope="module")
def load():
    """`script`, for tests whose examples hypothesis draws."""
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module


# --- checking


@given(st.floats(1e-3, 1e3), st.floats(0, 1e-2), st.sampled_from([1, -1]))
def test_an_array_may_be_off_by_a_part_of_its_largest_number(load, largest, off, sign):
    want = np.array([0.0, largest / 2, -largest])
    wrong = load("harness").difference({"y": want + np.array([sign * off * largest, 0, 0])}, {"y": want}, 1e-3)
    if off < 0.99e-3:
        assert wrong is None
    elif off > 1.01e-3:
        assert wrong.startswith("y is off by ")


@pytest.mark.parametrize("found, said", [
    ({"y": [1.0, np.nan]}, "y is off by nan"), ({"y": [[1.0, 2.0]]}, "y has the shape (1, 2) and not (2,)"),
    ({}, "there came  and not y"), ({"y": [1.0, 2.0], "z": [0.0]}, "there came y, z and not y"),
])  # fmt: skip
def test_what_is_wrong_is_said(found, said, script):
    found = {name: np.array(a) for name, a in found.items()}
    assert script("harness").difference(found, {"y": np.array([1.0, 2.0])}, 0.1).startswith(said)


# --- turns


def test_contenders_take_turns(script):
    log = []
    asks = {name: lambda name=name: log.append(name) or len(log) for name in "abc"}
    assert script("harness").take_turns(asks, rounds=3) == {"a": [1, 4, 7], "b": [2, 5, 8], "c": [3, 6, 9]}
    assert "".join(log) == "abcabcabc"


def test_who_cannot_go_on_is_left_out_and_said(script):
    harness, said, turns = script("harness"), [], [5, 6]

    def dies_in_its_third_turn():
        if turns:
            return turns.pop()
        raise harness.Refused("b: its process ended (exit code -9)")

    asks = {"a": lambda: 1, "b": dies_in_its_third_turn, "c": lambda: 3}
    assert harness.take_turns(asks, 4, said.append) == {"a": [1] * 4, "c": [3] * 4}
    assert said == ["  left out while it was timed: b: its process ended (exit code -9)"]


@pytest.mark.parametrize("effort, rounds", [((2, 0.0), 2), ((2, 2.0), 4), ((2, 1e9), 6)])
def test_turns_of_quick_contenders_have_more_calls(effort, rounds, script, monkeypatch):
    """Each turn lasts about TURN, after a warm-up where a call is short. The first, which only finds out how long one
    takes, does not count."""
    harness, log = script("harness"), []
    for name, value in {"MOST_ROUNDS": 6, "TURN": 0.05, "WARM_UP": 0.1, "LONG": 0.25, "REST": 0.0}.items():
        monkeypatch.setattr(harness, name, value)

    def worker(name, seconds):
        def ask(question, *given):
            if question == "rest":
                return None
            log.append((name, question, *given))
            return seconds if len(log) > 2 else seconds * 1.05

        return SimpleNamespace(ask=ask)

    workers = {"slow": worker("slow", 0.3), "quick": worker("quick", 0.01)}  # 1 and 5 calls in a turn of 0.05
    found = harness.time_in_turns(workers, ["slow", "quick"], "full", harness.Effort(*effort))
    turns = [("slow", "time", "full"), ("quick", "time", "full")]
    assert log[:2] == [(*turn, 1, 0.0) for turn in turns]
    assert log[2:] == [(*turns[0], 1, 0.0), (*turns[1], 5, 0.1)] * (len(log[2:]) // 2)
    assert found == {"slow": [0.3] * rounds, "quick": [0.01] * rounds}


@pytest.mark.parametrize("calls, warm_up, made", [(1, 0.0, 1), (4, 0.0, 4), (4, 2.5, 6), (1, 1.0, 2)])
def test_calls_of_the_warm_up_do_not_count(calls, warm_up, made, script, monkeypatch):
    workers, clock = script("workers"), [0.0]

    def call(mode):
        clock.append(clock[-1] + len(clock))  # the n-th call takes n seconds

    monkeypatch.setattr(workers.time, "perf_counter", lambda: clock[-1])
    seconds = workers.seconds_a_call(SimpleNamespace(call=call), "full", calls, warm_up)
    assert (len(clock) - 1, seconds) == (made, sum(range(made + 1 - calls, made + 1)) / calls)


def test_a_turn_ends_when_nothing_goes_on_any_more(script):
    """A thread that still looks for work when the call has returned is waited for, but not for ever."""
    workers = script("workers")

    def spin(seconds):
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    for seconds, at_most, least, most in ((0.0, 9, 0.0, 0.1), (0.3, 9, 0.28, 0.5), (0.6, 0.2, 0.18, 0.4)):
        thread = threading.Thread(target=spin, args=(seconds,))
        thread.start()
        began = time.perf_counter()
        workers.rest(None, at_most=at_most)
        assert least <= time.perf_counter() - began < most + 0.5  # others may be at work here
        thread.join()


# --- processes


class Doubling:
    """A contender: y = 2 x. It says in which process it lives and what it finds there."""

    def __init__(self, factor, fails=None, *, n):
        if fails == "make":
            raise ValueError("no such thing\nand more about it")
        self.x, self.factor, self.fails, self.n_calls = np.arange(n), factor, fails, 0

    def call(self, mode):
        self.n_calls += 1
        if self.fails == "die":
            os._exit(3)
        return self.factor * self.x

    def arrays(self, mode):
        if mode == "circumstances":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
            tuned = "OPENBLAS_CORETYPE" in os.environ
            return {"found": [os.getpid(), self.n_calls, int(os.environ["OMP_NUM_THREADS"]), cores, tuned]}
        return {"y": self.call(mode)}


def test_only_the_right_ones_are_timed(script, monkeypatch):
    harness, workers, said = script("harness"), script("workers"), []
    monkeypatch.setattr(harness, "TURN", 0.0)
    monkeypatch.setattr(harness, "WARM_UP", 0.0)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    before = dict(os.environ)
    contenders = [
        harness.Contender("right", Doubling, (2.0,)), harness.Contender("also right", Doubling, (2.00001,)),
        harness.Contender("wrong", Doubling, (2.001,)), harness.Contender("broken", Doubling, (2.0, "make")),
        harness.Contender("dead", Doubling, (2.0, "die")),
    ]  # fmt: skip
    with workers.Workers(1) as processes:
        expected = {"forward": {"y": 2 * np.arange(4)}}
        seconds = harness.compare(
            processes, contenders, {"n": 4}, expected, tolerance=1e-4, effort=harness.Effort(3, 0.0), say=said.append
        )
        assert seconds.keys() == {("forward", "right"), ("forward", "also right")}
        assert all(len(s) == 3 and min(s) > 0 for s in seconds.values())
        found = [processes[name].ask("arrays", "circumstances")["found"] for name in ("right", "also right")]
        assert len({os.getpid(), *(f[0] for f in found)}) == 3, "each lives in a process of its own"
        assert [f.tolist()[1:] for f in found] == [[1 + 1 + 3, 1, 1, 0]] * 2, "and keeps its state there"
    assert dict(os.environ) == before and not processes
    reasons = {line.split(": ", 2)[1]: line.split(": ", 2)[2] for line in (s.replace("{'n': 4}", "4") for s in said)}
    assert reasons == {
        "wrong": "forward: y is off by 0.0005 of its largest number (allowed: 0.0001)",
        "broken": "ValueError: no such thing", "dead": "its process ended (exit code 3)",
    }  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_is_that_since_it_was_forgotten(script):
    workers = script("workers")
    workers.forget_peak(None)  # an earlier test's
    first = workers.peak_mb(None)
    big = np.ones(20_000_000)  # 160 MB
    assert workers.peak_mb(None) > first + 100
    del big
    workers.forget_peak(None)
    assert workers.peak_mb(None) < first + 60


# --- rows


def test_rows_hold_percentiles_and_the_ratio_to_torch(script):
    rng, speed_rows = np.random.default_rng(0), script("speed_rows")
    ours, torch = rng.permutation(np.arange(11.0)) + 1, rng.permutation(np.arange(0, 22, 2.0)) + 10
    measured = {("full", "cpu"): ours, ("full", "torch"): torch, ("forward", "cpu"): ours}
    first, second, third = speed_rows.rows_of("lstm", {"T": 3, "B": 2}, "milliseconds", measured, ABOUT)
    assert [float(first[y]) for y in ("y_20", "y_50", "y_80")] == [3, 6, 9]  # of 1..11: two numbers on either side
    assert (float(second["y_50"]), second["ratio_to_torch"], third["ratio_to_torch"]) == (20, "1.0000", "")
    assert float(first["ratio_to_torch"]) == 6 / 20 and first["shape"] == '{"T": 3, "B": 2}'
    assert first.keys() == set(speed_rows.COLUMNS)


def row(provider="cpu", ms=1.0, *, kernel_name="lstm", mode="full", metric="milliseconds", shape=None, **other):
    shape = json.dumps(shape or dict(T=70, B=1, I=2, H=3))
    y = dict.fromkeys(("y_50", "y_20", "y_80"), f"{ms:.6g}")
    what = {"kernel_name": kernel_name, "provider": provider, "mode": mode, "metric": metric, "shape": shape}
    return what | y | {"ratio_to_torch": ""} | ABOUT | other


def test_what_was_measured_together_is_replaced_together(script, tmp_path):
    speed_rows, path = script("speed_rows"), tmp_path / "lstm.csv"
    stay = [row(mode="forward"), row(metric="peak MB"), row(kernel_name="growth"), row(shape={"T": 71}),
            row(device="another"), row(extra_config_json='{"threads": 1, "dtype": "float32"}')]  # fmt: skip
    speed_rows.write_rows(path, [row("torch", 5.0), *stay[:3], row("cpu-old", 7.0), *stay[3:]])
    new = [row("cpu", 2.0, commit="later"), row("torch", 4.0, commit="later")]
    for _ in range(2):
        speed_rows.write_rows(path, new)
        assert speed_rows.read_rows(path) == stay + new
    with open(path, newline="") as f:
        assert tuple(next(csv.reader(f))) == speed_rows.COLUMNS


# --- the floor


@given(st.tuples(*[st.integers(1, 5)] * 4))
def test_the_floor_counts_every_multiplication(load, shape):
    """One FLOP a second and memory that costs nothing: the floor is the number of operations, counted one by one."""
    floor, (T, B, I, H), forward, backward = load("bench_lstm").floor, shape, 0, 0
    for _ in range(T * B):
        for _ in range(4 * H):
            forward += 2 * I + 2 * H  # weight_ih @ x + weight_hh @ h
            backward += 2 * (2 * I + 2 * H)  # dx and dh; dweight_ih and dweight_hh
    assert floor(shape, "forward", 1.0, np.inf) == floor(shape, "inference", 1.0, np.inf) == forward
    assert floor(shape, "full", 1.0, np.inf) == forward + backward


def test_a_step_is_no_shorter_than_it_takes_to_read_the_weights(script):
    floor = script("bench_lstm").floor
    T, B, I, H = shape = 7, 1, 3, 5
    assert floor(shape, "forward", 1e30, 2.0) == pytest.approx(T * 4 * (4 * H * H) / 2)  # float32, 2 bytes a second
    assert floor(shape, "full", 1e30, 2.0) == pytest.approx(2 * T * 4 * (4 * H * H) / 2)  # for h, and again for dh


# --- tables and plots


@pytest.fixture
def tables(script, monkeypatch):
    """A function: rows by file -> the module of tables, which finds those and no others"""
    speed_tables = script("speed_tables")

    def with_rows(**files):
        monkeypatch.setattr(speed_tables, "results", lambda name: files.get(name.removesuffix(".csv"), []))
        return speed_tables

    return with_rows


def layer(*times, shape=None):
    """The rows of a layer, (provider, forward, full) each."""
    return [
        row(name, ms, mode=mode, shape=shape)
        for name, *both in times for mode, ms in zip(("forward", "full"), both, strict=True) if ms
    ]  # fmt: skip


def test_tables_without_rows_say_so(tables):
    for made in (table for of_file in tables().TABLES.values() for table in of_file.values()):
        assert made() == "Not measured yet."


def test_the_table_of_a_layer(tables):
    a = layer(("torch", 100, 1500), ("cpu", 50, 750), ("reference", 200, None), ("floor", 40, 500))
    b = layer(("torch", 2, 4), ("cpu", 4, 4), ("floor", 1, 2), shape=dict(T=5, B=6, I=7, H=8))
    b[0] |= {"y_80": "2.5", "commit": "fedcba9876543210-changed"}
    reads = [row(p, gb, kernel_name="read", metric="GB/s", shape={"H": h})
             for p, gb, h in (("reference", 9, 8), ("reference", 50, 1150), ("torch", 60.4, 1150))]  # fmt: skip
    product = row("reference", 199.6, kernel_name="product", metric="GFLOP/s", shape={"n": 9})
    lines = tables(lstm=[*a, *b, *reads, product]).lstm_table().splitlines()
    head = "| T, B, I, H | mode | reference | cpu | torch | floor | cpu / torch | cpu / floor |"
    assert lines[:-2] == [
        head, "|---|---|---|---|---|---|---|---|",
        "| 70, 1, 2, 3 | forward | 200 | 50 | 100 | 40 | 0.50 | 1.25 |",
        "| 70, 1, 2, 3 | full | - | 750 | 1,500 | 500 | 0.50 | 1.50 |",
        "| 5, 6, 7, 8 | forward | - | 4 | 2 | 1 | 2.00 | 4.00 |",
        "| 5, 6, 7, 8 | full | - | 4 | 4 | 2 | 1.00 | 2.00 |",
        "| **geometric mean** | forward |  |  |  |  | **1.00** | **2.24** |",  # sqrt(0.5 * 2), sqrt(1.25 * 4)
        "| **geometric mean** | full |  |  |  |  | **0.71** | **1.73** |",
    ]  # fmt: skip
    for said in (
        "at most 25 % away", "(NumPy 200 GFLOP/s)", "(60 GB/s at H = 1150)", "2 threads, float32", "a box, 2 cores",
        "ablas 1.2;", "commit 0123456789, fedcba9876-changed.", "at the start: 0.25.",
    ):  # fmt: skip
        assert said in lines[-1], said
    short = tables(lstm=[*a, *b]).speed_table().splitlines()
    assert short[2:4] == [
        "| 70, 1, 2, 3 | 100, 1,500 | 50, 750 | 0.50, 0.50 | 1.25, 1.50 |",
        "| 5, 6, 7, 8 | 2, 4 | 4, 4 | 2.00, 1.00 | 4.00, 2.00 |",
    ]


def test_a_mean_of_only_some_shapes_is_none(tables):
    missing = layer(("cpu", 1, 1), shape=dict(T=5, B=6, I=7, H=8))
    lines = tables(lstm=layer(("torch", 1, 1), ("cpu", 1, 1)) + missing).lstm_table().splitlines()
    assert "| **geometric mean** | full |  |  | **-** | **-** |" in lines


def growth_rows():
    shapes = [*((T, 16, 256, 256) for T in (35, 70, 140)), *((70, B, 256, 256) for B in (4, 64)),
              *((70, 16, H, H) for H in (128, 512))]  # fmt: skip
    return [
        row(name, factor * T * B**0.5 * H**2 / 1e6, kernel_name="growth", shape=dict(T=T, B=B, I=I, H=H))
        for T, B, I, H in shapes for name, factor in (("torch", 2), ("cpu", 1))
    ]  # fmt: skip


def test_growth_is_the_power_that_fits(tables):
    text = tables(lstm=growth_rows()).growth_table()
    assert [line.split(" | ")[0] for line in text.splitlines()[2:8:2]] == [
        "| T = 35, 70, 140", "| B = 4, 16, 64", "| I = H = 128, 256, 512"
    ]  # fmt: skip
    assert [line.split(" | ")[-1] for line in text.splitlines()[2:8]] == [
        "T^1.00 |", "T^1.00 |", "B^0.50 |", "B^0.50 |", "H^2.00 |", "H^2.00 |"
    ]  # fmt: skip
    assert "T, B, I, H = 70, 16, 256, 256;" in text and "plots/growth.svg)" in text


def test_the_plot_is_the_same_for_the_same_numbers(tables, script, tmp_path):
    pytest.importorskip("matplotlib")
    speed_tables, plots = tables(lstm=growth_rows()), script("speed_plots")
    for name in ("a.svg", "b.svg"):
        plots.draw_growth(speed_tables.growing(speed_tables.chosen("lstm", "growth")), tmp_path / "new" / name)
    first, second = ((tmp_path / "new" / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    said = "".join(ElementTree.fromstring(first).itertext())
    assert all(word in said for word in ("torch", "cpu", "I = H", "140", "512"))


def test_the_tables_of_a_step_and_of_the_gates(tables):
    shape = dict(T=70, B=32, V=30_000, embedding=400, hidden=1150, layers=3)
    numbers = {"milliseconds": (3000, 1500), "words/s": (747, 1493), "peak MB": (2000, 500)}
    step = [
        row(name, value, kernel_name="lm_step", mode="step", metric=metric, shape=shape)
        for metric, both in numbers.items() for name, value in zip(("torch", "cpu"), both, strict=True)
    ]  # fmt: skip
    lines = tables(lm_step=step).lm_step_table().splitlines()
    assert lines[2:4] == ["| 30,000 | cpu | 1,500 | 0.50 | 1,493 | 500 | 0.25 |",
                          "| 30,000 | torch | 3,000 | 1.00 | 747 | 2,000 | 1.00 |"]  # fmt: skip
    assert "3 layers of 400 and 1150, T = 70, B = 32" in lines[-1]
    gates = [row("cpu-gates", 0.002, kernel_name="gates", mode="forward", shape=dict(B=10, H=50))]
    assert "| 10, 50 | 4, - |" in tables(gates=gates).gates_table()


# --- the benchmarks themselves, over tiny problems


@pytest.mark.slow
@pytest.mark.parametrize("name, contenders, expected", [
    ("gates", ("reference", "cpu-gates"), {"forward", "full"}),
    ("lm_step", ("reference", "cpu"), {"step"}),
    ("lstm", ("reference", "cpu"), {"product", "read", "forward", "inference", "full"}),
])  # fmt: skip
def test_a_quick_run(name, contenders, expected, tmp_path):
    pytest.importorskip("numba")
    out = tmp_path / "rows.csv"
    command = [sys.executable, ROOT / "benchmarks" / f"bench_{name}.py", "--quick", "--threads", "1", "--out", out]
    done = subprocess.run([*command, "--contenders", *contenders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stdout.splitlines() if "left out" in line and "torch" not in line], done.stdout
    with open(out, newline="") as f:
        rows = list(csv.DictReader(f))
    assert {r["mode"] for r in rows} == expected
    assert {r["provider"] for r in rows} - {"torch"} == {*contenders} | ({"floor"} if name == "lstm" else set())
    assert all(0 < float(r["y_20"]) <= float(r["y_50"]) <= float(r["y_80"]) for r in rows)


@pytest.mark.torch
@pytest.mark.parametrize("module, make, args, shape", [
    ("contenders_lstm", "Torch", (), dict(T=4, B=3, I=5, H=6)),
    ("contenders_lm", "Torch", (False,), dict(T=6, B=3, V=30, size=SMALL, updates=6)),
    ("contenders_lm", "Torch", (True,), dict(T=6, B=3, V=30, size=SMALL, updates=6)),
])  # fmt: skip
def test_the_rival_computes_the_same(module, make, args, shape, script):
    """torch's side of a comparison, against float64: a layer, and a language model over six updates."""
    pytest.importorskip("torch")
    contenders, harness = script(module), script("harness")
    if module == "contenders_lstm":
        expected = contenders.expected(("forward", "inference", "full"), **shape)
    else:
        expected = contenders.expected(**shape)
    rival = getattr(contenders, make)(*args, **shape)
    for mode, arrays in expected.items():
        found = {name: np.asarray(a) for name, a in rival.arrays(mode).items()}
        assert harness.difference(found, arrays, 1e-5) is None
        assert harness.difference({n: a * (1 + 1e-4) for n, a in found.items()}, arrays, 1e-5) is not None
        rival.call(mode)
