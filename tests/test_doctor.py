"""`ulmfit doctor`: it shows what is here, finds what is broken, and has a plain word for what is missing."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import succeeds, ulmfit

from minilstm import available_kernels, recurrence
from ulmfit import pretrained
from ulmfit.commands import doctor, machine, self_test

ROOT = Path(__file__).resolve().parents[1]


def diagnosis(answer):
    assert answer.err == ""
    return json.loads(answer.out)


def by_name(found, what="kernels"):
    return {one["name"]: one for one in found[what]}


# --- on this machine -------------------------------------------------------------------------------------------------


def test_it_tests_every_kernel_that_can_run_within_ten_seconds():
    start = time.perf_counter()
    found = diagnosis(succeeds("doctor", "--json"))
    assert time.perf_counter() - start < 10
    assert found["works"] is True and found["faults"] == []
    kernels = by_name(found)
    assert kernels.keys() == {k.name for k in available_kernels()}
    for k in available_kernels():
        tested = kernels[k.name]
        if k.reason is None and k.device != "cuda":
            assert tested["fault"] is tested["reason"] is None
            assert 0 < tested["error"] < 1e-5 and tested["milliseconds"] > 0
        elif k.reason is not None:
            assert tested["reason"] == k.reason and tested["error"] is tested["milliseconds"] is None
    assert found["chosen"] == found["kernels"][0 if kernels["cpu"]["reason"] is None else -1]["name"]
    assert [m["about"] for m in found["models"]] == ["4,459,800 parameters, 15,000 words, verified"] * 2
    assert found["machine"]["numpy"] == np.__version__ and "in the kernels" in found["machine"]["threads"]


def test_the_tables_say_the_same():
    out = succeeds("doctor").out
    for words in ("This machine", "Shipped models", "Kernels", "numpy", "NVIDIA driver", "threads", "reference"):
        assert words in out
    assert out.count("yes: 4,459,800 parameters") == 2
    assert "Everything that is available here works. Layers on the CPU compute with" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_device_that_is_not_there_is_said_below_the_tables(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(doctor, "try_kernels", list)
    answer = ulmfit("doctor", "--device", "cuda")
    assert (answer.code, answer.err) == (1, "") and "Shipped models" in answer.out
    reason = "--device cuda: cupy is not installed: pip install cupy-cuda13x (or cupy-cuda12x)"
    assert f"Not in order: {reason}; or use --device cpu." in " ".join(answer.out.split())
    found = diagnosis(ulmfit("doctor", "--device", "cuda", "--json"))
    assert found["works"] is False and found["faults"] == [f"{reason}; or use --device cpu"]
    assert diagnosis(ulmfit("doctor", "--device", "cpu", "--json"))["works"] is True


def test_what_to_install_is_said_once(monkeypatch):
    absent = self_test.Tested("a", "cuda", "", "cupy is not installed: pip install cupy-cuda13x", None, None, None)
    broken = absent._replace(name="b", reason="b cannot be imported: it is not installed well: really")
    monkeypatch.setattr(doctor, "try_kernels", lambda: [absent, absent._replace(name="c"), broken])
    out = succeeds("doctor").out
    assert out.count("no: cupy is not installed ") == 2 and out.count("pip install cupy-cuda13x") == 1
    assert "\ncupy is not installed: pip install cupy-cuda13x\n" in out and "no: b cannot be imported: it is" in out


# --- what is broken --------------------------------------------------------------------------------------------------


class Broken(recurrence.ReferenceRecurrence):
    """The plain version, but for one result, to which something is done."""

    def __init__(self, place, change):
        self.place, self.change = place, change

    def forward(self, *arguments):
        return self.spoiled(super().forward(*arguments), self.place)

    def backward(self, *arguments):
        return self.spoiled(super().backward(*arguments), self.place - 3)

    def spoiled(self, results, n):
        return [self.change(a) if i == n and i < 3 else a for i, a in enumerate(results)]


def swap_i_and_f(dgates):
    i, f, g, o = np.split(dgates, 4, axis=-1)
    return np.concatenate([f, i, g, o], axis=-1)


def add_nan(a):
    return np.where(np.arange(a.size).reshape(a.shape) == 3, np.float32("nan"), a)


@pytest.mark.parametrize("place, change, said", [
    (0, lambda y: y + np.float32(2e-5), "wrong: y"),
    (2, lambda c: c[::-1], "wrong: c_T"),
    (3, swap_i_and_f, "wrong: dgates"),
    (4, add_nan, "wrong: dh0"),
    (5, lambda dc: 1 / 0, "ZeroDivisionError: division by zero"),
])
def test_a_kernel_that_computes_something_else_is_found(place, change, said, monkeypatch):
    listed = [*available_kernels(), recurrence.KernelInfo("new", "cpu", "a new kernel", None)]
    right = recurrence.get_recurrence
    monkeypatch.setattr(self_test, "available_kernels", lambda: listed)
    monkeypatch.setattr(self_test, "get_recurrence", lambda n: Broken(place, change) if n == "new" else right(n))
    answer = ulmfit("doctor", "--json")
    found = diagnosis(answer)
    assert answer.code == 1 and found["works"] is False and found["faults"] == ["kernel new"]
    assert by_name(found)["new"]["fault"] == said
    assert all(k["fault"] is None for k in found["kernels"] if k["name"] != "new")
    answer = ulmfit("doctor")
    assert answer.code == 1 and "IT FAILS:" in answer.out and "Not in order: kernel new." in answer.out


def flip_a_bit(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1000] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def exchange(folder):
    """A whole model, but another than the card describes."""
    shutil.copy(pretrained.MODELS / "backward" / "card.json", folder)


@pytest.mark.parametrize("spoil, said", [
    (flip_a_bit, "model.safetensors"),
    (exchange, "is not the file that card.json describes; install minilstm anew"),
    (lambda folder: (folder / "model.safetensors").unlink(), "the package's model is missing; install minilstm anew"),
    (lambda folder: (folder / "vocab.json").write_text("["), "vocab.json"),
    (lambda folder: (folder / "card.json").unlink(), "card.json"),
])
def test_a_damaged_model_is_found(spoil, said, tmp_path, monkeypatch):
    models = shutil.copytree(pretrained.MODELS, tmp_path / "models")
    spoil(models / "forward")
    monkeypatch.setattr(pretrained, "MODELS", models)
    monkeypatch.setattr(doctor, "try_kernels", list)
    answer = ulmfit("doctor", "--json")
    found = diagnosis(answer)
    assert answer.code == 1 and found["faults"] == ["model forward"]
    models = by_name(found, "models")
    assert said in models["forward"]["fault"] and models["backward"]["fault"] is None


# --- what is missing: packages that are not what they seem, each in a process of its own -----------------------------

NO_NUMBA = "sys.modules['numba'] = None"
CUPY = """
class ndarray: pass
class cuda:
    is_available = staticmethod(lambda: {count!r} == 1)
    class runtime:
        class CUDARuntimeError(RuntimeError): pass
        def getDeviceCount():
            if isinstance({count!r}, str): raise cuda.runtime.CUDARuntimeError({count!r})
            return {count!r}
        driverGetVersion, runtimeGetVersion = lambda: {driver}, lambda: 13020
