"""Ctrl-C (SIGINT) and SIGTERM while something is under way that should not be broken off in the middle."""

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress

NOTICE = b"\nstopping after this step, with a checkpoint; Ctrl-C once more stops now, without\n"


class Terminated(KeyboardInterrupt):
    """SIGTERM: what batch systems, containers and `kill` send to end a program in good order."""


def exit_code(error) -> int:
    """What the shell is told of a program that KeyboardInterrupt or Terminated has ended."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


@contextmanager
def sigterm_raises():
    """Within, SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt. Only the main thread hears of signals."""
    if not _in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class SignalsWait:
    """Within, Ctrl-C and SIGTERM wait: `waiting` is the one that has come, or None. `deliver` does what it would have
    done by itself, and so does the end of the block, unless that is an error.

    A Ctrl-C after another signal does not wait: whoever types it twice means now. A second SIGTERM does: some programs
    send it to a process and then to its whole group. Signals that were ignored are ignored here, too.
    """

    def __enter__(self):
        self.waiting, self.before = None, {}
        if _in_main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set by Python
                    self.before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind, *_):
        for number, handler in reversed(self.before.items()):  # Ctrl-C, which may come just now, last
            signal.signal(number, handler)
        if kind is None:
            self.deliver()

    def deliver(self):
        """What has come is dealt with now. Most often this raises; where a program's own handler returns, so does
        this, and others may come."""
        number, self.waiting = self.waiting, None
        if number is None:
            return
        if callable(handler := self.before[number]):
            handler(number, None)
        else:  # SIG_DFL: it ends the process
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _note(self, number, frame):
        again, self.waiting = self.waiting is not None, number
        if again and number == signal.SIGINT:
            self.deliver()
        elif not again and sys.stderr is not None and sys.stderr.isatty():
            with suppress(OSError):  # the terminal has gone
                os.write(2, NOTICE)  # not print: that may be just what was interrupted


def _raise_terminated(number, frame):
    raise Terminated


def _in_main_thread():
    return threading.current_thread() is threading.main_thread()
