"""Arrays on disk as safetensors, and to and from PyTorch's state dictionaries. No pickle anywhere.

The library reads these files, and is not safe enough to write them: safetensors 0.8 writes wrong numbers for arrays
that are not C-contiguous, without a word (its issue #825), takes no notice of a flipped byte, gives the file mode 0600,
needs four times the arrays' memory, and panics where there is not so much. So they are written here, an array after
the other, with a sha256 over all that the file says in its metadata; what was written is read back, from the disk where
the system has a way to ask for that, and the file appears under its name all at once or not at all.
"""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from .arrays import to_numpy
from .params import assign

CHECKSUM = "sha256"
MAX_HEADER = 10 * 2**20  # bytes; a model of ours has some thousand. Each entry becomes an object, however small
TYPES = {  # NumPy's names -> the format's
    "bool": "BOOL", "float16": "F16", "float32": "F32", "float64": "F64", "complex64": "C64",
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)}, **{f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)},
}  # fmt: skip
WRITER = {"writer": "minilstm"}  # a file that says so must have a checksum; files of others need none


class CheckpointError(ValueError):
    """A file that cannot be read as what it should be; the message names the file."""


def save_arrays(path, arrays, metadata=None):
    """Write {name: array} and {key: text} to `path`, durably and all at once.

    Raises OSError, of this path, as the disk does, TypeError for arrays that the format does not know, and ValueError
    for metadata under a key that the file needs itself.
    """
    path = Path(path)
    taken = {CHECKSUM, *WRITER} & set(metadata or {})
    if taken:
        raise ValueError(f"{path}: metadata: the key {min(taken)!r} is the file's own, choose another")
    arrays = {name: _plain(to_numpy(a)) for name, a in arrays.items()}
    metadata = {**(metadata or {}), **WRITER}
    try:
        header = _header(arrays, metadata)
    except (KeyError, TypeError, ValueError) as e:
        raise TypeError(f"{path}: the format cannot hold these arrays ({e})") from e
    parts = [np.frombuffer(header, np.uint8), *(_bytes(a) for _, a in _in_order(arrays))]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb") as f:  # open() follows the umask, and with "x" no link that somebody has put there
            for part in parts:
                f.write(part)
            f.flush()
            os.fsync(f.fileno())
        _read_back(temporary, parts)
        os.replace(temporary, path)
    except OSError as e:
        e.filename = str(path)  # a disk that is full does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _flush_directory(path.parent)


def load_arrays(path):
    """-> {name: array}, {key: text}. Raises CheckpointError for a file that is damaged or of another kind, and
    FileNotFoundError for one that is not there."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        _check_header(path)
        with safe_open(path, "numpy") as f:
            metadata = f.metadata() or {}
            for name in f.keys():
                if (kind := f.get_slice(name).get_dtype()) not in TYPES.values():
                    raise CheckpointError(f"{path}: {name!r} is {kind}, which NumPy does not know; save it as float32")
            arrays = {name: f.get_tensor(name) for name in f.keys()}
    except CheckpointError:
        raise
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as e:
        said = repr(str(e)[:500])[1:-1]  # it quotes the file, whose escape codes must not reach a terminal
        raise CheckpointError(f"{path}: not a safetensors file, or a damaged one ({said})") from e
    checksum = metadata.pop(CHECKSUM, None)
    if checksum != _checksum(arrays, metadata) and (checksum is not None or "writer" in metadata):
        raise CheckpointError(f"{path}: the checksum does not fit the contents: the file was damaged or changed")
    metadata.pop("writer", None)
    return arrays, metadata


def _read_back(temporary, parts):
    """Raise OSError where the file reads back otherwise than it was written. On Linux it comes from the disk, as the
    system is asked to drop what it keeps of it in memory, which it may decline; elsewhere it comes from that memory.
    Nobody promises that a disk's own cache is not what answers."""
    with open(temporary, "rb") as f:
        if hasattr(os, "posix_fadvise"):  # not on macOS, nor on Windows; only what fsync has written goes
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        same = all(np.array_equal(np.fromfile(f, np.uint8, part.size), part) for part in parts) and not f.read(1)
    if not same:
        raise OSError(errno.EIO, "what was written there reads back otherwise; check the disk, or use another")


def to_state_dict(params):
    """Parameters as a dictionary of NumPy copies: `{k: torch.from_numpy(v) for ...}` is what PyTorch loads."""
    return {name: to_numpy(p).copy() for name, p in params.items()}


def load_state_dict(params, state_dict):
    """Copy a state dictionary (of arrays, or of PyTorch tensors) into `params`, in place.

    Raises ValueError that lists every missing, unexpected or differently shaped entry, and TypeError for what are no
    real numbers.
    """
    arrays = {}
    for name, a in state_dict.items():
        if hasattr(a, "detach"):
            a = a.detach().cpu()
            a = (a.float() if str(a.dtype) == "torch.bfloat16" else a).numpy()  # which NumPy does not know
        arrays[name] = np.asarray(a)
        if arrays[name].dtype.kind not in "fiu":
            raise TypeError(f"the state dictionary's {name}: expected real numbers, got dtype {arrays[name].dtype}")
    assign(params, arrays, "the state dictionary's arrays")


def _check_header(path):
    """Whether the file says of itself no more than it can hold, and is no larger than the memory. Raises ValueError,
    and MemoryError with its name."""
    with open(path, "rb") as f:
        n, size = int.from_bytes(f.read(8), "little"), os.fstat(f.fileno()).st_size
    if n > min(MAX_HEADER, size - 8):
        raise ValueError(f"a header of {n} bytes")
    try:
        np.empty(size, np.uint8)  # takes no memory yet; where there is not so much, the library panics
    except MemoryError as e:
        raise MemoryError(f"{path}: {e}") from None


def _plain(a):
    """The same numbers in the one layout that the library writes rightly: contiguous, little-endian."""
    return np.asarray(a, a.dtype.newbyteorder("<"), order="C")


def _header(arrays, metadata) -> bytes:
    """The beginning of a file: the length of what follows (8 bytes), and as JSON the metadata, with the checksum, and
    where each array lies. The numbers come next. Raises KeyError for a type that the format does not know, TypeError
    for metadata that are no text, and ValueError for a header that nobody would read."""
    if not all(isinstance(text, str) for text in [*metadata, *metadata.values(), *arrays]) or "__metadata__" in arrays:
        raise TypeError("names and metadata have to be text, and __metadata__ is no name for an array")
    entries, at = {"__metadata__": dict(sorted({**metadata, CHECKSUM: _checksum(arrays, metadata)}.items()))}, 0
    for name, a in _in_order(arrays):
        entries[name] = {"dtype": TYPES[a.dtype.name], "shape": a.shape, "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    if len(text) > MAX_HEADER:
        raise ValueError(f"a header of {len(text)} bytes")
    return len(text).to_bytes(8, "little") + text


def _in_order(arrays):
    """As they lie in a file: the widest numbers first, so that each array begins at a multiple of its type's width."""
    return sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))


def _bytes(a):
    """A contiguous array as its bytes, (n,), not copied."""
    return a.reshape(-1).view(np.uint8)


def _checksum(arrays, metadata):
    """sha256 over the metadata, and over every array's name, type, shape and bytes, in the order of the names."""
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, a in sorted(arrays.items()):
        digest.update(f"{name!r} {a.dtype.str} {a.shape}\n".encode())
        digest.update(_bytes(a))
    return digest.hexdigest()


def _flush_directory(directory):
    """Make a rename durable, where the system lets a directory be opened."""
    try:
        fd = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
