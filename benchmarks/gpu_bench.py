"""A whole LSTM, and its loop over time alone: everybody checked, then timed in turns, cell by cell."""

import math
import statistics
import time
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
from gpu_cells import MODES, NEAR_FLOAT32, cells
from gpu_clock import Spoilt
from gpu_compile import compiling
from gpu_cudnn import ALGORITHMS
from gpu_cudnn_lstm import CudnnLSTM
from gpu_ladder import Loop, arrangements, offers, products, runnable, versions
from gpu_lm import language_model
from gpu_problems import TOLERANCES, Stack, difference, expected, problem
from gpu_results import failed, row
from gpu_rows import fastest, is_rival
from gpu_torch import Torch
from harness import take_turns
from workers import Refused

REFERENCE, WITH_HOST = "reference", "milliseconds with the host"
TURN = 5e-3  # seconds of calls in a turn, about
MOST_CALLS, ROUNDS = 20, 6
BEHIND = 3  # times as slow as the best of ours, or of theirs, after one round: no others are needed
SLIGHT = 10  # times what is allowed: such a check failed, and yet the time may be of interest


class Contender(NamedTuple):
    provider: str
    make: Callable  # make(gpu, cell, given, *args) -> what has start(mode), call() and arrays()
    args: tuple = ()
    kernel: str | None = None  # whose check must have been passed
    precision: str | None = None  # where it is not that of the cell


def of_the_layer(cell) -> list[Contender]:
    """Everybody for a whole LSTM of these sizes and this precision."""
    found = [k.name for k in runnable() if offers(k, cell.precision)]
    ours = [Contender(provider, Stack, (name, wavefront), name)
            for name in found for provider, wavefront in arrangements(name, cell.layers).items()]  # fmt: skip
    ours += [Contender(f"{name}-{NEAR_FLOAT32}", Stack, (name, None, np.float32, NEAR_FLOAT32), name, NEAR_FLOAT32)
             for name in nearly(cell)]  # fmt: skip
    rivals = [Contender("torch", Torch), Contender("torch-graph", Torch, (False, True))]
    if cell.precision == "float16" and (cell.layers > 1 or cell.H % 128 or cell.B % 8) and cell.H <= 1024:
        rivals += [Contender("torch-arranged", Torch, (True,)), Contender("torch-arranged-graph", Torch, (True, True))]
    for name in ALGORITHMS:
        rivals.append(Contender(f"cudnn-{name}", CudnnLSTM, (name,)))
        rivals.append(Contender(f"cudnn-{name}-graph", CudnnLSTM, (name, True)))
    return ours + rivals


def of_the_loop(cell) -> list[Contender]:
    """Every version of every kernel of ours. The layers of a stack have the same loop, and so one is enough."""
    found = [k.name for k in runnable() if offers(k, cell.precision)] if cell.layers == 1 else []
    ours = [Contender(provider, Loop, (name, options), name)
            for name in found for provider, options in versions(name).items()]  # fmt: skip
    near = nearly(cell) if cell.layers == 1 else []
    return ours + [Contender(f"{name}-{NEAR_FLOAT32}", Loop, (name, products(name, NEAR_FLOAT32)), name, NEAR_FLOAT32)
                   for name in near]  # fmt: skip


def nearly(cell) -> list[str]:
    """Kernels of ours that are nearly as exact as the cell's precision."""
    return [k.name for k in runnable() if cell.precision == "float32" and offers(k, NEAR_FLOAT32)]


def expected_of_the_loop(gpu, cell, given, mode):
    plain = Loop(gpu, cell, given, "reference", {})
    plain.start(mode)
    return plain.arrays()


KERNELS = {"lstm": (of_the_layer, expected), "recurrence": (of_the_loop, expected_of_the_loop)}


def bench(gpu, journal, until, all_cells=None):
    """Measure what has not been measured, until the time is up."""
    left = {cell: list(comparisons(journal, cell)) for cell in all_cells or cells()}
    sizes = {cell: sizes_of(cell) for cell, some in left.items() if some}
    with compiling(gpu, journal, [size for some in sizes.values() for size in some], until) as ready:
        for cell, some in sizes.items():
            ready(*some)
            given, made = problem(cell), {name: {} for name in KERNELS}
            for kernel_name, mode in left[cell]:
                if time.time() > until:
                    return
                compare(gpu, journal, cell, kernel_name, mode, given, made[kernel_name])
            del made
            gpu.release()
            if time.time() < until:
                language_model(gpu, journal)  # early, after the first cell


def sizes_of(cell):
    """(B, H, precision) of the kernels of ours for a cell"""
    near = (NEAR_FLOAT32,) if cell.precision == "float32" else ()
    return [(cell.B, cell.H, precision) for precision in (cell.precision, *near)]


def comparisons(journal, cell):
    """(kernel_name, mode) of what is still to be measured of a cell"""
    for kernel_name, mode in product(KERNELS, MODES):
        found = about(cell, kernel_name, mode)
        if KERNELS[kernel_name][0](cell) and not journal.measured(**found) and not journal.refusal(REFERENCE, **found):
            yield kernel_name, mode


