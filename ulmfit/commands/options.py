"""What commands share: the options with their help, so that --seed means the same everywhere, and where they print."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..recipes import RECIPES

Direction = Enum("Direction", {d: d for d in ("forward", "backward", "both")}, type=str)
OneDirection = Enum("OneDirection", {d: d for d in ("forward", "backward")}, type=str)
Split = Enum("Split", {s: s for s in ("train", "valid", "test")}, type=str)
Stage = Enum("Stage", {s: s for s in ("pretrain", "finetune", "classify")}, type=str)
Device = Enum("Device", {d: d for d in ("cpu", "cuda")}, type=str)
Format = Enum("Format", {f: f for f in ("text", "csv", "jsonl")}, type=str)
Table = Enum("Table", {f: f for f in ("csv", "tsv", "jsonl")}, type=str)
TEXT = "FILE|wikitext-2|wikitext-103"
OUTPUT = "Output folder; must be new or empty, unless --resume or --overwrite is given"


def option(type_, help, *names, metavar=None, **limits):
    """An option of a command, of which the help shows `metavar` as the value."""
    return Annotated[type_, typer.Option(*names, help=help, metavar=metavar, **limits)]


DataDir = option(Path | None, "Folder with the official files, instead of a download.", metavar="FOLDER")
TestFile = option(Path | None, "Test rows, where DATASET is a file (else 10 % are split off).", metavar="FILE")
TextColumn = option(str, "Column that holds the text.", metavar="NAME")
LabelColumn = option(str, "Column that holds the label.", metavar="NAME")
Encoding = option(str, "Encoding of the files, e.g. latin-1.", metavar="NAME")
NTrain = option(int | None, "Use only N training texts.", metavar="N", min=2)
Recipe = option(str, f"Sizes and training constants: {', '.join(RECIPES)}.", metavar="NAME")


def setting(example):
    """--set, with a constant that changes something where it is typed."""
    return option(list[str] | None, f"Change one constant: --set {example}.", "--set", metavar="NAME=VALUE")


Set = setting("classify.epochs=5")
Seed = option(int, "Decides splits, initial weights, masks and the order of texts.", metavar="N", min=0)
Dir = option(Direction, "Read texts forward, backward, or train one model for each.")
DEVICE_HELP = "Where to compute: cpu (default), or cuda: a GPU, with CuPy."
DeviceOption = option(Device | None, DEVICE_HELP, "--device", show_default=False)
IdleDevice = option(Device | None, DEVICE_HELP, "--device", hidden=True)  # where nothing is computed
Resume = option(bool, "Go on with the run in --out as it was started; nothing else is needed.", "--resume")
Overwrite = option(bool, "Replace the run in --out.", "--overwrite")
Model = option(Path, "The folder of a run.", metavar="FOLDER")
LanguageModel = option(
    str | None, "The shipped language model (default), or the folder of another.", "--model", metavar="shipped|FOLDER",
    show_default=False,
)  # fmt: skip
WhichDirection = option(
    OneDirection | None, "Which model, where there is one for each direction (default: forward).", "--direction",
    show_default=False,
)  # fmt: skip
Minutes = option(
    float | None, "Pre-train for about this many minutes (per direction), whatever the recipe's epochs.",
    metavar="MINUTES", min=0.01, max=1_000_000,
)  # fmt: skip
Pretrained = option(
    str | None, "Language model to start from: the shipped one (default), none, or a folder.",
    metavar="shipped|none|FOLDER", show_default=False,
)  # fmt: skip
Out = option(Path, f"{OUTPUT}.", metavar="FOLDER")
KNOWN = "trec6, trec50, imdb, questions, or a CSV/TSV/JSONL file"
NamedOrFile = typer.Argument(help=f"{KNOWN}.", metavar="DATASET")


def checked_device(device, default="cpu") -> str | None:
    """The name of the device that was typed, or the default. Raises InputError where there is none to compute on."""
    from ..devices import check_device

    name = default if device is None else device.value
    check_device(name)
    return name


def console(stderr=False):
    """Where tables are printed: standard output as it is now. With stderr=True, where what is no answer goes."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self):  # rich would end the program with 1, as if something were wrong
            raise BrokenPipeError

    return Terminal(soft_wrap=False, stderr=stderr)
