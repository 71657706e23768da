import numpy as np
import pytest

from minilstm import Linear, count_params
from minilstm.params import add_grads, assign, collect, non_finite, prefixed, uniform


def test_names_are_prefixed_as_pytorch_writes_them():
    a = np.ones(2)
    assert prefixed("encoder", {"weight": a})["encoder.weight"] is a


def test_a_model_collects_the_parameters_of_its_parts():
    rng = np.random.default_rng(0)
    parts = {"a": Linear(2, 3, rng=rng), "b": Linear(3, 1, rng=rng)}
    params = collect(parts)
    assert list(params) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert params["b.weight"] is parts["b"].params["weight"]
    assert count_params(params) == 6 + 3 + 3 + 1
    with pytest.raises(TypeError):
        params["a.bias"] = np.zeros(3)


def test_gradients_are_added_name_by_name():
    a, b = {"tied": np.array([1.0, 2]), "only a": np.ones(1)}, {"tied": np.array([10.0, 20]), "only b": np.zeros(1)}
    both = add_grads(a, b)
    assert both.keys() == {"tied", "only a", "only b"}
    assert both["tied"].tolist() == [11, 22] and both["only a"] is a["only a"] and both["only b"] is b["only b"]
    assert a["tied"].tolist() == [1, 2] and b["tied"].tolist() == [10, 20]


def test_assign_copies_in_place():
    p, new = np.zeros((2, 2), np.float32), np.arange(4.0).reshape(2, 2)
    assign({"p": p}, {"p": new})
    assert p.tolist() == [[0, 1], [2, 3]] and p.dtype == np.float32 and not np.shares_memory(p, new)


def test_assign_lists_every_mismatch_and_changes_nothing():
    params = {name: np.zeros(shape) for name, shape in {"fits": 2, "gone": 1, "other": (2, 3)}.items()}
    with pytest.raises(ValueError) as e:
        assign(params, {"fits": np.ones(2), "other": np.ones((3, 2)), "extra": np.ones(1)}, "the parameters of x.pt")
    message = str(e.value)
    assert message.startswith("the parameters of x.pt do not fit this model: ")
    for part in ("gone: missing", "extra: not expected", "other: expected shape (2, 3), got (3, 2)"):
        assert part in message
    assert "fits" not in message.replace("do not fit", "") and not params["fits"].any()


def test_the_same_numbers_in_both_precisions():
    a, b = (uniform(np.random.default_rng(0), (50, 40), 0.25, dtype) for dtype in (np.float32, np.float64))
    assert a.dtype == np.float32 and b.dtype == np.float64 and (a == b.astype(np.float32)).all()
    assert 0.249 < abs(b).max() <= 0.25 and abs(b.mean()) < 0.01 and b.std() == pytest.approx(0.25 / 3**0.5, rel=0.05)


def test_non_finite_names_the_arrays():
    arrays = {"a": np.ones(2), "b": np.array([1, np.nan]), "c": np.array([[np.inf]]), "d": np.zeros(0)}
    assert non_finite(arrays) == ["b", "c"]
