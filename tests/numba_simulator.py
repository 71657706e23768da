"""A pytest plugin: the Numba CUDA kernels join the tests that are for every recurrence, executed on the CPU.

    NUMBA_ENABLE_CUDASIM=1 PYTHONPATH=tests python -m pytest -p numba_simulator --hypothesis-profile=simulator \\
        tests/test_recurrence.py -k simulated

Numba's simulator runs a thread of the system for every thread of the GPU, with the types of Python: it shows wrong
indices, wrong equations and what is not written, and it shows nothing of float32 arithmetic. What the host allocates
is full of NaN here, so that reading it before it is written shows too.
"""

import types

import numpy as np
from hypothesis import settings

import minilstm_kernels
from minilstm_kernels import Implementation, numba_gates

settings.register_profile("simulator", max_examples=8, deadline=None, derandomize=True)


def poisoned_numpy():
    """NumPy, but what `empty` returns is NaN."""
    module = types.ModuleType("numpy")
    module.__dict__.update({name: getattr(np, name) for name in dir(np) if name != "core"})
    module.empty = lambda shape, dtype: np.full(shape, np.nan, dtype)
    return module


numba_gates.UNITS, numba_gates.ROWS = 8, 2     # fewer threads that have nothing to do, and more blocks
numba_gates.GATES = numba_gates.GATES._replace(xp=poisoned_numpy())
minilstm_kernels.IMPLEMENTATIONS += (
    Implementation("simulated", "numba_gates", "cpu", ("numba",), "", "numba-cuda in the simulator"),
)
