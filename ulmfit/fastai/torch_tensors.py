"""Tensors as they stand in a PyTorch file's pickle: descriptions, checked, from which NumPy makes arrays.

A tensor is (storage, offset, shape, strides), in numbers and not in bytes. Several may share a storage, as tied weights
do. In the pickle it is a call of `torch._utils._rebuild_tensor_v2` with a reference to the storage, whose numbers lie
elsewhere in the file. Nothing is called: plain_pickle.py reads name and arguments, and here they become a `Tensor`. The
state of an optimiser beside the model is passed over.

Sources: torch/_utils.py and torch/serialization.py of torch 2.13; `_rebuild_tensor` is the same call in torch 0.3.
"""

import math
from dataclasses import dataclass

import numpy as np

from .plain_pickle import Ignored, Name, read_pickle

MAX_DIMENSIONS = 8
MAX_SIZE = 2**40
MAX_SHARING = 8  # all tensors together, over the size of the file; fastai's three names of one embedding make 3

DTYPES = {  # bfloat16, which NumPy does not have, is the upper half of a float32
    "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8", "BFloat16Storage": "<u2",
    "ByteStorage": "|u1", "CharStorage": "|i1", "ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8",
}  # fmt: skip
ORDERED_DICT = ("collections", "OrderedDict")
REBUILD = {("torch._utils", name) for name in ("_rebuild_tensor", "_rebuild_tensor_v2")}
PARAMETER = ("torch._utils", "_rebuild_parameter")
STORAGES = {(module, name) for module in ("torch", "torch.cuda") for name in DTYPES}
PASSED_OVER = {  # numbers and lists of the optimiser's state
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("numpy", "dtype"),
    ("_codecs", "encode"), ("fastcore.foundation", "L"),
}  # fmt: skip
NAMES = frozenset({ORDERED_DICT, PARAMETER} | REBUILD | STORAGES | PASSED_OVER)


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, somewhere in the file. `offset` and `size` are those of a view of it, of which torch's reader
    still knows; without one, 0 and `total`."""

    key: str
    kind: str  # of DTYPES
    total: int
    offset: int
    size: int

    @property
    def dtype(self):
        return np.dtype(DTYPES[self.kind])


@dataclass(frozen=True)
class Tensor:
    """Which numbers of a storage are an array; checked to lie inside of it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, data, start):
        """data: the bytes in which the storage begins at `start` -> (shape), a view of them or a small copy"""
        dtype = self.storage.dtype
        if 0 in self.shape:
            array = np.zeros(self.shape, dtype)
        else:
            begin = start + (self.storage.offset + self.offset) * dtype.itemsize
            strides = [s * dtype.itemsize for s in self.strides]
            array = np.ndarray(self.shape, dtype, data, begin, strides)  # which checks the bounds once more
        if self.storage.kind == "BFloat16Storage":
            array = (array.astype("<u4") << 16).view("<f4")
        return array


def read_tensors(data, start, file_size):
    """The pickle that begins at `start` -> {name: Tensor} of its state dictionary, the position behind it, and
    {key: Storage} of all that it names. Raises ValueError."""
    storages = {}

    def persistent(reference):
        storage = _storage(reference)
        first = storages.setdefault(storage.key, storage)
        if (first.kind, first.total) != (storage.kind, storage.total):
            raise ValueError(f"storage {storage.key} is said to be of two types or sizes")
        return storage

    value, position = read_pickle(data, start, names=NAMES, call=_call, persistent=persistent)
    if isinstance(value, dict) and isinstance(value.get("model"), dict):
        value = value["model"]
    items = value.items() if isinstance(value, dict) else ()
    tensors = {name: t for name, t in items if isinstance(name, str) and isinstance(t, Tensor)}
    if not tensors:
        raise ValueError('it holds no dictionary of tensors, bare or as its "model"')
    if sum(math.prod(t.shape) * t.storage.dtype.itemsize for t in tensors.values()) > MAX_SHARING * file_size:
        raise ValueError("its tensors are many times larger than the file")
    return tensors, position, storages


def _call(name, arguments):
    """What torch's functions would make, as a description: a Tensor, an empty dictionary, or nothing of interest."""
    key = name.module, name.name
    if key in REBUILD and len(arguments) >= 4:  # then: requires_grad, hooks, metadata
        return _tensor(*arguments[:4])
    if key == PARAMETER and arguments and isinstance(arguments[0], Tensor):
        return arguments[0]
    if key == ORDERED_DICT and not arguments:
        return {}
    if key in PASSED_OVER:
        return Ignored()
    raise ValueError(f"it calls {name} in a way that torch does not")


def _storage(reference):
    """("storage", its type, key, device, length[, view]) -> Storage; view: None or (key, offset, length)"""
    match reference:
        case ("storage", Name() as kind, str() as key, str(), int() as total, *view) if len(view) <= 1:
            pass
        case _:
            raise ValueError("it refers to something that is no storage")
    if (kind.module, kind.name) not in STORAGES or not (key.isascii() and key.isdecimal() and len(key) <= 20):
        raise ValueError("it refers to a storage of unknown type or name")
    match view:
        case [] | [None]:
            offset, size = 0, total
        case [(str(), int() as offset, int() as size)]:
            pass
        case _:
            raise ValueError(f"storage {key} is seen through something that is no view")
    if not 0 <= total < MAX_SIZE or not 0 <= offset <= offset + size <= total:
        raise ValueError(f"storage {key} has an impossible size")
    return Storage(key, kind.name, total, offset, size)


def _tensor(storage, offset, shape, strides):
    """Torch's arguments, checked -> Tensor. No two of its elements are the same number of the storage."""
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("it has a tensor without storage, shape or strides")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"it has a tensor of {len(shape)} dimensions and {len(strides)} strides")
    if not all(type(n) is int and 0 <= n < MAX_SIZE for n in numbers):
        raise ValueError("it has a tensor whose offset, shape or strides are no sizes")
    reach = 0  # from the first element to the furthest so far
    for stride, n in () if 0 in shape else sorted(zip(strides, shape, strict=True)):
        if n > 1 and stride <= reach:
            raise ValueError(f"it has a tensor whose elements overlap: shape {shape}, strides {strides}")
        reach += (n - 1) * stride
    if 0 not in shape and offset + reach >= storage.size:
        raise ValueError(f"it has a tensor of shape {shape} that goes beyond storage {storage.key} of {storage.size}")
    return Tensor(storage, offset, shape, strides)
