"""The fast twins of the engine's computations, imported as `minilstm_kernels`.

Each implementation is a module of plain functions that take and return arrays and tuples. This package imports
nothing else of the project and keeps no state that a result depends on: it can be read, tested and timed alone.
Importing it is cheap; a kernel's module, and with it Numba or CuPy, is imported when `load(name)` asks for it.

    import minilstm_kernels
    for name, device, summary, reason in minilstm_kernels.available(): ...
    cpu_gates = minilstm_kernels.load("cpu-gates")

A recurrence's module offers (T time, B batch, H hidden size; gates in the order i, f, g, o):

    forward(x_gates (T,B,4H), weight_hh (4H,H), h0 (B,H), c0 (B,H), lengths=None, need_cache=True)
        -> y (T,B,H), h_T (B,H), c_T (B,H), saved
    backward(dy (T,B,H), dh_T (B,H), dc_T (B,H), saved, weight_hh (4H,H))      each of the first three may be None
        -> dgates (T,B,4H), dh0 (B,H), dc0 (B,H)
    states(saved) -> h (T+1,B,H), c (T+1,B,H), ifgo (T,B,4H)
    no_room(B, H, dtype, need_cache=True)      where a kernel does not take every size
        -> why the chip has no room for weights of this dtype (its name), or None

What it offers as `precisions` besides float32 and float64 are dtypes of its arrays, or names in its VERSIONS: {name:
the `version` of forward and backward that multiplies float32 arrays so}.
"""

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Literal, NamedTuple

from .cpu_threads import get_num_threads, set_num_threads
from .gpu_choice import choose as choose_kernel
from .wavefront_plan import choose as choose_wavefront

__all__ = [
    "IMPLEMENTATIONS", "TWINS", "Implementation", "Availability", "available", "load", "twin",
    "get_num_threads", "set_num_threads", "choose_kernel", "choose_wavefront",
]  # fmt: skip


class Implementation(NamedTuple):
    """One registered kernel: where it is and what it needs, known without importing it."""

    name: str                       # what a user types: kernel="cpu-gates"
    module: str                     # file of this folder, without .py
    device: Literal["cpu", "cuda"]  # where its arrays must live
    requires: tuple[str, ...]       # packages it imports
    install: str                    # what to type when one of them is missing
    summary: str
    precisions: tuple[str, ...] = ()    # besides float32 and float64: see above


class Availability(NamedTuple):
    """One line of `available()`; `reason` is None where the kernel can run, else one plain sentence."""

    name: str
    device: str
    summary: str
    reason: str | None
    precisions: tuple[str, ...] = ()


# The only place where a kernel is registered. In the order of preference, the best first: "auto" goes by it, but for
# arrays on a GPU that gpu_times.csv knows.
IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation("cpu", "cpu_lstm", "cpu", ("numba",), "pip install numba",
                   "Numba: weights packed once, every thread with its own units for all time steps"),
    Implementation("cpu-packed", "cpu_packed", "cpu", ("numba",), "pip install numba",
                   "Numba: the weights packed once a call; a product and one pass over the gates a step"),
    Implementation("cpu-gates", "cpu_gates", "cpu", ("numba",), "pip install numba",
                   "Numba: the gates of a step in one compiled pass, its matrix product by NumPy's BLAS"),
    Implementation("graph", "cupy_graph", "cuda", ("cupy",), "pip install cupy-cuda13x (or cupy-cuda12x)",
                   "CUDA C++: a step in one kernel, product and gates; all steps in a CUDA graph; "
                   "not yet measured on a GPU", ("float16", "bfloat16")),
    Implementation("cupy", "cupy_gates", "cuda", ("cupy",), "pip install cupy-cuda13x (or cupy-cuda12x)",
                   "CUDA C++: the gates of a step in one kernel, its product by cuBLAS; not yet measured on a GPU",
                   ("float16", "bfloat16", "tf32")),
    Implementation("numba-cuda", "numba_gates", "cuda", ("numba", "cupy"), "pip install numba cupy-cuda13x",
                   "Numba CUDA: the gates of a step in one kernel, its product by cuBLAS; not yet measured on a GPU"),
    Implementation("persistent", "cupy_persistent", "cuda", ("cupy",), "pip install cupy-cuda13x (or cupy-cuda12x)",
                   "CUDA C++: one kernel for all steps, weights on the chip, barriers between blocks; "
                   "not yet measured on a GPU", ("float16", "bfloat16", "tf32", "bfloat16x3")),
    Implementation("cluster", "cupy_cluster", "cuda", ("cupy",), "pip install cupy-cuda13x (or cupy-cuda12x)",
                   "CUDA C++ for Hopper and newer: one kernel for all steps, weights on the chip; "
                   "not yet measured on a GPU", ("float16", "bfloat16", "tf32", "bfloat16x3")),
)


