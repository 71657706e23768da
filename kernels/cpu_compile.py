"""How the CPU kernels are compiled: by Numba, for the processor at hand, once, and kept on disk.

    @compiled
    def scale(x, factor): ...       compiled on its first call with arguments of new types

Everything is decided here that must be the same for all of them: which liberties the compiler has, how wide a vector
is, and when a compiled function of an earlier day may be used again.
"""

import hashlib
import sys
from pathlib import Path

from numba import njit
from numba.core import event
from numba.core.registry import cpu_target

# "contract": a product and a sum may become one fused multiply-add. No other liberty is given: no reordering, so
# that results repeat bit for bit, and no assumption that NaN does not happen.
# "numpy": x / 0 is infinity, where Python's own model raises, and a loop that may raise is not vectorised.
OPTIONS = dict(nogil=True, error_model="numpy", fastmath={"contract"})

_, CPU, _FEATURES = cpu_target.target_context.codegen().magic_tuple()


def has(feature: str) -> bool:
    """Does the processor that Numba compiles for have this feature? By LLVM's names: avx512f, fma, neon."""
    return f"+{feature}" in _FEATURES.split(",")


# Bytes in a vector register, and how many of them there are.
VECTOR_BYTES, REGISTERS = (64, 32) if has("avx512f") else (32, 16) if has("avx") else (16, 32 if has("neon") else 16)

# Numba's cache looks at the date of the one file a function stands in, but these files call each other: what is
# compiled carries a digest of them all in its name, so that no stale machine code is ever loaded. (The name of the
# module is there, too: a checkout can import these files as `minilstm_kernels` or as `kernels`.)
_DIGEST = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("cpu_*.py")))
).hexdigest()[:12]


def inlined(function):
    """For the small functions that compiled ones are made of: compiled together with them."""
    return njit(**OPTIONS)(function)


def compiled(function):
    """`function` compiled on its first call, without the GIL, and kept on disk where that is possible."""
    function.__qualname__ = f"{function.__module__}.{function.__name__}.{_DIGEST}"
    try:
        made = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:                # neither the package's folder nor the home folder can be written
        made = njit(**OPTIONS)(function)
    _announced.add(made)
    return made


# --- what the user sees of it ---------------------------------------------------------------------------------


class _Announcement(event.Listener):
    """Compiling takes seconds in which nothing seems to happen: one line says so, once in a program, when it begins.
    What a later one needs for the first time is compiled then, with a line of its own."""

    def __init__(self):
        self._depth, self._said = 0, False

    def on_start(self, event):
        if self._depth == 0 and not self._said and event.data["dispatcher"] in _announced:
            self._said = True
            print("minilstm: compiling CPU kernels for this processor; up to half a minute, longer on a busy machine "
                  "...", file=sys.stderr)
        self._depth += 1

    def on_end(self, event):
        self._depth -= 1


_announced = set()
announcement = _Announcement()
event.register("numba:compile", announcement)
