"""The kernels of lstm_cluster.cu, executed on the CPU and compared with ReferenceRecurrence in float64
(recurrence_on_cpu.py): every version, with clusters, tiles and registers cut up in ways that the plan for a real GPU
would not take, too."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import recurrence_on_cpu
from gates_on_cpu import BFLOAT16X3, STORAGES, TF32, Fenced, Storage
from recurrence_on_cpu import GRADIENTS

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "lstm_cluster.cu").read_text(encoding="utf-8")
FLOAT, DOUBLE, HALF, BFLOAT16 = STORAGES


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
        return [kind for d in ("forward", "backward") for kind in (self.name(d), self.name_of_pack(d))]

    def name_of_pack(self, direction):
        return f"pack_{direction}<{self.storage.name}, {self.version}>"

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
    packed = Fenced.empty(pieces * 16 // cut.storage.dtype().itemsize, cut.storage.dtype)
    numbers = [np.int32(n) for n in (cut.H, cut.cluster, cut.warps, cut.fragments(direction))]
    kernel = kernels(cut.name_of_pack(direction))
    kernel((-(-pieces // 96),), (96,), (weight_hh, *numbers, packed.array))    # more threads than pieces
    packed.check()
    return packed.array


def launch(kernels, cut, direction, ins, outs, **options):
    kernel = kernels(cut.name(direction))
    kernel.max_dynamic_shared_size_bytes = 227 * 1024
    ins = ins | {"weight_hh": pack(kernels, cut, direction, ins["weight_hh"])}
    grid, block = (cut.cluster * -(-ins["B"] // cut.rows),), (32 * cut.warps,)
    args = *ins.values(), *outs.values()
    kernel(grid, block, args, shared_mem=cut.shared_mem(direction), **options)


def check(kernels, cut, T, B, seed=0, keep=True, given=GRADIENTS, lengths=None, **options):
    """A forward and a backward beside those of the reference -> all that they return; see recurrence_on_cpu.py"""

    def launched(direction, ins, outs):
        launch(kernels, cut, direction, ins, outs, **options)

    return recurrence_on_cpu.check(launched, cut.storage, cut.H, T, B, seed, keep, given, lengths)


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
    Cut(TF32, 3, 4, 3, 40, rows=16),
    Cut(TF32, 3, 16, 1, 60, kept=1),
    Cut(BFLOAT16X3, 4, 8, 2, 35, kept=1),
    Cut(BFLOAT16X3, 4, 2, 1, 5, rows=16),
]

# For cuda_mutants.py
CUTS_FOR_BUGS = [
    Cut(FLOAT, 1, 8, 2, 35, kept=1), Cut(HALF, 2, 3, 3, 35, rows=16), Cut(TF32, 3, 8, 2, 35),
    Cut(BFLOAT16X3, 4, 4, 3, 37, rows=16, kept=1),
]  # fmt: skip
NAMES_FOR_BUGS = sorted({name for cut in CUTS_FOR_BUGS for name in cut.names()})


def check_bugs(kernels):
    for cut in CUTS_FOR_BUGS:
        check(kernels, cut, 4, 11)
        check(kernels, cut, 3, 9, seed=1, given=["dy"])
        check(kernels, cut, 2, 9, seed=3, given=["dh_T"])
        check(kernels, cut, 3, 2, seed=2, keep=False)
