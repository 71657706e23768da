"""The kernels of lstm_cluster.cu, executed on the CPU and compared with ReferenceRecurrence in float64: every version,
with clusters, tiles and registers cut up in ways that the plan for a real GPU would not take, too. Arrays lie between
NaNs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from gates_on_cpu import STORAGES, Between, Storage

from minilstm.recurrence import ReferenceRecurrence

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "lstm_cluster.cu").read_text(encoding="utf-8")
REFERENCE = ReferenceRecurrence()
FLOAT, DOUBLE, HALF, BFLOAT16 = STORAGES
SEEN = 12    # half units in the last place of the largest number: 8 were the most in 225 draws
NULL = np.uint64(0)


class Cut(NamedTuple):
    """One instance of the kernels: how the weights are cut up, and for which H."""

    storage: Storage
    version: int
    cluster: int
    warps: int
    H: int
    kept: int = 99    # fragments in registers, at most
    rows: int = 8

    def fragments(self, direction):
        chunks = (self.warps + 1) // 2
        return -(-self.H // 32) if direction == "forward" else chunks * -(-self.H // (16 * self.warps))

    def name(self, direction):
        n = self.fragments(direction)
        numbers = self.version, self.cluster, self.warps, n, min(self.kept, n), self.rows
        return f"lstm_{direction}<{self.storage.name}, {', '.join(map(str, numbers))}>"

    def names(self):
        return [kind for d in ("forward", "backward") for kind in (self.name(d), f"pack_{d}<{self.storage.name}>")]

    def shared_mem(self, direction):
        size, gates = self.storage.dtype().itemsize, 16 * self.warps
        columns = -(-(self.H if direction == "forward" else gates) // 32) * 32
        row = (columns + (0 if columns * size % 128 else 64 // size)) * size
        sums = 2 * self.cluster * 4 * self.warps * self.storage.sums().itemsize
        others = self.fragments(direction) - min(self.kept, self.fragments(direction))
        return self.rows * (2 * row if direction == "forward" else row + sums) + others * size * 512 * self.warps


def pack(kernels, cut, direction, weight_hh):
    """-> the packed weights"""
    pieces = cut.cluster * cut.fragments(direction) * cut.storage.dtype().itemsize * 32 * cut.warps
    packed = Between.empty(pieces * 16 // cut.storage.dtype().itemsize, cut.storage.dtype)
    numbers = [np.int32(n) for n in (cut.H, cut.cluster, cut.warps, cut.fragments(direction))]
    kernel = kernels(f"pack_{direction}<{cut.storage.name}>")
    kernel((-(-pieces // 96),), (96,), (weight_hh, *numbers, packed.array))    # more threads than pieces
    packed.check()
    return packed.array


def launch(kernels, cut, direction, B, args, **options):
    kernel = kernels(cut.name(direction))
    kernel.max_dynamic_shared_size_bytes = 227 * 1024
    grid = (cut.cluster * -(-B // cut.rows),)
    kernel(grid, (32 * cut.warps,), args, shared_mem=cut.shared_mem(direction), **options)


def check(kernels, cut, T, B, seed=0, keep=True, given=True, lengths=None, **options):
    """A forward and a backward beside those of the reference -> all that they return.

    given: is anything said about y, h_T and c_T? lengths: None for some of every kind."""
    s, H, rng = cut.storage, cut.H, np.random.default_rng(seed)
    shapes = (T, B, 4 * H), (4 * H, H), (B, H), (T, B, H), (B, H)
    x, weight_hh, h0, dy, dh_T = (s.encode(rng.standard_normal(n) * H ** (-0.5 * (n == (4 * H, H)))) for n in shapes)
    c0, dc_T = rng.standard_normal((2, B, H)).astype(s.sums)
    lengths = rng.permutation(np.arange(B) % (T + 1)) if lengths is None else lengths
    lengths = np.asarray(lengths, np.int32)
    sizes, rows = [np.int32(n) for n in (T, B, H)], T + 1 if keep else 2

    h, c = Between.empty((rows, B, H), s.dtype), Between.empty((rows, B, H), s.sums)
    h.array[0], c.array[0] = h0, c0
    y, ifgo = Between.empty((T, B, H), s.dtype), Between.empty((T, B, 4 * H), s.dtype)
    ins = [Between(a) for a in (x, lengths, dy, dh_T, dc_T)]
    packed = pack(kernels, cut, "forward", Between(weight_hh).array)
    args = ins[0].array, packed, ins[1].array, *sizes, np.int32(rows), h.array, c.array, y.array
    launch(kernels, cut, "forward", B, (*args, ifgo.array if keep else NULL), **options)
    exact = REFERENCE.forward(s.decode(x), s.decode(weight_hh), s.decode(h0), c0.astype(float), lengths)
    saved, last = exact[3], T % rows
    got = {"y": s.decode(y.array), "h_T": s.decode(h.array[last]), "c_T": c.array[last]}
    want = dict(zip(got, exact, strict=False))
    if keep:
        got |= {"h": s.decode(h.array), "c": c.array, "ifgo": s.decode(ifgo.array)}
        want |= {"h": saved.h, "c": saved.c, "ifgo": saved.ifgo}
        alive = (np.arange(T)[:, None] < lengths)[..., None]
        saved.ifgo, saved.c = s.decode(ifgo.array), c.array.astype(float)    # what backward is given
        outs = [Between.empty(*n) for n in (((T, B, 4 * H), s.dtype), ((B, H), s.dtype), ((B, H), s.sums))]
        packed = pack(kernels, cut, "backward", Between(weight_hh).array)
        d = [b.array if given else NULL for b in ins[2:]]
        args = *d, ifgo.array, c.array, packed, ins[1].array, *sizes
        launch(kernels, cut, "backward", B, (*args, *(b.array for b in outs)), **options)
        d = (s.decode(dy), s.decode(dh_T), dc_T.astype(float)) if given else (None,) * 3
        names = "dgates", "dh0", "dc0"
        want |= dict(zip(names, REFERENCE.backward(*d, saved, s.decode(weight_hh)), strict=True))
        got |= dict(zip(names, (s.decode(outs[0].array), s.decode(outs[1].array), outs[2].array), strict=True))
        assert not got["dgates"][~np.broadcast_to(alive, (T, B, 4 * H))].any()
        for b in outs:
            b.check()
    for b in (h, c, y, ifgo, *ins):
        b.check()
    for name, a in got.items():
        assert np.isfinite(a).all(), f"{name}: a number that was not written, or made of one that is not there"
        error, allowed = abs(a - want[name]).max(), SEEN * s.half_ulp * max(1, abs(want[name]).max())
        assert error <= allowed, f"{name}: {error:.3g} is more than {allowed:.3g}"
    for b, a in zip(ins, (x, lengths, dy, dh_T, dc_T), strict=True):
        assert (b.array == a).all(), "an argument was changed"
    return got


# Two tiles for each warp in backward, or products of two chunks; weights in both places; blocks without any unit left
CUTS = [
    Cut(FLOAT, 1, 8, 2, 35, kept=1),
    Cut(FLOAT, 1, 3, 3, 35, kept=0, rows=16),
    Cut(DOUBLE, 1, 1, 2, 7),
    Cut(DOUBLE, 1, 2, 5, 37, kept=1),
    Cut(HALF, 1, 2, 2, 9, rows=16),
    Cut(HALF, 2, 4, 3, 40, rows=32),
    Cut(BFLOAT16, 1, 2, 1, 5),
    Cut(BFLOAT16, 2, 8, 2, 35, kept=1, rows=16),
    Cut(BFLOAT16, 2, 16, 1, 60),
]

# For cuda_mutants.py
CUTS_FOR_BUGS = [Cut(FLOAT, 1, 8, 2, 35, kept=1), Cut(HALF, 2, 3, 3, 35, rows=16)]
NAMES_FOR_BUGS = sorted({name for cut in CUTS_FOR_BUGS for name in cut.names()})


def check_bugs(kernels):
    for cut in CUTS_FOR_BUGS:
        check(kernels, cut, 4, 11)
        check(kernels, cut, 3, 9, seed=1, given=False)
        check(kernels, cut, 3, 2, seed=2, keep=False)
