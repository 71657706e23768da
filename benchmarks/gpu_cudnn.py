"""cuDNN's functions for an LSTM, called through ctypes in the library that PyTorch brings.

Names, numbers and signatures are those of cudnn_adv.h, cudnn_graph.h and cudnn_ops.h of cuDNN 9, which calls them its
version 8 interface for recurrent networks. PyTorch chooses an algorithm itself; here each can be asked for.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_ulonglong, c_void_p
from pathlib import Path

from workers import Refused

ALGORITHMS = {"standard": 0, "persist-static": 1, "persist-dynamic": 2, "persist-static-small-h": 3}
DATA = {"float32": 0, "tf32": 0, "float64": 1, "float16": 2, "bfloat16": 9}  # CUDNN_DATA_
DEFAULT_MATH, TENSOR_OP_MATH, FMA_MATH = 0, 1, 3
MATH = {"float32": FMA_MATH, "tf32": DEFAULT_MATH, "float64": DEFAULT_MATH,  # the default allows TF32 for float
        "float16": TENSOR_OP_MATH, "bfloat16": TENSOR_OP_MATH}  # fmt: skip
INFERENCE, TRAINING = 0, 1  # CUDNN_FWD_MODE_
LSTM, DOUBLE_BIAS, UNIDIRECTIONAL, LINEAR_INPUT = 2, 2, 0, 0
SEQ_MAJOR_UNPACKED, PADDED_IO_ENABLED = 0, 1  # (T, B, H), as PyTorch has it
WGRAD_ADD = 0  # the only way that cudnnRNNBackwardWeights_v8 knows: the buffer is zeroed before

handle = descriptor = pointer = c_void_p
SIGNATURES = {  # all return a status, but the two that are named in `load`
    "cudnnGetVersion": (),
    "cudnnGetErrorString": (c_int,),
    "cudnnCreate": (POINTER(handle),),
    "cudnnDestroy": (handle,),
    "cudnnSetStream": (handle, pointer),
    "cudnnCreateDropoutDescriptor": (POINTER(descriptor),),
    "cudnnDestroyDropoutDescriptor": (descriptor,),
    "cudnnSetDropoutDescriptor": (descriptor, handle, ctypes.c_float, pointer, c_size_t, c_ulonglong),
    "cudnnCreateTensorDescriptor": (POINTER(descriptor),),
    "cudnnDestroyTensorDescriptor": (descriptor,),
    "cudnnSetTensorNdDescriptor": (descriptor, c_int, c_int, POINTER(c_int), POINTER(c_int)),
    "cudnnCreateRNNDataDescriptor": (POINTER(descriptor),),
    "cudnnDestroyRNNDataDescriptor": (descriptor,),
    # type, layout, steps, rows, units, length of each row, what to pad with
    "cudnnSetRNNDataDescriptor": (descriptor, c_int, c_int, c_int, c_int, c_int, POINTER(c_int), pointer),
    "cudnnCreateRNNDescriptor": (POINTER(descriptor),),
    "cudnnDestroyRNNDescriptor": (descriptor,),
    # algorithm, cell, bias, direction, input mode, type of data, of sums, kind of math; input, hidden and projection
    # size, layers; dropout, flags
    "cudnnSetRNNDescriptor_v8": (descriptor, *[c_int] * 8, *[c_int32] * 4, descriptor, c_uint32),
    "cudnnBuildRNNDynamic": (handle, descriptor, c_int),
    "cudnnGetRNNWeightSpaceSize": (handle, descriptor, POINTER(c_size_t)),
    "cudnnGetRNNTempSpaceSizes": (handle, descriptor, c_int, descriptor, POINTER(c_size_t), POINTER(c_size_t)),
    # layer, weights; which of the 8 matrices; descriptor and address of the matrix, and of its bias
    "cudnnGetRNNWeightParams": (handle, descriptor, c_int32, c_size_t, pointer, c_int32,
                                descriptor, POINTER(pointer), descriptor, POINTER(pointer)),
    # mode, lengths (none); x; y; h: 0 and T; c: 0 and T; weights; work; reserve
    "cudnnRNNForward": (handle, descriptor, c_int, pointer, descriptor, pointer, descriptor, pointer,
                        descriptor, pointer, pointer, descriptor, pointer, pointer,
                        c_size_t, pointer, c_size_t, pointer, c_size_t, pointer),
    # lengths; y, dy; dx; h0, dh_T, dh0; c0, dc_T, dc0; weights; work; reserve
    "cudnnRNNBackwardData_v8": (handle, descriptor, pointer, descriptor, pointer, pointer, descriptor, pointer,
                                descriptor, pointer, pointer, pointer, descriptor, pointer, pointer, pointer,
                                c_size_t, pointer, c_size_t, pointer, c_size_t, pointer),
    # add; lengths; x; h0; y; dweights; work; reserve
    "cudnnRNNBackwardWeights_v8": (handle, descriptor, c_int, pointer, descriptor, pointer, descriptor, pointer,
                                   descriptor, pointer, c_size_t, pointer, c_size_t, pointer, c_size_t, pointer),
}  # fmt: skip


def find() -> str:
    """The library that PyTorch has loaded, by its name; else the one of the package that PyTorch depends on."""
    import importlib.util

    try:
        spec = importlib.util.find_spec("nvidia.cudnn")
    except ModuleNotFoundError:
        spec = None
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder, "lib").glob("libcudnn.so.9")):
            return str(path)
    return "libcudnn.so.9"


class Cudnn:
    """The library, with a status that is not success turned into Refused: `cudnn.cudnnRNNForward(...)`."""

    def __init__(self, path=None):
        path = path or find()
        try:
            self.library = ctypes.CDLL(path)
        except OSError as error:
            raise Refused(f"cuDNN cannot be called directly: {error}") from None
        for name, arguments in SIGNATURES.items():
            try:
                getattr(self.library, name).argtypes = arguments
            except AttributeError:
                raise Refused(f"{path} has no {name}") from None
        self.library.cudnnGetVersion.restype, self.library.cudnnGetErrorString.restype = c_size_t, c_char_p

    def version(self) -> int:
        return self.library.cudnnGetVersion()

    def __getattr__(self, name):
        function = getattr(self.library, name)

        def call(*given):
            status = function(*given)
            if status:
                raise Refused(f"{name}: {self.library.cudnnGetErrorString(status).decode()}")

        setattr(self, name, call)  # looked up once
        return call

    def new(self, kind):
        """A descriptor, or with "" the handle. They live as long as the process: a few dozen bytes each."""
        made = c_void_p()
        getattr(self, f"cudnnCreate{kind}")(ctypes.byref(made))
        return made


def ints(*numbers):
    """An array of C's int."""
    return (c_int * len(numbers))(*numbers)


