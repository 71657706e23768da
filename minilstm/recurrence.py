"""The loop over time: its contract, the plain version that defines it, and the choice of a faster twin.

A recurrence is what remains of an LSTM layer once the big matrix products are taken out of the loop: it gets the
input's share of the gates for all time steps at once and is left with `h @ weight_hh.T` and the gates, step by step.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from .arrays import get_array_module, gpu_name, is_cupy
from .gates import gates_backward, gates_forward
from .twins import registry


class Recurrence(Protocol):
    """What every kernel implements. Arrays are time-major; gates lie in the order i, f, g, o along 4H."""

    name: str

    def forward(self, x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
        """x_gates (T,B,4H), weight_hh (4H,H), h0 and c0 (B,H), lengths (B,) or None
        -> y (T,B,H), h_T (B,H), c_T (B,H), saved

        Past its length a row's y is 0 and its h and c stay as they are. `saved` is the implementation's own, in its
        own layout, and remembers lengths; None where need_cache is False.
        """

    def backward(self, dy, dh_T, dc_T, saved, weight_hh):
        """dy (T,B,H), dh_T and dc_T (B,H), each of them or None (zero)
        -> dgates (T,B,4H) before activation, dh0 (B,H), dc0 (B,H)
        """

    def states(self, saved):
        """-> h (T+1,B,H), c (T+1,B,H), ifgo (T,B,4H), 0 past a row's end: for weight gradients, study and tests."""


@dataclass
class Saved:
    """What the reference keeps. Row t of h and c is the state *before* step t, so no step is special."""

    h: np.ndarray  # (T+1, B, H)
    c: np.ndarray  # (T+1, B, H)
    ifgo: np.ndarray  # (T, B, 4H)
    lengths: np.ndarray | None  # (B,)


class ReferenceRecurrence:
    """The definition. Slow and plain; on CuPy arrays it runs as it stands."""

    name = "reference"

    def forward(self, x_gates, weight_hh, h0, c0, lengths=None, need_cache=True):
        xp = get_array_module(x_gates, weight_hh, h0, c0)
        T, B, H = x_gates.shape[0], *h0.shape
        y = xp.empty((T, B, H), x_gates.dtype)
        saved = None
        if need_cache:
            h, c = (xp.empty((T + 1, B, H), x_gates.dtype) for _ in range(2))
            saved = Saved(h, c, xp.empty_like(x_gates), lengths)
            saved.h[0], saved.c[0] = h0, c0
        h_t, c_t = h0, c0
        for t in range(T):
            h_new, c_new, ifgo_t = gates_forward(x_gates[t] + h_t @ weight_hh.T, c_t)
            if lengths is None:
                h_t, c_t, y[t] = h_new, c_new, h_new
            else:
                alive = _alive(xp, lengths, t)
                h_t, c_t = xp.where(alive, h_new, h_t), xp.where(alive, c_new, c_t)
                y[t], ifgo_t = xp.where(alive, h_new, 0), xp.where(alive, ifgo_t, 0)
            if saved is not None:
                saved.h[t + 1], saved.c[t + 1], saved.ifgo[t] = h_t, c_t, ifgo_t
        return y, h_t.copy(), c_t.copy(), saved

    def backward(self, dy, dh_T, dc_T, saved, weight_hh):
        xp = get_array_module(saved.h, weight_hh)
        T, B, H = saved.ifgo.shape[0], *saved.h.shape[1:]
        dgates = xp.empty_like(saved.ifgo)
        zero = xp.zeros((B, H), saved.h.dtype)
        dh = zero if dh_T is None else dh_T
        dc = zero if dc_T is None else dc_T
        for t in reversed(range(T)):
            dy_t = zero if dy is None else dy[t]
            if saved.lengths is None:
                dgates[t], dc = gates_backward(dh + dy_t, dc, saved.ifgo[t], saved.c[t], saved.c[t + 1])
                dh = dgates[t] @ weight_hh
            else:
                alive = _alive(xp, saved.lengths, t)
                dh_t = dh + xp.where(alive, dy_t, 0)
                dgates_t, dc_prev = gates_backward(dh_t, dc, saved.ifgo[t], saved.c[t], saved.c[t + 1])
                dgates[t] = xp.where(alive, dgates_t, 0)
                dh = xp.where(alive, dgates[t] @ weight_hh, dh)  # past its end a row hands dh and dc on untouched
                dc = xp.where(alive, dc_prev, dc)
        return dgates, dh.copy(), dc.copy()

    def states(self, saved):
        return saved.h, saved.c, saved.ifgo


