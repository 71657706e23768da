import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import NC, normal, seeds, sizes

from minilstm import (
    gradcheck,
    linear_cross_entropy,
    num_threads,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

IGNORE = -100
has_numba = find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not has_numba, reason="needs numba")


def some_targets(rng, N, C, ignored=0.4):
    """(N,) classes, some of them ignored, at least one not."""
    targets = np.where(rng.random(N) < ignored, IGNORE, rng.integers(0, C, N))
    targets[rng.integers(N)] = rng.integers(C)
    return targets


@given(NC=NC, seed=seeds)
def test_gradient(NC, seed):
    rng = np.random.default_rng(seed)
    targets = some_targets(rng, *NC)

    def forward(a):
        return {"loss": softmax_cross_entropy_forward(a["logits"], targets)[0]}

    def backward(a, d):
        _, cache = softmax_cross_entropy_forward(a["logits"], targets)
        return {"logits": softmax_cross_entropy_backward(d["loss"], cache)}

    gradcheck(forward, backward, {"logits": 3 * normal(rng, *NC)}, rng=rng, directions=2)


@given(NC=NC, seed=seeds)
def test_the_mean_over_the_targets_that_count(NC, seed):
    rng = np.random.default_rng(seed)
    logits, targets = normal(rng, *NC), some_targets(rng, *NC)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    by_hand = np.mean([-np.log(p[n, t]) for n, t in enumerate(targets) if t != IGNORE])
    loss, cache = softmax_cross_entropy_forward(logits, targets)
    assert loss == pytest.approx(by_hand, rel=1e-12)
    dlogits = softmax_cross_entropy_backward(1.0, cache)
    assert not dlogits[targets == IGNORE].any() and dlogits[targets != IGNORE].all()
    np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=1e-15)


def both_losses(logits, targets):
    """(loss, dlogits) of the plain function, and of the fused one with an identity for its weights."""
    loss, cache = softmax_cross_entropy_forward(logits, targets)
    C = logits.shape[1]
    eye, zero = np.eye(C, dtype=logits.dtype), np.zeros(C, logits.dtype)
    fused, (dx, _, _) = linear_cross_entropy(logits, eye, zero, targets)
    return (loss, softmax_cross_entropy_backward(1.0, cache)), (fused, dx)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("N", [0, 3])
def test_if_all_are_ignored_loss_and_gradient_are_zero(dtype, N):
    for loss, dlogits in both_losses(np.ones((N, 4), dtype), np.full(N, IGNORE)):
        assert loss == 0 and not dlogits.any() and dlogits.dtype == dtype and dlogits.shape == (N, 4)


