"""The run directory: who may write there, what is logged, and checkpoints that survive damage."""

import json
import os

import numpy as np
import pytest
from problems import copies, same_bits
from tiny import adam, classifier_task, first_carry, lm_task

from minilstm import LSTMState, save_arrays
from ulmfit.config import RunConfig
from ulmfit.errors import InputError
from ulmfit.run_dir import RunDirectory, check, prepare
from ulmfit.train import StepLog, fit


@pytest.fixture
def run_folder(tmp_path):
    """A run directory with its configuration and one more file."""
    folder = tmp_path / "run"
    prepare(folder)
    RunDirectory(folder).save_config(RunConfig("questions"))
    (folder / "model.safetensors").write_text("x")
    return folder


# --- who may write there


def test_a_new_folder_is_made_with_its_parents_and_nothing_in_it(tmp_path):
    assert prepare(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []
    prepare(tmp_path / "a" / "b")  # an empty folder is as good
    prepare(tmp_path / "a" / "b", overwrite=True)


def test_an_existing_run_is_refused_unless_told_how(run_folder):
    with pytest.raises(InputError, match="not empty; --resume continues it, --overwrite starts anew"):
        prepare(run_folder)
    assert (run_folder / "model.safetensors").exists()


def test_resume_keeps_everything(run_folder):
    before = sorted(run_folder.iterdir())
    prepare(run_folder, resume=True)
    assert sorted(run_folder.iterdir()) == before


def test_overwrite_starts_anew(run_folder):
    prepare(run_folder, overwrite=True)
    assert list(run_folder.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False])
def test_there_must_be_something_to_resume(exists, tmp_path):
    if exists:
        (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"no run to resume there \(no config.yaml\); leave out --resume"):
        prepare(tmp_path / "run", resume=True)
    assert (tmp_path / "run").exists() == exists


FOREIGN_CONFIGS = {
    "none": None,
    "another program's": "server:\n  port: 80\n",
    "a list": "- 1\n",
    "no YAML": "{",
    "a folder": "",
}


