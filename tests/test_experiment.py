"""A whole run, of a few seconds: what it leaves behind, that it can be replayed, and that it survives being killed."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import DROPOUTS, SIZE

from minilstm import NonFiniteError, load_arrays
from ulmfit import baseline, experiment, pipeline, pretrained, testing
from ulmfit.config import SCRATCH, SHIPPED, STAGES, RunConfig
from ulmfit.config_files import load_config
from ulmfit.errors import InputError
from ulmfit.experiment import run_experiment
from ulmfit.model_files import load_model, save_model
from ulmfit.predictor import Predictor
from ulmfit.progress import Silent
from ulmfit.recipes import ClassifierTraining, LMTraining, Recipe
from ulmfit.vocab import Vocab

LM = LMTraining(epochs=1, batch_size=2, lr=0.01, bptt=8, dropouts=replace(DROPOUTS, head=(0.0, 0.0)))
RECIPE = Recipe(
    size=SIZE, vocab_size=60, min_freq=1, pretrain=LM, finetune=LM,
    classify=ClassifierTraining(epochs=5, batch_size=8, lr=0.05, dropouts=replace(DROPOUTS, output=0.0)),
)  # fmt: skip
MODELS = ("model.safetensors", "vocab.json")


@pytest.fixture(autouse=True)
def no_baseline(monkeypatch):
    """scikit-learn takes a second to import; the baseline is tested by itself."""
    monkeypatch.setattr(testing, "linear_baseline", lambda train, labels, test: np.zeros(len(test), int))


def text(kind, k):
    return f"is {kind}{k} a {'cat' if k % 2 else 'dog'} ?"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A CSV file for training, one for testing, and a small text."""
    folder = tmp_path_factory.mktemp("data")
    for kind, n in (("train", 40), ("test", 10)):
        with open(folder / f"{kind}.csv", "w", newline="") as f:
            rows = [(text(kind, k), "feline" if k % 2 else "canine") for k in range(n)]
            csv.writer(f).writerows([("text", "label"), *rows])
    (folder / "text.txt").write_text("\n\n".join(f"The cat number {k} sat on a mat ." for k in range(20)))
    return folder


def config(data, **changes):
    return RunConfig(**{
        "dataset": str(data / "train.csv"), "test_file": str(data / "test.csv"), "seed": 5,
        "stages": STAGES, "pretrained": None, "pretrain_text": str(data / "text.txt"), "recipe": RECIPE, **changes,
    })  # fmt: skip


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """-> the folder of a run in both directions, and its metrics"""
    out = tmp_path_factory.mktemp("runs") / "both"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(testing, "linear_baseline", lambda train, labels, test: np.zeros(len(test), int))
        return out, run_experiment(config(data, direction="both"), out)


def model_bytes(out):
    """Every model and vocabulary that a run has left, by its place."""
    return {str(p.relative_to(out)): p.read_bytes() for name in MODELS for p in out.rglob(name)}


TIMING = {"seconds", "tokens_per_second", "peak_memory_mb"}


def untimed(metrics):
    """Metrics without what depends on the hour."""
    if isinstance(metrics, dict):
        return {k: untimed(v) for k, v in metrics.items() if k not in TIMING}
    return metrics


def untimed_log(out):
    return [untimed(json.loads(line)) for line in (out / "log.jsonl").read_text().splitlines()]


# --- what a run leaves behind


def test_the_run_directory_holds_what_the_contract_says(finished):
    out, _ = finished
    names = {p.name for p in out.iterdir()}
    assert {"config.yaml", "log.jsonl", "metrics.json", "predictions.jsonl", "forward", "backward"} <= names
    assert "checkpoints" not in names
    for direction in ("forward", "backward"):
        for folder in (out / direction, out / direction / "pretrain", out / direction / "finetune"):
            assert all((folder / name).is_file() for name in MODELS)


def test_a_run_of_one_direction_has_its_model_at_the_top(data, tmp_path):
    run_experiment(config(data, direction="backward"), tmp_path / "run")
    assert all((tmp_path / "run" / name).is_file() for name in MODELS)
    assert not (tmp_path / "run" / "backward").exists()
    predictor = Predictor.load(tmp_path / "run")
    assert [c.direction for c in predictor.classifiers] == ["backward"]
    assert predictor.classes == ("canine", "feline")


