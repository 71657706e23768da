"""What all kernels of the recurrence on CuPy arrays promise alike, executed on the CPU from the text of their .cu
files: cupy_gates.py, cupy_graph.py, cupy_cluster.py and cupy_persistent.py, and gpu_recurrence.py, which they share."""

import inspect
from itertools import product

import cuda_on_cpu
import numpy as np
import pytest
import test_recurrence
from cupy_problems import arranged, moved, problem, run
from persistent_on_cpu import small_plan
from problems import every_recurrence, same_bits

import minilstm_kernels
from minilstm import recurrence
from minilstm_kernels.cluster_plan import Device

pytestmark = cuda_on_cpu.needs_gxx


@pytest.fixture(params=["cupy", "graph", "cluster", "persistent"])
def name(request, cupy, monkeypatch):
    if request.param == "persistent":
        monkeypatch.setattr(minilstm_kernels.load("persistent"), "_plan", small_plan)
    return request.param


@pytest.fixture
def kernel(name):
    return minilstm_kernels.load(name)


all_steps_at_once = pytest.mark.parametrize("name", ["cluster", "persistent"], indirect=True)


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


@pytest.mark.parametrize("promise, options", list(promises()))
def test_the_promises_of_every_implementation(name, promise, options):
    promise(kernel=name, device="cuda", **options)


def test_all_the_promises_are_found():
    assert len({param.values[0] for param in promises()}) == sum(
        {"kernel", "device"} <= inspect.signature(check).parameters.keys()
        for name, check in vars(test_recurrence).items() if name.startswith("test_")
    )  # fmt: skip


def test_auto_takes_the_graph_for_arrays_of_cupy(cupy):
    plan = recurrence.plan_recurrence("auto", cupy.zeros((1, 1, 2), np.float32), H=3)
    assert plan.kernel == "graph" and plan.reason.startswith("auto: not measured on Stand-in at this size; the first")


def test_what_a_kernel_may_take_is_asked_for_on_each_device(cupy, monkeypatch):
    from minilstm_kernels import cupy_launch

    which = "dropout_mask.cu", "dropout_mask_1<float>"
    first = cupy_launch.kernel(*which)
    with monkeypatch.context() as m:
        m.setattr(cupy_launch.cupy.cuda.runtime, "getDevice", lambda: 1)
        assert cupy_launch.kernel(*which) is not first
    assert cupy_launch.kernel(*which) is first


def test_no_incoming_gradient_is_a_zero_one(cupy, kernel):
    for T in (1, 4):
        ins, d = problem(cupy, T)
        saved = kernel.forward(*ins.values(), np.array([T, 0, 1, T]))[3]
        for missing in d:
            both = [d | {missing: other} for other in (None, cupy.zeros_like(d[missing]))]
            nothing, zero = (kernel.backward(*given.values(), saved, ins["weight_hh"]) for given in both)
            assert all((a.get() == b.get()).all() for a, b in zip(nothing, zero, strict=True)), missing


def test_any_layout_in_memory_gives_the_same_bits(cupy, kernel):
    ins, d = problem(cupy)
    expected = run(kernel, ins, d)
    for strange in (moved, cupy.asfortranarray, lambda a: cupy.repeat(a, 2, axis=-1)[..., ::2]):
        same_bits(expected, run(kernel, *arranged(strange, ins, d)))


