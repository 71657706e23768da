"""What a training step does on the GPU besides the LSTM, executed on the CPU from the same text: the kernels for masks,
the embedding, the loss and the optimisers, what launches them, and the engine on CuPy arrays, with them and without."""

import importlib
import math

import cross_entropy_on_cpu
import cuda_on_cpu
import embedding_on_cpu
import masks_on_cpu
import numpy as np
import optim_on_cpu
import pytest
from cupy_on_cpu import in_place_of_cupy, no_waiting
from hypothesis import given
from hypothesis import strategies as st
from problems import copies, same_bits
from strategies import normal, seeds
from test_loss import IGNORE, some_targets
from test_optim import every_optimiser

import minilstm_kernels
from minilstm import (
    LSTM,
    Adam,
    Embedding,
    MaskSource,
    clip_grad_norm,
    clip_scale,
    dropout_backward,
    dropout_forward,
    grad_norm,
    linear_cross_entropy,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    to_numpy,
    twins,
)
from minilstm.regularization import activation_regularization_forward, temporal_activation_regularization_forward

pytestmark = cuda_on_cpu.needs_gxx
HELPERS = [masks_on_cpu, embedding_on_cpu, cross_entropy_on_cpu, optim_on_cpu]
every_helper = pytest.mark.parametrize("helper", HELPERS, ids=lambda h: h.__name__)
both_codes = pytest.mark.parametrize("kernel", ["reference", "auto"])
dtypes = st.sampled_from([np.float32, np.float64])


@pytest.fixture(scope="module")
def kernels():
    """A function: a helper -> a function: the name of a kernel -> the kernel"""
    return lambda helper: cuda_on_cpu.RawModule(code=helper.CODE, name_expressions=helper.NAMES).get_function


@pytest.fixture(scope="module", autouse=True)
def cupy():
    with in_place_of_cupy() as stand_in:
        yield stand_in


def load(name):
    """kernels/cupy_*.py"""
    return importlib.import_module(f"minilstm_kernels.cupy_{name}")


def there(cupy, arrays):
    return {name: cupy.asarray(a.copy()) for name, a in arrays.items()}


def here(arrays):
    return {name: to_numpy(a) for name, a in arrays.items()}


# --- the kernels ------------------------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 2000), p=st.floats(1e-4, 1 - 1e-4), seed=st.integers(0, 2**64 - 1), step=st.integers(0, 2**64 - 1),
    layer=st.integers(0, 9), name=st.sampled_from(masks_on_cpu.NAMES), threads=st.sampled_from([32, 64]),
)  # fmt: skip
def test_a_mask_has_the_bits_of_numpys_generator(kernels, n, p, seed, step, layer, name, threads):
    masks_on_cpu.check_mask(kernels(masks_on_cpu)(name), n, p, seed, step, layer, threads)


@given(
    N=st.integers(1, 80), V=st.integers(1, 12), E=st.integers(1, 70), masked=st.booleans(), seed=seeds,
    S=st.sampled_from(["float", "double"]), threads=st.sampled_from([32, 64]), blocks=st.integers(1, 12),
)  # fmt: skip
def test_rows_are_gathered_and_added_up_as_numpy_does_it(kernels, N, V, E, masked, seed, S, threads, blocks):
    named = kernels(embedding_on_cpu)
    embedding_on_cpu.check_forward(named(f"embedding_forward<{S}>"), N, V, E, masked, threads, seed)
    embedding_on_cpu.check_backward(named(f"embedding_backward<{S}>"), N, V, E, masked, threads, blocks, seed)


@given(
    N=st.integers(1, 6), V=st.integers(1, 400), threads=st.sampled_from([32, 96]), seed=seeds,
    spread=st.sampled_from([0.1, 3.0, 50.0]), name=st.sampled_from(cross_entropy_on_cpu.NAMES),
)  # fmt: skip
def test_a_row_of_logits(kernels, N, V, threads, seed, spread, name):
    cross_entropy_on_cpu.check(kernels(cross_entropy_on_cpu)(name), N, V, threads, seed, spread)


