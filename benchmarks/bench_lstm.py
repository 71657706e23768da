"""An LSTM layer beside PyTorch's, and both beside the floor: checked, then timed in turns.

    python benchmarks/bench_lstm.py            writes benchmarks/results/lstm.csv (some five minutes on two cores)

The floor is what the matrix products alone would take at the highest rate that any contender's product reaches in the
same run. A step of the loop can besides be no shorter than it takes to read weight_hh, at the rate of the best
matrix-vector product; for a batch of one that is what counts.
"""

import numpy as np
from contenders_lstm import CompiledTorch, Ours, Product, Read, Torch, expected, expected_product
from harness import FULL, QUICK, Contender, compare, options
from speed_rows import circumstances, milliseconds, record, rows_of
from workers import Workers

from minilstm import available_kernels

SHAPES = ((70, 64, 400, 1150), (70, 64, 1150, 1150), (70, 16, 256, 256), (30, 64, 128, 256), (70, 1, 400, 1150))
GROWTH = (  # T, B, I, H: one of the sizes grows, the others are those of a layer in the middle
    *((T, 16, 256, 256) for T in (35, 70, 140, 280)),
    *((70, B, 256, 256) for B in (4, 16, 64, 256)),
    *((70, 16, H, H) for H in (128, 256, 512, 1024)),
)
QUICK_SHAPES, QUICK_GROWTH, N, QUICK_N = ((5, 4, 12, 16),), ((5, 2, 8, 8), (10, 2, 8, 8)), 2048, 96
MODES = ("forward", "inference", "full")
TOLERANCE = 3e-5  # of an array's largest number; float32 comes to some 3e-6
EVERYBODY = ("reference", "cpu-gates", "cpu-packed", "cpu", "torch", "torch.compile")


def layers(names):
    """The contenders of these names that there are on this machine."""
    ours = {k.name for k in available_kernels() if k.reason is None and k.device in ("any", "cpu")}
    known = {name: Contender(name, Ours, (name,)) for name in EVERYBODY if name in ours}
    known |= {"torch": Contender("torch", Torch), "torch.compile": Contender("torch.compile", CompiledTorch)}
    return [known[name] for name in names if name in known]


def named(shape):
    return dict(zip("TBIH", shape, strict=True))


def best(seconds):
    """The shortest median of all contenders; NaN, and then there is no floor, where there is none."""
    return min((float(np.median(s)) for s in seconds.values()), default=np.nan)


def floor(shape, mode, flops_a_second, bytes_a_second):
    """Seconds that the products of a layer take, each step at least as long as it takes to read weight_hh."""
    T, B, I, H = shape
    x_gates, step = 2 * T * B * 4 * H * I / flops_a_second, 2 * B * 4 * H * H / flops_a_second
    loop = T * max(step, 4 * 4 * H * H / bytes_a_second)
    if mode != "full":
        return x_gates + loop
    return x_gates + loop + loop + 2 * x_gates + T * step  # dh step by step; dx and dweight_ih; dweight_hh


def measure_product(workers, n, effort, about):
    """-> rows in GFLOP/s, and the highest rate in FLOP/s"""
    libraries = {"reference": "numpy", "cpu": "cpu", "torch": "torch"}
    contenders = [Contender(name, Product, (library,)) for name, library in libraries.items()]
    wanted = {"product": expected_product((n, n), (n, n))}
    seconds = compare(workers, contenders, {"n": n}, wanted, tolerance=TOLERANCE, effort=effort)
    rates = {key: [2 * n**3 / s / 1e9 for s in values] for key, values in seconds.items()}
    return rows_of("product", {"n": n}, "GFLOP/s", rates, about), 2 * n**3 / best(seconds)


def measure_read(workers, H, effort, about):
    """-> rows in GB/s, and the highest rate in bytes/s"""
    contenders = [Contender("reference", Read, ("numpy",)), Contender("torch", Read, ("torch",))]
    wanted, size = {"read": expected_product((4 * H, H), (H,))}, 4 * 4 * H * H
    seconds = compare(workers, contenders, {"H": H}, wanted, tolerance=TOLERANCE, effort=effort)
    rates = {key: [size / s / 1e9 for s in values] for key, values in seconds.items()}
    return rows_of("read", {"H": H}, "GB/s", rates, about), size / best(seconds)


def measure_layer(workers, kernel_name, shape, modes, contenders, effort, about, rates=None):
    """-> rows in milliseconds, with the floor where the rates for it are given"""
    wanted = expected(modes, *shape)
    seconds = compare(workers, contenders, named(shape), wanted, tolerance=TOLERANCE, effort=effort)
    for mode in modes if rates and not np.isnan(rates).any() else ():
        seconds[mode, "floor"] = [floor(shape, mode, *rates)]
    return rows_of(kernel_name, named(shape), "milliseconds", milliseconds(seconds), about)


def main():
    asked = options(__doc__, EVERYBODY).parse_args()
    about, effort = circumstances(asked.threads), QUICK if asked.quick else FULL
    shapes, growth, n = (QUICK_SHAPES, QUICK_GROWTH, QUICK_N) if asked.quick else (SHAPES, GROWTH, N)
    names = asked.contenders or [name for name in EVERYBODY if not asked.quick or name != "torch.compile"]
    contenders = layers(names)
    growing = [c for c in contenders if c.name in ("reference", "cpu", "torch")]
    brief = effort._replace(seconds=effort.seconds / 3)
    with Workers(asked.threads) as workers:
        rows, flops_a_second = measure_product(workers, n, brief, about)
        record(rows, "lstm", asked)
        bytes_a_second = {}
        for H in dict.fromkeys(shape[3] for shape in shapes):
            rows, bytes_a_second[H] = measure_read(workers, H, brief, about)
            record(rows, "lstm", asked)
        for shape in shapes:
            rates = flops_a_second, bytes_a_second[shape[3]]
            rows = measure_layer(workers, "lstm", shape, MODES, contenders, effort, about, rates)
            record(rows, "lstm", asked)
        for shape in dict.fromkeys(growth):
            rows = measure_layer(workers, "growth", shape, ("full",), growing, brief, about)
            record(rows, "lstm", asked)


if __name__ == "__main__":
    main()
