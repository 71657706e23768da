"""The whole recurrence as one GPU kernel, with weight_hh on the chip from the first step to the last (lstm_cluster.cu),
for GPUs whose blocks form clusters: compute capability 9.0 (Hopper) and newer.

A cluster owns some rows of the batch and all of the weights, which lie in the registers and the shared memory of its
blocks. `plan` says how they are cut up (cluster_plan.py), or why they are too many: there is room up to H = 704 in 16
bits, 512 in float32 and 256 in float64. A call is two launches, forward or backward, whatever T: the first one puts the
weights into the order in which threads fetch them.

16 bits are multiplied by tensor cores with sums in float32; float32 and float64 exactly, by plain multiplications,
unless another of VERSIONS is asked for: tensor cores in TF32, or in three products of bfloat16 for each.
Compiled for sm_90 and sm_100, and executed on the CPU from the same text; not yet measured on a GPU.
"""

from functools import cache, partial

from .cluster_plan import VERSIONS, Device, best_version, plan
from .cupy_launch import STORAGE, cupy, launch
from .gpu_choice import no_room as reason_of
from .gpu_recurrence import backward_at_once, forward_at_once, states

__all__ = ["forward", "backward", "states", "no_room", "plan", "VERSIONS"]

FILE = "lstm_cluster.cu"
THREADS = 256    # a block of the kernels that put weights in order


def forward(x_gates, weight_hh, h0, c0, lengths=None, need_cache=True, version=None):
    """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) on the host or None
    -> y (T,B,H), h_T (B,H), c_T (B,H), Saved (None with need_cache=False)

    float32, float64, or float16 and bfloat16 with c0 and c_T in float32. version: which product of lstm_cluster.cu;
    None: the best for the dtype. Raises ValueError for arrays of other shapes or dtypes, that are not on the device,
    or for whose weights the chip has no room, and for a version that there is not for them.
    """
    all_steps = partial(_launch, "forward", version)
    return forward_at_once(cupy, tuple(STORAGE), all_steps, x_gates, weight_hh, h0, c0, lengths, need_cache)


def backward(dy, dh_T, dc_T, saved, weight_hh, version=None):
    """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero); dc_T has the dtype of c_T
    -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)"""
    return backward_at_once(cupy, partial(_launch, "backward", version), dy, dh_T, dc_T, saved, weight_hh)


def no_room(B, H, dtype, need_cache=True, version=None):
    """Why the chip has no room for weights of H units, in what plan() says; None where it has. dtype: its name."""
    return reason_of(plan, version or best_version(dtype), B, H, dtype, device(), need_cache)


def device():
    """The current one."""
    return _device(cupy.cuda.runtime.getDevice())


@cache
def _device(number):
    """Raises ImportError where it has no clusters."""
    found = cupy.cuda.runtime.getDeviceProperties(number)
    if found["major"] < 9:
        raise ImportError("it needs clusters of blocks, which GPUs have since compute capability 9.0 (Hopper), and "
                          f"this one is {found['major']}.{found['minor']}")
    return Device(found["multiProcessorCount"], found["sharedMemPerBlockOptin"])


# --- launches ---------------------------------------------------------------------------------------------------------


def _pack(direction, version, how, weight_hh):
    """-> the weights, as what they are multiplied as, in the order in which the threads of a cluster fetch them"""
    pieces = how.cluster * how.fragments * weight_hh.itemsize * 32 * how.warps    # of 16 bytes
    packed = cupy.empty(pieces * 16 // weight_hh.itemsize, weight_hh.dtype)
    args = weight_hh, weight_hh.shape[1], how.cluster, how.warps, how.fragments, packed
    name = f"pack_{direction}<{STORAGE[weight_hh.dtype.name]}, {version}>"
    launch(FILE, name, (-(-pieces // THREADS),), (THREADS,), args)
    return packed


def _launch(direction, version, ins, outs):
    weight_hh, B, H = (ins[name] for name in ("weight_hh", "B", "H"))
    dtype = weight_hh.dtype.name
    version = version or best_version(dtype)
    how = plan(direction, version, B, H, dtype, device())
    args = ins | {"weight_hh": _pack(direction, version, how, weight_hh)} | outs
    launch(FILE, how.name(direction, version, STORAGE[dtype]), *how.grid(B), args.values(), shared_mem=how.shared_mem,
           cluster=how.cluster)  # fmt: skip


device()    # where there are no clusters this file is not to be imported
