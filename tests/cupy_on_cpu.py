"""A stand-in for CuPy where there is no GPU: its arrays are NumPy's under another name, and its kernels are executed on
the CPU (cuda_on_cpu.py), so that the code for the GPU, kernels/cupy_*.py and the engine on CuPy arrays, can be run.

As strict as CuPy where it matters: arrays of the host and of the "device" do not mix, and a reduction gives an array.
And stricter, in `no_waiting`: there nothing may look at a number of the "device", for which a host would have to wait;
`waits` notes whatever does.
"""

import sys
import weakref
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import cuda_on_cpu
import numpy as np


class ndarray(np.ndarray):
    """An array "on the device"."""

    __module__ = "cupy"

    def get(self):
        _wait("get()")
        return np.array(self.view(np.ndarray))

    def __bool__(self):
        _wait("bool()")
        return bool(self.view(np.ndarray))

    def __int__(self):
        _wait("int()")
        return int(self.view(np.ndarray))

    def __float__(self):
        _wait("float()")
        return float(self.view(np.ndarray))

    def item(self):
        _wait("item()")
        return self.view(np.ndarray).item()

    def tolist(self):
        _wait("tolist()")
        return self.view(np.ndarray).tolist()

    def __getitem__(self, key):
        _refuse_host_arrays([key])
        if any(isinstance(k, np.ndarray) and k.dtype == bool for k in (key if isinstance(key, tuple) else [key])):
            _wait("an index of booleans, whose result has a size that only the device knows")
        return _there(super().__getitem__(key))

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        _refuse_in_capture(ufunc.__name__)
        _refuse_host_arrays((*inputs, *out))
        if out:
            options["out"] = tuple(_bare(a) for a in out)
        if ufunc is np.matmul:
            inputs = _factors(inputs)
        with np.errstate(all="ignore"):  # a GPU does not warn
            return _there(getattr(ufunc, method)(*(_bare(a) for a in inputs), **options))

    def __array_function__(self, function, types, args, options):
        if function is not np.shares_memory:  # which our tests ask
            _refuse_host_arrays((*args, *options.values()))
        return _there(function(*map(_bare, args), **{k: _bare(a) for k, a in options.items()}))

    def __setitem__(self, key, value):
        _refuse_host_arrays([key, value])
        super().__setitem__(key, value)


_compute_types = {"float32": 1}    # COMPUTE_TYPE_DEFAULT; 7: COMPUTE_TYPE_TF32, of products


def _factors(arrays):
    """Of a product, as cuBLAS multiplies them: in TF32 where CuPy is set to it"""
    if _compute_types["float32"] != 7:
        return arrays
    return [a if a.dtype != np.float32 else
            (np.ascontiguousarray(_bare(a)).view(np.uint32) + 0x1000 & 0xFFFFE000).view(np.float32) for a in arrays]


class Stream:
    """What is launched is done at once, unless it is captured; then it becomes part of a graph."""

    def __init__(self, null=False, non_blocking=False):
        self.ptr, self.captured = 0 if null else id(self), None

    def __eq__(self, other):
        return self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *error):
        _streams.pop()

    def record(self):
        return Event()

    def wait_event(self, event):
        """What was launched anywhere has been done (streams_on_cpu.py looks whether it would have been)."""

    def begin_capture(self):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self.captured = []

    def end_capture(self):
        captured, self.captured = self.captured, None
        return Graph(captured)


class Event:
    """A place on a stream."""


class Graph:
    """Launches, to be repeated: with the same addresses, whatever lies there by then, and whoever keeps it there."""

    def __init__(self, launches):
        self.launches = launches

    def launch(self):
        for kernel, args, options in self.launches:
            args = [a() if isinstance(a, weakref.ref) else a for a in args]
            assert all(a is not None for a in args), "a graph uses memory that has been freed"
            kernel(args=args, **options)


_streams = [Stream(null=True)]    # the last one is the current one


class _Kernel(cuda_on_cpu.Kernel):
    def __call__(self, grid, block, args, **options):
        captured = _streams[-1].captured
        if self.module.cooperative:  # CuPy warns, and makes a grid smaller that is too large
            grid = (min(grid[0], PROPERTIES["multiProcessorCount"]),)
        if captured is None:
            return super().__call__(grid, block, args, **options)
        args = [weakref.ref(a) if isinstance(a, np.ndarray) else a for a in args]
        captured.append((super().__call__, args, dict(options, grid=grid, block=block)))


class _RawModule(cuda_on_cpu.RawModule):
    def get_function(self, name):
        _refuse_in_capture("loading a kernel")
        return _Kernel(self, self.names.index(name))


def _refuse_in_capture(what):
    if _streams[-1].captured is not None:
        raise RuntimeError(f"{what} is no part of a graph")


PROPERTIES = {    # but for the name those of an H100
    "name": b"Stand-in", "major": 9, "minor": 0, "multiProcessorCount": 132, "sharedMemPerBlockOptin": 227 * 1024,
}  # fmt: skip