def tensor_descriptor(cudnn, precision, *shape):
    """Of a contiguous array."""
    made, strides = cudnn.new("TensorDescriptor"), [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    cudnn.cudnnSetTensorNdDescriptor(made, DATA[precision], len(shape), ints(*shape), ints(*strides))
    return made


def data_descriptor(cudnn, precision, T, B, size):
    """Of x or y (T, B, size), all rows T long."""
    made, no_padding = cudnn.new("RNNDataDescriptor"), None
    cudnn.cudnnSetRNNDataDescriptor(
        made, DATA[precision], SEQ_MAJOR_UNPACKED, T, B, size, ints(*[T] * B), no_padding
    )
    return made


def lstm_descriptor(cudnn, precision, algorithm, size, layers, dropout):
    """Of an LSTM whose input is as large as its state. Sums are in float, or double for double."""
    made, sums = cudnn.new("RNNDescriptor"), DATA["float64" if precision == "float64" else "float32"]
    cudnn.cudnnSetRNNDescriptor_v8(
        made, ALGORITHMS[algorithm], LSTM, DOUBLE_BIAS, UNIDIRECTIONAL, LINEAR_INPUT, DATA[precision], sums,
        MATH[precision], size, size, size, layers, dropout, PADDED_IO_ENABLED,
    )  # fmt: skip
    return made
