"""Pickles read as plain data: nothing in them is ever imported, called or changed.

A pickle is a program for a small stack machine. Python's own machine imports and calls whatever the program says, which
is why nobody should load a stranger's pickle with it. This one knows only the opcodes that build numbers, texts, lists,
tuples and dictionaries, in the table at the end. Three kinds of opcode go further in Python, and no further here:

    GLOBAL "torch FloatStorage"    pushes a `Name`, two texts, if it is among the `names` that the caller knows
    REDUCE, NEWOBJ                 hand such a Name and a tuple to the caller's `call`, which makes plain data by itself
    BINPERSID                      hands a tuple to the caller's `persistent`

Every other opcode is refused, and so is every program that is too long or broken. Memory stays in proportion to the
file: an opcode makes one small object, or a text as long as the file's own. What comes out may still refer to one
object many times ("a billion laughs"), so never walk through it, compare it or print it whole.

Opcodes: the source of CPython, Lib/pickletools.py. fastai's files are of protocol 2 (torch), 3 and 4 (vocabularies).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

MAX_OPCODES = 1_000_000  # 0.5 s; fastai's largest vocabulary, 238,462 words, takes about half of it
MAX_NAME = 200  # bytes
MAX_INTEGER = 16  # bytes; the largest that torch writes has 10
MAX_KEY = 2**60  # larger integers can be chosen to have the same hash, and a dictionary of such takes for ever


@dataclass(frozen=True)
class Name:
    """What a pickle calls a function or a class: here, two texts. No tuple: a pickle cannot make one otherwise."""

    module: str
    name: str

    def __str__(self):
        return ascii(f"{self.module:.80}.{self.name:.80}")[1:-1]


class Ignored:
    """What the caller's `call` made of something that nobody needs."""


def _refuse(*_):
    raise ValueError("it asks for more than plain data")


def read_pickle(
    data: bytes, start=0, *, names=frozenset(), call: Callable = _refuse, persistent: Callable = _refuse
) -> tuple[object, int]:
    """Read the pickle that begins at `start` -> its value, and the position behind it.

    names: {(module, name)} that may be named; call(Name, tuple of arguments) and persistent(anything) return what
    takes their place. Raises ValueError, in one line, for whatever is not plain data.
    """
    machine = _Machine(data, start, names, call, persistent)
    for _ in range(MAX_OPCODES):
        opcode = machine.take(1)
        if opcode == b".":  # STOP
            return machine.pop(), machine.position
        if opcode not in OPCODES:
            raise ValueError(f"the pickle's opcode {opcode!r} at byte {machine.position - 1} is not for plain data")
        OPCODES[opcode](machine)
    raise ValueError(f"the pickle has more than {MAX_OPCODES} steps")


class _Machine:
    """The stack, the positions of its marks, and the memo of objects that the pickle refers to once more."""

    def __init__(self, data, position, names, call, persistent):
        self.data, self.position = data, position
        self.names, self.call, self.persistent = names, call, persistent
        self.stack, self.marks, self.memo = [], [], {}

    # --- from the file

    def take(self, n):
        """The next n bytes."""
        piece = self.data[self.position : self.position + n]
        if len(piece) < n:
            raise ValueError(f"the pickle ends at byte {len(self.data)}, in the middle")
        self.position += n
        return piece

    def integer(self, n, signed=False):
        if n > MAX_INTEGER:
            raise ValueError(f"the pickle has an integer of {n} bytes")
        return int.from_bytes(self.take(n), "little", signed=signed)

    def text(self, n):
        return self.take(n).decode("utf-8", "surrogatepass")  # UnicodeDecodeError is a ValueError

    def line(self):
        end = self.data.find(b"\n", self.position, self.position + MAX_NAME)
        if end < 0:
            raise ValueError(f"the pickle has a name without end at byte {self.position}")
        return self.take(end + 1 - self.position)[:-1].decode()

    # --- on the stack

    def push(self, value):
        self.stack.append(value)

    def pop(self, kind=object, what="value"):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError(f"the pickle takes from an empty stack at byte {self.position - 1}")
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise ValueError(f"the pickle needs a {what} at byte {self.position - 1}, got a {type(value).__name__}")
        return value

    def top(self, kind, what):
        self.push(self.pop(kind, what))
        return self.stack[-1]

    def items(self):
        """All that was pushed since the last mark."""
        if not self.marks:
            raise ValueError(f"the pickle has no mark to go back to at byte {self.position - 1}")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def last(self, n):
        return tuple([self.pop() for _ in range(n)][::-1])

    def set_items(self, items):
        target = self.top(dict, "dictionary")
        for key in items[::2]:
            if type(key) is not str and not (type(key) is int and abs(key) < MAX_KEY):
                raise ValueError(f"a dictionary's key must be a text or a small integer at byte {self.position - 1}")
        target.update(zip(items[::2], items[1::2], strict=True))  # of an odd number it is a ValueError

    def recall(self, index):
        if index not in self.memo:
            raise ValueError(f"the pickle refers to an object that it has not made at byte {self.position - 1}")
        self.push(self.memo[index])

    def remember(self, index):
        self.memo[index] = self.top(object, "value")

    # --- what goes further in Python

    def name(self, module, name):
        if (module, name) not in self.names:
            raise ValueError(f"it names {Name(module, name)}, which is not for plain data")
        self.push(Name(module, name))

    def stack_name(self):
        module, name = self.last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError(f"the pickle has a name that is no text at byte {self.position - 1}")
        self.name(module, name)

    def reduce(self):
        arguments, function = self.pop(tuple, "tuple"), self.pop(Name, "name")
        self.push(self.call(function, arguments))

    def build(self):
        """An object's attributes: torch hangs version numbers on its dictionaries. They are dropped."""
        self.pop()
        self.top((dict, Ignored), "dictionary")


