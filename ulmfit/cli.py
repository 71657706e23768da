"""The command line: what a user types, turned into a RunConfig or a Predictor.

Heavy imports wait inside the commands, so that `ulmfit --help` answers at once. Whatever a user can get wrong is an
InputError: one line, exit code 2. What fails while it runs exits with 1. Nobody sees a traceback.
"""

import os
import sys
import tempfile
import traceback
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from .errors import InputError

app = typer.Typer(
    help="ULMFiT: train a text classifier in three stages, on an LSTM written by hand.",
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

Direction = Enum("Direction", {d: d for d in ("forward", "backward", "both")}, type=str)
Device = Enum("Device", {d: d for d in ("cpu", "cuda")}, type=str)
Format = Enum("Format", {f: f for f in ("text", "csv", "jsonl")}, type=str)
Table = Enum("Table", {f: f for f in ("csv", "tsv", "jsonl")}, type=str)

DataDir = Annotated[Path | None, typer.Option(help="Folder with the official files, instead of a download.")]
TestFile = Annotated[Path | None, typer.Option(help="Test rows, where DATASET is a file (else 10 % are split off).")]
TextColumn = Annotated[str, typer.Option(help="Column that holds the text.")]
LabelColumn = Annotated[str, typer.Option(help="Column that holds the label.")]
Encoding = Annotated[str, typer.Option(help="Encoding of the files, e.g. latin-1.")]
NTrain = Annotated[int | None, typer.Option(min=2, help="Train on only so many texts.")]
Recipe = Annotated[str, typer.Option(help="Sizes and training constants: laptop, quickstart or paper.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one constant: --set classify.epochs=5.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides splits, initial weights, masks and the order of texts.")]
Dir = Annotated[Direction, typer.Option(help="Read texts forward, backward, or train one model for each.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
Model = Annotated[Path, typer.Option(help="The folder of a run.")]
Minutes = Annotated[float | None, typer.Option(min=0.01, help="Pre-train for about so long (per direction).")]
Pretrained = Annotated[Path | None, typer.Option(help="Folder of a language model to start from.")]


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Run directory; a run that is there is replaced.")] = Path("runs/quickstart"),
    seed: Seed = 1,
):
    """The whole method in about two minutes, on the data set that comes with the package."""
    config = _config(dataset="questions", recipe="quickstart", seed=seed)
    _run(config, out, overwrite=True)


@app.command()
def run(
    dataset: Annotated[str | None, typer.Argument(help="trec6, trec50, imdb, questions, or a CSV/TSV/JSONL file.")] = None,
    out: Annotated[Path, typer.Option(help="Run directory, made new.")] = Path("runs/latest"),
    config: Annotated[Path | None, typer.Option(help="Replay this config.yaml.")] = None,
    pretrain_text: Annotated[str | None, typer.Option(help="Text for stage 1: a file, a folder, wikitext-2 or wikitext-103.")] = None,
    pretrain_minutes: Minutes = None, pretrained: Pretrained = None,
    data_dir: DataDir = None, test_file: TestFile = None, text_column: TextColumn = "text",
    label_column: LabelColumn = "label", encoding: Encoding = "utf-8", n_train: NTrain = None,
    recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1, direction: Dir = Direction.forward,
    device: DeviceOption = Device.cpu, resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """All three stages: pre-train, fine-tune, classify; then test once."""
    from .config import STAGES, load_config

    if pretrained is not None and (pretrain_text is not None or pretrain_minutes is not None):
        raise InputError("--pretrained takes the place of stage 1; leave out --pretrain-text and --pretrain-minutes")
    if config is not None and dataset is not None:
        raise InputError("--config replays a run as it was; leave out DATASET (or the other way round)")
    if config is not None:
        return _run(load_config(config), out, device, resume=resume, overwrite=overwrite)
    if dataset is None and not resume:
        raise InputError("name a DATASET (trec6, trec50, imdb, questions, or a CSV/TSV/JSONL file), --config or --resume")
    built = _config(
        dataset=dataset, recipe=recipe, changes=set_, seed=seed, direction=direction.value, data_dir=data_dir,
        test_file=test_file, text_column=text_column, label_column=label_column, encoding=encoding, n_train=n_train,
        pretrain_text=pretrain_text, pretrained=pretrained, stages=STAGES[1:] if pretrained else STAGES,
    )  # fmt: skip
    return _run(built, out, device, minutes=pretrain_minutes, resume=resume, overwrite=overwrite)


@app.command()
def pretrain(
    text: Annotated[str, typer.Option(help="A text file, a WikiExtractor file, tar or folder, or wikitext-2/-103.")],
    out: Annotated[Path, typer.Option(help="Folder for the language model.")],
    minutes: Minutes = None, recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1,
    direction: Dir = Direction.forward, device: DeviceOption = Device.cpu,
    resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """Stage 1 alone: a language model from general text."""
    config = _config(
        pretrain_text=text, recipe=recipe, changes=set_, seed=seed, direction=direction.value, stages=("pretrain",)
    )
    _run(config, out, device, minutes=minutes, resume=resume, overwrite=overwrite)


@app.command()
def finetune(
    dataset: Annotated[str, typer.Argument(help="Whose text to learn: trec6, imdb, questions, or a file.")],
    pretrained: Annotated[Path, typer.Option(help="Folder of the language model of stage 1.")],
    out: Annotated[Path, typer.Option(help="Folder for the fine-tuned language model.")],
    data_dir: DataDir = None, test_file: TestFile = None, text_column: TextColumn = "text",
    label_column: LabelColumn = "label", encoding: Encoding = "utf-8", n_train: NTrain = None,
    recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1, direction: Dir = Direction.forward,
    device: DeviceOption = Device.cpu, resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """Stage 2 alone: the language model learns the task's own text."""
    config = _config(
        dataset=dataset, pretrained=pretrained, data_dir=data_dir, test_file=test_file, text_column=text_column,
        label_column=label_column, encoding=encoding, n_train=n_train, recipe=recipe, changes=set_, seed=seed,
        direction=direction.value, stages=("finetune",),
    )  # fmt: skip
    _run(config, out, device, resume=resume, overwrite=overwrite)


@app.command()
def classify(
    dataset: Annotated[str, typer.Argument(help="What to learn: trec6, trec50, imdb, questions, or a file.")],
    pretrained: Annotated[Path, typer.Option(help="Folder of the language model of stage 2 (or 1).")],
    out: Annotated[Path, typer.Option(help="Run directory for the classifier.")],
    data_dir: DataDir = None, test_file: TestFile = None, text_column: TextColumn = "text",
    label_column: LabelColumn = "label", encoding: Encoding = "utf-8", n_train: NTrain = None,
    recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1, direction: Dir = Direction.forward,
    device: DeviceOption = Device.cpu, resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """Stage 3 alone: the classifier, then the test."""
    config = _config(
        dataset=dataset, pretrained=pretrained, data_dir=data_dir, test_file=test_file, text_column=text_column,
        label_column=label_column, encoding=encoding, n_train=n_train, recipe=recipe, changes=set_, seed=seed,
        direction=direction.value, stages=("classify",),
    )  # fmt: skip
    _run(config, out, device, resume=resume, overwrite=overwrite)


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled texts: CSV, TSV or JSONL.")],
    model: Model,
    text_column: TextColumn = "text", label_column: LabelColumn = "label", encoding: Encoding = "utf-8",
    device: DeviceOption = Device.cpu,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
):  # fmt: skip
    """The error of a trained model on labelled texts of yours."""
    from .answers import evaluate_file

    _check_device(device)
    options = {"text_column": text_column, "label_column": label_column, "encoding": encoding}
    evaluate_file(_console(), file, model, as_json=json_, **options)


@app.command()
def predict(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts, or one file, or - for standard input.")] = None,
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.text,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    stdin: Annotated[Table | None, typer.Option(help="Standard input holds such a table, not lines.")] = None,
    text_column: TextColumn = "text", encoding: Encoding = "utf-8", device: DeviceOption = Device.cpu,
):  # fmt: skip
    """The class of each text, with probabilities, in the order the texts came."""
    from .answers import predict_texts, read_texts

    _check_device(device)
    rows = read_texts(texts, text_column=text_column, encoding=encoding, table=stdin and stdin.value)
    predict_texts(rows, model, format.value, out)


@app.command()
def doctor():
    """What is installed here, and which kernels can run."""
    from .answers import doctor as examine

    examine(_console())


def main(argv=None) -> int:
    """Run the command line -> the exit code. The one place where errors become lines."""
    for stream in (sys.stdout, sys.stderr):  # a text that no encoding can say must not end the program
        stream.reconfigure(errors="backslashreplace")
    try:
        return app(args=argv, prog_name="ulmfit", standalone_mode=False) or 0
    except InputError as e:
        return _say(str(e), 2)
    except typer.Abort:
        return _say("stopped", 130)
    except KeyboardInterrupt:
        return _say("stopped; the same command with --resume goes on from the last checkpoint", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone: stop in silence
        return 0
    except FloatingPointError as e:
        return _say(f"training stopped: {e}", 1)
    except MemoryError as e:
        return _say(f"out of memory ({e}); a smaller batch_size helps, e.g. --set classify.batch_size=16", 1)
    except OSError as e:
        return _say(f"{e.filename or 'the system'}: {e.strerror or e}", 1)
    except Exception as e:
        if hasattr(e, "exit_code"):  # the command line itself was wrong
            return _usage_error(e)
        with tempfile.NamedTemporaryFile("w", prefix="ulmfit-", suffix=".log", delete=False) as f:
            traceback.print_exc(file=f)
        return _say(f"internal error ({type(e).__name__}: {e}); please report it with {f.name}", 1)


def _say(text, code):
    print("error: " + " ".join(text.split()), file=sys.stderr)
    return code


def _usage_error(e):
    """An unknown option or a missing argument: the line, and where help is."""
    command = e.ctx.command_path if getattr(e, "ctx", None) else "ulmfit"
    if hasattr(e, "format_message"):
        return _say(f"{e.format_message()} (see {command} --help)", 2)
    return e.exit_code  # --help and the like


def _config(*, recipe="laptop", changes=None, dataset=None, **fields):
    """A RunConfig from what was typed; paths become absolute, so that a replay finds them from anywhere."""
    from .config import RunConfig, change_recipe, choose_recipe
    from .readers import is_table_path

    chosen = change_recipe(choose_recipe(recipe), changes or ())
    for name in ("data_dir", "test_file", "pretrained"):
        if fields.get(name) is not None:
            fields[name] = str(Path(fields[name]).resolve())
    if dataset is not None and is_table_path(dataset):
        dataset = str(Path(dataset).resolve())
    if fields.get("pretrain_text") is not None and Path(fields["pretrain_text"]).exists():
        fields["pretrain_text"] = str(Path(fields["pretrain_text"]).resolve())
    return RunConfig(dataset=dataset, recipe=chosen, **fields)


def _run(config, out, device=Device.cpu, **how):
    from .experiment import run_experiment
    from .plots import plot_run
    from .progress import ConsoleProgress
    from .report import print_report

    _check_device(device)
    console = _console()
    metrics = run_experiment(config, out, progress=ConsoleProgress(console), **how)
    plot_run(out)
    print_report(console, metrics, out)


def _check_device(device):
    if device is Device.cuda:
        raise InputError("--device cuda: this version trains and predicts on the CPU alone; use --device cpu")


def _console():
    from rich.console import Console

    return Console(soft_wrap=False)
