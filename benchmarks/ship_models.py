"""Two finished runs of `ulmfit pretrain` -> the language models of the package, ulmfit/models, and their card.

    python benchmarks/ship_models.py runs/wiki_forward runs/wiki_backward --wikitext-2 DIR

Weights are stored as float16 and computed with as float32. All perplexities of WikiText-2 are measured on the file
that ships, that is after this rounding.
"""

import argparse
import hashlib
import json
import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from ulmfit.datasets import load_corpus
from ulmfit.model_files import MODEL, load_model, save_model
from ulmfit.perplexity import text_perplexity
from ulmfit.pretrained import CARD, MODELS
from ulmfit.provenance import fingerprint
from ulmfit.recipes import LAPTOP

LICENCE = "CC BY-SA 3.0, https://creativecommons.org/licenses/by-sa/3.0/"  # of the text, and so of what is made of it
ATTRIBUTION = "the authors of the English Wikipedia, https://en.wikipedia.org, whom the page histories name"


def ship(run, wikitext_2):
    """Write the model of one run into the package, with what its card says -> the card"""
    run = Path(run)
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    trained = load_model(run, "language_model")
    folder = MODELS / trained.direction
    save_model(folder, trained.model, trained.vocab, trained.direction, dtype=np.float16)
    shipped = load_model(folder, "language_model")
    stage = metrics["stages"]["pretrain"]
    text = Path(config["pretrain_text"])
    card = {
        "direction": trained.direction,
        "command": command(config),
        "text": text.name,
        "text_sha256": hashlib.sha256(text.read_bytes()).hexdigest(),
        "licence": LICENCE,
        "attribution": ATTRIBUTION,
        "corpus_sha256": metrics["corpus_sha256"],
        "seed": config["seed"],
        "parameters": stage["parameters"],
        "vocab_size": stage["vocab_size"],
        "unknown_percent": stage["unknown_percent"],
        "steps": stage["steps"],
        "tokens_seen": stage["tokens"],
        "seconds": stage["seconds"],
        "validation_perplexity": stage["perplexity"],
        "wikitext_2": {
            split: text_perplexity(
                shipped.model, shipped.vocab, load_corpus("wikitext-2", split=split, data_dir=wikitext_2),
                shipped.direction,
            )._asdict()
            for split in ("valid", "test")
        },
        "recipe": {"size": config["recipe"]["size"], "pretrain": config["recipe"]["pretrain"]},
        "file_sha256": hashlib.sha256((folder / MODEL).read_bytes()).hexdigest(),
        "file_bytes": (folder / MODEL).stat().st_size,
        "vocab_sha256": fingerprint(shipped.vocab.itos),
        "versions": metrics["versions"],
        "commit": metrics["commit"],
    }  # fmt: skip
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def command(config) -> str:
    """The command that made the run, with a --set for everything in which its recipe is not the laptop's."""
    recipe = dict(dotted(config["recipe"]))
    usual = dict(dotted(asdict(LAPTOP)))
    other = {name: one_line(value) for name, value in recipe.items() if value != usual[name]}
    changes = [f"--set {shlex.quote(f'{name}={value}')}" for name, value in other.items()]
    text, direction, seed = Path(config["pretrain_text"]).name, config["direction"], config["seed"]
    out = f"runs/wiki_{direction}"
    return " ".join(["ulmfit pretrain", f"--text {text} --direction {direction} --seed {seed}", *changes, "--out", out])


def dotted(plain, prefix=""):
    """{"a": {"b": 1}} -> ("a.b", 1), ..., of the size, the vocabulary and pre-training"""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        elif not prefix.startswith(("finetune", "classify")):
            yield prefix + name, list(value) if isinstance(value, tuple) else value


