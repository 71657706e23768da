"""The tables of the READMEs, each made of a file in benchmarks/results. report.py puts them in their places."""

import csv
import json
import statistics
from pathlib import Path

from collect_runs import read_rows

from ulmfit.metrics import wilson_interval

RESULTS = Path(__file__).parent / "results"
NOT_YET = "Not measured yet."


def results(name) -> list[dict]:
    """The rows of a file in benchmarks/results; [] where it is not there."""
    path = RESULTS / name
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def numbers(rows, name):
    return [float(row[name]) for row in rows if row[name]]


def mean(rows, name, digits=1):
    """Mean, with the standard deviation where there are several; "-" where nothing was measured."""
    values = numbers(rows, name)
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def minutes(rows, name):
    seconds = statistics.mean(numbers(rows, name))
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def short(commit):
    """The first letters of a commit, and whether the code was changed since."""
    name, dash, changed = commit.partition("-")
    return name[:10] + dash + changed


def chosen(dataset, experiment="", **wanted):
    """The rows of an experiment, of several measurements (other commits) the last in the file; [] if there are none."""
    wanted = {"dataset": dataset, "experiment": experiment, **wanted}
    rows = [row for row in read_rows() if all(row[k] == v for k, v in wanted.items())]
    return [row for row in rows if made_of(row) == made_of(rows[-1])]


def made_of(row):
    return row["commit"], row["n_train"], json.loads(row["config"])["recipe"]


def wilson(error, n):
    """The 95 % interval of an error in percent of n texts."""
    low, high = wilson_interval(error, n)
    return f"{low:.1f} to {high:.1f}"


def seeds_table() -> str:
    """Every seed of TREC-6 in both directions that started from the shipped models, and their mean."""
    rows = chosen("trec6", start="shipped", direction="both")
    if not rows:
        return NOT_YET
    columns = ("test_error", "forward_error", "backward_error")
    lines = [
        "| seed | both | forward | backward | TF-IDF + linear SVM | validation, mean of the two "
        "| perplexity after fine-tuning | training, forward; in all |",
        "|---" * 8 + "|",
    ]

    def line(name, some):
        errors = " | ".join(mean(some, c, 2 if len(some) > 1 else 1) for c in columns)
        rest = " | ".join(mean(some, c) for c in ("baseline_error", "validation_error", "finetune_perplexity"))
        return f"| {name} | {errors} | {rest} | {minutes(some, 'forward_seconds')}; {minutes(some, 'seconds')} |"

    lines += [line(row["seed"], [row]) for row in sorted(rows, key=lambda row: int(row["seed"]))]
    if len(rows) > 1:
        lines.append(line(f"**mean of {len(rows)}**", rows))
    return "\n".join([*lines, "", about(rows)])


def about(rows):
    """Where numbers come from, in one line."""
    first = rows[0]
    seconds = minutes(rows, "seconds")
    return (
        f"{int(first['n_train']):,} training and {int(first['n_test']):,} test texts, direction {first['direction']}; "
        f"{int(float(first['parameters'])) / 1e6:.1f} million parameters; {seconds} a run; Python {first['python']}, "
        f"NumPy {first['numpy']}, Numba {first['numba']}, {first['blas']}, {first['processor']}; "
        f"commit {short(first['commit'])}."
    )


