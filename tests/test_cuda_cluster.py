"""lstm_cluster.cu, how it is cut up (cluster_plan.py) and what launches it (cupy_cluster.py), executed on the CPU from
the same text: every version for every type. (What all such kernels promise: test_cuda_recurrences.py.)"""

import tomllib
from itertools import product
from pathlib import Path

import cluster_on_cpu
import cuda_on_cpu
import cupy_on_cpu
import numpy as np
import pytest
from cluster_on_cpu import BFLOAT16X3, CODE, CUTS, FLOAT, HALF, Cut, check
from cupy_on_cpu import in_place_of_cupy
from cupy_problems import problem, run
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import same_bits
from recurrence_on_cpu import GRADIENTS

import minilstm_kernels
from minilstm_kernels import cluster_plan
from minilstm_kernels.cluster_plan import VERSIONS, Device, best_version, plan

pytestmark = cuda_on_cpu.needs_gxx
H100 = Device(132, 227 * 1024)
STORAGE = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double"}
every_cut = pytest.mark.parametrize("cut", CUTS, ids=lambda c: f"{c.storage.name}-{c.version}-{c.cluster}-{c.H}")

# the same product cut up in other ways: without registers, in more blocks, with more rows
OTHERS = [
    Cut(FLOAT, 1, 8, 2, 35, kept=0), Cut(FLOAT, 1, 8, 2, 35, rows=16), Cut(FLOAT, 1, 16, 1, 35),
    Cut(HALF, 2, 4, 3, 40, kept=0), Cut(HALF, 2, 4, 3, 40), Cut(HALF, 2, 16, 1, 40),
]  # fmt: skip


@pytest.fixture(scope="module")
def kernels():
    """A function: the name of a kernel -> the kernel"""
    names = sorted({name for cut in (*CUTS, *OTHERS) for name in cut.names()})
    module = cuda_on_cpu.RawModule(code=CODE, name_expressions=names)
    found = {name: module.get_function(name) for name in names}
    for kernel in found.values():
        cuda_on_cpu.func_set_attribute(kernel.kernel.ptr, 14, 1)
    return found.__getitem__


@pytest.fixture(scope="module")
def cluster(cupy):
    return minilstm_kernels.load("cluster")


# --- the kernels ------------------------------------------------------------------------------------------------------


@every_cut
@settings(max_examples=10, deadline=None)
@given(T=st.integers(1, 4), B=st.integers(1, 35), seed=st.integers(0, 999), keep=st.booleans(),
       given=st.sets(st.sampled_from(GRADIENTS)))
def test_it_is_the_reference(kernels, cut, T, B, seed, given, keep):
    check(kernels, cut, T, B, seed, keep, given)


@every_cut
def test_whichever_thread_comes_first_the_bits_are_the_same(kernels, cut):
    same_bits(check(kernels, cut, 4, 18), check(kernels, cut, 4, 18, descending=True))


@pytest.mark.parametrize("cut, others", [(CUTS[0], OTHERS[:3]), (CUTS[5], OTHERS[3:])])
def test_how_it_is_cut_up_changes_no_bit(kernels, cut, others):
    """Of forward; backward sums over blocks, so that only the same number of them gives the same bits."""
    first = check(kernels, cut, 4, 18)
    for other in others:
        got = check(kernels, other, 4, 18)
        if other.cluster == cut.cluster:
            same_bits(first, got)
        else:
            same_bits(*({name: a[name] for name in ("y", "c_T", "h", "c", "ifgo")} for a in (first, got)))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_row_knows_nothing_of_the_others(cupy, cluster, dtype):
    """Not even of their NaNs, which stay in sight."""
    ins, d = problem(cupy, 4, 11, 40, dtype)
    before = run(cluster, ins, d)
    ins["x_gates"][1, 3, 7] = np.nan
    after = run(cluster, ins, d)
    for name, a in after.items():
        rows = a.ndim - 2
        assert np.isnan(np.take(a, 3, axis=rows)).any(), name
        same_bits({name: np.delete(before[name], 3, axis=rows)}, {name: np.delete(a, 3, axis=rows)})


# --- the recurrence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 7])
@pytest.mark.parametrize("H", [3, 70, 300])
def test_a_call_is_two_launches_whatever_its_steps(cupy, cluster, T, H):
    """With H = 300 of clusters of 16 blocks, and for float32 with weights in shared memory."""
    ins, d = problem(cupy, T, 3, H)
    with cuda_on_cpu.recording() as launches:
        first = run(cluster, ins, d)
    names = [launch.name.split("<")[0] for launch in launches]
    assert names == ["pack_forward", "lstm_forward", "pack_backward", "lstm_backward"]
    assert max(launch.shared_mem for launch in launches) > 48 * 1024 or H < 300
    texts = [launch.module.code for launch in launches]
    assert all("unit_forward(" in text and '#include "lstm' not in text for text in texts)    # one text, for CuPy
    same_bits(first, run(cluster, ins, d))


def test_weights_that_have_no_room_are_refused_before_anything_is_launched(cupy, cluster):
    ins, _ = problem(cupy, T=1, B=1, H=600)
    message = r"kernel 'cluster': weight_hh of H = 600 in float32 is more than the 16 blocks of a cluster can hold"
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=message):
        cluster.forward(*ins.values())
    assert not launches