@pytest.mark.parametrize("scale", [1e4, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_stay_finite_in_silence(dtype, scale):
    logits = scale * np.array([[1, -1, 0], [1, -1, 0], [3, 3, 3]], dtype)
    for loss, dlogits in both_losses(logits, np.array([0, 1, 2])):
        assert loss == pytest.approx((0 + 2 * scale + np.log(3)) / 3, rel=1e-6)
        third = 1 / 9
        wanted = [[0, 0, 0], [1 / 3, -1 / 3, 0], [third, third, third - 1 / 3]]
        np.testing.assert_allclose(dlogits, wanted, rtol=1e-6, atol=1e-30)


def test_another_ignore_index_or_none():
    logits = normal(np.random.default_rng(0), 3, 4)
    a, _ = softmax_cross_entropy_forward(logits, np.array([2, 0, 1]), ignore_index=0)
    b, _ = softmax_cross_entropy_forward(logits[[0, 2]], np.array([2, 1]), ignore_index=None)
    assert a == pytest.approx(b, rel=1e-14)
    c, _ = linear_cross_entropy(logits, np.eye(4), np.zeros(4), np.array([2, 0, 1]), ignore_index=0)
    assert c == pytest.approx(b, rel=1e-14)


# --- fused with the linear layer below -------------------------------------------------------------------------------


KERNELS = ["reference", pytest.param("cpu", marks=needs_numba)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 3e-6), (np.float64, 1e-14)])
@given(N=st.integers(1, 9), V=st.integers(2, 300), E=sizes, chunk=st.sampled_from([1, 2, 3, 512]), seed=seeds)
def test_in_chunks_it_is_the_plain_layer_and_loss(kernel, dtype, tolerance, N, V, E, chunk, seed):
    rng = np.random.default_rng(seed)
    x, weight, bias = (normal(rng, *shape, dtype=dtype) for shape in ((N, E), (V, E), (V,)))
    targets = some_targets(rng, N, V)
    kept = [a.copy() for a in (x, weight, bias, targets)]
    loss, cache = softmax_cross_entropy_forward(x @ weight.T + bias, targets)
    dlogits = softmax_cross_entropy_backward(1.0, cache)
    plain = dlogits @ weight, dlogits.T @ x, dlogits.sum(axis=0)
    fused_loss, fused = linear_cross_entropy(x, weight, bias, targets, chunk=chunk, kernel=kernel)
    assert fused_loss == pytest.approx(float(loss), rel=tolerance, abs=tolerance)
    for a, b in zip(fused, plain, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * 10)
    without = linear_cross_entropy(x, weight, bias, targets, chunk=chunk, need_grads=False, kernel=kernel)
    assert without == (fused_loss, None)
    for before, after in zip(kept, (x, weight, bias, targets), strict=True):
        assert (before == after).all()


@pytest.mark.parametrize("kernel", KERNELS)
@given(N=sizes, V=st.integers(2, 6), E=sizes, chunk=st.integers(1, 5), seed=seeds)
def test_every_gradient_of_the_fused_loss(kernel, N, V, E, chunk, seed):
    rng = np.random.default_rng(seed)
    inputs = {"x": normal(rng, N, E), "weight": normal(rng, V, E), "bias": normal(rng, V)}
    targets = some_targets(rng, N, V)

    def backward(a, d):
        _, grads = linear_cross_entropy(**a, targets=targets, chunk=chunk, kernel=kernel)
        return {name: d["loss"] * g for name, g in zip(("x", "weight", "bias"), grads, strict=True)}

    gradcheck(
        lambda a: {
            "loss": linear_cross_entropy(**a, targets=targets, chunk=chunk, need_grads=False, kernel=kernel)[0]
        },
        backward,
        inputs,
        rng=rng,
    )


@needs_numba
@pytest.mark.parametrize("shape", [(700, 1000, 70), (37, 130, 5), (5, 4000, 130)])
def test_the_compiled_twin_at_larger_sizes_and_with_any_number_of_threads(shape):
    rng = np.random.default_rng(0)
    N, V, E = shape
    x, weight, bias = (normal(rng, *s, dtype=np.float32) for s in ((N, E), (V, E), (V,)))
    targets = some_targets(rng, N, V)
    exact_loss, exact = linear_cross_entropy(
        *(a.astype(np.float64) for a in (x, weight, bias)), targets, kernel="reference"
    )
    plain_loss, plain = linear_cross_entropy(x, weight, bias, targets, kernel="reference")
    results = []
    for threads in (1, 2, 3):
        with num_threads(threads):
            results.append(linear_cross_entropy(x, weight, bias, targets, kernel="cpu"))
    loss, grads = results[0]
    assert abs(loss - exact_loss) <= 2 * abs(plain_loss - exact_loss) + 1e-6 * exact_loss
    for ours, numpys, wanted in zip(grads, plain, exact, strict=True):
        assert abs(ours - wanted).max() <= 2 * abs(numpys - wanted).max() + 1e-7 * abs(wanted).max()
    for other_loss, others in results[1:]:
        assert other_loss == loss and all((a == b).all() for a, b in zip(others, grads, strict=True))


