"""The command line: what a user types, turned into a RunConfig or a Predictor.

Heavy imports wait inside the commands, so that `ulmfit --help` answers at once. Whatever a user can get wrong is an
InputError: one line, exit code 2. What fails while it runs exits with 1. Nobody sees a traceback.
"""

import os
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import typer

from .errors import InputError
from .options import (
    TEXT,
    DataDir,
    Device,
    DeviceOption,
    Dir,
    Direction,
    Encoding,
    Format,
    LabelColumn,
    Minutes,
    Model,
    NamedOrFile,
    NTrain,
    Out,
    Overwrite,
    Pretrained,
    Recipe,
    Resume,
    Seed,
    Set,
    Table,
    TestFile,
    TextColumn,
    option,
)  # fmt: skip


class Commands(typer.core.TyperGroup):
    """Typer answers Ctrl-C and a closed pipe by itself, and in silence; here they go on to `main`."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None
        except BrokenPipeError:  # whoever read us has gone, as `head` does: stop in silence
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


app = typer.Typer(
    cls=Commands, help="ULMFiT: train a text classifier in three stages, on an LSTM written by hand.",
    add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

@app.command()
def quickstart(
    out: option(Path, "Run directory; a run that is there is replaced.", metavar="FOLDER") = Path("runs/quickstart"),
    seed: Seed = 1, device: DeviceOption = Device.cpu,
):  # fmt: skip
    """Everything in a minute or two, on built-in data."""
    config = _config(dataset="questions", recipe="quickstart", seed=seed)
    _run(config, out, device, overwrite=True)


@app.command()
def run(
    ctx: typer.Context,
    dataset: Annotated[str | None, NamedOrFile] = None,
    out: Out = Path("runs/latest"),
    config: option(Path | None, "Replay this config.yaml.", metavar="FILE") = None,
    pretrain_text: option(str | None, "Text for stage 1 (default: a small built-in one).", metavar=TEXT) = None,
    pretrain_minutes: Minutes = None, pretrained: Pretrained = None,
    data_dir: DataDir = None, test_file: TestFile = None, text_column: TextColumn = "text",
    label_column: LabelColumn = "label", encoding: Encoding = "utf-8", n_train: NTrain = None,
    recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1, direction: Dir = Direction.forward,
    device: DeviceOption = Device.cpu, resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """All three stages: pre-train, fine-tune, classify."""
    from .config import STAGES
    from .config_files import load_config

    if pretrained is not None and (pretrain_text is not None or pretrain_minutes is not None):
        raise InputError("--pretrained takes the place of stage 1; leave out --pretrain-text and --pretrain-minutes")
    if config is not None:
        _refuse_others(ctx, {"config", "out", "device", "resume", "overwrite"}, "--config replays a run as it was")
        return _run(load_config(config), out, device, resume=resume, overwrite=overwrite)
    if resume and not dataset:
        _refuse_others(ctx, {"out", "device", "resume", "overwrite"}, "--resume goes on with a run as it was started")
        return _run(None, out, device, resume=resume, overwrite=overwrite)
    if not dataset:
        known = "trec6, trec50, imdb, questions, or a CSV/TSV/JSONL file"
        raise InputError(f"name a DATASET ({known}), --config or --resume")
    built = _config(
        dataset=dataset, recipe=recipe, changes=set_, seed=seed, direction=direction.value, data_dir=data_dir,
        test_file=test_file, text_column=text_column, label_column=label_column, encoding=encoding, n_train=n_train,
        pretrain_text=pretrain_text, pretrained=pretrained, stages=STAGES[1:] if pretrained else STAGES,
    )  # fmt: skip
    return _run(built, out, device, minutes=pretrain_minutes, resume=resume, overwrite=overwrite)


@app.command()
def pretrain(
    text: option(str, "General text; or a WikiExtractor file, folder or tar.", metavar=TEXT),
    out: Out,
    data_dir: DataDir = None, minutes: Minutes = None, recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1,
    direction: Dir = Direction.forward, device: DeviceOption = Device.cpu,
    resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """Stage 1 alone: a language model from general text."""
    config = _config(
        pretrain_text=text, data_dir=data_dir, recipe=recipe, changes=set_, seed=seed, direction=direction.value,
        stages=("pretrain",),
    )  # fmt: skip
    _run(config, out, device, minutes=minutes, resume=resume, overwrite=overwrite)


def _from_language_model(stage):
    """`finetune` and `classify`: alike in all but the stage."""

    def command(
        dataset: Annotated[str, NamedOrFile],
        pretrained: option(Path, "Folder of the language model to start from.", metavar="FOLDER"),
        out: Out,
        data_dir: DataDir = None, test_file: TestFile = None, text_column: TextColumn = "text",
        label_column: LabelColumn = "label", encoding: Encoding = "utf-8", n_train: NTrain = None,
        recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1, direction: Dir = Direction.forward,
        device: DeviceOption = Device.cpu, resume: Resume = False, overwrite: Overwrite = False,
    ):  # fmt: skip
        config = _config(
            dataset=dataset, pretrained=pretrained, data_dir=data_dir, test_file=test_file, text_column=text_column,
            label_column=label_column, encoding=encoding, n_train=n_train, recipe=recipe, changes=set_, seed=seed,
            direction=direction.value, stages=(stage,),
        )  # fmt: skip
        _run(config, out, device, resume=resume, overwrite=overwrite)

    return command


app.command("finetune", help="Stage 2 alone: it learns the task's own text.")(_from_language_model("finetune"))
app.command("classify", help="Stage 3 alone: the classifier, then the test.")(_from_language_model("classify"))


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Labelled texts: CSV, TSV or JSONL.", metavar="FILE")],
    model: Model,
    text_column: TextColumn = "text", label_column: LabelColumn = "label", encoding: Encoding = "utf-8",
    device: DeviceOption = Device.cpu,
    json_: option(bool, "Print JSON instead of tables.", "--json") = False,
):  # fmt: skip
    """The error of a trained model on your own texts."""
    from .answers import evaluate_file

    _check_device(device)
    options = {"text_column": text_column, "label_column": label_column, "encoding": encoding}
    evaluate_file(_console(), file, model, as_json=json_, **options)


@app.command()
def predict(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(
        help="Texts; or one file: a table, or one text a line; or - for standard input.", metavar="TEXT|FILE|-",
    )] = None,
    format: option(Format, "How to print.") = Format.text,
    out: option(Path | None, "Write to this file instead of standard output.", metavar="FILE") = None,
    stdin: option(Table | None, "Standard input holds such a table, not lines.") = None,
    text_column: TextColumn = "text", encoding: Encoding = "utf-8", device: DeviceOption = Device.cpu,
):  # fmt: skip
    """The class of each text, with probabilities."""
    from .answers import check_output, predict_texts, read_texts

    _check_device(device)
    if out is not None:
        check_output(out, texts or ())
    rows = read_texts(texts, text_column=text_column, encoding=encoding, table=stdin and stdin.value)
    predict_texts(rows, model, format.value, out)


@app.command()
def doctor(device: DeviceOption = Device.cpu):
    """What is installed here, and which kernels can run."""
    from .answers import doctor as examine

    _check_device(device)
    examine(_console())


def main(argv=None) -> int:
    """Run the command line -> the exit code. The one place where errors become lines."""
    for stream in (sys.stdout, sys.stderr):  # a text that no encoding can say must not end the program
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return app(args=arguments or ["--help"], prog_name="ulmfit", standalone_mode=False) or 0
    except InputError as e:
        return _say(str(e), 2)
    except (typer.Abort, KeyboardInterrupt) as e:
        return _say(str(e) or "stopped", 130)
    except FloatingPointError as e:
        return _say(str(e), 1)
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
        said = e.format_message().replace("Value error, ", "").replace("Input should be", "should be")
        return _say(f"{said.rstrip('.')} (see {command} --help)", 2)
    return e.exit_code  # --help and the like


def _config(*, recipe="laptop", changes=None, dataset=None, **fields):
    """A RunConfig from what was typed; paths become absolute, so that a replay finds them from anywhere."""
    from .config import RunConfig, check
    from .config_files import change_recipe, choose_recipe
    from .tables import is_table_path

    chosen = change_recipe(choose_recipe(recipe), changes or ())
    for name in ("data_dir", "test_file", "pretrained"):
        if fields.get(name) is not None:
            fields[name] = str(Path(fields[name]).resolve())
    if dataset is not None and is_table_path(dataset):
        dataset = str(Path(dataset).resolve())
    if fields.get("pretrain_text") and Path(fields["pretrain_text"]).exists():
        fields["pretrain_text"] = str(Path(fields["pretrain_text"]).resolve())
    config = RunConfig(dataset=dataset, recipe=chosen, **fields)
    check(config)
    return config


def _run(config, out, device=Device.cpu, **how):
    import numpy as np

    from .experiment import run_experiment
    from .plots import plot_run
    from .progress import ConsoleProgress
    from .report import print_report
    from .run_dir import CONFIG

    _check_device(device)
    if how.get("resume") and how.get("overwrite"):
        raise InputError("--resume goes on with a run and --overwrite deletes it; leave one of them out")
    console = _console()
    progress = ConsoleProgress(console)
    try:
        with np.errstate(all="ignore"):  # every step is checked for numbers that are not finite
            metrics = run_experiment(config, out, progress=progress, **how)
    except KeyboardInterrupt:
        began = (Path(out) / CONFIG).is_file()
        remedy = f"ulmfit run --resume --out {shlex.quote(str(out))}" if began else "the same command again"
        raise typer.Abort(f"stopped; to go on: {remedy}") from None
    except FloatingPointError as e:
        raise FloatingPointError(f"training stopped: {progress.stage}, {e}") from e
    finally:
        progress.end()  # gives the terminal back
    plot_run(out)
    print_report(console, metrics, out)


def _refuse_others(ctx, allowed, why):
    """With --config or --resume, whatever else would change the run."""
    given = [p for p in ctx.command.params if ctx.get_parameter_source(p.name).name == "COMMANDLINE"]
    others = [p.opts[-1] if p.opts[0].startswith("-") else p.opts[0].upper() for p in given if p.name not in allowed]
    if others:
        raise InputError(f"{why}; leave out {', '.join(others)}")


def _check_device(device):
    if device is Device.cuda:
        raise InputError("--device cuda: this version trains and predicts on the CPU alone; use --device cpu")


def _console():
    from rich.console import Console

    return Console(soft_wrap=False)
