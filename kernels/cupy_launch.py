"""How a kernel of a .cu file in this folder comes to run on CuPy arrays: compiled once, then launched.

CuPy compiles with NVRTC, which needs no CUDA toolkit, when a kernel is first launched (about a second), and keeps the
result on disk. A launch goes to CuPy's current stream, as all of CuPy's own work does, and returns before it is done.
"""

import re
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


DEFAULT_SHARED, DEFAULT_CLUSTER = 48 * 1024, 8    # bytes and blocks that a kernel has without asking
NON_PORTABLE_CLUSTER = 14    # CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED


def launch(file, name, grid, block, args, *, shared_mem=0, cooperative=False, cluster=1):
    """Launch the kernel `name` of `file`: "lstm_gates.cu", "gates_forward_2<float, 4>".

    args, in the order of its parameters: arrays, for pointers; None, for a null pointer; ints, for an int; and NumPy's
    scalars for anything else, since a Python float would be passed as a double. A grid needs at least one block.
    cluster: how many blocks are one, as __cluster_dims__ in the file says.
    """
    function = kernel(file, name, cooperative, shared_mem, cluster)
    function(grid, block, tuple(map(_argument, args)), shared_mem=shared_mem)


def kernel(file, name, cooperative=False, shared_mem=0, cluster=1):
    """The kernel that `launch` launches on CuPy's current device."""
    return _kernel(cupy.cuda.runtime.getDevice(), file, name, cooperative, shared_mem, cluster)


@cache
def _kernel(device, file, name, cooperative, shared_mem, cluster):
    """What it may take is asked for on each device anew."""
    module = cupy.RawModule(
        code=text_of(file), options=("-std=c++17",), name_expressions=(name,),
        enable_cooperative_groups=cooperative,
    )  # fmt: skip
    function = module.get_function(name)
    if shared_mem > DEFAULT_SHARED:
        function.max_dynamic_shared_size_bytes = shared_mem
    if cluster > DEFAULT_CLUSTER:
        from cupy_backends.cuda.api import driver

        driver.funcSetAttribute(function.kernel.ptr, NON_PORTABLE_CLUSTER, 1)
    return function


def text_of(file):
    """A file's text, with that of the files of this folder it includes in their places: CuPy keeps what it has compiled
    by the text that it is given, and would not see that an included file has changed."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    return re.sub(r'#include "(\w+\.cuh?)"', lambda include: text_of(include[1]), text)


def _argument(a):
    if a is None:
        return NULL
    return np.int32(a) if isinstance(a, int) else a
