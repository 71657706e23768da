"""What a trained model is asked for on the command line: predictions, an evaluation; and what this machine can do."""

import contextlib
import csv
import json
import sys
from pathlib import Path

import numpy as np

from .errors import InputError
from .metrics import confusion_matrix, error_percent, macro_f1, wilson_interval
from .predictor import Predictor
from .readers import is_table_path, read_lines, read_rows, read_table


def read_texts(arguments, *, text_column, encoding, table=None):
    """Texts from the command line: the arguments themselves; or, of a single one, the rows of the table or the lines
    of the file it names; or what standard input holds for "-" or for nothing at all: lines, or a `table` in the
    format csv, tsv or jsonl."""
    if not arguments:
        if sys.stdin.isatty():
            raise InputError("no text to predict: give texts, a file, or - for standard input")
        arguments = ["-"]
    if len(arguments) > 1:
        return list(arguments)
    (only,) = arguments
    if only == "-":
        sys.stdin.reconfigure(encoding=encoding)
        if table is not None:
            return read_table(sys.stdin, text_column=text_column, label_column=None, format=table)[0]
        return read_lines(sys.stdin, encoding=encoding)
    if is_table_path(only):
        return read_table(only, text_column=text_column, label_column=None, encoding=encoding)[0]
    if _is_file(only):
        return read_lines(only, encoding=encoding)
    if only.endswith(".txt"):
        raise InputError(f"{only}: no such file")
    return [only]


def predict_texts(texts, run, format, out):
    """Predict and write, in the order of the texts, to the file `out` or to standard output."""
    predictor = Predictor.load(run)
    probabilities = predictor.predict_proba(texts)
    if out is None:
        _write_predictions(sys.stdout, format, texts, predictor.classes, probabilities)
        return
    with contextlib.ExitStack() as stack:
        try:
            f = stack.enter_context(open(out, "w", encoding="utf-8", errors="backslashreplace", newline=""))
        except OSError as e:
            raise InputError(f"{out}: cannot be written ({e.strerror})") from e
        _write_predictions(f, format, texts, predictor.classes, probabilities)


def _write_predictions(f, format, texts, classes, probabilities):
    """text: label, probability and text between tabs; csv and jsonl: with the probability of every class."""
    table = csv.writer(f, lineterminator="\n")
    if format == "csv":
        table.writerow(["text", "label", *(f"p_{name}" for name in classes)])
    for text, p in zip(texts, probabilities.tolist(), strict=True):
        label = classes[int(np.argmax(p))]
        if format == "csv":
            table.writerow([text, label, *(f"{value:.6f}" for value in p)])
        elif format == "jsonl":
            rounded = {name: round(value, 6) for name, value in zip(classes, p, strict=True)}
            f.write(json.dumps({"text": text, "label": label, "probabilities": rounded}) + "\n")
        else:
            f.write(f"{label}\t{max(p):.4f}\t{' '.join(text.split())}\n")


def evaluate_file(console, file, run, *, as_json, **columns):
    """Error, interval and confusion matrix of a run on a labelled file."""
    from .report import confusion_table

    predictor = Predictor.load(run)
    rows = read_rows(file, **columns)
    for row in rows:
        if row.label not in predictor.classes:
            known = ", ".join(predictor.classes)
            raise InputError(f"{row.where}: label {row.label!r} is not one of the model's classes ({known})")
    labels = [predictor.classes.index(row.label) for row in rows]
    predicted = predictor.predict_proba([row.text for row in rows]).argmax(axis=1)
    error = error_percent(labels, predicted)
    matrix = confusion_matrix(labels, predicted, len(predictor.classes))
    low, high = wilson_interval(error, len(rows))
    if as_json:
        numbers = {"n": len(rows), "error": error, "error_ci95": [low, high], "macro_f1": macro_f1(matrix)}
        print(json.dumps(numbers | {"classes": predictor.classes, "confusion": matrix.tolist()}))
        return
    console.print(confusion_table(predictor.classes, matrix.tolist()))
    console.print(
        f"{len(rows):,} texts: error {error:.1f} % (95 % interval {low:.1f} to {high:.1f}), "
        f"macro F1 {macro_f1(matrix):.1f} %",
        highlight=False,
    )


def doctor(console):
    """Versions, and every kernel with the reason for each that cannot run here."""
    from rich.table import Table

    from minilstm import available_kernels

    from .experiment import commit, versions

    found = Table("what", "version", title="This machine")
    for name, version in (versions() | {"commit": commit()}).items():
        found.add_row(name, version or "not installed")
    console.print(found)
    kernels = Table("kernel", "device", "can it run here?", "what it is", title="Kernels")
    for k in available_kernels():
        kernels.add_row(k.name, k.device, "yes" if k.reason is None else f"no: {k.reason}", k.summary)
    console.print(kernels)


def _is_file(text):
    """Whether a text is the name of a file; a long or odd one is not."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False
