"""The compiled passes against the plain code: the same bits where nothing is rounded otherwise, else within a few units
in the last place; the same bits for any number of threads; and what they leave to the plain code."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from on_cpu import both_dtypes, fresh_python
from problems import same_bits
from strategies import seeds

import minilstm_kernels
from minilstm import ASGD, SGD, Adam, Embedding, MaskSource, clip_grad_norm, grad_norm
from minilstm.regularization import activation_regularization_forward, temporal_activation_regularization_forward
from minilstm_kernels import cpu_embedding, cpu_masks, cpu_memory, cpu_optim, cpu_passes
from minilstm_kernels.cpu_passes import BLOCK, PARTS

TEAMS = [1, 2, 3, 5]
dtypes = st.sampled_from([np.float32, np.float64])
MANY = 5 * BLOCK + 17  # a share for every member of a team of 5, and a last one that is not whole


@pytest.fixture(autouse=True, scope="module")
def as_many_members_as_there_are_blocks():
    """Compiled code takes arrays of any size, and every block is worth a thread."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(cpu_passes, "SMALL", 0)
        m.setattr(cpu_passes, "WORTH", 1)
        yield
    minilstm_kernels.set_num_threads(None)


def for_each_team(function):
    """-> the results of function(), a list, for teams of all sizes"""
    results = []
    for members in TEAMS:
        minilstm_kernels.set_num_threads(members)
        results.append(function())
    return results


