"""A model on disk: it comes back as it was, and every kind of damage is one line that names the file."""

import json
import stat

import numpy as np
import pytest
from problems import copies, same_bits
from tiny import classifier, language_model, spread

from minilstm import load_arrays, save_arrays
from ulmfit.errors import InputError
from ulmfit.model_files import load_model, save_model
from ulmfit.text import SPECIAL_TOKENS
from ulmfit.vocab import Vocab

VOCAB = Vocab((*SPECIAL_TOKENS, "cat", "dog", "émue"))
CLASSES = ("ABBR", "dé s", "3")


def saved_lm(folder, direction="backward"):
    model = spread(language_model(len(VOCAB), dtype=np.float32), np.random.default_rng(0))
    save_model(folder, model, VOCAB, direction)
    return model


def saved_classifier(folder, direction="forward"):
    rng = np.random.default_rng(0)
    model = spread(classifier(len(VOCAB), dtype=np.float32), rng)
    stats = tuple(
        type(s)(*(rng.random(a.shape).astype(np.float32) for a in s)) for s in model.initial_stats()
    )
    save_model(folder, model, VOCAB, direction, classes=CLASSES, stats=stats)
    return model, stats


SAVERS = {"language_model": saved_lm, "classifier": saved_classifier}
every_kind = pytest.mark.parametrize("kind", list(SAVERS))


def refused(folder, kind, name="model.safetensors"):
    """-> the one line in which the folder is refused"""
    with pytest.raises(InputError) as e:
        load_model(folder, kind)
    message = str(e.value)
    assert "\n" not in message and str(folder) in message and name in message
    return message


def test_a_language_model_comes_back(tmp_path):
    model = saved_lm(tmp_path / "new" / "folder")
    loaded = load_model(tmp_path / "new" / "folder", "language_model")
    same_bits(copies(loaded.model.params), copies(model.params))
    assert (loaded.vocab, loaded.direction, loaded.classes, loaded.stats) == (VOCAB, "backward", None, None)
    assert loaded.model.size == model.size


@every_kind
@pytest.mark.parametrize("change", [lambda itos: (*itos[:-2], itos[-1], itos[-2]), lambda itos: (*itos, "one", "more")])
def test_another_vocabulary_is_refused(kind, change, tmp_path):
    """Two tokens that have changed places would have each other's meaning, and nothing else would be amiss."""
    SAVERS[kind](tmp_path)
    Vocab(change(VOCAB.itos)).save(tmp_path / "vocab.json")
    assert "is not the vocabulary that model.safetensors was trained with" in refused(tmp_path, kind, "vocab.json")


def test_a_model_from_before_vocabularies_were_known_by_their_sha256_is_read(tmp_path):
    saved_lm(tmp_path)
    path = tmp_path / "model.safetensors"
    arrays, metadata = load_arrays(path)
    about = json.loads(metadata["minilstm"])
    assert len(about.pop("vocab_sha256")) == 64
    save_arrays(path, arrays, {"minilstm": json.dumps(about)})
    assert load_model(tmp_path, "language_model").vocab == VOCAB
    Vocab((*VOCAB.itos, "one", "more")).save(tmp_path / "vocab.json")
    assert "encoder.embedding.weight: expected shape (14, 6), got (12, 6)" in refused(tmp_path, "language_model")


def test_in_float16_a_file_takes_half_the_room_and_is_computed_with_in_float32(tmp_path):
    model = saved_lm(tmp_path / "whole")
    save_model(tmp_path / "half", model, VOCAB, "backward", dtype=np.float16)
    arrays, _ = load_arrays(tmp_path / "half" / "model.safetensors")
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float16)}
    loaded = load_model(tmp_path / "half", "language_model").model.params
    same_bits(copies(loaded), {name: p.astype(np.float16).astype(np.float32) for name, p in model.params.items()})