def _alive(xp, lengths, t):
    """(B, 1): True for the rows whose text has not ended before step t."""
    return xp.asarray(t < lengths)[:, None]


# --- choosing an implementation ---------------------------------------------------------------------------------------


class KernelInfo(NamedTuple):
    """One implementation, and why it cannot run here (None: it can)."""

    name: str
    device: str  # "cpu", "cuda" or "any"
    summary: str
    reason: str | None
    precisions: tuple[str, ...] = ()  # what it offers besides the arrays' own: LSTM(precision=...)


class Plan(NamedTuple):
    """Which implementation a call will use, and why."""

    kernel: str
    reason: str
    microseconds: float | None = None  # expected of its loop over time, with backward if a cache is kept; None: unknown


def available_kernels() -> list[KernelInfo]:
    """Every implementation of the recurrence that this version knows, with the reason for each that cannot run here."""
    reference = KernelInfo("reference", "any", "plain NumPy (CuPy on CuPy arrays): the definition", None)
    kernels, _ = registry()
    if kernels is None:
        return [reference]
    return [reference, *(KernelInfo(*k) for k in kernels.available())]


def plan_recurrence(kernel: str, x, precision=None, H=None, need_cache=True) -> Plan:
    """The implementation for `kernel` ("auto" or a name) on arrays like `x` (T, B, I), for a layer of H units.

    "auto" takes what was the fastest on this GPU (kernels/gpu_choice.py: with need_cache forward and backward
    together), and else the first in the order of preference that runs and has room for the weights. Without H nothing
    is said about sizes, and the order decides.
    Raises ValueError for an unknown name, RuntimeError with the reason for one that cannot run here: only "auto"
    may fall back.
    """
    kernels = check_kernel(kernel, precision)
    device = "cuda" if is_cupy(x) else "cpu"
    if kernel == "auto":
        left, missing = [k for k in kernels.values() if k.device == device and offers(k, precision)], []
        while left:
            fastest = _fastest_measured([k.name for k in left], x, precision, H, need_cache)
            info = kernels[fastest.kernel] if fastest else left[0]
            reason = info.reason or _refusal(info.name, x, precision, H, need_cache)
            if reason is None:
                return Plan(info.name, _why(info, device, fastest), fastest and fastest.microseconds)
            missing.append(f"; {info.name}: {reason}")
            left.remove(info)
        if precision is not None:  # a wish, like a name: it is not dropped in silence
            raise RuntimeError(f"precision {precision!r}: no kernel that runs on {device} arrays here offers it"
                               + "".join(missing))  # fmt: skip
        return Plan("reference", "auto: nothing faster for these arrays" + "".join(missing))
    info = kernels[kernel]
    if info.reason is not None:
        raise RuntimeError(f"kernel {kernel!r} cannot run here: {info.reason}")
    if info.device not in ("any", device):
        raise RuntimeError(f"kernel {kernel!r} works on {info.device} arrays, and these are {device} arrays")
    fastest = _fastest_measured([kernel], x, precision, H, need_cache)
    return Plan(kernel, "asked for by name", fastest and fastest.microseconds)


