"""lstm_gates.cu and what launches it, cupy_gates.py, executed on the CPU from the same text: every version of the
ladder for every type. (What all such kernels promise: test_cuda_recurrences.py.)"""

import cuda_on_cpu
import numpy as np
import pytest
from cupy_problems import arranged, moved, problem, run
from gates_on_cpu import CODE, NAMES, RUNGS, STORAGES, check_all, check_backward, check_forward
from hypothesis import given
from hypothesis import strategies as st
from problems import same_bits

import minilstm_kernels
from minilstm import recurrence

pytestmark = cuda_on_cpu.needs_gxx
every_rung = pytest.mark.parametrize("rung", RUNGS, ids=lambda r: f"{r.version}-{r.storage.name}-{r.V}")


@pytest.fixture(scope="module")
def kernels():
    """A function: the name of a kernel -> the kernel"""
    return cuda_on_cpu.RawModule(code=CODE, name_expressions=NAMES).get_function


@pytest.fixture(scope="module")
def gates(cupy):
    return minilstm_kernels.load("cupy")


# --- the kernels ------------------------------------------------------------------------------------------------------


@every_rung
@given(B=st.integers(1, 5), strips=st.integers(1, 40), threads=st.sampled_from([32, 64]), seed=st.integers(0, 999))
def test_a_step_is_that_of_the_reference(kernels, rung, B, strips, threads, seed):
    H = rung.V * strips
    check_forward(kernels(rung.name("forward")), rung, B, H, threads, seed=seed)
    check_backward(kernels(rung.name("backward")), rung, B, H, threads, seed=seed)


@every_rung
def test_what_is_kept_and_where_changes_no_bit(kernels, rung):
    forward = kernels(rung.name("forward"))
    kept = check_forward(forward, rung, 4, 48)
    for other in (check_forward(forward, rung, 4, 48, in_place=True), check_forward(forward, rung, 4, 48, keep=False)):
        same_bits(dict(enumerate(kept)), dict(enumerate(other)))


@pytest.mark.parametrize("storage", STORAGES, ids=lambda s: s.name)
def test_all_versions_give_the_same_bits(kernels, storage):
    rungs = [rung for rung in RUNGS if rung.storage is storage]
    for direction, check in (("forward", check_forward), ("backward", check_backward)):
        first, *others = (dict(enumerate(check(kernels(rung.name(direction)), rung, 4, 48))) for rung in rungs)
        for other in others:
            same_bits(first, other)


# --- the recurrence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("B, H", [(4, 12), (3, 130), (300, 3), (1, 1030)])
def test_both_versions_of_the_ladder_can_be_asked_for(cupy, gates, B, H):
    ins, d = problem(cupy, 3, B, H)
    with cuda_on_cpu.recording() as launches:
        first, second = (run(gates, ins, d, version=version) for version in (1, 2))
    assert len(launches) == 12 and {launch.name.split("<")[0][-2:] for launch in launches} == {"_1", "_2"}
    same_bits(first, second)


def test_inference_writes_no_gates(cupy, gates):
    ins, _ = problem(cupy)
    for need_cache in (True, False):
        with cuda_on_cpu.recording() as launches:
            gates.forward(*ins.values(), need_cache=need_cache)
        assert len(launches) == 5 and all((launch.args[-1].size > 1) == need_cache for launch in launches)


@pytest.mark.parametrize("dtype, V", [(np.float32, 4), (np.float64, 2), (np.float16, 8)])
def test_vectors_are_used_wherever_they_fit(cupy, gates, dtype, V):
    for H in range(1, 70):
        name, grid, block = gates.plan("forward", 2, 5, H, cupy.zeros(8, dtype))
        v = int(name.rstrip(">").split(",")[1])
        assert v == (V if H % V == 0 else 1)
        assert grid[0] == 5 and block[0] % 32 == 0 and (grid[1] - 1) * block[0] * v < H <= grid[1] * block[0] * v


def test_float16_is_stored_and_float32_is_summed(cupy, gates):
    """Within the roundings of a step times the steps; a float16 sum over 40 steps would be far off."""
    ins, d = problem(cupy, 40, 3, 16, np.float16)
    lengths = np.array([40, 0, 17])
    exact = run(recurrence.ReferenceRecurrence(), *({k: cupy.asarray(a.get().astype(float)) for k, a in arrays.items()}
                                                    for arrays in (ins, d)), lengths)  # fmt: skip
    for name, got in run(gates, ins, d, lengths).items():
        assert got.dtype == (np.float32 if name in ("c_T", "c", "dc0") else np.float16), name
        bound = 4 * 2.0**-11 * max(1, abs(exact[name]).max())
        np.testing.assert_allclose(got, exact[name], rtol=0, atol=bound, err_msg=name)


def test_vectors_are_read_where_arrays_lie_at_multiples_of_16(cupy, gates):
    for arrangement, V in ((moved, 1), (cupy.asfortranarray, 4)):
        with cuda_on_cpu.recording() as launches:
            run(gates, *arranged(arrangement, *problem(cupy)))
        assert {launch.name for launch in launches} == {f"gates_{d}_2<float, {V}>" for d in ("forward", "backward")}


def test_the_stand_in_mixes_no_arrays(cupy):
    here, there = np.ones(3), cupy.ones(3)
    for mix in (
        lambda: here + there, lambda: there * here, lambda: cupy.dot(there, here),
        lambda: there.__setitem__(slice(1), here[:1]), lambda: np.add(there, there, out=here),
        lambda: cupy.where(there > 0, here, there),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="Unsupported type <class 'numpy.ndarray'>"):
            mix()
    assert isinstance(there.sum(), cupy.ndarray) and isinstance((there + 1)[:2], cupy.ndarray)
    assert type(there.get()) is np.ndarray and not np.shares_memory(there.get(), there)


# --- under sanitizers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sanitizer, sizes", [("address,undefined", [(2, 5), (5, 24), (3, 280)]), ("thread", [(2, 40)])]
)
def test_no_sanitizer_has_a_complaint(kernels, sanitizer, sizes):
    """Reads and writes beside an array, misaligned ones, overflows; and races, with a thread for every thread."""
    with cuda_on_cpu.recording() as launches:
        check_all(kernels, sizes=sizes)
    assert {launch.name for launch in launches} == set(NAMES)
    done = cuda_on_cpu.replay(launches, sanitizer)
    assert done.returncode == 0 and b"runtime error" not in done.stderr, done.stderr.decode()[-4000:]
