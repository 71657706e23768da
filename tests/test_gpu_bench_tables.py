"""Tables, targets and plots from files of made-up measurements, which are never committed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilstm_kernels import gpu_choice

ROOT = Path(__file__).parents[1]
RUN = {"gpu": "Made Up 1", "driver": "580", "cuda": "13.0", "cudnn": 91000, "torch": "2.11", "cupy": "14.2",
       "clocks": "clocks.sm 1980 MHz", "commit": "0123456789abcdef"}  # fmt: skip


@pytest.fixture
def made(script):
    """A function: {(provider, layers, B, H, precision, mode): milliseconds} -> rows as they are read"""
    row = script("gpu_results").row

    def rows(times, more=()):
        of = [row("bench", "lstm", provider, precision=precision, mode=mode, values=[ms], metric="milliseconds",
                  shape={"T": 70, "B": B, "H": H, "layers": layers})
              for (provider, layers, B, H, precision, mode), ms in times.items()]  # fmt: skip
        return [row("run", "run", RUN["gpu"], note=json.dumps(RUN)), *of, *more]

    return rows


@pytest.fixture
def everything(script, made):
    """Every cell: ours as a given part of cuDNN's best, which is a graph of an algorithm; PyTorch takes twice that."""

    def rows(part, more=()):
        cells = script("gpu_cells")
        keys = [(c.layers, c.B, c.H, c.precision, mode) for c in cells.cells() for mode in cells.MODES]
        best = {key: 1 + n % 7 for n, key in enumerate(keys)}
        times = {("cudnn-standard-graph", *key): ms for key, ms in best.items()}
        times |= {("torch", *key): 2 * ms for key, ms in best.items()}
        times |= {("cupy", *key): 10 * ms for key, ms in best.items()}
        times |= {("graph", *key): ms * part(*key) for key, ms in best.items()}
        return made(times, more)

    return rows


def gates(script, rates, B=8192):
    """Rows of the gates in GB/s, and of a copy with 1000"""
    row = script("gpu_results").row
    found = [row("micro", "copy", "torch", precision="float32", shape={"bytes": 8}, metric="GB/s", values=[1000])]
    for H in (1152, 1150, 512):
        for mode in ("forward", "backward"):
            found += [row("micro", "gates", provider, precision="float32", mode=mode, shape={"B": B, "H": H},
                          metric="GB/s", values=[rate]) for provider, rate in rates.items()]  # fmt: skip
    return found


def verdicts(script, rows):
    """{the first words of a target: (number, verdict)}"""
    return {target.text: target.verdict(rows) for target in script("gpu_targets").TARGETS}


def cells_of(table, *begin):
    """The rest of the line of a table that begins like this"""
    (line,) = (line for line in table.splitlines() if line.startswith("| " + " | ".join(begin) + " |"))
    return [cell.strip() for cell in line.strip("|").split("|")][len(begin) :]


# --- ratios


@given(ours=st.lists(st.floats(0.01, 100), min_size=1, max_size=4), theirs=st.lists(st.floats(0.01, 100), min_size=1))
def test_a_ratio_is_of_our_fastest_and_of_cudnns_fastest(ours, theirs):
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(ROOT / "benchmarks")
        import gpu_rows
    rivals = ["torch", "torch-graph", "torch-arranged", "cudnn-standard", "cudnn-persist-static-graph"]
    times = dict(zip(("cupy", "graph", "numba-cuda", "cupy-v1"), ours, strict=False))
    times |= dict(zip(rivals, theirs, strict=False))
    times["persistent-bfloat16x3"] = 1e-3    # is not as exact as they, and does not count
    want = min(ours) / min(theirs[: len(rivals)])
    assert gpu_rows.ratio(times) == pytest.approx(want)
    assert gpu_rows.ratio({name: ms for name, ms in times.items() if name not in rivals}) is None
    assert gpu_rows.ratio({name: ms for name, ms in times.items() if name in rivals}) is None


def test_of_two_measurements_the_last_counts_and_who_was_left_out_does_not(script, made):
    row, key = script("gpu_results").row, (1, 64, 512, "float32", "full")
    rows = made({("graph", *key): 8.0, ("torch", *key): 4.0, ("cudnn-standard", *key): 5.0})
    later = made({("graph", *key): 2.0})
    refused = row("bench", "lstm", "cudnn-persist-static", precision="float32", mode="full", note="NOT_SUPPORTED",
                  shape={"T": 70, "B": 64, "H": 512, "layers": 1})  # fmt: skip
    ((found, ratio),) = script("gpu_rows").ratios([*rows, refused, *later]).items()
    assert ratio == 0.5 and (found["B"], found.precision) == (64, "float32")


