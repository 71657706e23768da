"""The way to `kernels/`: the one place of the engine that knows the package of fast twins.

Recurrences are chosen by name (recurrence.py). For every other computation there is at most one twin on the CPU, and
`twin` says whether it is to be used; the plain code stands beside the call.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

from .arrays import is_cupy


def twin(name, kernel, *arrays):
    """The compiled function of this name for these arrays, or None: then the plain code is to be used.

    kernel: "auto" takes it where it can run, "cpu" insists (RuntimeError with the reason), "reference" and the other
    kernels are for those who want the plain code. ValueError for a name that there is not.
    """
    if kernel not in ("auto", "cpu"):
        if kernel != "reference":
            _check_known(kernel)
        return None
    if any(is_cupy(a) for a in arrays):
        return None
    kernels, reason = registry()
    try:
        if kernels is not None:
            return kernels.twin(name)
    except ImportError as e:
        reason = str(e)
    if kernel == "cpu":
        raise RuntimeError(f"kernel 'cpu' cannot run here: {reason}")
    return None


def _check_known(kernel):
    kernels, _ = registry()
    names = ["auto", "reference", *(k.name for k in kernels.IMPLEMENTATIONS)] if kernels else ["auto", "reference"]
    if kernel not in names:
        raise ValueError(f"kernel: expected one of {', '.join(names)}, got {kernel!r}")


def registry():
    """-> (the package of fast twins, None), or (None, why it is not there).

    In a source tree that was only unpacked, nothing called minilstm_kernels is installed, and the name `kernels`
    belongs to another package: there the folder beside this package is taken.
    """
    try:
        return importlib.import_module("minilstm_kernels"), None
    except ImportError:
        init = Path(__file__).resolve().parents[1] / "kernels" / "__init__.py"
        if not init.is_file():
            return None, "minilstm_kernels is not installed"
    spec = importlib.util.spec_from_file_location("minilstm_kernels", init)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, None
