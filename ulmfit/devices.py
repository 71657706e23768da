"""Where a run computes: on the CPU, or on a GPU through CuPy. Data, files and models at rest are the host's; what is
trained or asked is brought to the device before, and back after, and every batch is sent when it is its turn.

So a checkpoint or a model does not know on what device it was made, and a run may go on on another one.
"""

from importlib import import_module

from minilstm import MaskSource, available_kernels, to_device
from minilstm.params import move
from minilstm.twins import registry

from .errors import InputError


def check_device(device, option="--device"):
    """Raise InputError, with the reason and the remedy, where there is no such device to compute on."""
    if device == "cuda" and (reason := _no_gpu()) is not None:
        raise InputError(f"{option} cuda: {reason}; or use --device cpu")


def _no_gpu() -> str | None:
    """Why there is no GPU to compute on; None: there is one."""
    kernels, reason = registry()
    if kernels is None:
        return reason
    reasons = {kernel.name: kernel.reason for kernel in available_kernels()}
    if reasons["cupy"] is not None:  # it is not installed
        return reasons["cupy"]
    try:
        import_module(f"{kernels.__name__}.gpu_device").cupy_with_a_gpu()
    except Exception as e:  # not only ImportError: a broken CUDA raises errors of its own while it is imported
        return " ".join(str(e).split()) or type(e).__name__
    return None


def task_to(task, device):
    """Bring what a task trains to a device; there its masks are drawn, too."""
    move(task.model, device)
    task.masks = MaskSource(task.masks.seed, kernel=task.masks.kernel, device=device)


def carry_to(carry, device):
    """What a step begins with: a sequence of named tuples of arrays, or None."""
    return carry and [type(pair)(*(to_device(a, device) for a in pair)) for pair in carry]


def moments_to(optimizer, device):
    """An optimiser's moments. The counts of its steps are the host's, always."""
    for moment, arrays in optimizer.state.items():
        if moment != "step":
            optimizer.state[moment] = {name: to_device(a, device) for name, a in arrays.items()}


def loaded_to(loaded, device):
    """A model_files.Loaded, its model and statistics on a device."""
    move(loaded.model, device)
    return loaded._replace(stats=loaded.stats and tuple(carry_to(loaded.stats, device)))
