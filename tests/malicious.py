"""Files that strangers may send: CASES, each with the command that reads it. `attack` does so, and says what happened.

    for case in CASES:
        outcome = attack(case, new_folder)       # outcome.faults is empty where nothing happened but one clear line

Pickles and PyTorch's files: hostile.py; archives, texts and configurations: malicious_texts.py;
models: malicious_models.py; how an attack is watched: attack.py.
"""

import io
import json
import os
import struct

import fastai_by_hand
import hostile
import numpy as np
from attack import Case, attack
from hostile import stream_form, zip_form
from make_fastai_files import write_tar
from malicious_models import COLOUR, MODEL_CASES, PREDICT, linked, model, put
from malicious_texts import CONFIG, IMPORT, RUN, TEXT_CASES
from rich.console import Console

from minilstm import save_arrays
from ulmfit.config import RunConfig
from ulmfit.config_files import save_config
from ulmfit.report import confusion_table, print_report
from ulmfit.run_dir import prepare
from ulmfit.saving import save_text, sweep

__all__ = ["CASES", "attack"]

RESUME = ("run", "--resume", "--out", "{}")


# --- pickles: every payload in one of the places where a pickle may lie


def pickles():
    good = fastai_by_hand.pth(fastai_by_hand.arrays())
    forms = {
        "words": lambda path, p: fastai_by_hand.folder(path, words=p),
        "stream": lambda path, p: fastai_by_hand.folder(path, stream_form(p)),
        "zip": lambda path, p: fastai_by_hand.folder(path, zip_form(p)),
        "archive": lambda path, p: write_tar(path / "fwd.tgz", {"lstm_fwd.pth": good, "itos.pkl": p}),
    }
    for n, name in enumerate(hostile.payloads("x")):
        form = list(forms)[n % len(forms)]
        yield Case("pickle", f"{name}, {form}", lambda place, name=name, make=forms[form]: make(
            place.inside, hostile.payloads(place.made)[name]), IMPORT, "is not for plain data")  # fmt: skip

    def payload(place):
        return hostile.payloads(place.made)["exec"]

    def numpy_objects(place):
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload(place)

    def in_file(name):
        return lambda place: put(place, name, payload(place))

    for name, make in {"a pickle": payload, "numpy objects": numpy_objects}.items():
        yield Case("pickle", f"{name} for a model", lambda place, make=make: model(place, make(place)), PREDICT,
                   "not a safetensors file")  # fmt: skip
        yield Case("pickle", f"{name} for weights", lambda place, make=make: fastai_by_hand.folder(
            place.inside, make(place)), IMPORT, "not a file of PyTorch")  # fmt: skip
    yield Case("pickle", "a pickle for a vocabulary", lambda place: model(place, vocab=payload(place)), PREDICT,
               "byte 0 is not UTF-8")  # fmt: skip
    yield Case("pickle", "a pickle for a configuration", in_file("c.yaml"), CONFIG, "not YAML")
    yield Case("pickle", "a pickle for a data set", in_file("t.pkl"), RUN, "expected a file ending in .csv")
    yield Case("pickle", "a pickle for a table", in_file("t.csv"), RUN, "byte 0x80")


# --- what a report shows


def rows_of_strangers(place):
    row = {"text": f"{COLOUR} [red]x\u202e", "label": COLOUR, "predicted": "[/b]\n|", "probabilities": {"[/b]\n|": 1.0}}
    put(place, "predictions.jsonl", json.dumps(row) + "\n")
    return place.inside


METRICS = {
    "test_error": 9.2, "test_error_ci95": [7.0, 12.1], "baseline_error": 14.46, "n_test": 1, "seconds": 4.0,
    "macro_f1": 87.65, "classes": [COLOUR, "[/b]\n|"], "confusion": [[7, 3], [0, 9]], "notes": [COLOUR], "stages": {},
}  # fmt: skip


def shown(show):
    console = Console(file=io.StringIO(), width=100)
    show(console)
    return console.file.getvalue()


def reports():
    many = [f"{COLOUR}{n}" for n in range(20)]
    yield Case("report", "texts, labels and notes with escape codes", rows_of_strangers, lambda run, _: shown(
        lambda console: print_report(console, METRICS, run)), None)  # fmt: skip
    yield Case("report", "many classes with escape codes", lambda place: place.inside, lambda *_: shown(
        lambda console: console.print(confusion_table(many, [[1] * 20] * 20))), None)  # fmt: skip
    yield Case("report", "a model whose classes have escape codes", lambda place: model(
        place, classes=(COLOUR, "[/b]\n|", "\ud800\u202e")), PREDICT, None)  # fmt: skip


# --- links, in a run directory that a stranger has sent


def run_with(name, target=None):
    """A run directory to resume in which `name` is a link to the file that nobody may change, or to its folder."""

    def make(place):
        put(place, "config.yaml", "dataset: questions\npretrained: none\n")
        (place.inside / name).parent.mkdir(exist_ok=True)
        return linked(place.inside, name, place.outside / "kept" if target is None else place.outside)

    return make


def links():
    for name in ("model.safetensors", "log.jsonl", "predictions.jsonl", "curves.png", "finetune/vocab.json", ".lock"):
        yield Case("link", f"{name} leads out", run_with(name), RESUME, "is a link")
    for name in ("checkpoints", "finetune"):
        yield Case("link", f"the folder {name} leads out", run_with(name, "folder"), RESUME, "is a link")

    def replaced(place):
        save_config(RunConfig("questions", seed=3), place.out / "config.yaml")
        return linked(place.out, "model.safetensors", place.outside / "kept")

    def leads_out(process):
        return lambda place: linked(place.out, f".a.{process}.tmp", place.outside / "kept")

    yield Case("link", "deleted with the run that is replaced", replaced, _overwrite, None)
    for name, write in {
        "a text": lambda folder, _: save_text(folder / "a", "new"),
        "arrays": lambda folder, _: save_arrays(folder / "a", {"x": np.zeros(3)}),
    }.items():
        yield Case("link", f"the temporary of {name} leads out", leads_out(os.getpid()), write, None)
    yield Case("link", "a left-over leads out", leads_out(1), lambda folder, _: sweep(folder), None)


def _overwrite(run, _):
    prepare(run, overwrite=True)


CASES = [*pickles(), *TEXT_CASES, *MODEL_CASES, *reports(), *links()]
