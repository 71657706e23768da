import numpy as np
import pytest
from hypothesis import given
from problems import load
from strategies import normal, scaled_mask, seeds, sizes
from twice import plain_and_compiled  # noqa: F401

from minilstm import Embedding, gradcheck


@pytest.mark.parametrize("dropped", [False, True])
@given(T=sizes, B=sizes, V=sizes, E=sizes, seed=seeds)
def test_gradient_with_repeated_ids(dropped, T, B, V, E, seed):
    rng = np.random.default_rng(seed)
    layer = Embedding(V, E, rng=rng, dtype=np.float64)
    ids = rng.integers(0, V, (T, B))
    ids[0, 0] = 0  # a word that is never dropped
    row_mask = scaled_mask(rng, (1, V)).T if dropped else None

    def forward(a):
        load(layer, a)
        return {"y": layer.forward(ids, row_mask)[0]}

    def backward(a, d):
        load(layer, a)
        dx, grads = layer.backward(d["y"], layer.forward(ids, row_mask)[1])
        assert dx is None and grads.keys() == layer.params.keys()
        return grads

    gradcheck(forward, backward, {"weight": normal(rng, V, E)}, rng=rng)


@given(V=sizes, E=sizes, seed=seeds)
def test_a_word_gets_the_sum_of_its_places(V, E, seed):
    rng = np.random.default_rng(seed)
    layer = Embedding(V, E, rng=rng)
    ids = rng.integers(0, V, (7, 3))
    dy = normal(rng, 7, 3, E, dtype=np.float32)
    dweight = layer.backward(dy, layer.forward(ids)[1])[1]["weight"]
    for word in range(V):
        np.testing.assert_allclose(dweight[word], dy[ids == word].sum(axis=0), rtol=0, atol=1e-5)
    assert dweight.dtype == np.float32


def test_a_dropped_word_is_zero_wherever_it_stands():
    layer = Embedding(3, 2, rng=np.random.default_rng(0))
    row_mask = np.array([[2], [0], [2]], np.float32)
    ids = np.array([[0, 1], [1, 2]])
    before = layer.params["weight"].copy()
    y, cache = layer.forward(ids, row_mask)
    assert not y[ids == 1].any() and (y[ids != 1] == 2 * before[[0, 2]]).all()
    grads = layer.backward(np.ones_like(y), cache)[1]
    assert grads["weight"].tolist() == [[2, 2], [0, 0], [2, 2]]
    assert (layer.params["weight"] == before).all()  # y is no view of the weights


@pytest.mark.parametrize("shape", [(), (4,), (0,), (2, 3, 4)])
def test_ids_of_any_shape(shape):
    layer = Embedding(5, 3, rng=np.random.default_rng(0))
    y, cache = layer.forward(np.ones(shape, np.uint8))
    assert y.shape == (*shape, 3) and y.dtype == np.float32
    assert layer.backward(y, cache)[1]["weight"].shape == (5, 3)


def test_initial_weights_are_small_and_uniform():
    weight = Embedding(100, 20, rng=np.random.default_rng(0)).params["weight"]
    assert 0.099 < abs(weight).max() <= 0.1 and abs(weight.mean()) < 0.01


@pytest.mark.parametrize(
    "ids, row_mask, error, message",
    [
        (np.array([[0, 5]]), None, IndexError, r"ids: expected ids in 0..4 \(5 words\), got 5"),
        (np.array([-1]), None, IndexError, r"ids: expected ids in 0..4 \(5 words\), got -1"),
        (np.array([1.0]), None, TypeError, "ids: expected an array of integers, got float64"),
        ([1, 2], None, TypeError, "ids: expected an array of integers, got list"),
        (np.array([1]), np.ones((4, 1), np.float32), ValueError, r"row_mask: expected shape \(5, 1\), got \(4, 1\)"),
        (np.array([1]), np.ones(5, np.float32), ValueError, r"row_mask: expected shape \(5, 1\), got \(5,\)"),
        (np.array([1]), np.ones((5, 1)), TypeError, "row_mask: expected dtype float32, got float64"),
    ],
)
def test_bad_arguments(ids, row_mask, error, message):
    with pytest.raises(error, match=message):
        Embedding(5, 3, rng=np.random.default_rng(0)).forward(ids, row_mask)


def test_bad_dy():
    layer = Embedding(5, 3, rng=np.random.default_rng(0))
    cache = layer.forward(np.array([[1, 2]]))[1]
    with pytest.raises(ValueError, match=r"dy: expected shape \(1, 2, 3\), got \(3,\)"):
        layer.backward(np.ones(3, np.float32), cache)
    with pytest.raises(TypeError, match="dy: expected dtype float32, got float64"):
        layer.backward(np.ones((1, 2, 3)), cache)


def test_backward_reads_the_ids_that_forward_checked():
    """Whoever fills one buffer with batch after batch may do so before backward."""
    layer, ids = Embedding(5, 3, rng=np.random.default_rng(0)), np.array([[0, 1]])
    y, cache = layer.forward(ids)
    ids[:] = 10**6
    _, grads = layer.backward(np.ones_like(y), cache)
    assert grads["weight"].sum(axis=1).tolist() == [3, 3, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.int32, np.float16])
def test_weights_are_of_a_floating_type_that_everything_can_compute_in(dtype):
    with pytest.raises(TypeError, match="dtype: expected float32 or float64, got"):
        Embedding(5, 3, rng=np.random.default_rng(0), dtype=dtype)