def trec6_table() -> str:
    """This project's results and everybody else's on the same questions."""
    lines = ["| model | test error % | 95 % interval | how measured |", "|---|---|---|---|"]
    both = chosen("trec6", start="shipped", direction="both")
    if not both:
        return NOT_YET
    scratch = chosen("trec6", start="none", direction="forward")
    ours = [
        ("**ULMFiT here, both directions**", both, "test_error"),
        ("**ULMFiT here, forward**", both, "forward_error"),
        ("ULMFiT here, backward", both, "backward_error"),
        ("ULMFiT here, from random weights, forward", scratch, "test_error"),
        ("TF-IDF + linear SVM, here", both, "baseline_error"),
    ]
    table, n_test = [], int(both[0]["n_test"])
    for name, rows, column in ours:
        if rows:
            value = statistics.mean(numbers(rows, column))
            how = "here, deterministic" if column == "baseline_error" else f"here, {len(rows)} seeds"
            shown = f"{value:.1f}" if column == "baseline_error" else mean(rows, column, 2)
            table.append((value, f"| {name} | {shown} | {wilson(value, n_test)} | {how} |"))
    for row in results("trec6_rivals.csv"):
        value = float(row["test_error"])
        how = f"{row['how']}: {row['source']}"
        table.append((value, f"| {row['model']} | {value:.1f} | {wilson(value, n_test)} | {how} |"))
    return "\n".join(lines + [line for _, line in sorted(table)])


def choices_table() -> str:
    """The experiments behind the default recipe: error on the validation split, never on the test set."""
    rows = results("choices.csv")
    if not rows:
        return NOT_YET
    names = list(dict.fromkeys(row["variant"] for row in rows))
    of_default = {row["seed"]: float(row["validation_error"]) for row in rows if not row["changes"]}
    lines = ["| variant | what differs from the default | validation error % | to the default, same seeds | seeds |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name in names:
        some = [row for row in rows if row["variant"] == name]
        changes = f"`{some[0]['changes']}`" if some[0]["changes"] else "-"
        apart = [float(row["validation_error"]) - of_default[row["seed"]] for row in some]
        apart = f"{sum(apart) / len(apart):+.2f}" if some[0]["changes"] else "-"
        lines.append(f"| {name} | {changes} | {mean(some, 'validation_error', 2)} | {apart} | {len(some)} |")
    return "\n".join(lines)


def questions_table() -> str:
    """The quickstart with the shipped models and without, and the linear baseline."""
    with_model = chosen("questions", start="shipped")
    without = chosen("questions", start="none")
    if not with_model:
        return NOT_YET
    lines = ["| model | test error % | seeds | time |", "|---|---|---|---|"]
    ours = {"ULMFiT from the shipped language model": with_model, "the same from random weights": without}
    for name, rows in ours.items():
        if rows:
            lines.append(f"| {name} | {mean(rows, 'test_error')} | {len(rows)} | {minutes(rows, 'seconds')} |")
    lines.append(f"| TF-IDF + linear SVM | {mean(with_model[:1], 'baseline_error')} | - | |")
    return "\n".join([*lines, "", about(with_model)])


def imdb_table() -> str:
    rows = chosen("imdb", start="shipped")
    if not rows:
        return NOT_YET
    row = rows[-1]
    lines = ["| model | test error % | 95 % interval |", "|---|---|---|"]
    n = int(row["n_test"])
    for name, column in (("ULMFiT here", "test_error"), ("TF-IDF + linear SVM", "baseline_error")):
        lines.append(f"| {name} | {mean([row], column)} | {wilson(float(row[column]), n)} |")
    memory = f"Peak memory {float(row['peak_memory_mb']):,.0f} MB. "
    return "\n".join([*lines, "", memory + about([row])])


def install_table() -> str:
    """What an installation costs."""
    rows = results("install.csv")
    if not rows:
        return NOT_YET
    head = "| " + " | ".join(row["what"] for row in rows) + " |"
    values = "| " + " | ".join(f"{float(row['value']):.3g} {row['unit']}" for row in rows) + " |"
    first = rows[0]
    where = f"Python {first['python']}, NumPy {first['numpy']}, {first['processor']}; commit {short(first['commit'])}."
    warm = "Medians of fresh processes, warm: their files had been read before."
    return "\n".join([head, "|---" * len(rows) + "|", values, "", f"{warm} {where}"])


TABLES = {
    "README.md": {
        "trec6": trec6_table,
        "questions": questions_table,
        "imdb": imdb_table,
        "install": install_table,
    },
    "benchmarks/README.md": {"seeds": seeds_table, "choices": choices_table},
}
