"""A whole recurrence by a kernel that does all steps, executed on the CPU and compared with ReferenceRecurrence in
float64: what cluster_on_cpu.py and persistent_on_cpu.py have in common. Arrays lie between NaNs and memory that cannot
be touched, and what is said about a row past its end is NaN."""

import numpy as np
from gates_on_cpu import Fenced

from minilstm.recurrence import ReferenceRecurrence

REFERENCE = ReferenceRecurrence()
SEEN = 12    # half units in the last place of the largest number: 8 were the most in 225 draws
NULL = np.uint64(0)
GRADIENTS = ("dy", "dh_T", "dc_T")


def check(launch, s, H, T, B, seed=0, keep=True, given=GRADIENTS, lengths=None):
    """A forward and a backward beside those of the reference -> all that they return.

    launch(direction, ins, outs): the kernel's arguments by name, in its order, as it takes them. s: Storage, whose
    half_ulp says how exact it is. given: which gradients there are; lengths: None for some of every kind"""
    known = problem(s, T, B, H, seed, lengths)
    got, want, saved = forward(launch, s, known, keep)
    if keep:
        known |= dict.fromkeys(set(GRADIENTS).difference(given))
        for all_of, others in zip((got, want), backward(launch, s, known, saved), strict=True):
            all_of |= others
        assert not got["dgates"][np.arange(T)[:, None] >= known["lengths"]].any()
    for name, a in got.items():
        assert np.isfinite(a).all(), f"{name}: a number that was not written, or made of one that is not there"
        error, allowed = abs(a - want[name]).max(), SEEN * s.half_ulp * max(1, abs(want[name]).max())
        assert error <= allowed, f"{name}: {error:.3g} is more than {allowed:.3g}"
    return got


def problem(s, T, B, H, seed, lengths):
    """-> all that a forward and a backward are given, by name, as it is stored"""
    rng = np.random.default_rng(seed)
    shapes = {"x_gates": (T, B, 4 * H), "weight_hh": (4 * H, H), "h0": (B, H), "dy": (T, B, H), "dh_T": (B, H)}
    known = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    known["weight_hh"] /= H**0.5
    lengths = np.asarray(rng.permutation(np.arange(B) % (T + 1)) if lengths is None else lengths, np.int32)
    for name in ("x_gates", "dy"):
        known[name][np.arange(T)[:, None] >= lengths] = np.nan
    c0, dc_T = rng.standard_normal((2, B, H)).astype(s.sums)
    return {name: s.encode(a) for name, a in known.items()} | {"c0": c0, "dc_T": dc_T, "lengths": lengths}


def forward(launch, s, known, keep):
    """-> what the kernel returns, what the reference returns, and what a backward of the reference needs of the two"""
    (T, B, H), rows = known["dy"].shape, len(known["dy"]) + 1 if keep else 2
    h, c = Fenced.empty((rows, B, H), s.dtype), Fenced.empty((rows, B, H), s.sums)
    h.array[0], c.array[0] = known["h0"], known["c0"]
    y, ifgo = Fenced.empty((T, B, H), s.dtype), Fenced.empty((T, B, 4 * H), s.dtype)
    ins = {name: known[name] for name in ("x_gates", "weight_hh", "lengths")} | dict(T=T, B=B, H=H, rows=rows)
    run(launch, "forward", ins, dict(h=h, c=c, y=y, ifgo=ifgo if keep else None))
    exact = (s.decode(known[name]) for name in ("x_gates", "weight_hh", "h0"))
    *want, saved = REFERENCE.forward(*exact, known["c0"].astype(float), known["lengths"])
    got = [s.decode(y.array), s.decode(h.array[T % rows]), c.array[T % rows]]
    if keep:
        got += s.decode(h.array), c.array, s.decode(ifgo.array)
        want += saved.h, saved.c, saved.ifgo
        saved.ifgo, saved.c = s.decode(ifgo.array), c.array.astype(float)
        known |= {"ifgo": ifgo.array, "c": c.array}
    names = ("y", "h_T", "c_T", "h", "c", "ifgo")
    return *(dict(zip(names, arrays, strict=False)) for arrays in (got, want)), saved


def backward(launch, s, known, saved):
    """-> what the kernel returns, what the reference returns"""
    T, B, H = known["c"].shape[0] - 1, *known["c"].shape[1:]
    names = (*GRADIENTS, "ifgo", "c", "weight_hh", "lengths")
    dgates, dh0 = Fenced.empty((T, B, 4 * H), s.dtype), Fenced.empty((B, H), s.dtype)
    dc0 = Fenced.empty((B, H), s.sums)
    ins = {name: known[name] for name in names} | dict(T=T, B=B, H=H)
    run(launch, "backward", ins, dict(dgates=dgates, dh0=dh0, dc0=dc0))
    exact = dict(dy=s.decode, dh_T=s.decode, dc_T=np.float64)
    d = (known[name] if known[name] is None else exact[name](known[name]) for name in GRADIENTS)
    want = REFERENCE.backward(*d, saved, s.decode(known["weight_hh"]))
    got = s.decode(dgates.array), s.decode(dh0.array), dc0.array
    return (dict(zip(("dgates", "dh0", "dc0"), arrays, strict=True)) for arrays in (got, want))


def run(launch, direction, ins, outs):
    """Launch; nothing was written beside an array, and no argument was changed. ins: arrays, numbers and None, which is
    an array that is not there; outs: Fenced and None"""
    fenced = {name: Fenced(a) for name, a in ins.items() if isinstance(a, np.ndarray)}
    numbers = {name: NULL if a is None else np.int32(a) for name, a in ins.items() if name not in fenced}
    args = {name: numbers[name] if name in numbers else fenced[name].array for name in ins}
    launch(direction, args, {name: NULL if b is None else b.array for name, b in outs.items()})
    for b in (*fenced.values(), *filter(None, outs.values())):
        b.check()
    for name, b in fenced.items():
        assert b.array.tobytes() == ins[name].tobytes(), f"{name}, an argument, was changed"
