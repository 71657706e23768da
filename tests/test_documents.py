"""Corpora: documents without labels, and what is said of files that hold none."""

import gzip
import io
import tarfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import refusal, write

from ulmfit.documents import read_corpus, read_plain_text

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_wikipedia = pytest.mark.skipif(not (SHARED / "wikipedia").exists(), reason="no Wikipedia text at ../shared")
needs_wikitext = pytest.mark.skipif(not (SHARED / "wikitext-2").exists(), reason="no WikiText-2 at ../shared")


WIKITEXT = " \n = One = \n \n First . \n \n = = Part = = \n \n = 2 + 2 \n = 4 = \n \n = Two = \n \n Second . \n"


def test_plain_text_is_parted_by_blank_lines(tmp_path):
    path = write(tmp_path, "a.txt", "\ufeff\n\none\r\nline two\r\n \r\nsecond\n\n\n")
    assert list(read_corpus(path)) == ["one\nline two", "second"]
    assert list(read_corpus(path, min_words=2)) == ["one\nline two"]


def test_wikitext_is_parted_by_titles_only(tmp_path):
    documents = ["= One =\nFirst .\n= = Part = =\n= 2 + 2\n= 4 =", "= Two =\nSecond ."]
    assert list(read_corpus(write(tmp_path, "a.txt", WIKITEXT))) == documents
    assert list(read_corpus(write(tmp_path, "a.gz", gzip.compress(WIKITEXT.encode())))) == documents
    assert list(read_plain_text(io.BytesIO(WIKITEXT.encode()))) == documents


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.text("ab =é", min_size=1).map(str.strip).filter(bool), min_size=1), min_size=1))
def test_paragraphs_round_trip(paragraphs):
    documents = ["\n".join(["first", *lines]) for lines in paragraphs]
    assert list(read_plain_text(io.BytesIO("\n\n".join(documents).encode()))) == documents


def doc(title, words):
    return f'<doc id="1" url="?curid=1" title="{title}">\n{title}\n\n{" ".join(["word"] * (words - 1))}\n\n</doc>\n'


def test_wikiextractor_file_folder_and_tar_give_the_same_documents(tmp_path):
    folder = tmp_path / "text" / "AA"
    folder.mkdir(parents=True)
    write(folder, "wiki_00", doc("A", 100) + doc("stub", 99) + doc("B&amp;B", 150) + '<doc id="9">\ncut off')
    write(folder, "wiki_01", doc("C", 120))
    write(folder, ".hidden", doc("D", 120))
    with tarfile.open(tmp_path / "wiki.tgz", "w:gz") as tar:
        tar.add(tmp_path / "text", "text")
        link = tarfile.TarInfo("text/AA/wiki_02")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        link.name, link.type, link.linkname = "text/AA/wiki_03", tarfile.LNKTYPE, "text/AA/wiki_01"
        tar.addfile(link)
    for source in (tmp_path / "text", tmp_path / "wiki.tgz"):
        documents = list(read_corpus(source))
        assert [document.split("\n")[0] for document in documents] == ["A", "B&B", "C"]
        assert [len(document.split()) for document in documents] == [100, 150, 120]
    assert len(list(read_corpus(folder / "wiki_00"))) == 2      # recognised by its first bytes
    assert len(list(read_corpus(folder / "wiki_00", min_words=0))) == 3


def test_a_corpus_without_documents_counts_the_stubs(tmp_path):
    path = write(tmp_path, "wiki", doc("A", 5) + doc("B", 6))
    message = refusal(read_corpus, path)
    assert "wiki: no document has 100 words or more, 2 shorter ones were dropped as stubs" in message
    assert "min_words" in message
    assert "a.txt: no documents found; expected text" in refusal(read_corpus, write(tmp_path, "a.txt", "\n \n"))
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", "notes.txt", "no blocks here")
    assert "folder: no documents found; expected WikiExtractor's <doc" in refusal(read_corpus, tmp_path / "folder")


def test_damaged_corpora_are_named(tmp_path):
    good = gzip.compress(bytes(str(list(range(9000))), "ascii"))
    wanted = {
        "cut.gz": (good[: len(good) // 2], "cut.gz: cannot be read to its end"),
        "bad.tar.gz": (b"no archive", "bad.tar.gz: cannot be read to its end"),
        "latin.txt": (b"fine\nna\xefve\n", "latin.txt:2: byte 0xEF at offset 2 of the line is not utf-8"),
        "model.bin": (b"PK\0\3", "model.bin:1: found a NUL byte"),
    }
    for name, (content, part) in wanted.items():
        assert part in refusal(read_corpus, write(tmp_path, name, content))
    assert list(read_corpus(tmp_path / "latin.txt", encoding="latin-1")) == ["fine\nnaïve"]
    assert "unknown encoding" in refusal(read_corpus, tmp_path / "latin.txt", encoding="latin-99")


@needs_wikipedia
def test_the_real_wikipedia_archive_is_read_lazily():
    documents = list(islice(read_corpus(SHARED / "wikipedia" / "wikitasks_text_AA.tar.gz"), 50))
    assert all(len(document.split()) >= 100 for document in documents) and "<doc" not in " ".join(documents)
    assert len(set(documents)) == 50


@needs_wikitext
def test_the_real_wikitext_has_60_articles_in_each_part():
    assert [len(list(read_corpus(SHARED / "wikitext-2" / f"{part}.txt"))) for part in ("valid", "test")] == [60, 60]
