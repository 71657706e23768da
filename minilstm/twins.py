"""The way to `kernels/`: the one place of the engine that knows the package of fast twins.

Recurrences are chosen by name (recurrence.py). For every other computation there is at most one twin on each device,
and `twin` says whether it is to be used; the plain code stands beside the call.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

from .arrays import is_cupy


def twin(name, kernel, *arrays, device=None):
    """The compiled function of this name for these arrays, or None: then the plain code is to be used.

    kernel: "auto" takes it where it can run; "cpu", and the name of any kernel for the GPU, insist on it for arrays of
    their device (RuntimeError with the reason); "reference" and the other names are for those who want the plain code.
    device: where the result is wanted, if there are no arrays to say so. ValueError for a name that there is not.
    """
    if device is None:
        device = "cuda" if any(is_cupy(a) for a in arrays) else "cpu"
    if kernel != "auto" and _device_of_twins(kernel) != device:
        return None
    kernels, reason = registry()
    try:
        if kernels is not None:
            return kernels.twin(name, device)
    except ImportError as e:
        reason = str(e)
    if kernel != "auto":
        raise RuntimeError(f"kernel {kernel!r} cannot run here: {reason}")
    return None


def _device_of_twins(kernel):
    """The device whose twins go with a kernel, or None."""
    if kernel in ("cpu", "reference"):
        return "cpu" if kernel == "cpu" else None
    kernels, _ = registry()
    devices = {k.name: k.device for k in kernels.IMPLEMENTATIONS} if kernels else {}
    if kernel not in devices:
        raise ValueError(f"kernel: expected one of {', '.join(['auto', 'reference', *devices])}, got {kernel!r}")
    return "cuda" if devices[kernel] == "cuda" else None


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