def about(cell, kernel_name, mode):
    return {"kernel_name": kernel_name, "precision": cell.precision, "mode": mode, "shape": cell.shape}


def compare(gpu, journal, cell, kernel_name, mode, given, made):
    """One cell in one mode: rows of those who were left out, then of all who were timed together. made: {provider: what
    he has made} in another mode."""
    works, left_out, this = {}, [], about(cell, kernel_name, mode)
    contenders, reference = KERNELS[kernel_name]
    with journal.doing(provider=REFERENCE, **this):
        wanted = reference(gpu, cell, given, mode)
        for contender in contenders(cell):
            if journal.refusal(contender.provider, **this) is not None:  # the last process did not outlive it
                continue
            journal.beat(provider=contender.provider, **this)
            reason, work = admit(gpu, journal, cell, given, contender, mode, wanted, made)
            if reason is None:
                works[contender.provider] = work
            else:
                left_out.append(row("bench", provider=contender.provider, note=reason, **this))
        journal.write(left_out)
        del wanted
        gpu.wake()
        seconds = in_rounds({name: turns(gpu, journal, name, work, this) for name, work in works.items()})
        notes = {c.provider: inexact(journal, c.kernel, cell.precision) for c in contenders(cell)}
        rows = [row("bench", provider=name, metric="milliseconds", values=in_ms(taken), note=notes[name], **this)
                for name, taken in seconds.items()]  # fmt: skip
        if kernel_name == "lstm":
            rows += [row("bench", provider=name, metric=WITH_HOST, values=in_ms([gpu.seconds_with_host(works[name].call,
                     max(2, len(taken[0])))]), **this) for name, taken in seconds.items()]  # fmt: skip
    journal.write(rows)


def in_rounds(asks) -> dict:
    """{name: [the seconds of a turn, ...]}. After a round those go on who may still be the best of a kind."""
    seconds = take_turns(asks, 1)
    medians = {name: statistics.median(taken[0]) for name, taken in seconds.items()}
    best = {rivals: fastest(medians, rivals) or (None, math.inf) for rivals in (False, True)}
    on = {name: asks[name] for name, s in medians.items() if s <= BEHIND * best[is_rival(name)][1]}
    more = take_turns(on, ROUNDS - 1)
    return {name: taken + more.get(name, []) for name, taken in seconds.items() if name in more or name not in on}


def in_ms(turns):
    return [1e3 * s for turn in turns for s in turn]


def inexact(journal, kernel, precision):
    """A remark on someone who is timed though a check of his failed slightly."""
    return next((f"its check: {note}" for note, _ in failures(journal, kernel, precision)), "")


def admit(gpu, journal, cell, given, contender, mode, wanted, made):
    """-> why he is left out and None, or None and what he has made, which stays in `made`"""
    precision = contender.precision or cell.precision
    wrong = failed_check(journal, contender.kernel, precision)
    if wrong:
        return f"its check failed: {wrong}", None
    try:
        work = made.get(contender.provider) or contender.make(gpu, cell, given, *contender.args)
        made[contender.provider] = work
        work.start(mode)
        wrong = difference(work.arrays(), wanted, TOLERANCES[precision])
        return wrong, None if wrong else work
    except Exception as error:  # whatever a library raises: the others go on
        still_there(gpu, error)
        return f"{'' if isinstance(error, Refused) else type(error).__name__ + ': '}{error}", None


def failed_check(journal, kernel, precision):
    """What the first check said that a kernel of ours failed by far: not to be timed. Or None."""
    return next((note for note, slightly in failures(journal, kernel, precision) if not slightly), None)


def failures(journal, kernel, precision):
    """(note, slightly) of each failed check. Slightly: it came to an end, and its numbers are not wrong but inexact, by
    less than SLIGHT times what is allowed."""
    for found in filter(failed, journal.rows):
        if (found["provider"], found["precision"]) == (kernel, precision):
            yield found["note"], found["metric"] == "off by" and 1 < float(found["y_50"] or 0) <= SLIGHT


def still_there(gpu, error):
    """An illegal access to memory ends all work of a process on the device, and after a capture that failed nobody
    knows what does not work any more: then the process has to end, too."""
    if isinstance(error, Spoilt):
        raise SystemExit(f"begun anew after: {error}") from error
    try:
        gpu.wait()
    except Exception:
        raise SystemExit(f"the device does not answer any more after: {error}") from error


def turns(gpu, journal, name, work, about):
    """-> a function that takes a turn: seconds of each call"""
    calls = host = None

    def turn():
        nonlocal calls, host
        journal.beat(provider=name, **about)
        try:
            if calls is None:  # the first turn finds out how long a call takes, with everything warm
                work.call()
                host = gpu.host_seconds(work.call)
                calls = min(max(1, round(TURN / max(gpu.seconds(work.call, 1, host)[0], 1e-9))), MOST_CALLS)
            return gpu.seconds(work.call, calls, host)
        except Exception as error:
            note = f"while it was timed: {type(error).__name__}: {error}"
            journal.write([row("bench", provider=name, note=note, **about)])
            still_there(gpu, error)
            raise Refused(f"{name}: {note}") from error

    return turn
