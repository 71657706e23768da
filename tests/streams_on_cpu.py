"""Would it be right on a GPU, whose streams go on at their own pace? The stand-in for CuPy has done everything when a
call returns, and so every result is right whatever waits for what. Here it is noted which stream uses which memory, and
a fault is what no chain of events puts into an order.

    order     a ufunc, a copy, a launch. Each is the next of its stream, and comes after everything that this stream has
              waited for: clocks[a][b] says how many orders of b are done before the next one of a begins.
    memory    as in CuPy's pool, it belongs to the stream that it was allocated on, and is given to that one again as
              soon as nothing refers to it: any allocation may get all that was freed on its stream so far.
    fault     a stream reads or writes what another one writes, or writes or is given what another one reads, without
              having waited for it
"""

import weakref
from collections import Counter
from contextlib import contextmanager
from functools import wraps
from unittest.mock import patch

import cupy_on_cpu
import numpy as np
from cupy_on_cpu import Event, Graph, Stream, ndarray

from minilstm import arrays


class Memory:
    def __init__(self, root, home):
        self.home, self.first, self.size = home, root.ctypes.data, root.nbytes
        self.written, self.read = Counter(), Counter()  # {stream: the last of its orders that did}


class Watch:
    """What streams did with memory."""

    def __init__(self, deaf_to=()):
        """deaf_to: numbers of waits, in the order in which they are asked for, that are not waited for"""
        self.clocks, self.memory, self.freed, self.faults = {}, {}, {}, []
        self.deaf_to, self.waits = deaf_to, []  # waits: of each, the stream that waits and the one it waits for

    # --- events

    def record(self, stream):
        event = Event()
        event.stream, event.clock = stream, Counter(self.clock(stream))
        return event

    def wait_event(self, stream, event):
        if len(self.waits) not in self.deaf_to:
            self.clocks[stream] = self.clock(stream) | event.clock
        self.waits.append((stream, event.stream))

    def clock(self, stream):
        return self.clocks.setdefault(stream, Counter())

    # --- orders

    def order(self, read, written, made):
        """The current stream reads, writes and makes arrays."""
        stream = cupy_on_cpu._streams[-1]
        self.clock(stream)[stream] += 1
        known = set(self.memory)
        for a in arrays_in(read):
            self.use(stream, a, False)
        for a in [*arrays_in(written), *(a for a in arrays_in(made) if id(root(a)) not in known)]:
            self.use(stream, a, True)

    def use(self, stream, a, writes):
        memory = self.find(stream, root(a))
        if memory is None:
            return
        self.check(stream, memory.written, "written")
        if writes:
            self.check(stream, memory.read, "read")
        (memory.written if writes else memory.read)[stream] = self.clock(stream)[stream]

    def find(self, stream, a):
        if a.nbytes == 0:
            return None
        if id(a) not in self.memory:  # allocated just now
            for uses in self.freed.pop(stream, ()):
                self.check(stream, uses, "used after it was freed")
            self.memory[id(a)] = Memory(a, stream)
            weakref.finalize(a, self.free, id(a))
        return self.memory[id(a)]

    def free(self, name):
        memory = self.memory.pop(name)
        self.freed.setdefault(memory.home, []).append(memory.written | memory.read)

    def check(self, stream, uses, said):
        for other, k in uses.items():
            if self.clock(stream)[other] < k:
                self.faults.append(f"{self.name(stream)} does not wait for {self.name(other)}: memory is {said} there")

    def name(self, stream):
        return f"stream {list(self.clocks).index(stream)}"

    def at(self, address):
        """The array that is there."""
        found = [name for name, m in self.memory.items() if m.first <= address < m.first + m.size]
        return self.memory[found[0]] if found else None

    # --- what gives orders

    def around(self, theirs, written=lambda *args, out=(), **options: out):
        """A function that reads its arrays, writes those that `written` says, and may make others"""

        @wraps(theirs)
        def ours(*args, **options):
            made = theirs(*args, **options)
            if cupy_on_cpu._streams[-1].captured is None:
                self.order((args, *options.values()), written(*args, **options), made)
            return made

        return ours

    def launch(self, theirs):
        def ours(kernel, grid, block, args, **options):
            theirs(kernel, grid, block, args, **options)
            if cupy_on_cpu._streams[-1].captured is None:
                written = [a for letters, a in zip(kernel.parameters, args, strict=True) if "const" not in letters]
                self.order(args, written, ())

        return ours

    def launch_graph(self, theirs):
        """Its kernels find arrays by the addresses in a table (kernels/cupy_graph.py)."""

        def ours(graph):
            theirs(graph)
            stream, table = cupy_on_cpu._streams[-1], graph.launches[0][1][0]()
            self.order([table], (), ())
            for address in table.view(np.ndarray).tolist():
                if memory := self.at(address):
                    self.check(stream, memory.written | memory.read, "used")
                    memory.written[stream] = self.clock(stream)[stream]

        return ours


def root(a):
    """The array whose memory this one looks at."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def arrays_in(values):
    if isinstance(values, ndarray):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from arrays_in(value)


@contextmanager
def watched(**options):
    """-> the Watch of everything that is done on the stand-in's arrays in this block. The streams that are kept from
    call to call are others, here."""
    watch = Watch(**options)
    functions = cupy_on_cpu._StandIn.__getattr__

    def function(module, name):
        theirs = functions(module, name)
        return watch.around(theirs) if callable(theirs) and not isinstance(theirs, type) else theirs

    def first(*args, **options):
        return args[0]

    hooks = [
        (Stream, "record", watch.record), (Stream, "wait_event", watch.wait_event),
        (cupy_on_cpu._StandIn, "__getattr__", function), (Graph, "launch", watch.launch_graph(Graph.launch)),
        (cupy_on_cpu._Kernel, "__call__", watch.launch(cupy_on_cpu._Kernel.__call__)),
        (ndarray, "__setitem__", watch.around(ndarray.__setitem__, first)),
        *((ndarray, name, watch.around(getattr(ndarray, name)))
          for name in ("__array_ufunc__", "__array_function__", "astype", "copy", "reshape", "get")),
    ]  # fmt: skip
    with patch.object(arrays, "_kept", arrays._Kept()):
        patches = [patch.object(owner, name, _method(hook)) for owner, name, hook in hooks]
        for p in patches:
            p.start()
        try:
            yield watch
        finally:
            for p in patches:
                p.stop()


def _method(hook):
    """As a function of the object that it is called on"""
    return lambda *args, **options: hook(*args, **options)
