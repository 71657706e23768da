"""What the kernels that keep their weights on the chip are made of (gpu_micro.cu), each measured alone: barriers
between blocks, the way to another block's memory, the common cache read by all, tensor cores, clusters that run at
once. From these numbers gpu_model.py says how long a step should take. Not yet run on a GPU: `make gpu-check
PARTS=micro`."""

import ctypes
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import numpy as np
from gpu_ladder import runnable

from minilstm.twins import registry

TIMES, THREADS, BYTES = 1000, 256, 64 * 1024    # what is repeated, a block, and what is read by all
CLUSTERS, STORAGE = (8, 16), {"float16": "__half", "bfloat16": "__nv_bfloat16", "tf32": "float"}
WEIGHTS = 200 * 1024    # bytes of shared memory of a block that keeps weights
SHARED_MEM = 8    # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


def on_chip(gpu, journal):
    """As gpu_micro.py has its measurements; none where there is no GPU with clusters of blocks."""
    if not {"cluster", "persistent"} <= {kernel.name for kernel in runnable()}:
        return
    cupy = gpu.cupy
    blocks = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["multiProcessorCount"]
    step = {"microseconds": lambda s: 1e6 * s / TIMES}
    shape = {"blocks": blocks, "threads": THREADS}
    yield "barrier of blocks", "ours", "", "", shape, partial(barrier_of_blocks, cupy, blocks), step
    yield "barrier of the grid", "cuda", "", "", shape, partial(barrier_of_grid, blocks), step
    for size in CLUSTERS:
        some = {"blocks": size, "threads": THREADS}
        at_once = blocks // size * size
        yield "barrier of a cluster", "cuda", "", "", some, partial(barrier_of_cluster, at_once, size), step
        yield "to another block", "cuda", "", "", some, partial(to_another_block, cupy, at_once, size), step
        yield "clusters at once", "cuda", "", "", some, lambda: lambda: None, {"clusters": partial(clusters, size)}
    bytes_read = blocks * BYTES * TIMES
    yield ("broadcast", "ours", "", "", {"bytes": BYTES, "blocks": blocks}, partial(broadcast, cupy, blocks),
           {"GB/s": lambda s: bytes_read / s / 1e9})  # fmt: skip
    products = blocks * THREADS // 32 * 8 * TIMES * 16 * 8
    for precision, storage in STORAGE.items():
        columns = 8 if precision == "tf32" else 16
        yield ("mma", "ours", precision, "", shape, partial(tensor_cores, cupy, blocks, storage),
               {"TFLOP/s": lambda s, n=products * columns: 2 * n / s / 1e12})  # fmt: skip


# --- each of them: prepares a call ------------------------------------------------------------------------------------


def barrier_of_blocks(cupy, blocks):
    kernel, given_up = compiled("barrier_of_blocks"), cupy.zeros(1, np.int32)

    def call():
        kernel((blocks,), (THREADS,), (np.int32(TIMES), cupy.zeros(1, np.uint32), given_up))

    return call


def barrier_of_grid(blocks):
    kernel = compiled("barrier_of_grid")
    return lambda: kernel((blocks,), (THREADS,), (np.int32(TIMES),))


def barrier_of_cluster(blocks, size):
    kernel = compiled(f"barrier_of_cluster<{size}>", cluster=size)
    return lambda: kernel((blocks,), (THREADS,), (np.int32(TIMES),))


def to_another_block(cupy, blocks, size):
    kernel, end = compiled(f"to_another_block<{size}>", cluster=size), cupy.zeros(blocks * 32, np.int32)
    return lambda: kernel((blocks,), (32,), (np.int32(TIMES), end))


def broadcast(cupy, blocks):
    kernel, mixed = compiled("broadcast"), cupy.zeros(blocks * THREADS, np.uint32)
    vectors = cupy.zeros(BYTES // 4, np.uint32)
    return lambda: kernel((blocks,), (THREADS,), (vectors, np.int32(BYTES // 16), np.int32(TIMES), mixed))


def tensor_cores(cupy, blocks, storage):
    kernel, sums = compiled(f"tensor_cores<{storage}>"), cupy.zeros(blocks * THREADS, np.float32)
    return lambda: kernel((blocks,), (THREADS,), (np.int32(TIMES), sums))


COOPERATIVE = ("barrier_of_blocks", "barrier_of_grid")
OTHERS = (
    *(f"{name}<{size}>" for name in ("barrier_of_cluster", "to_another_block") for size in CLUSTERS),
    "broadcast", *(f"tensor_cores<{storage}>" for storage in STORAGE.values()),
)  # fmt: skip


def compiled(name, cluster=1):
    """The kernel of gpu_micro.cu. All of a kind are compiled together: each alone would take as long."""
    launch = import_module(f"{registry()[0].__name__}.cupy_launch")
    function = _module(launch, COOPERATIVE if name in COOPERATIVE else OTHERS).get_function(name)
    if cluster > launch.DEFAULT_CLUSTER:
        set_attribute(function.kernel.ptr, launch.NON_PORTABLE_CLUSTER, 1)
    return function


@cache
def _module(launch, names):
    text = launch.text_of(Path(__file__).with_name("gpu_micro.cu"))
    return launch.cupy.RawModule(code=text, options=("-std=c++17",), name_expressions=names,
                                 enable_cooperative_groups=names is COOPERATIVE)  # fmt: skip


def set_attribute(function, attribute, value):
    from cupy_backends.cuda.api import driver

    driver.funcSetAttribute(function, attribute, value)


# --- how many clusters run at once ------------------------------------------------------------------------------------


class Attribute(ctypes.Structure):
    """CUlaunchAttribute of cuda.h, for the one whose value is the size of a cluster."""

    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("x", ctypes.c_uint), ("y", ctypes.c_uint),
                ("z", ctypes.c_uint), ("rest", ctypes.c_char * 52)]  # fmt: skip


class Config(ctypes.Structure):
    """CUlaunchConfig of cuda.h."""

    _fields_ = [(name, ctypes.c_uint) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared_mem")] + [
        ("stream", ctypes.c_void_p), ("attributes", ctypes.POINTER(Attribute)), ("n_attributes", ctypes.c_uint)
    ]  # fmt: skip


CLUSTER_DIMENSION = 4    # CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION


def clusters(size, seconds=None):
    """The most clusters of so many blocks that the driver has room for, where a block's weights leave none for another
    block on its multiprocessor."""
    function = compiled(f"barrier_of_cluster<{size}>", cluster=size).kernel
    set_attribute(function.ptr, SHARED_MEM, WEIGHTS)
    attribute = Attribute(id=CLUSTER_DIMENSION, x=size, y=1, z=1)
    config = Config(gx=size, gy=1, gz=1, bx=THREADS, by=1, bz=1, shared_mem=WEIGHTS,
                    attributes=ctypes.pointer(attribute), n_attributes=1)  # fmt: skip
    found, driver = ctypes.c_int(), ctypes.CDLL("libcuda.so.1")
    kernel = ctypes.c_void_p(function.ptr)
    error = driver.cuOccupancyMaxActiveClusters(ctypes.byref(found), kernel, ctypes.byref(config))
    if error:
        raise RuntimeError(f"cuOccupancyMaxActiveClusters: CUDA error {error}")
    return found.value