@every_helper
def test_what_else_the_kernels_promise(kernels, helper):
    helper.check_all(kernels(helper))


@every_helper
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_no_sanitizer_has_a_complaint(kernels, helper, sanitizer):
    """Reads and writes beside an array, misaligned ones, overflows; and races, with a thread for every thread."""
    names = helper.NAMES if sanitizer != "thread" else helper.NAMES_FOR_BUGS
    with cuda_on_cpu.recording() as launches:
        helper.check_all(kernels(helper), names)
    launches = [launch for launch in launches if launch.name in names][:: 1 if sanitizer != "thread" else 3]
    assert {launch.name for launch in launches} == set(names)
    done = cuda_on_cpu.replay(launches, sanitizer)
    assert done.returncode == 0 and b"runtime error" not in done.stderr, done.stderr.decode()[-4000:]


# --- what launches them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0, 2), (2048,), (2049,), (5, 1000)])
def test_both_versions_draw_the_mask(version, shape):
    source = MaskSource(7, kernel="reference")
    want = source.mask("a", shape, 0.25, step=3, dtype=np.float64)
    drawn = load("masks").dropout_mask(shape, np.float64, source._key("a", 0), 3, 16384, 4 / 3, version=version)
    same_bits({"mask": want}, {"mask": drawn.get()})


@pytest.mark.parametrize("version", [1, 2])
@given(
    N=st.integers(0, 9), V=st.integers(2, 300), E=st.integers(1, 5), chunk=st.sampled_from([1, 2, 3, 512]), seed=seeds,
    dtype=dtypes, ignore=st.sampled_from([IGNORE, 1, None]),
)  # fmt: skip
def test_both_versions_of_the_fused_loss(cupy, version, N, V, E, chunk, seed, dtype, ignore):
    """max|kernel - float64| <= 2 max|plain code in this type - float64| + a floor"""
    rng = np.random.default_rng(seed)
    arrays = {"x": normal(rng, N, E), "weight": normal(rng, V, E), "bias": normal(rng, V)}
    targets = rng.integers(0, V, N) if ignore is None or N == 0 else some_targets(rng, N, V)
    targets[targets == IGNORE] = IGNORE if ignore is None else ignore
    typed = {name: a.astype(dtype) for name, a in arrays.items()}
    exact_loss, exact = linear_cross_entropy(**arrays, targets=targets, ignore_index=ignore, kernel="reference")
    plain_loss, plain = linear_cross_entropy(**typed, targets=targets, ignore_index=ignore, kernel="reference")
    on_device = [*there(cupy, typed).values(), cupy.asarray(targets)]
    fused = load("loss").linear_cross_entropy
    with no_waiting():
        loss, grads = fused(*on_device, ignore, chunk, True, version=version)
        without, none = fused(*on_device, ignore, chunk, False, version=version)
    assert loss.shape == () and loss.dtype == np.float64 and none is None and float(without) == float(loss)
    floor = 16 * np.finfo(dtype).eps
    assert abs(float(loss) - exact_loss) <= 2 * abs(plain_loss - exact_loss) + floor * max(1, exact_loss)
    for ours, numpys, wanted in zip(grads, plain, exact, strict=True):
        assert ours.dtype == dtype and ours.shape == wanted.shape
        bound = 2 * abs(numpys - wanted).max(initial=0) + floor * max(1, abs(wanted).max(initial=0))
        assert abs(ours.get() - wanted).max(initial=0) <= bound


def test_no_more_than_a_chunk_of_logits_exists(cupy):
    x, weight = (cupy.asarray(normal(np.random.default_rng(0), *shape)) for shape in ((70, 2), (50, 2)))
    with cuda_on_cpu.recording() as launches:
        load("loss").linear_cross_entropy(x, weight, cupy.zeros(50), cupy.zeros(70, np.int64), IGNORE, 16, True)
    assert [launch.args[-2].shape for launch in launches] == [(16, 50)] * 4 + [(6, 50)]


