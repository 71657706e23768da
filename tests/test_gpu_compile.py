"""What is compiled ahead (benchmarks/gpu_compile.py) is what is launched, no more and no less, on the stand-in."""

import threading
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
def compiling(script, gpu, journal, monkeypatch):
    """A function: a compiler, sizes, seconds -> compiling(), and what is given to the compiler"""
    ahead, given = script("gpu_compile"), []

    def begin(compiler, sizes, seconds=60):
        def kernel(*how):
            given.append(how)
            return compiler(*how)

        monkeypatch.setattr(import_module("minilstm_kernels.cupy_launch"), "kernel", kernel)
        return ahead.compiling(gpu, journal, sizes, time.time() + seconds), given

    monkeypatch.setattr(ahead, "open_compiler", lambda cupy: given.append("opened"))
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 3)
    yield begin
    assert journal.was_doing() is None and not journal.rows


def test_all_are_compiled_once_after_the_compiler_was_opened(compiling):
    sizes = 2 * [(4, 12, "float32"), (4, 12, "tf32")]
    background, given = compiling(lambda *how: None, sizes)
    with background as ready:
        ready(*sizes)
    assert given[0] == "opened" and len(given) == len(set(given)) == 1 + 6 + 4    # the graph does not offer TF32
    assert {how[0] for how in given[1:]} == {"lstm_step.cu", "lstm_cluster.cu", "lstm_persistent.cu"}


def test_what_fails_among_others_is_tried_once_more_alone_and_then_passed_over(compiling):
    """As it is where compilations of a process get in each other's way while NVRTC's libraries are loaded."""
    tries, at_once, most = {}, 0, []

    def compiler(file, name, *options):
        nonlocal at_once
        tries[name] = tries.get(name, 0) + 1
        again = tries[name] > 1
        at_once += again
        time.sleep(0.02)
        if again:
            most.append(at_once)
        at_once -= again
        raise RuntimeError("failed to open libnvrtc-builtins")

    background, _ = compiling(compiler, [(4, 12, "float32")])
    with background as ready:
        ready((4, 12, "float32"))
    assert set(tries.values()) == {2} and set(most) == {1}


def test_the_first_size_does_not_wait_for_the_last(compiling):
    go_on = threading.Event()

    def compiler(file, name, *options):
        assert name in early or go_on.wait(30)

    sizes = [(4, 12, "float32"), (64, 512, "float32")]
    background, given = compiling(compiler, sizes)
    early = {how[1] for how in import_module("gpu_compile").kernels_of(background.args[0], *sizes[0])}
    with background as ready:
        ready(sizes[0])
        assert not go_on.is_set() and early <= {how[1] for how in given[1:]}
        go_on.set()
        ready(sizes[1])
    assert len(given) > 7


def test_when_the_time_is_up_nobody_waits_and_no_other_is_begun(compiling):
    stop, began = threading.Event(), time.monotonic()
    background, given = compiling(lambda *how: stop.wait(30), [(4, 12, "float32")], 0.2)
    with background as ready:
        ready((4, 12, "float32"))
    assert time.monotonic() - began < 5
    stop.set()
    time.sleep(0.1)
    assert len(given) == 3  # "opened", and one for each thread


def test_no_kernel_with_texts_of_its_own_is_nothing_to_compile(compiling, monkeypatch):
    monkeypatch.setattr(minilstm_kernels, "IMPLEMENTATIONS", ())
    background, given = compiling(None, [(4, 12, "float32")])
    with background as ready:
        ready((4, 12, "float32"))
    assert given == []


def test_the_compiler_is_opened_by_a_kernel_of_its_own(gpu, script):
    script("gpu_compile").open_compiler(gpu.cupy)
