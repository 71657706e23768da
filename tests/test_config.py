"""All that determines a run, to YAML and back; and one clear line for every file that is no configuration."""

import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.config import RunConfig
from ulmfit.config_files import from_plain, is_config, load_config, save_config
from ulmfit.errors import InputError
from ulmfit.recipes import PAPER, RECIPES, ModelSize


def some_config(**changes):
    return RunConfig(**{"dataset": "questions", "recipe": PAPER, **changes})


def plain(**changes):
    """A configuration as YAML's dictionaries, some of its keys changed: size__hidden=3 for recipe.size.hidden."""
    data = {"dataset": "questions", "recipe": yaml.safe_load(yaml.safe_dump(as_lists(PAPER)))}
    for path, value in changes.items():
        *parents, key = path.split("__")
        inner = data
        for parent in parents:
            inner = inner[parent]
        inner[key] = value
    return data


def as_lists(recipe):
    def lists(value):
        if isinstance(value, dict):
            return {k: lists(v) for k, v in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return lists(dataclasses.asdict(recipe))


def written(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_comes_back_as_it_was(name, tmp_path):
    config = some_config(
        recipe=RECIPES[name], data_dir="d ä/ö: x", n_train=100, direction="both", seed=2**40,
        pretrained_sha256=("0e1", "0e2"),
    )  # fmt: skip
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == config
    assert "!!" not in (tmp_path / "c.yaml").read_text()  # plain YAML, which any program can read


@given(
    dataset=st.text(min_size=1).filter(lambda s: s.isprintable()), seed=st.integers(0, 2**63), lr=st.floats(1e-12, 1e6),
    steps=st.none() | st.integers(1, 10**9), clip=st.none() | st.floats(1e-9, 1e9),
)  # fmt: skip
def test_whatever_is_written_comes_back_in_every_bit(tmp_path_factory, dataset, seed, lr, steps, clip):
    pretrain = dataclasses.replace(PAPER.pretrain, lr=lr, steps=steps, clip=clip)
    config = some_config(dataset=dataset, seed=seed, recipe=dataclasses.replace(PAPER, pretrain=pretrain))
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    save_config(config, path)
    assert load_config(path) == config


def test_missing_keys_take_their_defaults_and_whole_numbers_serve_as_real_ones():
    config = from_plain(RunConfig, {"dataset": "trec6"})
    assert config == RunConfig("trec6") and config.seed == 1 and config.direction == "forward"
    changed = from_plain(RunConfig, plain(recipe__classify__lr=1, recipe__classify__epochs=3))
    assert (changed.recipe.classify.lr, changed.recipe.classify.epochs) == (1.0, 3.0)
    assert isinstance(changed.recipe.classify.lr, float)
    assert from_plain(RunConfig, plain(recipe__classify__lr="1e-3")).recipe.classify.lr == 1e-3  # text to YAML


def test_directions():
    assert some_config(direction="both").directions == ("forward", "backward")
    assert some_config(direction="backward").directions == ("backward",)


WRONG = {
    "misspelt key": ({"seeed": 1}, "unknown key 'seeed'; did you mean 'seed'"),
    "misspelt key further in": ({"recipe__size__hiden": 1}, "unknown key 'recipe.size.hiden'; did you mean 'hidden'"),
    "key of nothing": ({"zzzzz": 1}, "unknown key 'zzzzz'; there are dataset"),
    "key that is no text": ({"recipe": {7: 1}}, "unknown key 'recipe.7'"),
    "text for a number": ({"seed": "one"}, "seed: expected a whole number, got 'one'"),
    "real for a whole number": ({"seed": 1.5}, "seed: expected a whole number, got 1.5"),
    "true for a number": ({"seed": True}, "seed: expected a whole number, got True"),
    "true for a real number": ({"recipe__classify__lr": True}, "recipe.classify.lr: expected a number, got True"),
    "number for a text": ({"dataset": 7}, "dataset: expected text, got 7"),
    "nothing for a text": ({"text_column": None}, "text_column: expected text, got None"),
    "text for an optional number": ({"recipe__pretrain__clip": "no"}, "pretrain.clip: expected a number, got 'no'"),
    "three betas": ({"recipe__classify__betas": [1, 2, 3]}, "recipe.classify.betas: expected a list of 2"),
    "a text of two letters for betas": ({"recipe__classify__betas": "ab"}, "classify.betas: expected a list of 2"),
    "text among betas": ({"recipe__classify__betas": [0.7, "x"]}, r"recipe.classify.betas\[1\]: expected a number"),
    "number for a section": ({"recipe": 3}, "recipe: expected 'key: value' lines, got 3"),
    "direction": ({"direction": "sideways"}, "direction: expected one of forward, backward, both, got 'sideways'"),
    "schedule": ({"recipe__classify__schedule": "slanted"}, "recipe.classify.schedule: .*one of .*got 'slanted'"),
    "unfreezing": ({"recipe__classify__unfreezing": "slow"}, "recipe.classify.unfreezing: .*gradual.*got 'slow'"),
    "negative seed": ({"seed": -1}, "seed: expected a whole number from 0 .*got -1"),
    "no streams": ({"recipe__pretrain__batch_size": 0}, "recipe.pretrain.batch_size: expected .*from 1 up, got 0"),
    "one text a batch": ({"recipe__classify__batch_size": 1}, "recipe.classify.batch_size: .*from 2 up, got 1"),
    "no window": ({"recipe__finetune__bptt": 0}, "recipe.finetune.bptt: expected .*from 1 up"),
    "no layers": ({"recipe__size__layers": 0}, "recipe.size.layers: expected .*from 1"),
    "all dropped": ({"recipe__classify__dropouts__head": [0.1, 1.0]}, "dropouts.head: .*less than 1, got 1.0"),
    "rate that is no number": ({"recipe__classify__lr": float("nan")}, "recipe.classify.lr: .*above 0, got nan"),
    "endless epochs": ({"recipe__classify__epochs": float("inf")}, "recipe.classify.epochs: expected .*got inf"),
    "negative penalty": ({"recipe__finetune__ar": -1}, "recipe.finetune.ar: expected a number from 0 up, got -1"),
    "no temporal penalty": ({"recipe__classify__tar": float("inf")}, "tar: expected a number from 0 up, got inf"),
    "no rise": ({"recipe__classify__cut_frac": 0}, "classify.cut_frac: expected a number above 0, at most 1, got 0"),
    "long rise": ({"recipe__classify__warm_cut_frac": 1.5}, "classify.warm_cut_frac: .* at most 1, got 1.5"),
    "ratio below 1": ({"recipe__finetune__ratio": 0.5}, "finetune.ratio: expected a number from 1 up, got 0.5"),
    "unknown optimiser": ({"recipe__pretrain__optimizer": "lion"}, "optimizer: expected one of adam, .*got 'lion'"),
    "no patience": ({"recipe__pretrain__nonmono": 0}, "pretrain.nonmono: expected a whole number from 1 up, got 0"),
    "word for yes": ({"recipe__pretrain__variable_bptt": 1}, "pretrain.variable_bptt: expected true or false, got 1"),
    "restart by number": ({"recipe__classify__restart": 1}, "classify.restart: expected true or false, got 1"),
    "no pooled window": ({"recipe__classify__bptt": 0}, "classify.bptt: expected a whole number from 1 up, got 0"),
    "a rate of zero": ({"recipe__finetune__lr_multipliers": [1, 0, 1, 1]}, "finetune.lr_multipliers: .*above 0, got 0"),
    "one rate for all": ({"recipe__finetune__lr_multipliers": 0.5}, "lr_multipliers: expected a list, got 0.5"),
    "word among rates": ({"recipe__finetune__lr_multipliers": [1, "x"]}, r"lr_multipliers\[1\]: expected a number"),
    "negative decay": ({"recipe__classify__weight_decay": -0.1}, "weight_decay: expected a number from 0 up, got -0.1"),
    "unknown stage": ({"stages": ["pretrain", "clasify"]}, "stages: expected one of .*got 'clasify'"),
    "stages out of order": ({"stages": ["classify", "finetune"]}, "stages: expected .*in this order"),
    "no language model": ({"pretrained": None}, "pretrained: without the stage pretrain, finetune needs shipped, none"),
    "two language models": ({"stages": ["pretrain"]}, "pretrained: the stage pretrain makes a new language model"),
    "one name of a model file": ({"pretrained_sha256": "abc"}, "pretrained_sha256: expected a list, got 'abc'"),
    "no data set": ({"dataset": None}, "dataset: classify needs one"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named_in_one_line_with_its_file(changes, message, tmp_path):
    path = written(tmp_path, yaml.safe_dump(plain(**changes)))
    with pytest.raises(InputError, match=message) as e:
        load_config(path)
    assert str(e.value).startswith(f"{path}: ") and "\n" not in str(e.value)


@pytest.mark.parametrize("multipliers", [[], [1.0], [0.5] * 9])
def test_any_number_of_rates_will_do(multipliers):
    """They are counted from the top: see groups.py."""
    stages = ["pretrain", "finetune", "classify"]
    changes = {f"recipe__{stage}__lr_multipliers": multipliers for stage in stages}
    config = from_plain(RunConfig, plain(stages=stages, pretrained=None, **changes))
    assert config.recipe.finetune.lr_multipliers == tuple(multipliers)


def test_a_configuration_of_an_earlier_version_means_what_it_meant():
    """Without the keys that have been added since: their defaults switch everything off that was not there."""
    added = {
        "pretrain": ["lr_multipliers", "cut_frac", "ratio", "ar", "tar", "variable_bptt", "scale_lr", "optimizer",
                     "nonmono"],
        "classify": ["lr_multipliers", "cut_frac", "ratio", "ar", "tar", "restart", "warm_cut_frac", "bptt"],
    }
    data = plain()
    for stage in ("pretrain", "finetune", "classify"):
        for key in added.get(stage, added["pretrain"]):
            del data["recipe"][stage][key]
    recipe = from_plain(RunConfig, data).recipe
    for stage in (recipe.pretrain, recipe.finetune, recipe.classify):
        assert (stage.ar, stage.tar, stage.cut_frac, stage.ratio, stage.lr_multipliers) == (0, 0, 0.1, 32, None)
    assert recipe.pretrain.scale_lr  # as it was wherever windows were variable
    assert not recipe.pretrain.variable_bptt and recipe.pretrain.optimizer == "adam" and not recipe.classify.restart


def test_missing_keys_are_named():
    with pytest.raises(InputError, match="missing key 'recipe.size'"):
        from_plain(RunConfig, {"dataset": "trec6", "recipe": {}})
    with pytest.raises(InputError, match="missing key 'recipe.pretrain'"):
        data = plain()
        del data["recipe"]["pretrain"]
        from_plain(RunConfig, data)


GARBAGE = {
    "empty": "",
    "a list": "[1, 2]",
    "a word": "hello",
    "no YAML": "a: [1, 2\nb: }",
    "tabs": "a:\n\t- b",
    "two documents": "a: 1\n---\nb: 2",
    "no UTF-8": b"dataset: \xff\xfe",
    "control characters": "dataset: a\x00b",
    "a date that does not exist": "dataset: 2001-99-99",
    "a mapping as key": "? {a: 1}\n: 2",
    "an unknown alias": "dataset: *nobody",
    "brackets without end": "dataset: " + "[" * 5000,
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused_in_one_line_that_names_the_file(text, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as e:
        load_config(path)
    assert str(e.value).startswith(f"{path}: ") and "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read(name, tmp_path):
    with pytest.raises(InputError, match="cannot be read .*name the config.yaml of a run"):
        load_config(tmp_path / name)


@pytest.mark.parametrize("tag", ["python/object/apply:os.mkdir", "python/object/new:os.mkdir"])
def test_yaml_runs_no_code(tag, tmp_path):
    trap = tmp_path / "trap"
    path = written(tmp_path, f"dataset: !!{tag} [{trap}]\n")
    with pytest.raises(InputError, match="not YAML"):
        load_config(path)
    assert not trap.exists()


def test_a_configuration_that_unfolds_without_end_is_refused_at_once(tmp_path):
    """Each line doubles the one before: written out, or merged, it would be longer than the memory."""
    lines = ["dataset: questions", "l0: &l0 [a, a]"]
    lines += [f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 40)]
    nested = "seed: [" + "&l0 [a, a], " + ", ".join(f"&l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 40)) + "]"
    merged = ["l0: &l0 {a: 1}", *(f"l{n}: &l{n} {{<<: [*l{n - 1}, *l{n - 1}]}}" for n in range(1, 40))]
    for text in ("\n".join(lines), "dataset: questions\n" + nested, "\n".join(merged)):
        with pytest.raises(InputError, match=r"line \d+, column \d+: found an alias; write out what it stands for"):
            load_config(written(tmp_path, text))


@pytest.mark.parametrize("seed", ["0x" + "f" * 5000, "0b" + "1" * 65, "9" * 20, "1:" * 2000 + "1"])
def test_an_integer_that_python_would_not_print_is_refused(seed, tmp_path):
    with pytest.raises(InputError, match="line 1, column 7: found an integer too large"):
        load_config(written(tmp_path, f"seed: {seed}\n"))


def test_a_configuration_that_is_too_long_or_never_ends_is_not_read_to_its_end(tmp_path):
    for path in (written(tmp_path, "dataset: x\n" + "#" * 30_000), "/dev/zero"):
        with pytest.raises(InputError, match="over 30,000 bytes"):
            load_config(path)
    assert not is_config("/dev/zero")


def test_a_size_is_read_as_from_plain_reads_it():
    assert from_plain(ModelSize, {"hidden": 7}) == ModelSize(hidden=7)
