"""A whole LSTM, and its loop over time alone: everybody checked, then timed in turns, cell by cell."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from gpu_cells import MODES, NEAR_FLOAT32, cells
from gpu_compile import compile_ahead
from gpu_cudnn import ALGORITHMS
from gpu_cudnn_lstm import CudnnLSTM
from gpu_ladder import Loop, arrangements, offers, products, runnable, versions
from gpu_problems import TOLERANCES, Stack, difference, expected, problem
from gpu_results import failed, row
from gpu_torch import Torch
from harness import take_turns
from workers import Refused

REFERENCE = "reference"
TURN = 5e-3  # seconds of calls in a turn, about
MOST_CALLS, ROUNDS = 20, 6


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
    all_cells = all_cells or cells()
    compile_ahead(gpu, journal, [(cell.B, cell.H, p) for cell in all_cells for p in (cell.precision, NEAR_FLOAT32)
                                 if p == cell.precision or cell.precision == "float32"], until)  # fmt: skip
    for cell in all_cells:
        given = None
        for kernel_name, (contenders, reference) in KERNELS.items():
            for mode in MODES:
                everybody = contenders(cell)
                about = {"kernel_name": kernel_name, "precision": cell.precision, "mode": mode, "shape": cell.shape}
                if not everybody or journal.measured(**about) or journal.refusal(REFERENCE, **about):
                    continue
                if time.time() > until:
                    return
                given = given or problem(cell)
                compare(gpu, journal, cell, everybody, reference, given, about)
        gpu.release()


def compare(gpu, journal, cell, everybody, reference, given, about):
    """One cell in one mode: rows of those who were left out, then of all who were timed together."""
    works, left_out = {}, []
    with journal.doing(provider=REFERENCE, **about):
        wanted = reference(gpu, cell, given, about["mode"])
        for contender in everybody:
            if journal.refusal(contender.provider, **about) is not None:  # the last process did not outlive it
                continue
            journal.beat(provider=contender.provider, **about)
            reason, work = admit(gpu, journal, cell, given, contender, about["mode"], wanted)
            if reason is None:
                works[contender.provider] = work
            else:
                left_out.append(row("bench", provider=contender.provider, note=reason, **about))
        journal.write(left_out)
        del wanted
        gpu.wake()
        seconds = take_turns({name: turns(gpu, journal, name, work, about) for name, work in works.items()}, ROUNDS)
    journal.write([
        row("bench", provider=name, metric="milliseconds", values=[1e3 * s for turn in taken for s in turn], **about)
        for name, taken in seconds.items()
    ])  # fmt: skip


def admit(gpu, journal, cell, given, contender, mode, wanted):
    """-> why he is left out and None, or None and what he has made"""
    precision = contender.precision or cell.precision
    wrong = failed_check(journal, contender.kernel, precision)
    if wrong:
        return f"its check failed: {wrong}", None
    try:
        work = contender.make(gpu, cell, given, *contender.args)
        work.start(mode)
        wrong = difference(work.arrays(), wanted, TOLERANCES[precision])
        return wrong, None if wrong else work
    except Exception as error:  # whatever a library raises: the others go on
        still_there(gpu, error)
        return f"{'' if isinstance(error, Refused) else type(error).__name__ + ': '}{error}", None


def failed_check(journal, kernel, precision):
    """What the first failed check of a kernel of ours said, or None."""
    mine = (found["note"] for found in filter(failed, journal.rows)
            if (found["provider"], found["precision"]) == (kernel, precision))  # fmt: skip
    return next(mine, None)


def still_there(gpu, error):
    """An illegal access to memory ends all work of a process on the device: then the process has to end, too."""
    try:
        gpu.wait()
    except Exception:
        raise SystemExit(f"the device does not answer any more after: {error}") from error


def turns(gpu, journal, name, work, about):
    """-> a function that takes a turn: seconds of each call"""
    calls = None

    def turn():
        nonlocal calls
        journal.beat(provider=name, **about)
        try:
            if calls is None:  # the first turn finds out how long a call takes, with everything warm
                gpu.seconds(work.call, 2)
                calls = min(max(1, round(TURN / max(gpu.seconds(work.call, 1)[0], 1e-9))), MOST_CALLS)
            return gpu.seconds(work.call, calls)
        except Exception as error:
            note = f"while it was timed: {type(error).__name__}: {error}"
            journal.write([row("bench", provider=name, note=note, **about)])
            still_there(gpu, error)
            raise Refused(f"{name}: {note}") from error

    return turn
