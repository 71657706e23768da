"""The kernels of optim.cu, executed on the CPU and compared with minilstm/optim.py in float64. Arrays lie between
numbers: what is made of a NaN that lies beside an array, and written back there, would not be seen."""

import math
from pathlib import Path

import numpy as np
from gates_on_cpu import Between

from minilstm import ASGD, SGD, Adam

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "optim.cu").read_text(encoding="utf-8")
TYPES = {"float": np.float32, "double": np.float64}
WIDTHS = [("float", 1), ("float", 4), ("double", 1), ("double", 2)]
SUMS = [*(f"squares_of_pieces<{S}>" for S in TYPES), "total_of_pieces"]
STEPS = [f"{kernel}<{S}, {V}>" for kernel in ("sgd", "asgd", "adam") for S, V in WIDTHS]
NAMES = [*SUMS, *STEPS]
LR, DECAY, MOMENTUM, BETAS, EPS = 0.1, 0.3, 0.8, (0.7, 0.9), 0.2    # large, so that each of them is seen


def check_sum(kernels, S, n, piece, threads=64, seed=0):
    """Beside a sum without any rounding."""
    x = Between(np.random.default_rng(seed).standard_normal(n).astype(TYPES[S]))
    sums, total = Between.empty(-(-n // piece), np.float64), Between.empty((), np.float64)
    args = x.array, np.int64(n), np.int32(piece), sums.array
    kernels(f"squares_of_pieces<{S}>")(sums.array.shape, (threads,), args)
    kernels("total_of_pieces")((1,), (threads,), (sums.array, np.int32(sums.array.size), total.array))
    for b in (x, sums, total):
        b.check()
    squares = [float(number) ** 2 for number in x.array]
    exact = [math.fsum(squares[start : start + piece]) for start in range(0, n, piece)]
    np.testing.assert_allclose(sums.array, exact, rtol=1e-14)
    assert abs(total.array - math.fsum(squares)) <= 1e-14 * math.fsum(squares)


def check_step(kernel, case, n, scale, seed=0, threads=32):
    """The second step of an optimiser, beside the plain code in float64 and in the kernel's own type; nothing changes
    where the scale is not finite. case: a key of CASES"""
    S, V = kernel.name.split("<")[1][:-1].split(", ")
    dtype, V, rng = TYPES[S], int(V), np.random.default_rng(seed)
    make, moments, factors = CASES[case]
    p, g, *m = (rng.standard_normal(n).astype(dtype) for _ in range(2 + len(moments)))
    m = [abs(a) for a in m]    # a mean of squares is not negative
    arrays = [Between(a, around=0x3F) for a in (p, g, *m)]
    given = [b.array for b in arrays] + [np.uint64(0)] * (case == "sgd")    # no velocity
    numbers = [dtype(factor) for factor in factors]
    where = np.uint64(0) if scale is None else np.array(scale)
    kernel((-(-n // (V * threads)),), (threads,), (*given, where, *numbers, np.int64(n)))
    for b in arrays:
        b.check()
    assert (arrays[1].array == g).all(), "the gradient was changed"

    def plain(dtype):
        optimiser, params = make(), {"p": p.astype(dtype)}
        optimiser.state |= {name: {"p": a.astype(dtype)} for name, a in zip(moments, m, strict=True)}
        if "step" in optimiser.state:
            optimiser.state["step"] = {"p": np.array(3 if "ax" in moments else 1)}    # the mean is of three
        optimiser.step(params, {"p": g.astype(dtype)}, LR, scale=1.0 if scale is None else scale)
        return [params["p"], *(optimiser.state[name]["p"] for name in moments)]

    for b, exact, rough in zip([arrays[0], *arrays[2:]], plain(np.float64), plain(dtype), strict=True):
        bound = 2 * abs(rough - exact).max() + 4 * np.finfo(dtype).eps * abs(exact).max()
        assert abs(b.array - exact).max() <= bound, case
    if scale is not None and not math.isfinite(scale):
        for b, before in zip(arrays, (p, g, *m), strict=True):
            assert (b.array == before).all()


def check_an_infinite_parameter(kernel):
    """Without weight decay it stays what it is: 0 * infinity is NaN."""
    dtype = TYPES[kernel.name.split("<")[1].split(",")[0]]
    p, g, n = np.full(4, np.inf, dtype), np.ones(4, dtype), np.int64(4)
    kernel((1,), (32,), (p, g, np.uint64(0), np.uint64(0), dtype(LR), dtype(0), dtype(0), n))
    assert (p == np.inf).all()


STEP = LR / (1 - BETAS[0] ** 2), 1 / math.sqrt(1 - BETAS[1] ** 2)    # bias-corrected, at the second step
FACTORS = 1 - BETAS[0], BETAS[1], 1 - BETAS[1], EPS
CASES = {    # the optimiser, its moments, and what its kernel is given
    "sgd": (lambda: SGD(weight_decay=DECAY, kernel="reference"), [], (LR, 0, DECAY)),
    "sgd with momentum": (
        lambda: SGD(momentum=MOMENTUM, weight_decay=DECAY, kernel="reference"), ["momentum"], (LR, MOMENTUM, DECAY),
    ),
    "asgd": (lambda: ASGD(t0=0, weight_decay=DECAY, kernel="reference"), ["ax"], (LR, DECAY, 3)),
    "adam": (
        lambda: Adam(betas=BETAS, eps=EPS, weight_decay=DECAY, kernel="reference"), ["exp_avg", "exp_avg_sq"],
        (*FACTORS, DECAY, 1, *STEP),
    ),
    "adam, decoupled": (
        lambda: Adam(betas=BETAS, eps=EPS, weight_decay=DECAY, decoupled_weight_decay=True, kernel="reference"),
        ["exp_avg", "exp_avg_sq"], (*FACTORS, 0, 1 - LR * DECAY, *STEP),
    ),
}  # fmt: skip


def check_all(kernels, names=NAMES):
    """Every kernel; kernels: name -> kernel"""
    for S in {name.split("<")[1][:-1] for name in names if name.startswith("squares")}:
        for n, piece in ((1, 100), (100, 100), (101, 100), (1000, 256), (4000, 32)):
            check_sum(kernels, S, n, piece)
    for name in (name for name in names if name not in SUMS):
        V = int(name[-2])
        if name.startswith("sgd"):
            check_an_infinite_parameter(kernels(name))
        for case in (case for case in CASES if case.split()[0].strip(",") == name.split("<")[0]):
            for threads, scale in ((1, None), (31, 0.3), (32, math.nan), (33, 2.5), (100, math.inf)):
                check_step(kernels(name), case, V * threads, scale, seed=threads)


NAMES_FOR_BUGS = [SUMS[0], SUMS[-1], *(name for name in STEPS if "float, 4" in name)]


def check_bugs(kernels):
    check_all(kernels, NAMES_FOR_BUGS)