def test_a_batch_without_rows_and_a_text_without_steps_launch_nothing(cupy, kernel):
    with cuda_on_cpu.recording() as launches:
        ins, d = problem(cupy, B=0)
        assert run(kernel, ins, d)["dgates"].shape == (5, 0, 48)
        ins, d = problem(cupy, T=0)
        out = run(kernel, ins, d)
        saved = kernel.forward(*ins.values())[3]
        _, *nothing = kernel.backward(None, None, None, saved, ins["weight_hh"])
    for before, after in (("h_T", ins["h0"]), ("c_T", ins["c0"]), ("dh0", d["dh_T"]), ("dc0", d["dc_T"])):
        assert (out[before] == after.get()).all()
    assert not any(a.get().any() for a in nothing)
    assert not launches


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_what_comes_out_has_the_dtypes_of_what_went_in(cupy, kernel, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
    out = run(kernel, *problem(cupy, 2, 3, 8, np.dtype(dtype)), np.array([2, 0, 1]))
    assert {name for name, a in out.items() if a.dtype != dtype} <= {"c", "c_T", "dc0"}
    assert {out[name].dtype for name in ("c", "c_T", "dc0")} == {np.promote_types(dtype, np.float32)}


@all_steps_at_once
@pytest.mark.parametrize("dtype, version, best, ulp", [
    ("float16", 2, 2, 2.0**-10), ("bfloat16", 2, 2, 2.0**-7), ("float32", 3, 1, 2.0**-10), ("float32", 4, 1, 2.0**-16),
])  # fmt: skip
def test_tensor_cores_and_plain_sums_agree(cupy, kernel, dtype, version, best, ulp):
    """And which of them is taken unless another is asked for: in float32 the exact sums."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes").bfloat16
    ins, d = problem(cupy, 5, 9, 40, np.float32)
    ins, d = ({k: a if k in ("c0", "dc_T") else a.astype(dtype) for k, a in arrays.items()} for arrays in (ins, d))
    found = {}
    for asked in (1, version, None):
        with cuda_on_cpu.recording() as launches:
            found[asked] = run(kernel, ins, d, version=asked)
        names = [launch.name.split(", ") for launch in launches if launch.name.startswith("lstm")]
        assert {name[1] for name in names} == {str(asked or best)}
    same_bits(found[best], found[None])
    sums, tensor = found[1], found[version]
    assert any((a != tensor[name]).any() for name, a in sums.items())
    for name, a in sums.items():
        a, b = a.astype(float), tensor[name].astype(float)
        assert abs(a - b).max() <= 4 * ulp * max(1, abs(a).max()), name


@all_steps_at_once
@pytest.mark.parametrize("version", [3, 4])
def test_what_is_returned_of_float32_has_all_its_bits(cupy, kernel, version):
    """Only what is multiplied has fewer."""
    out = run(kernel, *problem(cupy, 3, 9, 20), version=version)
    for name, a in out.items():
        assert (a.view(np.uint32) & 0x1FFF != 0).mean() > 0.9, name


@all_steps_at_once
@pytest.mark.parametrize("dtype, version", [("float32", 2), ("float64", 3), ("float16", 3), ("float16", 4)])
def test_a_version_for_other_arrays_is_refused(name, kernel, dtype, version):
    with pytest.raises(ValueError, match=f"kernel '{name}': there is no version {version} for {dtype} arrays"):
        kernel.plan("forward", version, 4, 12, dtype, Device(132, 227 * 1024))


# --- what never reaches the device ------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("argument, spoil, message", FAULTS)
def test_a_bad_argument_never_reaches_the_device(cupy, kernel, argument, spoil, message):
    ins, d = problem(cupy)
    saved = kernel.forward(*ins.values())[3]
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=message):
        if argument in ins:
            kernel.forward(*(ins | {argument: spoil(ins[argument])}).values())
        else:
            kernel.backward(*(d | {argument: spoil(d[argument])}).values(), saved, ins["weight_hh"])
    assert not launches


@pytest.mark.parametrize("lengths", [[1, 2, 3], [1, 2, 3, 6], [-1, 2, 3, 4], [1.0, 2, 3, 4], [[1, 2, 3, 4]]])
def test_bad_lengths_never_reach_the_device(cupy, kernel, lengths):
    ins, _ = problem(cupy)
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=r"lengths: expected \(4,\) integers"):
        kernel.forward(*ins.values(), lengths)
    assert not launches


def test_other_weights_in_backward_are_refused(cupy, kernel):
    ins, d = problem(cupy)
    saved = kernel.forward(*ins.values())[3]
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match="weight_hh: expected float32"):
        kernel.backward(*d.values(), saved, ins["weight_hh"][:, :5])
    assert not launches
