"""A stand-in for cuDNN's library: it computes with the plain LSTM, in the memory that it is pointed to, and is as
strict as the header (cudnn_adv.h of cuDNN 9): so many arguments, of those types; descriptors that were set; gradients
of weights only after those of data, and added to what is there. Where its weights lie is its own business."""

import ctypes
from types import SimpleNamespace

import numpy as np

from minilstm import LSTMStack

NOT_SUPPORTED, BAD_PARAM = 3000, 2000
GAP = 3  # numbers between two matrices


class Library:
    """What `gpu_cudnn.Cudnn.library` is otherwise. `signatures` are those that the caller has declared."""

    def __init__(self, signatures):
        self.signatures, self.made, self.saved, self.stream = signatures, {}, None, None
        self.calls = []

    def __getattr__(self, name):
        if name not in self.signatures:
            raise AttributeError(name)
        function = getattr(type(self), f"_{name}", None)

        def call(*given):
            types = self.signatures[name]
            assert len(given) == len(types), f"{name} takes {len(types)} arguments"
            for kind, value in zip(types, given, strict=True):
                kind.from_param(value)  # raises where C would not take it
            self.calls.append(name)
            if name.startswith("cudnnCreate"):
                given[0]._obj.value = len(self.made) + 1
                self.made[len(self.made) + 1] = SimpleNamespace()
                return 0
            return 0 if function is None else function(self, *given) or 0

        return call

    def of(self, descriptor):
        return self.made[descriptor.value]

    def _cudnnGetErrorString(self, status):
        return {NOT_SUPPORTED: b"CUDNN_STATUS_NOT_SUPPORTED", BAD_PARAM: b"CUDNN_STATUS_BAD_PARAM"}[status]

    def _cudnnSetStream(self, handle, stream):
        self.stream = stream

    def _cudnnSetTensorNdDescriptor(self, tensor, dtype, n, sizes, strides):
        self.of(tensor).__dict__.update(sizes=tuple(sizes), strides=tuple(strides), dtype=dtype)
        return BAD_PARAM if n != len(sizes) else 0

    def _cudnnSetRNNDataDescriptor(self, data, dtype, layout, T, B, size, lengths, padding):
        self.of(data).__dict__.update(shape=(T, B, size), dtype=dtype)
        return BAD_PARAM if list(lengths) != [T] * B or layout != 0 else 0

    def _cudnnSetRNNDescriptor_v8(self, rnn, algorithm, cell, bias, direction, mode, dtype, sums, math, I, H, P, layers,
                                  dropout, flags):  # fmt: skip
        self.of(rnn).__dict__.update(algorithm=algorithm, dtype=dtype, math=math, H=H, layers=layers)
        assert (cell, bias, direction, mode, I, P, flags) == (2, 2, 0, 0, H, H, 1) and dropout.value in self.made
        return NOT_SUPPORTED if algorithm == 1 and H % 4 else 0

    def _cudnnGetRNNWeightSpaceSize(self, handle, rnn, size):
        size._obj.value = 4 * sum(n + GAP for _, n in self.order(rnn))

    def order(self, rnn):
        """[((layer, which, is it a bias), numbers)]: from the last to the first, biases before matrices"""
        H, layers = self.of(rnn).H, self.of(rnn).layers
        for bias in (True, False):
            for layer in reversed(range(layers)):
                for which in reversed(range(8)):
                    yield (layer, which, bias), H if bias else H * H

    def place(self, rnn, wanted):
        at = 0
        for what, n in self.order(rnn):
            if what == wanted:
                return at, n
            at += n + GAP

    def _cudnnGetRNNWeightParams(self, handle, rnn, layer, size, base, which, matrix, to_matrix, bias, to_bias):
        for to, is_bias in ((to_matrix, False), (to_bias, True)):
            to._obj.value = base + 4 * self.place(rnn, (layer, which, is_bias))[0]

    def _cudnnGetRNNTempSpaceSizes(self, handle, rnn, mode, data, work, reserve):
        work._obj.value, reserve._obj.value = 16, 8 * mode

    def params(self, rnn, base):
        """{name: views of its four gates} in the weights at an address"""
        found = {}
        for layer in range(self.of(rnn).layers):
            for which in range(8):
                for bias in (False, True):
                    at, n = self.place(rnn, (layer, which, bias))
                    name = f"{'bias' if bias else 'weight'}_{'ih' if which < 4 else 'hh'}_l{layer}"
                    found.setdefault(name, []).append(floats(base + 4 * at, n))
        return found

    def _cudnnRNNForward(self, handle, rnn, mode, lengths, xd, x, yd, y, hd, h0, h_T, cd, c0, c_T,
                         n_weights, weights, n_work, work, n_reserve, reserve):  # fmt: skip
        H, layers, shape = self.of(rnn).H, self.of(rnn).layers, self.of(xd).shape
        assert lengths is None and h0 is None and c0 is None and shape == self.of(yd).shape
        assert self.of(hd).sizes == self.of(cd).sizes == (layers, *shape[1:]) and self.of(hd).strides[-1] == 1
        assert (n_work, n_reserve, reserve is None) == (16, 8 * mode, mode == 0)
        stack = LSTMStack(H, [H] * layers, rng=np.random.default_rng(0), kernel="reference")
        for name, parts in self.params(rnn, weights).items():
            p = stack.params[name]
            p[...] = np.concatenate(parts).reshape(p.shape)
        made, states, cache = stack.forward(floats(x, *shape).copy())
        floats(y, *shape)[...] = made
        for n, state in enumerate(states):
            for address, a in ((h_T, state.h), (c_T, state.c)):
                floats(address, layers, *a.shape)[n] = a
        self.saved = (stack, cache) if mode else None
        self.grads = None

    def _cudnnRNNBackwardData_v8(self, handle, rnn, lengths, yd, y, dy, xd, dx, hd, h0, dh_T, dh0, cd, c0, dc_T, dc0,
                                 n_weights, weights, n_work, work, n_reserve, reserve):  # fmt: skip
        if self.saved is None:
            return BAD_PARAM
        stack, cache = self.saved
        made, _, self.grads = stack.backward(floats(dy, *self.of(yd).shape).copy(), None, cache)
        floats(dx, *self.of(xd).shape)[...] = made

    def _cudnnRNNBackwardWeights_v8(self, handle, rnn, add, lengths, xd, x, hd, h0, yd, y, n_weights, dweights,
                                    n_work, work, n_reserve, reserve):  # fmt: skip
        if self.grads is None or add != 0:
            return BAD_PARAM
        for name, parts in self.params(rnn, dweights).items():
            for view, g in zip(parts, self.grads[name].reshape(4, -1), strict=True):
                view += g


def floats(address, *shape):
    """The float32 array at an address."""
    return np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(address)).reshape(shape)
