"""Is what comes out of the kernels on this GPU right? Each of them, in each precision, against the plain version in
float64 on the CPU: all values and gradients, over sizes that are used and sizes that are odd, with rows of all lengths,
dropped weights and states that are not zero; and what every kernel promises besides, to the bit."""

import time
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from gpu_bench import still_there
from gpu_compile import compiling
from gpu_ladder import kernels, offers, runnable
from gpu_problems import Zeros
from gpu_results import REFUSED, plan, row

from minilstm import LSTM, LSTMState, to_device, to_numpy

PRECISIONS = ("float32", "float64", "float16", "bfloat16", "tf32", "bfloat16x3")
EPS = {
    "float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "tf32": 2.0**-10, "bfloat16": 2.0**-7,
    "bfloat16x3": 2.0**-16,
}  # fmt: skip
# So many of these are allowed besides: of sums in another order, and of what 16 bits round at every step
FLOOR = {"float32": 32, "float64": 256, "float16": 8, "tf32": 8, "bfloat16": 8, "bfloat16x3": 8}


class Case(NamedTuple):
    T: int
    B: int
    I: int
    H: int
    lengths: bool = False  # of every length from 0 to T, or all T
    drop: bool = False  # half of weight_hh
    seed: int = 0

    @property
    def shape(self):
        return self._asdict()


CASES = [
    Case(1, 1, 1, 1), Case(7, 3, 5, 5, True, True), Case(5, 4, 33, 33, True), Case(20, 16, 256, 256),
    Case(9, 8, 400, 400), Case(12, 64, 512, 512), Case(70, 16, 64, 128, True), Case(6, 5, 100, 1150, True, True),
    Case(4, 64, 1150, 1150), Case(6, 128, 400, 256), Case(3, 33, 70, 511, True), Case(2, 2, 1024, 1024),
    Case(70, 1, 400, 400),
]  # fmt: skip


def odd_cases(n=12, seed=0):
    """Sizes that nobody had in mind."""
    rng = np.random.default_rng([seed, 1])
    for k in range(n):
        T, B, I, H = (int(rng.integers(1, most + 1)) for most in (30, 70, 200, 600))
        yield Case(T, B, I, H, bool(k % 2), bool(k % 3), seed + k)


