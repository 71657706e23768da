"""The parts of gpu_check, with the CPU in the place of the GPU: who is checked, who is timed, who is left out, why."""

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import gpu_on_cpu
import numpy as np
import pytest
from hypothesis import settings

import minilstm_kernels

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed"),
]


@pytest.fixture
def small(script, monkeypatch):
    """Sizes that take no time. -> `script`"""
    for module, values in gpu_on_cpu.small().items():
        for name, value in values.items():
            monkeypatch.setattr(script(module), name, value)
    return script


@pytest.fixture
def journal(script, tmp_path):
    return script("gpu_results").Journal(tmp_path / "a.csv", "run")


def soon():
    return time.time() + 60


def by_provider(rows, **wanted):
    """{provider: [row, ...]} of those that are wanted"""
    found = {}
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            found.setdefault(row["provider"], []).append(row)
    return found


# --- bench


def test_everybody_is_timed_whole_and_in_its_loop(small, journal):
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_bench").bench(gpu, journal, soon())
    for mode in ("full", "inference"):
        timed = by_provider([row for row in journal.rows if row["y_50"]], kernel_name="lstm", mode=mode)
        assert set(timed) == {"plain", "torch", "torch-graph"}
        loops = by_provider(journal.rows, kernel_name="recurrence", mode=mode)
        assert set(loops) == {"plain", "plain-v1"} and all(row["y_50"] for (row,) in loops.values())
    assert {row["metric"] for row in journal.rows if row["y_50"]} == {
        "milliseconds", "milliseconds with the host"}  # fmt: skip
    assert {row["shape"] for row in journal.rows} == {json.dumps({"T": 4, "B": 3, "H": 8, "layers": 1})}
    assert all(float(row["y_20"]) <= float(row["y_50"]) <= float(row["y_80"]) for row in journal.rows if row["y_50"])
    assert journal.was_doing() is None


def test_more_layers_are_timed_one_after_the_other_and_side_by_side(small, journal, monkeypatch):
    monkeypatch.setattr(small("gpu_cells"), "LAYERS", (3,))
    monkeypatch.setitem(small("gpu_ladder").WAVES, "plain", (2, 4))
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_bench").bench(gpu, journal, soon())
    for mode in ("full", "inference"):
        timed = by_provider([row for row in journal.rows if row["y_50"]], kernel_name="lstm", mode=mode)
        assert set(timed) == {"plain", "plain-wave2", "plain-wave4", "torch", "torch-graph"}


def test_cudnn_that_cannot_be_called_is_a_row_with_the_reason(small, journal, monkeypatch):
    monkeypatch.setattr(small("gpu_cudnn"), "find", lambda: "/nowhere/libcudnn.so.9")
    small("gpu_cudnn_lstm").library.cache_clear()
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_bench").bench(gpu, journal, soon())
    rows = by_provider(journal.rows, kernel_name="lstm", mode="full")
    names = {f"cudnn-{name}{graph}" for name in small("gpu_cudnn").ALGORITHMS for graph in ("", "-graph")}
    assert names == {name for name in rows if name.startswith("cudnn")}
    assert all(rows[name][0]["note"].startswith("cuDNN cannot be called directly") for name in names)


def test_who_is_wrong_or_fails_is_not_timed_and_the_others_are(small, journal):
    with gpu_on_cpu.kernels("plain", "wrong", "wrong-back", "raises") as gpu:
        small("gpu_bench").bench(gpu, journal, soon())
    for mode, right in (("full", {"plain"}), ("inference", {"plain", "wrong-back"})):
        once = [row for row in journal.rows if row["metric"] != "milliseconds with the host"]
        rows = by_provider(once, kernel_name="lstm", mode=mode)
        assert {name for name, (row,) in rows.items() if row["y_50"] and "torch" not in name} == right
        assert "is off by" in rows["wrong"][0]["note"]
        assert rows["raises"][0]["note"] == "RuntimeError: no such launch"


