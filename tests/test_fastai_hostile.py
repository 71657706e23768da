"""Files that would do harm instead of being a model, and files with any damage: nothing of them is executed, unfolds
without end or takes years; they are imported or refused in one line."""

import gzip
import io
import os
import shutil
import tarfile

import hostile
import numpy as np
import pytest
from fastai_by_hand import arrays, content_of, folder, pth
from hostile import refused, stream_form, zip_form
from hypothesis import given
from hypothesis import strategies as st
from make_fastai_files import CASES, GOLDEN, write_tar

from ulmfit.documents import read_corpus
from ulmfit.errors import InputError
from ulmfit.fastai import archive as fastai_archive
from ulmfit.fastai import import_fastai
from ulmfit.model_files import load_model


@pytest.mark.parametrize("name", list(hostile.payloads("x")))
def test_nothing_is_executed(name, tmp_path):
    made = tmp_path / "made"
    payload = hostile.payloads(made)[name]
    out = tmp_path / "out"
    for source in (
        folder(tmp_path / "words", words=payload),
        folder(tmp_path / "stream", stream_form(payload)),
        folder(tmp_path / "zip", zip_form(payload)),
        write_tar(tmp_path / "fwd.tgz", {"lstm_fwd.pth": pth(arrays()), "itos.pkl": payload}),
    ):
        assert "is not for plain data" in refused(import_fastai, source, out)
    assert not made.exists() and not out.exists()


def tar_with(path, **fields):
    """A good archive, with one member more that has these fields of a TarInfo."""
    files = content_of(GOLDEN / "wt103-fwd.tgz")
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo()
        for name, value in fields.items():
            setattr(info, name, value)
        tar.addfile(info)
    return path