def inputs(case):
    """{name: array of the host, float32} and lengths. dy and the states' gradients are d + name."""
    rng = np.random.default_rng([*map(int, case)])
    T, B, I, H = case[:4]
    shapes = {"x": (T, B, I), "h0": (B, H), "c0": (B, H), "dy": (T, B, H), "dh_T": (B, H), "dc_T": (B, H),
              "weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}  # fmt: skip
    made = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        made[name] *= 0.5 * max(H, I) ** -0.5
    lengths = rng.permutation(np.arange(B) * T // max(B - 1, 1)) if case.lengths else None
    made["mask"] = 2 * rng.integers(0, 2, (4 * H, H)).astype(np.float32) if case.drop else None
    return made, lengths


def run(case, kernel, device="cpu", precision="float64", padding=None, keep=True) -> dict:
    """{name: array of the host} of everything that comes out of a layer; padding: what stands behind a row's end"""
    given, lengths = inputs(case)
    if padding is not None and lengths is not None:
        past = np.arange(case.T)[:, None] >= lengths
        given["x"][past], given["dy"][past] = padding, -padding
    dtype = np.float64 if precision == "float64" else np.float32
    layer = LSTM(case.I, case.H, rng=Zeros(np.random.PCG64()), dtype=dtype, kernel=kernel,
                 precision=None if precision in ("float32", "float64") else precision)  # fmt: skip
    a = {name: None if v is None else to_device(v.astype(dtype), device) for name, v in given.items()}
    layer.params = {name: a[name] for name in layer.params}
    y, state, cache = layer.forward(
        a["x"], LSTMState(a["h0"], a["c0"]), lengths=lengths, weight_hh_mask=a["mask"], need_cache=keep
    )
    made = {"y": y, "h_T": state.h, "c_T": state.c}
    if keep:
        dx, dstate, grads = layer.backward(a["dy"], LSTMState(a["dh_T"], a["dc_T"]), cache)
        made |= {"dx": dx, "dh0": dstate.h, "dc0": dstate.c} | {f"d{name}": g for name, g in grads.items()}
    return {name: to_numpy(v) for name, v in made.items()}


@lru_cache(maxsize=2)
def plain(case, precision):
    return run(case, "reference", precision=precision)


def off_by(case, kernel, device, precision) -> tuple[float, str]:
    """-> the largest error of all arrays, as a part of what is allowed, and in which

    Allowed is twice the error that the plain version makes in float32, if that is the precision, and a floor."""
    found, exact = run(case, kernel, device, precision), plain(case, "float64")
    in_float32 = plain(case, "float32") if precision == "float32" else exact
    worst = 0.0, ""
    for name, want in exact.items():
        floor = FLOOR[precision] * EPS[precision] * max(1.0, np.abs(want).max(initial=0))
        allowed = floor + 2 * np.abs(in_float32[name] - want).max(initial=0)
        error = np.abs(found[name] - want).max(initial=0) / allowed
        worst = max(worst, (float(error if error == error else np.inf), name))  # NaN counts as infinitely far
    return worst


def broken_promise(case, kernel, device, precision) -> str | None:
    """Which of them a kernel breaks, or None."""
    first = run(case, kernel, device, precision)
    others = {
        "two runs differ": run(case, kernel, device, precision),
        "what stands behind a row's end matters": run(case, kernel, device, precision, padding=1e4),
        "without a cache the result is another": run(case, kernel, device, precision, keep=False),
    }
    for said, other in others.items():
        different = [name for name, a in other.items() if not np.array_equal(a, first[name])]
        if different:
            return f"{said}: {', '.join(different)}"
    return None


def say_who_is_missing(journal):
    """A row with the reason for each kernel that cannot run here: nobody is to be missed without a word."""
    about = {"kernel_name": "lstm", "precision": "", "mode": "check", "shape": {}}
    for kernel in kernels():
        if kernel.reason and journal.refusal(kernel.name, **about) is None:
            journal.write([row("check", provider=kernel.name, note=f"{REFUSED}{kernel.reason}", **about)])


def check(gpu, journal, until, cases=None):
    """A row for each kernel, precision and case; in its note what is wrong, if anything is."""
    cases = cases or CASES
    everybody = [(k.name, precision) for k in runnable() for precision in PRECISIONS if offers(k, precision)]
    plan(journal, "lstm", [case.shape for case in cases], len(everybody))
    with compiling(gpu, journal, [(c.B, c.H, p) for c in cases for p in PRECISIONS], until) as ready:
        for case in cases:
            ready(*((case.B, case.H, precision) for precision in PRECISIONS))
            for kernel, precision in everybody:
                about = {"kernel_name": "lstm", "precision": precision, "mode": "check", "shape": case.shape}
                if journal.measured(**about, provider=kernel) or journal.refusal(kernel, **about) is not None:
                    continue
                if time.time() > until:
                    return
                with journal.doing(provider=kernel, **about):
                    journal.write([checked(gpu, case, kernel, precision, about)])
            gpu.release()


def checked(gpu, case, kernel, precision, about):
    try:
        worst, name = off_by(case, kernel, gpu.kind, precision)
        wrong = f"{name} is off by {worst:.3g} times what is allowed" if worst > 1 else None
        wrong = wrong or (broken_promise(case, kernel, gpu.kind, precision) if case.lengths else None)
        return row("check", provider=kernel, metric="off by", values=[min(worst, 1e9)], note=wrong or "", **about)
    except ValueError as error:  # before any launch, as the contract of a kernel has it
        return row("check", provider=kernel, note=f"{REFUSED}{error}", **about)
    except Exception as error:
        still_there(gpu, error)
        return row("check", provider=kernel, note=f"{type(error).__name__}: {error}", **about)