def test_metrics_have_the_contracts_keys(finished):
    out, metrics = finished
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert set(metrics) >= {
        "dataset", "n_train", "n_test", "seed", "direction", "test_error", "test_error_ci95", "baseline_error",
        "seconds", "stages", "versions", "commit",
    }  # fmt: skip
    assert (metrics["n_train"], metrics["n_valid"], metrics["n_test"]) == (36, 4, 10)
    assert metrics["seed"] == 5 and metrics["direction"] == "both" and metrics["baseline_error"] == 50.0
    low, high = metrics["test_error_ci95"]
    assert 0 <= low <= metrics["test_error"] <= high <= 100
    for stage, number in (("pretrain", "perplexity"), ("finetune", "perplexity"), ("classify", "validation_error")):
        assert {"seconds", "steps", "tokens", "tokens_per_second", number} <= set(metrics["stages"][stage])
    assert metrics["versions"]["numpy"] == np.__version__


def test_stages_add_up_both_directions(finished):
    _, metrics = finished
    for stage, total in metrics["stages"].items():
        each = [metrics["directions"][d][stage] for d in ("forward", "backward")]
        for key in ("steps", "tokens", "seconds", "parameters"):
            assert total[key] == pytest.approx(each[0][key] + each[1][key])
        number = "validation_error" if stage == "classify" else "perplexity"
        assert total[number] == pytest.approx((each[0][number] + each[1][number]) / 2)


def test_the_log_has_every_step_of_every_stage(finished):
    out, metrics = finished
    rows = untimed_log(out)
    for direction in ("forward", "backward"):
        for stage, report in metrics["directions"][direction].items():
            steps = [r["step"] for r in rows if r["stage"] == f"{stage}-{direction}"]
            assert steps == list(range(report["steps"]))


def test_predictions_and_confusion_tell_the_same_error(finished):
    out, metrics = finished
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    wrong = sum(r["label"] != r["predicted"] for r in rows)
    assert len(rows) == 10 and metrics["test_error"] == 100 * wrong / 10
    confusion = np.array(metrics["confusion"])
    assert confusion.sum() == 10 and np.trace(confusion) == 10 - wrong and metrics["classes"] == ["canine", "feline"]
    predictor = Predictor.load(out)
    p = predictor.predict_proba([r["text"] for r in rows])
    np.testing.assert_allclose(p, [list(r["probabilities"].values()) for r in rows], atol=2e-6)
    assert rows[3]["text"] == "is test3 a cat ?" and rows[3]["label"] == "feline"


def test_backward_and_forward_are_two_models(finished):
    out, _ = finished
    models = [load_arrays(out / d / "model.safetensors") for d in ("forward", "backward")]
    assert [json.loads(m["minilstm"])["direction"] for _, m in models] == ["forward", "backward"]
    assert (models[0][0]["head.linear1.weight"] != models[1][0]["head.linear1.weight"]).any()


def test_the_vocabulary_is_the_union_of_text_and_training_rows(finished, data):
    out, _ = finished
    before, after = (Vocab.load(out / "forward" / f / "vocab.json") for f in ("pretrain", "finetune"))
    assert after.itos[: len(before)] == before.itos and "mat" in before and "cat" in before
    new = set(after.itos[len(before) :])
    assert len([w for w in new if w.startswith("train")]) == 36  # the four others are validation
    assert not [w for w in after.itos if w.startswith("test")]


# --- reproducibility


@pytest.mark.parametrize("source", ["config", "yaml"])
def test_a_replay_gives_the_same_numbers_and_the_same_bytes(source, finished, data, tmp_path):
    out, metrics = finished
    again = config(data, direction="both") if source == "config" else load_config(out / "config.yaml")
    replayed = run_experiment(again, tmp_path / "again")
    assert untimed(replayed) == untimed(metrics)
    assert model_bytes(tmp_path / "again") == model_bytes(out)
    assert untimed_log(tmp_path / "again") == untimed_log(out)


def test_another_seed_gives_another_model(finished, data, tmp_path):
    out, _ = finished
    run_experiment(config(data, seed=6), tmp_path / "other")
    other = (tmp_path / "other" / "model.safetensors").read_bytes()
    assert other != (out / "forward" / "model.safetensors").read_bytes()


def test_a_limit_in_minutes_is_frozen_as_steps(data, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "steps_in", lambda minutes, task: 3)
    metrics = run_experiment(config(data), tmp_path / "run", minutes=0.1)
    frozen = load_config(tmp_path / "run" / "config.yaml")
    assert frozen.recipe.pretrain.steps == 3 == metrics["stages"]["pretrain"]["steps"]
    monkeypatch.setattr(experiment, "steps_in", lambda minutes, task: 1 / 0)  # a replay measures nothing
    run_experiment(frozen, tmp_path / "replay")
    assert model_bytes(tmp_path / "replay") == model_bytes(tmp_path / "run")