def test_whose_check_failed_is_not_timed(small, journal, script):
    journal.write([script("gpu_results").row("check", "lstm", "plain", precision="float32", note="dx is off")])
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_bench").bench(gpu, journal, soon())
    rows = by_provider(journal.rows, part="bench")
    assert {row["note"] for name in ("plain", "plain-v1") for row in rows[name]} == {"its check failed: dx is off"}
    assert all(row["y_50"] for row in rows["torch"])


def test_a_run_goes_on_where_another_ended(small, journal):
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_bench").bench(gpu, journal, soon())
        before = journal.path.read_bytes()
        again = small("gpu_results").Journal(journal.path, "run")
        small("gpu_bench").bench(gpu, again, soon())
    assert journal.path.read_bytes() == before


def test_when_the_time_is_up_nothing_is_begun(small, journal):
    with gpu_on_cpu.kernels("plain") as gpu:
        for part, function in (("gpu_bench", "bench"), ("gpu_micro", "micro"), ("gpu_correct", "check"),
                               ("gpu_step_correct", "check")):  # fmt: skip
            getattr(small(part), function)(gpu, journal, time.time() - 1)
    assert {row["part"] for row in journal.rows} == {"plan"}
    there_are, missing = small("gpu_results").planned(journal.rows)
    assert there_are == missing > 0


def test_who_fails_while_he_is_timed_is_left_out_and_the_others_stay(small, journal):
    class Tired(gpu_on_cpu.Cpu):
        def seconds(self, call, calls, host=None):
            if "Torch" in repr(call) and self.captured:
                raise RuntimeError("an illegal memory access")
            return super().seconds(call, calls, host)

    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_bench").bench(Tired(gpu.cupy), journal, soon())
    rows = by_provider(journal.rows, kernel_name="lstm", mode="full")
    assert rows["torch"][0]["note"] == "while it was timed: RuntimeError: an illegal memory access"
    assert len(rows["torch"]) == 1 and rows["plain"][0]["y_50"]


def test_a_device_that_does_not_answer_any_more_ends_the_process(small, journal):
    class Ruined(gpu_on_cpu.Cpu):
        def wait(self):
            raise RuntimeError("an illegal memory access was encountered")

    with gpu_on_cpu.kernels("raises") as gpu, pytest.raises(SystemExit, match="does not answer any more"):
        small("gpu_bench").bench(Ruined(gpu.cupy), journal, soon())
    assert journal.was_doing()["provider"] == "raises"


def test_turns_last_as_long_as_they_should_and_the_first_calls_do_not_count(small, journal, monkeypatch):
    bench, log = small("gpu_bench"), []
    monkeypatch.setattr(bench, "TURN", 0.5)
    monkeypatch.setattr(bench, "MOST_CALLS", 20)
    gpu = SimpleNamespace(seconds=lambda call, calls, host: log.append((calls, host)) or [0.1] * calls,
                          host_seconds=lambda call: log.append("host") or 0.3)  # fmt: skip
    turn = bench.turns(gpu, journal, "a", SimpleNamespace(call=lambda: log.append("call")), {})
    assert turn() == turn() == [0.1] * 5
    assert log == ["call", "host", (1, 0.3), (5, 0.3), (5, 0.3)]


def test_who_is_far_behind_after_a_round_is_not_asked_again(small, monkeypatch):
    bench, asked = small("gpu_bench"), []
    monkeypatch.setattr(bench, "ROUNDS", 4)
    speeds = {"graph": 1.0, "cupy": 2.9, "cluster": 3.1, "torch": 10.0, "cudnn-standard": 31.0}
    seconds = bench.in_rounds({name: lambda name=name: asked.append(name) or [speeds[name]] for name in speeds})
    assert {name: len(taken) for name, taken in seconds.items()} == {
        "graph": 4, "cupy": 4, "cluster": 1, "torch": 4, "cudnn-standard": 1}  # fmt: skip


