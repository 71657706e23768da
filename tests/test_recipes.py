"""The paper's constants, each with where it stands. (What is tuned for a laptop may change, and is not tested here.)"""

import dataclasses

import pytest

from ulmfit.groups import UNFREEZING
from ulmfit.recipes import CLASSIFIER_DROPOUTS, LM_DROPOUTS, PAPER, RECIPES, Dropouts, ModelSize
from ulmfit.schedules import SCHEDULES

SECTION_4_1 = {
    "size.embedding": 400,
    "size.hidden": 1150,
    "size.layers": 3,
    "size.head": 50,
    "finetune.lr": 0.004,
    "classify.lr": 0.01,
    "finetune.batch_size": 64,
    "classify.batch_size": 64,
    "finetune.bptt": 70,
    "finetune.betas": (0.7, 0.99),
    "classify.betas": (0.7, 0.99),
    "classify.dropouts.head": (0.4, 0.1),
}
SECTION_3 = {
    "finetune.lr_factor": 2.6,  # 3.2
    "classify.lr_factor": 2.6,
    "finetune.schedule": "slanted_triangular",  # 3.2
    "classify.schedule": "slanted_triangular",
    "classify.unfreezing": "gradual",  # 3.3
}
FOOTNOTE_7 = {"finetune.epochs": 15, "classify.epochs": 50}
SCRIPTS = {  # courses/dl2/imdb_scripts
    "vocab_size": 30_000,
    "min_freq": 2,
    "finetune.clip": 0.3,  # finetune_lm.py
    "classify.clip": 25.0,  # train_clas.py
    "pretrain.weight_decay": 1e-7,  # pretrain_lm.py
    "finetune.weight_decay": 1e-7,
    "classify.weight_decay": 1e-6,
    "classify.max_tokens": 20 * 70,  # twenty windows of bptt
    "pretrain.lr_factor": 1.0,
}


@pytest.mark.parametrize("name, value", (SECTION_4_1 | SECTION_3 | FOOTNOTE_7 | SCRIPTS).items())
def test_the_papers_recipe(name, value):
    found = PAPER
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_dropouts_of_the_authors_scripts():
    """finetune_lm.py: [0.25, 0.1, 0.2, 0.02, 0.15], train_clas.py: [0.4, 0.5, 0.05, 0.3, 0.4], in their orders."""
    lm, clas = LM_DROPOUTS, CLASSIFIER_DROPOUTS
    assert [lm.input, lm.output, lm.weight, lm.embedding, lm.hidden] == [0.25, 0.1, 0.2, 0.02, 0.15]
    assert [clas.input, clas.weight, clas.embedding, clas.hidden, clas.head[0]] == [0.4, 0.5, 0.05, 0.3, 0.4]
    assert PAPER.finetune.dropouts == lm and PAPER.classify.dropouts == clas
    assert PAPER.pretrain.dropouts == lm.times(0.5)  # pretrain_lm.py


def test_times_scales_the_encoders_dropouts_and_not_the_heads():
    d = Dropouts(embedding=0.1, input=0.2, weight=0.3, hidden=0.4, output=0.5, head=(0.4, 0.1)).times(0.5)
    assert d == Dropouts(embedding=0.05, input=0.1, weight=0.15, hidden=0.2, output=0.25, head=(0.4, 0.1))


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_can_be_trained(name):
    recipe = RECIPES[name]
    for stage in (recipe.pretrain, recipe.finetune, recipe.classify):
        assert stage.schedule in SCHEDULES and stage.lr > 0 and stage.lr_factor >= 1 and stage.epochs > 0
        assert stage.batch_size >= 2 and (stage.clip is None or stage.clip > 0)
        d = stage.dropouts
        assert all(0 <= p < 1 for p in (d.embedding, d.input, d.weight, d.hidden, d.output, *d.head))
    assert recipe.classify.unfreezing in UNFREEZING and recipe.pretrain.steps is recipe.finetune.steps is None


def test_recipes_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.finetune.lr = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelSize().hidden = 1152
