"""An LSTM by cuDNN itself, with the algorithm that is asked for: a contender. What PyTorch does around it is left out,
and so it is what a rival has to be measured by."""

import ctypes
from functools import cache

from gpu_cudnn import (
    INFERENCE,
    TRAINING,
    WGRAD_ADD,
    Cudnn,
    data_descriptor,
    lstm_descriptor,
    tensor_descriptor,
)


@cache
def library():
    """-> cuDNN, its handle, and a descriptor that says that nothing is dropped"""
    cudnn = Cudnn()
    handle, dropout = cudnn.new(""), cudnn.new("DropoutDescriptor")
    cudnn.cudnnSetDropoutDescriptor(dropout, handle, 0.0, None, 0, 0)
    return cudnn, handle, dropout


class CudnnLSTM:
    """Forward, and backward with dx and the gradients of all weights, in buffers that stay the same."""

    def __init__(self, gpu, cell, given, algorithm, graph=False):
        torch = self.torch = gpu.torch
        self.gpu, self.cell, self.graph, self.replay = gpu, cell, graph, None
        self.cudnn, self.handle, dropout = library()
        T, B, H, layers, precision = cell.T, cell.B, cell.H, cell.layers, cell.precision
        self.rnn = lstm_descriptor(self.cudnn, precision, algorithm, H, layers, dropout)
        self.data = data_descriptor(self.cudnn, precision, T, B, H)  # of x, and of y
        self.state = tensor_descriptor(self.cudnn, precision, layers, B, H)
        if algorithm == "persist-dynamic":
            self.cudnn.cudnnBuildRNNDynamic(self.handle, self.rnn, B)
        dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)
        self.x, self.dy = (torch.from_numpy(a).to(gpu.torch_device, dtype) for a in (given.x, given.dy))
        self.y, self.dx = torch.empty_like(self.x), torch.empty_like(self.x)
        self.h_T, self.c_T = (torch.empty(layers, B, H, dtype=dtype, device=gpu.torch_device) for _ in range(2))
        self.weights = torch.zeros(self._weight_bytes() // dtype.itemsize, dtype=dtype, device=gpu.torch_device)
        self.dweights = torch.zeros_like(self.weights)
        self.places = dict(self._places())
        for name, views in self._parameters(self.weights):
            for view, values in zip(views, torch.from_numpy(given.params[name]).chunk(4), strict=True):
                view.copy_(values)

    def _weight_bytes(self):
        size = ctypes.c_size_t()
        self.cudnn.cudnnGetRNNWeightSpaceSize(self.handle, self.rnn, ctypes.byref(size))
        return size.value

    def _places(self):
        """{(name, gate): where its numbers begin in the buffer of weights}. cuDNN's order of gates is ours: i, f, g, o,
        of the input's matrices first and then of the state's."""
        base, size = self.weights.data_ptr(), self.weights.itemsize
        matrix, bias = self.cudnn.new("TensorDescriptor"), self.cudnn.new("TensorDescriptor")
        for layer in range(self.cell.layers):
            for which in range(8):
                to_matrix, to_bias = ctypes.c_void_p(), ctypes.c_void_p()
                self.cudnn.cudnnGetRNNWeightParams(
                    self.handle, self.rnn, layer, self.weights.nbytes, base, which,
                    matrix, ctypes.byref(to_matrix), bias, ctypes.byref(to_bias),
                )  # fmt: skip
                kind, gate = ("ih", "hh")[which // 4], which % 4
                yield (f"weight_{kind}_l{layer}", gate), (to_matrix.value - base) // size
                yield (f"bias_{kind}_l{layer}", gate), (to_bias.value - base) // size

    def _parameters(self, buffer):
        """name, its four parts in a buffer of weights: (H, H) of a weight, (H,) of a bias"""
        H = self.cell.H
        for name in dict.fromkeys(name for name, _ in self.places):
            shape = (H, H) if name.startswith("weight") else (H,)
            n = H ** len(shape)
            yield name, [buffer[self.places[name, g] :][:n].view(shape) for g in range(4)]

    def start(self, mode):
        self.mode = mode
        work, reserve = ctypes.c_size_t(), ctypes.c_size_t()
        self.cudnn.cudnnGetRNNTempSpaceSizes(
            self.handle, self.rnn, TRAINING if mode == "full" else INFERENCE, self.data,
            ctypes.byref(work), ctypes.byref(reserve),
        )  # fmt: skip
        bytes_of = {"dtype": self.torch.uint8, "device": self.gpu.torch_device}
        self.work, self.reserve = (self.torch.empty(size.value, **bytes_of) for size in (work, reserve))
        if self.graph:
            self.replay, _ = self.gpu.capture(self._call)

    def call(self):
        self._call() if self.replay is None else self.replay()

    def _call(self):
        cudnn, handle, rnn, data, state, none = self.cudnn, self.handle, self.rnn, self.data, self.state, None
        x, y, weights = self.x.data_ptr(), self.y.data_ptr(), (self.weights.nbytes, self.weights.data_ptr())
        work, reserve = (self.work.nbytes, self.work.data_ptr()), (self.reserve.nbytes, self.reserve.data_ptr() or None)
        cudnn.cudnnSetStream(handle, self.gpu.stream_now())
        cudnn.cudnnRNNForward(
            handle, rnn, TRAINING if self.mode == "full" else INFERENCE, none, data, x, data, y,
            state, none, self.h_T.data_ptr(), state, none, self.c_T.data_ptr(), *weights, *work, *reserve,
        )  # fmt: skip
        if self.mode != "full":
            return
        cudnn.cudnnRNNBackwardData_v8(
            handle, rnn, none, data, y, self.dy.data_ptr(), data, self.dx.data_ptr(),
            state, none, none, none, state, none, none, none, *weights, *work, *reserve,
        )  # fmt: skip
        self.dweights.zero_()
        cudnn.cudnnRNNBackwardWeights_v8(
            handle, rnn, WGRAD_ADD, none, data, x, state, none, data, y,
            self.dweights.nbytes, self.dweights.data_ptr(), *work, *reserve,
        )  # fmt: skip

    def arrays(self):
        self.call()
        made = {"y": self.y} | {f"{name}_T_l{n}": a for name, states in (("h", self.h_T), ("c", self.c_T))
                                for n, a in enumerate(states)}  # fmt: skip
        if self.mode == "full":
            made["dx"] = self.dx
            made |= {f"d{name}": self.torch.cat(views) for name, views in self._parameters(self.dweights)}
        return made
