"""Why there is no GPU to work on, said in one sentence (kernels/gpu_device.py), with a CuPy that only pretends."""

import sys
from types import SimpleNamespace

import pytest

from minilstm_kernels import gpu_device


class CUDARuntimeError(RuntimeError):
    pass


@pytest.fixture
def cupy(monkeypatch):
    """A function: devices (or an error), the driver's CUDA and CuPy's -> a CuPy that says so, already imported"""
    def make(devices, driver=13020, runtime=13020):
        def count():
            if isinstance(devices, str):
                raise CUDARuntimeError(devices)
            return devices

        says = dict(CUDARuntimeError=CUDARuntimeError, getDeviceCount=count)
        says |= dict(driverGetVersion=lambda: driver, runtimeGetVersion=lambda: runtime)
        module = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(**says)))
        monkeypatch.setitem(sys.modules, "cupy", module)
        return module

    return make


def reason():
    with pytest.raises(ImportError) as error:
        gpu_device.cupy_with_a_gpu()
    return str(error.value)


def test_cupy_with_a_device_is_what_is_asked_for(cupy):
    module = cupy(2)
    assert gpu_device.cupy_with_a_gpu() is module


def test_without_a_driver(cupy):
    cupy("cudaErrorInsufficientDriver: CUDA driver version is insufficient", driver=0)
    assert reason() == "there is no NVIDIA driver"


def test_an_old_driver_is_named_with_two_remedies(cupy):
    cupy("cudaErrorInsufficientDriver: CUDA driver version is insufficient", driver=12040, runtime=13020)
    assert reason() == (
        "the NVIDIA driver is too old: it knows CUDA up to 12.4, and this CuPy is for CUDA 13; update the driver, or "
        "install cupy-cuda12x instead"
    )


def test_an_older_driver_of_the_same_major_version_is_not_blamed(cupy):
    cupy("cudaErrorSystemNotReady: system not yet initialized", driver=13000, runtime=13020)
    assert reason() == "CuPy finds no device: cudaErrorSystemNotReady: system not yet initialized"


def test_hidden_devices(cupy):
    for devices in (0, "cudaErrorNoDevice: no CUDA-capable device is detected"):
        cupy(devices)
        assert reason() == "there is no CUDA device (CUDA_VISIBLE_DEVICES may hide it)"
