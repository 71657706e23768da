"""The kernels of lstm_persistent.cu, executed on the CPU, with real barriers between blocks, and compared with
ReferenceRecurrence in float64: every version, cut up in ways that the plan for a real GPU would not take, too. Arrays
lie between NaNs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from gates_on_cpu import STORAGES, Between, Storage

from minilstm.recurrence import ReferenceRecurrence
from minilstm_kernels.persistent_plan import with_sizes

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "lstm_persistent.cu").read_text(encoding="utf-8")
REFERENCE = ReferenceRecurrence()
FLOAT, DOUBLE, HALF, BFLOAT16 = STORAGES
SEEN = 12    # half units in the last place of the largest number
NULL = np.uint64(0)
DTYPES = {"float": "float32", "double": "float64", "__half": "float16", "__nv_bfloat16": "bfloat16"}


class Cut(NamedTuple):
    """One instance of the kernels, forward and backward: how the work is cut up, and for which H."""

    storage: Storage
    version: int
    H: int
    units: int       # of a block
    rows: int = 1    # of a group
    warps: int = 1
    kept: int = 99   # fragments in registers, at most

    def plan(self, direction, B):
        dtype, groups = DTYPES[self.storage.name], -(-B // self.rows)
        sizes = groups, self.units, self.rows, self.warps
        return with_sizes(direction, self.version, self.H, dtype, *sizes, most_kept=self.kept)

    def name(self, direction):
        return self.plan(direction, 1).name(direction, self.version, self.storage.name)

    def names(self):
        return [self.name(direction) for direction in ("forward", "backward")]


def launch(kernels, cut, direction, B, args, polls=10**6, absent=0, **options):
    """absent: blocks that the launch leaves out -> what blocks say when they give up, or 0"""
    how, kernel = cut.plan(direction, B), kernels(cut.name(direction))
    kernel.max_dynamic_shared_size_bytes = 227 * 1024
    exchange = Between(np.zeros((how.groups, 2, how.rows, how.columns), cut.storage.dtype))
    arrived, given_up = Between(np.zeros(how.groups * 32, np.uint32)), Between(np.zeros(1, np.int32))
    ins, outs = args
    args = *ins, np.int32(0), np.int32(how.blocks), *outs, exchange.array, arrived.array, given_up.array
    grid = (how.groups * how.blocks - absent,)
    kernel(grid, (32 * how.warps,), (*args, np.uint32(polls)), shared_mem=how.shared_mem, **options)
    for b in (exchange, arrived, given_up):
        b.check()
    return given_up.array[0]


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
    ins = [Between(a) for a in (x, weight_hh, lengths, dy, dh_T, dc_T)]
    x_in, weight_in, lengths_in, *d_in = (b.array for b in ins)
    into = h.array, c.array, y.array, ifgo.array if keep else NULL
    args = (x_in, weight_in, lengths_in, *sizes, np.int32(rows)), into
    assert not launch(kernels, cut, "forward", B, args, **options)
    exact = REFERENCE.forward(s.decode(x), s.decode(weight_hh), s.decode(h0), c0.astype(float), lengths)
    saved, last = exact[3], T % rows
    got = {"y": s.decode(y.array), "h_T": s.decode(h.array[last]), "c_T": c.array[last]}
    want = dict(zip(got, exact, strict=False))
    if keep:
        got |= {"h": s.decode(h.array), "c": c.array, "ifgo": s.decode(ifgo.array)}
        want |= {"h": saved.h, "c": saved.c, "ifgo": saved.ifgo}
        saved.ifgo, saved.c = s.decode(ifgo.array), c.array.astype(float)    # what backward is given
        outs = [Between.empty(*n) for n in (((T, B, 4 * H), s.dtype), ((B, H), s.dtype), ((B, H), s.sums))]
        args = (*(d_in if given else [NULL] * 3), ifgo.array, c.array, weight_in, lengths_in, *sizes)
        assert not launch(kernels, cut, "backward", B, (args, [b.array for b in outs]), **options)
        d = (s.decode(dy), s.decode(dh_T), dc_T.astype(float)) if given else (None,) * 3
        names = "dgates", "dh0", "dc0"
        want |= dict(zip(names, REFERENCE.backward(*d, saved, s.decode(weight_hh)), strict=True))
        got |= dict(zip(names, (s.decode(outs[0].array), s.decode(outs[1].array), outs[2].array), strict=True))
        assert not got["dgates"][np.arange(T)[:, None] >= lengths].any()
        for b in outs:
            b.check()
    for b in (h, c, y, ifgo, *ins):
        b.check()
    for b, a in zip(ins, (x, weight_hh, lengths, dy, dh_T, dc_T), strict=True):
        assert (b.array == a).all(), "an argument was changed"
    for name, a in got.items():
        assert np.isfinite(a).all(), f"{name}: a number that was not written, or made of one that is not there"
        error, allowed = abs(a - want[name]).max(), SEEN * s.half_ulp * max(1, abs(want[name]).max())
        assert error <= allowed, f"{name}: {error:.3g} is more than {allowed:.3g}"
    return got


# Weights in both places; several tiles of vectors, of tiles of weights, of cells for a thread; blocks with units that
# there are not, and groups with rows that there are not
CUTS = [
    Cut(FLOAT, 1, 35, 6, rows=4, warps=2, kept=2),
    Cut(FLOAT, 1, 7, 2),
    Cut(FLOAT, 1, 40, 11, rows=12),
    Cut(FLOAT, 1, 140, 47, rows=2, kept=0),
    Cut(DOUBLE, 1, 33, 9, rows=2, warps=2),
    Cut(HALF, 1, 21, 4, rows=8, kept=3),
    Cut(HALF, 2, 37, 8, rows=2),
    Cut(HALF, 2, 70, 24, rows=32, warps=2, kept=2),
    Cut(BFLOAT16, 1, 9, 3),
    Cut(BFLOAT16, 2, 44, 16, rows=16),
    Cut(BFLOAT16, 2, 19, 8, rows=48, warps=3),
]

# For cuda_mutants.py
CUTS_FOR_BUGS = [Cut(FLOAT, 1, 35, 6, rows=8, warps=2, kept=3), Cut(HALF, 2, 37, 10, rows=16, warps=2, kept=2)]
NAMES_FOR_BUGS = sorted({name for cut in CUTS_FOR_BUGS for name in cut.names()})
COOPERATIVE = True


def check_bugs(kernels):
    for cut in CUTS_FOR_BUGS:
        check(kernels, cut, 4, 11)
        check(kernels, cut, 3, 9, seed=1, given=False, descending=True)
        check(kernels, cut, 3, 2, seed=2, keep=False)
    check_giving_up(kernels, CUTS_FOR_BUGS[0])


def check_giving_up(kernels, cut):
    """A block that is not there is waited for, but not for ever."""
    s, (T, B, H) = cut.storage, (2, 1, cut.H)
    h, c, y = np.zeros((3, B, H), s.dtype), np.zeros((3, B, H), s.sums), np.zeros((T, B, H), s.dtype)
    ifgo, weight_hh, lengths = np.zeros((T, B, 4 * H), s.dtype), np.zeros((4 * H, H), s.dtype), np.full(B, T, np.int32)
    sizes = [np.int32(n) for n in (T, B, H)]
    forward = (ifgo, weight_hh, lengths, *sizes, np.int32(3)), (h, c, y, ifgo.copy())
    backward = (NULL, NULL, NULL, ifgo, c, weight_hh, lengths, *sizes), (ifgo.copy(), y[0], c[0].copy())
    for direction, args in (("forward", forward), ("backward", backward)):
        assert not launch(kernels, cut, direction, B, args)
        assert launch(kernels, cut, direction, B, args, polls=3, absent=1) == 1
