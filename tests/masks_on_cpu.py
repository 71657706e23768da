"""The kernels of dropout_mask.cu, executed on the CPU and compared, bit by bit, with the masks that NumPy draws."""

from pathlib import Path

import numpy as np
from gates_on_cpu import Between

from minilstm import MaskSource

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "dropout_mask.cu").read_text(encoding="utf-8")
TYPES = {"float": np.float32, "double": np.float64}
NAMES = [f"dropout_mask_{version}<{S}>" for version in (1, 2) for S in TYPES]


def check_mask(kernel, n, p=0.3, seed=2**64 - 5, step=2**40 + 1, layer=3, threads=32):
    """n elements, beside those of NumPy's generator"""
    source = MaskSource(seed, kernel="reference")
    dtype, version = TYPES[kernel.name.split("<")[1][:-1]], int(kernel.name[len("dropout_mask_")])
    expected = source.mask("kind", (n,), p, step=step, layer=layer, dtype=dtype)
    threshold = min(round(p * 65536), 65535)
    mask, key = Between.empty(n, dtype), source._key("kind", layer)
    args = *key, np.uint64(step), np.uint32(threshold), dtype(65536 / (65536 - threshold)), np.int64(n), mask.array
    kernel((-(-n // (16 * threads)),), (threads,), args, shared_mem=32 * threads if version == 2 else 0)
    mask.check()
    assert mask.array.tobytes() == expected.tobytes()


def check_all(kernels, names=NAMES, sizes=(1, 15, 16, 17, 511, 512, 513, 3000)):
    """Every kernel; kernels: name -> kernel"""
    for name in names:
        for n in sizes:
            check_mask(kernels(name), n)
        check_mask(kernels(name), 40, p=0.99999)
        number = MaskSource(9)._uint16("kind", 3, 5, 100)[77]
        check_mask(kernels(name), 100, p=number / 65536, seed=9, step=5)    # a number that is the threshold is kept
        check_mask(kernels(name), 70, p=0.5, seed=0, step=0, layer=0)


NAMES_FOR_BUGS = NAMES[::2]


def check_bugs(kernels):
    check_all(kernels, NAMES_FOR_BUGS, sizes=(1, 17, 513, 1100))