# --- tables


def test_the_table_of_all_cells(script, made):
    key = (3, 16, 400, "bfloat16")
    rows = made({("graph", *key, "full"): 3.0, ("cupy", *key, "full"): 9.0, ("torch", *key, "full"): 6.0,
                 ("cudnn-standard", *key, "full"): 4.0, ("graph", *key, "inference"): 3.0})  # fmt: skip
    table = script("gpu_tables").cells_table(rows)
    assert cells_of(table, "bfloat16", "3", "400") == ["- / -", "75 % / -", "- / -", "- / -", "- / -"]
    assert sum("- / - | - / -" in line for line in table.splitlines()) == 4 * 2 * 4
    assert "| B = 1 | B = 16 | B = 32 | B = 64 | B = 128 |" in table


def test_the_summary_has_geometric_means_and_counts_what_was_measured(script, made):
    times = {}
    for B, ratio in ((1, 0.25), (64, 1.0)):
        key = (1, B, 512, "float16", "full")
        times |= {("graph", *key): 4 * ratio, ("cudnn-persist-static", *key): 4.0, ("torch", *key): 8.0}
    table = script("gpu_tables").summary_table(made(times))
    assert cells_of(table, "float16", "1") == ["50 %", "-", "200 %", "-", "2 of 40"]
    assert cells_of(table, "float16", "3") == ["-", "-", "-", "-", "0 of 40"]
    for said in ("Made Up 1", "driver 580", "CUDA 13.0", "cuDNN 91000", "PyTorch 2.11", "CuPy 14.2", "0123456789;"):
        assert said in table


def test_gates_are_shown_beside_a_copy(script, made):
    rows = made({}, gates(script, {"cupy": 900.0, "numba-cuda": 450.0}))
    table = script("gpu_tables").gates_table(rows)
    assert cells_of(table, "8192, 1152", "float32", "forward") == ["900 (90 %)", "450 (45 %)"]
    assert "A copy reaches 1,000 GB/s" in table


def test_the_summary_file_names_what_failed_and_who_was_left_out(script, everything):
    row = script("gpu_results").row
    more = [row("check", "lstm", "graph", precision="tf32", mode="check", shape={"B": 3}, note="dx is off by 3 times"),
            row("check", "lstm", "cupy", precision="tf32", mode="check", values=[0.5]),
            *[row("bench", "lstm", "cudnn-persist-static", note="CUDNN_STATUS_NOT_SUPPORTED")] * 3]  # fmt: skip
    text = script("gpu_summary").summary(everything(lambda *key: 0.4, more))
    assert "- check: 1 of 2 are well" in text and 'graph, tf32, {"B": 3}: dx is off by 3 times' in text
    assert "- cudnn-persist-static, 3 times: CUDNN_STATUS_NOT_SUPPORTED" in text
    assert "0.4 (graph)" in text and "1 (cudnn-standard-graph)" in text


def test_layers_side_by_side_stand_beside_layers_in_turn_and_the_best_there_could_be(script, made):
    of = (3, 64, 512, "bfloat16", "full")
    times = {("graph", *of): 3.0, ("graph-wave2", *of): 2.4, ("graph-wave4", *of): 1.8, ("cupy-wave2", *of): 1.0}
    table = script("gpu_summary").waves_table(made(times))
    assert cells_of(table, "bfloat16", "full", "3, 64, 512", "graph", "2") == ["3", "2.4", "80 %", "67 %"]  # 4 of 6
    assert cells_of(table, "bfloat16", "full", "3, 64, 512", "graph", "4") == ["3", "1.8", "60 %", "50 %"]  # 6 of 12
    assert table.count("\n") == 3  # nothing of the kernel that was not measured in turn
    assert script("gpu_rows").ratio({"graph": 3.0, "graph-wave4": 1.8, "torch": 3.6}) == 0.5


@pytest.mark.parametrize("rows", [0, 1])
def test_a_summary_can_be_made_of_next_to_nothing(rows, script, made):
    assert script("gpu_summary").summary(made({})[:rows]).startswith("# Made Up 1" if rows else "# ?")


# --- targets


def test_without_measurements_no_target_is_met(script, made):
    assert set(verdicts(script, made({})).values()) == {("-", "not measured")}


