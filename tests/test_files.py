"""Files that would take memory or time without end are refused before they do; the limits are made small here."""

import gzip
import io
import os
import tarfile

import pytest
from reading import refusal, write

from ulmfit import files, tables
from ulmfit.documents import read_corpus, read_plain_text
from ulmfit.files import Bounded, check_readable, load_text, open_binary
from ulmfit.tables import read_imdb, read_rows

TEXT = b"".join(b"line %d\n" % n for n in range(5000))  # 53,890 bytes


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(files, "ALWAYS_ALLOWED", 100_000)
    monkeypatch.setattr(files, "MAX_LINE", 1000)


@pytest.mark.parametrize("allowed, read", [(10, 4), (10_000, 100), (53_890, 53_890)])
def test_a_bounded_stream_gives_what_it_may_and_then_refuses(allowed, read):
    stream = io.BufferedReader(Bounded(io.BytesIO(TEXT), allowed, "too much"), 1)
    if read < allowed:
        with pytest.raises(ValueError, match="too much"):
            stream.read()
    else:
        assert stream.read(read) == TEXT


def test_a_bounded_stream_refuses_who_asks_for_ever():
    stream = Bounded(io.BytesIO(b""), 5000, "too much")
    assert [stream.readinto(bytearray(9)) for _ in range(5)] == [0] * 5
    with pytest.raises(ValueError, match="too much"):
        stream.readinto(bytearray(9))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_is_read_the_same_bounded_or_not(zipped, tmp_path):
    path = write(tmp_path, "t", gzip.compress(TEXT) if zipped else TEXT)
    with open_binary(path) as stream:
        assert list(stream) == TEXT.splitlines(keepends=True)


@pytest.mark.parametrize("n, refused", [(10_000, False), (200_000, True)])
def test_what_unfolds_to_many_times_its_size_is_refused(n, refused, small, tmp_path):
    content = b"a text\n\n" * (n // 8)
    path = write(tmp_path, "t.gz", gzip.compress(content))
    assert len(content) / path.stat().st_size > files.MAX_UNFOLDING or not refused
    if refused:
        assert "unfolds to over 100,000 bytes, 100 times its size and more" in refusal(read_plain_text, path)
    else:
        assert sum(1 for _ in read_plain_text(path)) == n // 8


def test_a_line_may_be_as_long_as_the_limit_and_no_longer(small, tmp_path):
    assert list(read_plain_text(write(tmp_path, "t", b"a" * 999 + b"\n"))) == ["a" * 999]
    assert "t:2: this line has over 1,000 bytes" in refusal(read_plain_text, write(tmp_path, "t", b"b\n" + b"a" * 1001))


@pytest.mark.parametrize("encoding, said_to_be", [("utf-16", "utf-16"), ("utf-16", "utf-8"), ("utf-16-be", "utf-8")])
def test_a_corpus_in_utf_16_is_refused_with_the_way_to_convert_it(encoding, said_to_be, tmp_path):
    path = write(tmp_path, "t", "One .\nTwo .\n", encoding)
    assert "iconv -f utf-16 -t utf-8" in refusal(read_plain_text, path, encoding=said_to_be)


def test_a_table_that_is_too_large_is_not_read(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "MAX_TABLE", 20)
    assert load_text(write(tmp_path, "t.csv", "text,label\nx,a\n"), "utf-8")
    path = write(tmp_path, "t.csv", "text,label\nx,a\ny,b\nz,c\n")
    assert "has 23 bytes, over 20; it is read whole" in refusal(read_rows, path)


def test_a_review_that_is_too_long_is_not_read(monkeypatch, tmp_path):
    for part in ("train/pos", "train/neg", "test/pos", "test/neg"):
        (tmp_path / part).mkdir(parents=True)
        write(tmp_path / part, "1_9.txt", "a fine film")
    assert len(read_imdb(tmp_path)["train"]) == 2
    monkeypatch.setattr(tables, "MAX_REVIEW", 10)
    assert "1_9.txt: has over 10 bytes, as no review has" in refusal(read_imdb, tmp_path)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_sparse_member_is_refused_by_name(form, tmp_path):
    info = tarfile.TarInfo("wiki_00")
    if form == tarfile.PAX_FORMAT:
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1,99999999,1"}
    else:
        info.type = tarfile.GNUTYPE_SPARSE
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as archive:
        archive.addfile(info)
    assert "x.tar/wiki_00: is a file with holes" in refusal(read_corpus, tmp_path / "x.tar")


@pytest.mark.parametrize("n, zipped, says", [
    (10, True, "no documents"), (11, True, "x.tgz: has over 10 members in 1"), (300, False, "no documents"),
])  # fmt: skip
def test_a_tar_file_has_as_many_members_as_its_size_allows(n, zipped, says, tmp_path, monkeypatch):
    """Empty members take gzip two bytes each; IMDb's 100,000 texts are ten times as long as they need be, and more."""
    monkeypatch.setattr(files, "MAX_MEMBERS", 10)
    content = tarfile.TarInfo("a").tobuf() * n + bytes(1024)
    assert says in refusal(read_corpus, write(tmp_path, "x.tgz", gzip.compress(content) if zipped else content))
    assert 100_000 * files.MIN_MEMBER < 84_125_825 / 10  # the bytes of IMDb's archive


def test_a_number_is_no_path_and_the_file_of_that_number_stays_open(tmp_path):
    with open(write(tmp_path, "t", "text")) as file:
        for read in (check_readable, read_plain_text, read_imdb):
            with pytest.raises(TypeError, match="expected the path of a file, or an open file, got int"):
                read(file.fileno())
        assert file.read() == "text"


def test_pipes_and_devices_are_refused_and_links_to_files_followed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(write(tmp_path, "t", "text"))
    for path in (tmp_path / "pipe", "/dev/null"):
        assert "is a device, a pipe or a socket" in refusal(check_readable, path)
    check_readable(tmp_path / "link")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert "no such file" in refusal(check_readable, tmp_path / "gone")
