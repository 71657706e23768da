"""The curves of `plot schedule` are the rates that training hands to the optimiser."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import classifier_task, first_carry, lm_task

from ulmfit.groups import UNFREEZING, layer_groups
from ulmfit.rate_curves import group_rates, recipe_panels, schedule_panels
from ulmfit.recipes import PAPER, RECIPES, SCRIPTS
from ulmfit.schedules import SCHEDULES
from ulmfit.train import fit


class Recorder:
    """An optimiser that changes nothing and remembers the rate of every parameter that has a gradient."""

    def __init__(self):
        self.rates = []

    def step(self, params, grads, lrs):
        self.rates.append({name: lrs[name] for name in grads})


def recorded(task, n_steps):
    """(n_steps, groups): the rate each group was trained with, NaN where it was not"""
    optimizer = Recorder()
    for _ in fit(task, optimizer, n_steps, carry=first_carry(task)):
        pass
    groups = layer_groups(task.model)
    return np.array([[row.get(group.params[0], np.nan) for group in groups] for row in optimizer.rates])


@pytest.mark.parametrize("options", [
    *({"unfreezing": plan} for plan in UNFREEZING),
    *({"schedule": name} for name in SCHEDULES),
    {"unfreezing": "two_step", "restart": True, "warm_cut_frac": 0.5, "cut_frac": 0.25, "ratio": 8.0},
    {"lr_factor": 1.0, "unfreezing": "full"},
], ids=str)  # fmt: skip
def test_a_classifier_is_trained_with_these_rates(options):
    task, n_steps = classifier_task(**options), 24  # six epochs of four steps
    expected = recorded(task, n_steps)
    np.testing.assert_allclose(group_rates(task.recipe, n_steps, 4, expected.shape[1]), expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"lr_multipliers": (0.2, 0.5, 1.0)}, {"schedule": "one_cycle"}], ids=str)
def test_a_language_model_is_trained_with_these_rates(options):
    task = lm_task(**options)
    expected = recorded(task, 12)
    assert np.isfinite(expected).all()
    per_epoch = task.batches.steps_per_epoch
    np.testing.assert_allclose(group_rates(task.recipe, 12, per_epoch, 3), expected, rtol=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_panel_for_each_stage_and_a_line_for_each_group(name):
    panels, recipe = recipe_panels(RECIPES[name]), RECIPES[name]
    assert [p.title.split(":")[0] for p in panels] == ["pretrain", "finetune", "classify"]
    layers = [f"lstm_{n}" for n in range(recipe.size.layers)]
    for panel, groups in zip(panels, ([*layers, "decoder"],) * 2 + (["embedding", *layers, "head"],), strict=True):
        named = [group for line in panel.lines for group in line.split(", ")]
        assert sorted(named) == sorted(groups)
        stage = getattr(recipe, panel.title.split(":")[0])
        assert all(len(values) == len(panel.xs) for values in panel.lines.values())
        assert np.nanmax([*panel.lines.values()]) == pytest.approx(stage.lr, rel=0.01)
        assert panel.unit == "epoch" and stage.epochs - 1 <= panel.xs[-1] < stage.epochs


def test_a_frozen_group_has_no_line_before_it_thaws():
    panel = recipe_panels(PAPER)[2]
    for n, group in enumerate(["head", "lstm_2", "lstm_1", "lstm_0", "embedding"]):
        assert panel.xs[np.isfinite(panel.lines[group])][0] == n


def test_groups_with_the_same_rates_share_a_line():
    assert list(recipe_panels(PAPER)[0].lines) == ["decoder, lstm_2, lstm_1, lstm_0"]
    assert list(recipe_panels(SCRIPTS)[0].lines) == ["decoder, lstm_2", "lstm_1", "lstm_0"]


def test_a_number_of_steps_is_shown_in_steps():
    panel = recipe_panels(replace(PAPER, pretrain=replace(PAPER.pretrain, steps=50)))[0]
    assert panel.unit == "step" and list(panel.xs) == list(range(50))


def test_a_schedule_alone_and_all_of_them():
    [one] = schedule_panels(["cosine"], 10, 0.5)
    assert one.title == "cosine" and one.lines == {"cosine": [SCHEDULES["cosine"](t, 10, 0.5) for t in range(10)]}
    [every] = schedule_panels(list(SCHEDULES), 10, 0.5)
    assert list(every.lines) == list(SCHEDULES) and max(map(max, every.lines.values())) == 0.5