def test_a_classifier_comes_back_with_classes_and_running_statistics(tmp_path):
    model, stats = saved_classifier(tmp_path)
    loaded = load_model(tmp_path, "classifier")
    same_bits(copies(loaded.model.params), copies(model.params))
    for a, b in zip(loaded.stats, stats, strict=True):
        same_bits(a._asdict(), b._asdict())
    assert (loaded.vocab, loaded.direction, loaded.classes) == (VOCAB, "forward", CLASSES)
    ids, lengths = np.array([[2, 9], [10, 1]]), np.array([2, 1])
    logits = [m.forward(ids, lengths, stats)[0] for m in (loaded.model, model)]
    np.testing.assert_allclose(*logits, rtol=1e-4)  # whatever kernel is chosen here


@every_kind
def test_the_same_model_gives_the_same_bytes(kind, tmp_path):
    SAVERS[kind](tmp_path / "a"), SAVERS[kind](tmp_path / "b")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["model.safetensors", "vocab.json"]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    assert stat.S_IMODE((tmp_path / "a" / "model.safetensors").stat().st_mode) & 0o044  # others may read it


def test_a_classifier_comes_back_with_its_windows(tmp_path):
    model, stats = saved_classifier(tmp_path)
    loaded = load_model(tmp_path, "classifier")
    assert (loaded.bptt, loaded.max_tokens) == (70, 1400)  # nothing was said: as in the recipes
    save_model(tmp_path, model, VOCAB, "forward", classes=CLASSES, stats=stats, bptt=7, max_tokens=30)
    loaded = load_model(tmp_path, "classifier")
    assert (loaded.bptt, loaded.max_tokens) == (7, 30)
    path = tmp_path / "model.safetensors"
    arrays, metadata = load_arrays(path)
    about = json.loads(metadata["minilstm"])
    del about["bptt"]  # as files were before there were windows
    save_arrays(path, arrays, {"minilstm": json.dumps(about)})
    loaded = load_model(tmp_path, "classifier")
    assert (loaded.bptt, loaded.max_tokens) == (70, 30)


def test_running_statistics_have_torchs_names(tmp_path):
    saved_classifier(tmp_path)
    names = load_arrays(tmp_path / "model.safetensors")[0]
    assert {n for n in names if "running" in n} == {
        f"head.{bn}.running_{s}" for bn in ("bn1", "bn2") for s in ("mean", "var")
    }


# --- damage


@every_kind
@pytest.mark.parametrize("there", [True, False])
def test_nothing_there(kind, there, tmp_path):
    folder = tmp_path / "nowhere"
    if there:
        folder.mkdir()
    assert "expected a folder that `ulmfit` has written" in refused(folder, kind, "")


@every_kind
@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "text", "header"])
def test_a_damaged_model(kind, damage, tmp_path):
    SAVERS[kind](tmp_path)
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[-7] ^= 4
    new = {"cut": data[:-50], "empty": b"", "bit": data, "text": b"hello", "header": b"\xff" * 8 + data[8:]}[damage]
    path.write_bytes(new)
    assert "restore the file or train again" in refused(tmp_path, kind)


@every_kind
def test_a_model_without_its_vocabulary(kind, tmp_path):
    SAVERS[kind](tmp_path)
    (tmp_path / "vocab.json").unlink()
    refused(tmp_path, kind, "vocab.json")


@every_kind
def test_a_damaged_vocabulary(kind, tmp_path):
    SAVERS[kind](tmp_path)
    (tmp_path / "vocab.json").write_text('{"format": "ulmfit-vo')
    refused(tmp_path, kind, "vocab.json")


@every_kind
def test_a_model_of_the_other_kind(kind, tmp_path):
    SAVERS[kind](tmp_path)
    other = {"language_model": "classifier", "classifier": "language_model"}[kind]
    message = refused(tmp_path, other)
    assert f"expected a {other.replace('_', ' ')}, got a {kind.replace('_', ' ')}" in message


def rewritten(folder, change_arrays=None, **about):
    """The saved model once more, with arrays or metadata changed (and the checksum right)."""
    path = folder / "model.safetensors"
    arrays, metadata = load_arrays(path)
    metadata = {"minilstm": json.dumps(json.loads(metadata["minilstm"]) | about)}
    save_arrays(path, change_arrays(arrays) if change_arrays else arrays, metadata)