def test_targets_that_are_met(script, everything):
    def part(layers, B, H, precision, mode):
        return 0.9 if precision == "float16" and layers == 1 and H in (256, 512) and B > 1 else 0.4

    row = script("gpu_results").row
    steps = [row("bench", "recurrence", "graph", precision="bfloat16", mode="inference", metric="milliseconds",
                 values=[ms], shape={"T": 70, "B": 64, "H": H, "layers": 1})
             for H, ms in ((512, 0.07), (1150, 0.28))]  # fmt: skip
    steps += [row("bench", "language model", name, precision="float32", mode="full", metric="tokens/s", values=[rate])
              for name, rate in (("ulmfit", 151e3), ("torch", 100e3))]  # fmt: skip
    found = verdicts(script, everything(part, [*gates(script, {"cupy": 850, "numba-cuda": 700}), *steps]))
    assert {verdict for _, verdict in found.values()} == {"met"}
    numbers = [number for number, _ in found.values()]
    assert numbers[:6] == ["0.85", "1.21", "0.20", "0.40", "0.90", "0.40"] and numbers[-2:] == ["1.00", "4.00"]


@pytest.mark.parametrize("layers, B, H, precision, factor, name, met", [
    ((3,), (64,), (512,), "float32", 2.5, "`graph`", False),
    ((3,), (128,), (512,), "float32", 2.5, "`graph`", True),
    ((3,), (64,), (1150,), "float32", 2.5, "`graph`", True),
    ((1,), (16, 32, 64, 128), (512,), "float16", 3.0, "the same", False),
    ((1,), (1,), (256, 512), "float16", 3.0, "the same", True),
    ((3,), (16, 32, 64, 128), (256, 512), "float16", 3.0, "the same", True),
    ((1, 3), (64, 128), (1150,), "float32", 1.11, "float32, H = 1150", False),
    ((1, 3), (64, 128), (1150,), "float32", 1.11, "all but", True),
    ((1,), (1,), (256,), "tf32", 1.01, "all but", False),
    ((1, 3), (1, 16, 32, 64, 128), (256, 400, 512, 1150), "tf32", 2.0, "all cells", True),
    ((1, 3), (1, 16, 32, 64, 128), (256, 400, 512, 1150), "tf32", 2.1, "all cells", False),
    ((1, 3), (1, 16, 32, 64, 128), (256, 400, 512, 1150), "bfloat16", 1.5, "ours over", False),
])  # fmt: skip
def test_each_target_is_of_its_own_cells(layers, B, H, precision, factor, name, met, script, everything):
    def part(*key):
        return factor if key[0] in layers and key[1] in B and key[2] in H and key[3] == precision else 0.4

    (mine,) = (value for text, value in verdicts(script, everything(part)).items() if text.startswith(name))
    assert mine[1] == ("met" if met else "**missed**")


def test_what_holds_so_far_is_not_yet_met(script, everything):
    rows = everything(lambda *key: 0.4)
    last = [rows[-1][name] for name in ("shape", "precision", "mode")]
    found = verdicts(script, [row for row in rows if [row[name] for name in ("shape", "precision", "mode")] != last])
    assert found["all cells: geometric mean"] == ("0.40 (319 of 320 cells)", "so far")


@pytest.mark.parametrize("rates, verdict", [
    ({"cupy": 849.0}, "**missed**"), ({"cupy": 100.0, "cupy-v1": 900.0}, "met"), ({}, "not measured"),
])  # fmt: skip
def test_the_best_version_of_the_gates_is_held_against_the_copy(rates, verdict, script, made):
    found = verdicts(script, made({}, gates(script, rates)))
    assert found["gates, thousands of rows: part of the bandwidth of a copy"][1] == verdict


def test_small_gates_do_not_count(script, made):
    found = verdicts(script, made({}, gates(script, {"cupy": 900.0, "numba-cuda": 100.0}, B=64)))
    assert {value for text, value in found.items() if text.startswith("gates")} == {("-", "not measured")}


# --- READMEs


@pytest.fixture
def root(tmp_path):
    """A copy of what the report reads and writes."""
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "fuzz" / "corpus", tmp_path / "tests" / "fuzz" / "corpus")
    (tmp_path / "kernels").mkdir()
    for file in ("README.md", "kernels/README.md", "kernels/gpu_times.csv"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def report(root, *args):
    return subprocess.run([sys.executable, root / "benchmarks" / "report.py", *args], capture_output=True, text=True)


def between(text, name):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL).group(1)


