"""The language models in the package: their files, their card, and that they know English."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from problems import same_bits
from safetensors import safe_open
from tiny import language_model, spread

from minilstm import load_arrays
from minilstm.params import assign
from ulmfit import pretrained
from ulmfit.config import DIRECTIONS, SHIPPED, STAGES, RunConfig
from ulmfit.config_files import save_config
from ulmfit.datasets import embedded_corpus
from ulmfit.errors import InputError
from ulmfit.model_files import load_model, save_model
from ulmfit.perplexity import text_perplexity
from ulmfit.pretrained import MODELS, load_pretrained, pretrained_sha256
from ulmfit.text import SPECIAL_TOKENS
from ulmfit.vocab import Vocab

both = pytest.mark.parametrize("direction", DIRECTIONS)


def card(direction):
    return json.loads((MODELS / direction / "card.json").read_text(encoding="utf-8"))


@both
def test_the_file_is_small_and_what_the_card_says(direction):
    file = MODELS / direction / "model.safetensors"
    assert file.stat().st_size == card(direction)["file_bytes"] <= 12_000_000
    assert hashlib.sha256(file.read_bytes()).hexdigest() == card(direction)["file_sha256"]
    assert pretrained_sha256(SHIPPED, direction) == card(direction)["file_sha256"]
    with safe_open(file, "numpy") as f:
        assert {f.get_slice(name).get_dtype() for name in f.keys()} == {"F16"}


@both
def test_it_computes_in_float32_and_reads_in_its_direction(direction):
    loaded = load_model(MODELS / direction, "language_model")
    assert loaded.direction == direction and {p.dtype.name for p in loaded.model.params.values()} == {"float32"}
    assert len(loaded.vocab) == loaded.model.vocab_size == card(direction)["vocab_size"]


@both
def test_a_word_that_has_changed_is_noticed(direction, tmp_path, monkeypatch):
    shutil.copytree(MODELS, tmp_path / "models")
    monkeypatch.setattr(pretrained, "MODELS", tmp_path / "models")
    file = tmp_path / "models" / direction / "vocab.json"
    file.write_bytes(file.read_bytes().replace(b'"capital"', b'"kapital"'))
    with pytest.raises(InputError, match=f"{direction}/vocab.json: is not the file that card.json describes"):
        load_pretrained(SHIPPED, direction)


def test_both_know_the_same_words():
    assert load_pretrained(SHIPPED, "forward")[1] == load_pretrained(SHIPPED, "backward")[1]


@both
def test_it_knows_english(direction):
    """The package's own text is far from an encyclopedia's, but the order of its words must count for something."""
    model, vocab = load_pretrained(SHIPPED, direction)
    texts = embedded_corpus()[:40]
    mixed = [" ".join(random.Random(0).sample(text.split(), len(text.split()))) for text in texts]
    as_written, shuffled = (text_perplexity(model, vocab, t, direction).perplexity for t in (texts, mixed))
    assert as_written < 200 and shuffled > 3 * as_written


def test_the_readme_is_made_of_the_cards(script):
    text = (MODELS / "README.md").read_text(encoding="utf-8")
    assert text == script("ship_models").card_text([card(d) for d in DIRECTIONS])
    for d in DIRECTIONS:  # no path of the machine that made it
        assert card(d)["command"].split("--text ")[1].split()[0] == card(d)["text"] == Path(card(d)["text"]).name


@both
def test_the_card_says_whose_text_it_was_and_under_which_licence(direction):
    """Both of them where the model lies, in the README beside it, and in NOTICE."""
    licence, attribution = card(direction)["licence"], card(direction)["attribution"]
    assert licence == "CC BY-SA 3.0, https://creativecommons.org/licenses/by-sa/3.0/"
    assert "the authors of the English Wikipedia" in attribution and "https://en.wikipedia.org" in attribution
    assert f"{licence}. **Attribution**: {attribution}." in (MODELS / "README.md").read_text(encoding="utf-8")
    notice = " ".join((MODELS.parents[1] / "NOTICE").read_text(encoding="utf-8").split())
    assert attribution in notice and licence.split(", ")[1] in notice


def test_what_ships_is_rounded_to_float16_and_measured_so(script, tmp_path, monkeypatch):
    """`ship`, on a tiny model."""
    ship_models, run, text = script("ship_models"), tmp_path / "run", tmp_path / "text.txt"
    texts = ["Who is the man ? He is the man .", "The man is here ."]
    text.write_text(texts[0])
    vocab = Vocab((*SPECIAL_TOKENS, "who", "is", "the", "man", "?", "."))
    model = spread(language_model(len(vocab), dtype=np.float32), np.random.default_rng(0))
    save_model(run, model, vocab, "backward")
    config = RunConfig(pretrain_text=str(text), direction="backward", stages=STAGES[:1], pretrained=None)
    save_config(config, run / "config.yaml")
    stage = {"parameters": 1, "vocab_size": 15, "unknown_percent": 0, "steps": 3, "tokens": 9, "seconds": 1.0}
    metrics = {"stages": {"pretrain": stage | {"perplexity": 7.0}}, "corpus_sha256": "c", "versions": {}, "commit": "d"}
    (run / "metrics.json").write_text(json.dumps(metrics))
    monkeypatch.setattr(ship_models, "MODELS", tmp_path / "models")
    monkeypatch.setattr(ship_models, "load_corpus", lambda name, split, data_dir: texts)
    made = ship_models.ship(run, tmp_path)
    folder = tmp_path / "models" / "backward"
    arrays, _ = load_arrays(folder / "model.safetensors")
    same_bits(arrays, {name: p.astype(np.float16) for name, p in model.params.items()})
    rounded = language_model(len(vocab), dtype=np.float32)
    assign(rounded.params, {name: a.astype(np.float32) for name, a in arrays.items()})
    perplexities = [text_perplexity(m, vocab, texts, "backward").perplexity for m in (rounded, model)]
    assert made["wikitext_2"]["test"]["perplexity"] == pytest.approx(perplexities[0], rel=1e-6)
    assert perplexities[0] != pytest.approx(perplexities[1], rel=1e-5)
    assert made == json.loads((folder / "card.json").read_text())
    assert made["file_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert made["file_bytes"] == (folder / "model.safetensors").stat().st_size
    assert {name: made[name] for name in ("licence", "attribution")} == {
        name: card("backward")[name] for name in ("licence", "attribution")
    }
    assert made["command"] == "ulmfit pretrain --text text.txt --direction backward --seed 1 --out runs/wiki_backward"