OPCODES = {
    # what stands for itself
    b"N": lambda m: m.push(None),  # NONE
    b"\x88": lambda m: m.push(True),  # NEWTRUE
    b"\x89": lambda m: m.push(False),  # NEWFALSE
    b"K": lambda m: m.push(m.integer(1)),  # BININT1
    b"M": lambda m: m.push(m.integer(2)),  # BININT2
    b"J": lambda m: m.push(m.integer(4, signed=True)),  # BININT
    b"\x8a": lambda m: m.push(m.integer(m.integer(1), signed=True)),  # LONG1
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),  # BINFLOAT
    b"\x8c": lambda m: m.push(m.text(m.integer(1))),  # SHORT_BINUNICODE
    b"X": lambda m: m.push(m.text(m.integer(4))),  # BINUNICODE
    b"C": lambda m: m.push(m.take(m.integer(1))),  # SHORT_BINBYTES
    # lists, tuples, dictionaries
    b"]": lambda m: m.push([]),  # EMPTY_LIST
    b"}": lambda m: m.push({}),  # EMPTY_DICT
    b")": lambda m: m.push(()),  # EMPTY_TUPLE
    b"\x85": lambda m: m.push(m.last(1)),  # TUPLE1
    b"\x86": lambda m: m.push(m.last(2)),  # TUPLE2
    b"\x87": lambda m: m.push(m.last(3)),  # TUPLE3
    b"(": lambda m: m.marks.append(len(m.stack)),  # MARK
    b"t": lambda m: m.push(tuple(m.items())),  # TUPLE
    b"a": lambda m: (lambda value: m.top(list, "list").append(value))(m.pop()),  # APPEND
    b"e": lambda m: (lambda values: m.top(list, "list").extend(values))(m.items()),  # APPENDS
    b"s": lambda m: m.set_items(m.last(2)),  # SETITEM
    b"u": lambda m: m.set_items(m.items()),  # SETITEMS
    # the memo
    b"q": lambda m: m.remember(m.integer(1)),  # BINPUT
    b"r": lambda m: m.remember(m.integer(4)),  # LONG_BINPUT
    b"\x94": lambda m: m.remember(len(m.memo)),  # MEMOIZE
    b"h": lambda m: m.recall(m.integer(1)),  # BINGET
    b"j": lambda m: m.recall(m.integer(4)),  # LONG_BINGET
    # what a pickle names
    b"c": lambda m: m.name(m.line(), m.line()),  # GLOBAL
    b"\x93": lambda m: m.stack_name(),  # STACK_GLOBAL
    b"R": lambda m: m.reduce(),  # REDUCE
    b"\x81": lambda m: m.reduce(),  # NEWOBJ
    b"b": lambda m: m.build(),  # BUILD
    b"Q": lambda m: m.push(m.persistent(m.pop())),  # BINPERSID
    # how the file is laid out
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.take(8),  # FRAME
}
