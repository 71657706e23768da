"""What the tests of the CPU kernels share: teams of any size, numbers whose sums are exact, fresh processes."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import minilstm_kernels

try:
    minilstm_kernels.load("cpu")
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from minilstm_kernels import cpu_gemm, cpu_lstm, cpu_team  # noqa: E402, F401

ROOT = Path(__file__).resolve().parents[1]
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@contextmanager
def team_of(members):
    """In this block every call is divided among so many threads, however small it is."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(cpu_gemm, "WORTH", 1)
        m.setattr(cpu_lstm, "STEP_WORTH", 1)
        minilstm_kernels.set_num_threads(members)
        try:
            yield
        finally:
            minilstm_kernels.set_num_threads(None)


def whole(rng, *shape, dtype):
    """Whole numbers from -4 to 4: their products and sums are exact in any order, in float32 up to 2**24."""
    return rng.integers(-4, 5, shape).astype(dtype)


def fresh_python(code, timeout=600, **env):
    """-> what a new process wrote to stdout and to stderr"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