def test_everybody_is_made_once_a_cell(small, journal, monkeypatch):
    bench, made = small("gpu_bench"), []

    class Stack(bench.Stack):
        def __init__(self, *given):
            made.append(given[3])
            super().__init__(*given)

    monkeypatch.setattr(bench, "Stack", Stack)
    with gpu_on_cpu.kernels("plain") as gpu:
        bench.bench(gpu, journal, soon())
    assert made == ["plain"]
    whole = by_provider(journal.rows, kernel_name="lstm", metric="milliseconds with the host")
    assert set(whole) == {"plain", "torch", "torch-graph"} and {len(rows) for rows in whole.values()} == {2}


@pytest.mark.parametrize("off_by, note, timed", [
    (1.05, "dx is off by 1.05 times what is allowed", True), (11, "dx is off by 11 times what is allowed", False),
    (0.5, "two runs differ: y", False), (1e9, "y is off by inf times what is allowed", False),
    (None, "its process ended (exit code 9)", False),
])  # fmt: skip
def test_who_is_slightly_inexact_is_timed_with_a_remark(off_by, note, timed, small, journal, script):
    about = {"kernel_name": "lstm", "provider": "plain", "precision": "float32", "mode": "check"}
    values = [] if off_by is None else [off_by]
    journal.write([script("gpu_results").row("check", metric="off by", values=values, note=note, **about)])
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_bench").bench(gpu, journal, soon())
    mine = by_provider(journal.rows, part="bench", kernel_name="recurrence")["plain"]
    assert [(bool(row["y_50"]), row["note"]) for row in mine] == [
        (timed, f"its check: {note}" if timed else f"its check failed: {note}")] * 2  # fmt: skip
    assert ("plain" in script("gpu_summary").left_out(journal.rows)) == (not timed)


@pytest.mark.parametrize("layers, B, H, precision, there", [
    (1, 64, 512, "float16", False), (1, 1, 512, "float16", True), (3, 64, 512, "float16", True),
    (1, 64, 400, "float16", True), (1, 64, 1150, "float16", False), (1, 1, 400, "bfloat16", False),
])  # fmt: skip
def test_pytorch_is_arranged_where_that_makes_a_difference(layers, B, H, precision, there, script):
    with gpu_on_cpu.kernels("plain"):
        cell = script("gpu_cells").Cell(layers, B, H, precision)
        names = [contender.provider for contender in script("gpu_bench").of_the_layer(cell)]
    assert ("torch-arranged" in names) == ("torch-arranged-graph" in names) == there
    assert ("plain" in names) == (precision != "bfloat16")


# --- check


def test_a_kernel_that_is_right_passes_in_every_precision_it_offers(small, journal):
    cases = small("gpu_correct").CASES[:3]
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_correct").check(gpu, journal, soon(), cases)
    made = [row for row in journal.rows if row["part"] == "check"]
    assert {row["precision"] for row in made} == {"float32", "float64", "float16"}
    assert len(made) == 9 and not any(row["note"] for row in made)
    assert all(0 <= float(row["y_50"]) <= 1 for row in made)
    assert small("gpu_results").planned(journal.rows) == (9, 0)
    assert small("gpu_results").planned([row for row in journal.rows if row not in made[:2]]) == (9, 2)


@pytest.mark.parametrize("fault, said", [
    ("wrong", " is off by "), ("wrong-back", " is off by "), ("raises", "RuntimeError: no such launch"),
    ("unsteady", "two runs differ: y"),
])  # fmt: skip
def test_a_kernel_with_a_fault_does_not_pass(fault, said, small, journal):
    correct = small("gpu_correct")
    with gpu_on_cpu.kernels(fault) as gpu:
        correct.check(gpu, journal, soon(), [correct.Case(7, 3, 5, 5, True, True)])
    made = [row for row in journal.rows if row["part"] == "check"]
    assert all(said in row["note"] for row in made if row["precision"] == "float32")
    assert small("gpu_bench").failed_check(journal, fault, "float32") == made[0]["note"]
    assert small("gpu_bench").failed_check(journal, "another", "float32") is None


