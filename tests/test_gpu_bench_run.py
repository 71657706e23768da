"""The whole of gpu_check: parts in processes of their own, which may die, hang or take too long; and what it says where
there is no GPU."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABOUT = {"gpu": "Pretended 5", "driver": "1", "cuda": "2", "cudnn": 3, "torch": "4", "cupy": "5", "clocks": "",
         "commit": "c"}  # fmt: skip
# A part that takes no time to start: it measures the cells that its file names, one after the other
PART = """
import json, os, sys, time
sys.path[:0] = [{benchmarks!r}]
from gpu_results import Journal, row
if sys.argv[1] == "probe":
    print("a warning of some library")
    print(json.dumps({about!r}))
    sys.exit()
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
journal, until = Journal(options["--csv"], options["--run"]), float(options["--until"])
for provider, does in {plan!r}:
    about = dict(kernel_name="lstm", precision="float32", mode="full", shape={{"of": provider}})
    if journal.measured(**about) or journal.refusal(provider, **about):
        continue
    if time.time() > until:
        sys.exit()
    with journal.doing(provider=provider, **about):
        exec(does)
        journal.write([row(sys.argv[1], provider=provider, values=[1.0], **about)])
"""


@pytest.fixture
def check(script, monkeypatch):
    found = script("gpu_check")
    monkeypatch.setattr(found, "LOOK", 0.01)
    monkeypatch.setattr(found, "SILENCE", 1.0)
    monkeypatch.setattr(found, "MARGIN", 2.0)
    return found


@pytest.fixture
def part(tmp_path):
    """A function: [(provider, what happens at him)] -> the command of a part"""

    def command(*plan, about=ABOUT):
        file = tmp_path / "part.py"
        file.write_text(PART.format(benchmarks=str(ROOT / "benchmarks"), plan=plan, about=about))
        return [sys.executable, str(file)]

    return command


def rows(script, out):
    return [row for row in script("gpu_results").read(out / "pretended-5.csv") if row["part"] != "run"]


def measured(script, out):
    return {row["provider"]: (bool(row["y_50"]), row["note"]) for row in rows(script, out)}


def test_parts_follow_each_other_and_all_is_written_down(check, part, tmp_path, script, capsys):
    command = part(("a", ""), ("b", ""))
    assert check.main(["--out", str(tmp_path / "o"), "--parts", "bench"], command) == 0
    assert measured(script, tmp_path / "o") == {"a": (True, ""), "b": (True, "")}
    (run,) = (row for row in script("gpu_results").read(tmp_path / "o/pretended-5.csv") if row["part"] == "run")
    assert json.loads(run["note"]) == ABOUT and {row["run"] for row in rows(script, tmp_path / "o")} == {run["run"]}
    log = (tmp_path / "o/log.txt").read_text()
    assert "bench: starts" in log and "bench: done" in log and log in capsys.readouterr().out
    assert (tmp_path / "o/summary.md").read_text().startswith("# Pretended 5")


@pytest.mark.parametrize("how, said", [
    ("os._exit(9)", "its process ended (exit code 9)"), ("os.kill(os.getpid(), 9)", "its process ended (exit code -9)"),
    ("time.sleep(60)", "its process was silent for 1.0 s"),
])  # fmt: skip
def test_who_takes_the_process_with_him_is_named_and_the_others_go_on(how, said, check, part, tmp_path, script):
    command = part(("a", ""), ("killer", how), ("b", ""))
    assert check.main(["--out", str(tmp_path), "--parts", "bench"], command) == 0
    assert measured(script, tmp_path) == {"a": (True, ""), "killer": (False, said), "b": (True, "")}


def test_a_process_that_dies_again_and_again_is_not_started_for_ever(check, part, tmp_path, script, monkeypatch):
    monkeypatch.setattr(check, "MOST_STARTS", 3)
    command = part(*((f"k{n}", "os._exit(1)") for n in range(5)))
    check.main(["--out", str(tmp_path), "--parts", "bench"], command)
    assert set(measured(script, tmp_path)) == {"k0", "k1", "k2"}


def test_a_process_that_dies_between_two_measurements_is_given_up_in_the_end(check, tmp_path, script):
    file = tmp_path / "part.py"
    file.write_text(f"import sys\nif sys.argv[1] != 'probe':\n    sys.exit(3)\nprint({json.dumps(ABOUT)!r})\n")
    check.main(["--out", str(tmp_path), "--parts", "bench"], [sys.executable, str(file)])
    assert (tmp_path / "log.txt").read_text().count("its process ended (exit code 3)") == 3


def test_what_a_part_has_started_ends_with_it(check, part, tmp_path):
    does = (f"import subprocess; other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
            f"open({str(tmp_path / 'pid')!r}, 'w').write(str(other.pid)); sys.exit()")  # fmt: skip
    check.main(["--out", str(tmp_path), "--parts", "bench"], part(("a", does)))
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_device_that_does_not_answer_is_not_waited_for(check, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "PROBE", 0.5)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert check.main(["--out", str(tmp_path), "--parts", "bench"], command) == 2
    assert "the device has not answered for 0.5 s" in capsys.readouterr().err


def test_the_time_of_the_probe_counts(check, part, tmp_path, monkeypatch):
    began, given = time.time(), []
    monkeypatch.setattr(check, "deadlines", lambda parts, seconds, since: given.append(since) or {})
    command = part(("a", ""))
    file = Path(command[1])
    file.write_text("import time\ntime.sleep(0.5)\n" + file.read_text())
    check.main(["--out", str(tmp_path), "--parts", "bench"], command)
    assert began <= given[0] < began + 0.4


def test_the_time_is_kept_and_what_was_measured_stays(check, part, tmp_path, script):
    lively = "[time.sleep(0.1) or journal.beat(provider=provider, **about) for _ in range(600)]"
    began = time.monotonic()
    command = part(("a", ""), ("long", lively), ("b", ""))
    assert check.main(["--out", str(tmp_path), "--parts", "bench", "--minutes", "0.12"], command) == 0
    assert time.monotonic() - began < 20
    assert measured(script, tmp_path) == {"a": (True, "")}
    assert "was ended when the time was up" in (tmp_path / "log.txt").read_text()


def test_there_is_a_summary_on_the_way(check, part, tmp_path, monkeypatch):
    """Whoever ends all of it from outside finds one."""
    monkeypatch.setattr(check, "EVERY", 0.2)
    seen = f"time.sleep(0.8); sys.exit(5 if os.path.exists({str(tmp_path / 'summary.md')!r}) else 6)"
    check.main(["--out", str(tmp_path), "--parts", "bench"], part(("a", seen)))
    assert "exit code 5" in (tmp_path / "log.txt").read_text()


def test_ctrl_c_ends_the_part_and_leaves_a_summary(part, tmp_path):
    code = f"""if True:
        import sys
        sys.path[:0] = [{str(ROOT / "benchmarks")!r}, {str(ROOT)!r}]
        import gpu_check
        command = {part(("a", "time.sleep(600)"))!r}
        sys.exit(gpu_check.main(["--out", {str(tmp_path)!r}, "--parts", "bench"], command))
    """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not (tmp_path / "pretended-5.doing.json").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted: what was measured stays" in said
    assert (tmp_path / "summary.md").exists()


def test_the_same_command_again_goes_on(check, part, tmp_path, script):
    check.main(["--out", str(tmp_path), "--parts", "bench"], part(("a", "")))
    check.main(["--out", str(tmp_path), "--parts", "bench"], part(("a", "os._exit(1)"), ("b", "")))
    assert [row["provider"] for row in rows(script, tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("name", ["driver", "cudnn", "torch", "cupy", "commit"])
def test_measurements_of_something_else_are_not_added_to(name, check, part, tmp_path, script, capsys):
    check.main(["--out", str(tmp_path), "--parts", "bench"], part(("a", "")))
    before = (tmp_path / "pretended-5.csv").read_bytes()
    assert check.main(["--out", str(tmp_path)], part(("b", ""), about={**ABOUT, name: "other"})) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"measured with {name} {ABOUT[name]}, and this is other: name another folder" in line
    assert (tmp_path / "pretended-5.csv").read_bytes() == before


@pytest.mark.parametrize("part_of, note, code", [
    ("check", "dx is off", 1), ("tests", "exit code 1", 1), ("bench", "no memory", 0),
])  # fmt: skip
def test_the_exit_code_says_whether_all_was_right(part_of, note, code, check, part, tmp_path):
    does = f"journal.write([row({part_of!r}, 'lstm', 'x', note={note!r})])"
    assert check.main(["--out", str(tmp_path), "--parts", "bench"], part(("a", does))) == code


@pytest.mark.parametrize("planned, made, code, said", [
    (2, "1.0", 0, "2 of 2 are well"), (3, "1.0", 1, "2 of 3 are well; 1 were not made"), (None, "1.0", 1, ""),
    (2, "", 0, "0 of 2 are well"),
], ids=["all", "one is missing", "nothing was planned", "refused"])  # fmt: skip
def test_a_check_that_was_planned_and_not_made_is_not_well(planned, made, code, said, check, part, tmp_path):
    about = "kernel_name='lstm', mode='check', shape={'B': 3}"
    about += f", values={[float(made)] if made else []}, note={'' if made else 'refused: too large'!r}"
    does = "; ".join(f"journal.write([row('check', provider={name!r}, {about})])" for name in "xy")
    if planned:
        does = f"from gpu_results import plan; plan(journal, 'lstm', [{{'B': 3}}], {planned}); " + does
    command = part(("a", does + "; sys.exit()"))
    assert check.main(["--out", str(tmp_path), "--parts", "check"], command) == code
    assert said in (tmp_path / "summary.md").read_text()


def test_a_part_ends_at_once_whatever_its_threads_still_do():
    code = f"""if True:
        import sys, time
        from concurrent.futures import ThreadPoolExecutor
        sys.path[:0] = [{str(ROOT / "benchmarks")!r}, {str(ROOT)!r}]
        import gpu_part
        def part():
            ThreadPoolExecutor(1).submit(time.sleep, 60)
            raise SystemExit("the device does not answer")
        gpu_part.ends(part)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1 and done.stderr == "the device does not answer\n"