def test_a_sum_of_squares_of_many_arrays(cupy):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(t) for shape, t in (((3, 5), "f4"), ((0,), "f8"), ((9000, 3), "f8"))]
    exact = math.fsum(float(number) ** 2 for a in arrays for number in a.ravel())
    total = load("optim").sum_of_squares(*map(cupy.asarray, arrays))
    assert total.shape == () and float(total) == pytest.approx(exact, rel=1e-14)
    assert float(load("optim").sum_of_squares()) == 0
    assert load("optim").sum_of_squares(cupy.ones(3), cupy.ones(3, np.float16)) is None


def test_vectors_are_used_wherever_they_fit(cupy):
    for dtype, V in ((np.float32, 4), (np.float64, 2)):
        room = cupy.zeros(200, dtype)
        start = (-room.data.ptr % 16) // room.itemsize
        for n, offset in ((V * 5, 0), (V * 5 + 1, 0), (V * 5, 1)):
            p = room[start + offset :][:n]
            with cuda_on_cpu.recording() as launches:
                assert load("optim").sgd(p, p.copy(), None, 0.1, 0, 0)
            wide = n % V == 0 and offset == 0 and launches[0].args[1].ctypes.data % 16 == 0
            assert launches[0].name.endswith(f", {V if wide else 1}>")


def test_what_the_kernels_cannot_take_is_left_as_it_was(cupy):
    """float16, and what is not contiguous."""
    half, columns = cupy.ones((4, 6), np.float16), cupy.ones((4, 6), np.float32)[:, ::2]
    with cuda_on_cpu.recording() as launches:
        for p in (half, columns):
            moments = [cupy.ones(p.shape, p.dtype) for _ in range(3)]
            assert load("optim").sgd(p, moments[0], None, 0.1, 0, 0) is None
            assert load("optim").asgd(p, *moments[:2], 0.1, 0, 2) is None
            assert load("optim").adam(p, *moments, (0.9, 0.99), 1e-8, 0, 1, 0.1, 1) is None
        assert load("embedding").embedding_forward(half, cupy.zeros(3, int), None) is None
        assert load("embedding").embedding_backward(half, cupy.zeros(4, int), None, 9) is None
        assert load("loss").linear_cross_entropy(half, half, half[0], cupy.zeros(4, int), None, 9, True) is None
        assert load("masks").dropout_mask((3,), np.float16, (0, 0), 0, 5, 1.0) is None
    assert not launches and (to_numpy(half) == 1).all() and (to_numpy(columns) == 1).all()


