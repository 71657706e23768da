"""The paper's constants, each with where it stands. (What is tuned for a laptop may change, and is not tested here.)"""

import dataclasses
import inspect
import shlex

import numpy as np
import pytest
from tiny import language_model

from ulmfit import recipes
from ulmfit.config_files import change_recipe
from ulmfit.corpus import Corpus
from ulmfit.datasets import Dataset, Split
from ulmfit.errors import InputError
from ulmfit.groups import UNFREEZING, group_lrs
from ulmfit.pipeline import Stage, classify, finetune
from ulmfit.progress import Silent
from ulmfit.recipes import (
    AWD_DROPOUTS,
    AWD_LSTM_LM,
    CLASSIFIER_DROPOUTS,
    LM_DROPOUTS,
    OPTIMIZERS,
    PAPER,
    PAPER_DROPOUTS,
    RECIPES,
    SCRIPTS,
    Dropouts,
    ModelSize,
)
from ulmfit.run_dir import RunDirectory
from ulmfit.schedules import SCHEDULES
from ulmfit.tasks import task_vocabulary

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
FROM_THE_SCRIPTS = {  # courses/dl2/imdb_scripts, where the paper says nothing
    "vocab_size": 30_000,
    "min_freq": 2,
    "pretrain.clip": 0.3,  # sampled_sm.py
    "finetune.clip": 0.3,  # finetune_lm.py
    "classify.clip": 25.0,  # train_clas.py
    "pretrain.weight_decay": 1e-7,  # pretrain_lm.py
    "finetune.weight_decay": 1e-7,
    "classify.weight_decay": 1e-6,
    "classify.max_tokens": 20 * 70,  # twenty windows of bptt
    "classify.bptt": 70,
} | {f"{stage}.{name}": value  # reg_fn = partial(seq2seq_reg, alpha=2, beta=1)
     for stage in ("pretrain", "finetune", "classify") for name, value in (("ar", 2.0), ("tar", 1.0))}  # fmt: skip
OTHERWISE_IN_THE_SCRIPTS = {
    "pretrain.betas": (0.8, 0.99),  # pretrain_lm.py
    "pretrain.lr_multipliers": (1 / 6, 1 / 3, 1.0, 1.0),
    "pretrain.variable_bptt": True,
    "pretrain.scale_lr": False,  # fastai's loader varies the windows and nothing varies the rate with them
    "finetune.betas": (0.8, 0.99),  # finetune_lm.py
    "finetune.lr_multipliers": (1 / 6, 1 / 3, 1.0, 1 / 2),
    "finetune.epochs": 25,
    "finetune.variable_bptt": True,
    "finetune.scale_lr": False,
    "finetune.ratio": 32.0,  # use_clr=(32, 10)
    "finetune.cut_frac": 1 / 10,
    "classify.betas": (0.8, 0.99),  # train_clas.py
    "classify.batch_size": 64 // 2,
    "classify.unfreezing": "two_step",
    "classify.restart": True,
    "classify.ratio": 8.0,  # use_clr=(8, 3) and (8, 8)
    "classify.warm_cut_frac": 1 / 3,
    "classify.cut_frac": 1 / 8,
    "classify.lr_factor": 2.6,
    "classify.lr_multipliers": None,
}
OF_AWD_LSTM_LM = {  # main.py's defaults, and its README's command for WikiText-2
    "lr": 30.0,
    "lr_factor": 1.0,
    "schedule": "constant",
    "clip": 0.25,
    "weight_decay": 1.2e-6,
    "batch_size": 80,
    "bptt": 70,
    "variable_bptt": True,
    "scale_lr": True,
    "epochs": 750,
    "optimizer": "nt_asgd",
    "nonmono": 5,
    "ar": 2.0,
    "tar": 1.0,
}


def constant(recipe, name):
    for part in name.split("."):
        recipe = getattr(recipe, part)
    return recipe


@pytest.mark.parametrize("name, value", (SECTION_4_1 | SECTION_3 | FOOTNOTE_7 | FROM_THE_SCRIPTS).items())
def test_the_papers_recipe(name, value):
    assert constant(PAPER, name) == value


@pytest.mark.parametrize("name, value", (FROM_THE_SCRIPTS | OTHERWISE_IN_THE_SCRIPTS).items())
def test_the_scripts_recipe(name, value):
    assert constant(SCRIPTS, name) == value


@pytest.mark.parametrize("name, value", OF_AWD_LSTM_LM.items())
def test_awd_lstm_lms_recipe(name, value):
    assert constant(AWD_LSTM_LM.pretrain, name) == value