def test_a_kernel_that_cannot_run_here_is_not_missed_without_a_word(small, journal, script):
    with gpu_on_cpu.kernels("plain"):
        absent = minilstm_kernels.IMPLEMENTATIONS[0]._replace(name="absent", requires=("no_such_package",))
        minilstm_kernels.IMPLEMENTATIONS = (absent, *minilstm_kernels.IMPLEMENTATIONS)    # until the end of the block
        for _ in range(2):  # once is enough
            small("gpu_correct").say_who_is_missing(journal)
    (row,) = journal.rows
    assert row["provider"] == "absent" and row["note"].startswith("refused: no_such_package is not installed")
    assert not script("gpu_results").failed(row) and "no_such_package" in script("gpu_summary").left_out(journal.rows)


def test_a_kernel_may_refuse_a_size(small, journal):
    """A ValueError before any launch is no failure: it is timed where it does not refuse."""
    correct = small("gpu_correct")
    with gpu_on_cpu.kernels("refuses") as gpu:
        correct.check(gpu, journal, soon(), [correct.Case(3, 2, 2, 9), correct.Case(3, 2, 2, 8)])
        small("gpu_bench").bench(gpu, journal, soon())
    notes = [row["note"] for row in journal.rows if row["precision"] == "float32" and row["part"] == "check"]
    assert notes == ["refused: H = 9 is too large", ""] and not any(map(small("gpu_results").failed, journal.rows))
    assert all(row["y_50"] for row in by_provider(journal.rows, part="bench")["refuses"])


def test_a_kernel_that_reads_behind_the_end_of_a_row_breaks_a_promise(small, monkeypatch):
    correct = small("gpu_correct")
    run = correct.run

    def reads(case, *args, padding=None, **options):
        made = run(case, *args, **options)
        return made | {"dx": made["dx"] + 1} if padding else made

    monkeypatch.setattr(correct, "run", reads)
    with gpu_on_cpu.kernels("plain"):
        broken = correct.broken_promise(correct.Case(5, 4, 3, 3, True), "plain", "cuda", "float32")
    assert broken == "what stands behind a row's end matters: dx"


def test_padding_stands_behind_the_end_of_every_row_and_nowhere_else(small):
    correct = small("gpu_correct")
    case = correct.Case(6, 5, 3, 3, True)
    _, lengths = correct.inputs(case)
    assert sorted(lengths) == [0, 1, 3, 4, 6]
    with gpu_on_cpu.kernels("plain"):
        plain = correct.run(case, "plain", "cuda", "float32")
        padded = correct.run(case, "plain", "cuda", "float32", padding=1e4)
    assert all(np.array_equal(a, padded[name]) for name, a in plain.items())


def test_odd_cases_are_many_and_the_same_every_time(small):
    odd = small("gpu_correct").odd_cases
    assert list(odd()) == list(odd()) and len(set(odd())) == 12 and not set(odd()) & set(odd(seed=1))


def test_every_twin_for_a_gpu_has_a_check_and_passes_as_plain_code(small, journal, monkeypatch):
    steps = small("gpu_step_correct")
    assert {name for name, of in minilstm_kernels.TWINS.items() if "cuda" in of} <= steps.CHECKS.keys()
    for name, value in {"V": 301, "E": 7, "N": 33}.items():
        monkeypatch.setattr(steps, name, value)
    with gpu_on_cpu.kernels("plain") as gpu:
        gpu.kind = "cpu"  # the twins of the CPU in their place
        steps.check(gpu, journal, soon())
    assert {row["kernel_name"] for row in journal.rows} == set(steps.CHECKS)
    assert not [row["note"] for row in journal.rows if row["note"]]


def test_a_twin_that_is_wrong_does_not_pass(small, journal, monkeypatch):
    steps = small("gpu_step_correct")
    right = steps.CHECKS["sum_of_squares"]

    def wrong(kernel, *args):
        return {name: a * (1 + 1e-4 * (kernel == "auto")) for name, a in right(kernel, *args).items()}

    monkeypatch.setattr(steps, "CHECKS", {"sum_of_squares": wrong})
    with gpu_on_cpu.kernels("plain") as gpu:
        gpu.kind = "cpu"
        steps.check(gpu, journal, soon())
    assert ["norm is off by" in row["note"] for row in journal.rows if row["part"] == "check"] == [True, True]


