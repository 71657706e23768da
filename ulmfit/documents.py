"""Documents without labels, to learn a language from: plain text, WikiText, WikiExtractor's output.

A corpus may be larger than memory, so all of these are iterators; a wrong path is found at the call.
"""

import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import InputError
from .files import (
    TAR_ENDINGS,
    check_encoding,
    check_readable,
    damage_named,
    decoded_lines,
    members,
    name_of,
    starts_with_doc,
)


def read_corpus(path: str | Path, *, min_words: int | None = None, encoding: str = "utf-8") -> Iterator[str]:
    """The documents of a corpus: folders, tar files and text from <doc on are WikiExtractor's.

    Documents of fewer than min_words words are dropped: by default 100 for WikiExtractor, which writes many
    stubs, and none for plain text. If nothing is left, InputError says how many were dropped.
    """
    check_readable(path, folder_ok=True)
    if Path(path).is_dir() or str(path).endswith(TAR_ENDINGS) or starts_with_doc(path):
        return read_wikiextractor(path, min_words=100 if min_words is None else min_words, encoding=encoding)
    return read_plain_text(path, min_words=min_words or 0, encoding=encoding)


def read_plain_text(source: str | Path | BinaryIO, *, min_words: int = 0,
                    encoding: str = "utf-8") -> Iterator[str]:
    """The documents of a text file (or gzip), parted by blank lines or by WikiText's titles " = Title = "."""
    check_readable(source)
    check_encoding(encoding)
    documents = (document for name, stream in members(source)
                 for document in _plain_documents(decoded_lines(stream, name, encoding)))
    return _long_enough(documents, name_of(source), min_words, "text with words in it")


def read_wikiextractor(path: str | Path, *, min_words: int = 100, encoding: str = "utf-8") -> Iterator[str]:
    """The documents <doc ...> ... </doc> that WikiExtractor wrote, from a file, a folder or a tar file."""
    check_readable(path, folder_ok=True)
    check_encoding(encoding)
    documents = (document for name, stream in members(path)
                 for document in _wiki_documents(decoded_lines(stream, name, encoding)))
    return _long_enough(documents, str(path), min_words,
                        "WikiExtractor's <doc ...> blocks; for plain text give a single file")


WIKITEXT_TITLE = re.compile(r" ?= [^=].* = ?$")  # " = Title = ", but not the section " = = Title = = "


def _plain_documents(lines: Iterable[str]) -> Iterator[str]:
    wikitext, document, blank = None, [], True  # the first line that is not blank decides for the file
    for line in lines:
        title = blank and bool(WIKITEXT_TITLE.match(line))  # only after a blank line: others are formulas
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
    document = None  # None: outside of any; a document without its end was cut off and is left out
    for line in lines:
        if line.startswith("<doc "):
            document = []
        elif line.startswith("</doc>") and document is not None:
            yield html.unescape("\n".join(document))  # WikiExtractor escapes &, < and >
            document = None
        elif document is not None and line.strip():
            document.append(line.strip())


def _long_enough(documents: Iterator[str], name: str, min_words: int, expected: str) -> Iterator[str]:
    kept = dropped = 0
    with damage_named(name):
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


