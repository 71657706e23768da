"""How a kernel of a .cu file in this folder comes to run on CuPy arrays: compiled once, then launched.

CuPy compiles with NVRTC, which needs no CUDA toolkit, when a kernel is first launched (about a second), and keeps the
result on disk. A launch goes to CuPy's current stream, as all of CuPy's own work does, and returns before it is done.
"""

from functools import cache
from pathlib import Path

import numpy as np

from .gpu_device import cupy_with_a_gpu

cupy = cupy_with_a_gpu()

FOLDER = Path(__file__).parent
STORAGE = {    # what a dtype is called in a .cu file
    "float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double",
}  # fmt: skip
NULL = np.uint64(0)    # a pointer to nothing: None would be taken for no argument at all


def launch(file, name, grid, block, args, *, shared_mem=0, cooperative=False):
    """Launch the kernel `name` of `file`: "lstm_gates.cu", "gates_forward_2<float, 4>".

    args, in the order of its parameters: arrays, for pointers; None, for a null pointer; ints, for an int; and NumPy's
    scalars for anything else, since a Python float would be passed as a double. A grid needs at least one block.
    """
    kernel(file, name, cooperative)(grid, block, tuple(map(_argument, args)), shared_mem=shared_mem)


@cache
def kernel(file, name, cooperative=False):
    """The kernel that `launch` launches."""
    module = cupy.RawModule(
        code=(FOLDER / file).read_text(encoding="utf-8"), options=("-std=c++17",), name_expressions=(name,),
        enable_cooperative_groups=cooperative,
    )  # fmt: skip
    return module.get_function(name)


def _argument(a):
    if a is None:
        return NULL
    return np.int32(a) if isinstance(a, int) else a
