"""The Numba CUDA kernels without a GPU: executed in Numba's simulator, and compiled for GPUs that are not here.

Both happen in processes of their own: Numba reads NUMBA_ENABLE_CUDASIM when it is imported, and without the simulator
the kernels' file refuses to be imported where there is no GPU.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="pip install 'minilstm[numba]'", exc_type=ImportError)

ROOT = Path(__file__).resolve().parents[1]
PROCESSORS = ("75", "80", "86", "89", "90")     # those that all supported compilers know
MOST_REGISTERS = 64                             # of a thread: 1024 of them fit a multiprocessor's 65536


def fresh_python(*arguments, **env):
    """-> what a new process, which finds what the tests share, wrote to stdout"""
    path = os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path} | env
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_promise_of_a_recurrence_holds_in_the_simulator(tmp_path):
    """All of test_recurrence.py, but a long case and what follows from the comparison with the reference."""
    said = fresh_python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'pt'}", "-p", "numba_simulator",
        "--hypothesis-profile=simulator", "tests/test_recurrence.py",
        "-k", "simulated and not T40 and not gradient_is_right", NUMBA_ENABLE_CUDASIM="1",
    )  # fmt: skip
    assert int(re.search(r"(\d+) passed", said)[1]) >= 15


SPECIAL = """
import numpy as np
from numba_simulator import numba_gates
from minilstm_kernels import gpu_recurrence
rng = np.random.default_rng(0)
T, B, H = 3, 4, 10
x, w, h0, c0 = (rng.standard_normal(shape) for shape in ((T, B, 4 * H), (4 * H, H), (B, H), (B, H)))

x[1, 2, 3] = np.nan                         # passed on, and to no other row
y, h_T, c_T, saved = numba_gates.forward(x, w, h0, c0)
dgates, dh0, dc0 = numba_gates.backward(y, None, None, saved, w)
for a in (y, dgates):
    assert np.isnan(a[1:, 2]).any() and np.isfinite(np.delete(a, 2, axis=1)).all()
assert np.isnan(y[1, 2, 3]) and np.isfinite(y[0]).all() and np.isnan(dh0[2]).any()

x[1, 2, 3] = -np.inf                        # the gate is shut
_, _, _, saved = numba_gates.forward(x, w, h0, c0)
assert gpu_recurrence.states(saved)[2][1, 2, 3] == 0

for gate in (-708.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 708.0, 1e300):  # all digits, and no overflow
    want = 1 / (1 + np.exp(np.longdouble(-gate)))
    assert abs(numba_gates.sigmoid.py_func(gate) - want) <= 4e-16 * want, gate
numba_gates.forward(x[:, :0], w, h0[:0], c0[:0])
try:
    numba_gates.forward(x, w.T, h0, c0)
except ValueError as error:
    print(error)
"""


def test_special_values_empty_batches_and_wrong_shapes_in_the_simulator():
    said = fresh_python("-c", SPECIAL, NUMBA_ENABLE_CUDASIM="1")
    assert said == "weight_hh: expected float64 (40, 10), got float64 (10, 40)\n"


COMPILE = """
import json, sys, types
from unittest import mock
import numpy
from numba import boolean, cuda, float32, float64, int32, int64
import numba.cuda.dispatcher as dispatcher
from numba.cuda.cudadrv import nvvm
from minilstm_kernels import gpu_device
if not nvvm.is_available():
    sys.exit(print(json.dumps("libnvvm is missing: it is part of the CUDA toolkit, or pip install 'numba-cuda[cu13]'")))
gpu_device.cupy_with_a_gpu = lambda: numpy
with mock.patch.object(cuda, "is_available", lambda: True):
    from minilstm_kernels import numba_gates as kernels
compiled = {}
for real in (float32, float64):
    two, three = real[:, ::1], real[:, :, ::1]
    arguments = {
        "gates_forward": (*[int64] * 4, boolean, three, int32[::1], three, three, three, three),
        "gates_backward": (*[int64] * 2, three, two, int32[::1], three, three, two, two, three),
    }
    for name, types_ in arguments.items():
        for processor in sys.argv[1:]:
            capability = int(processor[:-1]), int(processor[-1])
            device = types.SimpleNamespace(compute_capability=capability)
            with mock.patch.object(dispatcher, "get_current_device", lambda: device):  # asked for device functions
                ptx, _ = cuda.compile_ptx(getattr(kernels, name).py_func, types_, cc=capability)
            compiled[f"{name} {real} {processor}"] = ptx if isinstance(ptx, str) else ptx.decode()
print(json.dumps(compiled))
"""


@pytest.fixture(scope="module")
def ptx():
    """{"kernel dtype processor": what the compiler made of it}"""
    compiled = json.loads(fresh_python("-c", COMPILE, *PROCESSORS, NUMBA_ENABLE_CUDASIM="0").splitlines()[-1])
    if isinstance(compiled, str):
        pytest.skip(compiled)
    return compiled


def test_both_kernels_compile_for_every_processor(ptx):
    assert len(ptx) == 2 * 2 * len(PROCESSORS)
    for name, text in ptx.items():
        kernel, _, processor = name.split()
        assert f".target sm_{processor}" in text and re.search(rf"\.entry \w*{kernel}", text), name


def test_float32_is_never_computed_in_float64(ptx):
    """Nor are there divisions of integers, which take longer than all of a unit's equations."""
    for name, text in ptx.items():
        assert bool(re.search(r"\.f64\b", text)) == ("float64" in name), name
        assert not re.search(r"\b(div|rem)\.[su]\d\d", text), name


def test_nothing_is_spilled_and_registers_suffice_for_all_threads(ptx, tmp_path):
    if shutil.which("ptxas") is None:
        pytest.skip("ptxas, of the CUDA toolkit, is not there")
    for name, text in ptx.items():
        if "float32" not in name:
            continue
        (tmp_path / "kernel.ptx").write_text(text)
        command = ["ptxas", "-v", f"-arch=sm_{name.split()[2]}", "kernel.ptx", "-o", "kernel.cubin"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr, name
        assert int(re.search(r"Used (\d+) registers", done.stderr)[1]) <= MOST_REGISTERS, name
