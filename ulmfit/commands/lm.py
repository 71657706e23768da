"""The commands that ask a language model, and the one that brings in fastai's."""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    TEXT,
    DataDir,
    DeviceOption,
    Encoding,
    IdleDevice,
    LanguageModel,
    OneDirection,
    Split,
    WhichDirection,
    checked_device,
    console,
    option,
)  # fmt: skip


def perplexity(
    file: Annotated[str, typer.Argument(help="A text, or WikiText by name; as for `pretrain --text`.", metavar=TEXT)],
    model: LanguageModel = None, direction: WhichDirection = None,
    split: option(Split | None, "Which part of WikiText, given by name (default: test).") = None,
    data_dir: DataDir = None, encoding: Encoding = "utf-8",
    batch_size: option(
        int, "Read the text in at most N streams side by side; 1 is slow and exact.", metavar="N", min=1,
    ) = 32,
    device: DeviceOption = None,
    json_: option(bool, "Print JSON instead of lines.", "--json") = False,
):  # fmt: skip
    """How well a language model predicts a text."""
    from ..progress import ConsoleProgress
    from .lm_answers import print_perplexity

    device = checked_device(device)
    print_perplexity(
        ConsoleProgress(console(stderr=True)), file, model, direction and direction.value, device,
        split=split and split.value, data_dir=data_dir, encoding=encoding, batch_size=batch_size, as_json=json_,
    )  # fmt: skip


def generate(
    prompt: Annotated[list[str] | None, typer.Argument(
        help="How the text begins; for a backward model, how it ends.", metavar="TEXT",
    )] = None,
    model: LanguageModel = None, direction: WhichDirection = None,
    tokens: option(int, "Length of a text, at most; it stops where the model ends it.", metavar="N", min=1) = 100,
    temperature: option(float, "Below 1 plainer, above 1 wilder; 0: always the likeliest word.", metavar="T") = 1.0,
    top_k: option(int | None, "Only ever one of the K likeliest words.", metavar="K", min=1) = None,
    top_p: option(float, "Only the likeliest words that together have this probability.", metavar="P") = 1.0,
    n: option(int, "Number of texts, one a line.", "--n", metavar="N", min=1) = 1,
    seed: option(int, "The same seed, the same texts.", metavar="N", min=0) = 1,
    unknown: option(bool, "Let it say <unk>, for words that it does not know.", "--unknown") = False,
    device: DeviceOption = None,
):  # fmt: skip
    """Text that a language model makes up."""
    from .lm_answers import print_texts

    device = checked_device(device)
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "unknown": unknown, "n_tokens": tokens}
    print_texts(" ".join(prompt or ()), model, direction and direction.value, device, n=n, seed=seed, **how)


def import_fastai(
    source: Annotated[Path, typer.Argument(
        help="wt103-fwd.tgz or the like, a folder, or a .pth or .h5 file.", metavar="FILE|FOLDER",
    )],
    out: option(Path, "Output folder; must be new or empty.", metavar="FOLDER"),
    direction: option(OneDirection | None, "How it reads, if the name of its file does not say fwd or bwd.") = None,
    itos: option(Path | None, "The list of its words, if that is not beside it.", metavar="FILE") = None,
    device: IdleDevice = None,
):  # fmt: skip
    """A language model of fastai's, made one of ours."""
    from .lm_answers import print_import

    checked_device(device)
    print_import(source, out, direction=direction and direction.value, itos=itos)
