"""What the engine's constructors and optimisers are given wrongly: one line that names the argument."""

import numpy as np
import pytest

from minilstm import ASGD, LSTM, SGD, Adam, BatchNorm, Embedding, Linear, LSTMStack

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: LSTM(8, -1, rng=RNG), ValueError, "hidden_size: expected at least 1, got -1"),
        (lambda: LSTM(0, 4, rng=RNG), ValueError, "input_size: expected at least 1, got 0"),
        (lambda: LSTM(8, 4.0, rng=RNG), TypeError, "hidden_size: expected an integer, got float"),
        (lambda: LSTM(8, True, rng=RNG), TypeError, "hidden_size: expected an integer, got bool"),
        (lambda: LSTM(8, 4, rng=0), TypeError, "rng: expected a generator, as .* is one, got int"),
        (lambda: LSTMStack(8, [4, 0], rng=RNG), ValueError, "hidden_size: expected at least 1, got 0"),
        (lambda: Linear(8, 0, rng=RNG), ValueError, "out_features: expected at least 1, got 0"),
        (lambda: Linear("8", 2, rng=RNG), TypeError, "in_features: expected an integer, got str"),
        (lambda: Embedding(0, 2, rng=RNG), ValueError, "num_embeddings: expected at least 1, got 0"),
        (lambda: Embedding(3, 2, rng=np.random), TypeError, "rng: expected a generator"),
        (lambda: BatchNorm(0), ValueError, "num_features: expected at least 1, got 0"),
        (lambda: SGD(momentum=-0.1), ValueError, "momentum: expected a number from 0, got -0.1"),
        (lambda: ASGD(weight_decay=float("nan")), ValueError, "weight_decay: expected a number from 0, got nan"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, r"betas\[1\]: expected a number from 0 and below 1, got 1.0"),
        (lambda: Adam(eps=-1e-8), ValueError, "eps: expected a number from 0, got -1e-08"),
    ],
)
def test_what_is_made_of_nonsense(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


def test_sizes_may_be_numpy_integers():
    assert LSTM(np.int32(3), np.int64(2), rng=RNG).params["weight_ih"].shape == (8, 3)


@pytest.mark.parametrize("make", [SGD, ASGD, Adam])
@pytest.mark.parametrize(
    "grads, lrs, error, message",
    [
        ("ab", -0.1, ValueError, "lrs: expected a number from 0, got -0.1"),
        ("ab", float("nan"), ValueError, "lrs: expected a number from 0, got nan"),
        ("ab", {"a": 0.1}, KeyError, "lrs: there is no rate for 'b'"),
        ("ac", 0.1, KeyError, "grads: there is no parameter 'c'"),
    ],
)
def test_steps_that_cannot_be_taken(make, grads, lrs, error, message):
    params = {name: np.ones(3, np.float32) for name in "ab"}
    with pytest.raises(error, match=message):
        make().step(params, {name: np.ones(3, np.float32) for name in grads}, lrs)


@pytest.mark.parametrize("kernel", ["cpuu", "", None])
def test_a_kernel_that_there_is_not(kernel):
    """A misspelt name must not fall back to the slow way in silence."""
    ids, params = np.zeros((2, 2), np.int32), {"a": np.ones(3, np.float32)}
    for call in (
        lambda: Embedding(3, 2, rng=RNG, kernel=kernel).forward(ids),
        lambda: Adam(kernel=kernel).step(params, params, 0.1),
        lambda: LSTM(3, 2, rng=RNG, kernel=kernel),
    ):
        with pytest.raises(ValueError, match=f"kernel: expected one of auto, reference, .*got {kernel!r}"):
            call()