class Killed(Exception):
    pass


class KilledAt(Silent):
    """The power fails at a step of a stage, or as the stage begins."""

    def __init__(self, stage, step):
        self.where, self.stage, self.starts = (stage, step), None, {}

    def begin(self, stage, n_steps, start, groups):
        self.stage, self.starts[stage] = stage, start
        if self.where == (stage, "begin"):
            raise Killed

    def step(self, log):
        if self.where == (self.stage, log.step):
            raise Killed


def resumed(cfg, out, kills):
    """A run that is killed at each of these places, one after the other -> metrics, the last Progress"""
    for n, (stage, step) in enumerate(kills):
        with pytest.raises(Killed):
            run_experiment(cfg if n == 0 else None, out, resume=n > 0, progress=KilledAt(stage, step))
        assert not (out / "metrics.json").exists()
    last = KilledAt(None, None)
    return run_experiment(None, out, resume=True, progress=last), last


KILLS = {
    "within stage 1": [("pretrain-forward", 3)],
    "before stage 2": [("finetune-forward", "begin")],
    "within stage 2": [("finetune-forward", 4)],
    "at stage 2's last step": [("finetune-forward", 13)],
    "within stage 3, as groups are unfrozen": [("classify-forward", 7)],
    "in the second direction": [("finetune-backward", 2)],
    "again and again": [("pretrain-forward", 5), ("pretrain-forward", 6), ("classify-forward", 12),
                        ("classify-backward", "begin"), ("classify-backward", 0)],
}  # fmt: skip


@pytest.mark.parametrize("every_step", [True, False], ids=["checkpoint at every step", "checkpoint at a stage's end"])
@pytest.mark.parametrize("kills", KILLS.values(), ids=KILLS)
def test_a_killed_run_goes_on_to_the_same_bytes(kills, every_step, finished, data, tmp_path, monkeypatch):
    out, metrics = finished
    if every_step:
        monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    again, progress = resumed(config(data, direction="both"), tmp_path / "run", kills)
    assert model_bytes(tmp_path / "run") == model_bytes(out)
    assert untimed(again) == untimed(metrics)
    assert untimed_log(tmp_path / "run") == untimed_log(out)
    stage, step = kills[-1]
    assert progress.starts[stage] == (step if every_step and step != "begin" else 0)  # it did not begin anew


def test_a_damaged_checkpoint_is_passed_over_on_the_way_on(finished, data, tmp_path, monkeypatch, capsys):
    out, _ = finished
    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    with pytest.raises(Killed):
        run_experiment(config(data, direction="both"), tmp_path / "run", progress=KilledAt("classify-forward", 9))
    newest = max((tmp_path / "run" / "checkpoints").glob("classify-forward-*"))
    newest.write_bytes(newest.read_bytes()[:-1])
    progress = KilledAt(None, None)
    run_experiment(None, tmp_path / "run", resume=True, progress=progress)
    assert progress.starts["classify-forward"] == 8 and capsys.readouterr().err.count("warning: ") == 1
    assert model_bytes(tmp_path / "run") == model_bytes(out)


def test_nothing_is_left_to_resume_of_a_complete_run(finished):
    out, metrics = finished
    before = model_bytes(out)
    assert run_experiment(None, out, resume=True) == metrics
    assert model_bytes(out) == before


def test_the_models_of_a_killed_direction_do_not_hide_the_rest(data, tmp_path):
    """A run that is not complete has no metrics, and says so by being resumable."""
    with pytest.raises(Killed):
        run_experiment(config(data), tmp_path / "run", progress=KilledAt("classify", "begin"))
    with pytest.raises(InputError, match="--resume continues it, --overwrite starts anew"):
        run_experiment(config(data), tmp_path / "run")
    with pytest.raises(InputError, match="model.safetensors"):
        Predictor.load(tmp_path / "run")
    run_experiment(config(data), tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "metrics.json").is_file()


# --- the test set


def test_the_test_set_is_read_once_at_the_end(data, tmp_path, monkeypatch):
    calls, progress = [], KilledAt(None, None)

    def predict_proba_each(self, texts):
        calls.append((list(texts), progress.stage))
        return original(self, texts)

    original = Predictor.predict_proba_each
    monkeypatch.setattr(Predictor, "predict_proba_each", predict_proba_each)
    run_experiment(config(data), tmp_path / "run", progress=progress)
    assert calls == [([text("test", k) for k in range(10)], "classify")]


