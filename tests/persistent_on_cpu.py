"""The kernels of lstm_persistent.cu, executed on the CPU, with real barriers between blocks, and compared with
ReferenceRecurrence in float64 (recurrence_on_cpu.py): every version, cut up in ways that the plan for a real GPU would
not take, too."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import recurrence_on_cpu
from gates_on_cpu import BFLOAT16X3, STORAGES, TF32, Fenced, Storage
from recurrence_on_cpu import GRADIENTS

from minilstm_kernels.persistent_plan import with_sizes

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
CODE, PRODUCTS = ((KERNELS / name).read_text(encoding="utf-8") for name in ("lstm_persistent.cu", "tensor_cores.cuh"))
CODE = CODE.replace('#include "tensor_cores.cuh"\n', PRODUCTS)    # for cuda_mutants.py, which plants bugs in both
FLOAT, DOUBLE, HALF, BFLOAT16 = STORAGES
DTYPES = {"float": "float32", "double": "float64", "__half": "float16", "__nv_bfloat16": "bfloat16"}
COUNTER = 32    # numbers from one group's to the next


class Cut(NamedTuple):
    """One instance of the kernels, forward and backward: how the work is cut up, and for which H."""

    storage: Storage
    version: int
    H: int
    units: int       # of a block
    rows: int = 1    # of a group
    warps: int = 1
    kept: int = 99   # fragments in registers, at most
    groups: int = 9  # of a launch, at most

    def plan(self, direction, B):
        dtype, groups = DTYPES[self.storage.name], min(self.groups, -(-B // self.rows))
        sizes = groups, self.units, self.rows, self.warps
        return with_sizes(direction, self.version, self.H, dtype, *sizes, most_kept=self.kept)

    def name(self, direction):
        return self.plan(direction, 1).name(direction, self.version, self.storage.name)

    def names(self):
        return [self.name(direction) for direction in ("forward", "backward")]


def small_plan(direction, version, B, H, dtype, device):
    """In the place of persistent_plan.plan: few instances to compile, and few threads to run"""
    units, rows = (5, 4) if version == 1 else (8, 2)
    room = next(n for n in (16, 64, 256) if n >= H)    # columns of h; more than there are make no difference
    groups = min(-(-B // rows), 3)
    return with_sizes(direction, version, room, dtype, groups, units, rows, 1)._replace(blocks=-(-H // units))


def launch(kernels, cut, direction, ins, outs, polls=10**6, absent=0, **options):
    """As often as all rows take. absent: blocks that a launch leaves out -> what blocks say when they give up, or 0"""
    T, B, K = ins["T"], ins["B"], ins["H"] * (1 if direction == "forward" else 4)
    how, kernel = cut.plan(direction, B), kernels(cut.name(direction))
    kernel.max_dynamic_shared_size_bytes = 227 * 1024
    given_up = Fenced(np.zeros(1, np.int32))
    for first in range(0, B, how.groups * how.rows):
        exchange = Fenced.empty((how.groups, 2, how.rows, how.columns), cut.storage.dtype)
        exchange.array[..., K:] = 1    # the weights there are 0
        arrived = Fenced(np.zeros((how.groups, COUNTER), np.uint32))
        where = np.int32(first), np.int32(how.blocks)
        args = *ins.values(), *where, *outs.values(), exchange.array, arrived.array, given_up.array, np.uint32(polls)
        grid, block = (how.groups * how.blocks - absent,), (32 * how.warps,)
        kernel(grid, block, args, shared_mem=how.shared_mem, **options)
        for b in (exchange, arrived, given_up):
            b.check()
        barriers = T + (direction == "forward")
        if not given_up.array[0]:
            assert (arrived.array == [how.blocks * barriers] + [0] * (COUNTER - 1)).all(), "one barrier a step"
    return given_up.array[0]


def check(kernels, cut, T, B, seed=0, keep=True, given=GRADIENTS, lengths=None, **options):
    """A forward and a backward beside those of the reference -> all that they return; see recurrence_on_cpu.py"""

    def launched(direction, ins, outs):
        assert not launch(kernels, cut, direction, ins, outs, **options), "a block has given up"

    return recurrence_on_cpu.check(launched, cut.storage, cut.H, T, B, seed, keep, given, lengths)


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
    Cut(TF32, 3, 37, 8, rows=2),
    Cut(BFLOAT16X3, 4, 70, 24, rows=32, warps=2, kept=2),
    Cut(BFLOAT16X3, 4, 9, 3),
    Cut(TF32, 3, 19, 8, rows=16, warps=3),
    Cut(TF32, 3, 70, 24, rows=32, warps=2, kept=2),
]

# For cuda_mutants.py: more pieces of vectors than are read ahead, one below the other and side by side; rows that are
# fewer than a tile; several launches, the last with a group that has no row
CUTS_FOR_BUGS = [
    Cut(FLOAT, 1, 70, 12, rows=12, warps=2, kept=3), Cut(HALF, 2, 37, 10, rows=32, warps=2, kept=2),
    Cut(HALF, 2, 21, 8, rows=1, kept=0, groups=3), Cut(TF32, 3, 21, 8, rows=16),
    Cut(BFLOAT16X3, 4, 21, 8, rows=8, kept=1),
]  # fmt: skip
NAMES_FOR_BUGS = sorted({name for cut in CUTS_FOR_BUGS for name in cut.names()})
COOPERATIVE = True
POLLS = 2 * 10**5    # fewer: for a barrier that never comes they are many


def check_bugs(kernels):
    for cut in CUTS_FOR_BUGS:
        check(kernels, cut, 4, 11, polls=POLLS)
        check(kernels, cut, 3, 9, seed=1, given=["dy"], descending=True, polls=POLLS)
        check(kernels, cut, 3, 2, seed=2, keep=False, polls=POLLS)
    check_giving_up(kernels, CUTS_FOR_BUGS[2])


def check_giving_up(kernels, cut):
    """A block that is not there is waited for, but not for ever; the next launch is as any other."""

    def launched(direction, ins, outs):
        assert launch(kernels, cut, direction, ins, outs, polls=3, absent=1) == 1
        assert not launch(kernels, cut, direction, ins, outs)

    recurrence_on_cpu.check(launched, cut.storage, cut.H, 2, 1)
