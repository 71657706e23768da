import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import NC, normal, seeds, sizes

from minilstm import (
    gradcheck,
    linear_cross_entropy,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

IGNORE = -100


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_stay_finite_in_silence(dtype):
    logits = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [3e4, 3e4, 3e4]], dtype)
    for loss, dlogits in both_losses(logits, np.array([0, 1, 2])):
        assert loss == pytest.approx((0 + 2e4 + np.log(3)) / 3, rel=1e-6)
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


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 3e-6), (np.float64, 1e-14)])
@given(N=st.integers(1, 9), V=st.integers(2, 9), E=sizes, chunk=st.sampled_from([1, 2, 3, 512]), seed=seeds)
def test_in_chunks_it_is_the_plain_layer_and_loss(dtype, tolerance, N, V, E, chunk, seed):
    rng = np.random.default_rng(seed)
    x, weight, bias = (normal(rng, *shape, dtype=dtype) for shape in ((N, E), (V, E), (V,)))
    targets = some_targets(rng, N, V)
    kept = [a.copy() for a in (x, weight, bias, targets)]
    loss, cache = softmax_cross_entropy_forward(x @ weight.T + bias, targets)
    dlogits = softmax_cross_entropy_backward(1.0, cache)
    plain = dlogits @ weight, dlogits.T @ x, dlogits.sum(axis=0)
    fused_loss, fused = linear_cross_entropy(x, weight, bias, targets, chunk=chunk)
    assert fused_loss == pytest.approx(float(loss), rel=tolerance, abs=tolerance)
    for a, b in zip(fused, plain, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * 10)
    assert linear_cross_entropy(x, weight, bias, targets, chunk=chunk, need_grads=False) == (fused_loss, None)
    for before, after in zip(kept, (x, weight, bias, targets), strict=True):
        assert (before == after).all()


@given(N=sizes, V=st.integers(2, 6), E=sizes, chunk=st.integers(1, 5), seed=seeds)
def test_every_gradient_of_the_fused_loss(N, V, E, chunk, seed):
    rng = np.random.default_rng(seed)
    inputs = {"x": normal(rng, N, E), "weight": normal(rng, V, E), "bias": normal(rng, V)}
    targets = some_targets(rng, N, V)

    def backward(a, d):
        _, grads = linear_cross_entropy(**a, targets=targets, chunk=chunk)
        return {name: d["loss"] * g for name, g in zip(("x", "weight", "bias"), grads, strict=True)}

    gradcheck(
        lambda a: {"loss": linear_cross_entropy(**a, targets=targets, chunk=chunk, need_grads=False)[0]},
        backward,
        inputs,
        rng=rng,
    )


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
