"""Files, however they come: plain, gzipped, in a folder or in a tar file; decoded, or refused in one clear line.

What cannot be read is an InputError that names the file, and the line and byte where there is one. So is what would
take memory without end: an archive that unfolds to many times its own size, a line or a table that is no text.
"""

import codecs
import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from .errors import InputError

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
MAX_UNFOLDING = 100  # what is read of a file, over its size; text gives a fourth or fifth to gzip
ALWAYS_ALLOWED = 100 * 10**6  # bytes, however small the file
MAX_MEMBERS = 20_000  # of a tar file, however small; tarfile takes a ten-thousandth of a second for each
MIN_MEMBER = 20  # bytes of a tar file that allow for one more; IMDb's 100,000 have 840 each
MAX_LINE = 200 * 10**6  # bytes; all of text8, a corpus of 100 MB, is one line
MAX_TABLE = 4 * 10**9  # bytes of a file that is read whole


class Bounded(io.RawIOBase):
    """A stream that ends in an InputError after so many bytes: a few KB of gzip can hold gigabytes of zeros."""

    def __init__(self, stream: BinaryIO, n_bytes: int, complaint: str):
        self.stream, self.left, self.complaint = stream, n_bytes, complaint

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        n = self.stream.readinto(buffer)
        self.left -= max(n, 1000)  # who asks again and again at the end is not to do so for ever either
        if self.left < 0:
            raise InputError(self.complaint)
        return n

    def close(self) -> None:
        self.stream.close()
        super().close()


def members(source: str | Path | BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """(name, open binary stream) of each file in a folder or tar file, or of one file; none is unpacked."""
    name = name_of(source)
    if hasattr(source, "read"):
        yield name, source
    elif Path(source).is_dir():
        for file in sorted(Path(source).rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                with open_binary(file) as stream:
                    yield file.as_posix(), stream
    elif name.endswith(TAR_ENDINGS):
        size = os.path.getsize(source)
        most = max(MAX_MEMBERS, size // MIN_MEMBER)
        with open_binary(source) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for n, member in enumerate(tar):
                if n == most:
                    raise InputError(f"{name}: has over {most:,} members in {size:,} bytes; get the archive again, or "
                                     "unpack it and give the folder")
                if member.issparse():  # its holes would be read as zeros, as many as it likes
                    raise InputError(f"{name}/{member.name}: is a file with holes; pack the archive without --sparse")
                if member.isfile() and not Path(member.name).name.startswith("."):  # no links, no devices
                    yield f"{name}/{member.name}", tar.extractfile(member)
    else:
        with open_binary(source) as stream:
            yield name, stream


def open_binary(path: str | Path) -> BinaryIO:
    """The content of a file, unzipped where it is gzip; more than MAX_UNFOLDING times its size ends in InputError."""
    with open(path, "rb") as file:
        zipped, size = file.read(2) == b"\x1f\x8b", os.fstat(file.fileno()).st_size
    most = max(ALWAYS_ALLOWED, MAX_UNFOLDING * size)
    complaint = f"{path}: unfolds to over {most:,} bytes, {MAX_UNFOLDING} times its size and more; get it again"
    stream = gzip.open(path, "rb") if zipped else open(path, "rb", buffering=0)
    return io.BufferedReader(Bounded(stream, most, complaint), 1 << 16)


def starts_with_doc(path: str | Path) -> bool:
    with damage_named(str(path)), open_binary(path) as stream:
        return stream.read(1000).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<doc ")


def decoded_lines(stream: BinaryIO, name: str, encoding: str) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), 1):
        if len(line) > MAX_LINE:
            raise InputError(f"{name}:{number}: this line has over {MAX_LINE:,} bytes; give a text with shorter lines")
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            wide = error.encoding.startswith("utf-16") or line[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            hint = f"convert the text to UTF-8, for instance with iconv -f {'utf-16' if wide else 'latin-1'} -t utf-8"
            raise undecodable(f"{name}:{number}", error, "line", hint) from error
        if "\0" in text:
            raise InputError(f"{name}:{number}: found a NUL byte, so this is no text; give a plain text file, "
                             "one in UTF-16 after iconv -f utf-16 -t utf-8")
        yield text.removeprefix("\ufeff").rstrip("\r\n")


def load_text(source: str | Path | TextIO, encoding: str) -> str:
    """The whole file as one string, without its byte order mark; line ends stay as they are."""
    check_readable(source)
    check_encoding(encoding)
    if not hasattr(source, "read") and (size := os.path.getsize(source)) > MAX_TABLE:
        raise InputError(f"{source}: has {size:,} bytes, over {MAX_TABLE:,}; it is read whole, so give a part of it")
    try:
        text = source.read() if hasattr(source, "read") else Path(source).read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise undecodable(f"{name_of(source)}:{line}", error, "file") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{name_of(source)}:{line}: found a NUL byte, so this is no plain text; "
                         "if the file is UTF-16, add --encoding utf-16")
    return text.removeprefix("\ufeff")


def name_of(source: object) -> str:
    return str(getattr(source, "name", "<stream>") if hasattr(source, "read") else source)


def check_encoding(encoding: str) -> None:
    """Raises InputError for a name that is no encoding of text."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # also refuses codecs that are not for text
    except (LookupError, ValueError):
        raise InputError(f"unknown encoding {encoding!r}; use --encoding utf-8 or latin-1") from None


def check_readable(source: object, folder_ok: bool = False) -> None:
    """Opens a path once at the start, so that a wrong one is found before any work."""
    if hasattr(source, "read"):
        return
    if not isinstance(source, str | os.PathLike):  # a number would be a file that is open, and close it
        raise TypeError(f"expected the path of a file, or an open file, got {type(source).__name__}")
    if folder_ok and os.path.isdir(source):  # unlike pathlib's, it takes names of any length
        return
    if os.path.exists(source) and not (os.path.isfile(source) or os.path.isdir(source)):
        raise InputError(f"{source}: is a device, a pipe or a socket; give a plain file")  # it may never end
    try:
        open(source, "rb").close()
    except FileNotFoundError:
        raise InputError(f"{source}: no such file; check the path (it starts from {Path.cwd()})") from None
    except IsADirectoryError:
        raise InputError(f"{source}: this is a folder, expected a file; name one file in it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be read ({error}); check the path and its permissions") from error


def undecodable(where: str, error: UnicodeDecodeError, of: str, hint: str | None = None) -> InputError:
    other = "latin-1" if error.encoding.startswith("utf") else "utf-8"
    if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        other = "utf-16"
    return InputError(f"{where}: byte 0x{error.object[error.start]:02X} at offset {error.start} of the {of} "
                      f"is not {error.encoding}; {hint or f'try --encoding {other}'}")


@contextmanager
def damage_named(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, tarfile.TarError, RecursionError, ValueError, OverflowError) as error:
        # the last three are tarfile's, for headers without end and for numbers in them that are none, or too large
        raise InputError(f"{name}: cannot be read to its end ({error}); the file is damaged or incomplete, "
                         "get it again") from error