ones = {"x": (4, 3), "weight": (5, 3), "bias": (5,), "p": (5,), "g": (5,), "m": (5,), "v": (5,), "dy": (2, 3)}
CALLS = {
    "linear_cross_entropy": lambda a: load("loss").linear_cross_entropy(
        a["x"], a["weight"], a["bias"], a["targets"], IGNORE, 2, True),
    "embedding_forward": lambda a: load("embedding").embedding_forward(a["weight"], a["ids"], a["row_mask"]),
    "embedding_backward": lambda a: load("embedding").embedding_backward(a["dy"], a["ids"], a["row_mask"], 5),
    "adam": lambda a: load("optim").adam(
        a["p"], a["g"], a["m"], a["v"], (0.9, 0.99), 1e-8, 0, 1, 0.1, 1, a["scale"]),
    "asgd": lambda a: load("optim").asgd(a["p"], a["g"], a["m"], 0.1, 0, 2, a["scale"]),
    "sgd": lambda a: load("optim").sgd(a["p"], a["g"], a["m"], 0.1, 0.9, 0, a["scale"]),
    "sum_of_squares": lambda a: load("optim").sum_of_squares(a["p"], a["g"]),
    "dropout_mask": lambda a: load("masks").dropout_mask((5,), np.float32, (0, 0), 0, a["threshold"], 1.0),
}  # fmt: skip
FAULTS = [
    ("linear_cross_entropy", "weight", lambda a: a[:, :2], r"weight: expected float32 \(5, 3\), got float32 \(5, 2\)"),
    ("linear_cross_entropy", "weight", lambda a: a.get(), "weight: expected a CuPy array, got numpy.ndarray"),
    ("linear_cross_entropy", "bias", lambda a: a[1:], r"bias: expected float32 \(5,\)"),
    ("linear_cross_entropy", "bias", lambda a: a.astype(np.float64), "bias: expected float32"),
    ("linear_cross_entropy", "targets", lambda a: a[1:], r"targets: expected a CuPy array of integers \(4,\)"),
    ("linear_cross_entropy", "targets", lambda a: a.astype(float), "targets: .* of integers .*got float64"),
    ("linear_cross_entropy", "targets", lambda a: a.get(), "targets: .*got ndarray"),
    ("embedding_forward", "ids", lambda a: a.get(), "ids: expected a CuPy array of integers"),
    ("embedding_forward", "ids", lambda a: a.astype(float), "ids: expected a CuPy array of integers"),
    ("embedding_forward", "row_mask", lambda a: a[1:], r"row_mask: expected float32 \(5, 1\)"),
    ("embedding_forward", "row_mask", lambda a: a[:, 0], r"row_mask: expected float32 \(5, 1\)"),
    ("embedding_backward", "dy", lambda a: a[:1], r"dy: expected float32 \(2, 3\), got float32 \(1, 3\)"),
    ("embedding_backward", "row_mask", lambda a: a.astype(np.float64), "row_mask: expected float32"),
    *((call, name, lambda a: a[1:], rf"{said}: expected float32 \(5,\), got float32 \(4,\)")
      for call, name, said in (("adam", "g", "g"), ("adam", "m", "moment 1"), ("adam", "v", "moment 2"),
                               ("asgd", "m", "moment 1"), ("sgd", "m", "moment 1"))),
    *((call, "g", lambda a: a.get(), "g: expected a CuPy array") for call in ("adam", "asgd", "sgd")),
    ("adam", "v", lambda a: a.astype(np.float64), "moment 2: expected float32"),
    *((call, "scale", lambda a: a.astype(np.float32), "scale: expected float64") for call in ("adam", "asgd", "sgd")),
    ("sum_of_squares", "g", lambda a: a.get(), "array 1: expected a CuPy array"),
    ("dropout_mask", "threshold", lambda a: -1, "threshold: expected 0..65536, got -1"),
]  # fmt: skip


@pytest.mark.parametrize("call, name, spoil, message", FAULTS)
def test_a_bad_argument_never_reaches_the_device(cupy, call, name, spoil, message):
    arrays = {n: cupy.ones(shape, np.float32) for n, shape in ones.items()}
    arrays |= {"targets": cupy.zeros(4, np.int64), "ids": cupy.zeros(2, np.int64), "threshold": 9}
    arrays |= {"row_mask": cupy.ones((5, 1), np.float32), "scale": cupy.ones(())}
    CALLS[call](arrays)
    with cuda_on_cpu.recording() as launches, pytest.raises(ValueError, match=message):
        CALLS[call](arrays | {name: spoil(arrays[name])})
    assert not launches


# --- the engine -------------------------------------------------------------------------------------------------------


def test_every_twin_has_one_for_the_device_and_auto_takes_them():
    for name, modules in minilstm_kernels.TWINS.items():
        assert set(modules) == {"cpu", "cuda"}
        assert minilstm_kernels.twin(name, "cuda").__module__ == f"minilstm_kernels.{modules['cuda']}"


@pytest.mark.parametrize("name", minilstm_kernels.TWINS)
def test_who_gets_a_twin_on_the_device(cupy, name):
    """Those who ask for the best or for a kernel of the GPU, and not those who ask for one of the CPU."""
    a = cupy.ones(3)
    for kernel in ("auto", *(k.name for k in minilstm_kernels.IMPLEMENTATIONS if k.device == "cuda")):
        for found in (twins.twin(name, kernel, a), twins.twin(name, kernel, device="cuda")):
            assert found is minilstm_kernels.twin(name, "cuda")
    for kernel in ("reference", *(k.name for k in minilstm_kernels.IMPLEMENTATIONS if k.device == "cpu")):
        assert twins.twin(name, kernel, a) is None
    assert twins.twin(name, "cupy", np.ones(3)) is None
    with pytest.raises(ValueError, match="kernel: expected one of auto, reference, .*got 'warp'"):
        twins.twin(name, "warp", a)


