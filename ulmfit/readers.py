"""File formats: from what lies on disk to lists of strings, or to one clear error that names the line.

Two kinds of files hold text. A *table* has one example a row, with a label: CSV, TSV, JSON lines, the TREC
files, the IMDb folders. A *corpus* has documents without labels: plain text, WikiText, WikiExtractor's.
Tables are read whole; corpora may be larger than memory and are read document by document.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import html
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from ulmfit.errors import InputError

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
MISSING = ("", "nan", "NaN", "None", "null")     # how programs write down a value that is not there


class Row(NamedTuple):
    """One example of a table; `where` is its "file:line", for error messages."""

    text: str
    label: str | None
    where: str


def is_table_path(path: str | Path) -> bool:
    """Whether a name ends as one of the table formats does."""
    return Path(path).suffix.lower() in FORMATS


# --- Tables: CSV, TSV, JSON lines ---------------------------------------------------------------------------


def read_table(source: str | Path | TextIO, *, text_column: str = "text", label_column: str | None = "label",
               encoding: str = "utf-8", format: str | None = None) -> tuple[list[str], list[str] | None]:
    """Texts and labels of a CSV, TSV or JSON lines file; labels are None with label_column=None."""
    rows = read_rows(source, text_column=text_column, label_column=label_column, encoding=encoding,
                     format=format)
    return [row.text for row in rows], None if label_column is None else [row.label for row in rows]


def read_rows(source: str | Path | TextIO, *, text_column: str = "text", label_column: str | None = "label",
              encoding: str = "utf-8", format: str | None = None) -> list[Row]:
    """The rows of a table, each with its place; `format` (csv, tsv, jsonl) is for streams without a name.

    Texts stay as they are, labels lose surrounding blanks. What is unusable raises InputError with file:line.
    """
    name = _name(source)
    format = format or FORMATS.get(Path(name).suffix.lower())
    if format not in FORMATS.values():
        raise InputError(f"{name}: expected a file ending in {', '.join(FORMATS)}; rename or convert it")
    content = _load_text(source, encoding)
    if not content.strip():
        raise InputError(f"{name}: the file is empty; expected rows with a column {text_column!r}")
    records = _json_records(content, name) if format == "jsonl" else _csv_records(content, name, format)
    rows = [_row(record, where, text_column, label_column) for where, record in records]
    if not rows:
        raise InputError(f"{name}: found a header but no rows; add at least one row below it")
    return rows


def read_lines(source: str | Path | TextIO, *, encoding: str = "utf-8") -> list[str]:
    """One text a line, from a file or standard input; blank lines stay, so that answers match."""
    content = _load_text(source, encoding)
    if not content:
        raise InputError(f"{_name(source)}: nothing to read; expected one text a line")
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]


def _csv_records(content: str, name: str, format: str) -> Iterator[tuple[str, dict]]:
    separator = "\t" if format == "tsv" else ","
    lines = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    limit = csv.field_size_limit(2**31 - 1)      # the module's own limit of 131,072 is one long document
    header, last = None, 0
    try:
        for cells in lines:
            where, last = f"{name}:{last + 1}", lines.line_num      # a quoted text may span lines
            if header is None and cells:
                header = _header(cells, where)
            elif cells and len(cells) != len(header):
                raise InputError(f"{where}: found {len(cells)} cells, expected {len(header)} "
                                 f"({_shown(header)}); put a text with the separator in it in double quotes")
            elif cells:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"{name}:{last + 1}: not a well-formed {format} row ({error}); close every quoted "
                         'text and write a double quote inside it as ""') from error
    finally:
        csv.field_size_limit(limit)


def _header(cells: list[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    doubled = [cell for cell in header if header.count(cell) > 1]
    if doubled:
        raise InputError(f"{where}: column {doubled[0]!r} occurs twice in the header; rename one of them")
    return header


def _json_records(content: str, name: str) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(content.split("\n"), 1):      # not splitlines(): strings may hold U+2028
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}:{number}: not valid JSON ({error}); write one object a line") from error
        if not isinstance(record, dict):
            raise InputError(f"{name}:{number}: expected a JSON object, found {_kind(record)}; write one "
                             'object a line, like {"text": "...", "label": "..."}')
        yield f"{name}:{number}", record


def _row(record: dict, where: str, text_column: str, label_column: str | None) -> Row:
    text = _cell(record, text_column, where, "--text-column")
    if _is_missing(text):
        raise InputError(f"{where}: the text in column {text_column!r} is missing ({text!r}); "
                         "fill it in or drop the row")
    if not isinstance(text, str):
        raise InputError(f"{where}: the text in column {text_column!r} is {_kind(text)}, expected a string; "
                         "put it between double quotes or choose another --text-column")
    if label_column is None:
        return Row(text, None, where)
    return Row(text, _label(_cell(record, label_column, where, "--label-column"), label_column, where), where)


def _label(value: object, column: str, where: str) -> str:
    """A label as a string: 1 and 1.0 are both "1", true is "True" (as the csv module writes it)."""
    if _is_missing(value):
        raise InputError(f"{where}: the label in column {column!r} is missing ({value!r}); "
                         "fill it in or drop the row")
    if not isinstance(value, str | int | float):
        raise InputError(f"{where}: the label in column {column!r} is {_kind(value)}, expected a string or a "
                         "number; give one label a row")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _is_missing(value: object) -> bool:
    """Python's None and NaN are missing as well: written as strings they are "None" and "nan"."""
    return (value is None or isinstance(value, str | float)) and str(value).strip() in MISSING


