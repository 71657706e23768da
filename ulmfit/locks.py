"""One writer at a time: a run directory is locked while a run writes into it. Who only reads asks nobody.

The lock is the system's own (flock), on a file `.lock` that says whose it is. It is gone as soon as its process is,
however that ended; a file that is left behind locks nothing.
"""

import errno
import os
import socket
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from .errors import InputError

LOCK = ".lock"
NO_LOCKS = "note: {}: no locks on this file system; see to it that no other run writes there"


@contextmanager
def locked(folder, tell=print):
    """Within, no other run writes into `folder`, which is made, and is gone again if nothing has come into it.

    Raises InputError, naming the process, where another one does already. Where the file system knows no locks,
    tell(one line) says so, and the work goes on. Yields a function that raises once that is no longer so:
    FileNotFoundError where the lock was removed, most often with its folder, and InputError where another run has
    begun in a new folder of that name.
    """
    folder = Path(folder)
    made = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        fd = _take(folder, tell)
        try:
            yield partial(_check_held, fd, folder)
        finally:
            with suppress(OSError):  # the folder has vanished
                if _is_named(fd, folder / LOCK):
                    (folder / LOCK).unlink()  # first: whoever opens it from now on opens a new one
            os.close(fd)
    finally:
        with suppress(OSError):  # something is in it
            for f in made:
                f.rmdir()


def refuse_if_locked(folder):
    """Raise InputError where a run is writing into `folder`; a look, without taking anything."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return
    try:
        _lock(fd, folder, shared=True)
    finally:
        os.close(fd)


def _take(folder, tell):
    """-> the open lock file of a folder, locked"""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # a link would have us write elsewhere
    while True:
        fd = _made_and_opened(folder, flags)
        try:
            if not _lock(fd, folder):
                tell(NO_LOCKS.format(folder))
            with suppress(OSError):  # a full disk: nobody learns the name
                os.ftruncate(fd, 0)
                os.write(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            if _is_named(fd, folder / LOCK):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its last owner was just taking it away


def _made_and_opened(folder, flags):
    """-> the lock file of a folder, both made where they are missing"""
    for attempts_left in reversed(range(100)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(folder / LOCK, flags, 0o666)
        except (FileNotFoundError, FileExistsError):
            if not attempts_left or folder.is_symlink() or folder.is_file():
                raise
            # else another run was just taking its empty folder away


def _lock(fd, folder, *, shared=False) -> bool:
    """Whether the file system has locks. Raises InputError where another process has this one."""
    try:
        import fcntl

        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 100, 0).decode(errors="replace").strip()
        who = f" ({owner})" if owner.startswith("process ") and owner.isprintable() else ""
        raise InputError(
            f"{folder}: another run{who} is writing there; wait for its end, or name another --out"
        ) from None
    except (ImportError, OSError):
        return False
    return True


def _check_held(fd, folder):
    lock = folder / LOCK
    if _is_named(fd, lock):
        return
    if not lock.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(lock))
    raise InputError(f"{folder}: was removed while this run was writing there, and another run has begun in its place; "
                     "leave it to that, and name another --out")  # fmt: skip


def _is_named(fd, path) -> bool:
    """Is the open file still the one of this name?"""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
