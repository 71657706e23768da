"""Is there a GPU to work on? The answer is CuPy, or one sentence that says what is missing and what helps."""


def cupy_with_a_gpu():
    """-> the module cupy, where it has a device. Raises ImportError with the reason where it has none."""
    import cupy

    runtime = cupy.cuda.runtime
    try:
        n_devices = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise ImportError(_reason(runtime.driverGetVersion(), runtime.runtimeGetVersion(), error)) from error
    if n_devices == 0:
        raise ImportError(HIDDEN)
    return cupy


HIDDEN = "there is no CUDA device (CUDA_VISIBLE_DEVICES may hide it)"


def _reason(driver, runtime, error):
    """driver, runtime: the newest CUDA that the driver knows and the one that CuPy was made for, as 1000 * major +
    10 * minor; the driver's is 0 where there is none"""
    if driver == 0:
        return "there is no NVIDIA driver"
    if driver // 1000 < runtime // 1000:    # within a major version older drivers will do
        return (f"the NVIDIA driver is too old: it knows CUDA up to {_version(driver)}, and this CuPy is for CUDA "
                f"{runtime // 1000}; update the driver, or install cupy-cuda{driver // 1000}x instead")  # fmt: skip
    return HIDDEN if "NoDevice" in str(error) else f"CuPy finds no device: {error}"


def _version(number):
    return f"{number // 1000}.{number % 1000 // 10}"
