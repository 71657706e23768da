"""Which kernel is the fastest on a GPU, by a table of what was measured there: numbers alone, which need no GPU.

gpu_times.csv is written by benchmarks/report.py from the results of `make gpu-check`. A line is one kernel at one size:
microseconds of a step of the recurrence, `inference` the forward alone, `full` forward and backward, as the median of
calls of 70 steps. What a call takes but once (launches, weights put into order) is in it: a much shorter call takes
longer than it says. The number of steps does not decide which kernel is taken.

Between measured sizes, times lie on straight lines over B and H, all in logarithms: time grows as a power of either.
Beyond them they go only as far as there is a bound:

    smaller B or H    what the smallest measured takes: less work does not take longer
    larger B          up to twice the largest measured, in proportion: it could be done as two batches
    larger H          never: nobody knows how long it takes, or whether the chip has room

A kernel takes part if all measured sizes around, at most four, have a time of it. One that was refused or found wrong
at one of them has none, and so it is never taken beyond where it was measured.
"""

import csv
from functools import cache
from math import exp, inf, log
from pathlib import Path
from typing import NamedTuple

__all__ = ["COLUMNS", "MODES", "Choice", "choose", "read", "no_room"]

TABLE = Path(__file__).with_name("gpu_times.csv")
COLUMNS = ("gpu", "kernel", "precision", "mode", "B", "H", "microseconds", "commit")
MODES = ("full", "inference")
LARGER = 2    # so many times the largest B measured


class Choice(NamedTuple):
    """The fastest kernel, and how long it takes."""

    kernel: str
    microseconds: float    # expected of the call
    step: float            # of one of its steps
    measured: bool         # at this B and H, or only around them


def choose(gpu, precision, T, B, H, mode, names) -> Choice | None:
    """The fastest of these kernels for T steps of B rows and H units; of equals the first. None where the table has
    nothing about them: another GPU, precision or mode, or a size that is too far away.

    gpu: as CUDA calls it. precision: of LSTM(precision=), or the dtype of its arrays. mode: one of MODES. names: a
    tuple. Raises ValueError if the table is damaged.
    """
    fastest = _fastest(TABLE, gpu, precision, B, H, mode, names)
    return fastest and Choice(fastest[0], T * fastest[1], *fastest[1:])


@cache
def _fastest(path, gpu, precision, B, H, mode, names):
    """-> (kernel, microseconds of a step, whether that was measured at B and H), or None"""
    cells = read(path).get((gpu, precision, mode), {})
    expected = _expected(cells, B, H)
    kernel = min((name for name in names if name in expected), key=expected.get, default=None)
    return kernel and (kernel, expected[kernel], B in cells.get(H, ()))


def _expected(cells, B, H):
    """{H: {B: {kernel: microseconds}}} -> {kernel: microseconds} at B and H"""
    largest = {h: max(cells[h]) for h in _around(cells, H)}
    if any(B > LARGER * most for most in largest.values()):
        return {}
    rows = [(_between(cells[h], min(B, largest[h]), max(1, B / largest[h])), share)
            for h, share in _around(cells, H).items()]  # fmt: skip
    return _mixed(rows)


def _between(row, B, times):
    """{B: {kernel: microseconds}} -> {kernel: microseconds} at a B that is not beyond them, so many times"""
    mixed = _mixed([(row[b], share) for b, share in _around(row, B).items()])
    return {kernel: times * microseconds for kernel, microseconds in mixed.items()}


def _around(sizes, size):
    """-> {size: its share}, of the one or two nearest to a size; of none where it is larger than all"""
    above = min((s for s in sizes if s >= size), default=None)
    below = max((s for s in sizes if s <= size), default=above)
    if above is None or below == above:
        return {} if above is None else {above: 1.0}
    share = log(size / below) / log(above / below)
    return {below: 1 - share, above: share}


def _mixed(parts):
    """[({kernel: microseconds}, share)] -> {kernel: microseconds}, of the kernels that all of them have"""
    if len(parts) == 1:    # to the bit what was measured
        return parts[0][0]
    kernels = set.intersection(*(set(times) for times, _ in parts)) if parts else ()
    return {kernel: exp(sum(share * log(times[kernel]) for times, share in parts)) for kernel in kernels}


@cache
def read(path) -> dict:
    """{(gpu, precision, mode): {H: {B: {kernel: microseconds of a step}}}}; nothing where there is no such file.
    Raises ValueError with the line that is not as it should be."""
    found = {}
    if not path.is_file():
        return found
    with open(path, encoding="utf-8", newline="") as f:
        rows = csv.reader(f)
        if tuple(next(rows, ())) != COLUMNS:
            raise ValueError(f"{path.name}, line 1: expected the columns {', '.join(COLUMNS)}")
        for row in rows:
            try:
                gpu, kernel, precision, mode, B, H, microseconds, _ = row
                B, H, microseconds = int(B), int(H), float(microseconds)
                if not (gpu and kernel and precision and mode in MODES and min(B, H) > 0 and 0 < microseconds < inf):
                    raise ValueError
            except ValueError:
                said = f"{path.name}, line {rows.line_num}: expected {', '.join(COLUMNS)}, got {','.join(row)!r}"
                raise ValueError(f"{said}; run python benchmarks/report.py") from None
            found.setdefault((gpu, precision, mode), {}).setdefault(H, {}).setdefault(B, {})[kernel] = microseconds
    return found


@cache
def no_room(plan, version, B, H, dtype, device, need_cache) -> str | None:
    """What a kernel's plan (cluster_plan.plan, persistent_plan.plan) says against these sizes, or None. Without a
    cache there will be no backward."""
    try:
        for direction in ("forward", "backward") if need_cache else ("forward",):
            plan(direction, version, max(B, 1), H, dtype, device)
    except ValueError as e:
        return str(e)
    return None