def test_the_tables_and_the_plot_come_into_the_readmes(root, script, everything):
    assert not list(root.glob("benchmarks/results/made*")), "made-up measurements are never committed"
    script("gpu_results").Journal(root / "benchmarks/results/made-up-1.csv").write(everything(lambda *key: 0.4))
    assert report(root, "--check").returncode == 1
    done = report(root)
    assert done.returncode == 0, done.stderr
    text = (root / "README.md").read_text()
    gpu = between(text, "gpu")
    assert "**Made Up 1**" in gpu and "not yet measured" not in gpu and "| target |" in gpu
    assert cells_of(gpu, "tf32", "3") == ["40 %", "40 %", "200 %", "200 %", "40 of 40"]
    plot = re.search(r"\((benchmarks/results/plots/made-up-1.svg)\)", gpu).group(1)
    drawn = (root / plot).read_text()
    assert all(said in drawn for said in ("H = 256", "H = 1150", "bfloat16, 3"))
    cells = between((root / "kernels/README.md").read_text(), "gpu_cells")
    assert cells_of(cells, "float32", "1", "512") == ["40 % / 40 %"] * 5
    assert report(root, "--check").returncode == 0
    assert report(root).returncode == 0 and (root / plot).read_text() == drawn


LOOP = ("recurrence", "float32", "full", {"T": 70, "B": 64, "H": 512, "layers": 1})


def loop(script, provider, ms, what=LOOP, part="bench", note=""):
    kernel_name, precision, mode, shape = what
    return script("gpu_results").row(part, kernel_name, provider, precision=precision, mode=mode, shape=shape,
                                     metric="milliseconds", values=[] if note else [ms], note=note)  # fmt: skip


def test_the_table_by_which_auto_chooses_has_the_last_time_of_every_kernel_that_it_can_take(root, script, made):
    """No versions of a ladder, no whole LSTMs, no rivals, and nobody whose check failed or who was left out."""
    half = (*LOOP[:1], "bfloat16", "inference", LOOP[3] | {"B": 16})
    first = [loop(script, provider, ms) for provider, ms in
             {"graph": 0.28, "graph-v1": 0.1, "cluster": 0.14, "persistent": 0.07, "torch": 0.01}.items()]  # fmt: skip
    first += [loop(script, "cupy", 0.07, half), loop(script, "cupy", 1, ("lstm", *LOOP[1:]))]
    first.append(loop(script, "persistent", 1, ("recurrence", "float32", "check", {}), "check", "y is off by 3 times"))
    first.append(loop(script, "numba-cuda", 1, note="refused: too large"))
    of = script("gpu_results").Journal, root / "benchmarks/results/made-up-1.csv"
    of[0](of[1], "a").write([*made({})[:1], *first])
    later = made({})[0] | {"note": json.dumps(RUN | {"commit": "later"})}
    of[0](of[1], "b").write([later, loop(script, "graph", 0.21)])
    assert report(root).returncode == 0
    commit = RUN["commit"]
    assert (root / "kernels/gpu_times.csv").read_text().splitlines()[1:] == [
        f"Made Up 1,cluster,float32,full,64,512,2,{commit}",
        f"Made Up 1,cupy,bfloat16,inference,16,512,1,{commit}",
        "Made Up 1,graph,float32,full,64,512,3,later",
    ]
    cells = gpu_choice.read(root / "kernels/gpu_times.csv")["Made Up 1", "float32", "full"]
    assert cells == {512: {64: {"cluster": 2.0, "graph": 3.0}}}


def test_a_table_by_which_auto_chooses_that_is_behind_is_noticed(root):
    path = root / "kernels/gpu_times.csv"
    path.write_text(path.read_text() + "Made Up 1,graph,float32,full,64,512,3,later\n")
    done = report(root, "--check")
    assert done.returncode == 1 and "kernels/gpu_times.csv is behind benchmarks/results" in done.stderr
    assert report(root).returncode == 0 and report(root, "--check").returncode == 0


def test_without_results_the_readmes_say_how_to_get_them(script, monkeypatch):
    monkeypatch.setattr(script("gpu_rows"), "files", dict)
    monkeypatch.setattr(script("gpu_tables"), "files", dict)
    for of_file in script("gpu_tables").TABLES.values():
        for table in of_file.values():
            said = "Compiled and executed on the CPU, not yet measured on a GPU: `make gpu-check OUT=dir` measures"
            assert table().startswith(said)


def test_other_results_are_not_taken_for_a_gpus(script):
    assert not {"lstm.csv", "gates.csv", "runs.csv", "install.csv"} & script("gpu_rows").files().keys()