@pytest.mark.parametrize("fields, complaint", [
    ({"name": "/etc/passwd"}, "outside of it"), ({"name": "../x.pth"}, "outside of it"),
    ({"name": "a/../../x"}, "outside of it"), ({"name": "..\\x"}, "outside of it"),
    ({"name": "a.pth", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "no plain file"),
    ({"name": "a.pth", "type": tarfile.LNKTYPE, "linkname": "lstm_fwd.pth"}, "no plain file"),
    ({"name": "a.pth", "type": tarfile.CHRTYPE}, "no plain file"),
    ({"name": "a.pth", "type": tarfile.FIFOTYPE}, "no plain file"),
    ({"name": "lstm_fwd.pth"}, "two members of one name"),
])  # fmt: skip
def test_a_tar_archive_with_members_of_another_kind(fields, complaint, tmp_path):
    assert complaint in refused(import_fastai, tar_with(tmp_path / "x.tgz", **fields), tmp_path / "out")


@pytest.mark.parametrize("size", [1 << 33, 1 << 60, 1 << 80, -1])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, b"?"])
def test_a_tar_archive_with_a_member_of_impossible_size(size, kind, tmp_path):
    """tarfile would look for its end, which takes years."""
    header = tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)
    digits = b"\x80" + size.to_bytes(11, "big") if size > 0 else b"\xff" * 12
    header = header[:124] + digits + header[136:156] + kind + header[157:]
    total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    header = header[:148] + b"%06o\0 " % total + header[156:]
    (tmp_path / "fwd.tar").write_bytes(header + gzip.decompress((GOLDEN / "wt103-fwd.tgz").read_bytes()))
    refused(import_fastai, tmp_path / "fwd.tar", tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_tar_archive_of_headers_for_headers(kind, tmp_path):
    (tmp_path / "fwd.tar").write_bytes(hostile.tar_of_names(3_000, kind))
    refused(import_fastai, tmp_path / "fwd.tar", tmp_path / "out")
    with pytest.raises(InputError, match="damaged or incomplete"):
        list(read_corpus(tmp_path / "fwd.tar"))


def test_a_folder_in_a_tar_archive_is_no_harm(tmp_path):
    source = tar_with(tmp_path / "fwd.tgz", name="wt103", type=tarfile.DIRTYPE)
    assert import_fastai(source, tmp_path / "out")["vocab_size"] == 15


def test_a_tar_archive_that_unfolds_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(fastai_archive, "ALWAYS_ALLOWED", 10**6)
    bombs = {"5000000 bytes": ("lstm_fwd.pth", 5 * 10**6), "over 20 times its size": ("README", 8 * 10**5)}
    for complaint, (name, size) in bombs.items():
        files = {name: bytes(size), "more": bytes(8 * 10**5)} | content_of(GOLDEN / "old-fwd.tgz")
        source = write_tar(tmp_path / "fwd.tgz", files)
        assert source.stat().st_size < 20_000
        message = refused(import_fastai, source, tmp_path / "out")
        assert "unfolds to" in message and complaint in message


def test_a_header_that_unfolds_without_end(tmp_path, monkeypatch):
    """A tar archive's own attributes (pax) may be as long as a file."""
    monkeypatch.setattr(fastai_archive, "ALWAYS_ALLOWED", 10**6)
    source = tar_with(tmp_path / "fwd.tgz", name="x", pax_headers={"comment": "x" * 5 * 10**6})
    refused(import_fastai, source, tmp_path / "out")


def test_files_that_are_too_large(tmp_path, monkeypatch):
    """Looked at before they are read: these two are full of holes and take no place on the disk."""
    for name, size in (("lstm_fwd.pth", 3 * 10**9), ("itos_wt103.pkl", 10**8)):
        source = folder(tmp_path / "a")
        os.truncate(source / name, size)
        assert f"has {size} bytes" in refused(import_fastai, source, tmp_path / "out")
    monkeypatch.setattr(fastai_archive, "MAX_WORDS_BYTES", 10)
    message = refused(import_fastai, GOLDEN / "wt103-fwd.tgz", tmp_path / "out")
    assert "itos_wt103.pkl: has" in message and "over 10" in message


def test_a_shape_alone_takes_no_memory(tmp_path):
    """(1, 4 million) as a recurrent weight: a model of that hidden size would have 64 terabytes."""
    row = np.zeros((1, 4_000_000), "<f2")
    weights = pth(arrays(**{"0.rnns.0.weight_hh_l0_raw": row}))
    message = refused(import_fastai, folder(tmp_path / "a", weights), tmp_path / "out")
    assert "weight_hh_l0_raw: expected shape (16000000, 4000000), got (1, 4000000)" in message


# --- any damage


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damage")


def import_or_refuse(source, out):
    shutil.rmtree(out, ignore_errors=True)
    try:
        import_fastai(source, out)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert load_model(out, "language_model")


changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4)


@given(case=st.sampled_from(list(CASES)), member=st.integers(0, 1), changes=changes, cut=st.floats(0.5, 1))
def test_damaged_files_are_imported_or_refused(place, case, member, changes, cut):
    files = content_of(GOLDEN / f"{case}.tgz")
    name = list(files)[member]
    data = bytearray(files[name])
    for where, value in changes:
        data[int(where * len(data))] = value
    files[name] = bytes(data[: int(cut * len(data)) if cut < 0.9 else None])
    with tarfile.open(place / "x.tar", "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    import_or_refuse(place / "x.tar", place / "out")


@given(changes=changes, cut=st.floats(0.5, 1), headers=st.booleans())
def test_damaged_archives_are_imported_or_refused(place, changes, cut, headers):
    whole = (GOLDEN / "wt103-fwd.tgz").read_bytes()
    data = bytearray(gzip.decompress(whole) if headers else whole)
    for where, value in changes:
        data[int(where * (512 if headers else len(data)))] = value
    (place / "fwd.tgz").write_bytes(data[: int(cut * len(data)) if cut < 0.9 else None])
    import_or_refuse(place / "fwd.tgz", place / "out")
