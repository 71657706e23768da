"""What a run shows at its end: the error beside the baseline's, a confusion matrix, some predictions."""

import json
import shlex
from pathlib import Path

from .progress import duration


def print_report(console, metrics, out, n_examples=5, without=None):
    """console: a rich.console.Console; metrics: what run_experiment returns; out: the run directory; without: the
    metrics of the same run from random weights, for comparison."""
    from rich.table import Table

    stages = Table(title="Stages")
    for column in ("stage", "steps", "tokens", "tokens/s", "time", "result on validation"):
        stages.add_column(column, justify="left" if column == "stage" else "right")
    for name, s in metrics["stages"].items():
        if s is not None:
            speed, time = f"{s['tokens_per_second']:,.0f}", duration(s["seconds"])
            stages.add_row(name, f"{s['steps']:,}", f"{s['tokens']:,}", speed, time, _validation(s))
    console.print(stages)
    if "test_error" in metrics:
        console.print(errors_table(metrics, without))
        console.print(confusion_table(metrics["classes"], metrics["confusion"]))
        console.print(_examples(out, n_examples))
    for note in metrics.get("notes", ()):
        console.print(f"Note: {note}.", style="dim", highlight=False, markup=False)
    console.print(f"\nThe run is saved in {out} ({duration(metrics['seconds'])}).", highlight=False, markup=False)
    if "test_error" in metrics:
        line = f'Ask it: ulmfit predict "Who invented the telephone?" --model {shlex.quote(str(out))}'
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def errors_table(metrics, without=None):
    """The test error with its interval, of each direction alone where there are two, from random weights where that
    was tried, and the linear baseline's on the same split."""
    from rich.table import Table

    table = Table(title=f"Test error on {metrics['n_test']:,} texts")
    table.add_column("model")
    table.add_column("error %", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, m in {"ULMFiT": metrics, "the same without the shipped language model": without}.items():
        if m is not None:
            low, high = m["test_error_ci95"]
            table.add_row(name, f"{m['test_error']:.1f}", f"{low:.1f} to {high:.1f}")
    alone = metrics.get("test_error_by_direction", {})
    for direction, error in alone.items():
        if len(alone) > 1:
            table.add_row(f"  its {direction} classifier alone", f"{error:.1f}", "")
    baseline = metrics["baseline_error"]
    shown = "needs scikit-learn" if baseline is None else f"{baseline:.1f}"
    table.add_row("TF-IDF + linear SVM", shown, "")
    return table


def confusion_table(classes, matrix):
    """Rows are the true classes, columns the predicted ones. With many classes only the largest mistakes."""
    from rich.markup import escape
    from rich.table import Table

    classes = [escape(name) for name in classes]
    if len(classes) > 12:
        table = Table("true class", "taken for", "times", title="Most frequent mistakes")
        pairs = [(matrix[t][p], t, p) for t in range(len(classes)) for p in range(len(classes)) if t != p]
        for n, t, p in sorted(pairs, reverse=True)[:10]:
            if n:
                table.add_row(classes[t], classes[p], str(n))
        return table
    table = Table(title="Confusion matrix: row = true class, column = predicted")
    table.add_column("")
    for name in classes:
        table.add_column(name, justify="right")
    for n, name in enumerate(classes):
        table.add_row(name, *(f"[bold]{v}[/bold]" if m == n else str(v or "") for m, v in enumerate(matrix[n])))
    return table


def _examples(out, n):
    """Some predictions, evenly spread over the test set."""
    from rich.table import Table
    from rich.text import Text

    lines = (Path(out) / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:: max(1, len(lines) // n)][:n]]
    table = Table("text", "true", "predicted", "probability", title="Some predictions")
    for row in rows:
        probability = f"{row['probabilities'][row['predicted']]:.3f}"
        table.add_row(Text(row["text"][:200]), Text(row["label"]), Text(row["predicted"]), probability)
    return table


def _validation(stage):
    if stage.get("perplexity") is not None:
        return f"perplexity {stage['perplexity']:.1f}"
    if stage.get("validation_error") is not None:
        return f"error {stage['validation_error']:.1f} %"
    return "-"
