"""The run directory: who may write there, and what is logged. Its checkpoints: see test_checkpoints.py."""

import json
import os

import pytest

from ulmfit.config import RunConfig
from ulmfit.errors import InputError
from ulmfit.locks import LOCK, locked
from ulmfit.run_dir import RunDirectory, check, prepare
from ulmfit.train import StepLog


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


def test_a_run_is_reached_through_a_link_but_has_none_inside(run_folder, tmp_path):
    (tmp_path / "link").symlink_to(run_folder)
    assert check(tmp_path / "link", resume=True) == tmp_path / "link"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "log.jsonl").write_text("precious")
    for name, target in (("log.jsonl", "mine/log.jsonl"), ("checkpoints", "mine"), ("finetune", "gone")):
        (run_folder / name).symlink_to(tmp_path / target)
        with pytest.raises(InputError, match=f"{name}: is a link, and a run writes nowhere but in its folder"):
            prepare(run_folder, resume=True)
        (run_folder / name).unlink()
    (run_folder / "checkpoints").symlink_to(tmp_path / "mine")
    prepare(run_folder, overwrite=True)
    assert list(run_folder.iterdir()) == [] and (tmp_path / "mine" / "log.jsonl").read_text() == "precious"


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", "{", "5"])
def test_metrics_that_are_none_are_refused(content, run_folder):
    (run_folder / "metrics.json").write_text(content)
    with pytest.raises(InputError, match="metrics.json: damaged .* delete it, and --resume makes it anew"):
        RunDirectory(run_folder).load_metrics()


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


def test_an_overwrite_that_is_broken_off_leaves_a_run_that_is_not_complete(run_folder, monkeypatch):
    """Its numbers, which say that it is complete, go first; its configuration, which says that it is a run, last."""
    (run_folder / "metrics.json").write_text("{}")
    (run_folder / "finetune").mkdir()
    deleted, names = [], ["config.yaml", "finetune", "model.safetensors", "metrics.json"]  # in the worst of orders
    monkeypatch.setattr("pathlib.Path.iterdir", lambda path: (path / name for name in names))
    for name in ("pathlib.Path.unlink", "shutil.rmtree"):
        monkeypatch.setattr(name, lambda path, **_: deleted.append(path.name))
    prepare(run_folder, overwrite=True)
    deleted = [name for name in deleted if not name.startswith(".writable")]
    assert (deleted[0], deleted[-1]) == ("metrics.json", "config.yaml")
    assert set(deleted[1:-1]) == {"finetune", "model.safetensors"}


LITTER = [LOCK, ".config.yaml.123.tmp", ".writable.9.tmp"]


def test_what_a_run_that_never_began_has_left_is_nothing(tmp_path):
    for name in LITTER:
        (tmp_path / name).touch()
    prepare(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [LOCK]
    (tmp_path / ".notes.tmp").touch()  # not ours
    with pytest.raises(InputError, match="not empty; name another --out"):
        prepare(tmp_path)


def test_resume_sweeps_up_what_was_half_written(run_folder):
    (run_folder / "checkpoints").mkdir()
    half = [run_folder / ".log.jsonl.77.tmp", run_folder / "checkpoints" / ".classify-00000007.safetensors.77.tmp"]
    kept = [run_folder / ".notes.tmp", run_folder / "checkpoints" / "classify-00000006.safetensors"]
    for path in half + kept:
        path.touch()
    prepare(run_folder, resume=True)
    assert not any(p.exists() for p in half) and all(p.exists() for p in kept)


def test_overwrite_spares_the_lock_and_a_run_inside_that_is_being_written(run_folder):
    with locked(run_folder):
        inside = run_folder / "without"
        with locked(inside), pytest.raises(InputError, match="without: another run .* is writing there"):
            prepare(run_folder, overwrite=True)
        assert (run_folder / "model.safetensors").exists()
        prepare(run_folder, overwrite=True)
        assert [p.name for p in run_folder.iterdir()] == [LOCK]


@pytest.mark.parametrize("config", FOREIGN_CONFIGS.values(), ids=FOREIGN_CONFIGS)
def test_overwrite_never_deletes_what_is_no_run(config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    if config == "":
        (tmp_path / "config.yaml").mkdir()
    elif config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(InputError, match="is not a run directory.*so it is not deleted"):
        prepare(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_overwrite_deletes_nothing_that_a_run_does_not_write(run_folder):
    """Somebody's notes, or another run."""
    (run_folder / "second").mkdir()
    with pytest.raises(InputError, match="second: is no part of a run, and --overwrite deletes all there is; move it"):
        prepare(run_folder, overwrite=True)
    assert (run_folder / "model.safetensors").exists()


def test_overwrite_follows_no_link_out_of_the_run(run_folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data.csv").write_text("x")
    (run_folder / "pretrain").symlink_to(tmp_path / "elsewhere")
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
        "tokens": 30, "seconds": 0.1, "penalty": 0.0, "skipped": None,
    }  # fmt: skip
    run.log("pretrain", entry(2, loss=123456.789)._replace(lr=1.23456789e-9))
    assert (logged(tmp_path)[2]["loss"], logged(tmp_path)[2]["lr"]) == (123456.8, 1.234568e-9)  # seven digits of each
    run.close()


def test_what_is_no_number_is_null_in_the_log(tmp_path):
    """NaN and infinity are no JSON; and a step that was left out has both."""
    RunDirectory(tmp_path).log("s", entry(0, loss=float("nan"))._replace(grad_norm=float("inf"), skipped="why"))
    (row,) = logged(tmp_path)
    assert (row["loss"], row["grad_norm"], row["skipped"], row["lr"]) == (None, None, "why", 0.01)


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


@pytest.mark.parametrize("line", ["\0\0\0", '{"stage": "a"}', "[]", '{"stage": "a", "step": "1"}', "[" * 10**5])
def test_damaged_lines_of_the_log_are_counted_and_left_out(line, tmp_path, capsys):
    run = RunDirectory(tmp_path)
    for step in range(3):
        run.log("a", entry(step))
    log = tmp_path / "log.jsonl"
    first, *rest = log.read_text().splitlines()
    log.write_text("\n".join([first, line, *rest, ""]))
    run.forget_log("a", 2)
    assert [row["step"] for row in logged(tmp_path)] == [0, 1]
    assert capsys.readouterr().err == f"warning: {log}: 1 of 4 lines are damaged and left out\n"


def test_nothing_is_forgotten_of_a_log_that_is_not_there(tmp_path):
    RunDirectory(tmp_path).forget_log("pretrain", 0)
    assert not list(tmp_path.iterdir())
