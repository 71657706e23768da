import errno
import os
import stat
import subprocess
import time

import pytest

from minilstm import save_arrays
from ulmfit.errors import InputError
from ulmfit.saving import answer_file, check_output, errors_name, is_left_over, save_text, sweep


def test_a_text_is_written_in_utf_8_and_replaces_the_old_one(tmp_path):
    for text in ("old and longer", "é 😀\n"):
        save_text(str(tmp_path / "a.txt"), text)
    assert (tmp_path / "a.txt").read_bytes() == "é 😀\n".encode() and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600)])
def test_the_file_mode_follows_the_umask(umask, mode, tmp_path):
    old = os.umask(umask)
    try:
        save_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == mode


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace"])
def test_a_failure_names_the_file_and_leaves_the_old_one_and_no_litter(broken, tmp_path, monkeypatch):
    save_text(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(broken, full)
    with pytest.raises(OSError) as e:
        save_text(tmp_path / "a.txt", "new")
    assert e.value.filename == str(tmp_path / "a.txt") and e.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_the_text_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("replace") or replace(a, b))
    save_text(tmp_path / "a.txt", "x")
    assert done == [f".a.txt.{os.getpid()}.tmp", "replace", tmp_path.name] and fsync


def test_an_error_gets_the_name_of_the_path_and_stays_what_it_is():
    with pytest.raises(FileNotFoundError, match="'/there'") as e, errors_name("/there"):
        os.stat("/nowhere/at/all")
    assert e.value.filename == "/there"


def test_what_a_process_that_died_has_left_is_swept_up_and_nothing_else(tmp_path, monkeypatch):
    """Both ways of saving leave the same behind."""
    (tmp_path / "sub").mkdir()
    with monkeypatch.context() as m:
        m.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        m.setattr("os.replace", lambda *_: None)
        save_text(tmp_path / "sub" / "a.txt", "x")
        save_arrays(tmp_path / "b.safetensors", {})
    kept = ["a.tmp", ".a.tmp", ".a.12.tmp.txt", "a.12.tmp", "..12.tmp"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / ".folder.7.tmp").mkdir()
    left = [p for p in tmp_path.rglob("*") if is_left_over(p) and p.is_file()]
    assert sorted(p.parent.name for p in left) == sorted(["sub", tmp_path.name])
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted([*kept, ".folder.7.tmp", "sub"])


# --- answers, where a user has named a place for them


@pytest.mark.parametrize("name", ["new.csv", "old.csv"])
def test_an_output_file_may_be_new_or_old(name, tmp_path):
    (tmp_path / "old.csv").write_text("x")
    check_output(tmp_path / name, ["a text", str(tmp_path / "other.csv")])
    assert (tmp_path / "old.csv").read_text() == "x"  # not before there is something to write
    assert [p.name for p in tmp_path.iterdir()] == ["old.csv"]


def test_an_output_file_is_not_the_input_under_another_name(tmp_path):
    (tmp_path / "t.csv").write_text("text\nx\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    with pytest.raises(InputError, match="is the file with the texts"):
        check_output(tmp_path / "link.csv", [str(tmp_path / "t.csv")])


@pytest.mark.parametrize("name", ["x" * 250, "folder", "no/x"])
def test_what_cannot_be_saved_there_is_found_before(name, tmp_path):
    """With its temporary's, too, a name may be too long."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"--out .*: cannot be written \(.*\); name another file"):
        check_output(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_an_answer_that_is_broken_off_leaves_the_one_before(tmp_path):
    for name in ("old", "new"):
        (tmp_path / "old").write_text("old")
        with pytest.raises(ZeroDivisionError), answer_file(tmp_path / name, "x") as f:
            f.write("half" * 10**5)
            raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["old"] and (tmp_path / "old").read_text() == "old"
    with answer_file(tmp_path / "old", "xb") as f:
        f.write(b"new")
    assert (tmp_path / "old").read_text() == "new"


def test_an_answer_goes_where_a_link_leads_and_the_link_stays(tmp_path):
    (tmp_path / "target").write_text("something longer")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    check_output(tmp_path / "link")
    with answer_file(tmp_path / "link", "x") as f:
        f.write("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


def test_whoever_reads_a_pipe_gets_the_whole_answer(tmp_path):
    """Checking whether it can be written is no end for them."""
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    check_output(tmp_path / "pipe")
    time.sleep(0.1)
    assert reader.poll() is None
    with answer_file(tmp_path / "pipe", "x") as f:
        f.write("answer")
    assert reader.communicate()[0] == b"answer" and (tmp_path / "pipe").is_fifo()