@pytest.mark.parametrize("config", FOREIGN_CONFIGS.values(), ids=FOREIGN_CONFIGS)
def test_overwrite_never_deletes_what_is_no_run(config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    if config == "":
        (tmp_path / "config.yaml").mkdir()
    elif config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(InputError, match="is not a run directory.*--overwrite will not delete it"):
        prepare(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_overwrite_follows_no_link_out_of_the_run(run_folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data.csv").write_text("x")
    (run_folder / "link").symlink_to(tmp_path / "elsewhere")
    prepare(run_folder, overwrite=True)
    assert list(run_folder.iterdir()) == [] and (tmp_path / "elsewhere" / "data.csv").exists()


@pytest.mark.parametrize("where", ["run", "a/b/run", "."])
def test_checking_leaves_nothing_behind(where, tmp_path):
    assert check(tmp_path / where) == tmp_path / where
    assert tmp_path.exists() and not any(tmp_path.iterdir())


def test_checking_removes_what_it_made_before_it_failed(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        check(tmp_path / "new" / ("x" * 300))
    assert not any(tmp_path.iterdir())


def test_checking_deletes_nothing(run_folder):
    assert check(run_folder, overwrite=True) == run_folder
    assert (run_folder / "model.safetensors").exists()


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_file_is_no_folder(options, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: is a file; name a folder for the run"):
        prepare(tmp_path / "file", **options)
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written .*choose another --out"):
        prepare(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_any_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written .*choose another --out"):
        prepare(tmp_path / "run")
    tmp_path.chmod(0o700)


def test_a_full_disk_is_found_before_any_work(tmp_path, monkeypatch):
    """What root can meet, too."""

    def no_space(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.touch", no_space)
    with pytest.raises(InputError, match=r"run: cannot be written \(No space left on device\); choose another --out"):
        prepare(tmp_path / "run")


# --- configuration and metrics


def test_configuration_and_metrics_come_back(tmp_path):
    run = RunDirectory(tmp_path)
    config, metrics = RunConfig("trec6", seed=7, direction="both"), {"test_error": 3.6, "stages": {"a": None}}
    assert run.load_metrics() is None
    run.save_config(config)
    run.save_metrics(metrics)
    assert run.load_config() == config and run.load_metrics() == metrics
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "metrics.json"]
    run.save_metrics({"perplexity": float("inf"), "stages": [{"loss": float("nan")}, 1.5]})  # neither is JSON
    assert run.load_metrics() == {"perplexity": None, "stages": [{"loss": None}, 1.5]}
    with pytest.raises(TypeError):
        run.save_metrics({"x": object()})
    assert run.load_metrics()["perplexity"] is None  # what was there is whole


def test_metrics_that_were_cut_off_are_named(tmp_path):
    (tmp_path / "metrics.json").write_text('{"test_error": 3.')
    with pytest.raises(InputError, match="metrics.json: .*damaged"):
        RunDirectory(tmp_path).load_metrics()


# --- the log


def entry(step, loss=1.0):
    return StepLog(step=step, epoch=0.5, loss=loss, lr=0.01, grad_norm=2.0, tokens=30, seconds=0.1)


def logged(path):
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def test_the_log_has_one_object_a_step(tmp_path):
    run = RunDirectory(tmp_path)
    run.log("pretrain", entry(0))
    run.log("pretrain", entry(1, loss=0.123456789))
    assert logged(tmp_path)[1] == {
        "stage": "pretrain", "step": 1, "epoch": 0.5, "loss": 0.1234568, "lr": 0.01, "grad_norm": 2.0,
        "tokens": 30, "seconds": 0.1, "penalty": 0.0,
    }  # fmt: skip
    run.close()


def test_steps_that_are_done_again_are_logged_once(tmp_path):
    run = RunDirectory(tmp_path)
    for stage in ("pretrain", "finetune"):
        for step in range(4):
            run.log(stage, entry(step))
    with open(tmp_path / "log.jsonl", "a") as f:
        f.write('{"stage": "finetune", "step": 4, "lo')  # the power failed here
    again = RunDirectory(tmp_path)
    again.forget_log("finetune", 2)
    again.log("finetune", entry(2, loss=9.0))
    rows = [(r["stage"], r["step"]) for r in logged(tmp_path)]
    assert rows == [("pretrain", n) for n in range(4)] + [("finetune", n) for n in range(3)]
    assert logged(tmp_path)[-1]["loss"] == 9.0
    run.close(), again.close()


def test_nothing_is_forgotten_of_a_log_that_is_not_there(tmp_path):
    RunDirectory(tmp_path).forget_log("pretrain", 0)
    assert not list(tmp_path.iterdir())


# --- checkpoints

TASKS = {"lm": lm_task, "classifier": classifier_task}
every_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)


def saved(run, make, steps=(2, 4, 6), stage="stage"):
    """Train, with a checkpoint at these steps -> {step: what was saved}"""
    task, states = make(), {}
    optimizer = adam(task)
    for log, carry in fit(task, optimizer, max(steps), carry=first_carry(task)):
        if log.step + 1 in steps:
            run.save_checkpoint(stage, log.step + 1, task.model.params, optimizer, carry, {"tokens": log.step})
            states[log.step + 1] = everything(task, optimizer, carry)
    return states


def everything(task, optimizer, carry):
    arrays = copies(task.model.params)
    for moment, by_name in optimizer.state.items():
        arrays |= {f"{moment} {name}": np.array(a) for name, a in by_name.items()}
    return arrays | {f"carry {n} {k}": a.copy() for n, pair in enumerate(carry) for k, a in pair._asdict().items()}


def restored(run, make, stage="stage"):
    task = make(seed=50)
    optimizer = adam(task)
    step, carry, totals = run.load_checkpoint(stage, task.model.params, optimizer, task.carry_type)
    assert carry is None or all(type(pair) is task.carry_type for pair in carry)
    return step, totals, everything(task, optimizer, carry or ())


@every_task
def test_a_checkpoint_holds_parameters_moments_and_carry(make, tmp_path):
    run = RunDirectory(tmp_path)
    states = saved(run, make)
    step, totals, arrays = restored(run, make)
    assert step == 6 and totals == {"tokens": 5}
    same_bits(arrays, states[6])


def test_the_newest_two_of_each_stage_are_kept(tmp_path):
    run = RunDirectory(tmp_path)
    saved(run, lm_task, (1, 2, 3))
    saved(run, lm_task, (2,), stage="stage-forward")  # another stage, whose name begins alike
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["stage-00000002.safetensors", "stage-00000003.safetensors", "stage-forward-00000002.safetensors"]
    assert restored(run, lm_task)[0] == 3
    run.close()
    assert not (tmp_path / "checkpoints").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


DAMAGES = {"cut off": cut, "one bit": flip, "empty": empty, "text": lambda path: path.write_text("hello")}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_once_and_the_one_before_is_used(damage, tmp_path, capsys):
    run = RunDirectory(tmp_path)
    states = saved(run, lm_task)
    damage(tmp_path / "checkpoints" / "stage-00000006.safetensors")
    step, _, arrays = restored(run, lm_task)
    assert step == 4
    same_bits(arrays, states[4])
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1 and "stage-00000006.safetensors" in warnings[0] and warnings[0].startswith("warning: ")


def test_with_no_good_checkpoint_left_the_stage_begins_anew(tmp_path, capsys):
    run = RunDirectory(tmp_path)
    saved(run, lm_task)
    for path in (tmp_path / "checkpoints").iterdir():
        cut(path)
    before = lm_task(seed=50)
    step, totals, arrays = restored(run, lm_task)
    assert (step, totals) == (0, {}) and len(capsys.readouterr().err.splitlines()) == 2
    same_bits(arrays, copies(before.model.params))


def test_without_a_checkpoint_nothing_is_touched(tmp_path, capsys):
    step, totals, arrays = restored(RunDirectory(tmp_path), lm_task)
    assert (step, totals) == (0, {}) and capsys.readouterr().err == ""
    assert arrays.keys() == lm_task().model.params.keys() | {n for n in arrays if n.startswith("params ")}


def test_a_checkpoint_of_other_sizes_is_refused_with_every_mismatch(tmp_path):
    """What has happened when the data changed under a run that is resumed."""
    run = RunDirectory(tmp_path)
    saved(run, lm_task)
    other = classifier_task()
    with pytest.raises(InputError) as e:
        run.load_checkpoint("stage", other.model.params, adam(other), other.carry_type)
    message = str(e.value)
    assert "stage-00000006.safetensors: " in message and "\n" not in message
    assert all(f"{n}: missing" in message for n in other.model.params if n.startswith("head."))
    assert "decoder.bias: not expected" in message


def test_a_foreign_file_among_the_checkpoints_is_passed_over(tmp_path, capsys):
    run = RunDirectory(tmp_path)
    saved(run, lm_task)
    save_arrays(tmp_path / "checkpoints" / "stage-00000099.safetensors", {"a": np.zeros(3)})
    assert restored(run, lm_task)[0] == 6
    assert "stage-00000099.safetensors" in capsys.readouterr().err


def test_what_is_loaded_does_not_hang_on_the_file(tmp_path):
    """The moments will be changed in place."""
    run = RunDirectory(tmp_path)
    saved(run, lm_task)
    task = lm_task(seed=50)
    optimizer = adam(task)
    start, carry, _ = run.load_checkpoint("stage", task.model.params, optimizer, LSTMState)
    next(fit(task, optimizer, 9, carry=carry, start=start))
    assert all(a.flags.writeable for a in optimizer.state["exp_avg"].values())
