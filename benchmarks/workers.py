"""A process for each contender: it keeps its state, answers questions over a pipe and sleeps in between.

So the thread pools of two libraries never meet. All processes are held to the same processors and the same number of
threads; nothing else about a rival is changed.
"""

import contextlib
import os
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TUNING_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # a shell's, not the library's as others know it

class Refused(Exception):
    """A contender cannot take part: one line that says why."""


# --- in the contender's process ---------------------------------------------------------------------------------------


def serve(pipe, threads):
    """Answer until the pipe is closed, at the latest by the end of the process that asks."""
    pin(threads)
    work = None
    while True:
        try:
            question, *given = pipe.recv()
        except EOFError:
            return
        try:
            if question == "make":
                work = None  # the last problem's arrays go first
                (make, args, shape) = given
                work, answer = make(*args, **shape), None
            else:
                answer = ANSWERS[question](work, *given)
            pipe.send((True, answer))
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            pipe.send((False, f"{type(error).__name__}: {first}"))


def pin(threads):
    """The same processors for everybody. How many threads, NumPy, torch and our kernels read in the environment."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def seconds_a_call(work, mode, calls, warm_up):
    """The mean of so many calls. Calls for `warm_up` seconds go before them and do not count: others have used the
    cache since the last turn, and threads that slept may wake on one processor, which the system takes a while to
    notice."""
    warm = time.perf_counter() + warm_up
    while time.perf_counter() < warm:
        work.call(mode)
    began = time.perf_counter()
    for _ in range(calls):
        work.call(mode)
    return (time.perf_counter() - began) / calls


def rest(work, step=0.02, at_most=2.0):
    """Return when nothing goes on in this process any more: a library's threads look out for more work for a while
    (OpenBLAS's a tenth of a second), and they would do so during the next one's turn."""
    until = time.perf_counter() + at_most
    while time.perf_counter() < until:
        before = time.process_time()
        time.sleep(step)
        if time.process_time() - before < step / 10:
            return


def forget_peak(work):
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(work):
    """The most memory the process has held since `forget_peak`, in MB (10**6 bytes); None where Linux does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


ANSWERS = {
    "arrays": lambda work, mode: {name: np.asarray(a) for name, a in work.arrays(mode).items()},
    "time": seconds_a_call,
    "rest": rest,
    "forget_peak": forget_peak,
    "peak_mb": peak_mb,
}


# --- in the process that asks -----------------------------------------------------------------------------------------


class Worker:
    """The process of one contender."""

    def __init__(self, name, threads):
        context = get_context("spawn")
        self.name, (self.pipe, other) = name, context.Pipe()
        self.process = context.Process(target=serve, args=(other, threads), name=name)
        with environment(threads):
            self.process.start()
        other.close()

    def ask(self, question, *given):
        """The answer. Raises Refused with the reason if there is none."""
        try:
            self.pipe.send((question, *given))
            good, answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise Refused(f"{self.name}: its process ended (exit code {self.process.exitcode})") from None
        if not good:
            raise Refused(f"{self.name}: {answer}")
        return answer

    def stop(self):
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


class Workers(dict):
    """{name: Worker}, each started when it is first asked for and all of them stopped in the end."""

    def __init__(self, threads):
        super().__init__()
        self.threads = threads

    def __missing__(self, name):
        self[name] = Worker(name, self.threads)
        return self[name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.values():
            worker.stop()
        self.clear()


@contextlib.contextmanager
def environment(threads):
    """Within, the environment asks for so many threads and for no tuning; a process that is started takes it over."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    for name in TUNING_VARIABLES:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
