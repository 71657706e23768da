"""Out of memory in a training step: how much the step needs, how much there is, and which batch size fits.

What a step needs is a part for the model and one for every row of the batch. Neither is guessed: the step that did not
fit is made again with a few rows of its batch and with twice as many, and Python's own account of memory gives both.
"""

import os
import sys
import traceback
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from minilstm.twins import registry

from .ahead import trains_ahead
from .errors import StepTooLarge

ROOM_LEFT = 0.8  # of what is free: batches differ in length, and the optimiser's moments come with the first step
CGROUPS = (  # a container's folder; in it the files of its limit and of what it uses, and what memory.stat calls cached
    # files that nobody has asked for lately: they count as used, and are given up where memory is short
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@contextmanager
def memory_explained(task, step, carry):
    """Within, a MemoryError of a task's step becomes one that says what is needed, what is free and what would fit."""
    try:
        yield
    except MemoryError as e:
        if trains_ahead(task):  # on a GPU, whose memory Python keeps no account of
            raise
        traceback.clear_frames(e.__traceback__)  # they hold what the step has made
    else:
        return
    raise _explained(task, step, carry)


def _explained(task, step, carry) -> StepTooLarge:
    release()
    ids = task.batches[step].ids
    T, B = ids.shape
    least = 2 if hasattr(task.batches[step], "labels") else 1  # a batch norm needs two rows
    what = f"step {step}: a batch of {B} rows of {T:,} words"
    try:
        fixed, a_row = _parts(task, step, carry, max(least, B // 8), least)
    except MemoryError:
        return StepTooLarge(f"{what} does not fit, nor do {2 * least} rows; a smaller size or bptt helps")
    free = free_memory()
    needs = f"{what} needs about {_gb(fixed + B * a_row)}"
    if free is None:
        return StepTooLarge(f"{needs}, more than there is", max(least, B // 2))
    fits = min(B // 2, int((ROOM_LEFT * free - fixed) / a_row))
    if fits < least:
        return StepTooLarge(f"{needs}, and {_gb(free)} are free; a smaller size or bptt helps")
    return StepTooLarge(f"{needs}, and {_gb(free)} are free; batch_size={fits} would fit", fits)


def _parts(task, step, carry, n, least):
    """Bytes that a step takes for the model, and for a row; from n rows and twice as many, or fewer where those do not
    fit: for a handful of rows other products are the fastest, which take more or less. Raises MemoryError."""
    while True:
        try:
            _, one, two = (peak(task, step, carry, rows) for rows in (n, n, 2 * n))  # the first loads the kernels, too
        except MemoryError:
            if n == least:
                raise
        else:
            a_row = max(1.0, (two - one) / n)
            return one - n * a_row, a_row
        release()  # only now: an error holds on to what was made until then
        n = max(least, n // 2)


def peak(task, step, carry, n) -> int:
    """The most bytes that a step takes with the first n rows of its batch."""
    batch = task.batches[step]
    rows = {name: value[..., :n] for name, value in batch._asdict().items() if hasattr(value, "shape")}
    if carry is not None and hasattr(carry[0], "h"):  # LSTM states, a row each
        carry = [type(s)(*(a[:n] for a in s)) for s in carry]
    cut = replace(task, batches=_Cut(task.batches, batch._replace(**rows)))
    tracemalloc.start()
    try:
        cut.loss_and_grads(step, carry)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        release()


class _Cut:
    """Batches of which one was cut."""

    def __init__(self, batches, batch):
        self.batches, self.batch = batches, batch

    def __getitem__(self, step):
        return self.batch

    def __getattr__(self, name):
        return getattr(self.batches, name)


def release():
    """Blocks that the kernels keep to use them again go back to the system."""
    kernels, _ = registry()
    module = sys.modules.get(f"{kernels.__name__}.cpu_memory") if kernels else None
    if module is not None:
        module.release()


def free_memory() -> int | None:
    """Bytes that this process may still take, as far as the system says: of the machine's memory, of its container's,
    and of its own limit."""
    found = [_container(*files) for files in CGROUPS]
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        found.append((soft if soft != resource.RLIM_INFINITY else None, pages * os.sysconf("SC_PAGE_SIZE")))
        kb = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())["MemAvailable"]
        found.append((int(kb.split()[0]) * 1024, 0))
    except (ImportError, OSError, KeyError, ValueError):
        pass
    free = [limit - used for limit, used in found if limit is not None and used is not None]
    return max(0, min(free)) if free else None


def _container(folder, limit, used, cached):
    """-> its limit, and what of its memory it could not give up; None for what it does not say"""
    limit, used, stat = (Path(folder, name) for name in (limit, used, "memory.stat"))
    try:
        idle = int(dict(line.split() for line in stat.read_text().splitlines())[cached])
    except (OSError, KeyError, ValueError):
        idle = 0
    used = _number(used)
    return _number(limit), used and used - idle


def _number(path) -> int | None:
    """What a file says; None for "max", and where there is no such file."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _gb(n) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"
