"""Whole runs and questions with --device cuda, the GPU played by the CPU: three stages, a kill and a change of device
on the way, and the answers of a model, beside those of the CPU. Most of it with plain code on CuPy arrays: executed on
the CPU, the kernels, which have tests of their own, take a hundred times as long."""

import json
from dataclasses import replace

import cuda_on_cpu
import numpy as np
import pytest
from cli_helpers import succeeds, ulmfit
from cupy_on_cpu import in_place_of_cupy, waits
from tiny_runs import RECIPE, Killed, KilledAt, config_for, untimed_log

import minilstm_kernels
from minilstm import load_arrays
from ulmfit import devices, pipeline, train
from ulmfit.config_files import load_config
from ulmfit.experiment import run_experiment
from ulmfit.model_files import save_model
from ulmfit.predictor import Predictor

pytestmark = [cuda_on_cpu.needs_gxx, pytest.mark.usefixtures("no_baseline")]


@pytest.fixture(autouse=True)
def cupy():
    with in_place_of_cupy() as stand_in, waits():  # within, it is as strict as can be
        yield stand_in


@pytest.fixture
def plain(monkeypatch):
    """As if there were no kernels for a training step, and but one for the recurrence."""
    twin, implementations = minilstm_kernels.twin, minilstm_kernels.IMPLEMENTATIONS

    def of_the_cpu(name, device="cpu"):
        if device == "cuda":
            raise ImportError("none here")
        return twin(name, device)

    monkeypatch.setattr(minilstm_kernels, "twin", of_the_cpu)
    some = tuple(k for k in implementations if k.device == "cpu" or k.name == "cupy")
    monkeypatch.setattr(minilstm_kernels, "IMPLEMENTATIONS", some)


class Told(KilledAt):
    """Remembers messages, and may die."""

    def __init__(self, stage=None, step=None):
        super().__init__(stage, step)
        self.said = []

    def message(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def on_cpu(pets, tmp_path_factory):
    """-> the folder of a run of all stages on the CPU, and its metrics"""
    out = tmp_path_factory.mktemp("runs") / "cpu"
    with pytest.MonkeyPatch.context() as m:
        m.setattr("ulmfit.test_set.linear_baseline", lambda train, labels, test: np.zeros(len(test), int))
        return out, run_experiment(config_for(pets), out)


def same_run(out, metrics, on_cpu):
    """What a run has left is what the CPU's has, but for rounding."""
    cpu_out, cpu_metrics = on_cpu
    for row, other in zip(untimed_log(out), untimed_log(cpu_out), strict=True):
        assert row.keys() == other.keys() and (row["stage"], row["step"]) == (other["stage"], other["step"])
        assert (row["lr"], row["tokens"], row["skipped"]) == (other["lr"], other["tokens"], other["skipped"])
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-4), row
    for folder in ("pretrain", "finetune", "."):
        arrays, about = load_arrays(out / folder / "model.safetensors")
        others, other_about = load_arrays(cpu_out / folder / "model.safetensors")
        assert arrays.keys() == others.keys() and about == other_about
        for name, a in arrays.items():
            assert a.dtype == others[name].dtype
            np.testing.assert_allclose(a, others[name], rtol=0, atol=2e-3, err_msg=name)
    for stage in ("pretrain", "finetune"):
        assert metrics["stages"][stage]["perplexity"] == pytest.approx(
            cpu_metrics["stages"][stage]["perplexity"], rel=1e-3
        )
    assert metrics["test_error"] == cpu_metrics["test_error"]


@pytest.mark.usefixtures("plain")
def test_three_stages_and_the_test_on_a_gpu_come_to_what_the_cpu_comes_to(pets, tmp_path, on_cpu, monkeypatch):
    saved = []

    def save(folder, model, *about, **buffers):
        saved.extend([*model.params.values(), *(a for stats in buffers.get("stats") or () for a in stats)])
        save_model(folder, model, *about, **buffers)

    monkeypatch.setattr("ulmfit.experiment.save_model", save)
    brought = watch_moves(monkeypatch)
    metrics = run_experiment(config_for(pets), tmp_path / "run", device="cuda")
    whole_models = [device for n, device in enumerate(brought) if n == 0 or device != brought[n - 1]]
    assert whole_models == ["cuda", "cpu"] * 3 + ["cuda"]  # there and back in each stage, and there for the test
    same_run(tmp_path / "run", metrics, on_cpu)
    assert len(saved) > 30 and {type(a) for a in saved} == {np.ndarray}  # the host's, after each stage
    assert metrics["device"] == "cuda" and metrics["versions"]["gpu"] == "Stand-in"
    assert load_config(tmp_path / "run" / "config.yaml").device == "cuda" and on_cpu[1]["device"] == "cpu"


@pytest.mark.slow
def test_with_whatever_kernels_are_the_best_it_is_the_same(pets, tmp_path):
    """A few steps of each stage."""
    lm = replace(RECIPE.finetune, steps=3)
    recipe = replace(RECIPE, pretrain=lm, finetune=lm, classify=replace(RECIPE.classify, epochs=1))
    config, outs = config_for(pets, recipe=recipe), [tmp_path / device for device in ("cpu", "cuda")]
    on_cpu, metrics = (run_experiment(config, out, device=out.name) for out in outs)
    same_run(outs[1], metrics, (outs[0], on_cpu))


