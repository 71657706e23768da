"""Text files that appear whole or not at all, whatever happens while they are written; and what is left of those that
did not. For arrays that is minilstm.save_arrays.

Both write into `.NAME.PROCESS.tmp` beside the file, flush that to the disk and then give it its name. A process that
dies on the way leaves it behind; the next run sweeps it up.
"""

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

LEFT_OVER = re.compile(r"\..+\.\d+\.tmp")


@contextmanager
def errors_name(path):
    """Whatever the system refuses within is said of this path: a disk that is full does not say where."""
    try:
        yield
    except OSError as e:
        e.filename = str(path)
        raise


def save_text(path, text):
    """Write `text` to `path`, durably and all at once, its mode following the umask. Raises OSError, of this path."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with errors_name(path):
            temporary.unlink(missing_ok=True)
            with open(temporary, "x", encoding="utf-8") as f:  # never through a link that somebody has put there
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


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
