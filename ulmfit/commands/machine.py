"""What this machine has to offer: packages, threads, and GPUs as their driver describes them."""

import ctypes
from pathlib import Path

from minilstm import get_num_threads

from ..provenance import commit, version, versions

RELEASE = Path("/sys/module/nvidia/version")    # of the driver, on Linux
COMPUTE_CAPABILITY = 75, 76     # names of attributes in cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


def machine() -> dict:
    """Name -> what is there, in words; None where it is not installed or not there."""
    found = versions() | {name: version(name) for name in ("numba-cuda", "matplotlib", "threadpoolctl")}
    driver, devices = gpus()
    return found | {"commit": commit(), "threads": threads(), "NVIDIA driver": driver, "GPU": devices}


def threads() -> str:
    """How many threads compute: those of the kernels, and those of NumPy's BLAS, which a command has limited."""
    from threadpoolctl import threadpool_info

    blas = [str(library["num_threads"]) for library in threadpool_info() if library["user_api"] == "blas"]
    return f"{get_num_threads()} in the kernels" + (f", {' and '.join(blas)} in the BLAS" if blas else "")


def gpus():
    """-> the NVIDIA driver and its GPUs, in words; None for either that is not there

    The driver itself is asked, which needs no package and does nothing on the GPU.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, None
    newest = _integer(cuda.cuDriverGetVersion)
    if newest == 0:             # a stub, to link programs with
        return None, None
    driver = f"for CUDA up to {newest // 1000}.{newest % 1000 // 10}"
    if RELEASE.is_file():
        driver = f"{RELEASE.read_text(encoding='ascii').strip()}, {driver}"
    if cuda.cuInit(0) != 0:
        return driver, None
    return driver, "; ".join(_describe(cuda, n) for n in range(_integer(cuda.cuDeviceGetCount))) or None


def _describe(cuda, n) -> str:
    device, name, size = _integer(cuda.cuDeviceGet, n), ctypes.create_string_buffer(100), ctypes.c_size_t()
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    major, minor = (_integer(cuda.cuDeviceGetAttribute, attribute, device) for attribute in COMPUTE_CAPABILITY)
    return f"{name.value.decode()}, {size.value / 2**30:.0f} GiB, compute capability {major}.{minor}"


def _integer(function, *arguments) -> int:
    """What a function of the driver writes to where its first argument points."""
    found = ctypes.c_int()
    function(ctypes.byref(found), *arguments)
    return found.value
