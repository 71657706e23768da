"""The GPU as the benchmark sees it: one stream that CuPy and PyTorch share, events to measure by, and graphs.

Whatever stands here for a GPU can be measured: the tests put the CPU in its place.
"""

import contextlib
import gc
import importlib
import platform
import subprocess
import time
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import numpy
from workers import Refused

from minilstm.twins import registry

AWAKE = 0.05  # seconds of work after which the clocks are up
# The device waits so much longer than the host has needed before, and this on top, but at most so many seconds
LEAD, REACTION, LONGEST = 1.5, 3e-5, 0.02
CYCLES = 2.5e9  # a second: more than any GPU's clock has, and so it waits rather longer


class Spoilt(Exception):
    """A graph could not be captured. What the libraries have begun meanwhile may not be ended in this process."""


class Gpu:
    """The first CUDA device."""

    kind = torch_device = "cuda"

    def __init__(self):
        self.torch, self.cupy = _torch(), _cupy()
        self.stream = self.torch.cuda.Stream()  # a graph can be captured only on a stream that is not the default
        properties = self.torch.cuda.get_device_properties(0)
        larger_than_the_cache = 2 * max(getattr(properties, "L2_cache_size", 0), 32 * 2**20)
        self.scratch = self.torch.empty(larger_than_the_cache, dtype=self.torch.uint8, device="cuda")

    @contextlib.contextmanager
    def working(self):
        """Within, CuPy and PyTorch both queue their work on the one stream, and so nobody waits for the other's."""
        with self.torch.cuda.stream(self.stream), self.cupy.cuda.ExternalStream(self.stream.cuda_stream):
            yield

    def seconds(self, call, calls, host=None) -> list[float]:
        """Of each call, between two events: the device's time with a full queue, for everybody alike. Before each the
        cache is overwritten, and the device waits until the host has queued the whole call, for which it needs `host`
        seconds, about. Where the device did not wait for long enough, that call does not count, and it waits longer for
        the next. (All count where none is quick enough: one that itself waits for the device, or fills its queue.)"""
        event = self.torch.cuda.Event
        events = [(event(enable_timing=True), event(enable_timing=True)) for _ in range(calls)]
        wait, in_time = LEAD * (self.host_seconds(call) if host is None else host) + REACTION, []
        for start, end in events:
            self.scratch.zero_()
            self.torch.cuda._sleep(round(min(wait, LONGEST) * CYCLES))
            start.record()
            call()
            end.record()
            in_time.append(not start.query())
            wait *= 1 if in_time[-1] else 2
        self.wait()
        taken = [start.elapsed_time(end) / 1e3 for start, end in events]
        return [s for s, good in zip(taken, in_time, strict=True) if good] or taken

    def host_seconds(self, call) -> float:
        """How long the host takes to queue a call, with nothing before it."""
        self.wait()
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    def seconds_with_host(self, call, calls) -> list[float]:
        """Of a call, one after the other and the cache as it is: what a program waits for, be it the GPU or the host
        that is slower. The mean of all calls."""
        self.wait()
        began = time.perf_counter()
        for _ in range(calls):
            call()
        self.wait()
        return [(time.perf_counter() - began) / calls]

    def wake(self):
        """Keep the GPU busy until its clocks are up. They fall while it has nothing to do, as when a kernel is compiled
        or numbers are drawn, and rise slowly."""
        until = time.perf_counter() + AWAKE
        while time.perf_counter() < until:
            for _ in range(20):
                self.scratch.zero_()
            self.wait()

    def capture(self, call):
        """-> a function that replays what `call` does as one CUDA graph, and what the call returned: the same memory is
        written at each replay. (`torch.cuda.graph` besides collects all garbage, which takes longer than measuring; and
        it forbids other threads to load a kernel meanwhile, as those do that compile.)"""
        for _ in range(3):
            call()
        self.wait()
        graph = self.torch.cuda.CUDAGraph()
        gc.disable()  # what is collected might belong to a graph, too
        try:
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                made = call()
            finally:
                graph.capture_end()  # raises, where the call has spoilt it
        except Exception as error:
            raise Spoilt(f"no graph could be made: {type(error).__name__}: {error}") from error
        finally:
            gc.enable()
        return graph.replay, made

    def stream_now(self) -> int:
        """CUDA's handle of the stream that work is queued on."""
        return self.torch.cuda.current_stream().cuda_stream

    def wait(self):
        self.torch.cuda.synchronize()

    def release(self):
        """Give back the memory that both libraries keep."""
        self.torch.cuda.empty_cache()
        self.cupy.get_default_memory_pool().free_all_blocks()

    def tensor(self, a):
        """A CuPy or NumPy array as PyTorch's, on the device."""
        if isinstance(a, self.cupy.ndarray):
            return self.torch.from_dlpack(a)
        return self.torch.from_numpy(a).to("cuda")

    def about(self) -> dict:
        """What a measurement depends on, besides the code."""
        torch, runtime = self.torch, self.cupy.cuda.runtime
        return {
            "gpu": torch.cuda.get_device_name(0), **_driver(), "cuda": torch.version.cuda,
            "cuda of cupy": str(runtime.runtimeGetVersion()), "cudnn": torch.backends.cudnn.version(),
            "torch": torch.__version__, "cupy": self.cupy.__version__,
        }  # fmt: skip


def _torch():
    try:
        import torch
    except ImportError:
        remedy = "PYTHON=... takes another Python"
        raise Refused(f"PyTorch is not installed, the rival that also holds the clock: {remedy}") from None
    if not torch.cuda.is_available():
        raise Refused(f"PyTorch {torch.__version__} finds no CUDA device")
    return torch


def _cupy():
    """CuPy, where it has a device; the reason where it has none is that of the kernels."""
    kernels, reason = registry()
    if kernels is None:
        raise Refused(reason)
    try:
        return importlib.import_module(f"{kernels.__name__}.gpu_device").cupy_with_a_gpu()
    except ImportError as error:
        raise Refused(f"CuPy: {error}") from error


def _driver():
    """The driver's version and the clocks, as nvidia-smi tells them; nothing where it does not."""
    asked = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "power.limit")
    try:
        command = ["nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader", "--id=0"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        driver, *clocks = (value.strip() for value in said.split(","))
        return {"driver": driver, "clocks": ", ".join(f"{n} {c}" for n, c in zip(asked[1:], clocks, strict=True))}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {"driver": "", "clocks": ""}


def circumstances(gpu) -> dict:
    """Everything that the row of a run says."""
    packages = {package: _version(package) for package in ("numba", "numba-cuda", "ml_dtypes")}
    return {**gpu.about(), **packages, "numpy": numpy.__version__, "python": platform.python_version(),
            "commit": _commit()}  # fmt: skip


def _version(package) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit():
    """The commit, or a fingerprint of the kernels where the tree was only unpacked."""
    from ulmfit.provenance import commit

    files = sorted(f for f in (Path(__file__).parents[1] / "kernels").iterdir() if f.suffix in (".py", ".cu", ".h"))
    return commit() or "kernels " + sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:10]
