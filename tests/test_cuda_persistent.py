"""lstm_persistent.cu, how it is cut up (persistent_plan.py) and what launches it (cupy_persistent.py), executed on the
CPU from the same text: every version for every type, blocks that really wait for each other, and one that never comes.
(What all such kernels promise: test_cuda_recurrences.py.)"""

import tomllib
from itertools import product
from pathlib import Path

import cuda_on_cpu
import cupy_on_cpu
import numpy as np
import persistent_on_cpu
import pytest
from cupy_on_cpu import in_place_of_cupy
from cupy_problems import problem, run
from hypothesis import given, settings
from hypothesis import strategies as st
from persistent_on_cpu import BFLOAT16, CODE, CUTS, DTYPES, FLOAT, HALF, Cut, check, check_giving_up, small_plan
from problems import same_bits
from recurrence_on_cpu import GRADIENTS

import minilstm_kernels
from minilstm_kernels import persistent_plan
from minilstm_kernels.persistent_plan import ITEMSIZE, VERSIONS, Device, best_version, plan, with_sizes

pytestmark = cuda_on_cpu.needs_gxx
H100 = Device(132, 227 * 1024)
KINDS = sorted({(dtype, version) for dtype in ITEMSIZE for version in (1, best_version(dtype))}
               | {("float32", version) for version in VERSIONS.values()})  # fmt: skip
every_cut = pytest.mark.parametrize("cut", CUTS, ids=lambda c: f"{c.storage.name}-{c.version}-{c.H}")

# the same products with other units to a block, other rows to a group, and the weights in other places
OTHERS = [
    Cut(FLOAT, 1, 35, 3, rows=2, warps=2, kept=0), Cut(FLOAT, 1, 35, 35, rows=8, warps=2),
    Cut(HALF, 2, 70, 16, rows=4, warps=2, kept=0), Cut(HALF, 2, 70, 72, rows=16, warps=2),
]  # fmt: skip


@pytest.fixture(scope="module")
def kernels():
    """A function: the name of a kernel -> the kernel"""
    names = sorted({name for cut in (*CUTS, *OTHERS) for name in cut.names()})
    module = cuda_on_cpu.RawModule(code=CODE, name_expressions=names, enable_cooperative_groups=True)
    return {name: module.get_function(name) for name in names}.__getitem__


@pytest.fixture
def persistent(cupy, monkeypatch):
    """Cut up so that few instances are compiled, and few threads run."""
    module = minilstm_kernels.load("persistent")
    monkeypatch.setattr(module, "_plan", small_plan)
    return module


# --- the kernels ------------------------------------------------------------------------------------------------------


@every_cut
@settings(max_examples=6, deadline=None)
@given(T=st.integers(1, 4), B=st.integers(1, 13), seed=st.integers(0, 999), keep=st.booleans(),
       given=st.sets(st.sampled_from(GRADIENTS)))
def test_it_is_the_reference(kernels, cut, T, B, seed, given, keep):
    check(kernels, cut, T, B, seed, keep, given)


@every_cut
def test_whichever_thread_comes_first_the_bits_are_the_same(kernels, cut):
    same_bits(check(kernels, cut, 4, 7), check(kernels, cut, 4, 7, descending=True))


@pytest.mark.parametrize("cut, others", [(CUTS[0], OTHERS[:2]), (CUTS[7], OTHERS[2:])], ids=["float", "half"])
def test_how_it_is_cut_up_changes_no_bit(kernels, cut, others):
    """But for the number of warps, which add up their sums."""
    first = check(kernels, cut, 4, 9)
    for other in others:
        same_bits(first, check(kernels, other, 4, 9))


@every_cut
def test_a_row_knows_nothing_of_the_others(kernels, cut):
    batch, changed = (check(kernels, cut, 2, 6, lengths=[2] * 5 + [n]) for n in (2, 0))
    for name in ("y", "h", "c", "ifgo", "dgates"):
        assert (batch[name][:, :-1] == changed[name][:, :-1]).all(), name


