"""Files that cannot be used, each with what has to be said of it: for the tests, and for tests/torture."""

import functools
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from cli_helpers import QUESTIONS, is_refused, tiny, ulmfit
from safetensors.numpy import save_file

from minilstm import load_arrays, save_arrays
from ulmfit.config import RunConfig
from ulmfit.config_files import choose_recipe
from ulmfit.datasets import load_dataset
from ulmfit.errors import InputError
from ulmfit.experiment import read_corpus
from ulmfit.predictor import Predictor
from ulmfit.progress import Silent


class Place(NamedTuple):
    """Where a case may write, and what it finds: cli_helpers' data, and a trained run that it only reads."""

    folder: Path
    data: Path
    run: Path


class Mistake(NamedTuple):
    """What a user types, what the one line has to say, and where there is one, the same mistake in a program."""

    arguments: list
    parts: list
    stdin: bytes = b""
    call: object = None


def is_refused_in_both_ways(mistake):
    """On the command line, and where there is a function for it, in a program."""
    is_refused(ulmfit(*mistake.arguments, stdin=mistake.stdin), *mistake.parts)
    if mistake.call is not None:
        try:
            mistake.call()
        except InputError as e:
            assert all(str(part) in str(e) for part in mistake.parts), e
        else:
            raise AssertionError("was accepted")


RUN = tiny("finetune", "classify")
HEADER = b"text,label\n"
GOOD = HEADER + b"".join(f"{text},{label}\n".encode() for text, label in QUESTIONS[:12])
TABLES = {
    "empty": ("t.csv", b"", ["t.csv: the file is empty"]),
    "header only": ("t.csv", HEADER, ["t.csv: found a header but no rows"]),
    "ragged": ("t.csv", GOOD + b"a,b,c\n", ["t.csv:14: found 3 cells, expected 2", "double quotes"]),
    "open quote": ("t.csv", GOOD + b'"abc,HUM\n', ["t.csv:14: not a well-formed csv row", "close every quoted"]),
    "no text column": ("t.csv", b"txt,label\nx,a\n", ["no column 'text'", "txt, label", "--text-column txt?"]),
    "no label column": ("t.csv", b"text,Label\nx,a\n", ["no column 'label'", "did you mean --label-column Label?"]),
    "column twice": ("t.csv", b"text,text\nx,a\n", ["t.csv:1: column 'text' occurs twice"]),
    "no text in a row": ("t.csv", GOOD + b",HUM\n", ["t.csv:14: the text in column 'text' is missing"]),
    "blanks for a text": ("t.csv", GOOD + b"  ,HUM\n", ["t.csv:14: the text in column 'text' is missing"]),
    "NaN for a text": ("t.csv", GOOD + b"NaN,HUM\n", ["t.csv:14: the text in column 'text' is missing ('NaN')"]),
    "null for a text": ("t.jsonl", b'{"text": null, "label": "a"}\n', ["t.jsonl:1: the text", "missing (None)"]),
    "number for a text": ("t.jsonl", b'{"text": 5, "label": "a"}\n', ["t.jsonl:1: the text", "of type int (5)"]),
    "null for a label": ("t.jsonl", b'{"text": "x", "label": null}\n', ["t.jsonl:1: the label", "missing (None)"]),
    "None for a label": ("t.csv", GOOD + b"who ?,None\n", ["t.csv:14: the label in column 'label' is missing"]),
    "no label": ("t.csv", GOOD + b"who ?,\n", ["t.csv:14: the label in column 'label' is missing"]),
    "list for a label": ("t.jsonl", b'{"text": "x", "label": ["a"]}\n', ["t.jsonl:1: the label", "of type list"]),
    "no JSON": ("t.jsonl", b'{"text": "x"\n', ["t.jsonl:1: not valid JSON"]),
    "no object": ("t.jsonl", b'["x"]\n', ["t.jsonl:1: expected a JSON object"]),
    "one class": ("t.csv", HEADER + b"x,a\ny,a\nz,a\n", ["every row has the label 'a'", "at least two classes"]),
    "numbers for labels": ("t.csv", HEADER + b"".join(b"x,%d.5\n" % n for n in range(9)), [
        "t.csv: 9 rows have 9 different labels: is this the label column?", "--label-column"]),
    "semicolons": ("t.csv", b"text;label\nx;a\n", ["t.csv:1: columns are separated by ';'"]),
    "too few rows": ("t.csv", HEADER + b"x,a\ny,b\n", ["2 rows are too few"]),
    "latin-1": ("t.csv", GOOD + b"caf\xe9,HUM\n", ["t.csv:14: byte 0xE9", "try --encoding latin-1"]),
    "NUL": ("t.csv", GOOD + b"a\0b,HUM\n", ["t.csv:14: found a NUL byte", "--encoding utf-16"]),
    "another ending": ("t.xlsx", b"PK", ["t.xlsx: expected a file ending in .csv"]),
    "plain text": ("t.txt", b"hello\n", ["t.txt: expected a file ending in .csv"]),
    "a folder": ("t.csv/", None, ["t.csv: this is a folder, expected a file"]),
    "missing": ("t.csv", None, ["t.csv: no such file"]),
    "no rights": ("t.csv", "locked", ["t.csv: cannot be read"]),
}


