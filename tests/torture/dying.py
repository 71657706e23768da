"""A process that kills itself just before it touches the disk for the n-th time: between opening, writing, renaming
and removing there are only a few moments, which nobody hits from outside."""

import os
import signal
import sys

TOUCHES = {"open": lambda path, mode, flags: flags & os.O_ACCMODE != os.O_RDONLY, "os.rename": None, "os.remove": None,
           "os.mkdir": None, "os.rmdir": None, "os.truncate": None}  # fmt: skip


def at_touch(n, act):
    """Call act(path) just before the n-th time that this process changes a name or opens a file to write it."""
    count = 0

    def listen(event, args):
        nonlocal count
        if event in TOUCHES and (TOUCHES[event] is None or TOUCHES[event](*args)):
            count += 1
            if count == n:
                act(args[0])

    sys.addaudithook(listen)


def die_at_touch(n):
    at_touch(n, lambda _: os.kill(os.getpid(), signal.SIGKILL))
