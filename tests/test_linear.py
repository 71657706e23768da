import numpy as np
import pytest
from hypothesis import given
from problems import copies, load
from strategies import normal, seeds, sizes

from minilstm import Linear, gradcheck


@given(N=sizes, I=sizes, O=sizes, seed=seeds)
def test_every_gradient_is_right(N, I, O, seed):
    rng = np.random.default_rng(seed)
    layer = Linear(I, O, rng=rng, dtype=np.float64)

    def forward(a):
        load(layer, a)
        return {"y": layer.forward(a["x"])[0]}

    def backward(a, d):
        load(layer, a)
        dx, grads = layer.backward(d["y"], layer.forward(a["x"])[1])
        assert grads.keys() == layer.params.keys()
        return {"x": dx, **grads}

    gradcheck(forward, backward, {"x": normal(rng, N, I)} | copies(layer.params), rng=rng)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_line_it_says(dtype):
    layer = Linear(2, 3, rng=np.random.default_rng(0), dtype=dtype)
    layer.params["weight"][...] = [[1, 2], [3, 4], [5, 6]]
    layer.params["bias"][...] = [10, 20, 30]
    y, cache = layer.forward(np.array([[1, 0], [0, -1]], dtype))
    assert y.tolist() == [[11, 23, 35], [8, 16, 24]]
    dx, grads = layer.backward(y, cache)
    assert {a.dtype for a in (y, dx, *grads.values())} == {np.dtype(dtype)}


def test_an_empty_batch_works():
    layer = Linear(2, 3, rng=np.random.default_rng(0))
    y, cache = layer.forward(np.zeros((0, 2), np.float32))
    dx, grads = layer.backward(y, cache)
    assert y.shape == (0, 3) and dx.shape == (0, 2) and not any(g.any() for g in grads.values())


def test_initial_parameters_are_torchs():
    params = Linear(100, 50, rng=np.random.default_rng(0)).params
    assert params["weight"].shape == (50, 100) and params["bias"].shape == (50,)
    for p in params.values():
        assert 0.09 < abs(p).max() <= 0.1 and abs(p.mean()) < 0.02


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.ones((2, 3), np.float32), ValueError, r"x: expected shape \(N, 2\), got \(2, 3\)"),
        (np.ones(2, np.float32), ValueError, r"x: expected shape \(N, 2\), got \(2,\)"),
        (np.ones((1, 1, 2), np.float32), ValueError, r"x: expected shape \(N, 2\), got \(1, 1, 2\)"),
        (np.ones((1, 2)), TypeError, "x: expected dtype float32, got float64"),
    ],
)
def test_bad_x(x, error, message):
    with pytest.raises(error, match=message):
        Linear(2, 3, rng=np.random.default_rng(0)).forward(x)


def test_bad_dy():
    layer = Linear(2, 3, rng=np.random.default_rng(0))
    cache = layer.forward(np.ones((4, 2), np.float32))[1]
    with pytest.raises(ValueError, match=r"dy: expected shape \(4, 3\), got \(1, 3\)"):
        layer.backward(np.ones((1, 3), np.float32), cache)
    with pytest.raises(TypeError, match="dy: expected dtype float32, got float64"):
        layer.backward(np.ones((4, 3)), cache)