def table(name, content, parts, place):
    path = place.folder / name
    if content is None and name.endswith("/"):
        path.mkdir()
    elif content is not None:
        path.write_bytes(GOOD if content == "locked" else content)
        path.chmod(0o000 if content == "locked" else 0o600)
    arguments = ["run", path, "--out", place.folder / "run", *RUN]
    return Mistake(arguments, [path, *parts], call=lambda: load_dataset(path))


TEXTS = {
    "empty": (b"", ["no documents found"]),
    "blank": (b"\n \n", ["no documents found"]),
    "shorter than a window": (
        b"One two three .", ["t.txt: 6 tokens to train on, and one window of pretrain.bptt needs 71; give a longer"]),
    "binary": (b"\0\1\2", ["NUL byte", "plain text file"]),
    "latin-1": (b"caf\xe9", ["byte 0xE9", "iconv -f latin-1 -t utf-8"]),
    "damaged gzip": (b"\x1f\x8b\x08\x00broken", ["damaged or incomplete"]),
    "missing": (None, ["no such file"]),
}  # fmt: skip


def text(content, parts, place):
    path = place.folder / "t.txt"
    if content is not None:
        path.write_bytes(content)
    arguments = ["pretrain", "--text", path, "--out", place.folder / "new" / "lm", *tiny("pretrain")]
    config = RunConfig(stages=("pretrain",), pretrain_text=str(path), recipe=choose_recipe("laptop"))
    return Mistake(arguments, [path, *parts], call=lambda: read_corpus(config, Silent()))


def change_arrays(folder, change=lambda arrays, about: None):
    """Load a model's file, let `change` do something to its arrays and its description, and write it back."""
    arrays, metadata = load_arrays(folder / "model.safetensors")
    about = json.loads(metadata["minilstm"])
    change(arrays, about)
    save_arrays(folder / "model.safetensors", arrays, {"minilstm": json.dumps(about)})


def foreign(folder):
    arrays, _ = load_arrays(folder / "model.safetensors")
    save_file(arrays, folder / "model.safetensors")


def flip_a_bit(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "empty folder": (lambda d: [p.unlink() for p in d.glob("*.*")], ["no model.safetensors in it"]),
    "empty file": (lambda d: (d / "model.safetensors").write_bytes(b""), ["model.safetensors", "restore the file"]),
    "cut off": (lambda d: os.truncate(d / "model.safetensors", 500), ["model.safetensors", "restore the file"]),
    "one bit": (flip_a_bit, ["model.safetensors", "the checksum does not fit", "restore the file"]),
    "foreign": (foreign, ["do not describe a model", "`ulmfit` has written"]),
    "not safetensors": (lambda d: (d / "model.safetensors").write_text("hello " * 99), ["not a safetensors file"]),
    "language model": (
        lambda d: shutil.copytree(d / "finetune", d, dirs_exist_ok=True),
        ["expected a classifier, got a language model", "`ulmfit run`"]),
    "other sizes": (
        lambda d: change_arrays(d, lambda _, about: about["size"].update(hidden=9, head=7)),
        ["head.linear1.weight: expected shape (7, 24), got (6, 24)", "head.linear2.weight: ", "head.bn2.running_var"]),
    "missing array": (
        lambda d: change_arrays(d, lambda a, _: [a.pop("head.linear1.bias"), a.pop("head.bn1.weight")]),
        ["head.linear1.bias: missing", "head.bn1.weight: missing"]),
    "no direction": (lambda d: change_arrays(d, lambda _, about: about.update(direction="up")), ["direction 'up'"]),
    "no classes": (lambda d: change_arrays(d, lambda _, about: about.update(classes=None)), ["classes None"]),
    "no vocabulary": (lambda d: (d / "vocab.json").unlink(), ["vocab.json: cannot read the vocabulary"]),
    "vocabulary is no JSON": (lambda d: (d / "vocab.json").write_text("{"), ["vocab.json: not a vocabulary: no JSON"]),
    "vocabulary of something": (lambda d: (d / "vocab.json").write_text("[]"), ["vocab.json: not a vocabulary"]),
    "another vocabulary": (
        lambda d: shutil.copy(d / "pretrain" / "vocab.json", d), ["vocab.json: is not the vocabulary", "same run"]),
}  # fmt: skip


