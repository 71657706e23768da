"""Files that appear whole or not at all, whatever happens while they are written; and what is left of those that did
not. For arrays that is minilstm.save_arrays.

Both write into `.NAME.PROCESS.tmp` beside the file, flush that to the disk and then give it its name. A process that
dies on the way leaves it behind; the next run sweeps it up.
"""

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

LEFT_OVER = re.compile(r"\..+\.\d+\.tmp")


@contextmanager
def errors_name(path):
    """Whatever the system refuses within is said of this path: a disk that is full does not say where."""
    try:
        yield
    except OSError as e:
        e.filename = str(path)
        raise


def temporary_of(path) -> Path:
    return Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")


def save_text(path, text):
    """Write `text` to `path`, durably and all at once, its mode following the umask. Raises OSError, of this path."""
    with new_file(path, "x", encoding="utf-8") as f:
        f.write(text)


@contextmanager
def new_file(path, mode, **options):
    """An open file, to be written within (mode "x" or "xb"), which then is at `path`, durably and all at once; where
    anything is raised there is what was there before. Raises OSError, of this path."""
    path, temporary = Path(path), temporary_of(path)
    try:
        with errors_name(path):
            temporary.unlink(missing_ok=True)
            with open(temporary, mode, **options) as f:  # never through a link that somebody has put there
                yield f
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def is_written_through(path) -> bool:
    """Whether a name stands for something else, which has to stay: a link (as /dev/stdout is), a pipe, a device."""
    return os.path.islink(path) or (os.path.exists(path) and not os.path.isfile(path))


def check_output(path, sources=()):
    """Before any work: can this answer be written, and is it none of the files that are read? What is there stays."""
    if os.path.isfile(path) and any(os.path.isfile(s) and os.path.samefile(s, path) for s in sources):
        raise InputError(f"--out {path}: is the file with the texts, which would be lost; name another")
    try:
        if Path(path).is_fifo():  # its reader would take it for the end when it is closed again
            return
        if os.path.lexists(path):
            open(path, "ab").close()
        if not is_written_through(path):  # its folder may take no new files, or no name so long
            probe = temporary_of(path)
            probe.unlink(missing_ok=True), probe.touch(), probe.unlink()
    except OSError as e:
        raise InputError(f"--out {path}: cannot be written ({e.strerror}); name another file") from e


@contextmanager
def answer_file(path, mode, **options):
    """What a user has named for an answer, open: a new file, or what the name stands for, written as it comes."""
    if is_written_through(path):
        with errors_name(path), open(path, mode.replace("x", "w"), **options) as f:
            yield f
    else:
        with new_file(path, mode, **options) as f:
            yield f


def _flush_folder(folder):
    """Make a new name in it durable, where the system lets a folder be opened. (minilstm.checkpoint has the same: what
    a vocabulary is saved with may not import the engine, nor the engine anything of ours.)"""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_left_over(path) -> bool:
    """Is this the temporary of a file, to judge by its name?"""
    return LEFT_OVER.fullmatch(Path(path).name) is not None


def sweep(folder):
    """Remove what processes that died have left in a folder that nobody else writes into, and in the folders in it."""
    for path in Path(folder).rglob(".*.tmp"):
        if is_left_over(path) and path.is_file():
            path.unlink(missing_ok=True)
