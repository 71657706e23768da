"""The tensors of a PyTorch file (.pth, and fastai's .h5) as NumPy arrays, without torch, and without loading a pickle.

torch.save has two forms. Since version 1.6 a file is a zip archive, stored without compression:

    NAME/data.pkl       a pickle of the object, in which each tensor stands for a piece of a storage
    NAME/data/0, 1, …   the storages: plain numbers
    NAME/byteorder      "little" (newer versions)

Before, it was one stream: three small pickles (a magic number, 1001, the machine's byte order), the object's pickle, a
pickle of the storages' keys, and for each storage its length (int64) and its numbers. Source: torch/serialization.py of
torch 2.13. The objects' pickles, and what a tensor is: torch_tensors.py.
"""

import io
import struct
import zipfile

import numpy as np

from ..errors import InputError
from .plain_pickle import read_pickle
from .torch_tensors import read_tensors

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the stream
ZIP_START, ZIP_ENTRY = b"PK\x03\x04", b"PK\x01\x02"  # of the archive, of an entry in the table at its end
ZIP_FAULTS = (  # all that zipfile raises for a damaged archive, ValueError apart
    zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, KeyError, OverflowError, struct.error,
)  # fmt: skip
MAX_ENTRIES = 10_000
REMEDY = "get the file again, or save the model's state_dict with torch.save"


def read_state_dict(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The tensors of a file's content: of a state dictionary, bare or as the "model" of {"model": …, "opt": …}.

    Arrays may be read-only views of `data`, and share memory with each other. float16, float32, float64 and integers
    keep their type; bfloat16 becomes float32. Raises InputError, in one line that begins with `name`, for anything else
    than such a file.
    """
    try:
        tensors, places = _read_zip(data) if data.startswith(ZIP_START) else _read_stream(data)
        return {key: tensor.array(*places[tensor.storage.key]) for key, tensor in tensors.items()}
    except ValueError as error:
        raise InputError(f"{name}: not a file of PyTorch that can be read: {error}; {REMEDY}") from error


# --- the two forms; both return {name: Tensor} and {storage's key: (bytes, where it begins)}


def _read_zip(data):
    if data.count(ZIP_ENTRY) > MAX_ENTRIES:  # counted here, before zipfile makes an object of each
        raise ValueError(f"the zip archive has more than {MAX_ENTRIES} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = _check_entries(archive.infolist(), len(data))
            roots = [n.removesuffix("data.pkl") for n in sizes if n.endswith("/data.pkl") and n.count("/") == 1]
            if len(roots) != 1:
                raise ValueError("the zip archive has no data.pkl, or several")
            root = roots[0]
            if root + "byteorder" in sizes and archive.read(root + "byteorder") != b"little":
                raise ValueError("its numbers are not little-endian")
            tensors, _, _ = read_tensors(archive.read(root + "data.pkl"), 0, len(data))
            places = {}
            for storage in {t.storage.key: t.storage for t in tensors.values()}.values():
                entry, n_bytes = f"{root}data/{storage.key}", storage.total * storage.dtype.itemsize
                if sizes.get(entry) != n_bytes:
                    raise ValueError(f"{entry!a} must have {n_bytes} bytes, it has {sizes.get(entry, 'no')}")
                places[storage.key] = archive.read(entry), 0
            return tensors, places
    except ZIP_FAULTS as error:
        raise ValueError(f"the zip archive is damaged ({str(error)!a:.100})") from error


def _check_entries(entries, n_bytes):
    """-> {name: size}. torch compresses nothing, so an archive that does is a stranger's, and may be a bomb."""
    sizes = {entry.filename: entry.file_size for entry in entries}
    for entry in entries:
        parts = entry.filename.split("/")
        if entry.filename.startswith("/") or "\\" in entry.filename or ".." in parts:
            raise ValueError(f"the zip archive has an entry outside of it: {entry.filename!a:.100}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"the zip archive's entry {entry.filename!a:.100} is compressed, which torch never does")
    if len(sizes) < len(entries) or sum(sizes.values()) > n_bytes:
        raise ValueError("the zip archive's entries overlap, or two have one name")
    return sizes


def _read_stream(data):
    header, position = [], 0
    for what in ("a magic number", "a version", "a description of the machine"):
        try:
            value, position = read_pickle(data, position)
        except ValueError as error:
            raise ValueError(f"it does not begin like one, with {what} ({error})") from None
        header.append(value)
    if header[0] != MAGIC or type(header[0]) is not int:
        raise ValueError("it does not begin like one, neither as a zip archive nor with torch's magic number")
    if header[1] != VERSION or not isinstance(header[2], dict) or header[2].get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian, or it is of an unknown version")
    tensors, position, storages = read_tensors(data, position, len(data))
    keys, position = read_pickle(data, position)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != storages.keys():
        raise ValueError("the list of its storages is not that of its tensors")
    places = {}
    for key in keys:
        storage = storages[key]
        length, start = int.from_bytes(data[position : position + 8], "little"), position + 8
        position = start + storage.total * storage.dtype.itemsize
        if length != storage.total or position > len(data) or key in places:
            raise ValueError(f"storage {key} must have {storage.total} numbers, and the file ends or says otherwise")
        places[key] = data, start
    if position != len(data):
        raise ValueError(f"it has {len(data) - position} bytes too many")
    return tensors, places
