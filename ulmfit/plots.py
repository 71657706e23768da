"""Curves of a run as PNG. The only file that names matplotlib, which is an extra: [plot]."""

import json
from pathlib import Path


def plot_run(run) -> Path | None:
    """Loss and learning rate over the steps, one column per stage -> curves.png in the run directory; None where
    matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    run = Path(run)
    stages = {}
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        stages.setdefault(row["stage"], []).append(row)
    figure = Figure(figsize=(4 * max(1, len(stages)), 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, max(1, len(stages)), squeeze=False, sharex="col")
    for column, (stage, rows) in enumerate(stages.items()):
        steps = [row["step"] for row in rows]
        losses = [row["loss"] for row in rows]
        axes[0, column].plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
        axes[0, column].plot(steps, smoothed(losses), color="tab:blue")
        axes[0, column].set_title(stage)
        axes[1, column].plot(steps, [row["lr"] for row in rows], color="tab:orange")
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("loss (nats)")
    axes[1, 0].set_ylabel("learning rate, top group")
    path = run / "curves.png"
    figure.savefig(path, dpi=110)
    return path


def smoothed(values):
    """A running mean over about a twentieth of all values, corrected for its start as Adam's moments are."""
    weight = max(0.0, 1 - 20 / max(1, len(values)))
    mean, result = 0.0, []
    for n, value in enumerate(values, start=1):
        mean = weight * mean + (1 - weight) * value
        result.append(mean / (1 - weight**n))
    return result
