"""Learning rates on the command line: a range test on a stage's real data, and pictures of schedules."""

import json
import math
from dataclasses import replace
from pathlib import Path

from ..config_files import change_recipe, choose_recipe
from ..devices import carry_to, task_to
from ..errors import InputError, StepTooLarge
from ..experiment import read_corpus, read_dataset
from ..lr_find import range_test, suggest
from ..plots import NO_MATPLOTLIB, plot_range, plot_rates
from ..pretrained import starting_model
from ..progress import ConsoleProgress, counted
from ..rate_curves import recipe_panels, schedule_panels
from ..saving import answer_file, check_output
from ..schedules import SCHEDULES
from ..tasks import classifying_task, finetuning_task, pretraining_task


def find_rate(console, config, out, *, low, high, n_steps):
    """Range test of a RunConfig's one stage -> `out` as a picture, the numbers beside it, what they say printed."""
    table, sources = Path(f"{out}.jsonl"), [s for s in (config.dataset, config.pretrain_text) if s]
    _check_picture(out, sources)
    check_output(table, sources)
    if not 0 < low < high < math.inf:
        raise InputError(f"--low {low:g}, --high {high:g}: expected two numbers above 0, the second one larger")
    progress = ConsoleProgress(console)
    task, carry = _task(config, progress)
    task_to(task, config.device)
    progress.message(f"training at up to {n_steps} rates from {low:g} to {high:g} ...")
    stage = config.stages[0]
    try:
        steps = list(range_test(task, low=low, high=high, n_steps=n_steps, carry=carry_to(carry, config.device)))
    except StepTooLarge as e:
        raise StepTooLarge(f"{stage}, {e}" + (f": --set {stage}.batch_size={e.fits}" if e.fits else "")) from e
    if not steps:
        raise FloatingPointError("the loss is not finite before any training: the language model has diverged")
    with answer_file(table, "x", encoding="utf-8") as f:
        f.writelines(json.dumps(s._asdict()) + "\n" for s in steps)
    found = suggest(steps)
    ended = f"it never exploded up to {high:g}" if len(steps) == n_steps else f"the loss exploded at {steps[-1].lr:.2g}"
    print(f"{counted(len(steps), 'step')} of {stage}; {ended}")
    for rate, what in zip(found, ("steepest descent of the loss", "a tenth of where it is lowest"), strict=True):
        print(f"{'-' if rate is None else format(rate, '.2g'):>8}  {what}")
    print(f"{task.recipe.lr:>8.2g}  the recipe's rate, for comparison")
    if found.steepest is None:
        print("the smoothed loss never fell, after its first steps; give it more --steps, or a lower --low")
    drawn = plot_range(steps, found, task.recipe.lr, f"learning rate range test: {stage}", out)
    print(f"numbers in {table}, " + (f"picture in {out}" if drawn else f"no picture: {NO_MATPLOTLIB}"))


def _task(config, progress):
    """-> what range_test trains, and its first carry"""
    (stage,), recipe, seed, direction = config.stages, config.recipe, config.seed, config.direction
    if stage == "pretrain":
        return pretraining_task(read_corpus(config, progress), recipe, seed, direction)[0], None
    dataset = read_dataset(config, progress)
    model, vocab = starting_model(config, dataset.corpus, direction)
    if stage == "finetune":
        return finetuning_task(model, vocab, dataset.corpus, recipe, seed, direction)[0], None
    # no plan thaws its layers within a few steps: all of them are trained, or only ever the head
    plan = "last" if recipe.classify.unfreezing == "last" else "full"
    recipe = replace(recipe, classify=replace(recipe.classify, unfreezing=plan))
    task = classifying_task(model, vocab, dataset, recipe, seed, direction)
    return task, task.model.initial_stats()


def draw_schedules(out, recipe, changes, schedule, n_steps, lr):
    """The picture of a recipe's rates; or with `schedule` (a name, or "all") of that."""
    _check_picture(out)
    if schedule is None:
        if n_steps is not None or lr is not None:
            raise InputError("--steps and --lr go with --schedule; of a recipe, --set changes the constants")
        panels = recipe_panels(change_recipe(choose_recipe(recipe or "laptop"), changes or ()))
    else:
        if recipe is not None or changes:
            raise InputError("--schedule draws a schedule alone; leave out --recipe and --set")
        if schedule not in (*SCHEDULES, "all"):
            raise InputError(f"--schedule: expected one of {', '.join(SCHEDULES)}, or all, got {schedule!r}")
        lr = 0.01 if lr is None else lr
        if not 0 < lr < math.inf:
            raise InputError(f"--lr: expected a number above 0, got {lr:g}")
        panels = schedule_panels(list(SCHEDULES) if schedule == "all" else [schedule], n_steps or 1000, lr)
    if not plot_rates(panels, out):
        raise InputError(f"no picture: {NO_MATPLOTLIB}")
    print(f"picture in {out}")


def _check_picture(out, sources=()):
    """Before any work: is this the name of a picture that can be written, in a folder that is there, over no source?"""
    out = Path(out)
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: expected the name of a .png file")
    if out.is_dir() or not out.parent.is_dir():
        what = "is a folder" if out.is_dir() else f"there is no folder {out.parent}"
        raise InputError(f"--out {out}: {what}; name a .png file in a folder that is there")
    check_output(out, sources)
