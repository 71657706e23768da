"""Labelled texts, one example a row: CSV, TSV, JSON lines, the TREC files, the IMDb folders.

Tables are read whole. What is unusable is an InputError that names the file and the line.
"""

import csv
import difflib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from .errors import InputError
from .files import check_readable, damage_named, load_text, members, name_of, undecodable

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
MISSING = ("", "nan", "NaN", "None", "null")  # how programs write down a value that is not there


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
    name = name_of(source)
    format = format or FORMATS.get(Path(name).suffix.lower())
    if format not in FORMATS.values():
        raise InputError(f"{name}: expected a file ending in {', '.join(FORMATS)}; rename or convert it")
    content = load_text(source, encoding)
    if not content.strip():
        raise InputError(f"{name}: the file is empty; expected rows with a column {text_column!r}")
    wanted = {text_column: "--text-column"} | ({} if label_column is None else {label_column: "--label-column"})
    records = _json_records(content, name) if format == "jsonl" else _csv_records(content, name, format, wanted)
    rows = [_row(record, where, text_column, label_column) for where, record in records]
    if not rows:
        raise InputError(f"{name}: found a header but no rows; add at least one row below it")
    return rows


def read_lines(source: str | Path | TextIO, *, encoding: str = "utf-8") -> list[str]:
    """One text a line, from a file or standard input. A blank one raises InputError: answers go by the line."""
    content = load_text(source, encoding)
    if not content:
        raise InputError(f"{name_of(source)}: nothing to read; expected one text a line")
    lines = [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"{name_of(source)}:{number}: this line is blank; write one text a line, or delete it")
    return lines


def _csv_records(content: str, name: str, format: str, wanted: dict[str, str]) -> Iterator[tuple[str, dict]]:
    """(place, row) of each row; wanted: the columns that it must have, with the options that name them."""
    separator = "\t" if format == "tsv" else ","
    _check_separator(content, name, separator, wanted)
    lines = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # the module's own limit of 131,072 is one long document
    header, last = None, 0
    try:
        for cells in lines:
            where, last = f"{name}:{last + 1}", lines.line_num  # a quoted text may span lines
            if header is None and cells:
                header = _header(cells, where, wanted)
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


def _check_separator(content: str, name: str, separator: str, wanted: dict[str, str]) -> None:
    """Whether columns are separated by something else, as programs in many countries do."""
    blank = len(content) - len(content.lstrip())
    header = content.lstrip().partition("\n")[0]
    lone = separator not in header and header.strip().strip('"') not in wanted  # one column, and not the one to read
    for other in ",;\t|".replace(separator, ""):
        columns = [cell.strip().strip('"') for cell in header.split(other)]
        if len(columns) > 1 and (lone or set(wanted) & set(columns)):
            place = f"{name}:{content.count(chr(10), 0, blank) + 1}"
            raise InputError(f"{place}: columns are separated by {other!r}, expected {separator!r}; save it with "
                             + ("tabs" if separator == "\t" else "commas") + (", or as .tsv" if other == "\t" else ""))


def _header(cells: list[str], where: str, wanted: dict[str, str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    doubled = [cell for cell, n in Counter(header).items() if n > 1]
    if doubled:
        raise InputError(f"{where}: column {doubled[0]!r} occurs twice in the header; rename one of them")
    for column, option in wanted.items():
        if column not in header:
            raise _no_column(header, column, where, option)
    return header


def _json_records(content: str, name: str) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(content.split("\n"), 1):  # not splitlines(): strings may hold U+2028
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
    """A label as a string: JSON's 1 and 1.0 are both "1", and its true is "True". A CSV has nothing but strings."""
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
    if column not in record:
        raise _no_column(list(record), column, where, option)
    return record[column]


def _no_column(columns: list[str], column: str, where: str, option: str) -> InputError:
    lowered = {name.lower(): name for name in columns[:1000]}  # a table may have a million
    close = difflib.get_close_matches(str(column).lower(), lowered, n=1)
    hint = f"name the right one with {option}, or add a header line"
    if close:
        hint = f"did you mean {option} {lowered[close[0]]}?"
    return InputError(f"{where}: no column {column!r}; columns seen: {_shown(columns)}; {hint}")


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
    for number, line in enumerate(load_text(path, "latin-1").split("\n"), 1):
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


MAX_REVIEW = 10**6  # bytes; the longest of IMDb's has 14,106
IMDB_REVIEW = re.compile(r"(?:^|/)((train|test)/(pos|neg|unsup)/[^/]+\.txt)$")


def read_imdb(path: str | Path) -> dict[str, list[Row]]:
    """Rows "train", "test" and "unsup" (unlabelled) of IMDb (Maas et al. 2011), from its tar or folders."""
    check_readable(path, folder_ok=True)
    found = []
    with damage_named(str(path)):
        for name, stream in members(path):
            if review := IMDB_REVIEW.search(name):
                content = stream.read(MAX_REVIEW + 1)
                if len(content) > MAX_REVIEW:
                    raise InputError(f"{name}: has over {MAX_REVIEW:,} bytes, as no review has; get the archive again")
                try:
                    row = Row(content.decode("utf-8"), review[3], name)
                except UnicodeDecodeError as error:
                    raise undecodable(name, error, "file", "get the archive again") from error
                if not row.text.strip():
                    raise InputError(f"{name}: there is no text in this review; get the archive again")
                found.append((review[1], review[2], row))
    found.sort(key=lambda item: item[0])  # so that the tar file and the folders give the same order
    rows = {"unsup": [row._replace(label=None) for _, _, row in found if row.label == "unsup"]}
    for part in ("train", "test"):
        rows[part] = [row for _, of, row in found if of == part and row.label != "unsup"]
        for label in sorted({"pos", "neg"} - {row.label for row in rows[part]}):
            raise InputError(f"{path}: no reviews in {part}/{label}; give aclImdb_v1.tar.gz or its folders")
    return rows