class _StandIn(ModuleType):
    """Any function of NumPy that is asked for, with results "on the device"."""

    ndarray = ndarray
    RawModule = _RawModule
    _core = SimpleNamespace(get_compute_type=lambda dtype: _compute_types[np.dtype(dtype).name],
                            set_compute_type=lambda dtype, kind: _compute_types.update({np.dtype(dtype).name: kind}))
    cuda = SimpleNamespace(runtime=SimpleNamespace(
        getDeviceCount=lambda: 1, CUDARuntimeError=RuntimeError, getDevice=lambda: 0,
        getDeviceProperties=lambda _: dict(PROPERTIES), driverGetVersion=lambda: 13020,
        runtimeGetVersion=lambda: 13000, deviceSynchronize=lambda: _wait("deviceSynchronize()"),
    ), Stream=Stream, get_current_stream=lambda: _streams[-1],
        alloc_pinned_memory=cuda_on_cpu.alloc_pinned_memory)  # fmt: skip

    def where(self, *args):
        """CuPy 14.2 knows it for no bfloat16, and so takes float32."""
        made = self.__getattr__("where")(*args)
        return made if isinstance(made, tuple) or made.dtype.name != "bfloat16" else made.astype(np.float32)

    def __getattr__(self, name):
        theirs = getattr(np, name)
        if not callable(theirs) or isinstance(theirs, type):
            return theirs

        def ours(*args, **options):
            _refuse_in_capture(name)
            if name in ("nonzero", "flatnonzero", "argwhere", "unique"):
                _wait(name)
            if name not in ("asarray", "array"):
                _refuse_host_arrays((*args, *options.values()))
            elif type(args[0]) is np.ndarray:  # the device has memory of its own
                return _there(np.array(*args, **options))
            args = _factors(args) if name == "dot" else args
            options = {k: _bare(a) for k, a in options.items()}
            with np.errstate(all="ignore"):
                return _there(theirs(*(_bare(a) for a in args), **options))

        if isinstance(theirs, np.ufunc):
            ours.at = lambda *args: theirs.at(*map(_bare, args))
        return ours


def _refuse_host_arrays(values):
    for value in values:
        if isinstance(value, tuple | list):
            _refuse_host_arrays(value)
        if type(value) is np.ndarray:
            raise TypeError(f"Unsupported type {np.ndarray}")


def _bare(a):
    if isinstance(a, tuple | list):
        return type(a)(map(_bare, a))
    return a.view(np.ndarray) if isinstance(a, ndarray) else a


def _there(result):
    if isinstance(result, tuple):
        return tuple(map(_there, result))
    if isinstance(result, np.generic):
        result = np.asarray(result)
    return result.view(ndarray) if isinstance(result, np.ndarray) else result


def _wait(what):
    if _waits is not None:
        _waits.append(what)


_waits = None
cupy = _StandIn("cupy")
_backends = ModuleType("cupy_backends.cuda.api")
_backends.driver = SimpleNamespace(
    funcSetAttribute=cuda_on_cpu.func_set_attribute,
    occupancyMaxActiveBlocksPerMultiprocessor=lambda function, threads, shared_mem: 1,
)


@contextmanager
def waits():
    """-> a list, to which everything in this block that makes the host wait for the device is added"""
    global _waits
    before, _waits = _waits, []
    try:
        with _no_view_of_the_device():
            yield _waits
    finally:
        _waits = before


@contextmanager
def no_waiting():
    """In this block whoever makes the host wait for the device raises AssertionError."""

    class Never(list):
        def append(self, what):
            raise AssertionError(f"this makes the host wait for the device: {what}")

    global _waits
    before, _waits = _waits, Never()
    try:
        with _no_view_of_the_device():
            yield
    finally:
        _waits = before


@contextmanager
def _no_view_of_the_device():
    """np.asarray takes an array of a subclass without asking it; CuPy's arrays refuse."""

    def strict(theirs):
        def ours(a, *args, **options):
            if isinstance(a, ndarray):
                a.__array__()
            return theirs(a, *args, **options)

        return ours

    before = {name: getattr(np, name) for name in ("asarray", "array")}
    for name, theirs in before.items():
        setattr(np, name, strict(theirs))
    try:
        yield
    finally:
        for name, theirs in before.items():
            setattr(np, name, theirs)


@contextmanager
def in_place_of_cupy():
    """In this block `import cupy` gives the stand-in, and kernels/cupy_*.py are imported anew, with it."""

    def concerned():
        return {name for name in sys.modules if name.split(".")[0] in ("cupy", "cupy_backends") or ".cupy_" in name}

    before = {name: sys.modules.pop(name) for name in concerned()}
    sys.modules |= {"cupy": cupy, "cupy_backends.cuda.api": _backends}
    try:
        yield cupy
    finally:
        for name in concerned():
            del sys.modules[name]
        sys.modules.update(before)
