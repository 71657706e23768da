import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import classifier, language_model

from ulmfit.groups import UNFREEZING, discriminative_lrs, group_lrs, layer_groups, lrs_by_name, phase_starts
from ulmfit.recipes import SCRIPTS, ClassifierTraining, ModelSize


def models(layers):
    size = ModelSize(embedding=2, hidden=3, layers=layers, head=2)
    return {"language_model": language_model(4, size), "classifier": classifier(4, size)}


@pytest.mark.parametrize("kind", ["language_model", "classifier"])
@pytest.mark.parametrize("layers", [1, 2, 3, 12])
def test_every_parameter_is_in_exactly_one_group(kind, layers):
    """Twelve layers: `_l1` must not catch `_l10` and `_l11`."""
    model = models(layers)[kind]
    groups = layer_groups(model)
    names = [name for group in groups for name in group.params]
    assert len(names) == len(set(names)) and set(names) == set(model.params)
    assert all(len(group.params) == 4 for group in groups if group.name.startswith("lstm"))


def test_groups_are_listed_lowest_first():
    groups = layer_groups(models(2)["classifier"])
    assert [g.name for g in groups] == ["embedding", "lstm_0", "lstm_1", "head"]
    assert groups[0].params == ("encoder.embedding.weight",)
    assert groups[1].params == tuple(
        f"encoder.lstm.{n}_l0" for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    assert all(n.startswith("head.") for n in groups[-1].params) and len(groups[-1].params) == 8


def test_a_language_models_tied_embedding_goes_with_its_decoder():
    groups = layer_groups(models(3)["language_model"])
    assert [g.name for g in groups] == ["lstm_0", "lstm_1", "lstm_2", "decoder"]
    assert set(groups[-1].params) == {"encoder.embedding.weight", "decoder.bias"}


def test_discriminative_rates_by_hand():
    """Section 3.2: the rate of a layer is that of the layer above, divided by 2.6."""
    assert discriminative_lrs(0.01, 4) == pytest.approx([0.01 / 17.576, 0.01 / 6.76, 0.01 / 2.6, 0.01])
    assert discriminative_lrs(0.01, 3, factor=1) == [0.01] * 3
    assert discriminative_lrs(0.5, 1) == [0.5]


@given(lr=st.floats(1e-6, 1), n=st.integers(1, 8), factor=st.floats(1.1, 10))
def test_rates_rise_by_the_factor_from_group_to_group(lr, n, factor):
    lrs = discriminative_lrs(lr, n, factor)
    assert len(lrs) == n and lrs[-1] == lr
    np.testing.assert_allclose(np.divide(lrs[1:], lrs[:-1]), factor)


def test_every_parameter_gets_the_rate_of_its_group():
    model = models(2)["classifier"]
    lrs = lrs_by_name(layer_groups(model), [1.0, 2.0, 3.0, 4.0])
    assert lrs.keys() == model.params.keys()
    assert lrs["encoder.embedding.weight"] == 1 and lrs["encoder.lstm.bias_hh_l0"] == 2
    assert lrs["encoder.lstm.weight_ih_l1"] == 3 and lrs["head.bn1.bias"] == lrs["head.linear2.weight"] == 4
    with pytest.raises(ValueError):
        lrs_by_name(layer_groups(model), [1.0, 2.0])


@pytest.mark.parametrize(
    "plan, trained",
    [
        ("gradual", ["4", "34", "234", "1234", "01234", "01234"]),  # section 3.3: one more each epoch
        ("two_step", ["4", "34", "01234", "01234", "01234", "01234"]),  # the authors' train_clas.py
        ("chain_thaw", ["4", "0", "1", "2", "3", "01234"]),  # Felbo et al. (2017), and train_clas.py --chain_thaw
        ("full", ["01234"] * 6),
        ("last", ["4"] * 6),
    ],
)
def test_unfreezing_plans(plan, trained):
    """Which of five groups each epoch trains; 4 is the head."""
    assert ["".join(map(str, UNFREEZING[plan](epoch, 5))) for epoch in range(6)] == trained


@pytest.mark.parametrize("plan", list(UNFREEZING))
@given(epoch=st.integers(0, 100), n_groups=st.integers(1, 6))
def test_a_plan_trains_some_groups_and_comes_to_rest(plan, epoch, n_groups):
    now, later = UNFREEZING[plan](epoch, n_groups), UNFREEZING[plan](epoch + 1, n_groups)
    assert isinstance(now, range) and 0 <= now.start < now.stop <= n_groups and now.step == 1
    assert UNFREEZING[plan](0, n_groups).stop == n_groups  # the head, which knows nothing yet, comes first
    if plan != "chain_thaw":
        assert now.stop == n_groups and later.start <= now.start  # never frozen again
    if epoch >= n_groups:
        assert later == now == (range(n_groups - 1, n_groups) if plan == "last" else range(n_groups))


@pytest.mark.parametrize(
    "plan, starts",
    [("gradual", [0, 1, 2, 3, 4]), ("two_step", [0, 1, 2]), ("chain_thaw", [0, 1, 2, 3, 4, 5]), ("full", [0]),
     ("last", [0])],
)  # fmt: skip
def test_phases_begin_where_a_plan_turns_to_other_groups(plan, starts):
    assert phase_starts(plan, 5) == starts


def test_rates_by_hand_take_the_place_of_powers():
    recipe = ClassifierTraining(epochs=1, batch_size=2, lr=1.0, lr_factor=2.0)
    assert group_lrs(recipe, 0.8, 3) == [0.2, 0.4, 0.8]
    assert group_lrs(dataclasses.replace(recipe, lr_multipliers=(0.25, 1.0, 0.5)), 0.8, 3) == [0.2, 0.8, 0.4]
    assert group_lrs(dataclasses.replace(recipe, lr_multipliers=()), 0.8, 3) == [0.2, 0.4, 0.8]


@pytest.mark.parametrize("n_groups, expected", [
    (1, [5.0]), (2, [4.0, 5.0]), (3, [3.0, 4.0, 5.0]), (4, [3.0, 3.0, 4.0, 5.0]), (6, [3.0, 3.0, 3.0, 3.0, 4.0, 5.0])
])  # fmt: skip
def test_rates_by_hand_are_counted_from_the_top_for_a_model_of_another_depth(n_groups, expected):
    recipe = ClassifierTraining(epochs=1, batch_size=2, lr=1.0, lr_multipliers=(3.0, 4.0, 5.0))
    assert group_lrs(recipe, 1.0, n_groups) == expected


def test_the_scripts_rates_over_two_layers():
    """Of (lr / 6, lr / 3, lr, lr / 2), for three LSTM layers and the decoder, those of the lowest layer go."""
    assert group_lrs(SCRIPTS.finetune, 6.0, 3) == [2.0, 6.0, 3.0]
    assert group_lrs(SCRIPTS.finetune, 6.0, 4) == [1.0, 2.0, 6.0, 3.0]
