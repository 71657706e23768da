"""A whole run, of a few seconds: what it leaves behind, and that it can be replayed. How it is resumed, where it starts
and what it does with the test set: see test_experiment_resumed.py, test_pretrained.py and test_test_set.py."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_runs import MODELS, RECIPE, Killed, KilledAt, config_for, model_bytes, untimed, untimed_log

from minilstm import NonFiniteError, load_arrays
from ulmfit import experiment
from ulmfit.config import STAGES, RunConfig
from ulmfit.config_files import load_config
from ulmfit.errors import InputError
from ulmfit.experiment import run_experiment
from ulmfit.predictor import Predictor
from ulmfit.progress import Silent
from ulmfit.vocab import Vocab

pytestmark = pytest.mark.usefixtures("no_baseline")


# --- what a run leaves behind



def test_the_run_directory_holds_what_the_contract_says(pets_run):
    out, _ = pets_run
    names = {p.name for p in out.iterdir()}
    assert {"config.yaml", "log.jsonl", "metrics.json", "predictions.jsonl", "forward", "backward"} <= names
    assert "checkpoints" not in names
    for direction in ("forward", "backward"):
        for folder in (out / direction, out / "pretrain" / direction, out / "finetune" / direction):
            assert all((folder / name).is_file() for name in MODELS)


def test_a_run_of_one_direction_has_its_model_at_the_top(pets, tmp_path):
    run_experiment(config_for(pets, direction="backward"), tmp_path / "run")
    assert all((tmp_path / "run" / name).is_file() for name in MODELS)
    assert not (tmp_path / "run" / "backward").exists()
    predictor = Predictor.load(tmp_path / "run")
    assert [c.direction for c in predictor.classifiers] == ["backward"]
    assert predictor.classes == ("canine", "feline")


def test_metrics_have_the_contracts_keys(pets_run):
    out, metrics = pets_run
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


def test_stages_add_up_both_directions(pets_run):
    _, metrics = pets_run
    for stage, total in metrics["stages"].items():
        each = [metrics["directions"][d][stage] for d in ("forward", "backward")]
        for key in ("steps", "tokens", "seconds", "parameters"):
            assert total[key] == pytest.approx(each[0][key] + each[1][key])
        number = "validation_error" if stage == "classify" else "perplexity"
        assert total[number] == pytest.approx((each[0][number] + each[1][number]) / 2)


def test_the_log_has_every_step_of_every_stage(pets_run):
    out, metrics = pets_run
    rows = untimed_log(out)
    for direction in ("forward", "backward"):
        for stage, report in metrics["directions"][direction].items():
            steps = [r["step"] for r in rows if r["stage"] == f"{stage}-{direction}"]
            assert steps == list(range(report["steps"]))


def test_predictions_and_confusion_tell_the_same_error(pets_run):
    out, metrics = pets_run
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    wrong = sum(r["label"] != r["predicted"] for r in rows)
    assert len(rows) == 10 and metrics["test_error"] == 100 * wrong / 10
    confusion = np.array(metrics["confusion"])
    assert confusion.sum() == 10 and np.trace(confusion) == 10 - wrong and metrics["classes"] == ["canine", "feline"]
    predictor = Predictor.load(out)
    p = predictor.predict_proba([r["text"] for r in rows])
    np.testing.assert_allclose(p, [list(r["probabilities"].values()) for r in rows], atol=2e-6)
    assert rows[3]["text"] == "is test3 a cat ?" and rows[3]["label"] == "feline"


def test_backward_and_forward_are_two_models(pets_run):
    out, _ = pets_run
    models = [load_arrays(out / d / "model.safetensors") for d in ("forward", "backward")]
    assert [json.loads(m["minilstm"])["direction"] for _, m in models] == ["forward", "backward"]
    assert (models[0][0]["head.linear1.weight"] != models[1][0]["head.linear1.weight"]).any()


def test_the_vocabulary_is_the_union_of_text_and_training_rows(pets_run, pets):
    out, _ = pets_run
    before, after = (Vocab.load(out / f / "forward" / "vocab.json") for f in ("pretrain", "finetune"))
    assert after.itos[: len(before)] == before.itos and "mat" in before and "cat" in before
    new = set(after.itos[len(before) :])
    assert len([w for w in new if w.startswith("train")]) == 36  # the four others are validation
    assert not [w for w in after.itos if w.startswith("test")]


def test_code_and_versions_are_those_of_the_start(pets, tmp_path, monkeypatch):
    answers = iter(["at the start", "later"])
    monkeypatch.setattr(experiment, "commit", lambda: next(answers))
    assert run_experiment(config_for(pets), tmp_path / "run")["commit"] == "at the start"


def test_metrics_tell_other_data_apart(pets_run, pets, tmp_path):
    _, metrics = pets_run
    (tmp_path / "text.txt").write_text((pets / "text.txt").read_text() + " One word more .")
    other = run_experiment(config_for(pets, pretrain_text=str(tmp_path / "text.txt")), tmp_path / "run")
    assert other["dataset_sha256"] == metrics["dataset_sha256"] and other["corpus_sha256"] != metrics["corpus_sha256"]


def clock(monkeypatch, *seconds):
    """What the clock says at a run's beginning and at its end; its stages have clocks of their own."""
    monkeypatch.setattr(experiment, "time", SimpleNamespace(perf_counter=iter(seconds).__next__))


def test_a_run_takes_all_the_time_from_its_beginning_to_its_end(pets, tmp_path, monkeypatch):
    clock(monkeypatch, 1000.0, 1234.5)
    assert run_experiment(config_for(pets), tmp_path / "run")["seconds"] == 234.5


