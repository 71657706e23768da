"""One step of the kernels of lstm_gates.cu, executed on the CPU and compared with minilstm/gates.py in float64. Arrays
lie between NaNs: who reads beside an array gets one, who writes there is found out, and so is who leaves one out."""

import ctypes
import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minilstm.gates import gates_backward, gates_forward

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "lstm_gates.cu").read_text(encoding="utf-8")
MARGIN = 4096    # bytes before and behind an array


class Storage(NamedTuple):
    """A type of a .cu file: the dtype that carries it in NumPy, that of its sums, half a unit in its last place, and
    how many fill 16 bytes. NumPy has no bfloat16; its bits are the upper half of a float32's."""

    name: str
    dtype: type
    sums: type
    half_ulp: float
    width: int

    def encode(self, numbers):
        """Numbers that the type can hold, as it stores them: normal ones are cut to 8 bits, not rounded."""
        bits = numbers.astype(np.float32).view(np.uint32) & 0xFFFF0000
        numbers = bits.view(np.float32)
        return (bits >> 16).astype(np.uint16) if self.name == "__nv_bfloat16" else numbers.astype(self.dtype)

    def decode(self, stored):
        if self.name == "__nv_bfloat16":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float64)


STORAGES = [
    Storage("float", np.float32, np.float32, 2.0**-24, 4),
    Storage("double", np.float64, np.float64, 2.0**-53, 2),
    Storage("__half", np.float16, np.float32, 2.0**-11, 8),
    Storage("__nv_bfloat16", np.uint16, np.float32, 2.0**-8, 8),
]


class Factors(Storage):
    """float, whose numbers have all their bits, for versions that multiply with fewer: half_ulp is that of products."""

    __slots__ = ()

    def encode(self, numbers):
        return numbers.astype(self.dtype)


TF32, BFLOAT16X3 = (Factors(*STORAGES[0])._replace(half_ulp=half_ulp) for half_ulp in (2.0**-11, 2.0**-16))


