"""Runs that are killed, terminated, interrupted, that find the disk full or their folder gone: in the end every one of
them has come to the bits of the run that nothing happened to."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import is_refused, train, ulmfit
from interrupting import PATIENCE, begin, command_for, finish, litter, logged, outcome, survive, wait_until
from tiny_runs import Killed, KilledAt, config_for, model_bytes, untimed, untimed_log

from ulmfit.errors import InputError
from ulmfit.experiment import run_experiment
from ulmfit.locks import locked
from ulmfit.report import program


@pytest.fixture(scope="module")
def command(tiny_data):
    return command_for(tiny_data)


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    """The folder of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(command, out)
    assert litter(out) == []
    return out


def same_as(out, undisturbed):
    a, b = outcome(out), outcome(undisturbed)
    assert a.keys() == b.keys() and all(a[name] == b[name] for name in a)
    assert litter(out) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_is_killed_at_random_moments_ends_with_the_same_bits(seed, command, undisturbed, tmp_path):
    out = tmp_path / "run"
    assert survive(command, out, np.random.default_rng(seed), 3, logged(undisturbed)) > 0
    same_as(out, undisturbed)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_run_that_is_told_to_stop_saves_where_it_is_and_says_how_to_go_on(
    number, code, command, undisturbed, tmp_path
):
    out = tmp_path / "run"
    process = begin(command, out, seconds=10**6)  # no checkpoint but those of the stages' ends
    assert wait_until(process, lambda: logged(out, "classify") >= 20)
    process.send_signal(number)
    if number == signal.SIGTERM:
        process.send_signal(number)  # `timeout` sends it twice
    _, errors = process.communicate(timeout=PATIENCE)
    assert errors == f"error: stopped; to go on: {program()} run --resume --out {out}\n"
    assert process.returncode == code
    done = logged(out, "classify")
    assert (out / "checkpoints" / f"classify-{done:08d}.safetensors").is_file() and done < 180
    assert f"classify: 180 steps, going on at step {done}" in " ".join(finish(command, out).split())
    same_as(out, undisturbed)


SLOW = """
    import time
    from ulmfit import train
    train.clip_grad_norm = lambda *_: time.sleep(3600)
"""


def test_a_second_ctrl_c_does_not_wait_for_the_step(command, tmp_path):
    out = tmp_path / "run"
    process = begin(command, out, more=SLOW)
    for line in process.stdout:
        if line.startswith("pretrain: "):
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (130, f"error: stopped; to go on: {program()} run --resume --out {out}\n")
    assert sorted(p.name for p in out.iterdir()) == ["config.yaml"]


# --- in this process