def test_a_resumed_run_tells_the_time_of_all_its_parts(pets, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(config_for(pets), out, progress=KilledAt("classify", "begin"))
    clock(monkeypatch, 1000.0, 1000.0)
    metrics = run_experiment(None, out, resume=True)
    assert metrics["seconds"] == sum(stage["seconds"] for stage in metrics["stages"].values()) > 0


def test_pretraining_alone_needs_no_data_set(pets, tmp_path):
    cfg = config_for(pets, dataset=None, test_file=None, stages=STAGES[:1])
    metrics = run_experiment(cfg, tmp_path / "run")
    assert metrics["stages"]["classify"] is None and metrics["stages"]["pretrain"]["perplexity"] > 1
    assert json.loads(load_arrays(tmp_path / "run" / "model.safetensors")[1]["minilstm"])["kind"] == "language_model"


# --- reproducibility



@pytest.mark.parametrize("source", ["config", "yaml"])
def test_a_replay_gives_the_same_numbers_and_the_same_bytes(source, pets_run, pets, tmp_path):
    out, metrics = pets_run
    again = config_for(pets, direction="both") if source == "config" else load_config(out / "config.yaml")
    replayed = run_experiment(again, tmp_path / "again")
    assert untimed(replayed) == untimed(metrics)
    assert model_bytes(tmp_path / "again") == model_bytes(out)
    assert untimed_log(tmp_path / "again") == untimed_log(out)


def test_another_seed_gives_another_model(pets_run, pets, tmp_path):
    out, _ = pets_run
    run_experiment(config_for(pets, seed=6), tmp_path / "other")
    other = (tmp_path / "other" / "model.safetensors").read_bytes()
    assert other != (out / "forward" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("given, message", [
    ({"minutes": -1.0}, "minutes: expected a number above 0, got -1.0"),
    ({"minutes": float("nan")}, "minutes: expected a number above 0, got nan"),
    ({"config": None}, "config: expected a RunConfig; None is for a run that is resumed"),
])  # fmt: skip
def test_a_call_that_makes_no_sense_is_refused_before_anything_is_made(given, message, pets, tmp_path):
    with pytest.raises(InputError, match=message):
        run_experiment(**{"config": config_for(pets), "out": tmp_path / "run"} | given)
    assert not (tmp_path / "run").exists()


def test_a_limit_in_minutes_is_frozen_as_steps(pets, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "steps_in", lambda minutes, task: 3)
    metrics = run_experiment(config_for(pets), tmp_path / "run", minutes=0.1)
    frozen = load_config(tmp_path / "run" / "config.yaml")
    assert frozen.recipe.pretrain.steps == 3 == metrics["stages"]["pretrain"]["steps"]
    monkeypatch.setattr(experiment, "steps_in", lambda minutes, task: 1 / 0)  # a replay measures nothing
    run_experiment(frozen, tmp_path / "replay")
    assert model_bytes(tmp_path / "replay") == model_bytes(tmp_path / "run")


# --- what cannot be done



@pytest.mark.parametrize("changes, message", [
    ({"dataset": "trec7"}, "unknown data set 'trec7': did you mean 'trec6'"),
    ({"dataset": "nowhere.csv"}, "nowhere.csv"),
    ({"pretrain_text": "nowhere.txt"}, "nowhere.txt"),
    ({"text_column": "txet"}, "txet"),
])  # fmt: skip
def test_bad_input_is_found_before_any_training_and_leaves_no_run(changes, message, pets, tmp_path):
    with pytest.raises(InputError, match=message):
        run_experiment(config_for(pets, **changes), tmp_path / "run", progress=KilledAt("pretrain", "begin"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("words, fault", [
    ([8], None), ([7], "8 tokens"), ([8, 8], None), ([7, 7], "8 tokens"), ([3] * 50, None), ([1, 1, 1], "4 tokens"),
])  # fmt: skip
def test_a_text_shorter_than_one_window_of_bptt_is_none_to_pretrain_on(words, fault, pets, tmp_path):
    """Documents of so many words, one of several held out; a window has 8 tokens, and the next one is to predict."""
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(" ".join(f"word{n}" for n in range(length)) for length in words))
    cfg = config_for(pets, pretrain_text=str(path))
    if fault is None:
        assert len(experiment.read_corpus(cfg, Silent()).documents) == len(words)
    else:
        message = f"text.txt: {fault} to train on, and one window of pretrain.bptt needs 9; give a longer text, or set"
        with pytest.raises(InputError, match=message):
            experiment.read_corpus(cfg, Silent())


def test_a_recipe_that_diverges_stops_and_says_where(pets, tmp_path, monkeypatch):
    stage = replace(RECIPE.classify, lr=1e36, schedule="constant", unfreezing="full", clip=None)
    wild = replace(RECIPE, classify=stage)
    monkeypatch.setattr("ulmfit.pipeline.CHECKPOINT_SECONDS", -1)
    with pytest.raises(NonFiniteError, match=r"step \d+: .*not finite.* \(.*\); "), np.errstate(all="ignore"):
        run_experiment(config_for(pets, recipe=wild), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    for path in (tmp_path / "run" / "checkpoints").iterdir():  # the last good ones stay
        assert all(np.isfinite(a).all() for a in load_arrays(path)[0].values())


def test_a_configuration_made_in_code_is_checked_before_any_work(tmp_path):
    with pytest.raises(InputError, match="direction: expected"):
        run_experiment(RunConfig("questions", direction="sideways"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
