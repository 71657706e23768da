"""The language model that a run starts from: another run's, the package's, none at all; and which it was is written
down."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_runs import RECIPE, Killed, KilledAt, config_for

from ulmfit import pretrained
from ulmfit.config import SCRATCH, SHIPPED, STAGES
from ulmfit.config_files import load_config
from ulmfit.errors import InputError
from ulmfit.experiment import run_experiment
from ulmfit.model_files import load_model, save_model
from ulmfit.vocab import Vocab

pytestmark = pytest.mark.usefixtures("no_baseline")


def test_a_pretrained_model_stands_in_for_stage_1(pets_run, pets, tmp_path):
    out, metrics = pets_run
    cfg = config_for(pets, pretrained=str(out / "pretrain" / "forward"), stages=("finetune", "classify"))
    again = run_experiment(cfg, tmp_path / "run")
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert model == (out / "forward" / "model.safetensors").read_bytes()
    assert again["stages"]["pretrain"] is None and "perplexity" in again["stages"]["finetune"]


def test_the_shipped_models_are_what_a_run_starts_from(pets_run, pets, tmp_path, monkeypatch):
    out, _ = pets_run
    for direction in ("forward", "backward"):
        shutil.copytree(out / "pretrain" / direction, tmp_path / "models" / direction)
    monkeypatch.setattr(pretrained, "MODELS", tmp_path / "models")
    cfg = config_for(pets, pretrained=SHIPPED, stages=STAGES[1:], direction="both")
    metrics = run_experiment(cfg, tmp_path / "run")
    for direction in ("forward", "backward"):
        file = Path(direction) / "model.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (out / file).read_bytes()
        there = hashlib.sha256((tmp_path / "models" / file).read_bytes()).hexdigest()
        assert metrics["pretrained_sha256"][direction] == there
    shutil.rmtree(tmp_path / "models" / "backward")
    with pytest.raises(InputError, match="backward: the package's model is missing; install minilstm anew, or"):
        run_experiment(cfg, tmp_path / "again")


def both_ways(out, folder):
    """The language models of a run in both directions, as a folder to start from."""
    for direction in ("forward", "backward"):
        shutil.copytree(out / "pretrain" / direction, folder / direction)
    return folder


def sha256_of(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def another_model(folder):
    """The same model but for one number."""
    loaded = load_model(folder, "language_model")
    loaded.model.params["decoder.bias"][0] += 1
    save_model(folder, loaded.model, loaded.vocab, loaded.direction)


class Listening(KilledAt):
    """What is told to the user."""

    def __init__(self, *where):
        super().__init__(*where or (None, None))
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def remove_backward(models):
    shutil.rmtree(models / "backward")


def swap_backward(models):
    remove_backward(models)
    shutil.copytree(models / "forward", models / "backward")


def cut_backward(models):
    path = models / "backward" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


WRONG_STARTS = {
    "a typo": (shutil.rmtree, "models: no such folder"),
    "one direction alone": (remove_backward, "models: has a model in forward/ and none in backward/; .*--direction f"),
    "the wrong direction": (swap_backward, "backward: reads forward, and a backward one is needed; name a folder with"),
    "damaged": (cut_backward, "model.safetensors"),
}


@pytest.mark.parametrize("spoil, message", WRONG_STARTS.values(), ids=WRONG_STARTS)
def test_the_start_of_every_direction_is_checked_before_any_training(spoil, message, pets_run, pets, tmp_path):
    models = both_ways(pets_run[0], tmp_path / "models")
    spoil(models)
    cfg = config_for(pets, pretrained=str(models), stages=STAGES[1:], direction="both")
    with pytest.raises(InputError, match=message):
        run_experiment(cfg, tmp_path / "run", progress=KilledAt("finetune-forward", "begin"))
    assert not (tmp_path / "run").exists()


def test_a_run_remembers_which_model_it_started_from(pets_run, pets, tmp_path):
    models, out = both_ways(pets_run[0], tmp_path / "models"), tmp_path / "run"
    cfg = config_for(pets, pretrained=str(models), stages=STAGES[1:], direction="both")
    there = [sha256_of(models / d) for d in cfg.directions]
    with pytest.raises(Killed):
        run_experiment(cfg, out, progress=KilledAt("finetune-forward", "begin"))
    stored = load_config(out / "config.yaml")
    assert stored == replace(cfg, pretrained_sha256=tuple(there), dataset_sha256=stored.dataset_sha256)
    before = shutil.copytree(models / "backward", tmp_path / "before")
    another_model(models / "backward")
    for again in (None, cfg, stored):  # as the user may give it
        with pytest.raises(InputError, match="was started from another language model than .*models is now; put that"):
            run_experiment(again, out, resume=True)
    shutil.copytree(before, models / "backward", dirs_exist_ok=True)
    metrics = run_experiment(cfg, out, resume=True)
    assert metrics["pretrained_sha256"] == dict(zip(cfg.directions, there, strict=True))


def test_metrics_name_the_model_of_the_start(pets_run, pets, tmp_path):
    """And not the one that has taken its place by the end."""
    model = shutil.copytree(pets_run[0] / "pretrain" / "forward", tmp_path / "model")
    there = sha256_of(model)

    class Exchanges(KilledAt):
        def begin(self, stage, *args):
            another_model(model)

    cfg = config_for(pets, pretrained=str(model), stages=STAGES[1:])
    metrics = run_experiment(cfg, tmp_path / "run", progress=Exchanges(None, None))
    assert metrics["pretrained_sha256"] == {"forward": there} and there != sha256_of(model)


def test_a_replay_from_another_model_says_so_once_and_is_an_experiment_of_its_own(pets_run, pets, tmp_path):
    model = shutil.copytree(pets_run[0] / "pretrain" / "forward", tmp_path / "model")
    cfg = config_for(pets, pretrained=str(model), stages=STAGES[1:2])
    first = run_experiment(cfg, tmp_path / "run", progress=(silent := Listening()))
    stored = load_config(tmp_path / "run" / "config.yaml")
    run_experiment(stored, tmp_path / "same", progress=(same := Listening()))
    another_model(model)
    metrics = run_experiment(stored, tmp_path / "other", progress=(other := Listening()))
    told = [[m for m in p.messages if "is not the language model" in m] for p in (silent, same, other)]
    assert told == [[], [], [f"{model} is not the language model of the run that is replayed: its file differs"]]
    assert load_config(tmp_path / "same" / "config.yaml") == stored
    assert metrics["pretrained_sha256"] == {"forward": sha256_of(model)} != first["pretrained_sha256"]
    assert load_config(tmp_path / "other" / "config.yaml").pretrained_sha256 == (sha256_of(model),)


def test_a_run_of_a_version_that_noted_no_model_is_resumed(pets_run, pets, tmp_path):
    model, out = shutil.copytree(pets_run[0] / "pretrain" / "forward", tmp_path / "model"), tmp_path / "run"
    with pytest.raises(Killed):
        cfg = config_for(pets, pretrained=str(model), stages=STAGES[1:2])
        run_experiment(cfg, out, progress=KilledAt("finetune", 2))
    lines = (out / "config.yaml").read_text().splitlines(keepends=True)
    n = lines.index("pretrained_sha256:\n")
    (out / "config.yaml").write_text("".join(lines[:n] + lines[n + 2 :]))
    assert load_config(out / "config.yaml").pretrained_sha256 is None
    assert run_experiment(None, out, resume=True)["pretrained_sha256"] == {"forward": sha256_of(model)}


@pytest.mark.parametrize("junk", [None, "notes.txt"])
def test_another_folder_that_is_called_forward_hides_no_model(junk, pets_run, tmp_path):
    model = shutil.copytree(pets_run[0] / "pretrain" / "forward", tmp_path / "model")
    (model / "forward").mkdir()
    if junk:
        (model / "forward" / junk).touch()
    assert pretrained.model_folder(str(model), "forward") == model
    shutil.copytree(pets_run[0] / "pretrain" / "backward", model / "backward")
    assert pretrained.model_folder(str(model), "backward") == model / "backward"
    assert pretrained.model_folder(str(model), "forward") == model


@pytest.mark.parametrize("there, wanted", [("forward", "backward"), ("backward", "forward")])
def test_a_folder_with_the_other_direction_alone_says_what_is_there(there, wanted, pets_run, tmp_path):
    shutil.copytree(pets_run[0] / "pretrain" / there, tmp_path / "tb" / there)
    (tmp_path / "tb" / wanted).mkdir()
    message = f"tb: has a model in {there}/ and none in {wanted}/; name another folder, or use --direction {there}$"
    with pytest.raises(InputError, match=message):
        pretrained.load_pretrained(str(tmp_path / "tb"), wanted)
    assert pretrained.load_pretrained(str(tmp_path / "tb"), there)


def test_words_that_are_too_rare_in_the_task_stay_unknown(pets_run, pets, tmp_path):
    start = str(pets_run[0] / "pretrain" / "forward")
    recipe = replace(RECIPE, task_min_freq=2)
    for pretrained_as in (start, SCRATCH):
        run = tmp_path / Path(pretrained_as).name
        run_experiment(config_for(pets, pretrained=pretrained_as, stages=STAGES[1:], recipe=recipe), run)
        words = set(Vocab.load(run / "vocab.json").itos)
        assert {"is", "cat", "dog"} <= words and not any(word.startswith("train") for word in words)


def test_from_scratch_a_run_knows_the_tasks_words_alone_and_starts_at_random(pets, tmp_path):
    metrics = run_experiment(config_for(pets, pretrained=SCRATCH, stages=STAGES[1:]), tmp_path / "run")
    assert "pretrained_sha256" not in metrics and metrics["stages"]["pretrain"] is None
    assert metrics["stages"]["finetune"]["new_words"] == 0
    words = set(Vocab.load(tmp_path / "run" / "vocab.json").itos)
    assert {"cat", "dog", "train1"} <= words and not {"mat", "test1"} & words
    other = run_experiment(config_for(pets, pretrained=SCRATCH, stages=STAGES[1:], seed=6), tmp_path / "other")
    assert other["stages"]["finetune"]["perplexity"] != metrics["stages"]["finetune"]["perplexity"]


def test_a_pretrained_model_of_the_other_direction_is_refused(pets_run, pets, tmp_path):
    out, _ = pets_run
    cfg = config_for(pets, pretrained=str(out / "pretrain" / "backward"), stages=("finetune", "classify"))
    remedy = "name a folder with forward and backward in it, or one direction with --direction"
    with pytest.raises(InputError, match=f"backward: reads backward, and a forward one is needed; {remedy}"):
        run_experiment(cfg, tmp_path / "run")


def test_the_language_models_of_a_run_in_both_directions_serve_both(pets_run, pets, tmp_path):
    out, _ = pets_run
    how = {"stages": ("classify",), "direction": "both", "pretrain_text": None}
    run_experiment(config_for(pets, pretrained=str(out / "finetune"), **how), tmp_path / "run")
    for direction in ("forward", "backward"):
        file = Path(direction) / "model.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (out / file).read_bytes()
    with pytest.raises(InputError, match=f"got a classifier; .*: {out / 'finetune'} or {out / 'pretrain'}"):
        run_experiment(config_for(pets, pretrained=str(out), **how), tmp_path / "again")


@pytest.mark.parametrize("seed, noted", [(5, False), (6, True)])
def test_a_language_model_that_may_have_read_test_texts_is_noted(seed, noted, pets, tmp_path):
    """Without a test file the seed decides which rows are test."""
    start = {"test_file": None, "stages": ("finetune",), "pretrained": "none", "pretrain_text": None}
    run_experiment(config_for(pets, **start), tmp_path / "lm")
    start |= {"stages": ("classify",), "pretrained": str(tmp_path / "lm"), "seed": seed}
    notes = run_experiment(config_for(pets, **start), tmp_path / "run")["notes"]
    found = [note for note in notes if f"another split of {pets / 'train.csv'} (seed 5, here {seed})" in note]
    assert len(found) == noted
    with open(tmp_path / "lm" / "config.yaml", "a") as f:
        f.write("of_another_version: 1\n")  # no reason to refuse the model
    again = run_experiment(config_for(pets, **start), tmp_path / "again")
    assert not [note for note in again["notes"] if "another split" in note]
