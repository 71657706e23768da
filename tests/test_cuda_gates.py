"""lstm_gates.cu and what launches it, cupy_gates.py, executed on the CPU from the same text: every version of the
ladder for every type, and the whole recurrence under the promises that test_recurrence.py asks of all of them."""

import inspect
from itertools import product

import cuda_on_cpu
import numpy as np
import pytest
import test_recurrence
from cupy_on_cpu import in_place_of_cupy
from gates_on_cpu import CODE, NAMES, RUNGS, STORAGES, check_all, check_backward, check_forward
from hypothesis import given
from hypothesis import strategies as st
from problems import every_recurrence, same_bits
from strategies import normal

import minilstm_kernels
from minilstm import recurrence

pytestmark = cuda_on_cpu.needs_gxx
every_rung = pytest.mark.parametrize("rung", RUNGS, ids=lambda r: f"{r.version}-{r.storage.name}-{r.V}")


@pytest.fixture(scope="module")
def kernels():
    """A function: the name of a kernel -> the kernel"""
    return cuda_on_cpu.RawModule(code=CODE, name_expressions=NAMES).get_function


@pytest.fixture(scope="module")
def cupy():
    with in_place_of_cupy() as stand_in:
        yield stand_in


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


def promises():
    """Every test of test_recurrence.py that asks something of all implementations, with its other parameters."""
    for name, check in vars(test_recurrence).items():
        marks = [mark for mark in getattr(check, "pytestmark", []) if mark.name == "parametrize"]
        if every_recurrence.mark not in marks:
            continue
        axes = []
        for names, values, *_ in (mark.args for mark in marks if mark != every_recurrence.mark):
            names = [n.strip() for n in names.split(",")]
            axes.append([dict(zip(names, v if len(names) > 1 else [v], strict=True)) for v in values])
        for k, options in enumerate(product(*axes)):
            options = {name: value for o in options for name, value in o.items()}
            yield pytest.param(check, options, id=f"{name.removeprefix('test_')}-{k}")


@pytest.mark.parametrize("check, options", list(promises()))
def test_the_promises_of_every_implementation(cupy, check, options):
    check(kernel="cupy", device="cuda", **options)


def test_all_the_promises_are_found():
    assert len({param.values[0] for param in promises()}) == sum(
        {"kernel", "device"} <= inspect.signature(check).parameters.keys()
        for name, check in vars(test_recurrence).items() if name.startswith("test_")
    )  # fmt: skip


def test_auto_takes_it_for_arrays_of_cupy(cupy):
    plan = recurrence.plan_recurrence("auto", cupy.zeros((1, 1, 2), np.float32))
    assert plan.kernel == "graph" and plan.reason.startswith("auto: the fastest that runs on cuda arrays")


def problem(cupy, T=5, B=4, H=12, dtype=np.float32, seed=0):
    """-> the arguments of forward, those of backward without saved and weight_hh, in the order of the contract"""
    rng = np.random.default_rng(seed)
    sums = np.promote_types(dtype, np.float32)
    x, w, h0, c0 = normal(rng, T, B, 4 * H), normal(rng, 4 * H, H) / H**0.5, normal(rng, B, H), normal(rng, B, H)
    dy, dh, dc = normal(rng, T, B, H), normal(rng, B, H), normal(rng, B, H)
    ins = {"x_gates": x, "weight_hh": w, "h0": h0, "c0": c0}
    d = {"dy": dy, "dh_T": dh, "dc_T": dc}
    return tuple(
        {name: cupy.asarray(a.astype(sums if name in ("c0", "dc_T") else dtype)) for name, a in arrays.items()}
        for arrays in (ins, d)
    )


def run(kernel, ins, d, lengths=None, **version):
    """-> all that a forward and a backward return, by name, on the host"""
    y, h_T, c_T, saved = kernel.forward(*ins.values(), lengths, **version)
    h, c, ifgo = kernel.states(saved)
    dgates, dh0, dc0 = kernel.backward(*d.values(), saved, ins["weight_hh"], **version)
    out = dict(y=y, h_T=h_T, c_T=c_T, h=h, c=c, ifgo=ifgo, dgates=dgates, dh0=dh0, dc0=dc0)
    return {name: a.get() for name, a in out.items()}


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


