"""The commands that ask a trained model, and the one that asks this machine."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DeviceOption,
    Encoding,
    Format,
    LabelColumn,
    Model,
    Table,
    TextColumn,
    checked_device,
    console,
    option,
)  # fmt: skip


def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled texts: CSV, TSV or JSONL.", metavar="FILE")],
    model: Model,
    text_column: TextColumn = "text", label_column: LabelColumn = "label", encoding: Encoding = "utf-8",
    device: DeviceOption = None,
    json_: option(bool, "Print JSON instead of tables.", "--json") = False,
):  # fmt: skip
    """The error of a trained model on your own texts."""
    from .answers import evaluate_file

    options = {"text_column": text_column, "label_column": label_column, "encoding": encoding}
    evaluate_file(console(), file, model, checked_device(device), as_json=json_, **options)


def predict(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(
        help="Texts; or one file: a table, or one text a line; or - for standard input.", metavar="TEXT|FILE|-",
    )] = None,
    format: option(Format, "Form of the answers.") = Format.text,
    out: option(
        Path | None, "Write to this file, replacing one that is there, instead of standard output.", metavar="FILE",
    ) = None,
    stdin: option(Table | None, "Standard input is a table of this format, not lines of text.") = None,
    text_column: TextColumn = "text", encoding: Encoding = "utf-8", device: DeviceOption = None,
):  # fmt: skip
    """The class of each text, with probabilities."""
    from ..saving import check_output
    from .answers import predict_texts, read_texts

    device = checked_device(device)
    if out is not None:
        check_output(out, texts or ())
    rows = read_texts(texts, text_column=text_column, encoding=encoding, table=stdin and stdin.value)
    predict_texts(rows, model, device, format.value, out)


def doctor(
    device: DeviceOption = None,
    json_: option(bool, "Print JSON instead of tables.", "--json") = False,
):
    """What is installed here, and whether it all works."""
    from .doctor import examine

    if not examine(console(), "cpu" if device is None else device.value, as_json=json_):
        raise typer.Exit(1)
