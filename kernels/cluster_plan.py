"""How the weights of a recurrence are cut up among the blocks of a cluster (lstm_cluster.cu, cupy_cluster.py): numbers
alone, which need no GPU."""

from typing import NamedTuple

__all__ = ["Device", "Plan", "plan", "best_version", "VERSIONS"]


class Device(NamedTuple):
    """What a plan depends on."""

    multiprocessors: int
    shared_mem: int    # bytes that a block can have


class Plan(NamedTuple):
    """How one direction is cut up."""

    cluster: int       # blocks
    warps: int         # of a block: each of them has four units
    rows: int          # of the batch, that a cluster has
    fragments: int     # of the weights, that a thread has
    kept: int          # of them in its registers; the others are in shared memory
    shared_mem: int    # bytes of a block

    def grid(self, B):
        """-> the blocks for a batch, the threads of a block"""
        return (self.cluster * -(-B // self.rows),), (32 * self.warps,)

    def name(self, direction, version, storage):
        """What the kernel is called; storage: what the dtype is called in a .cu file"""
        numbers = self.cluster, self.warps, self.fragments, self.kept, self.rows
        return f"lstm_{direction}<{storage}, {version}, {', '.join(map(str, numbers))}>"


ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
VERSIONS = {"tf32": 3, "bfloat16x3": 4}    # of float32 arrays, for who asks for that precision
# rows that a cluster of each version may have; tiles have eight
ROWS = {1: (8, 16), 2: (8, 16, 32), 3: (8, 16), 4: (8, 16)}
# Registers that a thread needs besides its weights, so that ptxas spills none: for eight rows, for each eight more, and
# to read weights from shared memory; of each version and size of a number. With double there is no room for any.
NEEDED = {(1, 2): (144, 56, 0), (1, 4): (120, 16, 32), (1, 8): (255, 0, 0), (2, 2): (96, 16, 0),
          (3, 4): (72, 32, 16), (4, 4): (96, 16, 16)}


def best_version(dtype):
    return 2 if dtype in ("float16", "bfloat16") else 1


def check_version(kernel, version, dtype):
    """Raise ValueError for a version that is for other arrays."""
    if version != 1 and version != best_version(dtype) and not (dtype == "float32" and version in VERSIONS.values()):
        raise ValueError(f"kernel {kernel!r}: there is no version {version} for {dtype} arrays")


def plan(direction, version, B, H, dtype, device):
    """-> Plan. Raises ValueError where the weights have no room, and for a version that is not for this dtype.

    Clusters of 8 blocks, which any of these GPUs can have, unless 16 hold more of the weights in registers; fewer where
    there is no work for 8. As few rows to a cluster as let all clusters run at the same time.
    """
    check_version("cluster", version, dtype)
    most = -(-H // 4)    # blocks, with four units each
    sizes = [min(8, 1 << most.bit_length() - 1), *([16] if most >= 16 else [])]
    fitting = [how for size in sizes if (how := _with_blocks(size, direction, version, B, H, dtype, device))]
    if not fitting:
        raise ValueError(f"kernel 'cluster': weight_hh of H = {H} in {dtype} is more than the {sizes[-1]} blocks of a "
                         f"cluster can hold, with {device.shared_mem} bytes of shared memory each; take another kernel")
    return max(fitting, key=lambda how: how.kept / how.fragments)    # the first of those


def _with_blocks(cluster, direction, version, B, H, dtype, device):
    """The plan for clusters of that size, or None."""
    size, sums = ITEMSIZE[dtype], max(4, ITEMSIZE[dtype])
    warps = -(-H // (4 * cluster))
    if warps > 12:    # then a thread has 128 registers, too few for any weights
        return None
    chunks = -(-H // 32) if direction == "forward" else -(-warps // 2)
    tiles = 1 if direction == "forward" else -(-H // (16 * warps))
    fragments = chunks * tiles
    needed, more, to_read = NEEDED[version, size]
    best = None
    for rows in ROWS[version]:
        free = _registers(warps) - needed - more * (rows // 8 - 1)
        kept = fragments if 4 * size * fragments <= free else max(0, (free - to_read) // (4 * size))
        matrix = rows * _pitch(32 * chunks, size) * size
        exchanged = 2 * matrix if direction == "forward" else matrix + 2 * cluster * 4 * warps * rows * sums
        shared_mem = exchanged + (fragments - kept) * 16 * size * 32 * warps
        if shared_mem > device.shared_mem:
            break
        best = Plan(cluster, warps, rows, fragments, kept, shared_mem)
        if -(-B // rows) * cluster <= device.multiprocessors:
            break
    return best


def _registers(warps):
    """Registers of a thread in a block of so many warps, which has the multiprocessor to itself: each of its four parts
    has 16384, for a quarter of the warps, and gives them out in steps of 8."""
    return min(255, 16384 // -(-warps // 4) // 32 // 8 * 8)


def _pitch(columns, size):
    """As pitch<S>(columns) in lstm_cluster.cu."""
    return columns + (0 if columns * size % 128 else 64 // size)
