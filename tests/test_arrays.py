"""Where an array is. CuPy is played by a stand-in: what counts is that nobody mistakes one kind for the other."""

import sys
import types

import numpy as np
import pytest

from minilstm import LSTM, get_array_module, to_device, to_numpy


@pytest.fixture
def cupy(monkeypatch):
    """A module called cupy whose arrays are boxes around NumPy's."""

    class ndarray:
        def __init__(self, inside):
            self.inside = inside
            self.shape, self.dtype = inside.shape, inside.dtype

        def get(self):
            return self.inside

    module = types.ModuleType("cupy")
    module.ndarray = ndarray
    module.asarray = lambda x: x if isinstance(x, ndarray) else ndarray(np.asarray(x))
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_numpy_arrays_belong_to_numpy():
    assert get_array_module(np.ones(1), None, np.zeros(2)) is np
    assert get_array_module() is np


def test_cupy_arrays_belong_to_cupy(cupy):
    x = cupy.asarray(np.ones(1))
    assert get_array_module(x, None, x) is cupy and get_array_module(np.ones(1)) is np


def test_mixing_the_two_is_an_error(cupy):
    with pytest.raises(TypeError, match="got NumPy and CuPy arrays in one call.*to_device"):
        get_array_module(np.ones(1), cupy.asarray(np.ones(1)))
    layer = LSTM(2, 3, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match="got NumPy and CuPy arrays"):
        layer.forward(cupy.asarray(np.ones((1, 1, 2), np.float32)))


def test_there_and_back(cupy):
    x = np.ones(3)
    there = to_device(x, "cuda")
    assert isinstance(there, cupy.ndarray) and to_device(there, "cuda") is there
    assert to_numpy(there) is x and to_device(there, "cpu") is x
    assert to_device(x, "cpu") is x


def test_an_unknown_device_and_one_that_is_not_there(monkeypatch):
    with pytest.raises(ValueError, match='device: expected "cpu" or "cuda", got \'tpu\''):
        to_device(np.ones(1), "tpu")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="device 'cuda' needs CuPy: pip install"):
        to_device(np.ones(1), "cuda")
    assert get_array_module(np.ones(1)) is np