def _cell(record: dict, column: str, where: str, option: str) -> object:
    if column in record:
        return record[column]
    lowered = {name.lower(): name for name in record}
    close = difflib.get_close_matches(column.lower(), lowered, n=1)
    hint = f"did you mean {option} {lowered[close[0]]}?" if close else f"name the right one with {option}"
    raise InputError(f"{where}: no column {column!r}; columns seen: {_shown(list(record))}; {hint}")


def _shown(columns: list[str]) -> str:
    names = [column if len(column) <= 30 else column[:27] + "..." for column in columns[:8]]
    return ", ".join(names) + (f", ... ({len(columns)} in all)" if len(columns) > 8 else "")


def _kind(value: object) -> str:
    return f"of type {type(value).__name__} ({str(value)[:40]})"


# --- Tables with a shape of their own: TREC and IMDb --------------------------------------------------------


def read_trec(path: str | Path) -> list[tuple[str, str, str]]:
    """(text, coarse, fine) for each line "COARSE:fine question" of a TREC file (Li & Roth 2002), in latin-1.

    The fine label keeps its coarse part ("HUM:desc"), because some fine names occur under several.
    """
    rows = []
    for number, line in enumerate(_load_text(path, "latin-1").split("\n"), 1):
        fine, _, text = line.strip().partition(" ")
        coarse, colon, kind = fine.partition(":")
        if fine and not (text and coarse and colon and kind):
            raise InputError(f"{path}:{number}: expected 'COARSE:fine question', found {line[:40]!r}; take "
                             "the official file, or give a .csv, .tsv or .jsonl table")
        if fine:
            rows.append((text, coarse, fine))
    if not rows:
        raise InputError(f"{path}: the file is empty; expected lines 'COARSE:fine question'")
    return rows


IMDB_REVIEW = re.compile(r"(?:^|/)((train|test)/(pos|neg|unsup)/[^/]+\.txt)$")


def read_imdb(path: str | Path) -> dict[str, list[Row]]:
    """Rows "train", "test" and "unsup" (unlabelled) of IMDb (Maas et al. 2011), from its tar or folders."""
    _check_readable(path, folder_ok=True)
    found = []
    with _damage_named(str(path)):
        for name, stream in _members(path):
            if review := IMDB_REVIEW.search(name):
                try:
                    row = Row(stream.read().decode("utf-8"), review[3], name)
                except UnicodeDecodeError as error:
                    raise _undecodable(name, error, "file", "get the archive again") from error
                found.append((review[1], review[2], row))
    found.sort(key=lambda item: item[0])      # so that the tar file and the folders give the same order
    rows = {"unsup": [row._replace(label=None) for _, _, row in found if row.label == "unsup"]}
    for part in ("train", "test"):
        rows[part] = [row for _, of, row in found if of == part and row.label != "unsup"]
        for label in sorted({"pos", "neg"} - {row.label for row in rows[part]}):
            raise InputError(f"{path}: no reviews in {part}/{label}; give aclImdb_v1.tar.gz or its folders")
    return rows


# --- Corpora: documents without labels ----------------------------------------------------------------------


def read_corpus(path: str | Path, *, min_words: int | None = None, encoding: str = "utf-8") -> Iterator[str]:
    """The documents of a corpus: folders, tar files and text from <doc on are WikiExtractor's.

    Documents of fewer than min_words words are dropped: by default 100 for WikiExtractor, which writes many
    stubs, and none for plain text. If nothing is left, InputError says how many were dropped.
    """
    _check_readable(path, folder_ok=True)
    if Path(path).is_dir() or str(path).endswith(TAR_ENDINGS) or _starts_with_doc(path):
        return read_wikiextractor(path, min_words=100 if min_words is None else min_words, encoding=encoding)
    return read_plain_text(path, min_words=min_words or 0, encoding=encoding)


def read_plain_text(source: str | Path | BinaryIO, *, min_words: int = 0,
                    encoding: str = "utf-8") -> Iterator[str]:
    """The documents of a text file (or gzip), parted by blank lines or by WikiText's titles " = Title = "."""
    _check_readable(source)
    check_encoding(encoding)
    documents = (document for name, stream in _members(source)
                 for document in _plain_documents(_decoded_lines(stream, name, encoding)))
    return _long_enough(documents, _name(source), min_words, "text with words in it")


