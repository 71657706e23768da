"""Which optimiser a recipe gets, and averages that come and go."""

import math

import numpy as np
import pytest
from problems import copies, same_bits

from minilstm import ASGD, SGD, Adam
from ulmfit.optimizers import averaged, begin_averaging, make_optimizer
from ulmfit.recipes import AWD_LSTM_LM, PAPER, ClassifierTraining, LMTraining


def lm(**options):
    return LMTraining(epochs=1, batch_size=2, lr=1.0, **options)


def test_the_optimiser_is_the_recipes_with_its_constants():
    adam = make_optimizer(lm(betas=(0.5, 0.6), weight_decay=0.1))
    assert isinstance(adam, Adam) and adam.betas == (0.5, 0.6) and adam.weight_decay == 0.1
    sgd = make_optimizer(lm(optimizer="sgd", weight_decay=0.2))
    assert isinstance(sgd, SGD) and sgd.weight_decay == 0.2 and sgd.momentum == 0
    asgd = make_optimizer(AWD_LSTM_LM.pretrain)
    assert isinstance(asgd, ASGD) and asgd.weight_decay == 1.2e-6 and asgd.t0 == math.inf
    classifier = make_optimizer(ClassifierTraining(epochs=1, batch_size=2, lr=1.0))
    assert isinstance(classifier, Adam) and classifier.betas == (0.7, 0.99)
    assert make_optimizer(PAPER.classify).weight_decay == 1e-6


def test_averaging_begins_at_the_end_of_the_epoch_that_triggers_it():
    asgd, recipe = make_optimizer(lm(optimizer="nt_asgd", nonmono=2)), lm(optimizer="nt_asgd", nonmono=2)
    seen = []
    for perplexity in (9.0, 5.0, 6.0, 8.0, 7.0, 9.5):
        seen.append({"perplexity": perplexity})
        begin_averaging(asgd, recipe, seen, 10)
        assert asgd.t0 == (50 if len(seen) >= 5 else math.inf)  # 7 > min(9, 5): later losses do not move it
    adam = make_optimizer(lm())
    begin_averaging(adam, lm(), [{"validation_error": 3.0}], 10)  # nothing to average, and nothing is asked
    assert not hasattr(adam, "t0")


@pytest.mark.parametrize("keep", [False, True])
def test_the_means_are_there_within_and_afterwards_only_if_they_are_kept(keep):
    params = {"a": np.array([1.0, 2.0]), "b": np.array([3.0])}
    before, arrays, optimizer = copies(params), dict(params), ASGD()
    optimizer.state["ax"] = {"a": np.array([5.0, 6.0])}
    with averaged(params, optimizer, keep=keep):
        same_bits(params, {"a": np.array([5.0, 6.0]), "b": before["b"]})
    same_bits(params, {"a": np.array([5.0, 6.0]), "b": before["b"]} if keep else before)
    assert all(params[name] is a for name, a in arrays.items())  # in place
    params["a"][...] = 0
    assert optimizer.state["ax"]["a"].tolist() == [5.0, 6.0]  # and apart


def test_an_error_within_gives_the_weights_back():
    params, optimizer = {"a": np.array([1.0])}, ASGD()
    optimizer.state["ax"] = {"a": np.array([5.0])}
    with pytest.raises(KeyboardInterrupt), averaged(params, optimizer):
        raise KeyboardInterrupt
    assert params["a"][0] == 1


@pytest.mark.parametrize("optimizer", [Adam(), SGD(), ASGD()])
def test_without_means_nothing_changes(optimizer):
    params = {"a": np.array([1.0])}
    with averaged(params, optimizer, keep=True):
        assert params["a"][0] == 1
    assert params["a"][0] == 1