def test_awd_lstm_lms_dropouts():
    """--dropouti 0.65 --dropout 0.4 --wdrop 0.5 --dropoute 0.1, and for WikiText-2 --dropouth 0.2."""
    awd = AWD_DROPOUTS
    assert [awd.input, awd.output, awd.weight, awd.embedding, awd.hidden] == [0.65, 0.4, 0.5, 0.1, 0.2]
    assert AWD_LSTM_LM.pretrain.dropouts == awd


def test_the_papers_dropouts():
    """Section 4.1: 0.4 to layers, 0.3 to RNN layers, 0.4 to the input, 0.05 to the embedding, 0.5 to weights."""
    d = PAPER_DROPOUTS
    assert [d.output, d.hidden, d.input, d.embedding, d.weight] == [0.4, 0.3, 0.4, 0.05, 0.5]
    assert PAPER.finetune.dropouts == d and PAPER.classify.dropouts == CLASSIFIER_DROPOUTS


def test_the_dropouts_of_the_authors_scripts():
    """finetune_lm.py: [0.25, 0.1, 0.2, 0.02, 0.15], train_clas.py: [0.4, 0.5, 0.05, 0.3, 0.4], in their orders."""
    lm, clas = LM_DROPOUTS, CLASSIFIER_DROPOUTS
    assert [lm.input, lm.output, lm.weight, lm.embedding, lm.hidden] == [0.25, 0.1, 0.2, 0.02, 0.15]
    assert [clas.input, clas.weight, clas.embedding, clas.hidden, clas.head[0]] == [0.4, 0.5, 0.05, 0.3, 0.4]
    assert SCRIPTS.finetune.dropouts == lm and SCRIPTS.classify.dropouts == clas
    assert SCRIPTS.pretrain.dropouts == PAPER.pretrain.dropouts == lm.times(0.5)  # pretrain_lm.py


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
        assert stage.ar >= 0 and stage.tar >= 0 and 0 < stage.cut_frac <= 1 <= stage.ratio
        groups = recipe.size.layers + (2 if stage is recipe.classify else 1)
        assert stage.lr_multipliers is None or len(stage.lr_multipliers) == groups
    assert {recipe.pretrain.optimizer, recipe.finetune.optimizer} <= set(OPTIMIZERS)
    assert recipe.classify.unfreezing in UNFREEZING and recipe.pretrain.steps is recipe.finetune.steps is None


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_goes_on_from_a_model_of_two_layers(name, tmp_path):
    """One step of fine-tuning, and one of classification, whatever depth the recipe's own size has."""
    recipe, texts = RECIPES[name], [f"is this {'a cat' if n % 2 else 'the dog'} ?" for n in range(6)]
    recipe = dataclasses.replace(
        recipe,
        finetune=dataclasses.replace(recipe.finetune, steps=1),
        classify=dataclasses.replace(recipe.classify, epochs=0.01),
    )
    rows = Split(texts, np.arange(6) % 2)
    dataset = Dataset("pets", ("dog", "cat"), rows, rows, rows, corpus=texts, notes=())
    vocab, stage = task_vocabulary(Corpus(texts), recipe), Stage(RunDirectory(tmp_path), "stage", Silent())
    start = language_model(len(vocab), dtype=np.float32)
    model, vocab, report = finetune(stage, start, vocab, texts, recipe, 1, "forward")
    assert report["steps"] == 1 and model.size.layers == start.size.layers == 2
    stage = dataclasses.replace(stage, name="another")
    classifier, _, report = classify(stage, model, vocab, dataset, recipe, 1, "forward")
    assert report["steps"] == 1 and classifier.size.layers == 2


def test_the_rates_of_the_papers_chain_thaw():
    """Section 5: 0.001 for the head, 0.0001 for all others. recipes.py says how to ask for them."""
    source = inspect.getsource(recipes)
    typed = shlex.split(source[source.index("--set classify.unfreezing=chain_thaw") :].partition("\n")[0])
    assert typed[::2] == ["--set"] * 3
    chain_thaw = change_recipe(PAPER, typed[1::2]).classify
    assert chain_thaw.unfreezing == "chain_thaw"
    np.testing.assert_allclose(group_lrs(chain_thaw, chain_thaw.lr, 5), [1e-4] * 4 + [1e-3])


@pytest.mark.parametrize("name", ["finetune.unfreezing", "pretrain.restart", "classify.optimizer", "classify.steps"])
def test_what_is_a_constant_in_one_stage_is_none_in_the_others(name):
    """They all can be asked for it, and it can be changed in the one alone."""
    stage, part = name.split(".")
    usual = {"unfreezing": "full", "restart": False, "optimizer": "adam", "steps": None}[part]
    assert getattr(getattr(PAPER, stage), part) == usual
    with pytest.raises(InputError, match=f"there is no constant '{name}'; did you mean "):
        change_recipe(PAPER, [f"{name}=1"])


def test_recipes_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.finetune.lr = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelSize().hidden = 1152