def read_wikiextractor(path: str | Path, *, min_words: int = 100, encoding: str = "utf-8") -> Iterator[str]:
    """The documents <doc ...> ... </doc> that WikiExtractor wrote, from a file, a folder or a tar file."""
    _check_readable(path, folder_ok=True)
    check_encoding(encoding)
    documents = (document for name, stream in _members(path)
                 for document in _wiki_documents(_decoded_lines(stream, name, encoding)))
    return _long_enough(documents, str(path), min_words,
                        "WikiExtractor's <doc ...> blocks; for plain text give a single file")


WIKITEXT_TITLE = re.compile(r" ?= [^=].* = ?$")      # " = Title = ", but not the section " = = Title = = "


def _plain_documents(lines: Iterable[str]) -> Iterator[str]:
    wikitext, document, blank = None, [], True      # the first line that is not blank decides for the file
    for line in lines:
        title = blank and bool(WIKITEXT_TITLE.match(line))      # only after a blank line: others are formulas
        blank = not line.strip()
        if wikitext is None and not blank:
            wikitext = title
        if document and (title if wikitext else blank):
            yield "\n".join(document)
            document = []
        if not blank:
            document.append(line.strip())
    if document:
        yield "\n".join(document)


def _wiki_documents(lines: Iterable[str]) -> Iterator[str]:
    document = None      # None: outside of any; a document without its end was cut off and is left out
    for line in lines:
        if line.startswith("<doc "):
            document = []
        elif line.startswith("</doc>") and document is not None:
            yield html.unescape("\n".join(document))      # WikiExtractor escapes &, < and >
            document = None
        elif document is not None and line.strip():
            document.append(line.strip())


def _long_enough(documents: Iterator[str], name: str, min_words: int, expected: str) -> Iterator[str]:
    kept = dropped = 0
    with _damage_named(name):
        for document in documents:
            if len(document.split()) < max(min_words, 1):
                dropped += 1
                continue
            kept += 1
            yield document
    if dropped and not kept:
        raise InputError(f"{name}: no document has {min_words} words or more, {dropped} shorter ones were "
                         "dropped as stubs; give longer texts or a smaller min_words")
    if not kept:
        raise InputError(f"{name}: no documents found; expected {expected}")


# --- Bytes on disk ------------------------------------------------------------------------------------------


def _members(source: str | Path | BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """(name, open binary stream) of each file in a folder or tar file, or of one file; none is unpacked."""
    name = _name(source)
    if hasattr(source, "read"):
        yield name, source
    elif Path(source).is_dir():
        for file in sorted(Path(source).rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                with _open(file) as stream:
                    yield file.as_posix(), stream
    elif name.endswith(TAR_ENDINGS):
        with tarfile.open(source, "r|*") as tar:
            for member in tar:
                if member.isfile() and not Path(member.name).name.startswith("."):      # no links, no devices
                    yield f"{name}/{member.name}", tar.extractfile(member)
    else:
        with _open(source) as stream:
            yield name, stream


def _open(path: str | Path) -> BinaryIO:
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")


def _starts_with_doc(path: str | Path) -> bool:
    with _damage_named(str(path)), _open(path) as stream:
        return stream.read(1000).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<doc ")


def _decoded_lines(stream: BinaryIO, name: str, encoding: str) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            hint = "convert the text to UTF-8, for instance with iconv -f latin-1 -t utf-8"
            raise _undecodable(f"{name}:{number}", error, "line", hint) from error
        if "\0" in text:
            raise InputError(f"{name}:{number}: found a NUL byte, so this is no text; give a plain text file")
        yield text.removeprefix("\ufeff").rstrip("\r\n")


def _load_text(source: str | Path | TextIO, encoding: str) -> str:
    """The whole file as one string, without its byte order mark; line ends stay as they are."""
    _check_readable(source)
    check_encoding(encoding)
    try:
        text = source.read() if hasattr(source, "read") else Path(source).read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _undecodable(f"{_name(source)}:{line}", error, "file") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{_name(source)}:{line}: found a NUL byte, so this is no plain text; "
                         "if the file is UTF-16, add --encoding utf-16")
    return text.removeprefix("\ufeff")


def _name(source: object) -> str:
    return str(getattr(source, "name", "<stream>") if hasattr(source, "read") else source)


def check_encoding(encoding: str) -> None:
    """Raises InputError for a name that is no encoding of text."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)      # also refuses codecs that are not for text
    except (LookupError, ValueError):
        raise InputError(f"unknown encoding {encoding!r}; use --encoding utf-8 or latin-1") from None


def _check_readable(source: object, folder_ok: bool = False) -> None:
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


def _undecodable(where: str, error: UnicodeDecodeError, of: str, hint: str | None = None) -> InputError:
    other = "latin-1" if error.encoding.startswith("utf") else "utf-8"
    if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        other = "utf-16"
    return InputError(f"{where}: byte 0x{error.object[error.start]:02X} at offset {error.start} of the {of} "
                      f"is not {error.encoding}; {hint or f'try --encoding {other}'}")


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise InputError(f"{name}: cannot be read to its end ({error}); the file is damaged or incomplete, "
                         "get it again") from error
