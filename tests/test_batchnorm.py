import numpy as np
import pytest
from hypothesis import given
from problems import copies, load
from strategies import NF, normal, seeds

from minilstm import BatchNorm, RunningStats, gradcheck


def spread_rows(rng, N, F, dtype=np.float64):
    """(N, F) whose columns have a variance of about 1, so that 1/std is tame: finite differences stay exact."""
    columns = np.linspace(-1, 1, N)[:, None] * np.ones(F)
    return (1.5 * rng.permuted(columns, axis=0) + rng.uniform(-0.1, 0.1, (N, F)) + 3).astype(dtype)


def some_stats(rng, F, dtype=np.float64):
    return RunningStats(normal(rng, F, dtype=dtype), rng.uniform(0.5, 2, F).astype(dtype))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.3])
@given(NF=NF, seed=seeds)
def test_every_gradient_is_right(training, eps, NF, seed):
    rng = np.random.default_rng(seed)
    layer = BatchNorm(NF[1], dtype=np.float64, eps=eps)
    stats = some_stats(rng, NF[1])

    def forward(a):
        load(layer, a)
        return {"y": layer.forward(a["x"], stats, training=training)[0]}

    def backward(a, d):
        load(layer, a)
        dx, grads = layer.backward(d["y"], layer.forward(a["x"], stats, training=training)[2])
        assert grads.keys() == layer.params.keys()
        return {"x": dx, **grads}

    inputs = {"x": spread_rows(rng, *NF), "weight": normal(rng, NF[1]), "bias": normal(rng, NF[1])}
    gradcheck(forward, backward, inputs, rng=rng)


@given(NF=NF, seed=seeds)
def test_training_normalises_and_its_gradient_has_no_mean_and_no_slope(NF, seed):
    rng = np.random.default_rng(seed)
    layer = BatchNorm(NF[1], dtype=np.float64)
    y, _, cache = layer.forward(spread_rows(rng, *NF), layer.initial_stats(), training=True)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=0), 1, rtol=1e-4)
    dx, _ = layer.backward(normal(rng, *NF), cache)
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-12)  # shifting a column changes nothing
    np.testing.assert_allclose((dx * y).sum(axis=0), 0, atol=1e-3)  # and stretching it hardly anything (eps)


@given(NF=NF, seed=seeds)
def test_running_statistics_follow_the_batches(NF, seed):
    N, F = NF
    rng = np.random.default_rng(seed)
    layer = BatchNorm(F, dtype=np.float64, momentum=0.25)
    x = spread_rows(rng, N, F)
    old = some_stats(rng, F)
    kept = copies(old._asdict())
    _, new, _ = layer.forward(x, old, training=True)
    np.testing.assert_allclose(new.mean, 0.75 * old.mean + 0.25 * x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(new.var, 0.75 * old.var + 0.25 * x.var(axis=0, ddof=1), rtol=1e-12)
    assert all((kept[name] == a).all() for name, a in old._asdict().items())  # a new value, not a changed one
    assert layer.forward(x, new, training=False)[1] is new


@given(NF=NF, seed=seeds)
def test_evaluation_treats_every_row_alone(NF, seed):
    rng = np.random.default_rng(seed)
    layer, x, stats = BatchNorm(NF[1], dtype=np.float64), spread_rows(rng, *NF), some_stats(rng, NF[1])
    y = layer.forward(x, stats, training=False)[0]
    np.testing.assert_allclose(y[:1], layer.forward(x[:1], stats, training=False)[0], rtol=1e-14)
    np.testing.assert_allclose(y, (x - stats.mean) / np.sqrt(stats.var + 1e-5), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_float32_stays_float32(training):
    rng = np.random.default_rng(0)
    layer = BatchNorm(3)
    x = spread_rows(rng, 4, 3, np.float32)
    y, stats, cache = layer.forward(x, layer.initial_stats(), training=training)
    dx, grads = layer.backward(y, cache)
    assert {a.dtype for a in (y, *stats, dx, *grads.values())} == {np.dtype(np.float32)}


def test_a_constant_column_stays_finite():
    layer = BatchNorm(2)
    y, stats, cache = layer.forward(np.full((3, 2), 7, np.float32), layer.initial_stats(), training=True)
    dx, _ = layer.backward(np.ones_like(y), cache)
    assert not y.any() and np.isfinite(dx).all() and stats.var.tolist() == pytest.approx([0.9, 0.9])


def test_a_single_row_is_refused_in_training_only():
    layer = BatchNorm(2)
    x = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="x: batch norm needs at least 2 rows to train on, got 1"):
        layer.forward(x, layer.initial_stats(), training=True)
    assert layer.forward(x, layer.initial_stats(), training=False)[0].shape == (1, 2)


GOOD = RunningStats(np.zeros(2, np.float32), np.ones(2, np.float32))


@pytest.mark.parametrize(
    "x, stats, error, message",
    [
        (np.ones((4, 3), np.float32), GOOD, ValueError, r"x: expected shape \(N, 2\), got \(4, 3\)"),
        (np.ones((4, 2)), GOOD, TypeError, "x: expected dtype float32, got float64"),
        (np.ones((4, 2), np.float32), GOOD._replace(mean=np.zeros(1, np.float32)), ValueError, "stats.mean: expected"),
        (np.ones((4, 2), np.float32), GOOD._replace(var=np.ones(2)), TypeError, "stats.var: expected dtype float32"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_bad_arguments(x, stats, error, message, training):
    with pytest.raises(error, match=message):
        BatchNorm(2).forward(x, stats, training=training)


def test_bad_dy():
    layer = BatchNorm(2)
    cache = layer.forward(np.ones((4, 2), np.float32), GOOD, training=True)[2]
    with pytest.raises(ValueError, match=r"dy: expected shape \(4, 2\), got \(2,\)"):
        layer.backward(np.ones(2, np.float32), cache)