@pytest.mark.parametrize("cut", [CUTS[0], CUTS[6]], ids=["float", "half"])
def test_a_block_that_never_comes_is_not_waited_for_for_ever(kernels, cut):
    check_giving_up(kernels, cut)


# --- the recurrence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 7])
def test_a_call_is_one_launch_whatever_its_steps_and_nobody_waits_for_it(cupy, persistent, T):
    ins, d = problem(cupy, T, 3, 20)
    with cuda_on_cpu.recording() as launches:
        first = run(persistent, ins, d)
    assert [launch.name.split("<")[0] for launch in launches] == ["lstm_forward", "lstm_backward"]
    same_bits(first, run(persistent, ins, d))
    with cupy_on_cpu.no_waiting():
        saved = persistent.forward(*ins.values())[3]
        persistent.backward(*d.values(), saved, ins["weight_hh"])


def test_a_batch_for_which_there_are_too_few_blocks_takes_more_launches(cupy, persistent, monkeypatch):
    ins, d = problem(cupy, 3, 23, 6)
    lengths = np.arange(23) % 4
    with cuda_on_cpu.recording() as launches:
        few = run(persistent, ins, d, lengths)
    assert len(launches) == 4    # of 3 groups with 4 rows each
    monkeypatch.setattr(persistent, "_plan", lambda *a: small_plan(*a)._replace(groups=6))
    with cuda_on_cpu.recording() as launches:
        same_bits(few, run(persistent, ins, d, lengths))
    assert len(launches) == 2


@pytest.mark.parametrize("B, H, multiprocessors", [(5, 20, 4), (3, 70, 6)])
def test_with_the_plan_of_a_small_gpu(cupy, monkeypatch, B, H, multiprocessors):
    monkeypatch.setitem(cupy_on_cpu.PROPERTIES, "multiProcessorCount", multiprocessors)
    with in_place_of_cupy():
        persistent, plain = (minilstm_kernels.load(name) for name in ("persistent", "cupy"))
        ins, d = problem(cupy, 3, B, H)
        first, second = run(persistent, ins, d), run(plain, ins, d)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=3e-6, err_msg=name)


# --- what must not be launched, and what must not be believed ---------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch):
    """The module anew, on a GPU whose properties a test may change -> a function that imports it"""
    with in_place_of_cupy():
        yield lambda **properties: [monkeypatch.setitem(cupy_on_cpu.PROPERTIES, *p) for p in properties.items()] and (
            minilstm_kernels.load("persistent"))  # fmt: skip


def test_weights_that_have_no_room_are_refused_before_anything_is_launched(cupy, fresh):
    persistent = fresh(multiProcessorCount=2)
    ins, _ = problem(cupy, T=1, B=1, H=600)
    message = (r"kernel 'persistent': weight_hh of H = 600 in float32 is more than 2 multiprocessors with 232448 bytes "
               "of shared memory each can hold; take another kernel")  # fmt: skip
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=message):
        persistent.forward(*ins.values())
    assert not launches


def test_blocks_that_do_not_fit_at_once_are_refused_before_anything_is_launched(cupy, fresh, monkeypatch):
    from cupy_on_cpu import _backends

    persistent = fresh(multiProcessorCount=4)
    monkeypatch.setattr(persistent, "_plan", small_plan)
    ins, _ = problem(cupy)
    asked = []
    occupancy = "occupancyMaxActiveBlocksPerMultiprocessor"
    monkeypatch.setattr(_backends.driver, occupancy, lambda *a: asked.append(a[1:]) or 0)
    with cuda_on_cpu.recording() as launches, pytest.raises(RuntimeError, match="3 blocks have .* room for 0; take"):
        persistent.forward(*ins.values())
    how = small_plan("forward", 1, 4, 12, "float32", None)
    assert not launches and asked == [(32 * how.warps, how.shared_mem)]