def test_any_layout_in_memory_gives_the_same_bits(cupy, gates):
    ins, d = problem(cupy)
    expected = run(gates, ins, d)

    def moved(a):    # 4 bytes behind a multiple of 16, where vectors cannot be read
        room = cupy.empty(a.size + 8, a.dtype)
        start = (-room.data.ptr % 16) // a.itemsize + 1
        room[start:][: a.size] = a.reshape(-1)
        return room[start:][: a.size].reshape(a.shape)

    def strided(a):
        return cupy.repeat(a, 2, axis=-1)[..., ::2]

    for strange, V in ((moved, 1), (strided, 4), (cupy.asfortranarray, 4)):
        with cuda_on_cpu.recording() as launches:
            same_bits(expected, run(gates, *({name: strange(a) for name, a in arrays.items()} for arrays in (ins, d))))
        assert {launch.name for launch in launches} == {f"gates_{d}_2<float, {V}>" for d in ("forward", "backward")}


def test_a_batch_without_rows_and_a_text_without_steps_launch_nothing(cupy, gates):
    with cuda_on_cpu.recording() as launches:
        ins, d = problem(cupy, B=0)
        assert run(gates, ins, d)["dgates"].shape == (5, 0, 48)
        ins, d = problem(cupy, T=0)
        out = run(gates, ins, d)
    for before, after in (("h_T", ins["h0"]), ("c_T", ins["c0"]), ("dh0", d["dh_T"]), ("dc0", d["dc_T"])):
        assert (out[before] == after.get()).all()
    assert not launches


def to_float64(a):
    return a.astype(np.float64)


FAULTS = [
    ("x_gates", lambda a: a[..., 1:], r"x_gates: expected float32 \(5, 4, 48\), got float32 \(5, 4, 47\)"),
    ("x_gates", lambda a: a[0], r"x_gates: expected 3 axes, got \(4, 48\)"),
    ("x_gates", lambda a: a.get(), "x_gates: expected a CuPy array, got numpy.ndarray"),
    ("x_gates", lambda a: a.astype(np.int32), "expected one of float16, bfloat16, float32, float64, got int32"),
    ("x_gates", lambda a: None, "x_gates: expected 3 axes, got NoneType"),
    ("weight_hh", lambda a: a.T, r"weight_hh: expected float32 \(48, 12\), got float32 \(12, 48\)"),
    ("weight_hh", to_float64, "weight_hh: expected float32"),
    ("h0", lambda a: a[:3], "x_gates|h0: expected"),
    ("h0", lambda a: a[0], "h0: expected 2 axes"),
    ("h0", to_float64, "h0: expected float32"),
    ("c0", lambda a: a[:, :4], r"c0: expected float32 \(4, 12\)"),
    ("c0", to_float64, "c0: expected float32"),
    ("dy", lambda a: a[1:], r"dy: expected float32 \(5, 4, 12\), got float32 \(4, 4, 12\)"),
    ("dy", lambda a: a.get(), "dy: expected a CuPy array"),
    ("dh_T", lambda a: a[:, 0], "dh_T: expected"),
    ("dc_T", to_float64, "dc_T: expected float32"),
]  # fmt: skip


@pytest.mark.parametrize("name, spoil, message", FAULTS)
def test_a_bad_argument_never_reaches_the_device(cupy, gates, name, spoil, message):
    ins, d = problem(cupy)
    saved = gates.forward(*ins.values())[3]
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=message):
        if name in ins:
            gates.forward(*(ins | {name: spoil(ins[name])}).values())
        else:
            gates.backward(*(d | {name: spoil(d[name])}).values(), saved, ins["weight_hh"])
    assert not launches


@pytest.mark.parametrize("lengths", [[1, 2, 3], [1, 2, 3, 6], [-1, 2, 3, 4], [1.0, 2, 3, 4], [[1, 2, 3, 4]]])
def test_bad_lengths_never_reach_the_device(cupy, gates, lengths):
    ins, _ = problem(cupy)
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=r"lengths: expected \(4,\) integers"):
        gates.forward(*ins.values(), lengths)
    assert not launches


def test_other_weights_in_backward_are_refused(cupy, gates):
    ins, d = problem(cupy)
    saved = gates.forward(*ins.values())[3]
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match="weight_hh: expected float32"):
        gates.backward(*d.values(), saved, ins["weight_hh"][:, :5])
    assert not launches


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