def test_a_death_between_the_last_two_acts_is_swept_up(pets, tmp_path, monkeypatch, no_baseline):
    """The numbers are saved, the checkpoints still there."""
    out = tmp_path / "run"
    with monkeypatch.context() as m:
        m.setattr("ulmfit.run_dir.RunDirectory.close", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_experiment(config_for(pets), out)
    assert litter(out) != []
    run_experiment(None, out, resume=True)
    assert litter(out) == []


@pytest.fixture
def full_disk(monkeypatch):
    """A function: from the n-th on nothing is flushed any more -> how often it was tried"""
    tried, fsync = [], os.fsync

    def full_from(n):
        def flush(fd):
            tried.append(fd)
            if len(tried) > n:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(fd)

        tried.clear()
        monkeypatch.setattr(os, "fsync", flush)
        return tried

    yield full_from
    monkeypatch.setattr(os, "fsync", fsync)


def test_a_disk_that_is_full_whenever_something_is_saved(pets_run, pets, tmp_path, full_disk, no_baseline):
    """What there was stays, and when there is room again the run goes on to the same bits."""
    whole, metrics = pets_run
    cfg = config_for(pets, direction="both")
    tried = full_disk(10**9)
    run_experiment(cfg, tmp_path / "count")
    assert len(tried) > 50
    for n in range(1, len(tried) - 1, 8):  # the last flush is of the folder, when metrics.json has its name
        out = tmp_path / f"full at {n}"
        full_disk(n)
        with pytest.raises((OSError, ValueError), match="No space left on device"):
            run_experiment(cfg, out)
        assert not [p for p in out.rglob("*.tmp")] and not (out / "metrics.json").exists()
        full_disk(10**9)
        begun = (out / "config.yaml").exists()
        again = run_experiment(cfg, out, resume=begun)
        assert untimed(again) == untimed(metrics)
        assert model_bytes(out) == model_bytes(whole) and untimed_log(out) == untimed_log(whole)


SMALL_DISK = """if True:
    import contextlib, io, json, os, shutil, subprocess, sys
    from pathlib import Path
    for name in ("sklearn.svm", "matplotlib.figure"):
        sys.modules[name] = None
    from ulmfit import pipeline
    from ulmfit.cli import main
    pipeline.CHECKPOINT_SECONDS = -1
    disk, keep, *arguments = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    for free in map(int, (4_000, 30_000, 80_000)):
        out = Path(disk, f"run-{free}")
        filler = Path(disk, "filler")
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - free))
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            code = main([*arguments, "--out", str(out)])
        filler.unlink()
        left = [str(p) for p in out.rglob("*.tmp")]
        how = ["run", "--resume"] if (out / "config.yaml").exists() else arguments
        again = main([*how, "--out", str(out)])
        shutil.move(out, keep)
        print(json.dumps([free, code, errors.getvalue(), left, again]), file=sys.stderr)
"""


def test_a_disk_that_is_really_full(command, undisturbed, tmp_path):
    """A small one of our own, in memory, that only one process can see."""
    space = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        allowed = subprocess.run([*space, "mount", "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True).returncode
    except FileNotFoundError:
        allowed = 1
    if allowed:
        pytest.skip("mounting is not allowed here")
    (tmp_path / "disk").mkdir()
    line = [*space, sys.executable, "-c", SMALL_DISK, tmp_path / "disk", tmp_path, *command]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=PATIENCE)
    answers = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(answers) == 3, done.stderr
    for free, code, errors, left, again in answers:
        assert (code, left, again) == (1, [], 0) and "No space left on device" in errors, errors
        same_as(tmp_path / f"run-{free}", undisturbed)


def test_a_full_disk_is_one_line_that_names_the_file_and_the_way_on(tiny_data, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "log.jsonl"))

    with monkeypatch.context() as m:
        m.setattr("ulmfit.run_dir.RunDirectory.log", full)
        answer = train(tiny_data, out)
    way = f"No space left on device; when this is mended, to go on: {program()} run --resume --out {out}"
    assert (answer.code, answer.err) == (1, f"error: {out}/log.jsonl: {way}\n")
    assert ulmfit("run", "--resume", "--out", out).code == 0


class Vanishing(KilledAt):
    """The folder of the run is gone all of a sudden."""

    def __init__(self, out):
        super().__init__("finetune", 2)
        self.out = out

    def step(self, log):
        if (self.stage, log.step) == self.where:
            shutil.rmtree(self.out)


class Taken(Vanishing):
    """And then another run begins there."""

    def step(self, log):
        super().step(log)
        if (self.stage, log.step) == self.where:
            self.other = locked(self.out)
            self.other.__enter__()
            (self.out / "log.jsonl").write_text("")


def test_a_run_whose_folder_another_one_has_taken_writes_no_more(pets, tmp_path):
    out = tmp_path / "run"
    progress = Taken(out)
    with pytest.raises(InputError, match="was removed while this run was writing there, and another run has begun"):
        run_experiment(config_for(pets), out, progress=progress)
    assert sorted(os.listdir(out)) == [".lock", "log.jsonl"] and (out / "log.jsonl").read_text() == ""
    progress.other.__exit__(None, None, None)


class Unlocked(KilledAt):
    """All that is in the folder is deleted, and the folder itself cannot be, as a file has just come into it."""

    def __init__(self, out):
        super().__init__("finetune", 2)
        self.out = out

    def step(self, log):
        if (self.stage, log.step) == self.where:
            shutil.rmtree(self.out)
            self.out.mkdir()


def test_a_folder_that_was_emptied_is_not_filled_again(pets, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match=".lock"):
        run_experiment(config_for(pets), out, progress=Unlocked(out))
    assert not out.exists() or os.listdir(out) == []


@pytest.mark.parametrize("every_step", [True, False])
def test_a_folder_that_vanishes_ends_the_run_and_is_not_made_again(every_step, pets, tmp_path, monkeypatch):
    if every_step:
        monkeypatch.setattr("ulmfit.pipeline.CHECKPOINT_SECONDS", -1)
    out = tmp_path / "run"
    with pytest.raises(FileNotFoundError) as e:
        run_experiment(config_for(pets), out, progress=Vanishing(out))
    assert e.value.filename.startswith(str(out)) and not out.exists()


def test_a_folder_that_has_vanished_is_said_in_one_line(tiny_data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr("ulmfit.progress.ConsoleProgress.epoch", lambda *_: shutil.rmtree(out))
    is_refused(train(tiny_data, out), f"{out}/", "No such file or directory", "the same command again", code=1)
    assert not out.exists()


# --- by other names, and by another clock


@pytest.mark.parametrize("again", ["run", "link", "./folder/../link"])
def test_a_run_goes_on_under_any_name_of_its_folder(again, pets_run, pets, tmp_path, monkeypatch, no_baseline):
    """Relative, or a link to it from elsewhere; and it has one lock under all of them."""
    monkeypatch.setattr("ulmfit.pipeline.CHECKPOINT_SECONDS", -1)
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.symlink("run", "link")
    with pytest.raises(Killed):
        run_experiment(config_for(pets, direction="both"), "run", progress=KilledAt("classify-forward", 5))
    with locked(Path("run")), pytest.raises(InputError, match="is writing there"):
        run_experiment(None, again, resume=True)
    whole, metrics = pets_run
    assert untimed(run_experiment(None, again, resume=True)) == untimed(metrics)
    assert model_bytes(tmp_path / "run") == model_bytes(whole) and litter(tmp_path / "run") == []
    assert Path("link").is_symlink() and sorted(os.listdir()) == ["folder", "link", "run"]


def test_a_clock_that_is_set_back_or_on_is_not_looked_at(pets_run, pets, tmp_path, monkeypatch, no_baseline):
    """Seconds are those of a clock that nobody can set."""
    hours = itertools.cycle([0, 10**9, -(10**9), 1])
    monkeypatch.setattr(time, "time", lambda: 1e9 + 3600 * next(hours))
    whole, metrics = pets_run
    out = tmp_path / "run"
    again = run_experiment(config_for(pets, direction="both"), out)
    assert untimed(again) == untimed(metrics) and model_bytes(out) == model_bytes(whole)
    seconds = [json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert min(seconds) > 0 and sum(seconds) <= again["seconds"] < 600


# --- other data than before


def test_a_run_whose_data_have_changed_is_not_resumed(pets, tmp_path, monkeypatch, no_baseline):
    """Not even where nothing but the order of the texts is another: the rest would be a run that nobody can repeat."""
    monkeypatch.setattr("ulmfit.pipeline.CHECKPOINT_SECONDS", -1)
    shutil.copytree(pets, tmp_path / "pets")
    cfg, out = config_for(tmp_path / "pets"), tmp_path / "run"
    with pytest.raises(Killed):
        run_experiment(cfg, out, progress=KilledAt("classify", 5))
    table = tmp_path / "pets" / "train.csv"
    before = table.read_text()
    header, *rows = before.splitlines()
    table.write_text("\n".join([header, *reversed(rows), ""]))
    with pytest.raises(InputError, match="was started with other texts or labels than .*train.csv or .* has now; undo"):
        run_experiment(None, out, resume=True)
    table.write_text(before)
    config = out / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.05", "lr: 0.06"))
    with pytest.raises(InputError, match="with other constants, than classify has now; undo what was changed, or"):
        run_experiment(None, out, resume=True)
    config.write_text(config.read_text().replace("lr: 0.06", "lr: 0.05"))
    assert run_experiment(None, out, resume=True)["stages"]["classify"]["steps"] == 25
