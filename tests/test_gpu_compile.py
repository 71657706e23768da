"""What is compiled ahead (benchmarks/gpu_compile.py) is what is launched, no more and no less, on the stand-in."""

import time
from importlib import import_module
from types import SimpleNamespace

import cupy_on_cpu
import numpy as np
import pytest
from cupy_problems import problem

import minilstm_kernels

SIZES = [(1, 5), (4, 12), (3, 400), (64, 512), (16, 1150)]


@pytest.fixture
def gpu():
    with cupy_on_cpu.in_place_of_cupy() as cupy:
        yield SimpleNamespace(cupy=cupy, kind="cuda")


@pytest.fixture
def journal(script, tmp_path):
    return script("gpu_results").Journal(tmp_path / "a.csv", "run")


def asked_for(name, cupy, B, H, dtype, monkeypatch):
    """-> the kernels of a forward and a backward, which are not executed"""
    module, asked = minilstm_kernels.load(name), []

    def kernel(*how):
        asked.append(how)
        return lambda *launch: None

    def launch(file, name, grid, block, args, *, shared_mem=0, cooperative=False, cluster=1):
        asked.append((file, name, cooperative, shared_mem, cluster))

    for function, stand_in in (("kernel", kernel), ("launch", launch), ("_check_that_all_fit", lambda *_: None)):
        if hasattr(module, function):
            monkeypatch.setattr(module, function, stand_in)
    ins, d = problem(cupy, 2, B, H, dtype)
    saved = module.forward(*ins.values())[3]
    module.backward(*d.values(), saved, ins["weight_hh"])
    return {how for how in asked if not how[1].startswith(("pack", "publish"))}


@pytest.mark.parametrize("name", ["graph", "cluster", "persistent"])
@pytest.mark.parametrize("precision", ["float32", "float64", "float16", "bfloat16"])
def test_what_is_compiled_is_what_is_launched(name, precision, gpu, script, monkeypatch):
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
    dtype, none = np.dtype(precision), 0
    for B, H in SIZES:
        ahead = script("gpu_compile").launched(gpu, name, B, H, precision)
        try:
            assert set(ahead) == asked_for(name, gpu.cupy, B, H, dtype, monkeypatch)
        except ValueError as error:  # there is no room, in one direction at least
            assert "more than" in str(error) and len(ahead) < 2
            none += 1
    assert none < len(SIZES)


@pytest.fixture
def compile_ahead(script, gpu, journal, monkeypatch):
    """A function: a compiler, sizes, seconds -> what it was given to compile"""

    def ahead(compiler, sizes, seconds):
        given = []
        monkeypatch.setattr(import_module("minilstm_kernels.cupy_launch"), "kernel",
                            lambda *how: given.append(how) or compiler(*how))  # fmt: skip
        script("gpu_compile").compile_ahead(gpu, journal, sizes, time.time() + seconds)
        assert journal.was_doing() is None and not journal.rows
        return given

    return ahead


def test_all_are_compiled_once_and_one_that_cannot_be_stops_nobody(compile_ahead):
    def compiler(file, name, *options):
        raise RuntimeError("it spills")

    given = compile_ahead(compiler, 2 * [(4, 12, "float32"), (4, 12, "tf32")], 60)
    assert len(given) == len(set(given)) == 6 + 4    # the graph does not offer TF32
    assert {how[0] for how in given} == {"lstm_step.cu", "lstm_cluster.cu", "lstm_persistent.cu"}


def test_when_the_time_is_up_no_other_is_begun(compile_ahead, script, monkeypatch):
    monkeypatch.setattr(script("gpu_compile").os, "cpu_count", lambda: 1)
    assert 1 <= len(compile_ahead(lambda *how: time.sleep(0.3), [(4, 12, "float32")], 0.2)) < 6


def test_no_kernel_with_texts_of_its_own_is_nothing_to_compile(compile_ahead, monkeypatch):
    monkeypatch.setattr(minilstm_kernels, "IMPLEMENTATIONS", ())
    assert compile_ahead(None, [(4, 12, "float32")], 60) == []
