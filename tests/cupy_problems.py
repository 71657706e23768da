"""Arguments for a recurrence on CuPy arrays, or on those that stand for them (cupy_on_cpu.py), and what it returns."""

import numpy as np
from strategies import normal


def problem(cupy, T=5, B=4, H=12, dtype=np.float32, seed=0):
    """-> the arguments of forward, those of backward without saved and weight_hh, in the order of the contract"""
    rng = np.random.default_rng(seed)
    sums = np.promote_types(dtype, np.float32)
    x, w, h0, c0 = normal(rng, T, B, 4 * H), normal(rng, 4 * H, H) / H**0.5, normal(rng, B, H), normal(rng, B, H)
    dy, dh, dc = normal(rng, T, B, H), normal(rng, B, H), normal(rng, B, H)
    ins = {"x_gates": x, "weight_hh": w, "h0": h0, "c0": c0}
    d = {"dy": dy, "dh_T": dh, "dc_T": dc}
    return tuple(
        {name: cupy.asarray(a.astype(sums if name in ("c0", "dc_T") else dtype)) for name, a in arrays.items()}
        for arrays in (ins, d)
    )


def run(kernel, ins, d, lengths=None, **version):
    """-> all that a forward and a backward return, by name, on the host"""
    y, h_T, c_T, saved = kernel.forward(*ins.values(), lengths, **version)
    h, c, ifgo = kernel.states(saved)
    dgates, dh0, dc0 = kernel.backward(*d.values(), saved, ins["weight_hh"], **version)
    out = dict(y=y, h_T=h_T, c_T=c_T, h=h, c=c, ifgo=ifgo, dgates=dgates, dh0=dh0, dc0=dc0)
    return {name: a.get() for name, a in out.items()}


def arranged(how, *problem):
    """The arguments, each of them arranged in memory by `how`."""
    return ({name: how(a) for name, a in arrays.items()} for arrays in problem)


def moved(a):
    """The same array one number behind a multiple of 16 bytes, where vectors cannot be read."""
    room = type(a)(a.size + 8, a.dtype)
    start = (-room.data.ptr % 16) // a.itemsize + 1
    room[start:][: a.size] = a.reshape(-1)
    return room[start:][: a.size].reshape(a.shape)
