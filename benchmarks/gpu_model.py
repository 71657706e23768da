"""How long a step of each design should take on a GPU: a prediction from few rates, to be held against what is
measured.

    python benchmarks/gpu_model.py                     with rates that are assumptions about an H100
    python benchmarks/gpu_model.py results/GPU.csv     with those that gpu_barriers.py has measured, as far as they go

A step of the recurrence alone, without the large products before and after it. `floor`: its multiply-adds at the rate
of all multiprocessors, and nothing else. `-`: there is no room for the weights. Where a prediction is far from the
measurement, one of the terms is wrong, and that is where to look first. """

import sys
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_results import read

from minilstm.twins import registry

PRECISIONS = ("float32", "bfloat16", "tf32", "bfloat16x3")
BATCHES, HIDDEN = (1, 16, 32, 64, 128), (256, 400, 512, 1150)
VERSION = {"float32": 1, "bfloat16": 2, "tf32": 3, "bfloat16x3": 4}
STORED = {"tf32": "float32", "bfloat16x3": "float32"}    # where it has another name


class Gpu(NamedTuple):
    """Rates. All of them are assumptions: [gpu-barriers] where gpu_barriers.py measures it, in its unit."""

    multiprocessors: int = 132
    shared_mem: int = 227 * 1024        # bytes of a block
    gigahertz: float = 1.755
    barrier: float = 1.08               # us: blocks that meet in the common cache [barrier of blocks]
    cluster_barrier: float = 0.4        # us: of 16 blocks, what they send each other on its way [barrier of a cluster]
    cache: float = 5500                 # GB/s from the common cache to all multiprocessors [broadcast]
    mma: float = 1100                   # multiply-adds a cycle of a multiprocessor's tensor cores, 16 bits [mma]
    mma_tf32: float = 550               # the same of TF32 [mma]; in bfloat16x3 three of bfloat16 are one
    fma: float = 100                    # the same of float32, of 128 at most
    node: float = 1.4                   # us from one kernel of a CUDA graph to the next
    launch: float = 4.0                 # us of the host for a launch


# kernel_name in the results -> the field, and what the number there is in its unit
MEASURED = {
    "barrier of blocks": ("barrier", lambda gpu, us: us),
    "barrier of a cluster": ("cluster_barrier", lambda gpu, us: us),    # the last one there is of 16 blocks
    "broadcast": ("cache", lambda gpu, rate: rate),
    "mma": ("mma", lambda gpu, tflops: tflops * 1e3 / 2 / gpu.multiprocessors / gpu.gigahertz),    # or mma_tf32
}


def measured(path):
    """-> Gpu, with the medians of a file of results in the place of the assumptions"""
    gpu, found = Gpu(), {}
    for row in read(path):
        if row["part"] == "micro" and row["kernel_name"] in MEASURED and row["y_50"]:
            field, of = MEASURED[row["kernel_name"]]
            field += "_tf32" if row["precision"] == "tf32" else ""
            found[field] = of(gpu, float(row["y_50"]))
    return gpu._replace(**found)


def rate(gpu, precision):
    """multiply-adds in a microsecond, of one multiprocessor"""
    rates = {"float32": gpu.fma, "bfloat16": gpu.mma, "tf32": gpu.mma_tf32, "bfloat16x3": gpu.mma / 3}
    return rates[precision] * gpu.gigahertz * 1e3


def floor(gpu, direction, B, H, precision):
    return 4 * H * H * B / (gpu.multiprocessors * rate(gpu, precision))


def graph(gpu, direction, B, H, precision):
    """A kernel a step, without tensor cores: the weights come from the common cache again, in tiles of 64 by 64."""
    if precision in STORED:
        return None
    size = 2 if precision == "bfloat16" else 4
    bytes_read = 4 * H * H * size * -(-B // 64) + B * H * size * -(-4 * H // 64)
    return gpu.node + max(floor(gpu, direction, B, H, "float32"), bytes_read / (gpu.cache * 1e3))


def cupy(gpu, direction, B, H, precision):
    """A library's product and the gates: two launches a step."""
    if precision == "bfloat16x3":
        return None
    return max(2 * gpu.launch, 2 * gpu.node + floor(gpu, direction, B, H, precision))


def cluster(gpu, direction, B, H, precision):
    plans, dtype = _plans("cluster_plan"), STORED.get(precision, precision)
    try:
        how = plans.plan(direction, VERSION[precision], B, H, dtype, _device(gpu, plans))
    except ValueError:
        return None
    waves = -(-(-(-B // how.rows) * how.cluster) // gpu.multiprocessors)
    work = how.fragments * 16 * 32 * how.warps * how.rows / rate(gpu, precision)
    others = (how.fragments - how.kept) * 512 * plans.ITEMSIZE[dtype] * how.warps * how.rows / 8
    return waves * (gpu.cluster_barrier + max(work, others / (128 * gpu.gigahertz * 1e3)))


def persistent(gpu, direction, B, H, precision):
    """The best of all divisions, with these rates: the plan that is taken goes by its own."""
    plans, dtype = _plans("persistent_plan"), STORED.get(precision, precision)
    clock = gpu.gigahertz * 1e3    # cycles of a microsecond
    rates = plans.Rates(
        products={1: {4: gpu.fma}, 2: {2: gpu.mma}, 3: {4: gpu.mma_tf32}, 4: {4: gpu.mma / 3}},
        barrier=gpu.barrier * clock, exchange=gpu.cache * 1e3 / gpu.multiprocessors / clock,
    )  # fmt: skip
    found = plans.candidates(direction, VERSION[precision], B, H, dtype, _device(gpu, plans), rates)
    return min((how.cycles * -(-B // (how.groups * how.rows)) / clock for how in found), default=None)


DESIGNS = {"floor": floor, "cluster": cluster, "persistent": persistent, "graph": graph, "cupy": cupy}


def table(gpu):
    """-> lines of Markdown: microseconds of a step, forward and backward"""
    lines = ["| precision, H, B | " + " | ".join(DESIGNS) + " |", "|---" * (len(DESIGNS) + 1) + "|"]
    for precision, H, B in product(PRECISIONS, HIDDEN, BATCHES):
        times = [[design(gpu, d, B, H, precision) for d in ("forward", "backward")] for design in DESIGNS.values()]
        cells = (", ".join("-" if t is None else f"{t:.2f}" for t in both) for both in times)
        lines.append(f"| {precision}, {H}, {B} | " + " | ".join(cells) + " |")
    return lines


def _plans(name):
    package, _ = registry()
    return import_module(f"{package.__name__}.{name}")


def _device(gpu, plans):
    return plans.Device(gpu.multiprocessors, gpu.shared_mem)


if __name__ == "__main__":
    given = measured(sys.argv[1]) if len(sys.argv) > 1 else Gpu()
    print("\n".join(table(given)))
