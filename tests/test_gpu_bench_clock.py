"""The clock of the GPU benchmark, with a PyTorch and a CuPy that only write down what they are asked to do."""

import os
import sys
import time
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest

SMI = "#!/bin/sh\necho '580.65.06, 1980 MHz, 2619 MHz, 1980 MHz, 700.00 W'\n"


@pytest.fixture
def log():
    return []


@pytest.fixture
def gpu(log, script, monkeypatch):
    """A Gpu whose libraries write to `log`."""

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing
            self.n = sum(entry == "event" for entry in log)
            log.append("event")

        def record(self):
            log.append(("record", self.n))

        def query(self):
            log.append(("query", self.n))
            return ("begun", self.n) in log

        def elapsed_time(self, end):
            return 1000.0 * self.n + end.n

    class Graph:
        def capture_begin(self, capture_error_mode):
            assert capture_error_mode == "thread_local"
            log.append("begin")

        def capture_end(self):
            log.append("end")

        def replay(self):
            log.append("replay")

    @contextmanager
    def on(stream, who):
        log.append((who, stream))
        yield

    scratch = SimpleNamespace(zero_=lambda: log.append("flush"))
    cuda = SimpleNamespace(
        is_available=lambda: True, Stream=lambda: SimpleNamespace(cuda_stream=99), Event=Event, CUDAGraph=Graph,
        get_device_properties=lambda n: SimpleNamespace(L2_cache_size=50 * 2**20),
        synchronize=lambda: log.append("wait"), _sleep=lambda cycles: log.append(("sleep", cycles)),
        stream=lambda s: on(s.cuda_stream, "torch"), empty_cache=lambda: log.append("empty"),
    )  # fmt: skip
    torch = SimpleNamespace(cuda=cuda, uint8="uint8", empty=lambda n, **_: log.append(("scratch", n)) or scratch)
    pool = SimpleNamespace(free_all_blocks=lambda: log.append("free"))
    cupy = SimpleNamespace(get_default_memory_pool=lambda: pool,
                           cuda=SimpleNamespace(ExternalStream=lambda s: on(s, "cupy")))  # fmt: skip
    clock = script("gpu_clock")
    monkeypatch.setattr(clock, "_torch", lambda: torch)
    monkeypatch.setattr(clock, "_cupy", lambda: cupy)
    return clock.Gpu()


def test_a_call_stands_between_its_two_events_and_behind_an_emptied_cache(gpu, log):
    assert log == [("scratch", 100 * 2**20)]
    log.clear()
    assert gpu.seconds(lambda: log.append("call"), 2, 0.001) == [0.001, 2.003]
    sleep = ("sleep", round((1.5e-3 + 3e-5) * 2.5e9))
    first = ["flush", sleep, ("record", 0), "call", ("record", 1), ("query", 0)]
    second = ["flush", sleep, ("record", 2), "call", ("record", 3), ("query", 2)]
    assert log == ["event"] * 4 + first + second + ["wait"]


def test_the_device_waits_longer_where_the_host_was_too_slow_and_such_a_call_does_not_count(gpu, log, monkeypatch):
    log.clear()
    log.append(("begun", 0))
    assert gpu.seconds(lambda: None, 2, 0.001) == [2.003]
    first, second = (entry[1] for entry in log if entry[0] == "sleep")
    assert second == pytest.approx(2 * first)
    log.extend(("begun", n) for n in range(0, 20, 2))
    assert len(gpu.seconds(lambda: None, 6, 0.001)) == 6  # nobody can be quick enough for that one
    assert max(entry[1] for entry in log if entry[0] == "sleep") == round(0.02 * 2.5e9)


def test_what_the_host_needs_is_measured_with_an_empty_queue(gpu, log):
    log.clear()
    assert 0.02 <= gpu.host_seconds(lambda: time.sleep(0.02)) < 1 and log == ["wait"]
    assert 0.02 <= gpu.seconds_with_host(lambda: time.sleep(0.02), 3)[0] < 1 and log == ["wait"] * 3


def test_it_is_kept_busy_until_its_clocks_are_up(gpu, log, script, monkeypatch):
    monkeypatch.setattr(script("gpu_clock"), "AWAKE", 0.02)
    log.clear()
    began = time.perf_counter()
    gpu.wake()
    assert time.perf_counter() - began >= 0.02 and log[:21] == ["flush"] * 20 + ["wait"] and log[-1] == "wait"


def test_both_libraries_work_on_one_stream(gpu, log):
    with gpu.working():
        assert log[-2:] == [("torch", 99), ("cupy", 99)]


def test_a_graph_is_captured_after_a_warm_up_and_replayed(gpu, log):
    log.clear()
    replay, made = gpu.capture(lambda: log.append("call") or "made")
    assert log == ["call"] * 3 + ["wait", "begin", "call", "end"] and made == "made"
    replay()
    assert log[-1] == "replay"


@pytest.mark.parametrize("spoilt", [False, True], ids=["", "and cannot even be ended"])
def test_a_capture_that_fails_is_ended(spoilt, gpu, log, script):
    def end():
        log.append("end")
        if spoilt:
            raise RuntimeError("capture invalidated")

    gpu.torch.cuda.CUDAGraph.capture_end = staticmethod(lambda *_: end())
    calls = iter([1, 2, 3])
    with pytest.raises(script("gpu_clock").Spoilt, match="capture invalidated" if spoilt else "StopIteration"):
        gpu.capture(lambda: next(calls))
    assert log[-2:] == ["begin", "end"]
    import gc

    assert gc.isenabled()


def test_memory_goes_back_in_both_libraries(gpu, log):
    gpu.release()
    assert log[-2:] == ["empty", "free"]


# --- what there is


@pytest.mark.parametrize("answer, driver, clocks", [
    (SMI, "580.65.06", "clocks.sm 1980 MHz, clocks.mem 2619 MHz, clocks.max.sm 1980 MHz, power.limit 700.00 W"),
    ("#!/bin/sh\nexit 9\n", "", ""), ("#!/bin/sh\necho broken\n", "", ""), (None, "", ""),
])  # fmt: skip
def test_the_driver_and_the_clocks_are_read_where_they_can_be(answer, driver, clocks, script, tmp_path, monkeypatch):
    if answer is not None:
        (tmp_path / "nvidia-smi").write_text(answer)
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere" if answer is None else f"{tmp_path}{os.pathsep}/bin")
    assert script("gpu_clock")._driver() == {"driver": driver, "clocks": clocks}


def test_why_there_is_no_gpu_is_said(script, monkeypatch):
    clock, Refused = script("gpu_clock"), script("workers").Refused
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Refused, match="PyTorch is not installed"):
        clock._torch()
    blind = ModuleType("torch")
    blind.__version__, blind.cuda = "2.13.0+cpu", SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", blind)
    with pytest.raises(Refused, match=r"PyTorch 2.13.0\+cpu finds no CUDA device"):
        clock._torch()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(Refused, match="CuPy: .*cupy"):
        clock._cupy()


def test_a_tree_without_git_is_known_by_its_kernels(script, monkeypatch):
    clock = script("gpu_clock")
    monkeypatch.setattr("ulmfit.provenance.commit", lambda: None)
    name = clock._commit()
    assert name.startswith("kernels ") and len(name) == 18 and name == clock._commit()
    monkeypatch.setattr("ulmfit.provenance.commit", lambda: "0123")
    assert clock._commit() == "0123"
