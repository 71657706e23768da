"""The learning rate range test: the steps are training's, the rates grow by one factor, and nothing raises."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import adam, classifier_task, first_carry, lm_task

from ulmfit.commands.rate_answers import _task
from ulmfit.config_files import load_config
from ulmfit.groups import UNFREEZING
from ulmfit.lr_find import MEMORY, RangeStep, range_test, suggest
from ulmfit.progress import Silent
from ulmfit.train import fit

TASKS = {"language model": lm_task, "classifier": classifier_task}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_rates_grow_by_one_factor_from_the_first_to_the_last(make):
    task = make()
    steps = list(range_test(task, low=1e-6, high=1e-2, n_steps=9, carry=first_carry(task)))
    np.testing.assert_allclose([s.lr for s in steps], 10 ** np.linspace(-6, -2, 9), rtol=1e-12)
    assert [s.step for s in steps] == list(range(9))


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_at_one_and_the_same_rate_it_is_plain_training(make):
    options = {"lr": 0.03, "schedule": "constant", "clip": 0.2, "variable_bptt": True, "unfreezing": "full"}
    del options["unfreezing" if make is lm_task else "variable_bptt"]
    trained, tested = make(**options), make(**options)
    losses = [log.loss for log, _ in fit(trained, adam(trained), 12, carry=first_carry(trained))]
    steps = list(range_test(tested, low=0.03, high=0.03, n_steps=12, carry=first_carry(tested)))
    assert [s.loss for s in steps] == losses and len(set(losses)) == 12
    for name, p in trained.model.params.items():
        np.testing.assert_array_equal(p, tested.model.params[name])


def test_the_smoothed_loss_is_a_mean_that_forgets():
    steps = list(range_test(lm_task(), n_steps=30, high=0.1))
    losses = [s.loss for s in steps]
    for k in range(1, MEMORY + 1):
        assert steps[k - 1].smoothed == pytest.approx(np.mean(losses[:k]), rel=1e-12)
    for before, after in zip(steps[MEMORY:], steps[MEMORY + 1 :], strict=False):
        assert after.smoothed == pytest.approx(0.9 * before.smoothed + 0.1 * after.loss, rel=1e-12)


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("high", [1e6, 1e38])
def test_it_ends_when_the_loss_explodes(make, high):
    task = make()
    steps = list(range_test(task, low=1e-3, high=high, n_steps=300, carry=first_carry(task)))
    assert MEMORY < len(steps) < 300 and np.isfinite([s.loss for s in steps]).all()
    lowest = np.minimum.accumulate([s.smoothed for s in steps])
    exploded = [s.smoothed > 4 * low for s, low in zip(steps, lowest, strict=True)]
    assert not any(exploded[:-1])


def test_it_ends_at_the_multiple_that_was_asked_for():
    ends = [len(list(range_test(lm_task(), low=1e-3, high=1e3, n_steps=200, diverged=d))) for d in (1.2, 8.0)]
    assert ends[0] < ends[1] < 200


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_a_model_that_is_broken_from_the_start_gives_no_step(make):
    task = make()
    for p in task.model.params.values():
        p[...] = np.nan
    assert list(range_test(task, carry=first_carry(task))) == []


def test_gradients_that_are_not_finite_end_it_after_their_step():
    task = lm_task()
    whole = task.loss_and_grads

    def break_later(step, carry):
        made = whole(step, carry)
        if step == 3:
            made.grads["decoder.bias"][0] = np.inf
        return made

    task.loss_and_grads = break_later
    assert [s.step for s in range_test(task, high=1e-3)] == [0, 1, 2, 3]
    assert all(np.isfinite(p).all() for p in task.model.params.values())


# --- what it suggests


def curve(f, n=100):
    lrs = np.geomspace(1e-7, 10, n)
    return [RangeStep(k, lr, f(np.log10(lr)), f(np.log10(lr))) for k, lr in enumerate(lrs)]


def test_suggestions_for_a_curve_whose_slopes_are_known():
    """It falls like a logistic curve, fastest at 1e-3, and rises again from 1e-1 on."""
    found = suggest(curve(lambda x: 1 / (1 + np.exp(3 * (x + 3))) + max(0.0, x + 1) ** 2))
    assert np.log10(found.steepest) == pytest.approx(-3, abs=0.05)
    assert np.log10(found.tenth) == pytest.approx(-2, abs=0.1)


@pytest.mark.parametrize("steps", [curve(lambda x: x), curve(lambda x: 1.0), curve(lambda x: -x)[: MEMORY - 1], []])
def test_where_the_loss_never_falls_there_is_no_suggestion(steps):
    assert suggest(steps) == (None, None)


def test_the_first_losses_do_not_count():
    """A lucky first batch is neither the lowest loss nor the steepest descent."""
    steps = curve(lambda x: 1 / (1 + np.exp(3 * (x + 3))))
    lucky = [steps[0]._replace(smoothed=9.0), steps[1]._replace(smoothed=-9.0), *steps[2:]]
    assert suggest(lucky) == suggest(steps)


# --- on a stage's data


@pytest.mark.parametrize("plan", UNFREEZING)
def test_nothing_thaws_in_the_middle_of_a_test(plan, tiny_run):
    config = load_config(tiny_run / "config.yaml")
    recipe = replace(config.recipe, classify=replace(config.recipe.classify, unfreezing=plan))
    tuned = str(tiny_run / "finetune")
    task, carry = _task(replace(config, stages=("classify",), pretrained=tuned, recipe=recipe), Silent())
    assert task.recipe.unfreezing == ("last" if plan == "last" else "full") and len(carry) == 2
