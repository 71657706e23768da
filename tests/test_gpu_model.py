"""benchmarks/gpu_model.py, which predicts, and gpu_barriers.py with gpu_micro.cu, which measures what it predicts from:
the kernels are executed on the CPU, where their times mean nothing but what they compute can be checked."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import cuda_on_cpu
import cupy_on_cpu
import numpy as np
import pytest
from cupy_on_cpu import in_place_of_cupy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu_barriers  # noqa: E402
import gpu_model  # noqa: E402
import gpu_predictions  # noqa: E402
from gpu_results import Journal, row  # noqa: E402

BLOCKS = 16
CELLS = [(direction, B, H, precision) for direction in ("forward", "backward") for B in (1, 33, 128)
         for H in (256, 1150) for precision in gpu_model.PRECISIONS]  # fmt: skip


# --- the model --------------------------------------------------------------------------------------------------------


def test_the_floor_is_the_products_at_the_full_rate():
    """512 units, 64 rows: 67.1 million multiply-adds; 132 multiprocessors with 100 a cycle, 1755 cycles a
    microsecond."""
    assert gpu_model.floor(gpu_model.Gpu(), "forward", 64, 512, "float32") == pytest.approx(67.108864e6 / 23.166e6)


@pytest.mark.parametrize("design", ["cluster", "persistent", "graph", "cupy"])
def test_no_design_is_faster_than_the_floor_nor_slower_on_a_faster_gpu(design):
    slow = gpu_model.Gpu()
    fast = slow._replace(barrier=0.5, cluster_barrier=0.1, cache=9e3, mma=1500, mma_tf32=800, fma=120, node=1, launch=2)
    for cell in CELLS:
        times = [gpu_model.DESIGNS[design](gpu, *cell) for gpu in (slow, fast)]
        if times[0] is None:
            not_offered = cell[3] in gpu_model.STORED and design in ("graph", "cupy")
            assert (not_offered or cell[2] == 1150 and design == "cluster") and times[1] is None
        else:
            assert all(t >= gpu_model.floor(gpu, *cell) for t, gpu in zip(times, (slow, fast), strict=True))
            assert times[1] < times[0]


def test_what_has_been_measured_takes_the_place_of_assumptions(tmp_path):
    journal = Journal(tmp_path / "gpu.csv")
    journal.write([
        row("micro", "barrier of blocks", "ours", metric="microseconds", values=[0.8, 0.9, 1.3]),
        row("micro", "mma", "ours", precision="bfloat16", metric="TFLOP/s", values=[463.32]),
        row("micro", "mma", "ours", precision="tf32", metric="TFLOP/s", values=[231.66]),
        row("micro", "broadcast", "ours", note="could not be run"),
        row("bench", "broadcast", "ours", metric="GB/s", values=[1]),
    ])  # fmt: skip
    gpu = gpu_model.measured(tmp_path / "gpu.csv")
    assert gpu.mma == pytest.approx(1000)    # of 132 multiprocessors with 1.755 GHz
    assert gpu.mma_tf32 == pytest.approx(500) and gpu == gpu_model.Gpu(barrier=0.9, mma=gpu.mma, mma_tf32=gpu.mma_tf32)


def test_the_table_has_a_line_for_every_size():
    lines = gpu_model.table(gpu_model.Gpu())
    assert len(lines) == 2 + 4 * 4 * 5 and len({line.count("|") for line in lines}) == 1
    assert next(line for line in lines if "float32, 1150, 64" in line).split("|")[3] == " -, - "


# --- predictions that are written down --------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path, monkeypatch):
    """-> the rows of a file of predictions, made now"""
    for module in ("gpu_predictions", "gpu_rows", "tables"):
        monkeypatch.setattr(f"{module}.RESULTS", tmp_path)
    gpu_predictions.write()
    return gpu_predictions.results(gpu_predictions.FILE)


def test_every_cell_is_predicted_and_the_rates_are_with_it(written):
    gpu, times = gpu_model.Gpu(), gpu_predictions.times(written)
    rates = {row["precision"]: float(row["microseconds"]) for row in written if row["design"] == gpu_predictions.RATE}
    assert rates == gpu._asdict()
    assert len(written) == len(rates) + 5 * 4 * 4 * 5 * 2
    cell = "persistent", "bfloat16", 64, 1150
    forward, backward = (gpu_model.persistent(gpu, d, 64, 1150, "bfloat16") for d in ("forward", "backward"))
    assert times[*cell, "inference"] == pytest.approx(forward, abs=1e-3)
    assert times[*cell, "full"] == pytest.approx(forward + backward, abs=1e-3)
    assert ("cluster", "float32", 1, 1150, "full") not in times    # no room for the weights


def test_a_prediction_that_is_there_is_not_changed_and_what_is_new_is_added(written, tmp_path, monkeypatch):
    path = tmp_path / gpu_predictions.FILE
    kept = [line for line in path.read_text().splitlines() if "tf32" not in line]    # as it was before there was any
    path.write_text("\n".join(kept) + "\n")
    monkeypatch.setattr(gpu_predictions, "Gpu", lambda: gpu_model.Gpu(fma=50, mma_tf32=500))
    gpu_predictions.write()
    lines = path.read_text().splitlines()
    assert lines[: len(kept)] == kept and len(lines) == len(written) + 1
    assert all("tf32" in line for line in lines[len(kept) :]) and "rate,mma_tf32,,,,500" in path.read_text()


def test_the_table_names_the_design_that_is_expected_to_be_the_fastest(written):
    times, text = gpu_predictions.times(written), gpu_predictions.predictions_table()
    cells = next(line for line in text.splitlines() if line.startswith("| bfloat16 | 512 |")).split(" | ")
    best = min(gpu_predictions.KERNELS, key=lambda design: times[design, "bfloat16", 1, 512, "full"])
    assert cells[2].startswith(best) and "fma 100" in text and "measured / predicted" not in text


def test_predictions_are_held_against_what_was_measured(written, tmp_path):
    times = gpu_predictions.times(written)
    journal, shape = Journal(tmp_path / "gpu.csv"), {"T": 70, "B": 16, "H": 512, "layers": 1}
    for precision, factor in (("bfloat16", 2), ("float16", 8)):    # of the same prediction
        ms = factor * times["cluster", "bfloat16", 16, 512, "full"] * 70 / 1e3
        journal.write([row("bench", "recurrence", "cluster", precision=precision, mode="full", shape=shape,
                           metric="milliseconds", values=[ms])])  # fmt: skip
    journal.write([row("bench", "recurrence", "numba-cuda", precision="float32", mode="full", shape=shape,
                       metric="milliseconds", values=[1.0])])    # nobody has predicted it  # fmt: skip
    assert gpu_predictions.ratios(times, gpu_predictions.files()["gpu.csv"]) == {"cluster": pytest.approx([2, 8])}
    line = next(line for line in gpu_predictions.predictions_table().splitlines() if line.startswith("| cluster |"))
    assert line == "| cluster | 4.00 | 2.00 to 8.00 | 2 |"


def test_every_cell_that_was_measured_stands_beside_its_floor():
    found = row("bench", "recurrence", "cluster", precision="float16", mode="inference", metric="milliseconds",
                shape={"T": 70, "B": 64, "H": 512, "layers": 1}, values=[0.14])  # fmt: skip
    slower = found | {"provider": "graph", "y_50": "0.28"}
    *_, line = gpu_predictions.floors_table([found, slower]).splitlines()
    assert line == "| float16 | inference | 64, 512 | cluster | 2 | 0.263 | 7.59 |"


def test_before_anything_is_predicted_the_table_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("tables.RESULTS", tmp_path)
    assert gpu_predictions.predictions_table() == gpu_predictions.NOT_YET


# --- what is measured -------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """The device of gpu_clock.py, as far as it is asked here"""
    monkeypatch.setitem(cupy_on_cpu.PROPERTIES, "multiProcessorCount", BLOCKS)
    for name, small in (("TIMES", 3), ("THREADS", 64), ("BYTES", 4096)):
        monkeypatch.setattr(gpu_barriers, name, small)
    with in_place_of_cupy() as cupy:
        yield type("Gpu", (), {"cupy": cupy})


@cuda_on_cpu.needs_gxx
def test_every_measurement_runs_and_every_number_is_a_rate(gpu, monkeypatch):
    monkeypatch.setattr(gpu_barriers, "clusters", lambda size, seconds: 132 // size)    # only a driver can say
    found = {}
    for name, _, precision, _, shape, work, rate in gpu_barriers.on_chip(gpu, None):
        call = work()
        with cuda_on_cpu.recording() as launches:
            call()
        ((metric, of),) = rate.items()
        found[name, precision, shape["blocks"]] = metric, of(2.0), launches
    assert {name for name, *_ in found} == set(gpu_model.MEASURED) | {
        "barrier of the grid", "to another block", "clusters at once"}  # fmt: skip
    assert found["barrier of blocks", "", BLOCKS][:2] == ("microseconds", 2e6 / 3)
    assert found["clusters at once", "", 16][:2] == ("clusters", 8)
    assert found["broadcast", "", BLOCKS][:2] == ("GB/s", BLOCKS * 4096 * 3 / 2 / 1e9)
    # of each warp in each round 8 products of 16 by 8 by 16
    assert found["mma", "float16", BLOCKS][:2] == ("TFLOP/s", 2 * BLOCKS * 2 * 3 * 8 * 2048 / 2 / 1e12)


@cuda_on_cpu.needs_gxx
def test_the_kernels_do_what_they_say(gpu):
    cupy = gpu.cupy
    counter, given_up = cupy.zeros(1, np.uint32), cupy.zeros(1, np.int32)
    kernel = gpu_barriers.compiled("barrier_of_blocks")
    kernel((5,), (32,), (np.int32(7), counter, given_up))
    assert int(counter[0]) == 35 and not int(given_up[0])
    end = cupy.zeros(512, np.int32)
    gpu_barriers.compiled("to_another_block<16>", cluster=16)((16,), (32,), (np.int32(37), end))
    assert (end.get() == np.tile((np.arange(32) + 5) % 32, 16)).all()
    vectors, mixed = cupy.asarray(np.arange(64, dtype=np.uint32) ** 3), cupy.zeros(64, np.uint32)
    gpu_barriers.compiled("broadcast")((2,), (32,), (vectors, np.int32(16), np.int32(3), mixed))
    of_lanes = np.bitwise_xor.reduce(np.arange(64, dtype=np.uint32).reshape(16, 4) ** 3, axis=1)
    assert (mixed.get().reshape(2, 32) == np.concatenate([of_lanes, np.zeros(16)])).all()    # three times is once
    sums = cupy.zeros(32, np.float32)
    gpu_barriers.compiled("tensor_cores<__nv_bfloat16>")((1,), (32,), (np.int32(3), sums))
    assert (sums.get() == 3 * 8 * 4 * 16).all()
    gpu_barriers.compiled("tensor_cores<float>")((1,), (32,), (np.int32(3), sums))
    assert (sums.get() == 3 * 8 * 4 * 8).all()


def test_a_cluster_counts_with_the_weights_that_its_blocks_keep(monkeypatch):
    """So that no two blocks are on one multiprocessor."""
    asked = {}

    class Driver:
        def cuOccupancyMaxActiveClusters(self, found, kernel, config):
            asked.update(threads=config._obj.bx, shared=config._obj.shared_mem, size=config._obj.attributes[0].x)
            found._obj.value = 8
            return 0

    function = type("F", (), {"kernel": type("K", (), {"ptr": 5})})
    monkeypatch.setattr(gpu_barriers, "compiled", lambda name, cluster: function)
    monkeypatch.setattr(gpu_barriers, "set_attribute", lambda *given: asked.update(given=given))
    monkeypatch.setattr(gpu_barriers.ctypes, "CDLL", lambda name: Driver())
    assert gpu_barriers.clusters(16) == 8
    assert asked == {"threads": 256, "shared": 200 * 1024, "size": 16, "given": (5, 8, 200 * 1024)}


@cuda_on_cpu.needs_gxx
def test_kernels_of_a_kind_are_compiled_together(gpu, monkeypatch):
    made, RawModule = [], gpu.cupy.RawModule
    monkeypatch.setattr(gpu.cupy, "RawModule", lambda **how: made.append(how["name_expressions"]) or RawModule(**how),
                        raising=False)  # fmt: skip
    for name in (*gpu_barriers.COOPERATIVE, *gpu_barriers.OTHERS):
        gpu_barriers.compiled(name)
    assert made == [gpu_barriers.COOPERATIVE, gpu_barriers.OTHERS]


def test_where_the_kernels_are_not_there_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(gpu_barriers, "runnable", list)
    assert list(gpu_barriers.on_chip(None, None)) == []


def test_structures_of_the_driver_are_as_in_its_header():
    """Of CUDA 13.0: cuda.h, CUlaunchConfig and CUlaunchAttribute."""
    config, attribute = gpu_barriers.Config, gpu_barriers.Attribute
    offsets = [getattr(config, name).offset for name in ("stream", "attributes", "n_attributes")]
    assert offsets == [32, 40, 48] and ctypes.sizeof(config) == 56
    assert attribute.x.offset == 8 and ctypes.sizeof(attribute) == 72


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_nvcc_compiles_them_for_hopper_without_spills(tmp_path):
    kernels = ["barrier_of_blocks", "barrier_of_grid", "barrier_of_cluster<16>", "to_another_block<8>", "broadcast",
               "tensor_cores<__half>", "tensor_cores<__nv_bfloat16>", "tensor_cores<float>"]  # fmt: skip
    source = tmp_path / "all.cu"
    wanted = ", ".join(f"(void*)({kernel})" for kernel in kernels)
    source.write_text(f'#include "{ROOT / "benchmarks" / "gpu_micro.cu"}"\nvoid* wanted[] = {{{wanted}}};\n')
    command = ["nvcc", "-std=c++17", "-arch=sm_90", "-cubin", "-Xptxas=-v", f"-I{ROOT / 'kernels'}"]
    done = subprocess.run([*command, source, "-o", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(" 0 bytes spill stores, 0 bytes spill loads") == len(kernels)
