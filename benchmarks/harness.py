"""Check, then time: contenders in processes of their own (workers.py), which take turns.

    A B C A B C ...     what else the machine does meets all alike; medians and 20/80 percentiles over the rounds

No contender is timed before all of its results have been compared with numbers in float64.
"""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from workers import Refused

TURN = 0.05  # seconds a turn should last: as many calls as that takes
WARM_UP = 0.05  # seconds of calls before those that count
LONG = 0.25  # seconds: a call that takes longer needs no warm-up
REST = 0.05  # seconds after a turn, about: see workers.rest
MOST_ROUNDS = 40


class Work(Protocol):
    """What a contender makes in its process of a problem."""

    def call(self, mode):
        """What is timed."""

    def arrays(self, mode) -> dict:
        """{name: array} of all that comes out of a call, to be checked."""


class Contender(NamedTuple):
    name: str  # the provider of its rows
    make: Callable  # make(*args, **shape) -> Work; a function of a module, for it is sent to the process by its name
    args: tuple = ()


class Effort(NamedTuple):
    rounds: int  # at least
    seconds: float  # for all contenders together, in one mode at one shape


FULL, QUICK = Effort(5, 3.0), Effort(2, 0.0)


def difference(found, expected, tolerance) -> str | None:
    """What is wrong with some arrays, in a few words, or None. `tolerance` is relative to an array's largest number."""
    if found.keys() != expected.keys():
        return f"there came {', '.join(sorted(found))} and not {', '.join(sorted(expected))}"
    for name, want in expected.items():
        got, want = found[name], np.asarray(want)
        if got.shape != want.shape:
            return f"{name} has the shape {got.shape} and not {want.shape}"
        error = np.abs(got - want).max(initial=0) / max(np.abs(want).max(initial=0), np.finfo(np.float32).tiny)
        if not error <= tolerance:  # NaN is not, either
            return f"{name} is off by {error:.2g} of its largest number (allowed: {tolerance:.2g})"
    return None


def admit(workers, contenders, shape, expected, tolerance, say=print) -> list[str]:
    """The names of the contenders that make what is `expected`, {mode: arrays}; of the others, it is said why not."""
    admitted = []
    for name, make, args in contenders:
        try:
            workers[name].ask("make", make, args, shape)
            for mode, arrays in expected.items():
                wrong = difference(workers[name].ask("arrays", mode), arrays, tolerance)
                if wrong:
                    raise Refused(f"{name}: {mode}: {wrong}")
            admitted.append(name)
        except Refused as refused:
            say(f"  left out at {shape}: {refused}")
    return admitted


def take_turns(asks, rounds, say=print) -> dict:
    """{name: a function that takes a turn -> seconds} -> {name: the seconds of every round}

    A contender that cannot go on is named and left out: its rounds would not have met what the others' met.
    """
    seconds = {name: [] for name in asks}
    for _ in range(rounds):
        for name in list(seconds):
            try:
                seconds[name].append(asks[name]())
            except Refused as refused:
                say(f"  left out while it was timed: {refused}")
                del seconds[name]
    return seconds


def time_in_turns(workers, names, mode, effort, say=print) -> dict:
    """{name: seconds a call, in every round} of the contenders that are admitted and stay to the end."""

    def turn(name, calls, warm_up=0.0):
        def ask():
            seconds = workers[name].ask("time", mode, calls, warm_up)
            workers[name].ask("rest")
            return seconds

        return ask

    first = {name: s for name, (s,) in take_turns({n: turn(n, 1) for n in names}, 1, say).items()}  # does not count
    warm_up = {name: WARM_UP if s < LONG else 0.0 for name, s in first.items()}
    calls = {name: min(max(1, round(TURN / max(s, 1e-9))), 1000) for name, s in first.items()}
    a_round = sum(warm_up[name] + s * calls[name] + REST for name, s in first.items())
    rounds = min(max(effort.rounds, math.floor(effort.seconds / max(a_round, 1e-9))), MOST_ROUNDS)
    return take_turns({n: turn(n, calls[n], warm_up[n]) for n in first}, rounds, say)


def compare(workers, contenders, shape, expected, *, tolerance, effort, say=print) -> dict:
    """Check, then time -> {(mode, name): seconds a call, in every round}"""
    names = admit(workers, contenders, shape, expected, tolerance, say)
    return {
        (mode, name): seconds
        for mode in expected
        for name, seconds in time_in_turns(workers, names, mode, effort, say).items()
    }


def options(doc, names):
    """The command line that all benchmarks share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=cores, help="for everybody (default: one per processor)")
    parser.add_argument("--contenders", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="tiny problems, to see that all runs; writes no results")
    parser.add_argument("--out", type=Path, help="the file for the results (default: benchmarks/results)")
    return parser