def engine(cupy, kernel, device, dtype=np.float64):
    """Everything of the engine that has a twin, and the penalties -> all results, on the host"""
    rng = np.random.default_rng(0)

    def put(a):
        return cupy.asarray(a.astype(dtype)) if device == "cuda" else a.astype(dtype)

    weight, bias, logits = (put(normal(rng, *shape)) for shape in ((40, 6), (40,), (12, 40)))
    ids, targets = rng.integers(0, 40, (4, 3)), some_targets(rng, 12, 40)
    layer = Embedding(40, 6, rng=rng, dtype=dtype, kernel=kernel)
    layer.params["weight"] = weight
    masks = MaskSource(3, kernel=kernel, device=device)
    with no_waiting():
        row_mask = masks.mask("rows", (40, 1), 0.3, step=1, dtype=dtype)
        y, cache = layer.forward(ids, row_mask)
        mask = masks.mask("y", y.shape, 0.5, step=1, dtype=dtype)
        dropped = dropout_forward(y, mask)
        loss, (dx, dweight, dbias) = linear_cross_entropy(
            dropped.reshape(12, 6), weight, bias, targets, chunk=5, kernel=kernel
        )
        grads = layer.backward(dropout_backward(dx.reshape(y.shape), mask), cache)[1]
        small, small_cache = softmax_cross_entropy_forward(logits, targets)
        dlogits = softmax_cross_entropy_backward(1.0, small_cache)
        ar, tar = (penalty(y, 2.0, np.array([4, 0, 2]), kernel=kernel)[0]
                   for penalty in (activation_regularization_forward, temporal_activation_regularization_forward))
        norm = grad_norm(grads, kernel=kernel)
        scale = clip_scale(norm, 0.1)
    results = dict(y=y, row_mask=row_mask, mask=mask, loss=loss, dx=dx, dweight=dweight, dbias=dbias, small=small,
                   dlogits=dlogits, ar=ar, tar=tar, norm=norm, scale=scale, embedding=grads["weight"])  # fmt: skip
    on_device = {name for name, a in results.items() if isinstance(a, cupy.ndarray)}
    assert on_device == (set(results) if device == "cuda" else set())
    return {name: to_numpy(a) for name, a in results.items()}


@both_codes
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 3e-6), (np.float64, 1e-14)])
def test_the_engine_on_the_device_is_the_engine_and_waits_for_nothing(cupy, kernel, dtype, tolerance):
    """ids and targets come from the host, and losses, penalties and norms stay on the device."""
    want, got = engine(cupy, "reference", "cpu", dtype), engine(cupy, kernel, "cuda", dtype)
    for name, exact in want.items():
        assert got[name].shape == exact.shape, name
        assert got[name].dtype == exact.dtype or exact.shape == (), name
        np.testing.assert_allclose(got[name], exact, rtol=tolerance, atol=tolerance, err_msg=name)


def train(cupy, make, kernel, device, dtype, spoil=None, n=11):
    """Three steps with clipping -> the parameters and the moments on the host, and what the scales were. spoil: a step
    whose gradient has a NaN"""
    rng, optimiser = np.random.default_rng(0), make()
    optimiser.kernel, scales = kernel, []
    params = {name: normal(rng, *shape, dtype=dtype) for name, shape in (("a", (n, 4)), ("b", (3,)))}
    if device == "cuda":
        params = there(cupy, params)
    for step in range(3):
        grads = {name: normal(rng, *p.shape, dtype=dtype) for name, p in params.items()}
        if step == spoil:
            grads["b"][1] = np.nan
        if device == "cuda":
            grads = there(cupy, grads)
        before = copies(here(grads))
        with no_waiting():
            scale = clip_scale(grad_norm(grads, kernel=kernel), 2.0)
            optimiser.step(params, grads, 0.1, scale=scale)
        same_bits(before, here(grads))
        scales.append(float(scale))
    return here(params) | {
        f"{moment} of {name}": to_numpy(a) for moment, arrays in optimiser.state.items() for name, a in arrays.items()
    }, scales  # fmt: skip


