"""fastai's language models become ours: the same numbers come out whatever their files are like, or one line says why
not."""

import gzip
import io
import os
import pickle
import shutil
import tarfile

import hostile
import numpy as np
import pytest
from hostile import refused, state, stream_form, tensor, zip_form
from hypothesis import given
from hypothesis import strategies as st
from make_fastai_files import CASES, GOLDEN, IDS, PLAIN, WORDS, Case, Model, write_tar

from ulmfit.documents import read_corpus
from ulmfit.errors import InputError
from ulmfit.fastai import archive as fastai_archive
from ulmfit.fastai import import_fastai
from ulmfit.model_files import load_model
from ulmfit.pretrained import load_pretrained
from ulmfit.text import SPECIAL_TOKENS

OURS = {  # fastai 0.7's special tokens and ours
    "_unk_": "xxunk", "_pad_": "xxpad", "xbos": "xxbos", "xfld": "xxfld", "t_up": "xxup", "tk_rep": "xxrep",
    "tk_wrep": "xxwrep",
}  # fmt: skip


def content_of(archive):
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def our_logits(folder, words):
    """What the imported model says to the rows IDS of the file -> (T, B, V of the file), NaN for words left out"""
    loaded = load_model(folder, "language_model", kernel="reference")
    here = [OURS.get(word, word) for word in words]
    ids = np.array([loaded.vocab.stoi[here[row]] for row in IDS.ravel()]).reshape(IDS.shape)
    logits, _ = loaded.model.logits(ids)
    there = [row for row, word in enumerate(here) if word in loaded.vocab and here.index(word) == row]
    result = np.full((*IDS.shape, len(words)), np.nan)
    result[:, :, there] = logits[:, :, [loaded.vocab.stoi[here[row]] for row in there]]
    assert len(there) == sum(not word.startswith("xxfake") for word in words)
    return result


def agree(ours, theirs):
    assert np.isfinite(ours).sum() > 0.8 * ours.size
    np.testing.assert_allclose(ours, np.where(np.isnan(ours), np.nan, theirs), rtol=0, atol=2e-6)


# --- good files


@pytest.mark.parametrize("name", CASES)
def test_the_stored_models_say_what_torch_says(name, tmp_path):
    case = CASES[name]
    report = import_fastai(GOLDEN / f"{name}.tgz", tmp_path / "new")
    with np.load(GOLDEN / "logits.npz", allow_pickle=False) as logits:
        agree(our_logits(tmp_path / "new", WORDS[case.generation]), logits[name])
    assert report["size"] == {"embedding": 3, "hidden": case.hidden, "layers": case.layers}
    assert report["direction"] == {"fwd": "forward", "bwd": "backward"}[case.direction]
    assert report["dtype"] == case.dtype and report["vocab_size"] == 9 + len(PLAIN)
    assert sum(f.stat().st_size for f in GOLDEN.iterdir()) < 15_000


def test_the_folder_is_one_to_start_from(tmp_path):
    import_fastai(GOLDEN / "wt103-bwd.tgz", tmp_path)
    model, vocab = load_pretrained(str(tmp_path), "backward")
    assert vocab.itos == (*SPECIAL_TOKENS, *PLAIN)
    assert {p.dtype for p in model.params.values()} == {np.dtype(np.float32)}
    with pytest.raises(InputError, match="a forward one is needed"):
        load_pretrained(str(tmp_path), "forward")


