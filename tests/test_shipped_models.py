"""The language models in the package: their files, their card, and that they know English."""

import hashlib
import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from ulmfit.config import DIRECTIONS, SHIPPED
from ulmfit.datasets import embedded_corpus
from ulmfit.model_files import load_model
from ulmfit.perplexity import text_perplexity
from ulmfit.pretrained import MODELS, load_pretrained, pretrained_sha256

ROOT = Path(__file__).parents[1]
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


def test_the_readme_is_made_of_the_cards():
    spec = importlib.util.spec_from_file_location("ship_models", ROOT / "benchmarks" / "ship_models.py")
    ship_models = importlib.util.module_from_spec(spec)
    sys.modules["ship_models"] = ship_models
    spec.loader.exec_module(ship_models)
    text = (MODELS / "README.md").read_text(encoding="utf-8")
    assert text == ship_models.card_text([card(d) for d in DIRECTIONS])
    for d in DIRECTIONS:  # no path of the machine that made it
        assert card(d)["command"].split("--text ")[1].split()[0] == card(d)["text"] == Path(card(d)["text"]).name
