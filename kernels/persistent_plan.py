"""How a recurrence is cut up among all blocks of a GPU (lstm_persistent.cu, cupy_persistent.py): numbers alone, which
need no GPU.

The batch is divided among groups of blocks, and the hidden units among the blocks of a group. More groups means that
less is exchanged (a block reads the vectors of its own rows alone), and more weights in each block, since every group
has all of them. Which division is best is estimated, from rates that are assumptions until they have been measured. """

from itertools import product
from typing import NamedTuple

from .cluster_plan import ITEMSIZE, VERSIONS, Device, best_version, check_version

__all__ = ["Device", "Plan", "Rates", "plan", "best_version", "candidates", "VERSIONS"]


class Rates(NamedTuple):
    """What a multiprocessor does in a cycle; of an H100, none of it measured here. benchmarks/gpu_model.py takes
    others."""

    # multiply-adds: {version: {bytes of a number: many}}; in TF32 half as many, and in version 4 three are one
    products: dict = {1: {2: 90, 4: 100, 8: 50}, 2: {2: 1100}, 3: {4: 550}, 4: {4: 367}}
    exchange: float = 24    # bytes read from the common cache, while all others do as well
    shared: float = 128     # bytes read from shared memory
    latency: float = 500    # cycles until what is read from the common cache is there
    hidden: int = 8         # warps, of which there have to be so many for one to multiply while others wait
    barrier: float = 1900   # cycles, to be there and back
    cells: float = 3        # cycles for a cell, and 300 to begin with


ASSUMED = Rates()


class Plan(NamedTuple):
    """How one direction is cut up. Names as in lstm_persistent.cu."""

    groups: int
    blocks: int        # of a group
    units: int         # of a block
    rows: int          # of the batch, that a group has
    warps: int         # of a block
    chunks: int        # of a warp: fragments side by side
    kept: int          # fragments of a thread in its registers; the others are in shared memory
    fragments: int     # all of them
    spare: int         # registers of a thread; below 0 there are too few
    columns: int       # of an exchanged vector, with padding
    shared_mem: int    # bytes of a block
    cycles: float      # of a step, as far as can be said

    def name(self, direction, version, storage):
        """What the kernel is called; storage: what the dtype is called in a .cu file"""
        numbers = version, self.units, self.rows, self.warps, self.chunks, self.kept
        return f"lstm_{direction}<{storage}, {', '.join(map(str, numbers))}>"


WARPS = (4, 8, 12, 16)    # a multiprocessor has four parts, which divide the registers
ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)    # tensor cores have 16 at once
LAUNCHES = (1, 2, 4, 8, 16)
# They stand in a row in the code: with many more ptxas runs out of registers. float32 at H = 1150 needs 72 on an H100.
MOST_FRAGMENTS = {1: 50, 2: 50, 3: 72, 4: 72}
# registers of a thread besides weights, sums and vectors, as ptxas counts them
NEEDED = {1: {2: 152, 4: 80, 8: 104}, 2: {2: 96}, 3: {4: 96}, 4: {4: 96}}


def plan(direction, version, B, H, dtype, device):
    """-> Plan, the one that takes the fewest cycles. Raises ValueError where the weights have no room, and for a
    version that is not for this dtype."""
    check_version("persistent", version, dtype)
    possible = candidates(direction, version, B, H, dtype, device)
    best = min(possible, key=lambda how: how.cycles * -(-B // (how.groups * how.rows)), default=None)
    if best is None:
        raise ValueError(f"kernel 'persistent': weight_hh of H = {H} in {dtype} is more than {device.multiprocessors} "
                         f"multiprocessors with {device.shared_mem} bytes of shared memory each can hold; "
                         "take another kernel")  # fmt: skip
    return best


def candidates(direction, version, B, H, dtype, device, rates=ASSUMED):
    """-> every Plan there is room for. A batch with more rows than groups * rows takes several launches."""
    step = 1 if version == 1 else 2 if direction == "forward" else 8    # units that fill a fragment
    for rows, launches in product(ROWS, LAUNCHES):
        groups = min(-(-B // (rows * launches)), device.multiprocessors)
        if version > 1 and rows > 8 and rows % 16:
            continue
        units = -(-H // (device.multiprocessors // groups * step)) * step
        for warps in WARPS:
            how = with_sizes(direction, version, H, dtype, groups, units, rows, warps, rates)
            if how.shared_mem <= device.shared_mem and how.spare >= 0 and how.fragments <= MOST_FRAGMENTS[version]:
                yield how


def with_sizes(direction, version, H, dtype, groups, units, rows, warps, rates=ASSUMED, most_kept=None):
    """-> the Plan with these sizes, whether there is room or not"""
    forward, size, sums = direction == "forward", ITEMSIZE[dtype], max(4, ITEMSIZE[dtype])
    M, K = (4 * units, H) if forward else (units, 4 * H)    # rows and columns of the block's weights
    lanes = 4 if version > 1 else 8 if forward else 32
    width, high = lanes * 16 // size, 32 // lanes
    tall, chunks = -(-M // high), -(-K // (warps * width))
    columns, fragments = warps * chunks * width, tall * chunks
    at_once, ahead = (16, 3) if version > 1 else (min(4, rows), 2)
    of_sums = tall * (4 if version > 1 else at_once * sums // 4)
    of_vectors = (ahead + 1) * (8 if version > 1 else 4 * at_once)
    free = registers(warps) - NEEDED[version][size] - of_sums - of_vectors
    kept = max(0, min(fragments, free // 4, fragments if most_kept is None else most_kept))
    others = (fragments - kept) * 512 * warps
    pitch = tall * high | 1 if M % 4 else 4 * (tall * high // 4 | 1)
    shared_mem = others + (warps * rows * pitch + (5 if forward else 9) * rows * units) * sums + 8
    tiles = -(-rows // at_once)
    work = max(
        tiles * at_once * tall * high * columns / rates.products[version][size] / min(1, warps / rates.hidden),
        rows * columns * size / rates.exchange,
        tiles * chunks * rates.latency / ahead,
        tiles * others / rates.shared,
    )
    cycles = rates.barrier + work + 300 + rates.cells * rows * units * warps / 32
    blocks, spare = -(-H // units), free - 4 * kept
    return Plan(groups, blocks, units, rows, warps, chunks, kept, fragments, spare, columns, shared_mem, cycles)


def registers(warps):
    """Registers of a thread in a block of so many warps, which has the multiprocessor to itself: each of its four parts
    has 16384, for a quarter of the warps, and gives them out in steps of 8."""
    return min(255, 16384 // -(-warps // 4) // 32 // 8 * 8)