@needs_numba
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_compiled_twin_hides_nothing(bad):
    rng = np.random.default_rng(0)
    x, weight, bias = normal(rng, 3, 4), normal(rng, 200, 4), np.zeros(200)
    weight[150, 2] = bad
    assert not np.isfinite(linear_cross_entropy(x, weight, bias, np.array([1, 2, 3]), kernel="cpu")[0])


@needs_numba
def test_never_more_than_a_chunk_of_logits_exists():
    """All logits at once would be 64 MB; a chunk is 2 MB, beside it stand the gradients and two packed weights."""
    N, V, E, chunk = 2048, 8000, 16, 64
    code = f"""if True:
        import resource, numpy as np, minilstm
        def run(N):
            rng = np.random.default_rng(0)
            x, weight, bias = (rng.standard_normal(s, np.float32) for s in ((N, {E}), ({V}, {E}), ({V},)))
            minilstm.linear_cross_entropy(x, weight, bias, rng.integers(0, {V}, N), chunk={chunk}, kernel="cpu")
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        few = run({chunk})
        print(run({N}) - few)
    """
    more = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert more < 16  # MB


def test_float32_stays_float32():
    logits = normal(np.random.default_rng(0), 3, 4, dtype=np.float32)
    loss, cache = softmax_cross_entropy_forward(logits, np.array([0, IGNORE, 3]))
    for dloss in (1.0, np.float64(0.5), np.float32(0.5)):
        assert loss.dtype == softmax_cross_entropy_backward(dloss, cache).dtype == np.float32


@pytest.mark.parametrize(
    "targets, error, message",
    [
        (np.array([0, 1, 4]), IndexError, r"targets: expected ids in 0..3 \(4 classes\), got 4"),
        (np.array([0, -1, 2]), IndexError, "targets: expected ids in 0..3.*, got -1"),
        (np.array([0, 1]), ValueError, r"targets: expected shape \(3,\), got \(2,\)"),
        (np.array([[0], [1], [2]]), ValueError, r"targets: expected shape \(3,\), got \(3, 1\)"),
        (np.array([0.0, 1.0, 2.0]), TypeError, "targets: expected an array of integers, got float64"),
        ([0, 1, 2], TypeError, "targets: expected an array of integers, got list"),
    ],
)
def test_bad_targets(targets, error, message):
    with pytest.raises(error, match=message):
        softmax_cross_entropy_forward(np.ones((3, 4)), targets)
    with pytest.raises(error, match=message):
        linear_cross_entropy(np.ones((3, 2)), np.ones((4, 2)), np.ones(4), targets)


def test_bad_logits():
    with pytest.raises(ValueError, match=r"logits: expected shape \(N, C\), got \(3,\)"):
        softmax_cross_entropy_forward(np.ones(3), np.zeros(3, int))
    with pytest.raises(TypeError, match="logits: expected a floating-point array, got dtype int64"):
        softmax_cross_entropy_forward(np.ones((3, 2), int), np.zeros(3, int))


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"x": np.ones((3, 5))}, ValueError, r"x: expected shape \(N, 2\), got \(3, 5\)"),
        ({"x": np.ones((3, 2), np.float32)}, TypeError, "x: expected dtype float64, got float32"),
        ({"weight": np.ones(4)}, ValueError, r"weight: expected shape \(V, E\), got \(4,\)"),
        ({"bias": np.ones(1)}, ValueError, r"bias: expected shape \(4,\), got \(1,\)"),
        ({"bias": np.ones(4, np.float32)}, TypeError, "bias: expected dtype float64, got float32"),
        ({"chunk": 0}, ValueError, "chunk: expected at least 1 row, got 0"),
    ],
)
def test_bad_arguments_of_the_fused_loss(change, error, message):
    good = {"x": np.ones((3, 2)), "weight": np.ones((4, 2)), "bias": np.ones(4), "targets": np.zeros(3, int)}
    with pytest.raises(error, match=message):
        linear_cross_entropy(**good | change)
