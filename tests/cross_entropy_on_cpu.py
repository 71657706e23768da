"""The kernels of cross_entropy.cu, executed on the CPU and compared with minilstm/loss.py in float64. Arrays lie
between NaNs; the bias between large numbers, since the largest of some numbers stays the same when one becomes NaN."""

from pathlib import Path

import numpy as np
from gates_on_cpu import Between

from minilstm import softmax_cross_entropy_backward, softmax_cross_entropy_forward

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "cross_entropy.cu").read_text(encoding="utf-8")
TYPES = {"float": np.float32, "double": np.float64}
NAMES = [f"cross_entropy_{version}<{S}>" for version in (1, 2) for S in TYPES]
IGNORE = -100


def launch(kernel, logits, bias, targets, n_counted, threads=64, want_gradient=True, ignore=IGNORE):
    """-> nll (N,), what is left in logits (N, V)"""
    N, V = logits.shape
    ins = [Between(a, around) for a, around in ((bias, 0x46), (targets, 0xFF), (np.array([n_counted]), 0xFF))]
    out, nll = Between(logits), Between.empty(N, np.float64)
    numbers = np.int32(V), np.int32(want_gradient)
    args = ins[0].array, ins[1].array, np.int64(ignore), ins[2].array, *numbers, out.array, nll.array
    kernel((N,), (threads,), args)
    for b in (*ins, out, nll):
        b.check()
    assert (ins[0].array == bias).all() and (ins[1].array == targets).all(), "an argument was changed"
    return nll.array, out.array


def problem(dtype, N, V, seed=0, spread=3.0):
    """-> logits (N, V), bias (V,), targets (N,): some ignored, the first and the last class among the others"""
    rng = np.random.default_rng(seed)
    logits, bias = ((spread * rng.standard_normal(shape)).astype(dtype) for shape in ((N, V), (V,)))
    logits += 200 * np.arange(N, dtype=dtype)[:, None]    # who looks at the next row finds a number that hides his own
    targets = rng.permutation(np.resize([0, V - 1, IGNORE, V // 2], N))
    return logits, bias, targets


def check(kernel, N, V, threads=64, seed=0, spread=3.0):
    """Loss and gradient, whether it is wanted or not, each row by itself and divided by the number of those that count.
    max|kernel - float64| <= 2 max|plain code in the kernel's type - float64| + a floor"""
    dtype = TYPES[kernel.name.split("<")[1][:-1]]
    logits, bias, targets = problem(dtype, N, V, seed, spread)

    def plain(x, target):
        loss, cache = softmax_cross_entropy_forward(x[None], target[None])
        return float(loss), softmax_cross_entropy_backward(1.0, cache)[0]

    n, floor = 7, 16 * np.finfo(dtype).eps
    nll, gradient = launch(kernel, logits, bias, targets, n, threads)
    exact, rough = ([plain(logits[i].astype(t) + bias.astype(t), targets[i]) for i in range(N)]
                    for t in (np.float64, dtype))  # fmt: skip
    for got, k, scale in ((nll, 0, 1), (gradient, 1, n)):
        right, close = (np.array([row[k] for row in rows]) / scale for rows in (exact, rough))
        assert np.isfinite(got).all(), "a number that was not written, or one made of what lies beside an array"
        bound = 2 * abs(close - right).max() + floor * max(1 / scale, abs(right).max())
        assert abs(got - right).max() <= bound, f"{abs(got - right).max():.3g} is more than {bound:.3g}"
    alone, untouched = launch(kernel, logits, bias, targets, n, threads, want_gradient=False)
    assert (alone == nll).all() and (untouched == logits).all()


def check_nan(kernel, bad=np.nan):
    """It comes out, and in its own row alone."""
    logits, bias, targets = problem(TYPES[kernel.name.split("<")[1][:-1]], 4, 70)
    clean, gradient = launch(kernel, logits, bias, targets, 1)
    counted = np.flatnonzero(targets != IGNORE)[0]
    logits[counted, 66] = bad
    nll, spoilt = launch(kernel, logits, bias, targets, 1)
    assert not np.isfinite(nll[counted]) and not np.isfinite(spoilt[counted]).all()
    others = np.arange(4) != counted
    assert (nll == clean)[others].all() and (spoilt == gradient)[others].all()


def check_targets_that_are_none(kernel):
    logits, bias, targets = problem(TYPES[kernel.name.split("<")[1][:-1]], 4, 5)
    for bad in (-1, 5, 2**40):
        targets[1] = bad
        nll, gradient = launch(kernel, logits, bias, targets, 1)
        assert (np.isnan(nll) == [False, True, False, False]).all() and np.isnan(gradient[1]).all()


def check_all(kernels, names=NAMES, sizes=((1, 1), (2, 31), (5, 65), (4, 300))):
    """Every kernel; kernels: name -> kernel; sizes: N, V"""
    for name in names:
        for N, V in sizes:
            check(kernels(name), N, V, seed=V)
        check(kernels(name), 4, 100, threads=32, spread=100.0)
        check_nan(kernels(name))
        check_targets_that_are_none(kernels(name))


NAMES_FOR_BUGS = ["cross_entropy_1<float>", "cross_entropy_2<float>"]


def check_bugs(kernels):
    check_all(kernels, NAMES_FOR_BUGS, sizes=((2, 31), (5, 65), (4, 300)))
