"""A team of threads that work on one call together, and the barrier at which they wait for each other.

    run(work, a, b, c)      calls work(Member, a, b, c) in every thread of the team, and returns when all are done

`work` is compiled and holds no GIL, so the members really run at once. Each takes its `share` of what there is to do;
where one needs what another has made, all meet at a barrier. A barrier costs 50 nanoseconds between two, because
members that wait do not sleep: they watch a counter. One that waits for long (the machine has other things to do)
offers its core to others between two looks.

All of this must hold wherever it is called:
- The results do not depend on the number of threads: no sum is ever split between members.
- One call at a time has the team. A call that comes while it is busy (another Python thread, as in joblib) works alone.
- After a fork the child has none of its parent's threads: it makes its own.
"""

import ctypes
import os
import queue
import sys
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from operator import call

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .cpu_compile import has, inlined
from .cpu_threads import get_num_threads

_OPEN = 1 << 62      # at a barrier: more than it waits for, whoever is missing
_LOOKS = 20_000      # at the counter before the core is offered to others, which can cost milliseconds


class _Team:
    """Threads that wait for work, one fewer than members: the caller is a member, too."""

    def __init__(self):
        self.caller = {}                    # {"is": whoever has the team now}
        self.threads, self.tasks, self.processors = [], [], []  # of each: where it last worked, if that can be known

    def grow(self, members):
        while len(self.tasks) < members - 1:
            n, tasks = len(self.tasks), queue.SimpleQueue()
            thread = threading.Thread(target=self._serve, args=(n, tasks), name="minilstm-cpu", daemon=True)
            self.threads.append(thread)
            self.processors.append(None)
            try:
                thread.start()
            except RuntimeError:            # no more threads to be had: those that there are will do
                self.threads.pop(), self.processors.pop()
                return
            self.tasks.append(tasks)        # only now: a thread that could not be started is no member

    def _serve(self, n, tasks):
        while True:
            work, args, allowed, errors, finished = tasks.get()
            if allowed:                     # it was sent to another processor; it may go where it likes again
                with suppress(OSError):
                    os.sched_setaffinity(0, allowed)
            try:
                work(*args)
            except BaseException as error:
                _, _, counter = args[0]
                counter[0] = _OPEN
                errors.append(error)
            del work, args, errors          # or the last call's arrays would live until the next one
            self.processors[n] = _processor()
            finished.release()

    def part(self, members):
        """-> for each member but the caller, None, or the processors that it may use again once it has started.

        A thread tends to wake on the processor it slept on, and its caller may be there by now. Two members on one
        processor wait for each other until the system notices, which takes longer than most calls.
        """
        taken, moved = {_processor()}, [None] * (members - 1)
        for n, last in enumerate(self.processors[: members - 1]):
            if last in taken and last is not None:
                allowed = os.sched_getaffinity(0)
                if allowed - taken:
                    last = min(allowed - taken)
                    with suppress(OSError):     # some systems do not let a program choose
                        os.sched_setaffinity(self.threads[n].native_id, {last})
                        moved[n] = allowed
            taken.add(last)
        return moved


def _processor():
    """The number of the processor that this thread is on; None where the system does not say."""
    return _sched_getcpu() if _sched_getcpu is not None else None


_sched_getcpu = getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None
_team = _Team()


def _after_fork():
    global _team
    _team = _Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(work, *args, at_most: int = 1 << 30):
    """work((member, members, counter), *args) in every thread of the team.

    `at_most`: more members than that would have nothing to do, or less to do than it takes to wake them.
    """
    members = max(1, min(get_num_threads(), at_most))
    me, caller = object(), _team.caller
    try:
        if members > 1 and caller.setdefault("is", me) is me:   # asks and takes in one step
            _run_together(work, args, members)
        else:
            work((0, 1, np.zeros(8, np.int64)), *args)
    finally:
        if caller.get("is") is me:
            del caller["is"]


def _run_together(work, args, members):
    """Whatever happens to the caller, an error or Ctrl-C at any moment: all do their parts, and all have done them.

    A member without the others would wait at the first barrier for ever. So an interrupted caller goes on where it was
    (an iterator knows what is left of it), and raises at the end. Where its own part was broken off, while it was
    compiled or loaded, the barriers are opened: what the others make of it is thrown away.
    """
    _team.grow(members)
    members = min(members, 1 + len(_team.tasks))
    counter = np.zeros(8, np.int64)         # how often someone has come to a barrier
    errors, finished = [], [threading.Lock() for _ in range(members - 1)]
    parts = []
    for n, allowed in enumerate(_team.part(members)):
        finished[n].acquire()
        task = work, ((n + 1, members, counter), *args), allowed, errors, finished[n]
        parts.append(partial(_team.tasks[n].put, task))
    parts.append(partial(work, (0, members, counter), *args))
    parts = map(call, parts)                # nothing has begun yet
    while True:
        try:
            deque(parts, maxlen=0)          # the others' first, then the caller's own
            for member in finished:
                with member:
                    pass
            break
        except BaseException as error:
            counter[0] = _OPEN
            errors.append(error)
    if errors:
        raise errors[0]


@inlined
def share(units, member, members):
    """-> first, last + 1 of the units that are this member's: as equal as they can be"""
    return units * member // members, units * (member + 1) // members


@inlined
def barrier(at, members, counter):
    """Come here for the `at`-th time (from 1), and wait until everybody has."""
    if members > 1:
        arrive(counter)
        looks = 0
        while arrived(counter) < at * members:
            looks += 1
            if looks < _LOOKS:
                pause()
            else:
                offer_core()


# --- four instructions that Python has no words for ----------------------------------------------------------------


def _counter_pointer(context, builder, signature, args):
    return context.make_array(signature.args[0])(context, builder, value=args[0]).data


@intrinsic
def arrive(typingctx, counter):
    """counter[0] += 1, at once and visible to all, with everything that was written before it."""

    def emit(context, builder, signature, args):
        pointer = _counter_pointer(context, builder, signature, args)
        builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "acq_rel")
        return context.get_dummy_value()

    return types.void(counter), emit


@intrinsic
def arrived(typingctx, counter):
    """counter[0] as it is now, with everything that was written before it was counted up."""

    def emit(context, builder, signature, args):
        return builder.load_atomic(_counter_pointer(context, builder, signature, args), "acquire", 8)

    return types.int64(counter), emit


@intrinsic
def pause(typingctx):
    """Tell the processor that this is a loop that waits."""

    def emit(context, builder, signature, args):
        nothing = ir.FunctionType(ir.VoidType(), [])
        if has("avx"):
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def offer_core(typingctx):
    """Let another thread have this core for a moment, where the system knows how."""

    def emit(context, builder, signature, args):
        if hasattr(os, "sched_yield"):
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), emit