def test_a_launch_that_is_made_smaller_gives_up_and_the_next_call_says_so(cupy, fresh, monkeypatch):
    """As CuPy would, had nobody counted the blocks."""
    persistent = fresh(multiProcessorCount=2)
    monkeypatch.setattr(persistent, "_plan", small_plan)
    monkeypatch.setattr(persistent, "_check_that_all_fit", lambda *a: None)
    monkeypatch.setattr(persistent, "POLLS", np.uint32(5))
    ins, d = problem(cupy)
    saved = persistent.forward(*ins.values())[3]
    with cuda_on_cpu.recording() as launches, pytest.raises(RuntimeError, match="some blocks waited for others"):
        persistent.backward(*d.values(), saved, ins["weight_hh"])
    assert not launches
    persistent.check()    # it has been said
    persistent.backward(*d.values(), saved, ins["weight_hh"])
    with cupy_on_cpu.waits() as waits, pytest.raises(RuntimeError, match="not to be used"):
        persistent.check()
    assert waits == ["deviceSynchronize()"]


def test_a_gpu_that_is_too_old_is_told(fresh):
    with pytest.raises(ImportError, match=r"barriers between blocks, which GPUs have since .* is 6\.1"):
        fresh(major=6, minor=1)


def test_a_gpu_without_such_tensor_cores_adds_plain_products(cupy, fresh, monkeypatch):
    persistent = fresh(major=7, minor=5)
    monkeypatch.setattr(persistent, "_plan", small_plan)
    ins, _ = problem(cupy, dtype=np.float16)
    with cuda_on_cpu.recording() as launches:
        persistent.forward(*ins.values())
    assert [launch.name.split(", ")[:2] for launch in launches] == [["lstm_forward<__half", "1"]]


@pytest.mark.parametrize("version", VERSIONS.values())
def test_a_gpu_without_such_tensor_cores_refuses_what_only_they_can_do(cupy, fresh, version):
    persistent = fresh(major=7, minor=5)
    ins, _ = problem(cupy)
    message = r"kernel 'persistent': products of float32 in TF32 or bfloat16 need .* 8\.0 or newer, .* has 7\.5"
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=message):
        persistent.forward(*ins.values(), version=version)
    assert not launches


# --- how it is cut up -------------------------------------------------------------------------------------------------

directions, kinds = st.sampled_from(["forward", "backward"]), st.sampled_from(KINDS)


@given(direction=directions, B=st.integers(1, 600), H=st.integers(1, 1500), kind=kinds,
       device=st.sampled_from([H100, Device(108, 163 * 1024), Device(142, 99 * 1024), Device(40, 64 * 1024)]))
def test_a_plan_has_a_place_for_everything(direction, B, H, kind, device):
    dtype, version = kind
    weights = 4 * H * H * ITEMSIZE[dtype]
    try:
        how = plan(direction, version, B, H, dtype, device)
    except ValueError:
        assert weights > device.multiprocessors * (64 * 1024 + device.shared_mem) / 4    # there is much to put there
        return
    assert 1 <= how.groups * how.blocks <= device.multiprocessors and how.shared_mem <= device.shared_mem
    assert (how.blocks - 1) * how.units < H <= how.blocks * how.units
    assert (how.groups - 1) * how.rows < B
    assert how.columns >= (H if direction == "forward" else 4 * H)
    assert 4 * how.kept < persistent_plan.registers(how.warps) and how.warps % 4 == 0
    # all weights of a group are somewhere: in registers, 16 bytes a fragment, or in shared memory
    assert weights <= how.blocks * (how.kept * 512 * how.warps + how.shared_mem)
    name = how.name(direction, version, "float")
    assert name == f"lstm_{direction}<float, {version}, {', '.join(map(str, how[2:7]))}>"


@pytest.mark.parametrize("dtype, version, B, groups", [
    ("float32", 1, 1, 1), ("float32", 1, 64, 1), ("bfloat16", 2, 64, 2), ("float32", 3, 1, 1), ("float32", 4, 128, 1),
])  # fmt: skip
def test_the_weights_of_awd_lstm_fit_on_an_h100(dtype, version, B, groups):
    """1150 units: in float32 once, in 16 bits twice."""
    for direction in ("forward", "backward"):
        assert plan(direction, version, B, 1150, dtype, H100).groups == groups