def test_a_gpu_without_clusters_is_told(monkeypatch):
    monkeypatch.setitem(cupy_on_cpu.PROPERTIES, "major", 8)
    with in_place_of_cupy(), pytest.raises(ImportError, match=r"clusters of blocks, which GPUs have since .* is 8\.0"):
        minilstm_kernels.load("cluster")


# --- how it is cut up -------------------------------------------------------------------------------------------------

kinds = st.sampled_from(sorted({(dtype, version) for dtype in STORAGE for version in (1, best_version(dtype))}
                               | {("float32", version) for version in VERSIONS.values()}))  # fmt: skip


@given(direction=st.sampled_from(["forward", "backward"]), B=st.integers(1, 600), H=st.integers(1, 512), kind=kinds,
       shared=st.sampled_from([99, 163, 227]))
def test_a_plan_has_a_place_for_everything(direction, B, H, kind, shared):
    dtype, version = kind
    try:
        how = plan(direction, version, B, H, dtype, Device(132, shared * 1024))
    except ValueError:
        assert H**2 * 4 * cluster_plan.ITEMSIZE[dtype] > 16 * 32 * 1024    # there is much to put somewhere
        return
    assert how.cluster in (1, 2, 4, 8, 16) and how.rows in (8, 16, 32) and 0 <= how.kept <= how.fragments
    units = how.cluster * how.warps * 4
    assert units >= H > (how.warps - 1) * 4 * how.cluster
    per_thread = 16 * how.fragments
    assert per_thread * 32 * how.warps * how.cluster >= 4 * H * H    # numbers
    registers = 80 + how.kept * 4 * cluster_plan.ITEMSIZE[dtype]    # a warp's are in one part of four
    assert not how.kept or registers * 32 * -(-how.warps // 4) <= 65536 // 4
    storage = next(s for s in cluster_on_cpu.STORAGES if s.name == STORAGE[dtype])
    cut = Cut(storage, version, how.cluster, how.warps, H, how.kept, how.rows)
    assert how.name(direction, version, STORAGE[dtype]) == cut.name(direction)
    assert how.shared_mem == cut.shared_mem(direction) <= shared * 1024
    assert how.grid(B) == ((how.cluster * -(-B // how.rows),), (32 * how.warps,)) and how.warps <= 12


@pytest.mark.parametrize("B, rows", [(1, 8), (64, 8), (65, 16), (128, 16), (129, 32), (256, 32), (999, 32)])
def test_clusters_have_more_rows_where_more_clusters_would_not_run_at_once(B, rows):
    assert plan("forward", 2, B, 512, "float16", H100).rows == rows


@pytest.mark.parametrize("dtype, version, most", [
    ("float16", 2, 704), ("bfloat16", 2, 704), ("float32", 1, 512), ("float32", 3, 512), ("float32", 4, 512),
    ("float64", 1, 256),
])  # fmt: skip
def test_how_large_a_layer_may_be(dtype, version, most):
    for direction in ("forward", "backward"):
        plan(direction, version, 64, most, dtype, H100)
    with pytest.raises(ValueError, match=f"H = {most + 1} in {dtype} is more than the 16 blocks"):
        for direction in ("forward", "backward"):
            plan(direction, version, 64, most + 1, dtype, H100)


@pytest.mark.parametrize("dtype, version, H, B", [
    ("float16", 2, 400, 64), ("float16", 2, 512, 64), ("float16", 2, 512, 256), ("bfloat16", 2, 512, 64),
    ("float32", 1, 256, 64), ("float32", 1, 512, 64), ("float64", 1, 129, 64),
    *[("float32", *case) for case in product(VERSIONS.values(), (256, 400, 512), (64, 128))],
])  # fmt: skip
def test_what_is_planned_for_usual_sizes_has_been_compiled(dtype, version, H, B):
    """And holds its weights in registers in 16 bits, as long as there are not too many rows."""
    budget = tomllib.loads((Path(__file__).parent / "cuda_budget.toml").read_text())["lstm_cluster.cu"]
    for direction in ("forward", "backward"):
        how = plan(direction, version, B, H, dtype, H100)
        assert how.name(direction, version, STORAGE[dtype]) in budget
        assert how.kept == how.fragments or "float16" not in dtype or B == 256


# --- under sanitizers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sanitizer, B", [("address,undefined", 9), ("thread", 2)])
def test_no_sanitizer_has_a_complaint(sanitizer, B):
    """Reads and writes beside an array, misaligned ones, overflows; and races, with a thread for every thread."""
    cuts = CUTS[1], Cut(HALF, 2, 4, 1, 9), Cut(BFLOAT16X3, 4, 4, 1, 9, kept=0)
    names = sorted({name for cut in cuts for name in cut.names()})
    kernels = cuda_on_cpu.RawModule(code=CODE, name_expressions=names).get_function
    with cuda_on_cpu.recording() as launches:
        for cut in cuts:
            check(kernels, cut, 2, B)
    done = cuda_on_cpu.replay(launches, sanitizer)
    assert done.returncode == 0 and b"runtime error" not in done.stderr, done.stderr.decode()[-4000:]