@pytest.mark.torch
@pytest.mark.parametrize("generation", WORDS)
@pytest.mark.parametrize("is_zip", [False, True], ids=["stream", "zip"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16", "float64"])
@pytest.mark.parametrize("layers, encoder_only, wrapped", [(3, False, True), (1, True, False)])
def test_every_layout(generation, is_zip, dtype, layers, encoder_only, wrapped, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed; stored files are read all the same")
    model = Model(Case(generation, 3, 6, layers, dtype, is_zip, wrapped, encoder_only, "bwd", seed=5))
    report = import_fastai(write_tar(tmp_path / "x.tgz", model.files()), tmp_path / "out")
    agree(our_logits(tmp_path / "out", model.words), model.logits(IDS))
    assert report["direction"] == "backward" and report["size"]["layers"] == layers
    assert any("no decoder bias" in note for note in report["notes"]) == (encoder_only or generation == "0.7")


@pytest.mark.torch
def test_the_stored_files_are_what_the_script_makes():
    pytest.importorskip("torch", reason="torch is not installed")
    for name, case in CASES.items():
        model, stored = Model(case), content_of(GOLDEN / f"{name}.tgz")
        assert stored.keys() == model.files().keys()
        with np.load(GOLDEN / "logits.npz", allow_pickle=False) as logits:
            np.testing.assert_allclose(model.logits(IDS), logits[name], atol=1e-6)


# --- files made by hand, so that any of their parts can be changed


E, H = 2, 3
SHAPES = {"0.encoder.weight": (11, E), "0.encoder_dp.emb.weight": (11, E)}
for n, (i, o) in enumerate([(E, H), (H, E)]):
    SHAPES |= {f"0.rnns.{n}.weight_hh_l0_raw": (4 * o, o), f"0.rnns.{n}.module.weight_ih_l0": (4 * o, i)}
    SHAPES |= {f"0.rnns.{n}.module.{name}_l0": (4 * o,) for name in ("bias_ih", "bias_hh")}
SHAPES |= {"1.decoder.weight": (11, E), "1.decoder.bias": (11,)}
SHARED = {"0.encoder_dp.emb.weight": "0.encoder.weight", "1.decoder.weight": "0.encoder.weight"}
WORDS_2 = [*WORDS["2"][:9], "cat", "dog"]


def arrays(**changes):
    """{name: array} of a model with two layers; `changes` gives arrays, or None for what is to be left out."""
    rng = np.random.default_rng(0)
    made = {name: rng.standard_normal(shape).astype("<f4") for name, shape in SHAPES.items()}
    made |= {name: made[first] for name, first in SHARED.items()}
    return {name: a for name, a in (made | changes).items() if a is not None}


def pth(arrays):
    """A file of torch in the form of a stream, each array in a storage of its own."""
    kinds = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long"}
    values, storages = {}, {}
    for key, (name, a) in enumerate(arrays.items()):
        where = hostile.storage(str(key), ("torch", kinds[a.dtype.str[1:]] + "Storage"), a.size)
        values[name] = tensor(where, 0, a.shape, [s // a.itemsize for s in a.strides])
        storages[str(key)] = (a.size, a.tobytes())
    return stream_form(state(**values), storages)


def folder(path, weights=None, words=WORDS_2, name="lstm_fwd.pth"):
    path.mkdir(exist_ok=True)
    (path / name).write_bytes(pth(arrays()) if weights is None else weights)
    (path / "itos_wt103.pkl").write_bytes(pickle.dumps(words) if isinstance(words, list) else words)
    return path


def rows_of(out):
    """{word: (its row of the embedding, its bias)} of an imported model"""
    loaded = load_model(out, "language_model")
    weight, bias = loaded.model.params["encoder.embedding.weight"], loaded.model.params["decoder.bias"]
    return {word: (weight[id].tolist(), float(bias[id])) for id, word in enumerate(loaded.vocab.itos)}


def test_each_word_keeps_its_row(tmp_path):
    words = ["dog", *reversed(WORDS_2[:9]), "cat"]
    import_fastai(folder(tmp_path / "a", words=words), tmp_path / "out")
    a = arrays()
    weight, bias = a["0.encoder.weight"], a["1.decoder.bias"]
    assert rows_of(tmp_path / "out") == {w: (weight[n].tolist(), float(bias[n])) for n, w in enumerate(words)}


def test_each_array_keeps_its_place(tmp_path):
    import_fastai(folder(tmp_path / "a"), tmp_path / "out")
    params = load_model(tmp_path / "out", "language_model").model.params
    for name, a in arrays().items():
        if ".rnns." in name:
            n, part = name.split(".")[2], name.rpartition(".")[2].removesuffix("_raw").removesuffix("_l0")
            assert params[f"encoder.lstm.{part}_l{n}"].tobytes() == a.tobytes(), name


def test_words_that_are_missing_renamed_repeated_or_filling(tmp_path):
    words = ["_unk_", "_pad_", "the", "xbos", "t_up", "the", "xxfake", "xxfake", "xxfake12", "", "\ud800"]
    report = import_fastai(folder(tmp_path / "a", words=words), tmp_path / "out")
    a = arrays()
    weight, bias = a["0.encoder.weight"], a["1.decoder.bias"]
    got = rows_of(tmp_path / "out")
    assert list(got) == [*SPECIAL_TOKENS, "the"]
    rows = {"xxunk": 0, "xxpad": 1, "the": 2, "xxbos": 3, "xxup": 4}
    mean, mean_bias = weight.astype(float).mean(axis=0), bias.astype(float).mean()
    for word, (row, b) in got.items():
        want = (weight[rows[word]], bias[rows[word]]) if word in rows else (mean, mean_bias)
        np.testing.assert_allclose(row, want[0], atol=1e-6, err_msg=word)
        assert b == pytest.approx(want[1], abs=1e-6)
    notes = " | ".join(report["notes"])
    assert "3 words left out: filling" in notes and "1 words left out: repeated" in notes
    assert "2 words left out: empty or not UTF-8" in notes
    assert "_unk_ is xxunk, _pad_ is xxpad, xbos is xxbos, t_up is xxup" in notes
    assert "now the mean of all rows: xxeos, xxfld, xxrep, xxwrep, xxmaj" in notes


def test_an_old_name_beside_the_new_one_is_a_word_like_any_other(tmp_path):
    words = [*WORDS_2[:9], "xbos", "t_up"]
    report = import_fastai(folder(tmp_path / "a", words=words), tmp_path / "out")
    assert list(rows_of(tmp_path / "out"))[9:] == ["xbos", "t_up"] and report["notes"] == []


def test_copies_of_the_recurrent_weight(tmp_path):
    """The raw one counts; a copy that differs had weight drop in it, which is said."""
    raw = arrays()["0.rnns.0.weight_hh_l0_raw"]
    copies = {f"0.rnns.{n}.module.weight_hh_l0": arrays()[f"0.rnns.{n}.weight_hh_l0_raw"] for n in (0, 1)}
    copies["0.rnns.0.module.weight_hh_l0"] = np.where(raw > 0, raw, 0)
    report = import_fastai(folder(tmp_path / "a", pth(arrays(**copies))), tmp_path / "out")
    params = load_model(tmp_path / "out", "language_model").model.params
    assert params["encoder.lstm.weight_hh_l0"].tobytes() == raw.tobytes()
    assert set(report["copies"]) == {*copies, *SHARED}
    (note,) = report["notes"]
    assert "0.rnns.0.module.weight_hh_l0 differs from 0.rnns.0.weight_hh_l0_raw" in note


def test_a_model_without_raw_weights(tmp_path):
    changes = {f"0.rnns.{n}.weight_hh_l0_raw": None for n in (0, 1)}
    changes |= {f"0.rnns.{n}.module.weight_hh_l0": arrays()[f"0.rnns.{n}.weight_hh_l0_raw"] for n in (0, 1)}
    import_fastai(folder(tmp_path / "a", pth(arrays(**changes))), tmp_path / "plain")
    import_fastai(folder(tmp_path / "b"), tmp_path / "raw")
    plain, raw = ((tmp_path / out / "model.safetensors").read_bytes() for out in ("plain", "raw"))
    assert plain == raw


@given(E=st.integers(1, 4), H=st.integers(1, 5), layers=st.integers(1, 4), V=st.integers(9, 20))
def test_sizes_are_those_of_the_arrays(tmp_path_factory, E, H, layers, V):
    tmp_path = tmp_path_factory.mktemp("sizes")
    rng, made = np.random.default_rng(0), {"encoder.weight": np.zeros((V, E), "<f2")}
    for n in range(layers):
        i, o = E if n == 0 else H, E if n == layers - 1 else H
        shapes = {"weight_ih": (4 * o, i), "weight_hh": (4 * o, o), "bias_ih": (4 * o,), "bias_hh": (4 * o,)}
        made |= {f"rnns.{n}.module.{part}_l0": rng.random(shape) for part, shape in shapes.items()}
    source = folder(tmp_path, pth(made), [*SPECIAL_TOKENS, *map(str, range(V - 9))])
    report = import_fastai(source, tmp_path / "out")
    assert report["size"] == {"embedding": E, "hidden": H if layers > 1 else E, "layers": layers}
    assert report["vocab_size"] == V and load_model(tmp_path / "out", "language_model").model.params


# --- where the two files lie


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
    ("lstm_wt103.pth", None, "say nothing of the direction"), ("crowbwdie.pth", None, "say nothing of the direction"),
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
    ("missing", "no such file"), ("empty", "expected one file of weights (.pth, .h5), found none"),
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
        assert out.is_dir()
        raise OSError(28, "No space left on device") if "model" in fails else InputError("no such thing")

    place = "ulmfit.vocab.Vocab.save" if fails == "after the model" else f"ulmfit.fastai.importer.{fails}"
    monkeypatch.setattr(place, fail)
    refused(import_fastai, GOLDEN / "wt103-fwd.tgz", out)
    assert sorted(tmp_path.rglob("*")) == before


# --- what no model of fastai is


def wrong(name, shape, dtype="<f4"):
    return {name: np.ones(shape, dtype)}


BROKEN = {
    "a classifier": (wrong("1.layers.0.weight", (3,)), "found also '1.layers.0.weight'"),
    "a QRNN": (wrong("0.rnns.0.layers.0.linear.weight", (3, 3)), "found also '0.rnns.0.layers.0.linear.weight'"),
    "two directions": (wrong("0.rnns.0.module.weight_ih_l0_reverse", (12, 2)), "found also"),
    "a name of two lines": (wrong("0.rnns.0\nx", (1,)), "found also '0.rnns.0\\nx'"),
    "no embedding": (dict.fromkeys([n for n in SHAPES if "er." in n or "emb" in n]), "found no encoder.weight"),
    "no layers": (dict.fromkeys([n for n in SHAPES if "rnns" in n]), "no LSTM layers"),
    "a layer missing": (dict.fromkeys([n for n in SHAPES if "rnns.0" in n]), "rnns.1.module.bias_ih_l0: not expected"),
    "an array missing": ({"0.rnns.1.module.bias_hh_l0": None}, "encoder.lstm.bias_hh_l1: missing"),
    "three gates": (wrong("0.rnns.0.module.bias_ih_l0", (9,)), "bias_ih_l0: expected shape (12,), got (9,)"),
    "a turned weight": (wrong("0.rnns.0.module.weight_ih_l0", (2, 12)), "expected shape (12, 2), got (2, 12)"),
    "a number for a weight": (wrong("0.rnns.0.weight_hh_l0_raw", ()), "expected shape"),
    "a wide embedding": (wrong("0.encoder.weight", (11, 5)), "emb.weight: expected shape (11, 5), got (11, 2)"),
    "a vector as embedding": (wrong("0.encoder.weight", (11,)), "0.encoder.weight: expected shape (11, 0), got (11,)"),
    "an empty embedding": (wrong("0.encoder.weight", (0, 2)), "0.encoder.weight: expected shape (0, 2)"),
    "a bias for other words": (wrong("1.decoder.bias", (12,)), "1.decoder.bias: expected shape (11,), got (12,)"),
    "an untied decoder": (wrong("1.decoder.weight", (11, E)), "0.encoder.weight and 1.decoder.weight must be equal"),
    "a second embedding": (wrong("0.encoder_dp.emb.weight", (11, E)), "must be equal"),
    "integers": (wrong("0.rnns.0.module.bias_ih_l0", (12,), "<i8"), "expected floating-point numbers, got int64"),
    "a NaN": ({"1.decoder.bias": np.full(11, np.nan, "<f4")}, "not a number or infinite in 1.decoder.bias"),
    "too large for float32": ({"1.decoder.bias": np.full(11, 1e300, "<f8")}, "infinite in 1.decoder.bias"),
}


@pytest.mark.parametrize("changes, complaint", BROKEN.values(), ids=BROKEN)
def test_weights_of_something_else(changes, complaint, tmp_path):
    message = refused(import_fastai, folder(tmp_path / "a", pth(arrays(**changes))), tmp_path / "out")
    assert complaint in message and "lstm_fwd.pth" in message
    assert not (tmp_path / "out").exists()


def test_all_faults_are_listed(tmp_path):
    changes = {f"0.rnns.{n}.module.bias_{x}h_l0": np.zeros(5, "<f4") for n in (0, 1) for x in "ih"}
    message = refused(import_fastai, folder(tmp_path / "a", pth(arrays(**changes))), tmp_path / "out")
    assert all(name in message for name in changes)
    many_layers = {f"0.rnns.{n}.module.bias_ih_l0": np.zeros(5, "<f4") for n in range(900)}
    with pytest.raises(InputError, match="and 8.. more"):
        import_fastai(folder(tmp_path / "a", pth(arrays(**many_layers))), tmp_path / "out")


@pytest.mark.parametrize("words, complaint", [
    (WORDS_2[:-1], "has 10 words"), ([*WORDS_2, "x"], "has 12 words"), ([*WORDS_2[:-1], 3], "it is something else"),
    (pickle.dumps(tuple(WORDS_2)), "it is something else"), (pickle.dumps(WORDS_2) + b"x", "it is something else"),
    (pickle.dumps({"a": 1}), "it is something else"), (pickle.dumps(WORDS_2)[:-9], "in the middle"),
    (b"", "in the middle"),
    (pickle.dumps(WORDS_2, 0), "is not for plain data"), (b"hello", "has not made"),
])  # fmt: skip
def test_lists_of_other_words(words, complaint, tmp_path):
    message = refused(import_fastai, folder(tmp_path / "a", words=words), tmp_path / "out")
    assert complaint in message and "itos_wt103.pkl" in message


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_protocols_of_the_list_of_words(protocol, tmp_path):
    import_fastai(folder(tmp_path / "a", words=pickle.dumps(WORDS_2, protocol)), tmp_path / "out")
    assert list(rows_of(tmp_path / "out")) == WORDS_2


# --- hostile files


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