# --- micro


def test_the_ceilings_and_the_gates_of_every_version(small, journal):
    with gpu_on_cpu.kernels("plain") as gpu:
        small("gpu_micro").micro(gpu, journal, soon())
    kinds = {(row["kernel_name"], row["provider"], row["metric"]) for row in journal.rows}
    gates = {("gates", provider, rate) for provider in ("plain", "plain-v1") for rate in ("GB/s", "TFLOP/s")}
    assert kinds == {("copy", "torch", "GB/s"), ("product", "torch", "TFLOP/s"), ("launch", "torch", "microseconds"),
                     ("launch", "torch-graph", "microseconds"), *gates}  # fmt: skip
    assert all(row["y_50"] for row in journal.rows)
    of_gates = [row for row in journal.rows if row["kernel_name"] == "gates"]
    assert len(of_gates) == 2 * 2 * 2 * 2 * 2  # sizes, versions, directions, float32 and float16, rates


def test_rates_are_of_the_bytes_and_the_time(small, journal):
    with gpu_on_cpu.kernels("plain") as gpu:
        gpu.seconds = lambda call, calls, host=None: [(call(), 2.0)[1] for _ in range(calls)]
        small("gpu_micro").micro(gpu, journal, soon())
    rate = {(row["kernel_name"], row["mode"], row["shape"], row["metric"], row["precision"]): float(row["y_50"])
            for row in journal.rows if row["provider"] in ("torch", "plain")}  # fmt: skip
    assert rate["copy", "", '{"bytes": 4096}', "GB/s", "float32"] == pytest.approx(2 * 4096 / 2 / 1e9)
    assert rate["product", "", '{"n": 16}', "TFLOP/s", "tf32"] == pytest.approx(2 * 16**3 / 2 / 1e12)
    assert rate["launch", "", '{"n": 3}', "microseconds", "float32"] == pytest.approx(2e6 / 3, rel=1e-5)
    shape = '{"B": 4, "H": 8}'
    assert rate["gates", "forward", shape, "GB/s", "float32"] == pytest.approx(32 * 17 * 4 / 2 / 1e9)
    assert rate["gates", "backward", shape, "GB/s", "float16"] == pytest.approx(32 * (10 * 2 + 4 * 4) / 2 / 1e9)


def test_the_bytes_of_a_step_are_those_of_the_arrays_it_is_given(small):
    """Counted on what a launch is prepared with: each array of a step once, but for dh_T, which is not read then, and
    for what is both read and written."""
    micro, seen = small("gpu_micro"), {}
    for mode in ("forward", "backward"):


        def prepare(*arrays, mode=mode):
            seen[mode] = arrays
            return lambda t: None

        gate = SimpleNamespace(**{f"prepare_{mode}": prepare})
        with gpu_on_cpu.kernels("plain") as gpu:
            micro.gate_step(gpu, gate, mode, np.dtype(np.float16), 4, 8)()
    x_gates, lengths, h, c, ifgo, y, keep = seen["forward"]
    assert 32 * micro.bytes_per_unit("forward", 2) == x_gates.nbytes + h.nbytes + c.nbytes + 2 * ifgo.nbytes + y.nbytes
    dy, dh_T, lengths, c, ifgo, dh, dc, dgates = seen["backward"]
    assert 32 * micro.bytes_per_unit("backward", 2) == sum(a.nbytes for a in (dy, c, ifgo, dh, dc, dc, dgates))
    assert (lengths > 1).all() and keep


# --- tests