CARD_TEXT = """# The language models of the package

Two AWD-LSTM language models of English, one that reads forward and one that reads backward. `ulmfit run`, `finetune`
and `classify` start from them unless `--pretrained` says otherwise. Made by `benchmarks/ship_models.py`, which writes
this card from two finished runs; all the numbers are in `card.json` beside each model.

{table}

- **Text**: {text} (sha256 `{text_sha256}`), one contiguous slice of the English Wikipedia of 2018 as
  WikiExtractor leaves it, from github.com/Vibhas-hs-edu/WikiTasks at commit 52b1f163. Articles of fewer than 100 words
  are dropped, one article in a hundred is held out for validation. Recent pages are over-represented: sport, villages,
  films, people of the day.
- **Licence of the text**: {licence}. **Attribution**: {attribution}.
  The text itself is not in this package. The weights and the vocabulary are passed on under the same terms as the text;
  the project's code is MIT.
- **Tokens** are those of `ulmfit/text.py`, upper case as `xxmaj` and `xxup` before a lower-cased word. Perplexities
  count all of them and the unknown words as one word, `xxunk`: they compare with each other and with nothing that
  counts other tokens, such as the published figures for WikiText-2.
- **WikiText-2** is measured on the files as they ship, weights rounded to float16, on the official valid and test text.
- **Recipe**: `{size}`, and `{pretrain}`.
- **Commit** `{commit}`; {versions}.
- **Commands**, with the defaults of that commit (the text is named by its file; two cores, one thread a run):

```
{commands}
```

**What they are for**: a start for ULMFiT on a laptop. **What they are not for**: they know {words} words, have read
{tokens:.0f} million and repeat what they have read; what `ulmfit generate` lets them say is no source of anything.
"""


def table(cards) -> str:
    rows = {
        "parameters": lambda c: f"{c['parameters'] / 1e6:.2f} million",
        "file": lambda c: f"{c['file_bytes'] / 1e6:.1f} MB, float16",
        "vocabulary": lambda c: f"{c['vocab_size']:,} words; {c['unknown_percent']:.1f} % of the text unknown",
        "tokens seen": lambda c: f"{c['tokens_seen'] / 1e6:.1f} million in {c['steps']:,} steps",
        "time": lambda c: f"{c['seconds'] / 60:.0f} min",
        "seed": lambda c: str(c["seed"]),
        "validation perplexity": lambda c: f"{c['validation_perplexity']:.1f}",
        **{
            f"WikiText-2 {split}: perplexity (unknown tokens)": lambda c, split=split:
                f"{c['wikitext_2'][split]['perplexity']:.1f} ({c['wikitext_2'][split]['unknown_percent']:.1f} %)"
            for split in ("valid", "test")
        },
    }  # fmt: skip
    head = ["| | " + " | ".join(c["direction"] for c in cards) + " |", "|---" * (len(cards) + 1) + "|"]
    return "\n".join(head + [f"| {name} | " + " | ".join(map(show, cards)) + " |" for name, show in rows.items()])


def one_line(plain) -> str:
    return yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("...\n").strip()


def card_text(cards) -> str:
    """The README of ulmfit/models."""
    first = cards[0]
    v = first["versions"]
    return CARD_TEXT.format(
        table=table(cards), **{name: first[name] for name in ("text", "text_sha256", "licence", "attribution")},
        size=one_line(first["recipe"]["size"]), pretrain=one_line(first["recipe"]["pretrain"]), commit=first["commit"],
        versions=f"Python {v['python']}, NumPy {v['numpy']}, Numba {v['numba']}, {v['blas']}, {v['processor']}",
        commands="\n".join(c["command"] for c in cards), words=f"{first['vocab_size']:,}",
        tokens=first["tokens_seen"] / 1e6,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run directories that `ulmfit pretrain` has finished")
    parser.add_argument("--wikitext-2", required=True, help="folder with WikiText-2's valid and test file")
    asked = parser.parse_args()
    cards = [ship(run, asked.wikitext_2) for run in asked.runs]
    (MODELS / "README.md").write_text(card_text(cards), encoding="utf-8")
    print(table(cards))


if __name__ == "__main__":
    main()