@both_codes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_optimiser
def test_an_optimiser_on_the_device_does_what_it_does_on_the_host(cupy, make, kernel, dtype):
    """Within four units in the last place of the largest number."""
    (want, scales), (got, on_device) = (
        train(cupy, make, *how, dtype) for how in (("reference", "cpu"), (kernel, "cuda"))
    )
    assert max(scales) < 1 and on_device == pytest.approx(scales, rel=1e-6) and got.keys() == want.keys()
    for name, exact in want.items():
        assert got[name].dtype == exact.dtype
        np.testing.assert_allclose(got[name], exact, rtol=0, atol=4 * np.spacing(abs(exact).max()), err_msg=name)


@both_codes
@every_optimiser
def test_no_bad_update_is_ever_applied(cupy, make, kernel):
    """Nor to a moment; the host counts the step, since it cannot know. A host's NaN does the same."""
    results = [train(cupy, make, *how, np.float64, spoil=1) for how in ((kernel, "cuda"), ("reference", "cpu"))]
    (got, scales), (want, _) = results
    assert np.isnan(scales).tolist() == [False, True, False]
    assert all(np.isfinite(a).all() for a in got.values())
    for name, a in got.items():
        np.testing.assert_allclose(a, want[name], rtol=1e-13, atol=1e-13, err_msg=name)
        if name.startswith("step"):
            assert a == 3 and isinstance(a, np.ndarray)


@both_codes
@every_optimiser
def test_a_scale_may_come_from_the_host_as_well(cupy, make, kernel):
    rng, results = np.random.default_rng(0), []
    params, grads = ({"a": normal(rng, 3, 4)} for _ in range(2))
    for put in (dict, lambda arrays: there(cupy, arrays)):
        optimiser, p = make(), put(copies(params))
        optimiser.kernel = kernel
        for scale in (0.25, math.nan, np.float64(3.0)):
            optimiser.step(p, put(grads), 0.1, scale=scale)
        results.append(here(p)["a"])
    assert np.isfinite(results[0]).all()
    np.testing.assert_allclose(*results, rtol=1e-13, atol=1e-14)


@both_codes
def test_the_norm_of_what_is_huge_or_not_finite(cupy, kernel):
    a, b = np.array([3e38, 0], np.float32), np.array([[1.5e38]], np.float32)
    norm = grad_norm(there(cupy, {"a": a, "b": b}), kernel=kernel)
    assert float(norm) == pytest.approx(3.3541e38, rel=1e-4) and norm.dtype == np.float64
    for bad in (np.nan, np.inf):
        a[1] = bad
        assert not np.isfinite(float(grad_norm(there(cupy, {"a": a, "b": b}), kernel=kernel)))


def test_clip_grad_norm_still_answers_on_the_host(cupy):
    grads = there(cupy, {"a": np.array([3.0, 4.0])})
    assert clip_grad_norm(grads, 1.0) == 5.0
    np.testing.assert_allclose(to_numpy(grads["a"]), [0.6, 0.8])
    with pytest.raises(FloatingPointError, match="not finite in a"):
        clip_grad_norm(there(cupy, {"a": np.array([np.inf])}), 1.0)


@both_codes
def test_ids_and_targets_of_the_host_are_checked_there(cupy, kernel):
    layer = Embedding(5, 3, rng=np.random.default_rng(0), kernel=kernel)
    layer.params["weight"] = cupy.asarray(layer.params["weight"])
    with pytest.raises(IndexError, match=r"ids: expected ids in 0..4 \(5 words\), got 5"):
        layer.forward(np.array([5]))
    x, weight, bias = cupy.ones((2, 3)), cupy.ones((4, 3)), cupy.ones(4)
    with pytest.raises(IndexError, match="targets: expected ids in 0..3"):
        linear_cross_entropy(x, weight, bias, np.array([0, 4]), kernel=kernel)
    with pytest.raises(IndexError, match="targets: expected ids in 0..3"):
        softmax_cross_entropy_forward(x @ weight.T, np.array([-1, 0]))
    with pytest.raises(TypeError, match="targets: expected an array of integers, got float64"):
        linear_cross_entropy(x, weight, bias, cupy.ones(2), kernel=kernel)


