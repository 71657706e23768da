"""benchmarks/results/*.csv -> the tables of the READMEs, between their markers. Nothing there is typed by hand.

    python benchmarks/report.py            rewrite README.md and kernels/README.md
    python benchmarks/report.py --check    only say whether they are up to date (exit code 1 if they are not)
"""

import argparse
import csv
import re
import statistics
import sys
from pathlib import Path

from collect_runs import read_rows

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


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


def runs_table(dataset) -> str:
    """All seeds of a data set: each one, and their mean. Of several measurements (another commit, recipe or text)
    the last one in the file."""
    rows = [row for row in read_rows() if row["dataset"] == dataset]
    if not rows:
        return "Not measured yet."
    rows = [row for row in rows if all(row[k] == rows[-1][k] for k in ("commit", "direction", "pretrain_text"))]
    lines = [
        "| seed | test error % (95 % interval) | TF-IDF + linear SVM % | validation error % "
        "| perplexity: pre-trained, fine-tuned | time |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        one = [row]
        interval = f"{float(row['ci95_low']):.1f} to {float(row['ci95_high']):.1f}"
        perplexity = f"{mean(one, 'pretrain_perplexity')}, {mean(one, 'finetune_perplexity')}"
        lines.append(
            f"| {row['seed']} | {mean(one, 'test_error')} ({interval}) | {mean(one, 'baseline_error')} "
            f"| {mean(one, 'validation_error')} | {perplexity} | {minutes(one, 'seconds')} |"
        )
    perplexity = f"{mean(rows, 'pretrain_perplexity')}, {mean(rows, 'finetune_perplexity')}"
    if len(rows) > 1:
        lines.append(
            f"| **mean of {len(rows)}** | **{mean(rows, 'test_error', 2)}** | {mean(rows, 'baseline_error')} "
            f"| {mean(rows, 'validation_error')} | {perplexity} | {minutes(rows, 'seconds')} |"
        )
    first = rows[0]
    lines.append("")
    lines.append(
        f"{int(first['n_train']):,} training and {int(first['n_test'])} test texts, direction {first['direction']}; "
        f"{int(first['parameters']) / 1e6:.1f} million parameters; pre-trained on "
        f"{statistics.mean(numbers(rows, 'pretrain_tokens')) / 1e6:.1f} million tokens in "
        f"{minutes(rows, 'pretrain_seconds')}; "
        f"Python {first['python']}, NumPy {first['numpy']}, Numba {first['numba']}, {first['processor']}; "
        f"commit {first['commit'][:10]}."
    )
    return "\n".join(lines)


def recurrence_table() -> str:
    """Every CPU recurrence beside the reference, in milliseconds a call."""
    path = RESULTS / "recurrence.csv"
    if not path.is_file():
        return "Not measured yet."
    with open(path, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    names = list(dict.fromkeys(row["kernel"] for row in rows))
    shapes = list(dict.fromkeys((row["T"], row["B"], row["H"]) for row in rows))
    time = {(row["kernel"], row["mode"], (row["T"], row["B"], row["H"])): float(row["ms_p50"]) for row in rows}
    lines = ["| T, B, H | " + " | ".join(f"{name}: forward, with backward" for name in names) + " | ratio |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for shape in shapes:
        pairs = [(time[name, "forward", shape], time[name, "full", shape]) for name in names]
        cells = " | ".join(f"{forward:.3g}, {full:.3g}" for forward, full in pairs)
        ratio = ", ".join(f"{pairs[-1][n] / pairs[0][n]:.2f}" for n in (0, 1))
        lines.append(f"| {', '.join(shape)} | {cells} | {ratio} |")
    first = rows[0]
    lines += ["", f"Milliseconds a call, medians of calls in turns, {first['dtype']}; {first['processor']}; "
              f"NumPy {first['numpy']}, Numba {first['numba']}; commit {first['commit'][:10]}."]
    return "\n".join(lines)


TABLES = {
    "README.md": {"trec6": lambda: runs_table("trec6"), "questions": lambda: runs_table("questions")},
    "kernels/README.md": {"recurrence": recurrence_table},
}


def fill(file) -> str:
    """The text of a README with every marked table made anew."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for name, table in TABLES[file].items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not marked.search(text):
            raise SystemExit(f"{file}: no markers <!-- {name} --> and <!-- /{name} --> to put the table between")
        text = marked.sub(lambda m, table=table: m.group(1) + table() + "\n" + m.group(2), text)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    for file in TABLES:
        text = fill(file)
        if not check:
            (ROOT / file).write_text(text, encoding="utf-8")
        elif text != (ROOT / file).read_text(encoding="utf-8"):
            sys.exit(f"{file} is behind benchmarks/results: run python benchmarks/report.py")


if __name__ == "__main__":
    main()
