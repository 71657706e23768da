"""Where fastai's two files may lie, what they may be called, and the folder that the model is written into."""

import os
import shutil

import pytest
from fastai_by_hand import WORDS_2, arrays, content_of, folder, pth
from hostile import refused
from make_fastai_files import GOLDEN, write_tar

from ulmfit.errors import InputError
from ulmfit.fastai import import_fastai
from ulmfit.model_files import load_model


def test_sources(tmp_path):
    """An archive, a folder, and a file with its words beside it or elsewhere are all the same."""
    lying = folder(tmp_path / "wt103")
    (lying / "README.txt").write_text("hello")
    files = {f"wt103/{f.name}": f.read_bytes() for f in lying.iterdir()}
    elsewhere = tmp_path / "words.pkl"
    alone = tmp_path / "alone" / "lstm_fwd.pth"
    alone.parent.mkdir()
    shutil.copy(lying / "lstm_fwd.pth", alone)
    shutil.copy(lying / "itos_wt103.pkl", elsewhere)
    sources = [
        (lying, None), (lying / "lstm_fwd.pth", None), (alone, elsewhere), (alone, str(elsewhere)),
        (write_tar(tmp_path / "wt103-fwd.tgz", files), None), (str(tmp_path / "wt103-fwd.tgz"), elsewhere),
        (write_tar(tmp_path / "any.tar.gz", {f"./{n}": c for n, c in files.items()}), None),
    ]  # fmt: skip
    written = set()
    for n, (source, itos) in enumerate(sources):
        import_fastai(source, tmp_path / f"out{n}", itos=itos)
        written.add((tmp_path / f"out{n}" / "model.safetensors").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("name, asked, got", [
    ("lstm_fwd.pth", None, "forward"), ("bwd_wt103.h5", None, "backward"), ("LSTM-BWD.pth", None, "backward"),
    ("my_forward_model.pth", "forward", "forward"), ("lstm_wt103.pth", "backward", "backward"),
    ("lstm_wt103.pth", None, "cannot tell from the file name in which direction the model reads: add --direction"),
    ("crowbwdie.pth", None, "cannot tell from the file name in which direction .* forward or backward$"),
    ("lstm_fwd.pth", "backward", "say forward, and backward was asked for"),
    ("fwd_or_bwd.pth", None, "say backward and forward"), ("lstm_fwd.pth", "sideways", "expected one of"),
])  # fmt: skip
def test_direction(name, asked, got, tmp_path):
    source = folder(tmp_path / "bwd", name=name) / name  # the folder's own name says nothing
    if got in ("forward", "backward"):
        assert import_fastai(source, tmp_path / "out", direction=asked)["direction"] == got
        assert load_model(tmp_path / "out", "language_model").direction == got
    else:
        with pytest.raises(InputError, match=got):
            import_fastai(source, tmp_path / "out", direction=asked)


def test_direction_of_an_archive_and_its_member(tmp_path):
    files = content_of(GOLDEN / "wt103-fwd.tgz")
    source = write_tar(tmp_path / "wt103-bwd.tgz", files)
    assert "say backward and forward" in refused(import_fastai, source, tmp_path / "out")


def test_several_models_in_one_folder(tmp_path):
    source = folder(tmp_path / "all")
    for name in ("fwd_wt103_enc.h5", "lstm_bwd.pth"):
        (source / name).write_bytes(pth(arrays(**{"0.encoder.weight": None})))
    assert "expected one file of weights (.pth, .h5), found several: 'lstm_bwd.pth', 'lstm_fwd.pth'" in refused(
        import_fastai, source, tmp_path / "out"
    )
    report = import_fastai(source, tmp_path / "out", direction="forward")  # the model, not its encoder
    assert report["weights"].endswith("lstm_fwd.pth")
    (source / "itos_other.pkl").write_bytes(b"")
    assert "give --itos" in refused(import_fastai, source / "lstm_fwd.pth", tmp_path / "out2")


@pytest.mark.parametrize("what, complaint", [
    ("missing", "no such file"),
    ("empty", "expected one file of weights (.pth, .h5), found none; give the archive or folder"),
    ("text", "expected a folder or a file that ends in"), ("no words", "expected one list of words"),
    ("no itos", "no such file"), ("cut", "damaged or incomplete"), ("no tar", "damaged or incomplete"),
])  # fmt: skip
def test_sources_that_are_none(what, complaint, tmp_path):
    source, itos = tmp_path / "source", None
    if what == "empty":
        source.mkdir()
    elif what == "text":
        source = tmp_path / "model.txt"
        source.write_text("x")
    elif what == "no words":
        folder(source)
        (source / "itos_wt103.pkl").unlink()
    elif what == "no itos":
        folder(source)
        itos = tmp_path / "nowhere.pkl"
    elif what in ("cut", "no tar"):
        source = tmp_path / "wt103-fwd.tgz"
        source.write_bytes((GOLDEN / source.name).read_bytes()[:1000] if what == "cut" else b"hello" * 200)
    message = refused(lambda: import_fastai(source, tmp_path / "out", itos=itos))
    assert complaint in message and str(tmp_path) in message
    assert not (tmp_path / "out").exists()


SPECIAL_FILES = {
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a link": lambda path: (path.with_name("between").symlink_to("/dev/zero"), path.symlink_to("between")),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("make", SPECIAL_FILES.values(), ids=SPECIAL_FILES)
@pytest.mark.parametrize("name", ["lstm_fwd.pth", "itos_wt103.pkl", "wt103-fwd.tgz"])
def test_what_never_ends_is_not_read(make, name, tmp_path):
    source = folder(tmp_path / "a")
    (source / name).unlink(missing_ok=True)
    make(source / name)
    sources = {"wt103-fwd.tgz": [source / name], "lstm_fwd.pth": [source, source / name]}.get(name, [source])
    for one in sources:
        message = refused(import_fastai, one, tmp_path / "out")
        assert f"{source / name}: is a device, a pipe or a socket" in message
    if name.endswith(".pkl"):
        weights = source / "lstm_fwd.pth"
        refused(lambda: import_fastai(weights, tmp_path / "out", itos=source / name))


def test_links_to_plain_files_are_followed(tmp_path):
    (tmp_path / "links").mkdir()
    for file in folder(tmp_path / "a").iterdir():
        (tmp_path / "links" / file.name).symlink_to(file)
    assert import_fastai(tmp_path / "links", tmp_path / "out")["vocab_size"] == len(WORDS_2)


def test_a_file_that_grows_is_read_no_further_than_it_was(tmp_path, monkeypatch):
    """As some of Linux's own files do that say they are empty. The size is asked for first."""
    source, true_stat = folder(tmp_path / "a"), os.stat
    weights = source / "lstm_fwd.pth"

    def stat(path, **how):
        found = list(true_stat(path, **how))
        found[6] -= os.path.basename(path) == weights.name  # st_size
        return os.stat_result(found)

    monkeypatch.setattr("os.stat", stat)
    message = refused(import_fastai, source, tmp_path / "out")
    assert f"goes on after the {true_stat(weights).st_size - 1} bytes" in message


def test_the_folder_to_write_into(tmp_path):
    source = folder(tmp_path / "a")
    for out in (source, source / "lstm_fwd.pth"):
        before = {f.name: f.read_bytes() for f in source.iterdir()}
        assert str(out) in refused(import_fastai, source, out)
        assert {f.name: f.read_bytes() for f in source.iterdir()} == before


def test_a_folder_that_is_not_empty_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    monkeypatch.setattr("ulmfit.fastai.importer.find", lambda *_: pytest.fail("was read"))
    assert "not empty" in refused(import_fastai, GOLDEN / "wt103-fwd.tgz", tmp_path / "out")
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("there", ["", "models", "models/new"])
@pytest.mark.parametrize("fails", ["find", "read_state_dict", "save_model", "after the model"])
def test_after_an_error_all_is_as_it_was(there, fails, tmp_path, monkeypatch):
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before, out = sorted(tmp_path.rglob("*")), tmp_path / "models" / "new"

    def fail(*_, **__):
        assert out.is_dir() == (there == "models/new" or fails == "after the model")
        raise OSError(28, "No space left on device") if "model" in fails else InputError("no such thing")

    place = "ulmfit.vocab.Vocab.save" if fails == "after the model" else f"ulmfit.fastai.importer.{fails}"
    monkeypatch.setattr(place, fail)
    refused(import_fastai, GOLDEN / "wt103-fwd.tgz", out)
    assert sorted(tmp_path.rglob("*")) == before
