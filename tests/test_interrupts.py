"""Ctrl-C and SIGTERM within one process; whole programs that are stopped by them are in test_interrupted.py."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from ulmfit import interrupts
from ulmfit.interrupts import SignalsWait, Terminated, exit_code, sigterm_raises

INT, TERM = signal.SIGINT, signal.SIGTERM
each_signal = pytest.mark.parametrize("number, error", [(INT, KeyboardInterrupt), (TERM, Terminated)])


@pytest.fixture(autouse=True)
def handlers_are_as_before():
    """As in a program that has been started from a shell; and nothing is left behind."""
    before = [signal.getsignal(n) for n in (INT, TERM)]
    signal.signal(INT, signal.default_int_handler)
    yield
    assert [signal.getsignal(n) for n in (INT, TERM)] == [signal.default_int_handler, signal.SIG_DFL]
    for n, handler in zip((INT, TERM), before, strict=True):
        signal.signal(n, handler)


@each_signal
def test_a_signal_waits_for_the_end(number, error):
    done = []
    with sigterm_raises(), pytest.raises(error) as e, SignalsWait() as signals:
        assert signals.waiting is None
        signal.raise_signal(number)
        done.append(signals.waiting)
    assert done == [number] and type(e.value) is error


@each_signal
def test_it_can_be_delivered_earlier(number, error):
    with sigterm_raises(), pytest.raises(error), SignalsWait() as signals:
        signals.deliver()  # nothing has come
        signal.raise_signal(number)
        signals.deliver()
        pytest.fail("was not delivered")


@pytest.mark.parametrize("first", [INT, TERM])
def test_a_ctrl_c_after_another_signal_does_not_wait(first):
    with sigterm_raises(), pytest.raises(KeyboardInterrupt) as e, SignalsWait():
        signal.raise_signal(first)
        signal.raise_signal(INT)
        pytest.fail("did wait")
    assert type(e.value) is KeyboardInterrupt


@pytest.mark.parametrize("first", [INT, TERM])
def test_a_sigterm_after_another_signal_waits(first):
    """The program `timeout` sends it twice."""
    done = []
    with sigterm_raises(), pytest.raises(Terminated), SignalsWait():
        signal.raise_signal(first)
        signal.raise_signal(TERM)
        done.append("waited")
    assert done


def test_an_error_goes_before_a_signal_that_waits():
    with pytest.raises(ZeroDivisionError), SignalsWait():
        signal.raise_signal(INT)
        1 / 0  # noqa: B018


def test_the_signals_of_a_program_with_handlers_of_its_own_go_to_these():
    """They may return, and then so does `deliver`; the next signal waits again."""
    came = []
    signal.signal(TERM, lambda *a: came.append(a))
    with SignalsWait() as signals:
        for _ in range(2):
            signal.raise_signal(TERM)
            assert len(came) < 2 and signals.waiting == TERM
            signals.deliver()
            assert signals.waiting is None
    assert came == [(TERM, None)] * 2
    signal.signal(TERM, signal.SIG_DFL)


def test_signals_that_were_ignored_stay_so():
    """As Ctrl-C is by what a script has started in the background."""
    signal.signal(INT, signal.SIG_IGN)
    with SignalsWait() as signals:
        signal.raise_signal(INT)
        assert signals.waiting is None
    assert signal.getsignal(INT) == signal.SIG_IGN
    signal.signal(INT, signal.default_int_handler)


def test_without_a_handler_a_signal_ends_the_process_after_all():
    """ULMFiT as a library: nobody has asked for Terminated."""
    code = """if True:
        import signal
        from ulmfit.interrupts import SignalsWait
        with SignalsWait() as signals:
            signal.raise_signal(signal.SIGTERM)
            print("saved", flush=True)
        print("alive")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-TERM, "saved\n", "")


def test_other_threads_hear_nothing_and_change_nothing():
    entered = []

    def work():
        with sigterm_raises(), SignalsWait() as signals:
            entered.append((signals.waiting, signal.getsignal(TERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [(None, signal.SIG_DFL)]


def test_a_terminal_is_told_once_that_a_step_is_still_done(monkeypatch):
    said = []
    monkeypatch.setattr(interrupts.sys, "stderr", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(os, "write", lambda fd, text: said.append((fd, text)))
    with pytest.raises(KeyboardInterrupt), SignalsWait():
        signal.raise_signal(INT)
        signal.raise_signal(INT)
    assert said == [(2, interrupts.NOTICE)]


def test_a_terminal_that_has_gone_is_no_error(monkeypatch):
    def gone(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(interrupts.sys, "stderr", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(os, "write", gone)
    with pytest.raises(KeyboardInterrupt), SignalsWait() as signals:
        signal.raise_signal(INT)
        assert signals.waiting == INT


def test_exit_codes_are_those_that_shells_give():
    assert (exit_code(KeyboardInterrupt()), exit_code(Terminated())) == (130, 143)