@pytest.mark.parametrize("places", [("cuda", "cpu", "cuda"), ("cpu", "cuda", None)], ids=str)
@pytest.mark.usefixtures("plain")
def test_a_run_goes_on_on_another_device(places, pets, tmp_path, on_cpu, monkeypatch):
    """From what it had on the other one: the parameters, the moments and their counts, the carry and the log."""
    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setattr(train, "AT_ONCE", 2)
    out, kills = tmp_path / "run", [Told("pretrain", 7), Told("classify", 12), Told()]
    for n, (device, progress) in enumerate(zip(places, kills, strict=True)):
        config = config_for(pets) if n == 0 else None
        try:
            metrics = run_experiment(config, out, device=device, resume=n > 0, progress=progress)
        except Killed:
            metrics = None
        moved = f"this run has been on {places[n - 1]} and goes on on {device}, which rounds differently"
        assert (moved in progress.said) == (n > 0 and device is not None)
    last = "cuda"
    assert metrics["device"] == last and load_config(out / "config.yaml").device == last
    assert 0 < kills[1].starts["pretrain"] <= 7 and 0 < kills[2].starts["classify"] <= 12
    same_run(out, metrics, on_cpu)


def test_it_may_be_asked_for_with_the_same_command_again(pets, tmp_path, monkeypatch):
    """--resume with a configuration that says cpu, or nothing, goes on where the run was."""
    monkeypatch.setattr("ulmfit.experiment._train_and_test", lambda config, *_: {"stages": {}, "was": config.device})
    monkeypatch.setattr("ulmfit.run_dir.RunDirectory.save_metrics", lambda *_: None)
    out = tmp_path / "run"
    for resume, device, expected in ((False, "cuda", "cuda"), (True, None, "cuda"), (True, "cpu", "cpu")):
        assert run_experiment(config_for(pets), out, resume=resume, device=device)["was"] == expected


@pytest.mark.usefixtures("plain")
def test_a_limit_in_minutes_is_measured_on_the_device_a_step_at_a_time(pets, tmp_path, monkeypatch, cupy):
    timed, logs, fit = [], [], pipeline.fit

    def watched(task, *args, **options):
        timed.append(isinstance(task.model.params["decoder.bias"], cupy.ndarray))
        for log, carry in fit(task, *args, **options):
            logs.append(carry is not train.LATER)
            yield log, carry

    monkeypatch.setattr(pipeline, "fit", watched)
    monkeypatch.setattr("ulmfit.experiment._train_and_test", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_experiment(config_for(pets), tmp_path / "run", device="cuda", minutes=0.01)
    assert timed == [True] and logs == [True] * 8
    assert load_config(tmp_path / "run" / "config.yaml").recipe.pretrain.steps >= 1


# --- questions


def both_devices(*arguments):
    """What a command says, computing on the one and on the other"""
    said = []
    for device in ("cpu", "cuda"):
        with pytest.MonkeyPatch.context() as m:
            brought = watch_moves(m)
            said.append(succeeds(*arguments, "--device", device).out)
        assert set(brought) == {device}
    return said


def watch_moves(monkeypatch):
    """-> a list, to which every device is added that a model is brought to"""
    move, brought = devices.move, []
    monkeypatch.setattr(devices, "move", lambda part, device: brought.append(device) or move(part, device))
    return brought


@pytest.mark.usefixtures("plain")
def test_predictions_are_those_of_the_cpu(tiny_run):
    texts = ["where is the poet ?", "who is it ?", "what"]
    here, there = both_devices("predict", *texts, "--model", tiny_run, "--format", "jsonl")
    for line, other in zip(here.splitlines(), there.splitlines(), strict=True):
        (row, p), (same, q) = ((r, r.pop("probabilities")) for r in map(json.loads, (line, other)))
        assert row == same and p == pytest.approx(q, abs=3e-6)


@pytest.mark.usefixtures("plain")
def test_evaluations_are_those_of_the_cpu(tiny_run, tiny_data):
    here, there = both_devices("evaluate", tiny_data / "test.csv", "--model", tiny_run, "--json")
    assert json.loads(here) == json.loads(there)


@pytest.mark.usefixtures("plain")
def test_texts_and_perplexities_are_those_of_the_cpu(tiny_run, tiny_data):
    model = tiny_run / "finetune"
    here, there = both_devices("generate", "the poet", "--model", model, "--tokens", 12, "--n", 2)
    assert here == there and len(here.split()) > 4
    here, there = both_devices("perplexity", tiny_data / "text.txt", "--model", model, "--json", "--batch-size", 2)
    for name, value in json.loads(here).items():
        other = json.loads(there)[name]
        assert value == (pytest.approx(other, rel=1e-5) if isinstance(value, float) else other), name


@pytest.mark.parametrize("stage", ["finetune", "classify"])
@pytest.mark.usefixtures("plain")
def test_a_range_test_is_that_of_the_cpu(stage, tiny_run, tiny_data, tmp_path, monkeypatch):
    """Until rounding has grown with the rate."""
    rows = []
    for device in ("cpu", "cuda"):
        picture = tmp_path / f"{device}.png"
        brought = watch_moves(monkeypatch)
        answer = ulmfit(
            "lr-find", tiny_data / "train.csv", "--stage", stage, "--pretrained", tiny_run / "finetune", "--steps", 6,
            "--high", 0.01, "--out", picture, "--device", device,
        )  # fmt: skip
        assert answer.code == 0 and set(brought) == {device}, answer.err
        rows.append([json.loads(line) for line in picture.with_suffix(".png.jsonl").read_text().splitlines()])
    assert len(rows[0]) == 6
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_predictor_is_loaded_to_where_it_computes(tiny_run, cupy):
    predictor = Predictor.load(tiny_run, device="cuda")
    assert all(isinstance(p, cupy.ndarray) for p in predictor.classifiers[0].model.params.values())
    assert type(predictor.predict_proba(["who is it ?"])) is np.ndarray