def model(damage, parts, place):
    folder = place.folder / "model"
    shutil.copytree(place.run, folder)
    damage(folder)
    return Mistake(["predict", "hi", "--model", folder], [folder, *parts], call=lambda: Predictor.load(folder))


INPUTS = {
    "missing table": (["no.csv"], b"", ["no.csv: no such file"]),
    "missing text file": (["no.txt"], b"", ["no.txt: no such file"]),
    "folder": (["{tmp}/folder"], b"", ["this is a folder"]),
    "two files": (["{tmp}/a.txt", "{tmp}/a.txt"], b"", ["a.txt: is a file; give one file"]),
    "empty file": (["{tmp}/empty.txt"], b"", ["empty.txt: nothing to read"]),
    "binary file": (["{tmp}/binary.txt"], b"", ["binary.txt:1: found a NUL byte"]),
    "another column": (["{tmp}/t.csv", "--text-column", "tex"], b"", ["no column 'tex'", "--text-column text"]),
    "wrong encoding": (["-"], b"caf\xe9\n", ["<stdin>:1: byte 0xE9", "--encoding latin-1"]),
    "blank line": (["-"], b"who ?\n\nwhere ?\n", ["<stdin>:2: this line is blank"]),
    "nothing": ([""], b"", ["text 1 of 1 is blank"]),
    "unknown encoding": (["-", "--encoding", "foo"], b"x\n", ["unknown encoding 'foo'", "--encoding utf-8"]),
    "stdin is no JSON": (["--stdin", "jsonl"], b"hello\n", ["<stdin>:1: not valid JSON"]),
    "stdin is a table without texts": (["--stdin", "csv"], b"a,b\n1,2\n", ["no column 'text'"]),
    "stdin and texts": (["hi", "--stdin", "csv"], b"", ["--stdin says what standard input holds"]),
    "output is a folder": (["hi", "--out", "{tmp}/folder"], b"", ["--out", "cannot be written"]),
    "output in no folder": (["hi", "--out", "{tmp}/no/x"], b"", ["--out", "cannot be written"]),
    "output is the input": (["{tmp}/t.csv", "--out", "{tmp}/t.csv"], b"", ["is the file with the texts"]),
}
GIVEN = {"a.txt": b"x\n", "empty.txt": b"", "binary.txt": b"\0\1", "t.csv": b"text\nwho ?\n"}


def input_(arguments, stdin, parts, place):
    (place.folder / "folder").mkdir()
    for name, content in GIVEN.items():
        (place.folder / name).write_bytes(content)
    arguments = [a.format(tmp=place.folder) for a in arguments]
    return Mistake(["predict", *arguments, "--model", place.run], parts, stdin)


def cases(make, rows) -> dict:
    """{name: place -> Mistake}, of a table of cases"""
    return {name: functools.partial(make, *row) for name, row in rows.items()}


TABLE_CASES, TEXT_CASES = cases(table, TABLES), cases(text, TEXTS)
MODEL_CASES, INPUT_CASES = cases(model, DAMAGE), cases(input_, INPUTS)
CASES = {"table": TABLE_CASES, "text": TEXT_CASES, "model": MODEL_CASES, "input": INPUT_CASES}
