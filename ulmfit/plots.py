"""Curves as PNG. The only file that names matplotlib, which is an extra: [plot]."""

import math
from pathlib import Path
from typing import NamedTuple

from .run_dir import LOG, RunDirectory, read_log
from .saving import answer_file

CURVES = "curves.png"  # of a run
NO_MATPLOTLIB = "matplotlib is not installed; pip install matplotlib"
FAINT = {"alpha": 0.4, "linewidth": 0.8}
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def new_figure(width, height):
    """A figure that is drawn into a file, in inches; None where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path):
    with answer_file(path, "xb") as f:
        figure.savefig(f, format="png", dpi=110)


def plot_run(run) -> Path | None:
    """Loss, what validation found and learning rate over the steps, one column per stage -> curves.png in the run
    directory; None where matplotlib is not installed."""
    run, stages = Path(run), {}
    for row in read_log(run / LOG):
        if row is not None and not row.get("skipped"):  # damaged; a step without a loss, or without a gradient
            stages.setdefault(row["stage"], []).append(row)
    if (figure := new_figure(4 * max(1, len(stages)), 5)) is None:
        return None
    axes, found = figure.subplots(2, max(1, len(stages)), squeeze=False, sharex="col"), _validations(run)
    for column, (stage, rows) in enumerate(stages.items()):
        steps = [row["step"] for row in rows]
        losses = [row["loss"] for row in rows]
        _draw_losses(axes[0, column], steps, losses, smoothed(losses))
        _draw_validation(axes[0, column], rows, *found.get(stage, (None, [])))
        axes[0, column].set_title(stage)
        axes[0, column].legend()
        axes[1, column].plot(steps, [row["lr"] for row in rows], color="tab:orange", **marked(steps))
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("loss (nats)")
    axes[1, 0].set_ylabel("learning rate, top group")
    _save(figure, run / CURVES)
    return run / CURVES


def _draw_losses(axes, xs, losses, means):
    """Each step's and their running mean; one line where they are the same."""
    if losses != means:
        axes.plot(xs, losses, color="tab:blue", label="each step", **FAINT, **marked(xs))
    axes.plot(xs, means, color="tab:blue", label="loss" if losses == means else "smoothed", **marked(xs))


def _validations(run) -> dict:
    """Stage, as the log names it -> what validation measured there, and what it found after each epoch; {} for a run
    that is not complete, or is an older version's."""
    directions = (RunDirectory(run).load_metrics() or {}).get("directions", {})
    return {
        f"{stage}-{direction}" if len(directions) > 1 else stage:
            ("error" if "validation_error" in report else "perplexity", report.get("validations", []))
        for direction, reports in directions.items() for stage, report in reports.items() if report
    }  # fmt: skip


def _draw_validation(axes, rows, measure, values):
    """A dot at the end of each epoch: the perplexity's logarithm, which is a loss; or the error, on its own axis."""
    ends = {math.ceil(row["epoch"]): row["step"] for row in rows if "epoch" in row}  # the last step of each
    dots = [(step, v) for step, v in zip(ends.values(), values, strict=False) if v is not None]
    if not dots:
        return
    steps, values = zip(*dots, strict=True)
    dotted = {"color": "tab:red", "marker": "o", "linestyle": ":"}
    if measure == "perplexity":
        axes.plot(steps, [math.log(v) for v in values], label="validation", **dotted)
    else:
        axes.plot([], [], label="validation error", **dotted)
        beside = axes.twinx()
        beside.plot(steps, values, **dotted)
        beside.set_ylabel("validation error %", color="tab:red")
        beside.set_ylim(bottom=0)


def marked(values):
    """How to draw a line over so many values: a single one would be no line."""
    return {"marker": "o"} if len(values) == 1 else {}


def smoothed(values):
    """A running mean over about a twentieth of all values, corrected for its start as Adam's moments are."""
    weight = max(0.0, 1 - 20 / max(1, len(values)))
    mean, result = 0.0, []
    for n, value in enumerate(values, start=1):
        mean = weight * mean + (1 - weight) * value
        result.append(mean / (1 - weight**n))
    return result


def plot_range(steps, suggestions, recipe_lr, title, path) -> bool:
    """The loss over the rate, on a logarithmic axis, the two suggestions and the recipe's own rate: lr_find's
    RangeSteps and Suggestions -> PNG; False, and no file, where matplotlib is not installed."""
    if (figure := new_figure(7, 4.5)) is None:
        return False
    axes, rates = figure.subplots(), [s.lr for s in steps]
    _draw_losses(axes, rates, [s.loss for s in steps], [s.smoothed for s in steps])
    names = "steepest descent", "a tenth of the rate at the minimum", "the recipe's rate"
    marks = zip(("tab:green", "tab:orange", "tab:gray"), names, strict=True)
    for rate, (color, what) in zip((*suggestions, recipe_lr), marks, strict=True):
        if rate is not None:
            axes.axvline(rate, color=color, linestyle="--", label=f"{what}: {rate:.2g}")
    low, high = min(s.loss for s in steps), max(s.smoothed for s in steps[: len(steps) // 2 + 1])
    axes.set_ylim(low - 0.1 * (high - low + 0.1), high + 0.5 * (high - low + 0.1))  # what explodes leaves the picture
    axes.set(xscale="log", xlabel="learning rate of the top layer group", ylabel="loss (nats)", title=title)
    axes.legend()
    _save(figure, path)
    return True


class Panel(NamedTuple):
    """Lines over one horizontal axis. Where a value is not a number there is no line."""

    title: str
    unit: str  # of the horizontal axis
    xs: object  # (n,)
    lines: dict  # name -> values (n,)
    dashed: bool = False  # tells lines apart that lie upon each other


def plot_rates(panels, path) -> bool:
    """Panels of learning rates, one above the other -> PNG; False, and no file, where matplotlib is not installed."""
    if (figure := new_figure(9, 1 + 3 * len(panels))) is None:
        return False
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        for n, (name, values) in enumerate(panel.lines.items()):
            dash = DASHES[n % len(DASHES)] if panel.dashed else "-"
            axes.plot(panel.xs, values, label=name, linestyle=dash, **marked(values))
        axes.set(title=panel.title, xlabel=panel.unit, ylabel="learning rate")
        axes.set_ylim(bottom=0)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)
    return True