@pytest.mark.parametrize("code, output, passed, said", [
    (0, "a.py::b PASSED [ 50%]\na.py::c[x y] PASSED [100%]\n2 passed, 3 skipped in 1s\n", "2", ""),
    (1, "a.py::b[x y] FAILED [ 50%]\na.py::d PASSED\nFAILED a.py::b[x y] - no\nERROR c.py\n1 failed in 2s\n", "1",
     "exit code 1; a.py::b[x y]; c.py; 1 failed in 2s"),
    (None, "a.py::b FAILED [ 50%]\na.py::c ", "", "ended when its time was up; a.py::b; a.py::c"),
    (None, "a.py::b PASSED [ 50%]\na.py::c ", "", "unfinished: 1 passed; ended when its time was up; a.py::c"),
    (5, "no tests ran in 0.1s", "", "no test is marked gpu; "),
])  # fmt: skip
def test_what_pytest_says_becomes_a_row(code, output, passed, said, script):
    row = script("gpu_tests").pytest_row(code, output)
    assert row["y_50"] == passed and row["note"].startswith(said) and bool(row["note"]) == bool(said)
    assert script("gpu_results").failed(row) == bool(said and not said.startswith("unfinished"))


def test_pytest_runs_in_an_unpacked_tree_and_is_ended_in_time(script, journal, tmp_path, monkeypatch):
    tests = script("gpu_tests")
    monkeypatch.setattr(tests, "LAST_WORDS", 30)
    code = "import minilstm_kernels, time\ndef test_quick(): pass\ndef test_slow(): time.sleep(60)\n"
    (tmp_path / "test_some.py").write_text(code)
    (tmp_path / "none.ini").write_text("[pytest]\n")
    arguments = ["-v", "-p", "no:cacheprovider", "-c", str(tmp_path / "none.ini"), str(tmp_path)]
    code, output = tests.run([*arguments, "-k", "quick"], journal, soon())
    assert (code, tests.pytest_row(code, output)["y_50"]) == (0, "1")
    code, output = tests.run(arguments, journal, time.time() + 12)
    assert code is None and journal.was_doing() is None and "1 passed" in output  # it could say how far it came
    assert tests.ARGUMENTS[0] == "-v"


def test_what_a_device_can_do_is_measured_in_the_order_of_the_targets(small, journal, monkeypatch):
    micro, order = small("gpu_micro"), []
    for name in ("copy", "products", "launches", "on_chip", "gates"):
        monkeypatch.setattr(micro, name, lambda gpu, journal, name=name: order.append(name) or ())
    with gpu_on_cpu.kernels("plain") as gpu:
        micro.micro(gpu, journal, soon())
    assert order == ["copy", "gates", "on_chip", "products", "launches"]


def test_a_graph_that_cannot_be_captured_ends_the_process_at_that_contender(small, journal):
    """The next one goes on without him."""
    class Spoils(gpu_on_cpu.Cpu):
        def capture(self, call):
            raise small("gpu_clock").Spoilt("no graph could be made")

    with gpu_on_cpu.kernels("plain") as gpu, pytest.raises(SystemExit, match="no graph could be made"):
        small("gpu_bench").bench(Spoils(gpu.cupy), journal, soon())
    assert journal.was_doing()["provider"] == "torch-graph"


def test_the_tests_for_a_gpu_are_found_and_hardly_any_examples_drawn(script):
    tests = script("gpu_tests")
    assert {Path(file).name for file in tests.files()} == {"test_recurrence.py", "test_wavefront.py"}
    command = [sys.executable, "-c", tests.STARTER, *tests.ARGUMENTS, "--collect-only", *tests.files()]
    collected = subprocess.run(command, cwd=tests.ROOT, capture_output=True, text=True)
    assert collected.returncode == 0 and "[graph-cuda]" in collected.stdout, collected.stdout[-2000:]
    profile = [settings.get_profile(name).max_examples for name in ("few", "gpu")]
    assert profile[0] > 10 * profile[1] > 0


def test_without_pytest_there_are_checks_instead(script, journal, monkeypatch):
    tests = script("gpu_tests")
    monkeypatch.setattr(tests, "find_spec", lambda name: None)
    monkeypatch.setattr(tests, "odd_cases", lambda seed: [script("gpu_correct").Case(2, 2, 2, 2)])
    with gpu_on_cpu.kernels("plain") as gpu:
        tests.tests(gpu, journal, soon())
    assert journal.rows[0]["note"] == "refused: pytest and hypothesis not installed"
    assert [row["part"] for row in journal.rows] == ["tests", "plan", "check", "check", "check"]