@every_kind
def test_wrong_sizes_are_listed_one_and_all(kind, tmp_path):
    SAVERS[kind](tmp_path)

    def change(arrays):
        arrays["encoder.lstm.weight_hh_l0"] = np.zeros((3, 3), np.float32)
        arrays["encoder.lstm.bias_ih_l1"] = np.zeros(5, np.float32)
        del arrays["encoder.lstm.bias_hh_l1"]
        return arrays | {"extra": np.zeros(1, np.float32)}

    rewritten(tmp_path, change)
    message = refused(tmp_path, kind)
    for mismatch in (
        "encoder.lstm.weight_hh_l0: expected shape (32, 8), got (3, 3)",
        "encoder.lstm.bias_ih_l1: expected shape (24,), got (5,)",
        "encoder.lstm.bias_hh_l1: missing",
        "extra: not expected",
    ):
        assert mismatch in message


def test_missing_running_statistics(tmp_path):
    saved_classifier(tmp_path)
    rewritten(tmp_path, lambda arrays: {n: a for n, a in arrays.items() if "running_var" not in n})
    message = refused(tmp_path, "classifier")
    assert "head.bn1.running_var: missing" in message and "head.bn2.running_var: missing" in message


BAD_METADATA = {
    "another kind": {"kind": "transformer"},
    "no direction": {"direction": "sideways"},
    "sizes of another program": {"size": {"d_model": 3}},
    "a size that is no number": {"size": {"embedding": "x"}},
    "a negative size": {"size": {"embedding": -6, "hidden": 8, "layers": 2, "head": 5}},
    "no layers": {"size": {"embedding": 6, "hidden": 8, "layers": 0, "head": 5}},
    "no sizes": {"size": None},
    "classes that are a number": {"classes": 5},
    "no classes": {"classes": []},
    "windows of no words": {"bptt": 0},
    "windows that are no number": {"bptt": "70"},
    "less than no words": {"max_tokens": -1},
    "more words than numbers": {"max_tokens": 2**31},
    "one class twice": {"classes": ["a", "b", "a"]},
}


@pytest.mark.parametrize("about", BAD_METADATA.values(), ids=BAD_METADATA)
def test_metadata_that_describe_no_model(about, tmp_path):
    saved_classifier(tmp_path)
    rewritten(tmp_path, **about)
    assert "do not describe a model" in refused(tmp_path, "classifier")


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, *({"minilstm": text} for text in ("{", "[1]", "null"))])
def test_a_foreign_safetensors_file(metadata, tmp_path):
    saved_lm(tmp_path)
    save_arrays(tmp_path / "model.safetensors", {"a": np.zeros(3)}, metadata)
    assert "metadata do not describe a model" in refused(tmp_path, "language_model")


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    refused(tmp_path, "classifier")


@every_kind
@pytest.mark.parametrize("size", [
    {"embedding": 10**5}, {"hidden": 10**5}, {"embedding": 10**5, "hidden": 10**5, "layers": 10**5}, {"layers": 500},
])  # fmt: skip
def test_a_model_that_is_only_promised_is_not_made(kind, size, tmp_path, monkeypatch):
    """Sizes are words in the metadata; the arrays are what is there."""
    SAVERS[kind](tmp_path)
    rewritten(tmp_path, size={"embedding": 6, "hidden": 8, "layers": 2, "head": 5} | size)
    for model in ("LanguageModel", "TextClassifier"):
        monkeypatch.setattr(f"ulmfit.model_files.{model}", lambda *_, **__: pytest.fail("was made"))
    message = refused(tmp_path, kind)
    assert "describe a model of at least" in message and "take model.safetensors and vocab.json" in message


def test_classes_without_end_are_only_promised_as_well(tmp_path):
    saved_classifier(tmp_path)
    rewritten(tmp_path, classes=[str(n) for n in range(250_000)])
    assert "describe a model of at least 1,250," in refused(tmp_path, "classifier")