"""
TOO_OLD = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"


def diagnosis_elsewhere(tmp_path, code=0, first="pass", **packages):
    """What doctor says in a process in which these packages are found before all others."""
    for name, source in packages.items():
        (tmp_path / f"{name}.py").write_text(source)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = f"import sys; {first}; from ulmfit.cli import main; sys.exit(main(['doctor', '--json']))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", command], cwd=ROOT, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert by_name(found)["reference"]["error"] < 1e-5  # whatever happens, this can be computed with
    return found


def test_without_numba_and_cupy_the_plain_version_works(tmp_path):
    found = diagnosis_elsewhere(tmp_path, first=f"{NO_NUMBA}; sys.modules['cupy'] = None")
    assert found["chosen"] == "reference"
    kernels = by_name(found)
    assert kernels["cpu"]["reason"] == "numba is not installed: pip install numba"
    assert kernels["numba-cuda"]["reason"] == "numba is not installed: pip install numba cupy-cuda13x"
    assert kernels["cupy"]["reason"].startswith("cupy is not installed: pip install cupy-cuda13x")


def test_a_broken_numba_is_a_fault_and_the_plain_version_works(tmp_path):
    found = diagnosis_elsewhere(tmp_path, code=1, numba="raise RuntimeError('no LLVM')")
    assert found["chosen"] == "reference" and found["faults"] == ["kernel cpu", "kernel cpu-packed", "kernel cpu-gates"]
    assert by_name(found)["cpu"]["fault"] == "cpu cannot be imported: RuntimeError: no LLVM"


@pytest.mark.parametrize("cupy, said", [
    (CUPY.format(count=TOO_OLD, driver=0), "there is no NVIDIA driver"),
    (CUPY.format(count=TOO_OLD, driver=12040), "the NVIDIA driver is too old: it knows CUDA up to 12.4, and this CuPy"),
    ("raise RuntimeError('CuPy is not correctly installed')", "RuntimeError: CuPy is not correctly installed"),
], ids=["no driver", "old driver", "broken"])
def test_without_a_gpu_the_cpu_works_and_the_reason_is_plain(cupy, said, tmp_path):
    pytest.importorskip("numba", reason="pip install 'minilstm[numba]'", exc_type=ImportError)
    found = diagnosis_elsewhere(tmp_path, cupy=cupy)
    assert found["chosen"] == "cpu" and by_name(found)["cpu"]["error"] < 1e-5
    for kernel in ("cupy", "numba-cuda"):
        reason = by_name(found)[kernel]["reason"]
        assert reason.startswith(f"{kernel} cannot be imported: ") and said in reason


@pytest.mark.parametrize("first, said", [
    ("sys.modules['numba.cuda'] = None", "ModuleNotFoundError: import of numba.cuda halted"),
    ("import numba.cuda as c; c.is_available = lambda: False; c.cuda_error = lambda: 'old driver'",
     "Numba cannot use the GPU: old driver"),
], ids=["absent", "old driver"])  # fmt: skip
def test_where_numba_alone_has_no_cuda_the_cpu_works(first, said, tmp_path):
    pytest.importorskip("numba", reason="pip install 'minilstm[numba]'", exc_type=ImportError)
    without = "[i for i in k.IMPLEMENTATIONS if 'cupy' not in i.module]"
    first += f"; import minilstm_kernels as k; k.IMPLEMENTATIONS = {without}"
    found = diagnosis_elsewhere(tmp_path, first=first, cupy=CUPY.format(count=1, driver=13020))
    assert found["chosen"] == "cpu" and said in by_name(found)["numba-cuda"]["reason"]


# --- GPUs, as a driver would describe them ---------------------------------------------------------------------------


class Driver:
    """What libcuda.so.1 answers on a machine with two GPUs."""

    names, gibibytes, capabilities = ["NVIDIA H200", "Tesla T4"], [140, 15], [(9, 0), (7, 5)]

    def cuInit(self, flags):
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = 13020

    def cuDeviceGetCount(self, count):
        count._obj.value = 2

    def cuDeviceGet(self, device, n):
        device._obj.value = 7 + n

    def cuDeviceGetName(self, name, size, device):
        name.value = self.names[device - 7].encode()
        assert len(name.value) < size

    def cuDeviceTotalMem_v2(self, size, device):
        size._obj.value = self.gibibytes[device - 7] * 2**30

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = self.capabilities[device - 7][{75: 0, 76: 1}[attribute]]


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: {"libcuda.so.1": driver}[name])
    monkeypatch.setattr(machine, "RELEASE", Path("/no such file"))
    return driver


def test_gpus_are_named_with_memory_and_capability(driver, monkeypatch, tmp_path):
    both = "NVIDIA H200, 140 GiB, compute capability 9.0; Tesla T4, 15 GiB, compute capability 7.5"
    assert machine.gpus() == ("for CUDA up to 13.2", both)
    (tmp_path / "version").write_text("595.45.04\n")
    monkeypatch.setattr(machine, "RELEASE", tmp_path / "version")
    assert machine.gpus() == ("595.45.04, for CUDA up to 13.2", both)


def test_a_driver_without_a_gpu(driver, monkeypatch):
    monkeypatch.setattr(Driver, "cuInit", lambda self, flags: 100)
    assert machine.gpus() == ("for CUDA up to 13.2", None)


def test_no_driver_or_a_stub_of_one(driver, monkeypatch):
    monkeypatch.setattr(Driver, "cuDriverGetVersion", lambda self, version: 34)
    assert machine.gpus() == (None, None)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: ctypes.cdll.LoadLibrary("libcuda_is_not_here.so.1"))
    assert machine.gpus() == (None, None)
