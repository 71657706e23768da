"""benchmarks/results/*.csv -> the tables of the README, between their markers. Nothing there is typed by hand.

    python benchmarks/report.py            rewrite README.md
    python benchmarks/report.py --check    only say whether it is up to date (exit code 1 if it is not)
"""

import argparse
import re
import statistics
import sys
from pathlib import Path

from collect_runs import read_rows

README = Path(__file__).parents[1] / "README.md"


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
    return f"{statistics.mean(numbers(rows, name)) / 60:.0f} min"


def runs_table(dataset) -> str:
    """All seeds of a data set: each one, and their mean."""
    rows = [row for row in read_rows() if row["dataset"] == dataset]
    if not rows:
        return "Not measured yet."
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
        f"{int(first['n_train']):,} training and {int(first['n_test'])} test texts; {mean(rows, 'pretrain_words', 0)} "
        f"words of pre-training ({minutes(rows, 'pretrain_seconds')}), direction {first['direction']}; "
        f"Python {first['python']}, NumPy {first['numpy']}, Numba {first['numba']}, {first['processor']}; "
        f"commit {first['commit'][:10]}."
    )
    return "\n".join(lines)


TABLES = {"trec6": lambda: runs_table("trec6"), "questions": lambda: runs_table("questions")}


def fill(text) -> str:
    """The README with every marked table made anew."""
    for name, table in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not marked.search(text):
            raise SystemExit(f"README.md: no markers <!-- {name} --> and <!-- /{name} --> to put the table between")
        text = marked.sub(lambda m, table=table: m.group(1) + table() + "\n" + m.group(2), text)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    old = README.read_text(encoding="utf-8")
    new = fill(old)
    if check:
        sys.exit(0 if new == old else "README.md is behind benchmarks/results: run python benchmarks/report.py")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
