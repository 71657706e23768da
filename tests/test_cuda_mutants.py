"""Whether the tests of the CUDA kernels would notice a bug: they are planted, one at a time, and run."""

import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import cuda_mutants
import cuda_on_cpu
import pytest

pytestmark = cuda_on_cpu.needs_gxx
HELPERS = {    # and which of the bugs: every sixth, ... (`python cuda_mutants.py gates_on_cpu 0 1` plants all of them)
    ("gates_on_cpu",): 6,
    ("step_on_cpu",): 4,
    ("cluster_on_cpu",): 12,
    ("persistent_on_cpu",): 9,
    ("masks_on_cpu", "embedding_on_cpu", "cross_entropy_on_cpu", "optim_on_cpu"): 6,
}
PROCESSES = os.cpu_count()


@pytest.mark.slow
@pytest.mark.parametrize("helpers", HELPERS, ids=" ".join)
def test_at_least_95_of_100_bugs_are_caught(helpers):
    fates = [fate for helper in helpers for fate in what_becomes_of_bugs(helper, HELPERS[helpers])]
    count = Counter(fate for fate, _ in fates)
    survivors = "".join(bug for fate, bug in fates if fate == "survived")
    assert count["caught"] + count["survived"] > 50 and count["refused"] < 0.1 * len(fates), count
    assert count["caught"] >= 0.95 * (count["caught"] + count["survived"]), f"{count}, not caught:\n{survivors}"


def what_becomes_of_bugs(helper, step):
    """-> (what became of it, the bug) for each step-th bug of a helper's text"""
    with TemporaryDirectory() as folder:    # for the libraries with bugs
        env = os.environ | {"TMPDIR": folder}
        command = [sys.executable, cuda_mutants.__file__, helper]
        started = [
            subprocess.Popen([*command, str(step * i), str(step * PROCESSES)], env=env, stdout=-1, stderr=-1, text=True)
            for i in range(PROCESSES)
        ]
        outputs = [process.communicate() for process in started]
    for process, (_, stderr) in zip(started, outputs, strict=True):
        assert process.returncode == 0, stderr
    return [json.loads(line) for stdout, _ in outputs for line in stdout.splitlines()]


@pytest.mark.parametrize("helper", [helper for helpers in HELPERS for helper in helpers])
def test_bugs_are_planted_in_every_function(helper):
    """And in none of the comments or signatures; each in one place."""
    text = importlib.import_module(helper).CODE
    lines = text.splitlines()
    seen = enumerate(cuda_mutants.for_gxx(text).splitlines())
    functions = [i for i, line in seen if "__device__" in line or "__global__" in line]
    planted = []
    for what, code in cuda_mutants.mutants(text):
        changed = [i for i, (a, b) in enumerate(zip(lines, code.splitlines(), strict=True)) if a != b]
        assert len(changed) == 1 and f"line {changed[0] + 1}:" in what
        assert not lines[changed[0]].lstrip().startswith(("//", "__global__", "template", "#"))
        planted += changed
    for begin, end in zip(functions, [*functions[1:], len(lines)], strict=True):
        assert any(begin <= i < end for i in planted) or "reinterpret_cast" in lines[begin + 1], lines[begin]


TELLING = """if True:
    import sys
    sys.path.insert(0, sys.argv[1])
    import cuda_mutants, numpy as np

    class module:
        NAMES_FOR_BUGS = ["f"]

        def check_bugs(kernels):
            x = np.zeros(4, np.float32)
            kernels("f")((1,), (4,), (x,))
            assert (x == 1).all()

    cuda_mutants.SECONDS = 1
    for statement in "x[i] = 1", "x[i] = 2", "x[i] = z", "for (volatile int k = 0;;) k = 1", "*(float*)8 = 1":
        code = "__global__ void f(float* x) { const int i = threadIdx.x; " + statement + "; }"
        print(cuda_mutants.fate(module, code), flush=True)
"""


def test_what_a_bug_does_is_told(tmp_path):
    """No bug, a wrong number, no C++, a loop without end, a crash."""
    command, env = [sys.executable, "-c", TELLING, Path(__file__).parent], os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["survived", "caught", "refused", "caught", "caught"], done.stderr
