"""A run that was killed goes on to the same bytes, wherever that was; and as it was started, or not at all."""

from dataclasses import replace

import pytest
from tiny_runs import Killed, KilledAt, config_for, make_pets, model_bytes, untimed, untimed_log

from ulmfit import experiment, pipeline
from ulmfit.config_files import load_config
from ulmfit.errors import InputError
from ulmfit.experiment import run_experiment
from ulmfit.predictor import Predictor

pytestmark = pytest.mark.usefixtures("no_baseline")


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
def test_a_killed_run_goes_on_to_the_same_bytes(kills, every_step, pets_run, pets, tmp_path, monkeypatch):
    out, metrics = pets_run
    if every_step:
        monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    again, progress = resumed(config_for(pets, direction="both"), tmp_path / "run", kills)
    assert model_bytes(tmp_path / "run") == model_bytes(out)
    assert untimed(again) == untimed(metrics)
    assert untimed_log(tmp_path / "run") == untimed_log(out)
    stage, step = kills[-1]
    assert progress.starts[stage] == (step if every_step and step != "begin" else 0)  # it did not begin anew


def test_a_damaged_checkpoint_is_passed_over_on_the_way_on(pets_run, pets, tmp_path, monkeypatch, capsys):
    out, _ = pets_run
    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    with pytest.raises(Killed):
        run_experiment(config_for(pets, direction="both"), tmp_path / "run", progress=KilledAt("classify-forward", 9))
    newest = max((tmp_path / "run" / "checkpoints").glob("classify-forward-*"))
    newest.write_bytes(newest.read_bytes()[:-1])
    progress = KilledAt(None, None)
    run_experiment(None, tmp_path / "run", resume=True, progress=progress)
    assert progress.starts["classify-forward"] == 8 and capsys.readouterr().err.count("warning: ") == 1
    assert model_bytes(tmp_path / "run") == model_bytes(out)


def test_nothing_is_left_to_resume_of_a_complete_run(pets_run):
    out, metrics = pets_run
    before = model_bytes(out)
    assert run_experiment(None, out, resume=True) == metrics
    assert model_bytes(out) == before


def test_the_models_of_a_killed_direction_do_not_hide_the_rest(pets, tmp_path):
    """A run that is not complete has no metrics, and says so by being resumable."""
    with pytest.raises(Killed):
        run_experiment(config_for(pets), tmp_path / "run", progress=KilledAt("classify", "begin"))
    with pytest.raises(InputError, match="--resume continues it, --overwrite starts anew"):
        run_experiment(config_for(pets), tmp_path / "run")
    with pytest.raises(InputError, match="not finished.*--resume"):
        Predictor.load(tmp_path / "run")
    run_experiment(config_for(pets), tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_run_is_resumed_as_it_was_started_or_not_at_all(pets, tmp_path):
    cfg, out = config_for(pets), tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(cfg, out, minutes=0.001, progress=KilledAt("finetune", "begin"))
    with pytest.raises(InputError, match="was started with another n-train, seed; repeat the command"):
        run_experiment(replace(cfg, seed=6, n_train=8), out, resume=True)
    longer = replace(cfg, recipe=replace(cfg.recipe, pretrain=replace(cfg.recipe.pretrain, steps=7)))
    with pytest.raises(InputError, match="was started with another recipe; repeat the command"):
        run_experiment(longer, out, resume=True)
    assert run_experiment(cfg, out, resume=True)["seed"] == 5  # the same command again: its minutes are steps by now


CHANGES = {"test.csv": "is cat9 a pet ?,feline\n", "train.csv": "is dog9 a pet ?,canine\n", "text.txt": "\n\nOne."}


@pytest.mark.parametrize("file, row", CHANGES.items(), ids=CHANGES)
def test_a_run_is_not_resumed_with_other_texts(file, row, pets, tmp_path):
    """Not with other ones to train on, to validate or to test with."""
    data = make_pets(tmp_path)
    cfg, out = config_for(data), tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(cfg, out, progress=KilledAt("finetune", "begin"))
    before = (data / file).read_text()
    (data / file).write_text(before + row)
    with pytest.raises(InputError, match=f"was started with other texts or labels than .*{file}.* has now; undo"):
        run_experiment(None, out, resume=True)
    (data / file).write_text(before)
    assert run_experiment(None, out, resume=True)["dataset_sha256"] == load_config(out / "config.yaml").dataset_sha256


def test_a_replay_with_other_texts_says_so(pets_run, tmp_path):
    data = make_pets(tmp_path)
    replayed = replace(load_config(pets_run[0] / "config.yaml"), direction="forward", test_file=str(data / "test.csv"))
    said = Said()
    run_experiment(replayed, tmp_path / "same", progress=said)
    assert not [line for line in said.lines if "differ" in line]
    (data / "test.csv").write_text("text,label\nis cat1 a cat ?,feline\n")
    metrics = run_experiment(replayed, tmp_path / "other", progress=said)
    assert any("is not what it was for the run that is replayed: its texts or labels differ" in s for s in said.lines)
    assert metrics["dataset_sha256"] != replayed.dataset_sha256 is not None


class Said(KilledAt):
    """Keeps what is said."""

    def __init__(self, stage=None, step=None):
        super().__init__(stage, step)
        self.lines = []

    def message(self, text):
        self.lines.append(text)


def test_a_run_that_goes_on_with_something_else_says_so_and_remembers(pets_run, pets, tmp_path, monkeypatch):
    cfg, out = config_for(pets), tmp_path / "run"
    real = experiment.versions

    def other(device):
        return real(device) | {"kernel": "another", "python": "2.7"}

    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    with pytest.raises(Killed):
        run_experiment(cfg, out, progress=KilledAt("finetune", 3))
    monkeypatch.setattr(experiment, "versions", other)
    said, kernel = Said(), real("cpu")["kernel"]
    metrics = run_experiment(None, out, resume=True, progress=said)
    (line,) = (line for line in said.lines if "was begun with" in line)
    assert line == f"finetune was begun with kernel {kernel} (now another); what follows may round differently"
    assert metrics["versions"]["kernel"] == "another"
    reports = metrics["directions"]["forward"]
    kernels = {stage: [e["versions"]["kernel"] for e in of.get("computed_with", [])] for stage, of in reports.items()}
    assert kernels == {"pretrain": [kernel], "finetune": [kernel, "another"], "classify": []}
    assert not any("computed_with" in of for of in pets_run[1]["directions"]["forward"].values())