def numbers(rng, *shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


# --- masks ------------------------------------------------------------------------------------------------------------

# a block of Philox, the blocks that go through the rounds together, the numbers of one piece: and what is beside them
edges = [n + beside for n in (0, 16, 16 * cpu_masks.BLOCKS, BLOCK, MANY) for beside in (-1, 0, 1) if n + beside >= 0]


@given(
    seed=st.integers(0, 2**64 - 1), kind=st.text(max_size=8), layer=st.integers(0, 9), step=st.integers(0, 2**64 - 1),
    shape=st.one_of(st.sampled_from(edges).map(lambda n: (n,)), st.lists(st.integers(0, 9), max_size=4).map(tuple)),
    p=st.floats(0, 1, exclude_max=True), dtype=dtypes, members=st.sampled_from(TEAMS),
)  # fmt: skip
def test_a_mask_has_the_bits_of_numpys_generator(seed, kind, layer, step, shape, p, dtype, members):
    minilstm_kernels.set_num_threads(members)
    plain, compiled = (
        MaskSource(seed, kernel=kernel).mask(kind, shape, p, step=step, layer=layer, dtype=dtype)
        for kernel in ("reference", "cpu")
    )
    assert (plain is None) == (compiled is None)
    if plain is not None:
        same_bits({"mask": plain}, {"mask": compiled})


def test_a_mask_is_drawn_without_an_array_of_numbers():
    """Plain NumPy has two bytes for every number beside the mask, and as many again while it compares."""
    source = MaskSource(0, kernel="cpu")
    source.mask("a", (10, 10), 0.5, step=0)
    tracemalloc.start()
    mask = source.mask("a", (1000, 1000), 0.5, step=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mask.nbytes + 100_000


# --- embedding --------------------------------------------------------------------------------------------------------


@given(
    V=st.integers(1, 6), E=st.integers(1, 70), shape=st.lists(st.integers(0, 6), max_size=3).map(tuple), seed=seeds,
    dtype=dtypes, ids_dtype=st.sampled_from([np.uint8, np.int32, np.int64, np.uint64]), dropped=st.booleans(),
    members=st.sampled_from(TEAMS),
)  # fmt: skip
def test_an_embedding_has_the_bits_of_the_plain_one(V, E, shape, seed, dtype, ids_dtype, dropped, members):
    minilstm_kernels.set_num_threads(members)
    rng = np.random.default_rng(seed)
    ids, dy = rng.integers(0, V, shape).astype(ids_dtype), numbers(rng, *shape, E, dtype=dtype)
    row_mask = rng.integers(0, 2, (V, 1)).astype(dtype) / dtype(0.9) if dropped else None
    weight = numbers(rng, V, E, dtype=dtype)
    results = []
    for kernel in ("reference", "cpu"):
        layer = Embedding(V, E, rng=rng, dtype=dtype, kernel=kernel)
        layer.params["weight"] = weight
        y, cache = layer.forward(ids, row_mask)
        results.append({"y": y, **layer.backward(dy, cache)[1]})
    same_bits(*results)


def test_an_embedding_of_many_words():
    rng = np.random.default_rng(0)
    weight, ids = numbers(rng, 3000, 40, dtype=np.float32), rng.integers(0, 3000, (70, 30))
    row_mask = np.full((3000, 1), 1 / 0.9, np.float32)
    want = weight[ids] * row_mask[ids]
    for y in for_each_team(lambda: cpu_embedding.embedding_forward(weight, ids, row_mask)):
        same_bits({"y": want}, {"y": y})


def test_nan_and_infinity_stay_with_their_words():
    weight = np.array([[1, np.nan], [np.inf, -np.inf], [3, 4]], np.float32)
    ids, dropped = np.array([0, 1, 2, 1]), np.array([[2], [0], [2]], np.float32)
    y = cpu_embedding.embedding_forward(weight, ids, dropped)
    np.testing.assert_array_equal(y, [[2, np.nan], [np.nan, np.nan], [6, 8], [np.nan, np.nan]])
    dweight = cpu_embedding.embedding_backward(weight[ids], ids, None, 4)
    np.testing.assert_array_equal(dweight, [[1, np.nan], [np.inf, -np.inf], [3, 4], [0, 0]])


# --- optimisers -------------------------------------------------------------------------------------------------------

decays = st.sampled_from([0.0, 0.1])
optimisers = st.one_of(
    st.builds(lambda m, d: (SGD, dict(momentum=m, weight_decay=d)), st.sampled_from([0.0, 0.9]), decays),
    st.builds(lambda t0, d: (ASGD, dict(t0=t0, weight_decay=d)), st.integers(0, 3), decays),
    st.builds(
        lambda b, d, decoupled: (Adam, dict(betas=b, weight_decay=d, decoupled_weight_decay=decoupled)),
        st.sampled_from([(0.9, 0.999), (0.7, 0.99), (0.0, 0.5)]), decays, st.booleans(),
    ),
)  # fmt: skip


def train(make, kernel, dtype, n, seed, n_steps):
    """-> the parameter and all moments after some steps"""
    rng = np.random.default_rng(seed)
    params, optimiser = {"p": numbers(rng, n, dtype=dtype)}, make[0](kernel=kernel, **make[1])
    for _ in range(n_steps):
        optimiser.step(params, {"p": numbers(rng, n, dtype=dtype)}, 0.1)
    return params | {name: moments["p"] for name, moments in optimiser.state.items() if moments}


@given(make=optimisers, dtype=dtypes, n=st.integers(0, 200), seed=seeds, n_steps=st.integers(1, 6))
@example(make=(Adam, {}), dtype=np.float32, n=MANY, seed=0, n_steps=3)
def test_an_optimiser_does_what_the_plain_one_does(make, dtype, n, seed, n_steps):
    """Within four units in the last place of the largest number, after some steps of numbers around 1."""
    plain, compiled = (train(make, kernel, dtype, n, seed, n_steps) for kernel in ("reference", "cpu"))
    assert plain.keys() == compiled.keys()
    for name, want in plain.items():
        assert compiled[name].dtype == want.dtype
        if n:
            bound = 4 * np.spacing(abs(want).max())
            np.testing.assert_allclose(compiled[name], want, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize(
    "make",
    [(SGD, dict(weight_decay=0.1)), (SGD, dict(momentum=0.9)), (ASGD, dict(t0=0)), (Adam, dict(weight_decay=0.1))],
    ids=["sgd", "momentum", "asgd", "adam"],
)
@both_dtypes
def test_an_optimiser_has_the_same_bits_on_any_team(make, dtype):
    for n in (MANY, 3 * BLOCK, 1):
        first, *others = for_each_team(lambda n=n: train(make, "cpu", dtype, n, 0, 3))
        for other in others:
            same_bits(first, other)


@given(make=optimisers, dtype=dtypes)
def test_nan_and_infinity_go_where_the_plain_code_has_them(make, dtype):
    special = np.array([0, -0.0, 1, np.nan, np.inf, -np.inf, np.finfo(dtype).tiny], dtype)
    p, g = (a.ravel().copy() for a in np.meshgrid(special, special))
    results = []
    for kernel in ("reference", "cpu"):
        params, optimiser = {"p": p.copy()}, make[0](kernel=kernel, **make[1])
        with np.errstate(all="ignore"):
            for _ in range(3):
                optimiser.step(params, {"p": g}, 0.1)
        results.append(params | {name: moments["p"] for name, moments in optimiser.state.items() if moments})
    for name, want in results[0].items():
        np.testing.assert_allclose(results[1][name], want, rtol=16 * np.finfo(dtype).eps, err_msg=name)


@pytest.mark.parametrize(
    "make",
    [(SGD, {}), (SGD, dict(momentum=0.9, weight_decay=0.1)), (ASGD, dict(t0=0, weight_decay=0.1)), (Adam, {})],
    ids=["sgd", "momentum", "asgd", "adam"],
)
def test_a_step_and_the_norm_need_no_memory(make):
    n = 200_000
    params, grads = {"p": np.ones(n, np.float32)}, {"p": np.ones(n, np.float32)}
    optimiser = make[0](kernel="cpu", **make[1])
    for _ in range(3):  # then all moments are there, and what is compiled
        optimiser.step(params, grads, 0.1)
        grad_norm(grads, kernel="cpu")
    tracemalloc.start()
    optimiser.step(params, grads, 0.1)
    grad_norm(grads, kernel="cpu")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000  # one array of them is 800,000


def test_what_was_returned_is_not_overwritten_and_what_was_dropped_is_used_again():
    source = MaskSource(0, kernel="cpu")
    kept = source.mask("a", (400, 400), 0.5, step=0)
    before = kept.copy()
    source.mask("a", (400, 400), 0.5, step=1)
    held = cpu_memory.held()
    for step in range(3):
        source.mask("a", (400, 400), 0.5, step=step)
    assert (kept == before).all() and cpu_memory.held() == held


# --- sums -------------------------------------------------------------------------------------------------------------


@given(n=st.integers(0, 3 * PARTS), seed=seeds, dtype=dtypes)
@example(n=MANY, seed=0, dtype=np.float32)
@example(n=2 * BLOCK, seed=0, dtype=np.float64)
def test_a_sum_of_squares_is_right_to_the_last_digits(n, seed, dtype):
    x = numbers(np.random.default_rng(seed), n, dtype=dtype)
    exact = math.fsum(float(number) ** 2 for number in x)
    assert cpu_passes.sum_of_squares(x) == pytest.approx(exact, rel=1e-14)


@both_dtypes
def test_a_sum_has_the_same_bits_on_any_team(dtype):
    x = numbers(np.random.default_rng(0), MANY, dtype=dtype)
    sums = for_each_team(lambda: cpu_passes.sum_of_squares(x))
    assert len(set(sums)) == 1 and all(np.isfinite(sums))


def test_squares_that_overflow_float32_are_summed_all_the_same():
    assert cpu_passes.sum_of_squares(np.full(5, 1e30, np.float32)) == pytest.approx(5e60, rel=1e-6)
    assert cpu_passes.sum_of_squares(np.full(5, 1e200)) == math.inf  # grad_norm tries again, in other units
    assert grad_norm({"a": np.full(4, 1e200)}, kernel="cpu") == pytest.approx(2e200, rel=1e-12)


@pytest.mark.parametrize("at", [0, PARTS, MANY - 1])
def test_nan_and_infinity_are_not_lost_in_a_sum(at):
    x = np.ones(MANY, np.float32)
    x[at] = -np.inf
    assert cpu_passes.sum_of_squares(x) == np.inf
    x[at] = np.nan
    assert math.isnan(cpu_passes.sum_of_squares(x))


@given(T=st.integers(1, 9), B=st.integers(1, 9), H=st.integers(1, 70), seed=seeds, dtype=dtypes, cut=st.booleans())
def test_the_penalties_are_the_plain_ones(T, B, H, seed, dtype, cut):
    rng = np.random.default_rng(seed)
    y, lengths = numbers(rng, T, B, H, dtype=dtype), rng.integers(0, T + 1, B) if cut else None
    for penalty in (activation_regularization_forward, temporal_activation_regularization_forward):
        plain, compiled = (penalty(y, 2.0, lengths, kernel=kernel)[0] for kernel in ("reference", "cpu"))
        assert compiled.dtype == dtype and compiled == pytest.approx(plain, rel=float(16 * np.finfo(dtype).eps))


# --- who takes what ---------------------------------------------------------------------------------------------------


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


ODD = {
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "by columns": np.asfortranarray,
    "read-only": read_only,
    "float16": lambda a: a.astype(np.float16),
    "other bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "subclass": lambda a: a.view(np.ma.MaskedArray),
}
odd = pytest.mark.parametrize("kind", ODD)


@odd
@pytest.mark.parametrize("at", range(4))
def test_what_compiled_code_cannot_take_is_left_as_it_was(kind, at):
    """Wherever it stands among the arrays of a call."""
    arrays = [np.full((4, 6), n, np.float32) for n in range(4)]
    arrays[at] = ODD[kind](arrays[at])
    assert not cpu_passes.fits(*arrays)
    assert cpu_optim.adam(*arrays, (0.9, 0.99), 1e-8, 0.1, 1.0, 0.1, 1.0) is None
    if at < 3:
        assert cpu_optim.asgd(*arrays[:3], 0.1, 0.1, 2) is None
        assert cpu_optim.sgd(*arrays[:3], 0.1, 0.9, 0.1) is None
    if at < 2:
        assert cpu_optim.sgd(*arrays[:2], None, 0.1, 0.0, 0.1) is None
    assert cpu_passes.sum_of_squares(arrays[at]) is None
    assert cpu_embedding.embedding_forward(arrays[at], np.array([1, 0]), None) is None
    assert cpu_embedding.embedding_backward(arrays[at], np.arange(4), None, 4) is None
    assert all((np.array(a) == n).all() for n, a in enumerate(arrays))


@pytest.mark.parametrize("kind", ["strided", "by columns", "float16", "other bytes"])
def test_the_plain_code_then_takes_it(kind):
    same_bits(*(one_of_each(kernel, ODD[kind]) for kernel in ("reference", "cpu")))


def test_arrays_of_different_shapes_are_left_to_the_plain_code():
    """Which says so; compiled code would go past the end of the shorter one."""
    p, short = np.zeros(30_000, np.float32), np.zeros(20_000, np.float32)
    assert cpu_passes.flat(p, p) is not None and cpu_passes.flat(p, short) is None


def test_small_arrays_are_left_to_the_plain_code(monkeypatch):
    monkeypatch.setattr(cpu_passes, "SMALL", 10)
    few, enough = np.ones(9), np.ones(10)
    assert cpu_passes.sum_of_squares(few) is None and cpu_passes.sum_of_squares(enough) == 10
    assert cpu_optim.sgd(few, few, None, 0.1, 0, 0) is None and (few == 1).all()
    assert cpu_embedding.embedding_forward(np.ones((5, 3)), np.array([1, 2, 3]), None) is None


def one_of_each(kernel, make=np.array):
    """A call to everything that has a twin here, with arrays that `make` has made -> all results"""
    rng = np.random.default_rng(0)
    p, g, weight, dy = (make(numbers(rng, 8, 6, dtype=np.float32)) for _ in range(4))
    for optimiser in (SGD(kernel=kernel), ASGD(kernel=kernel), Adam(eps=1e-3, kernel=kernel)):
        optimiser.step({"p": p}, {"p": g}, 0.1)
    norm = clip_grad_norm({"g": g}, 0.1, kernel=kernel)
    layer = Embedding(8, 6, rng=rng, kernel=kernel)
    layer.params["weight"] = weight
    y, cache = layer.forward(np.array([1, 2, 7, 1, 0, 0, 1, 3]))
    mask = MaskSource(0, kernel=kernel).mask("a", y.shape, 0.5, step=0, dtype=weight.dtype)
    dweight = layer.backward(dy.astype(weight.dtype, copy=False), cache)[1]["weight"]
    ar = activation_regularization_forward(p.reshape(2, 4, 6), 2.0, kernel=kernel)[0]
    tar = temporal_activation_regularization_forward(p.reshape(2, 4, 6), 2.0, kernel=kernel)[0]
    return {"p": p, "g": g, "norm": np.array(norm), "y": y, "mask": mask, "dweight": dweight, "ar": ar, "tar": tar}


def test_auto_takes_every_twin_and_reference_none(monkeypatch):
    taken, twin = [], minilstm_kernels.twin

    def recording(name, device):
        def call(*args):
            result = twin(name, device)(*args)
            taken.append(name if result is not None else f"{name}, but not these arrays")
            return result

        return call

    monkeypatch.setattr(minilstm_kernels, "twin", recording)
    one_of_each("reference")
    assert taken == []
    one_of_each("auto")
    assert taken == [
        "sgd", "asgd", "adam", "sum_of_squares", "embedding_forward", "dropout_mask", "embedding_backward",
        "sum_of_squares", "sum_of_squares",
    ]  # fmt: skip


def test_without_numba_auto_is_the_plain_code_and_cpu_says_why():
    code = """if True:
        import sys
        sys.modules["numba"] = None
        import numpy as np
        from minilstm import Adam, MaskSource, grad_norm
        def train(kernel):
            rng = np.random.default_rng(0)
            params, grads = ({"a": rng.standard_normal(100_000)} for _ in range(2))
            Adam(kernel=kernel).step(params, grads, 0.1)
            mask = MaskSource(1, kernel=kernel).mask("a", (1000,), 0.5, step=0)
            return params["a"].tobytes(), mask.tobytes(), grad_norm(grads, kernel=kernel)
        print(train("auto") == train("reference"))
        try:
            train("cpu")
        except RuntimeError as error:
            print(error)
    """
    same, reason = fresh_python(code)[0].splitlines()
    assert same == "True"
    assert reason == "kernel 'cpu' cannot run here: numba is not installed: pip install numba"
