"""Two writers never share a run directory, and a lock outlives nobody."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest
from cli_helpers import is_refused, train, ulmfit
from tiny_runs import KilledAt, config_for

from ulmfit.errors import InputError
from ulmfit.experiment import run_experiment
from ulmfit.locks import LOCK, locked, refuse_if_locked

fcntl = pytest.importorskip("fcntl", reason="this system has no flock")
ME = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


def test_a_second_writer_is_refused_and_told_who_is_there(run):
    with locked(run):
        for attempt in (lambda: locked(run).__enter__(), lambda: refuse_if_locked(run)):
            with pytest.raises(InputError) as e:
                attempt()
            assert str(e.value) == (f"{run}: another run ({ME}) is writing there; wait for its end, or name another "
                                    "--out")  # fmt: skip
    with locked(run):  # it is free again
        pass


def test_a_lock_leaves_nothing_behind_not_even_a_folder_that_stayed_empty(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert os.listdir(tmp_path / "a" / "b") == [LOCK]
    assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "work").touch()
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == ["a"] and os.listdir(tmp_path / "a") == ["work"]
    with locked(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_vanishes_meanwhile_is_no_error(run):
    with locked(run):
        (run / LOCK).unlink()
        run.rmdir()
    assert not run.exists()


def test_who_has_lost_the_folder_is_told_and_leaves_the_next_ones_lock_alone(run):
    """Deleted by somebody who did not know that a run is there, and then made anew."""
    with ExitStack() as first, ExitStack() as second:
        held = first.enter_context(locked(run))
        held()
        shutil.rmtree(run)
        with pytest.raises(FileNotFoundError) as e:
            held()
        assert e.value.filename == str(run / LOCK)
        second.enter_context(locked(run))
        with pytest.raises(InputError, match=f"{run}: was removed .*, and another run has begun in its place; "):
            held()
        first.close()
        with pytest.raises(InputError, match="is writing there"):
            refuse_if_locked(run)
    assert not run.exists()


HOLD = """if True:
    import sys, time
    from ulmfit.locks import locked
    with locked(sys.argv[1]):
        print("locked", flush=True)
        time.sleep(60)
"""


def test_a_lock_dies_with_its_process(run):
    """SIGKILL leaves the file, and that locks nothing; nobody even has to look who has written it."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(InputError, match=rf"process {process.pid} on "):
        refuse_if_locked(run)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (run / LOCK).exists()
    refuse_if_locked(run)
    with locked(run), pytest.raises(InputError, match=f"process {os.getpid()} on "):
        refuse_if_locked(run)
    assert not (run / LOCK).exists()


def test_never_two_at_once_however_many_come_and_go(run):
    """The file is taken away by the one who leaves, just as others open it; and so is the folder."""
    inside, most, entered = [], [], []

    def work(n):
        for _ in range(60):
            try:
                with locked(run):
                    inside.append(n)
                    most.append(len(inside))
                    inside.remove(n)
                    entered.append(n)
            except InputError:
                pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert max(most) == 1 and len(entered) >= 60
    assert not run.exists() or not any(run.iterdir())


def test_a_file_that_its_last_owner_takes_away_meanwhile_is_none_to_hold(run, monkeypatch):
    """Opened while it was there, locked when it has gone: the next one would open, and lock, another."""
    opened, original = [], os.open

    def open_and_lose(path, *args):
        fd = original(path, *args)
        opened.append(path)
        if len(opened) < 4:
            os.unlink(path)
        return fd

    run.mkdir()
    monkeypatch.setattr(os, "open", open_and_lose)
    with locked(run):
        assert opened == [run / LOCK] * 4
        with pytest.raises(InputError, match="is writing there"):
            refuse_if_locked(run)


@pytest.mark.parametrize("owner", ["", "process 1\non x", "x" * 200, "\x1b[31mprocess 1"])
def test_a_file_that_says_something_else_is_not_quoted(owner, run):
    with locked(run):
        (run / LOCK).write_text(owner)
        with pytest.raises(InputError, match="run: another run is writing there; wait"):
            refuse_if_locked(run)


def test_a_link_in_the_place_of_the_lock_has_nothing_written_elsewhere(run, tmp_path):
    run.mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    (run / LOCK).symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(OSError), locked(run):
        pass
    refuse_if_locked(run)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("missing", ["flock", "fcntl"])
def test_without_locks_one_line_says_so_and_the_work_goes_on(missing, run, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    if missing == "fcntl":  # as on Windows
        monkeypatch.setitem(sys.modules, "fcntl", None)
    said = []
    with locked(run, said.append), locked(run, said.append):
        pass
    assert said == [f"note: {run}: no locks on this file system; see to it that no other run writes there"] * 2
    refuse_if_locked(run)


# --- whole runs


class Visitor(KilledAt):
    """Another run comes by at a step of the first one."""

    def __init__(self, visit):
        super().__init__("finetune", 3)
        self.visit, self.said = visit, []

    def step(self, log):
        if (self.stage, log.step) == self.where:
            with pytest.raises(InputError) as e:
                self.visit()
            self.said.append(str(e.value))


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}], ids=["anew", "resume", "overwrite"])
def test_a_run_is_left_alone_whatever_another_one_wants(how, pets, run, no_baseline):
    config = config_for(pets)
    visitor = Visitor(lambda: run_experiment(config, run, **how))
    metrics = run_experiment(config, run, progress=visitor)
    (said,) = visitor.said
    assert metrics["stages"]["classify"]["steps"] > 0
    assert f"({ME}) is writing there" in said and not (run / LOCK).exists()


def test_who_only_reads_needs_no_lock(tiny_data, tiny_run):
    with locked(tiny_run):
        assert ulmfit("predict", "who is it ?", "--model", tiny_run).code == 0
        assert ulmfit("evaluate", tiny_data / "test.csv", "--model", tiny_run).code == 0


def test_on_the_command_line_it_is_one_line(tiny_data, tiny_run):
    with locked(tiny_run):
        is_refused(ulmfit("run", "--resume", "--out", tiny_run), f"({ME}) is writing there", "--out")
        is_refused(train(tiny_data, tiny_run, "--overwrite"), "is writing there")
    assert (tiny_run / "metrics.json").exists()
