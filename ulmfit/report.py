"""What a run shows at its end: the error beside the baseline's, a confusion matrix, some predictions."""

import json
import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from .errors import InputError
from .plots import CURVES, NO_MATPLOTLIB
from .printable import printable
from .progress import NO_VALIDATION_TEXT, counted, duration


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
    if len(metrics.get("directions", ())) > 1:
        console.print("Both directions: steps, tokens and times are their sums, results their means.")
    if "test_error" in metrics:
        console.print(errors_table(metrics, without))
        console.print(confusion_table(metrics["classes"], metrics["confusion"]))
        answers = _answers(out)
        console.print(_examples(answers, n_examples))
        console.print(f"Macro F1 of ULMFiT: {metrics['macro_f1']:.1f} %.", highlight=False)
    notes = list(metrics.get("notes", ()))
    if not (Path(out) / CURVES).is_file():
        notes.append(f"there is no {CURVES}: {NO_MATPLOTLIB}")
    for note in notes:
        console.print(f"Note: {printable(note)}.", style="dim", highlight=False, markup=False)
    console.print(f"\nThe run is saved in {out} ({duration(metrics['seconds'])}).", highlight=False, markup=False)
    if "test_error" in metrics:
        line = f"Ask it: {program()} predict {_own_text(answers)} --model {shlex.quote(str(out))}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def program() -> str:
    """What to type for `ulmfit`: its name where the shell finds this installation by it, else its path."""
    scripts = Path(sys.argv[0]), Path(sysconfig.get_path("scripts"), "ulmfit")
    script = next((s for s in scripts if s.name == "ulmfit" and s.is_file()), None)
    if script is None:
        return f"{shlex.quote(sys.executable)} -m ulmfit"
    found = shutil.which("ulmfit")
    if found and os.path.samefile(found, script):
        return "ulmfit"
    ways = (str(script.absolute()), os.path.relpath(script))
    return shlex.quote(min((way for way in ways if os.sep in way), key=len))


def _answers(out):
    """What the run has said of its test texts, [(text, true class, predicted class, probability)]. Raises InputError
    where the file is damaged."""
    path = Path(out) / "predictions.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        answers = [(r["text"], r["label"], r["predicted"], r["probabilities"][r["predicted"]]) for r in rows]
        if not answers:
            raise ValueError("it is empty")
        return answers
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise InputError(f"{path}: damaged ({type(e).__name__}: {e}); `ulmfit evaluate` asks the model once more, and "
                         "without metrics.json --resume does the whole run anew") from e  # fmt: skip


def _own_text(answers, width=60):
    """The first short text of the run's test set, quoted for the shell; "your text" where there is none."""
    texts = (" ".join(answer[0].split()) for answer in answers)
    short = (t for t in texts if len(t) <= width and t.isprintable() and not t.startswith("-"))
    return next(map(shlex.quote, short), '"your text"')


def errors_table(metrics, without=None):
    """The test error with its interval, of each direction alone where there are two, from random weights where that
    was tried, and the linear baseline's on the same test texts."""
    from rich.table import Table

    table = Table(title=f"Test error on {counted(metrics['n_test'], 'text')}")
    table.add_column("model")
    table.add_column("error %", justify="right")
    table.add_column("95 % interval", justify="right")

    def add(name, m):
        low, high = m["test_error_ci95"]
        table.add_row(name, f"{m['test_error']:.1f}", f"{low:.1f} to {high:.1f}")

    add("ULMFiT", metrics)
    alone = metrics.get("test_error_by_direction", {})
    for direction, error in alone.items():
        if len(alone) > 1:
            table.add_row(f"  its {direction} classifier alone", f"{error:.1f}", "")
    if without is not None:
        add("the same without the shipped language model", without)
    baseline = metrics["baseline_error"]
    shown = "needs scikit-learn" if baseline is None else f"{baseline:.1f}"
    table.add_row("TF-IDF + linear SVM", shown, "")
    return table


def confusion_table(classes, matrix):
    """Rows are the true classes, columns the predicted ones. With many classes only the largest mistakes."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    classes = [escape(printable(name)) for name in classes]
    if len(classes) > 12:
        table = Table("true class", "taken for", "times", title="Most frequent mistakes")
        pairs = [(matrix[t][p], t, p) for t in range(len(classes)) for p in range(len(classes)) if t != p]
        for n, t, p in sorted(pairs, reverse=True)[:10]:
            if n:
                table.add_row(classes[t], classes[p], str(n))
        return table
    table = Table(title="Confusion matrix")
    table.add_column("")
    for name in classes:
        table.add_column(name, justify="right")
    for n, name in enumerate(classes):
        cells = [str(v or "·") for v in matrix[n]]
        cells[n] = f"[bold]{cells[n]}[/bold]"
        table.add_row(name, *cells)
    return Group(table, "Rows are the true classes, columns the predicted ones.")


def _examples(answers, n):
    """Some predictions, evenly spread over the test set."""
    from rich.table import Table
    from rich.text import Text

    table = Table("text", "true", "predicted", "probability", title="Some predictions")
    for text, label, predicted, probability in answers[:: max(1, len(answers) // n)][:n]:
        shown = (Text(printable(cell)) for cell in (text[:200], label, predicted))
        table.add_row(*shown, f"{probability:.3f}")
    return table


def _validation(stage):
    """Perplexities of different vocabularies do not compare, so its size stands beside each."""
    if "validation_error" in stage:
        return f"error {stage['validation_error']:.1f} %"
    if stage["perplexity"] is None:
        return NO_VALIDATION_TEXT
    return f"perplexity {stage['perplexity']:.1f}\n(vocabulary {stage['vocab_size']:,.0f})"