class Rung(NamedTuple):
    """A version of the ladder for a type, with the number of units that a thread does."""

    version: int
    storage: Storage
    V: int

    def name(self, direction):
        V = f", {self.V}" if self.version > 1 else ""
        return f"gates_{direction}_{self.version}<{self.storage.name}{V}>"

    def sizes(self, B, H, threads):
        """-> grid, block"""
        if self.version == 1:
            return (-(-B * H // threads),), (threads,)
        return (B, -(-H // (threads * self.V))), (threads,)


RUNGS = [Rung(*rung) for s in STORAGES for rung in ((1, s, 1), (2, s, 1), (2, s, s.width))]
NAMES = [rung.name(direction) for direction in ("forward", "backward") for rung in RUNGS]


class Between:
    """An array between NaNs, or between other numbers, in memory that begins at a multiple of 16 bytes. NaNs show who
    reads there; but a NaN made of one has the same bits, so that whoever writes it there is not seen."""

    def __init__(self, array, around=0xFF):
        self.around = around
        self.memory = np.full(array.nbytes + 2 * MARGIN + 16, around, np.uint8)
        self.start = MARGIN + -(self.memory.ctypes.data + MARGIN) % 16
        self.array = self.memory[self.start :][: array.nbytes].view(array.dtype).reshape(array.shape)
        self.array[...] = array

    @classmethod
    def empty(cls, shape, dtype):
        b = cls(np.zeros(shape, dtype))
        b.memory[:] = 0xFF
        return b

    def check(self):
        around = np.delete(self.memory, slice(self.start, self.start + self.array.nbytes))
        assert (around == self.around).all(), "a write beside an array"


class Fenced(Between):
    """An array behind NaNs and at the end of the memory that may be touched: a block has rows and columns beyond the
    last ones, of whose numbers nothing depends, but who reads them there crashes. Allocated by pages."""

    def __init__(self, array, around=0xFF):
        self.around, page = around, mmap.PAGESIZE
        size = -(-(MARGIN + array.nbytes) // page) * page
        room = mmap.mmap(-1, size + page)
        memory = np.frombuffer(room, np.uint8)
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(memory.ctypes.data + size), ctypes.c_size_t(page), 0) == 0
        self.memory, self.start = memory[:size], size - array.nbytes
        self.memory[:] = around
        self.array = self.memory[self.start :].view(array.dtype).reshape(array.shape)
        self.array[...] = array


def close(storage, got, exact, in_sums, stored=True):
    """The rule of all kernels, max|got - exact| <= 2 max|the same in NumPy - exact| + a floor; and what is stored is
    rounded once more."""
    assert np.isfinite(got).all(), "a number that was not written, or one made of what lies beside an array"
    floor = 16 * np.finfo(storage.sums).eps * max(1, abs(exact).max())
    allowed = 2 * abs(in_sums.astype(np.float64) - exact).max() + floor
    if stored and storage.dtype is not storage.sums:
        allowed = allowed + storage.half_ulp * abs(exact) + 2.0**-25
    error = abs(got - exact)
    assert (error <= allowed).all(), f"{error.max():.3g} is too much"


def some_lengths(rng, t, B):
    """(B,) lengths of rows that have ended before step t, end with it, or go on for one step or two."""
    return rng.permutation(np.arange(B, dtype=np.int32) % 4 + t)


def check_forward(kernel, rung, B, H, threads=32, keep=True, in_place=False, seed=0):
    """One step, with what is kept and what is not, beside the same step in NumPy -> h, c, y"""
    s, rng, t = rung.storage, np.random.default_rng(seed), 3
    x, h_gates, h_prev = (s.encode(rng.standard_normal(shape)) for shape in ((B, 4 * H), (B, 4 * H), (B, H)))
    c_prev, lengths = rng.standard_normal((B, H)).astype(s.sums), some_lengths(rng, t, B)
    ins = [Between(a) for a in (x, h_gates, h_prev, c_prev, lengths)]
    shapes = (((B, H), s.dtype), ((B, H), s.sums), ((B, H), s.dtype))
    outs = [Between.empty(*shape) for shape in shapes]
    ifgo = ins[1] if in_place else Between.empty((B, 4 * H), s.dtype)
    arguments = [b.array for b in ins] + [np.int32(n) for n in (t, B, H)] + [b.array for b in outs]
    kernel(*rung.sizes(B, H, threads), (*arguments, ifgo.array if keep else np.uint64(0)))
    for b in (*ins, *outs, ifgo):
        b.check()
    for a, b in zip((x, h_gates, h_prev, c_prev, lengths), ins, strict=True):
        assert b is ifgo or (a == b.array).all(), "an argument was changed"

    def reference(dtype):
        alive = (t < lengths)[:, None]
        before = s.decode(h_prev).astype(dtype), c_prev.astype(dtype)
        h, c, gates = gates_forward(s.decode(x).astype(dtype) + s.decode(h_gates).astype(dtype), before[1])
        return (np.where(alive, h, before[0]), np.where(alive, c, before[1]), np.where(alive, h, 0),
                np.where(alive, gates, 0))  # fmt: skip

    got = [s.decode(outs[0].array), outs[1].array, s.decode(outs[2].array)] + [s.decode(ifgo.array)] * keep
    for i, (a, exact, in_sums) in enumerate(zip(got, reference(np.float64), reference(s.sums), strict=False)):
        close(s, a, exact, in_sums, stored=i != 1)
    return [b.array.copy() for b in outs]


def check_backward(kernel, rung, B, H, threads=32, seed=0):
    """One step beside the same step in NumPy -> dgates, dc"""
    s, rng, t = rung.storage, np.random.default_rng(seed), 3
    dy, dh, dh_T = (s.encode(rng.standard_normal((B, H))) for _ in range(3))
    ifgo = s.encode(rng.uniform(0, 1, (B, 4 * H)))
    c_prev, c, dc = (rng.standard_normal((B, H)).astype(s.sums) for _ in range(3))
    lengths = some_lengths(rng, t, B)
    ins = [Between(a) for a in (dy, dh, dh_T, ifgo, c_prev, c, lengths)]
    dc_out, dgates = Between(dc), Between.empty((B, 4 * H), s.dtype)
    numbers = [np.int32(n) for n in (t, B, H)]
    arguments = [b.array for b in ins] + numbers + [dc_out.array, dgates.array]
    kernel(*rung.sizes(B, H, threads), arguments)
    for b in (*ins, dc_out, dgates):
        b.check()
    for a, b in zip((dy, dh, dh_T, ifgo, c_prev, c, lengths), ins, strict=True):
        assert (a == b.array).all(), "an argument was changed"

    def reference(dtype):
        alive, ends = (t < lengths)[:, None], (t + 1 == lengths)[:, None]
        above = s.decode(np.where(ends, dh_T, dh)).astype(dtype) + s.decode(dy).astype(dtype)
        states = c_prev.astype(dtype), c.astype(dtype)
        dpre, dc_prev = gates_backward(above, dc.astype(dtype), s.decode(ifgo).astype(dtype), *states)
        return np.where(alive, dpre, 0), np.where(alive, dc_prev, dc)

    for got, exact, in_sums, stored in zip(
        (s.decode(dgates.array), dc_out.array), reference(np.float64), reference(s.sums), (True, False), strict=True
    ):
        close(s, got, exact, in_sums, stored)
    return [dgates.array.copy(), dc_out.array.copy()]


def check_all(kernels, rungs=RUNGS, sizes=((1, 1), (2, 5), (5, 24), (3, 280))):
    """Every kernel at every size it takes; kernels: name -> kernel."""
    for rung in rungs:
        forward, backward = (kernels(rung.name(direction)) for direction in ("forward", "backward"))
        for B, H in sizes:
            if H % rung.V == 0:
                check_forward(forward, rung, B, H)
                check_forward(forward, rung, B, H, keep=False, seed=1)
                check_forward(forward, rung, B, H, in_place=True, seed=2)
                check_backward(backward, rung, B, H)


# For cuda_mutants.py: each version, narrow and wide, and a type with another type for its sums.
RUNGS_FOR_BUGS = [r for r in RUNGS if r.storage.name == "float" or r.storage.name == "__half" and r.V == 8]
NAMES_FOR_BUGS = [rung.name(direction) for direction in ("forward", "backward") for rung in RUNGS_FOR_BUGS]


def check_bugs(kernels):
    check_all(kernels, RUNGS_FOR_BUGS, sizes=((5, 24), (3, 280)))
