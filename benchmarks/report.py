"""benchmarks/results/*.csv -> the tables of the READMEs, between their markers, the plots, and the table by which
kernel="auto" chooses on a GPU. Nothing there is typed by hand.

    python benchmarks/report.py            rewrite the READMEs here, above and in kernels, kernels/gpu_times.csv, and
                                           benchmarks/results/plots
    python benchmarks/report.py --check    only say whether they are up to date (exit code 1 if they are not)
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

import gpu_plots
import gpu_predictions
import gpu_tables
import gpu_times
import speed_plots
import speed_tables
import tables
import torture_tables

ROOT = Path(__file__).parents[1]
SOURCES = [m.TABLES for m in (tables, speed_tables, gpu_tables, gpu_predictions, torture_tables)]
TABLES = {
    file: {name: table for source in SOURCES for name, table in source.get(file, {}).items()}
    for file in ("README.md", "benchmarks/README.md", "kernels/README.md")
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


FILES = {file: partial(fill, file) for file in TABLES} | {gpu_times.FILE: gpu_times.text}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    for file, make in FILES.items():
        text = make()
        if not check:
            (ROOT / file).write_text(text, encoding="utf-8")
        elif text != (ROOT / file).read_text(encoding="utf-8"):
            sys.exit(f"{file} is behind benchmarks/results: run python benchmarks/report.py")
    if not check:
        speed_plots.draw()
        gpu_plots.draw()


if __name__ == "__main__":
    main()
