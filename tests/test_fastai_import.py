"""fastai's language models become ours: the same numbers come out whatever their files are like, or one line says why
not. Where the files may lie: test_fastai_sources.py; what hostile ones cannot do: test_fastai_hostile.py."""

import pickle

import numpy as np
import pytest
from fastai_by_hand import SHAPES, WORDS_2, E, arrays, content_of, folder, pth
from hostile import refused
from hypothesis import given
from hypothesis import strategies as st
from make_fastai_files import CASES, GOLDEN, IDS, PLAIN, WORDS, Case, Model, write_tar

from ulmfit.errors import InputError
from ulmfit.fastai import import_fastai
from ulmfit.model_files import load_model
from ulmfit.pretrained import load_pretrained
from ulmfit.text import SPECIAL_TOKENS

OURS = {  # fastai 0.7's special tokens and ours
    "_unk_": "xxunk", "_pad_": "xxpad", "xbos": "xxbos", "xfld": "xxfld", "t_up": "xxup", "tk_rep": "xxrep",
    "tk_wrep": "xxwrep",
}  # fmt: skip


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


# --- files made by hand


def rows_of(out):
    """{word: (its row of the embedding, its bias)} of an imported model"""
    loaded = load_model(out, "language_model")
    weight, bias = loaded.model.params["encoder.embedding.weight"], loaded.model.params["decoder.bias"]
    return {word: (weight[id].tolist(), float(bias[id])) for id, word in enumerate(loaded.vocab.itos)}


def has_layers_of(out, arrays):
    """The imported model's LSTM has the weights of the file, each where it belongs."""
    params = load_model(out, "language_model").model.params
    for name, a in arrays.items():
        if ".rnns." in name:
            n, part = name.split(".")[2], name.rpartition(".")[2].removesuffix("_raw").removesuffix("_l0")
            assert params[f"encoder.lstm.{part}_l{n}"].tobytes() == a.astype(np.float32).tobytes(), name


def test_each_word_keeps_its_row(tmp_path):
    words = ["dog", *reversed(WORDS_2[:9]), "cat"]
    import_fastai(folder(tmp_path / "a", words=words), tmp_path / "out")
    a = arrays()
    weight, bias = a["0.encoder.weight"], a["1.decoder.bias"]
    assert rows_of(tmp_path / "out") == {w: (weight[n].tolist(), float(bias[n])) for n, w in enumerate(words)}


def test_each_array_keeps_its_place(tmp_path):
    import_fastai(folder(tmp_path / "a"), tmp_path / "out")
    has_layers_of(tmp_path / "out", arrays())


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


@pytest.mark.parametrize("units", [1150, 1152])
@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_the_published_sizes(units, dtype, tmp_path):
    """400/1150/3 until 2019 and 400/1152/3 since, in either precision: the same weights, but for the vocabulary's."""
    rng, made = np.random.default_rng(0), {"0.encoder.weight": np.zeros((11, 400), dtype)}
    for n, (i, o) in enumerate([(400, units), (units, units), (units, 400)]):
        shapes = {"weight_hh_l0_raw": (4 * o, o), "module.weight_ih_l0": (4 * o, i)}
        shapes |= {"module.bias_ih_l0": (4 * o,), "module.bias_hh_l0": (4 * o,)}
        made |= {f"0.rnns.{n}.{part}": rng.random(shape, "f4").astype(dtype) for part, shape in shapes.items()}
    report = import_fastai(folder(tmp_path / "a", pth(made)), tmp_path / "out")
    assert report["size"] == {"embedding": 400, "hidden": units, "layers": 3}
    assert report["dtype"] == np.dtype(dtype).name
    has_layers_of(tmp_path / "out", made)


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
