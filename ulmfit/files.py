"""Files, however they come: plain, gzipped, in a folder or in a tar file; decoded, or refused in one clear line.

What cannot be read is an InputError that names the file, and the line and byte where there is one.
"""

from __future__ import annotations

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

from ulmfit.errors import InputError

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")


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
        with tarfile.open(source, "r|*") as tar:
            for member in tar:
                if member.isfile() and not Path(member.name).name.startswith("."):      # no links, no devices
                    yield f"{name}/{member.name}", tar.extractfile(member)
    else:
        with open_binary(source) as stream:
            yield name, stream


def open_binary(path: str | Path) -> BinaryIO:
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")


def starts_with_doc(path: str | Path) -> bool:
    with damage_named(str(path)), open_binary(path) as stream:
        return stream.read(1000).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<doc ")


def decoded_lines(stream: BinaryIO, name: str, encoding: str) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            hint = "convert the text to UTF-8, for instance with iconv -f latin-1 -t utf-8"
            raise undecodable(f"{name}:{number}", error, "line", hint) from error
        if "\0" in text:
            raise InputError(f"{name}:{number}: found a NUL byte, so this is no text; give a plain text file")
        yield text.removeprefix("\ufeff").rstrip("\r\n")


def load_text(source: str | Path | TextIO, encoding: str) -> str:
    """The whole file as one string, without its byte order mark; line ends stay as they are."""
    check_readable(source)
    check_encoding(encoding)
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
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)      # also refuses codecs that are not for text
    except (LookupError, ValueError):
        raise InputError(f"unknown encoding {encoding!r}; use --encoding utf-8 or latin-1") from None


def check_readable(source: object, folder_ok: bool = False) -> None:
    """Opens a path once at the start, so that a wrong one is found before any work."""
    if hasattr(source, "read") or folder_ok and Path(source).is_dir():
        return
    try:
        open(source, "rb").close()
    except FileNotFoundError:
        raise InputError(f"{source}: no such file; check the path (it starts from {Path.cwd()})") from None
    except IsADirectoryError:
        raise InputError(f"{source}: this is a folder, expected a file; name one file in it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be read ({error}); check the path and its permissions") from error


def check_writable(path: str | Path, option: str = "--out") -> None:
    """Before any work: can this file be written? Whether it was there or not, it is as it was."""
    new = not os.path.lexists(path)
    try:
        open(path, "ab").close()
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be written ({error.strerror}); name another file") from error
    if new:
        Path(path).unlink()


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
    except (OSError, EOFError, zlib.error, tarfile.TarError, RecursionError) as error:      # of tar headers
        raise InputError(f"{name}: cannot be read to its end ({error}); the file is damaged or incomplete, "
                         "get it again") from error