def _fastest_measured(names, x, precision, H, need_cache):
    """What the table of measurements says about these kernels: a Choice of kernels/gpu_choice.py, or None."""
    kernels, _ = registry()
    if kernels is None or H is None or not is_cupy(x):
        return None
    mode = "full" if need_cache else "inference"
    return kernels.choose_kernel(gpu_name(), precision or x.dtype.name, *x.shape[:2], H, mode, tuple(names))


def _refusal(name, x, precision, H, need_cache):
    """Why a kernel that seems to be there cannot be imported after all, or has no room for such a call; or None."""
    try:
        no_room = getattr(get_recurrence(name, precision), "no_room", None)
    except RuntimeError as e:
        return str(e)
    if no_room is None or H is None:
        return None
    return no_room(x.shape[1], H, storage_dtype(precision, x.dtype).name, need_cache)


def _why(info, device, fastest):
    if fastest is not None:
        how = "the fastest measured" if fastest.measured else "by the nearest measurements the fastest"
        return f"auto: {how} on {gpu_name()} ({fastest.step:.3g} us a step)"
    if device == "cuda":
        return f"auto: not measured on {gpu_name()} at this size; the first that runs here ({info.summary})"
    return f"auto: the fastest that runs on {device} arrays here ({info.summary})"


def check_kernel(kernel, precision):
    """-> {name: KernelInfo} of all. Raises ValueError for a kernel or a precision that this version does not know."""
    kernels = {k.name: k for k in available_kernels()}
    names = ["auto", *kernels]
    if kernel not in names:
        raise ValueError(f"kernel: expected one of {', '.join(names)}, got {kernel!r}")
    asked = kernels.values() if kernel == "auto" else [kernels[kernel]]
    if not any(offers(k, precision) for k in asked):
        known = sorted({p for k in asked for p in k.precisions})
        expected = ", ".join(["None (the arrays' own)", *known])
        raise ValueError(f"precision: kernel {kernel!r} does not offer {precision!r}; expected {expected}")
    return kernels


PRODUCTS = ("tf32", "bfloat16x3")  # precisions of what is multiplied alone: arrays stay float32


def offers(info: KernelInfo, precision) -> bool:
    """Can this kernel be asked for this precision? None, the arrays' own, can be asked of any."""
    return precision is None or precision in info.precisions


def storage_dtype(precision, dtype):
    """In what an LSTM of this dtype stores, and multiplies, at this precision. RuntimeError where NumPy lacks it."""
    if precision in (None, *PRODUCTS):
        return dtype
    if precision == "bfloat16":
        try:
            import ml_dtypes  # from here on NumPy, and CuPy since 14, know bfloat16

            return np.dtype(ml_dtypes.bfloat16)
        except ImportError:
            raise RuntimeError("precision 'bfloat16' needs the package ml_dtypes: pip install ml_dtypes") from None
    return np.dtype(precision)


def get_recurrence(name: str, precision=None) -> Recurrence:
    """The implementation of this name, imported (and compiled) now if it was not yet, at a precision that it offers."""
    if name == "reference":
        return ReferenceRecurrence()
    kernels, reason = registry()
    if kernels is None:
        raise RuntimeError(f"kernel {name!r} cannot run here: {reason}")
    try:
        return _KernelModule(name, kernels.load(name), precision)
    except ImportError as e:
        raise RuntimeError(f"kernel {name!r} cannot run here: {e}") from e


class _KernelModule:
    """A module of `kernels/`, which returns plain tuples, seen as a Recurrence: one precision, both ways."""

    def __init__(self, name, module, precision):
        how = {"version": module.VERSIONS[precision]} if precision in PRODUCTS else {}
        self.name, self.states = name, module.states
        for function in ("forward", "backward", "no_room"):  # the last where a kernel does not take every size
            if hasattr(module, function):
                setattr(self, function, partial(getattr(module, function), **how))
        for function in ("layer_forward", "layer_backward"):  # where a kernel has its own way with the whole layer
            if hasattr(module, function):
                setattr(self, function, getattr(module, function))
