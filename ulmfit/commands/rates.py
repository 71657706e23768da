"""The commands that help to choose a learning rate: a range test, and pictures of the schedules."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .configs import make_config
from .options import (
    TEXT,
    DataDir,
    DeviceOption,
    Encoding,
    IdleDevice,
    LabelColumn,
    NamedOrFile,
    NTrain,
    OneDirection,
    Pretrained,
    Recipe,
    Seed,
    Set,
    Stage,
    TextColumn,
    checked_device,
    console,
    option,
    setting,
)  # fmt: skip

plot = typer.Typer(help="A picture: `plot schedule`.", rich_markup_mode=None)


def lr_find(
    dataset: Annotated[str | None, NamedOrFile] = None,
    stage: option(Stage, "The stage to find a rate for.") = Stage.classify,
    out: option(
        Path, "The picture; the numbers go to PNG.jsonl. Files that are there are replaced.", metavar="PNG",
    ) = Path("lr.png"),
    low: option(float, "The first rate.", metavar="RATE") = 1e-7,
    high: option(float, "The last rate.", metavar="RATE") = 10.0,
    steps: option(int, "Number of rates to try; stops early when the loss explodes.", metavar="N", min=2) = 100,
    text: option(str | None, "Text for pretrain (default: a small built-in one).", metavar=TEXT) = None,
    pretrained: Pretrained = None,
    data_dir: DataDir = None, text_column: TextColumn = "text", label_column: LabelColumn = "label",
    encoding: Encoding = "utf-8", n_train: NTrain = None, recipe: Recipe = "laptop",
    set_: setting("classify.batch_size=16") = None, seed: Seed = 1,
    direction: option(OneDirection, "How the model reads.") = OneDirection.forward, device: DeviceOption = None,
):  # fmt: skip
    """Which learning rate? Train briefly from tiny to huge ones."""
    from ..config import SHIPPED
    from .rate_answers import find_rate

    device = checked_device(device)
    alone = stage is Stage.pretrain
    if alone and (dataset is not None or pretrained is not None):
        raise InputError("--stage pretrain learns from --text alone; leave out DATASET and --pretrained")
    if text is not None and not alone:
        raise InputError("--text is for --stage pretrain; leave it out")
    pretrained = SHIPPED if pretrained is None else pretrained
    config = make_config(
        dataset=dataset, stages=(stage.value,), recipe=recipe, changes=set_, pretrained=None if alone else pretrained,
        pretrain_text=text, data_dir=data_dir, text_column=text_column, label_column=label_column, encoding=encoding,
        n_train=n_train, seed=seed, direction=direction.value, device=device,
    )  # fmt: skip
    find_rate(console(), config, out, low=low, high=high, n_steps=steps)


@plot.callback()
def _group():
    """A group of commands, even while there is but one."""


@plot.command()
def schedule(
    out: option(Path, "The picture; one that is there is replaced.", metavar="PNG") = Path("schedule.png"),
    recipe: option(str | None, "All stages of a recipe (default: laptop).", metavar="NAME", show_default=False) = None,
    set_: Set = None,
    schedule: option(str | None, "This schedule alone, or all of them.", metavar="NAME|all") = None,
    steps: option(
        int | None, "Number of steps to draw, with --schedule (default: 1000).", metavar="N", min=1, max=1_000_000,
    ) = None,
    lr: option(float | None, "Largest rate, with --schedule (default: 0.01).", metavar="RATE") = None,
    device: IdleDevice = None,
):
    """The learning rate over time, of each layer group."""
    from .rate_answers import draw_schedules

    checked_device(device)
    draw_schedules(out, recipe, set_, schedule, steps, lr)