def test_other_test_texts_change_no_model(finished, data, tmp_path):
    """Nothing of the test file leaks into any stage."""
    out, metrics = finished
    (tmp_path / "other.csv").write_text("text,label\nsomething else altogether,canine\nand a mat,feline\n")
    cfg = config(data, test_file=str(tmp_path / "other.csv"))
    other = run_experiment(cfg, tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (out / "forward" / "model.safetensors").read_bytes()
    assert other["n_test"] == 2 and other["stages"]["classify"]["validation_error"] is not None


def test_the_baseline_learns_from_training_and_validation_rows(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(testing, "linear_baseline", lambda *args: seen.append(args))
    metrics = run_experiment(config(data), tmp_path / "run")
    (texts, labels, test), = seen
    assert metrics["baseline_error"] is None  # as without scikit-learn
    assert sorted(texts) == sorted(text("train", k) for k in range(40))
    assert all(("cat" in t) == bool(k) for t, k in zip(texts, labels, strict=True)) and len(test) == 10


def test_with_n_train_the_baseline_learns_from_so_many_texts_too(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(testing, "linear_baseline", lambda *args: seen.append(args))
    run_experiment(config(data, n_train=8), tmp_path / "run")
    assert len(seen[0][0]) == len(seen[0][1]) == 8


def test_code_and_versions_are_those_of_the_start(data, tmp_path, monkeypatch):
    answers = iter(["at the start", "later"])
    monkeypatch.setattr(experiment, "commit", lambda: next(answers))
    assert run_experiment(config(data), tmp_path / "run")["commit"] == "at the start"


def test_metrics_tell_other_data_apart(finished, data, tmp_path):
    _, metrics = finished
    (tmp_path / "text.txt").write_text((data / "text.txt").read_text() + " One word more .")
    other = run_experiment(config(data, pretrain_text=str(tmp_path / "text.txt")), tmp_path / "run")
    assert other["dataset_sha256"] == metrics["dataset_sha256"] and other["corpus_sha256"] != metrics["corpus_sha256"]


def test_a_run_is_resumed_as_it_was_started_or_not_at_all(data, tmp_path):
    cfg, out = config(data), tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(cfg, out, minutes=0.001, progress=KilledAt("finetune", "begin"))
    with pytest.raises(InputError, match="was started with another n_train, seed; repeat the command"):
        run_experiment(replace(cfg, seed=6, n_train=8), out, resume=True)
    assert run_experiment(cfg, out, resume=True)["seed"] == 5  # the same command again: its minutes are steps by now


def test_a_resumed_run_tells_the_time_of_all_its_parts(data, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(config(data), out, progress=KilledAt("classify", "begin"))
    metrics = run_experiment(None, out, resume=True)
    assert metrics["seconds"] >= sum(stage["seconds"] for stage in metrics["stages"].values())


def test_the_linear_baseline_learns_a_separable_task():
    pytest.importorskip("sklearn")
    texts = [f"is {k} a {'cat' if k % 2 else 'dog'}" for k in range(20)]
    predicted = baseline.linear_baseline(texts, np.arange(20) % 2, ["a cat ?", "some dog"])
    assert predicted.tolist() == [1, 0]


# --- a language model from elsewhere


def test_a_pretrained_model_stands_in_for_stage_1(finished, data, tmp_path):
    out, metrics = finished
    cfg = config(data, pretrained=str(out / "forward" / "pretrain"), stages=("finetune", "classify"))
    again = run_experiment(cfg, tmp_path / "run")
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert model == (out / "forward" / "model.safetensors").read_bytes()
    assert again["stages"]["pretrain"] is None and "perplexity" in again["stages"]["finetune"]


def test_the_shipped_models_are_what_a_run_starts_from(finished, data, tmp_path, monkeypatch):
    out, _ = finished
    for direction in ("forward", "backward"):
        shutil.copytree(out / direction / "pretrain", tmp_path / "models" / direction)
    monkeypatch.setattr(pretrained, "MODELS", tmp_path / "models")
    cfg = config(data, pretrained=SHIPPED, stages=STAGES[1:], direction="both")
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
        shutil.copytree(out / direction / "pretrain", folder / direction)
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
def test_the_start_of_every_direction_is_checked_before_any_training(spoil, message, finished, data, tmp_path):
    models = both_ways(finished[0], tmp_path / "models")
    spoil(models)
    cfg = config(data, pretrained=str(models), stages=STAGES[1:], direction="both")
    with pytest.raises(InputError, match=message):
        run_experiment(cfg, tmp_path / "run", progress=KilledAt("finetune-forward", "begin"))
    assert not list((tmp_path / "run").iterdir())


def test_a_run_remembers_which_model_it_started_from(finished, data, tmp_path):
    models, out = both_ways(finished[0], tmp_path / "models"), tmp_path / "run"
    cfg = config(data, pretrained=str(models), stages=STAGES[1:], direction="both")
    there = [sha256_of(models / d) for d in cfg.directions]
    with pytest.raises(Killed):
        run_experiment(cfg, out, progress=KilledAt("finetune-forward", "begin"))
    stored = load_config(out / "config.yaml")
    assert stored == replace(cfg, pretrained_sha256=tuple(there))
    before = shutil.copytree(models / "backward", tmp_path / "before")
    another_model(models / "backward")
    for again in (None, cfg, stored):  # as the user may give it
        with pytest.raises(InputError, match="was started from another language model than .*models is now; put that"):
            run_experiment(again, out, resume=True)
    shutil.copytree(before, models / "backward", dirs_exist_ok=True)
    metrics = run_experiment(cfg, out, resume=True)
    assert metrics["pretrained_sha256"] == dict(zip(cfg.directions, there, strict=True))


def test_metrics_name_the_model_of_the_start(finished, data, tmp_path):
    """And not the one that has taken its place by the end."""
    model = shutil.copytree(finished[0] / "forward" / "pretrain", tmp_path / "model")
    there = sha256_of(model)

    class Exchanges(KilledAt):
        def begin(self, stage, *args):
            another_model(model)

    cfg = config(data, pretrained=str(model), stages=STAGES[1:])
    metrics = run_experiment(cfg, tmp_path / "run", progress=Exchanges(None, None))
    assert metrics["pretrained_sha256"] == {"forward": there} and there != sha256_of(model)


def test_a_replay_from_another_model_says_so_once_and_is_an_experiment_of_its_own(finished, data, tmp_path):
    model = shutil.copytree(finished[0] / "forward" / "pretrain", tmp_path / "model")
    cfg = config(data, pretrained=str(model), stages=STAGES[1:2])
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


def test_a_run_of_a_version_that_noted_no_model_is_resumed(finished, data, tmp_path):
    model, out = shutil.copytree(finished[0] / "forward" / "pretrain", tmp_path / "model"), tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(config(data, pretrained=str(model), stages=STAGES[1:2]), out, progress=KilledAt("finetune", 2))
    lines = (out / "config.yaml").read_text().splitlines(keepends=True)
    n = lines.index("pretrained_sha256:\n")
    (out / "config.yaml").write_text("".join(lines[:n] + lines[n + 2 :]))
    assert load_config(out / "config.yaml").pretrained_sha256 is None
    assert run_experiment(None, out, resume=True)["pretrained_sha256"] == {"forward": sha256_of(model)}


@pytest.mark.parametrize("junk", [None, "notes.txt"])
def test_another_folder_that_is_called_forward_hides_no_model(junk, finished, tmp_path):
    model = shutil.copytree(finished[0] / "forward" / "pretrain", tmp_path / "model")
    (model / "forward").mkdir()
    if junk:
        (model / "forward" / junk).touch()
    assert pretrained.model_folder(str(model), "forward") == model
    shutil.copytree(finished[0] / "backward" / "pretrain", model / "backward")
    assert pretrained.model_folder(str(model), "backward") == model / "backward"
    assert pretrained.model_folder(str(model), "forward") == model


@pytest.mark.parametrize("there, wanted", [("forward", "backward"), ("backward", "forward")])
def test_a_folder_with_the_other_direction_alone_says_what_is_there(there, wanted, finished, tmp_path):
    shutil.copytree(finished[0] / there / "pretrain", tmp_path / "tb" / there)
    (tmp_path / "tb" / wanted).mkdir()
    message = f"tb: has a model in {there}/ and none in {wanted}/; name another folder, or use --direction {there}$"
    with pytest.raises(InputError, match=message):
        pretrained.load_pretrained(str(tmp_path / "tb"), wanted)
    assert pretrained.load_pretrained(str(tmp_path / "tb"), there)


def test_the_test_error_of_each_direction_is_that_of_its_classifier_alone(finished, data, tmp_path, monkeypatch):
    """Of ten texts, every other one feline, one classifier gets all right and one calls nine canine; the averaged
    probabilities follow the surer one."""
    right = np.eye(2)[[k % 2 for k in range(10)]] * 0.8 + 0.1  # (10, 2)
    canine = np.tile([0.6, 0.4], (10, 1))
    canine[1] = right[1]
    answers = SimpleNamespace(predict_proba_each=lambda texts: np.stack([right, canine]))
    monkeypatch.setattr(testing.Predictor, "load", lambda out: answers)
    cfg = config(data, direction="both")
    metrics = testing.run_test(cfg, experiment.read_dataset(cfg, Silent()), tmp_path, Silent())
    assert metrics["test_error_by_direction"] == {"forward": 0.0, "backward": 40.0} and metrics["test_error"] == 0.0
    assert 10 < finished[1]["peak_memory_mb"] < 100_000


def test_words_that_are_too_rare_in_the_task_stay_unknown(finished, data, tmp_path):
    start = str(finished[0] / "forward" / "pretrain")
    recipe = replace(RECIPE, task_min_freq=2)
    for pretrained_as in (start, SCRATCH):
        run = tmp_path / Path(pretrained_as).name
        run_experiment(config(data, pretrained=pretrained_as, stages=STAGES[1:], recipe=recipe), run)
        words = set(Vocab.load(run / "vocab.json").itos)
        assert {"is", "cat", "dog"} <= words and not any(word.startswith("train") for word in words)


def test_from_scratch_a_run_knows_the_tasks_words_alone_and_starts_at_random(data, tmp_path):
    metrics = run_experiment(config(data, pretrained=SCRATCH, stages=STAGES[1:]), tmp_path / "run")
    assert "pretrained_sha256" not in metrics and metrics["stages"]["pretrain"] is None
    assert metrics["stages"]["finetune"]["new_words"] == 0
    words = set(Vocab.load(tmp_path / "run" / "vocab.json").itos)
    assert {"cat", "dog", "train1"} <= words and not {"mat", "test1"} & words
    other = run_experiment(config(data, pretrained=SCRATCH, stages=STAGES[1:], seed=6), tmp_path / "other")
    assert other["stages"]["finetune"]["perplexity"] != metrics["stages"]["finetune"]["perplexity"]


def test_a_pretrained_model_of_the_other_direction_is_refused(finished, data, tmp_path):
    out, _ = finished
    cfg = config(data, pretrained=str(out / "backward" / "pretrain"), stages=("finetune", "classify"))
    remedy = "name a folder with forward and backward in it, or one direction with --direction"
    with pytest.raises(InputError, match=f"pretrain: reads backward, and a forward one is needed; {remedy}"):
        run_experiment(cfg, tmp_path / "run")


def test_pretraining_alone_needs_no_data_set(data, tmp_path):
    cfg = config(data, dataset=None, test_file=None, stages=STAGES[:1])
    metrics = run_experiment(cfg, tmp_path / "run")
    assert metrics["stages"]["classify"] is None and metrics["stages"]["pretrain"]["perplexity"] > 1
    assert json.loads(load_arrays(tmp_path / "run" / "model.safetensors")[1]["minilstm"])["kind"] == "language_model"


@pytest.mark.parametrize("changes, message", [
    ({"dataset": "trec7"}, "unknown data set 'trec7': did you mean 'trec6'"),
    ({"dataset": "nowhere.csv"}, "nowhere.csv"),
    ({"pretrain_text": "nowhere.txt"}, "nowhere.txt"),
    ({"text_column": "txet"}, "txet"),
])  # fmt: skip
def test_bad_input_is_found_before_any_training_and_leaves_no_run(changes, message, data, tmp_path):
    with pytest.raises(InputError, match=message):
        run_experiment(config(data, **changes), tmp_path / "run", progress=KilledAt("pretrain", "begin"))
    assert not list((tmp_path / "run").iterdir())


def test_a_recipe_that_diverges_stops_and_says_where(data, tmp_path):
    stage = replace(RECIPE.classify, lr=1e36, schedule="constant", unfreezing="full", clip=None)
    wild = replace(RECIPE, classify=stage)
    with pytest.raises(NonFiniteError, match=r"step \d+: "), np.errstate(all="ignore"):
        run_experiment(config(data, recipe=wild), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_configuration_made_in_code_is_checked_before_any_work(tmp_path):
    with pytest.raises(InputError, match="direction: expected"):
        run_experiment(RunConfig("questions", direction="sideways"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
