"""What a trained model is asked for on the command line: predictions, and an evaluation."""

import contextlib
import csv
import json
import os
import sys

import numpy as np

from ..errors import InputError
from ..files import check_encoding
from ..metrics import confusion_matrix, error_percent, macro_f1, wilson_interval
from ..predictor import Predictor
from ..printable import printable
from ..progress import ConsoleProgress, counted
from ..saving import answer_file
from ..tables import is_table_path, read_lines, read_rows, read_table
from .options import console

MANY = 100  # texts; for fewer of them nothing is imported that only shows how far one is


def read_texts(arguments, *, text_column, encoding, table=None):
    """Texts from the command line, none of them blank: the arguments themselves; or, of a single one, the rows of the
    table or the lines of the file it names; or what standard input holds for "-" or for nothing at all: lines, or a
    `table` in the format csv, tsv or jsonl."""
    if table is not None and list(arguments or ["-"]) != ["-"]:
        raise InputError("--stdin says what standard input holds; leave it out, or the texts")
    if not arguments:
        if sys.stdin.isatty():
            raise InputError("no text to predict: give texts, a file, or - for standard input")
        arguments = ["-"]
    if blank := [n for n, a in enumerate(arguments, 1) if not a.strip()]:
        raise InputError(f"text {blank[0]} of {len(arguments)} is blank; leave it out, or write something there")
    if len(arguments) > 1:
        if files := [a for a in arguments if os.path.isfile(a)]:
            raise InputError(f"{files[0]}: is a file; give one file, or nothing but texts")
        return list(arguments)
    (only,) = arguments
    if only == "-":
        check_encoding(encoding)
        sys.stdin.reconfigure(encoding=encoding)
        if table is not None:
            return read_table(sys.stdin, text_column=text_column, label_column=None, format=table)[0]
        return read_lines(sys.stdin, encoding=encoding)
    if is_table_path(only) and (os.path.isfile(only) or not any(map(str.isspace, only))):
        return read_table(only, text_column=text_column, label_column=None, encoding=encoding)[0]
    if os.path.isfile(only) or only.endswith(".txt") or (os.sep in only and os.path.isdir(only)):
        return read_lines(only, encoding=encoding)
    return [only]


def predict_texts(texts, run, device, format, out):
    """Predict and write, in the order of the texts, to the file `out` or to standard output."""
    predictor = Predictor.load(run, device)
    probabilities = predict_with_progress(predictor, texts).mean(axis=0)
    with contextlib.ExitStack() as stack:
        f = sys.stdout
        if out is not None:
            f = stack.enter_context(answer_file(out, "x", encoding="utf-8", errors="backslashreplace", newline=""))
        _write_predictions(f, format, texts, predictor.classes, probabilities)
        f.flush()


def predict_with_progress(predictor, texts) -> np.ndarray:
    """predict_proba_each; how far it is, on standard error, where there are more texts than take a moment."""
    if len(texts) < MANY:
        return predictor.predict_proba_each(texts)
    progress = ConsoleProgress(console(stderr=True))
    try:
        return predictor.predict_proba_each(texts, progress)
    finally:
        progress.end()  # gives the terminal back


def _write_predictions(f, format, texts, classes, probabilities):
    """text: class, probability and text between tabs; csv and jsonl: with the probability of every class, and the
    words of a run's predictions.jsonl."""
    if format == "csv":
        _write_row(f, ["text", "predicted", *(f"p_{name}" for name in classes)])
    for text, p in zip(texts, probabilities.tolist(), strict=True):
        predicted = classes[int(np.argmax(p))]
        if format == "csv":
            _write_row(f, [text, predicted, *(f"{value:.6f}" for value in p)])
        elif format == "jsonl":
            rounded = {name: round(value, 6) for name, value in zip(classes, p, strict=True)}
            f.write(json.dumps({"text": text, "predicted": predicted, "probabilities": rounded}) + "\n")
        else:
            f.write(f"{printable(predicted)}\t{max(p):.4f}\t{printable(' '.join(text.split()))}\n")


def _write_row(f, cells):
    """One row of a CSV file. Around a lone carriage return the csv module forgets the quotes."""
    quoting = csv.QUOTE_ALL if any("\r" in cell for cell in cells) else csv.QUOTE_MINIMAL
    csv.writer(f, lineterminator="\n", quoting=quoting).writerow(cells)


def evaluate_file(out, file, run, device, *, as_json, **columns):
    """Error, interval and confusion matrix of a run on a labelled file."""
    from ..report import confusion_table

    predictor = Predictor.load(run, device)
    rows = read_rows(file, **columns)
    _check_labels(rows, predictor.classes)
    labels = [predictor.classes.index(row.label) for row in rows]
    each = predict_with_progress(predictor, [row.text for row in rows])
    predicted = each.mean(axis=0).argmax(axis=1)
    error = error_percent(labels, predicted)
    alone = {c.direction: error_percent(labels, p.argmax(1)) for c, p in zip(predictor.classifiers, each, strict=True)}
    matrix = confusion_matrix(labels, predicted, len(predictor.classes))
    low, high = wilson_interval(error, len(rows))
    if as_json:
        numbers = {"n": len(rows), "error": error, "error_ci95": [low, high], "macro_f1": macro_f1(matrix)}
        numbers |= {"error_by_direction": alone, "classes": predictor.classes, "confusion": matrix.tolist()}
        print(json.dumps(numbers))
        return
    out.print(confusion_table(predictor.classes, matrix.tolist()))
    out.print(
        f"{counted(len(rows), 'text')}: error {error:.1f} % (95 % interval {low:.1f} to {high:.1f}), "
        f"macro F1 {macro_f1(matrix):.1f} %",
        highlight=False,
    )
    for direction, error in alone.items():
        if len(alone) > 1:
            out.print(f"its {direction} classifier alone: error {error:.1f} %", highlight=False)


def _check_labels(rows, classes):
    """Whether every label is a class of the model; where none is, it may not be the labels' fault."""
    if strange := [row for row in rows if row.label not in classes]:
        known = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
        said = f"{strange[0].where}: label {strange[0].label!r} is not one of the model's classes ({known})"
        if len(strange) == len(rows):
            raise InputError(f"{said}, nor is any other; is this the right --model, or --label-column?")
        raise InputError(f"{said}; correct it or drop the row")