def test_it_is_the_fastest_of_all_there_is_room_for():
    for B, H, dtype in ((1, 256, "float32"), (64, 512, "bfloat16"), (33, 1150, "float32")):
        version = best_version(dtype)
        best = plan("forward", version, B, H, dtype, H100)
        assert all(best.cycles <= how.cycles * -(-B // (how.groups * how.rows))
                   for how in persistent_plan.candidates("forward", version, B, H, dtype, H100))  # fmt: skip


def test_a_faster_barrier_makes_more_of_a_step_the_products():
    usual, quick = persistent_plan.ASSUMED, persistent_plan.ASSUMED._replace(barrier=0)
    slow, fast = (with_sizes("forward", 1, 400, "float32", 2, 10, 8, 8, rates) for rates in (usual, quick))
    assert slow.cycles - fast.cycles == usual.barrier and slow[:-1] == fast[:-1]


def test_what_is_compiled_for_the_budget_is_what_an_h100_would_take():
    budget = tomllib.loads((Path(__file__).parent / "cuda_budget.toml").read_text(encoding="utf-8"))
    cases = [(FLOAT, 1, 64, 1150), (FLOAT, 1, 64, 400), (BFLOAT16, 2, 64, 1150), (HALF, 2, 64, 512), (HALF, 2, 1, 256)]
    cases += [(FLOAT, *case) for case in product(VERSIONS.values(), (1, 64), (512, 1150))]
    wanted = set()
    for (storage, version, B, H), direction in product(cases, ("forward", "backward")):
        dtype = DTYPES[storage.name]
        wanted.add(plan(direction, version, B, H, dtype, H100).name(direction, version, storage.name))
    assert wanted <= set(budget["lstm_persistent.cu"])


# --- under sanitizers -------------------------------------------------------------------------------------------------


def recorded(kernels, cuts):
    with cuda_on_cpu.recording() as launches:
        for cut in cuts:
            check(kernels, cut, 3, 5)
            check(kernels, cut, 2, 1, keep=False)
    return launches


def test_no_number_is_read_or_written_beside_an_array(kernels):
    done = cuda_on_cpu.replay(recorded(kernels, CUTS[::3]), "address,undefined")
    assert done.returncode == 0 and b"runtime error" not in done.stderr, done.stderr.decode()[-4000:]


RACED = [Cut(FLOAT, 1, 14, 5, rows=2, warps=2, kept=1), Cut(HALF, 2, 20, 10, rows=4, warps=2, kept=2)]


def races(code):
    """What ThreadSanitizer says about the text"""
    names = sorted({name for cut in RACED for name in cut.names()})
    as_it_is, changed = (
        cuda_on_cpu.RawModule(code=text, name_expressions=names, enable_cooperative_groups=True)
        for text in (CODE, code)
    )
    launches = recorded(as_it_is.get_function, RACED)
    return cuda_on_cpu.replay([launch._replace(module=changed) for launch in launches], "thread")


def test_no_two_threads_of_any_two_blocks_race():
    done = races(CODE)
    assert done.returncode == 0, done.stderr.decode()[-4000:]


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("__ATOMIC_RELEASE", "__ATOMIC_RELAXED"),
        ("__ATOMIC_ACQUIRE", "__ATOMIC_RELAXED"),
        ("    __syncthreads();\n    if (!threadIdx.x) add_release", "    if (!threadIdx.x) add_release"),
        ("    __syncthreads();\n    return !*in_vain", "    return !*in_vain"),
    ],
)
def test_a_barrier_that_is_too_weak_is_found(right, wrong):
    assert right in CODE
    done = races(CODE.replace(right, wrong))
    assert b"data race" in done.stderr


def test_both_cuts_for_bugs_are_right():
    names = persistent_on_cpu.NAMES_FOR_BUGS
    module = cuda_on_cpu.RawModule(code=CODE, name_expressions=names, enable_cooperative_groups=True)
    persistent_on_cpu.check_bugs({name: module.get_function(name) for name in names}.__getitem__)
