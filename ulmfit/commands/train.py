"""The commands that train, each a RunConfig made of what was typed and then one run."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, StepTooLarge
from .configs import make_config
from .options import (
    KNOWN,
    OUTPUT,
    TEXT,
    DataDir,
    DeviceOption,
    Dir,
    Direction,
    Encoding,
    LabelColumn,
    Minutes,
    NamedOrFile,
    NTrain,
    Out,
    Overwrite,
    Pretrained,
    Recipe,
    Resume,
    Seed,
    Set,
    TestFile,
    TextColumn,
    checked_device,
    console,
    option,
    setting,
)  # fmt: skip

AGAIN = "the same command again"
ANEW = "start anew, with --overwrite"  # a batch size is a part of what checkpoints were made of
BY_HAND = "the same without quickstart is ulmfit run questions --recipe quickstart --direction both --set"


def quickstart(
    ctx: typer.Context,
    out: option(
        Path, "Output folder; without --resume, a run that is there is replaced.", metavar="FOLDER",
    ) = Path("runs/quickstart"),
    seed: Seed = 1, device: DeviceOption = None, resume: Resume = False,
):  # fmt: skip
    """Everything on built-in data: 2 minutes on 2 free cores."""
    from dataclasses import replace

    from ..config import SCRATCH
    from ..config_files import load_config
    from ..report import errors_table
    from ..run_dir import CONFIG

    def part(config, folder, goes_on):
        how = {"resume": goes_on, "overwrite": not goes_on, "command": "quickstart", "whole": out, "smaller": BY_HAND}
        return _train(None if goes_on else config, folder, device, **how)

    _goes_on(ctx, None, resume)
    config = make_config(dataset="questions", recipe="quickstart", seed=seed, direction="both")
    metrics = part(config, out, resume)
    console().print(errors_table(metrics))
    console().print("\nThe same once more from random weights, to see what the language model is worth")
    if resume:
        config = replace(load_config(out / CONFIG), pretrained_sha256=None)
    begun = resume and (out / "without" / CONFIG).is_file()
    without = part(replace(config, pretrained=SCRATCH), out / "without", begun)
    _report(metrics, out, without)


def run(
    ctx: typer.Context,
    dataset: Annotated[str | None, NamedOrFile] = None,
    out: option(
        Path | None, f"{OUTPUT} (default: runs/DATASET-TIME).", metavar="FOLDER",
        show_default=False,
    ) = None,
    config: option(Path | None, "Repeat the run of this config.yaml.", metavar="FILE") = None,
    pretrain_text: option(
        str | None, "Pre-train first (stage 1), on this text: documents parted by blank lines.", metavar=TEXT,
    ) = None,
    pretrain_minutes: Minutes = None, pretrained: Pretrained = None,
    data_dir: DataDir = None, test_file: TestFile = None, text_column: TextColumn = "text",
    label_column: LabelColumn = "label", encoding: Encoding = "utf-8", n_train: NTrain = None,
    recipe: Recipe = "laptop", set_: Set = None, seed: Seed = 1, direction: Dir = Direction.forward,
    device: DeviceOption = None, resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """From a language model to a tested classifier."""
    from ..config import SHIPPED, STAGES
    from ..config_files import load_config

    if pretrained is not None and (pretrain_text is not None or pretrain_minutes is not None):
        raise InputError("--pretrained takes the place of stage 1; leave out --pretrain-text and --pretrain-minutes")
    if out is None and resume != overwrite:
        what = ("--resume", "continue") if resume else ("--overwrite", "replace")
        raise InputError(f"{what[0]} needs --out: the folder of the run to {what[1]}")
    if config is not None:
        _refuse_others(ctx, {"config", "out", "device", "resume", "overwrite"}, "--config replays a run as it was")
        smaller = f"{ANEW} and a copy of {config}, its recipe with"
        return _run(load_config(config), out, device, resume=resume, overwrite=overwrite, smaller=smaller)
    if _goes_on(ctx, dataset, resume):
        return _run(None, out, device, resume=resume, overwrite=overwrite)
    if not dataset:
        raise InputError(f"name a DATASET ({KNOWN}), --config or --resume")
    if pretrain_minutes is not None and pretrain_text is None:
        raise InputError("--pretrain-minutes needs --pretrain-text: without it there is no stage 1 to limit")
    stage_1 = pretrain_text is not None
    built = make_config(
        dataset=dataset, recipe=recipe, changes=set_, seed=seed, direction=direction.value, data_dir=data_dir,
        test_file=test_file, text_column=text_column, label_column=label_column, encoding=encoding, n_train=n_train,
        pretrain_text=pretrain_text, pretrained=None if stage_1 else SHIPPED if pretrained is None else pretrained,
        stages=STAGES if stage_1 else STAGES[1:],
    )  # fmt: skip
    _refuse_two_lengths("--pretrain-minutes", pretrain_minutes, set_)
    return _run(built, out, device, minutes=pretrain_minutes, resume=resume, overwrite=overwrite)


def pretrain(
    ctx: typer.Context,
    out: Out,
    text: option(
        str | None, "General text, documents parted by blank lines, or a WikiExtractor file, folder or tar; required "
        "without --resume.", metavar=TEXT,
    ) = None,
    data_dir: DataDir = None, minutes: Minutes = None, recipe: Recipe = "laptop",
    set_: setting("pretrain.epochs=5") = None, seed: Seed = 1,
    direction: Dir = Direction.forward, device: DeviceOption = None,
    resume: Resume = False, overwrite: Overwrite = False,
):  # fmt: skip
    """Stage 1 alone: a language model from general text."""
    if _goes_on(ctx, text, resume):
        return _run(None, out, device, resume=resume, overwrite=overwrite)
    if text is None:
        raise InputError(f"name a text with --text ({TEXT}), or go on with a run with --resume")
    config = make_config(
        pretrain_text=text, data_dir=data_dir, recipe=recipe, changes=set_, seed=seed, direction=direction.value,
        stages=("pretrain",), pretrained=None,
    )  # fmt: skip
    _refuse_two_lengths("--minutes", minutes, set_)
    _run(config, out, device, minutes=minutes, resume=resume, overwrite=overwrite)


def _from_language_model(stage, help):
    """`finetune` and `classify`: alike in all but the stage."""

    def command(
        ctx: typer.Context,
        out: Out,
        dataset: Annotated[str | None, NamedOrFile] = None,
        pretrained: Pretrained = None,
        data_dir: DataDir = None, test_file: TestFile = None, text_column: TextColumn = "text",
        label_column: LabelColumn = "label", encoding: Encoding = "utf-8", n_train: NTrain = None,
        recipe: Recipe = "laptop", set_: setting(f"{stage}.epochs=5") = None, seed: Seed = 1,
        direction: Dir = Direction.forward, device: DeviceOption = None,
        resume: Resume = False, overwrite: Overwrite = False,
    ):  # fmt: skip
        from ..config import SHIPPED

        if _goes_on(ctx, dataset, resume):
            return _run(None, out, device, resume=resume, overwrite=overwrite)
        if dataset is None:
            raise InputError(f"name a DATASET ({KNOWN}), or go on with a run with --resume")
        config = make_config(
            dataset=dataset, pretrained=SHIPPED if pretrained is None else pretrained, data_dir=data_dir,
            test_file=test_file, text_column=text_column, label_column=label_column, encoding=encoding, n_train=n_train,
            recipe=recipe, changes=set_, seed=seed, direction=direction.value, stages=(stage,),
        )  # fmt: skip
        _run(config, out, device, resume=resume, overwrite=overwrite)

    command.__name__, command.__doc__ = stage, help
    return command


finetune = _from_language_model("finetune", "Stage 2 alone: it learns the task's own text.")
classify = _from_language_model("classify", "Stage 3 alone: the classifier, then the test.")


def _run(config, out, device=None, **how):
    """Train, and show what came of it; in a folder of its own where `out` is None."""
    if out is None and config is not None:
        out = Path("runs", f"{Path(config.dataset or config.stages[0]).stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    from ..plots import CURVES
    from ..run_dir import METRICS

    shown = how.get("resume") and out and all((Path(out) / name).is_file() for name in (METRICS, CURVES))
    metrics = _train(config, out, device, **how)
    if not shown:
        _report(metrics, out)


def _train(config, out, device=None, *, command="run", whole=None, smaller=f"{ANEW} --set", **how) -> dict:
    """run_experiment on the console: progress, what stops it in words, and a picture -> its metrics

    command: what to advise when it was stopped, to resume the run in `whole` (None: in `out`), if there is one by then.
    smaller: and when its batches were too large, with the setting that would do behind it.
    """
    import numpy as np

    from ..experiment import run_experiment
    from ..interrupts import sigterm_raises
    from ..plots import plot_run
    from ..progress import ConsoleProgress
    from ..report import program
    from ..run_dir import CONFIG

    device = checked_device(device, default=None)
    if how.get("resume") and how.get("overwrite"):
        raise InputError("--resume goes on with a run and --overwrite deletes it; leave one of them out")
    progress = ConsoleProgress(console())
    try:
        with sigterm_raises():
            with np.errstate(all="ignore"):  # every step is checked for numbers that are not finite
                metrics = run_experiment(config, out, device=device, progress=progress, **how)
            plot_run(out)
    except (KeyboardInterrupt, OSError) as e:
        whole = whole or out
        began = (Path(whole) / CONFIG).is_file()
        go_on = f"{program()} {command} --resume --out {shlex.quote(str(whole))}" if began else AGAIN
        if isinstance(e, KeyboardInterrupt):
            raise typer.Abort(f"stopped; to go on: {go_on}") from e
        if isinstance(e, BrokenPipeError):  # not a file of ours
            raise
        e.strerror = f"{e.strerror or e}; when this is mended, to go on: {go_on}"
        raise
    except FloatingPointError as e:
        raise FloatingPointError(f"training stopped: {progress.stage}, {e}") from e
    except StepTooLarge as e:
        stage = progress.stage or "pretrain"  # timed before it begins
        setting = f"{stage.partition('-')[0]}.batch_size={e.fits}"  # a stage without its direction
        raise StepTooLarge(f"{stage}, {e}" + (f": {smaller} {setting}" if e.fits else "")) from e
    finally:
        progress.end()  # gives the terminal back
    return metrics


def _report(metrics, out, without=None):
    from ..report import print_report

    print_report(console(), metrics, out, without=without)


def _goes_on(ctx, source, resume) -> bool:
    """Whether a run goes on as it was started, because nothing is named that it should learn from."""
    if resume and not source:
        _refuse_others(ctx, {"out", "device", "resume", "overwrite"}, "--resume goes on with a run as it was started")
    return resume and not source


def _refuse_two_lengths(option, minutes, changes):
    """How long to pre-train is said once."""
    for change in changes or () if minutes is not None else ():
        if change.partition("=")[0].strip() in ("pretrain.epochs", "pretrain.steps"):
            raise InputError(f"{option} says how long to pre-train, and so does --set {change}; leave one of them out")


def _refuse_others(ctx, allowed, why):
    """With --config or --resume, whatever else would change the run."""
    given = [p for p in ctx.command.params if ctx.get_parameter_source(p.name).name == "COMMANDLINE"]
    others = [p.opts[-1] if p.opts[0].startswith("-") else p.opts[0].upper() for p in given if p.name not in allowed]
    if others:
        raise InputError(f"{why}; leave out {', '.join(others)}")