# What else has a fast twin: the function, and the file that it stands in for arrays of each device.
TWINS: dict[str, dict[str, str]] = {
    "linear_cross_entropy": {"cpu": "cpu_loss", "cuda": "cupy_loss"},
    "dropout_mask": {"cpu": "cpu_masks", "cuda": "cupy_masks"},
    "embedding_forward": {"cpu": "cpu_embedding", "cuda": "cupy_embedding"},
    "embedding_backward": {"cpu": "cpu_embedding", "cuda": "cupy_embedding"},
    "sum_of_squares": {"cpu": "cpu_passes", "cuda": "cupy_optim"},
    "sgd": {"cpu": "cpu_optim", "cuda": "cupy_optim"},
    "asgd": {"cpu": "cpu_optim", "cuda": "cupy_optim"},
    "adam": {"cpu": "cpu_optim", "cuda": "cupy_optim"},
}
_NEEDS_OF_TWINS = {"cpu": "cpu", "cuda": "cupy"}     # device -> the recurrence that needs the same packages


def twin(name: str, device: str = "cpu"):
    """The function of this name in TWINS. Raises ImportError with the reason where it cannot run."""
    module = TWINS[name][device]
    if f"{__name__}.{module}" not in sys.modules:
        load(_NEEDS_OF_TWINS[device])
    return getattr(import_module(f".{module}", __name__), name)


def available(*, try_import: bool = False) -> list[Availability]:
    """Every registered kernel, with the reason for each that cannot run here.

    Looks for the required packages without importing them, which takes no time. That an installation is broken
    shows only with `try_import`, which imports every kernel and takes seconds, or in `load`.
    """
    return [
        Availability(k.name, k.device, k.summary, _missing(k) or (try_import and _broken(k)) or None, k.precisions)
        for k in IMPLEMENTATIONS
    ]


def load(name: str) -> ModuleType:
    """The module of the kernel called `name`.

    ValueError for a name that is not registered, ImportError with the reason for one that cannot run here.
    """
    kernel = next((k for k in IMPLEMENTATIONS if k.name == name), None)
    if kernel is None:
        names = ", ".join(k.name for k in IMPLEMENTATIONS)
        raise ValueError(f"unknown kernel {name!r}: registered are {names}")
    reason = _missing(kernel) or _broken(kernel)
    if reason is not None:
        raise ImportError(reason)
    return import_module(f".{kernel.module}", __name__)


def _missing(kernel: Implementation) -> str | None:
    """A sentence about the first required package that is not installed, or None."""
    for package in kernel.requires:
        if not _installed(package):
            return f"{package} is not installed: {kernel.install}"
    return None


def _broken(kernel: Implementation) -> str | None:
    """A sentence about the error that importing the kernel raises, or None; free once it is imported."""
    try:
        import_module(f".{kernel.module}", __name__)
    except Exception as error:      # not only ImportError: a broken CUDA raises RuntimeErrors while importing
        return f"{kernel.name} cannot be imported: {type(error).__name__}: {error}"
    return None


def _installed(package: str) -> bool:
    if package in sys.modules:      # None there says that it must not be imported
        return sys.modules[package] is not None
    return _can_be_found(package)


@cache
def _can_be_found(package: str) -> bool:
    """Looked for once: every call of a layer asks, and a look costs 25 us where the answer is no."""
    return find_spec(package) is not None