def test_an_id_on_the_device_that_there_is_not_is_nan_and_no_address(cupy):
    layer = Embedding(5, 3, rng=np.random.default_rng(0))
    layer.params["weight"] = cupy.asarray(layer.params["weight"])
    y, cache = layer.forward(cupy.asarray(np.array([4, 5, -1])))
    assert np.isnan(y.get()).all(axis=1).tolist() == [False, True, True]
    dweight = layer.backward(cupy.ones((3, 3), np.float32), cache)[1]["weight"]
    assert dweight.get().sum(axis=1).tolist() == [0, 0, 0, 0, 3]
    for bad, ignore in ((4, IGNORE), (IGNORE, None)):
        targets = cupy.asarray(np.array([0, bad]))
        loss, _ = linear_cross_entropy(
            cupy.ones((2, 3)), cupy.ones((4, 3)), cupy.ones(4), targets, ignore_index=ignore
        )
        assert np.isnan(float(loss))


def step_of_a_language_model(cupy, device, kernel):
    """Embedding, LSTM, decoder, clipping, Adam -> parameters and loss, on the host"""
    rng, put = np.random.default_rng(0), cupy.asarray if device == "cuda" else np.asarray
    layers = {"embedding": Embedding(30, 4, rng=rng, dtype=np.float64, kernel=kernel),
              "lstm": LSTM(4, 4, rng=rng, dtype=np.float64, kernel=kernel)}  # fmt: skip
    params = {(part, name): put(p) for part, layer in layers.items() for name, p in layer.params.items()}
    for (part, name), p in params.items():
        layers[part].params[name] = p
    ids, masks = rng.integers(0, 30, (6, 3)), MaskSource(1, kernel=kernel, device=device)
    with no_waiting():
        mask = masks.mask("y", (1, 3, 4), 0.5, step=0, dtype=np.float64)
        x, embedding_cache = layers["embedding"].forward(ids[:-1])
        y, _, cache = layers["lstm"].forward(x)
        rows, weight = dropout_forward(y, mask).reshape(-1, 4), layers["embedding"].params["weight"]
        loss, (dy, dweight, _) = linear_cross_entropy(rows, weight, put(np.zeros(30)), ids[1:].ravel(), kernel=kernel)
        dx, _, lstm_grads = layers["lstm"].backward(dropout_backward(dy.reshape(y.shape), mask), None, cache)
        _, embedding_grads = layers["embedding"].backward(dx, embedding_cache)
        grads = {("lstm", name): g for name, g in lstm_grads.items()}
        grads["embedding", "weight"] = embedding_grads["weight"] + dweight
        Adam(eps=1e-3, kernel=kernel).step(params, grads, 0.1, scale=clip_scale(grad_norm(grads, kernel=kernel), 0.25))
    return here(params) | {"loss": np.array(float(loss))}


@both_codes
def test_a_whole_training_step_on_the_device_waits_for_nothing(cupy, kernel):
    want = step_of_a_language_model(cupy, "cpu", "reference")
    for name, a in step_of_a_language_model(cupy, "cuda", kernel).items():
        np.testing.assert_allclose(a, want[name], rtol=1e-11, atol=1e-12, err_msg=str(name))


def test_the_stand_in_knows_who_waits(cupy):
    a = cupy.ones(3)
    with no_waiting():
        for wait in (lambda: float(a.sum()), lambda: bool(a.any()), lambda: int(a[0]), lambda: a.get(),
                     lambda: a[a > 0], lambda: a.sum().item(), lambda: cupy.unique(a), lambda: a.sum() > 0 or None,
                     ):  # fmt: skip
            with pytest.raises(AssertionError, match="makes the host wait"):
                wait()
        assert isinstance(a[0], cupy.ndarray) and a[1:].shape == (2,)
    assert float(a.sum()) == 3