def test_checks_in_the_place_of_pytest_are_no_failure(check, part, tmp_path):
    does = "journal.write([row('tests', 'pytest', 'pytest', note='refused: pytest not installed')])"
    assert check.main(["--out", str(tmp_path), "--parts", "tests"], part(("a", does))) == 0


@pytest.mark.parametrize("arguments, said", [
    (["--parts", "bench,chek"], "check, train, micro, tests, bench are known, not 'chek'"),
    (["--minutes", "0.01"], "--minutes: expected more than"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is(arguments, said, check, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        check.main(["--out", str(tmp_path / "o"), *arguments], ["never"])
    assert ended.value.code == 2 and said in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_parts_are_done_in_their_order_however_they_are_named(check):
    assert check.parts("bench,check") == ["check", "bench"]
    assert check.options(["--out", "o"]).parts == ["check", "train", "micro", "tests", "bench"]


# --- as it is


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed: there may be a GPU")
def test_without_a_gpu_there_is_one_line_with_the_reason(tmp_path):
    # a `make test ARGS=...` around it hands its own on
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "gpu-check", f"OUT={tmp_path / 'o'}", f"PYTHON={sys.executable}", "ARGS="], cwd=ROOT,
                          env=alone, capture_output=True, text=True)  # fmt: skip
    line, *of_make = done.stderr.splitlines()
    assert done.returncode == 2 and all("make" in more for more in of_make) and done.stdout == ""
    assert line.startswith("gpu-check: nothing can be measured here: PyTorch ")
    assert line.endswith(("finds no CUDA device", "takes another Python")) and not list((tmp_path / "o").iterdir())


BARE = """
import sys
for name in ("yaml", "rich", "typer", "safetensors", "pooch", "threadpoolctl", "matplotlib", "sklearn", "numba",
             "pytest", "ml_dtypes", "hypothesis"):
    sys.modules[name] = None
sys.path[:0] = [{root!r} + "/benchmarks", {root!r}]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import gpu_check, gpu_part, gpu_summary
for part in ("check", "train", "micro", "tests", "bench"):
    gpu_part.function(part)
import gpu_correct, gpu_step_correct, gpu_ladder, gpu_train
assert gpu_ladder.kernels() and not gpu_ladder.runnable()
print(gpu_summary.summary([])[:3], sys.modules["minilstm_kernels"].__file__)
"""


def test_numpy_is_enough_to_start_it_in_a_tree_that_was_only_unpacked(tmp_path):
    """Besides CuPy and PyTorch, which are imported where the device is made."""
    code = BARE.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["#", "?", str(ROOT / "kernels" / "__init__.py")]


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_everything_with_the_cpu_in_the_place_of_a_gpu(script, tmp_path, monkeypatch):
    """In real processes, with a kernel among the others that takes its process with it in the benchmark."""
    monkeypatch.setenv("GPU_ON_CPU", "plain,dies")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    command = [sys.executable, str(ROOT / "tests" / "gpu_on_cpu.py")]
    assert script("gpu_check").main(["--out", str(tmp_path), "--parts", "bench", "--minutes", "1"], command) == 0
    found = script("gpu_results").read(tmp_path / "stand-in-1.csv")
    notes = [row["note"] for row in found if row["provider"] == "dies" and row["part"] == "bench"]
    assert notes[:2] == ["its process ended (exit code 9)"] * 2
    timed = {row["provider"] for row in found if row["y_50"] and row["kernel_name"] == "lstm"}
    assert timed == {"plain", "torch", "torch-graph"}
    assert "| float32 | full | 1, 3, 8 |" in (tmp_path / "summary.md").read_text()
