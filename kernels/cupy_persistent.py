"""The whole recurrence as one GPU kernel, with weight_hh on the chip from the first step to the last, for any GPU since
Volta (lstm_persistent.cu).

Groups of blocks own some rows of the batch each, and all of the weights, in the registers and the shared memory of
their blocks; a step ends with a barrier of the group. `plan` says how the work is cut up (persistent_plan.py), or why
there is no room for the weights. A call is one launch, forward or backward, whatever T; a batch that is very large
takes several.

All blocks of a launch have to be on the GPU at once. CuPy makes a cooperative launch smaller where they do not fit, and
then the kernel would wait for blocks that never come: so they are counted before, and RuntimeError says what is
missing. And should a block never arrive for another reason, the others wait for some seconds, give up, and leave a word
in the host's memory: the next call raises RuntimeError, or `check()`, which waits for the device and then looks.
Between a launch that was given up and that error, results are worth nothing.

16 bits are multiplied by tensor cores with sums in float32 (compute capability 8.0 and newer); float32 and float64
exactly, by plain multiplications, unless one of VERSIONS is asked for: tensor cores in TF32, or in three products of
bfloat16 for each, nearly as accurate as float32. Compiled for sm_75 to sm_100, and executed on the CPU from the same
text; not yet measured on a GPU.
"""

from functools import cache, partial

import numpy as np

from .cupy_launch import STORAGE, cupy, kernel, launch
from .gpu_choice import no_room as reason_of
from .gpu_recurrence import backward_at_once, forward_at_once, states
from .persistent_plan import VERSIONS, Device, best_version, plan

__all__ = ["forward", "backward", "states", "no_room", "plan", "check", "VERSIONS"]

FILE = "lstm_persistent.cu"
POLLS = np.uint32(1 << 24)    # of a barrier, before a block gives up: some seconds
COUNTER = 32                  # unsigned numbers from one group's counter to the next: 128 bytes


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True, version=None):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) on the host or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)

    float32, float64, or float16 and bfloat16 with c0 and c_T in float32. version: which product of lstm_persistent.cu;
    None: the best for the dtype. Raises ValueError for arrays of other shapes or dtypes, that are not on the device, or
    for whose weights the chip has no room, and for a version that there is not for them, or not on this GPU;
    RuntimeError where blocks do not fit on the GPU, or gave up in a call before. """
    _check_the_last_calls()
    all_steps = partial(_launch, "forward", version)
    return forward_at_once(cupy, tuple(STORAGE), all_steps, x_gates, weight_hh, h0, c0, lengths, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh, version=None):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero); dc_T has the dtype of c_T
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H). Raises as forward does."""
    _check_the_last_calls()
    return backward_at_once(cupy, partial(_launch, "backward", version), dy, dh_T, dc_T, saved, weight_hh)


def no_room(B, H, dtype, need_cache=True, version=None):
    """Why the chip has no room for weights of H units, in what plan() says; None where it has. dtype: its name."""
    number = cupy.cuda.runtime.getDevice()
    try:
        version = _version(version, dtype, number)
    except ValueError as e:
        return str(e)
    return reason_of(plan, version, B, H, dtype, _device(number), need_cache)


def check():
    """Wait for the device, then raise RuntimeError if a block gave up since the last look."""
    cupy.cuda.runtime.deviceSynchronize()
    _check_the_last_calls()


# --- launches ---------------------------------------------------------------------------------------------------------


def _launch(direction, version, ins, outs):
    dtype, B, H, number = ins["weight_hh"].dtype, ins["B"], ins["H"], cupy.cuda.runtime.getDevice()
    version = _version(version, dtype.name, number)
    how = _plan(direction, version, B, H, dtype.name, _device(number))
    name = how.name(direction, version, STORAGE[dtype.name])
    _check_that_all_fit(name, how, number)
    for first in range(0, B, how.groups * how.rows):
        exchange = cupy.zeros((how.groups, 2, how.rows, how.columns), dtype)
        arrived = cupy.zeros(how.groups * COUNTER, np.uint32)
        shared = exchange, arrived, np.uint64(_given_up().ctypes.data), POLLS
        args = *ins.values(), first, how.blocks, *outs.values(), *shared
        launch(FILE, name, (how.groups * how.blocks,), (32 * how.warps,), args, shared_mem=how.shared_mem,
               cooperative=True)  # fmt: skip


_plan = cache(plan)


def _version(version, dtype, number):
    """This one, or the best for the dtype. Raises ValueError where the GPU has no tensor cores for it."""
    if _capability(number) >= (8, 0):
        return version or best_version(dtype)
    if version in VERSIONS.values():
        raise ValueError("kernel 'persistent': products of float32 in TF32 or bfloat16 need tensor cores of compute "
                         "capability 8.0 or newer, and this GPU has {}.{}".format(*_capability(number)))
    return version or 1


@cache
def _check_that_all_fit(name, how, number):
    """Raise RuntimeError unless all blocks of the launch can be on the GPU at the same time."""
    from cupy_backends.cuda.api import driver

    function = kernel(FILE, name, True, how.shared_mem).kernel
    each = driver.occupancyMaxActiveBlocksPerMultiprocessor(function.ptr, 32 * how.warps, how.shared_mem)
    room, wanted = each * _device(number).multiprocessors, how.groups * how.blocks
    if room < wanted:
        raise RuntimeError(f"kernel 'persistent': {wanted} blocks have to be on the GPU at once, and there is room for "
                           f"{room}; take another kernel")  # fmt: skip


@cache
def _device(number):
    found = cupy.cuda.runtime.getDeviceProperties(number)
    return Device(found["multiProcessorCount"], found["sharedMemPerBlockOptin"])


@cache
def _capability(number):
    """Raises ImportError where there are no cooperative launches."""
    found = cupy.cuda.runtime.getDeviceProperties(number)
    if found["major"] < 7:
        raise ImportError("it needs barriers between blocks, which GPUs have since compute capability 7.0 (Volta), and "
                          f"this one is {found['major']}.{found['minor']}")
    return found["major"], found["minor"]


# --- what blocks say when they give up --------------------------------------------------------------------------------


@cache
def _given_up():
    """(1,) int32, 0, in memory of the host that a GPU can write to: who looks at it does not wait for the device."""
    word = np.frombuffer(cupy.cuda.alloc_pinned_memory(4), np.int32, 1)
    word[0] = 0
    return word


def _check_the_last_calls():
    if _given_up()[0]:
        _given_up()[0] = 0
        raise RuntimeError("kernel 'persistent': in a call before this one some blocks waited for others that did not "
                           "come, and gave up; what was computed since the last check() is not to be used")


_capability(cupy.cuda.runtime.getDevice())    # where it cannot run this file is not to be imported
