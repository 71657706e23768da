"""A model on disk: a folder with `model.safetensors` and `vocab.json`.

The safetensors' metadata says what the parameters belong to (kind, sizes, direction, classes, and a sha256 of the
vocabulary, whose rows they have learnt), so a folder needs nothing else to be loaded. The head's running statistics lie
beside the parameters under PyTorch's names.
"""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minilstm import CheckpointError, RunningStats, load_arrays, save_arrays
from minilstm.params import assign

from .classifier import TextClassifier
from .config import DIRECTIONS
from .config_files import from_plain
from .errors import InputError
from .language_model import LanguageModel
from .provenance import fingerprint
from .recipes import ClassifierTraining, ModelSize
from .vocab import Vocab

MODEL, VOCAB = "model.safetensors", "vocab.json"
WRITTEN_BY = {"language_model": "`ulmfit pretrain` or `finetune`", "classifier": "`ulmfit run` or `classify`"}
BATCH_NORMS = ("head.bn1", "head.bn2")


class Loaded(NamedTuple):
    model: LanguageModel | TextClassifier
    vocab: Vocab
    direction: str
    classes: tuple[str, ...] | None  # a classifier's
    stats: tuple[RunningStats, ...] | None  # a classifier's
    max_tokens: int  # of a text's words a classifier pools so many, the last ones
    bptt: int  # and it reads them in windows of so many


def save_model(folder, model, vocab, direction, *, classes=None, stats=None, max_tokens=None, bptt=None, dtype=None):
    """Write a language model, or a classifier with its classes, running statistics and windows (None: the recipes').

    dtype: the type to store parameters in (None: their own); float16 takes half the room. `load_model` computes with
    float32 whatever the file holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"kind": model.kind, "size": dataclasses.asdict(model.size), "direction": direction}
    about |= {"classes": classes, "max_tokens": max_tokens, "bptt": bptt, "vocab_sha256": fingerprint(vocab.itos)}
    arrays = {name: p if dtype is None else p.astype(dtype) for name, p in model.params.items()}
    for name, s in zip(BATCH_NORMS, stats or (), strict=stats is not None):
        arrays |= {f"{name}.running_mean": s.mean, f"{name}.running_var": s.var}
    save_arrays(folder / MODEL, arrays, {"minilstm": json.dumps(about)})
    vocab.save(folder / VOCAB)


def load_model(folder, kind, *, kernel="auto") -> Loaded:
    """Read a model of this kind ("language_model" or "classifier") back.

    Raises InputError, in one line that names the file, for one that is missing, damaged, of another kind, or whose
    sizes do not fit (every mismatch is listed).
    """
    folder = Path(folder)
    path = folder / MODEL
    try:
        arrays, metadata = load_arrays(path)
    except FileNotFoundError:
        what = f"no {MODEL} in it" if folder.is_dir() else "is a file" if folder.is_file() else "no such folder"
        raise InputError(f"{folder}: {what}; expected a folder that `ulmfit` has written") from None
    except (CheckpointError, OSError) as e:
        raise InputError(f"{e}; restore the file or train again") from e
    about = _about(path, metadata, kind)
    vocab = load_vocab(folder, about["vocab_sha256"])
    _check_promise(path, about, len(vocab), arrays)
    rng = np.random.default_rng(0)  # the initial weights are overwritten below
    if kind == "classifier":
        model = TextClassifier(len(vocab), about["size"], len(about["classes"]), rng=rng, kernel=kernel)
    else:
        model = LanguageModel(len(vocab), about["size"], rng=rng, kernel=kernel)
    expected = dict(model.params)
    stats = model.initial_stats() if kind == "classifier" else None
    for name, s in zip(BATCH_NORMS, stats or (), strict=stats is not None):
        expected |= {f"{name}.running_mean": s.mean, f"{name}.running_var": s.var}
    try:
        assign(expected, arrays, "its arrays")
    except ValueError as e:
        raise InputError(f"{path}: {e}; take {MODEL} and {VOCAB} from the same run") from None
    return Loaded(model, vocab, about["direction"], about["classes"], stats, about["max_tokens"], about["bptt"])


def load_vocab(folder, sha256=None) -> Vocab:
    """The vocabulary of a model. Raises InputError where its sha256 is another one (None: what was saved before there
    were any): a token that was moved or changed takes the meaning of another one, without a word."""
    vocab = Vocab.load(folder / VOCAB)
    if sha256 not in (None, fingerprint(vocab.itos)):
        raise InputError(f"{folder / VOCAB}: is not the vocabulary that {MODEL} was trained with; take {MODEL} and "
                         f"{VOCAB} from the same run")  # fmt: skip
    return vocab


def _check_promise(path, about, vocab_size, arrays):
    """The model is made before its arrays are compared with the file's, and metadata can promise any size."""
    size, n = about["size"], sum(a.size for a in arrays.values())
    least = vocab_size * size.embedding + 4 * size.hidden**2 * (size.layers - 1) + 4 * size.embedding**2
    if about["classes"]:
        least += size.head * (3 * size.embedding + len(about["classes"]))
    if least > 10**6 + 2 * n or size.layers > len(arrays):
        raise InputError(
            f"{path}: its metadata describe a model of at least {least:,} numbers in {size.layers:,} layers, and there "
            f"are {n:,} in it; take {MODEL} and {VOCAB} from the same run"
        )


def _about(path, metadata, kind):
    """What the metadata says of the model, checked."""
    try:
        about = {"bptt": None, "vocab_sha256": None} | json.loads(metadata["minilstm"])
        about["size"] = from_plain(ModelSize, about["size"], "size.")
        classes = about["classes"]
        about["classes"] = None if classes is None else tuple(str(c) for c in classes)
        found, direction = about["kind"], about["direction"]
        for name in ("max_tokens", "bptt"):
            about[name] = getattr(ClassifierTraining, name) if about[name] is None else about[name]
            if not (isinstance(about[name], int) and 0 < about[name] < 2**31):
                raise ValueError(f"{name} {about[name]!r}")
        if len(set(about["classes"] or ())) < len(about["classes"] or ()):
            raise ValueError("two classes of one name")
        if direction not in DIRECTIONS or found not in WRITTEN_BY or (found == "classifier") != bool(about["classes"]):
            raise ValueError(f"kind {found!r}, direction {direction!r}, classes {about['classes']!r}")
    except (KeyError, TypeError, ValueError, RecursionError) as e:  # an InputError is a ValueError
        raise InputError(
            f"{path}: its metadata do not describe a model of minilstm ({type(e).__name__}: {e}); "
            "expected a file that `ulmfit` has written"
        ) from e
    if found != kind:
        expected, got = (k.replace("_", " ") for k in (kind, found))
        raise InputError(f"{path}: expected a {expected}, got a {got}; give a folder of {WRITTEN_BY[kind]}")
    return about
