"""The predictions of gpu_model.py, written down before anybody has measured, and then held against what was measured.

    python benchmarks/gpu_predictions.py        writes benchmarks/results/gpu_predictions.csv

A row for each cell and design: microseconds of a step of the recurrence, `inference` the forward alone and `full` both
directions, empty where there is no room for the weights; of the commit whose kernels they are about. The rates that
they come from are rows, too, whose design is "rate". A prediction that is there is not changed, only new ones are
added: it is the ratio of the two that says which term of the model is wrong.
"""

import csv
import statistics
import sys
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_cells import MODES
from gpu_model import BATCHES, DESIGNS, HIDDEN, PRECISIONS, Gpu
from gpu_rows import files, medians, runs
from speed_tables import digits, table
from tables import NOT_YET, RESULTS, results, short

FILE = "gpu_predictions.csv"
COLUMNS = ("design", "precision", "B", "H", "mode", "microseconds", "commit", "date")
RATE = "rate"
KERNELS = [design for design in DESIGNS if design != "floor"]
PREDICTED_AS = {"float16": "bfloat16"}    # the same rates


def microseconds(gpu, design, precision, B, H, mode):
    """-> of a step, or None"""
    directions = ("forward", "backward") if mode == "full" else ("forward",)
    times = [DESIGNS[design](gpu, direction, B, H, precision) for direction in directions]
    return None if None in times else sum(times)


def predicted(gpu):
    """-> rows, without where they come from"""
    rows = [dict(zip(COLUMNS, (RATE, name, "", "", "", value), strict=False)) for name, value in gpu._asdict().items()]
    for cell in product(DESIGNS, PRECISIONS, BATCHES, HIDDEN, MODES):
        time = microseconds(gpu, *cell)
        rows.append(dict(zip(COLUMNS, (*cell, "" if time is None else round(time, 3)), strict=False)))
    return rows


def write():
    from ulmfit.provenance import commit

    about = {"commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    before = results(FILE)
    known = {what(row) for row in before}
    new = [row | about for row in predicted(Gpu()) if what(row) not in known]
    with open(RESULTS / FILE, "w", encoding="utf-8", newline="") as f:
        out = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        out.writeheader()
        out.writerows(before + new)


def what(row):
    """A row is about."""
    return tuple(str(row.get(name, "")) for name in COLUMNS[:5])


# --- the table --------------------------------------------------------------------------------------------------------


def times(rows):
    """{(design, precision, B, H, mode): microseconds}"""
    return {(row["design"], row["precision"], int(row["B"]), int(row["H"]), row["mode"]): float(row["microseconds"])
            for row in rows if row["design"] != RATE and row["microseconds"]}  # fmt: skip


def predictions_table() -> str:
    """For each cell the design that is expected to be the fastest, and its time."""
    rows = results(FILE)
    if not rows:
        return NOT_YET
    expected, lines = times(rows), []
    for precision, H in product(PRECISIONS, sorted(HIDDEN)):
        cells = [best(expected, precision, B, H) for B in sorted(BATCHES)]
        lines.append([precision, str(H), *cells])
    heads = ["precision", "H", *(f"B = {B}" for B in sorted(BATCHES))]
    made = dict.fromkeys(f"{row['date']}, commit {short(row['commit'])}" for row in rows)
    rates = ", ".join(f"{row['precision']} {float(row['microseconds']):g}" for row in rows if row["design"] == RATE)
    note = ("Predicted, not measured: microseconds a step, forward / with backward, of the design that is expected to "
            "be the fastest, and in brackets what the multiply-adds alone would take. Rates, assumptions about an "
            f"H100: {rates}; {', '.join(made)}.")  # fmt: skip
    return "\n".join([*table(heads, lines), "", note, *(held(expected, of) for of in files().values())])


def best(expected, precision, B, H):
    full = {design: expected[key] for design in KERNELS if (key := (design, precision, B, H, "full")) in expected}
    if not full:
        return "-"
    design = min(full, key=full.get)
    pair = (" / ".join(digits(expected[who, precision, B, H, mode]) for mode in ("inference", "full"))
            for who in (design, "floor"))  # fmt: skip
    ours, floor = pair
    return f"{design} {ours} ({floor})"


def ratios(expected, rows):
    """{design: [measured / predicted, a number for each cell]}"""
    found = {}
    for key, of in medians(rows, "recurrence").items():
        precision = PREDICTED_AS.get(key.precision, key.precision)
        for design in KERNELS:
            cell = design, precision, key["B"], key["H"], key.mode
            if design in of and cell in expected:
                found.setdefault(design, []).append(1e3 * of[design] / key["T"] / expected[cell])
    return found


def held(expected, rows) -> str:
    """The predictions beside what one GPU has measured."""
    lines = [[design, f"{statistics.geometric_mean(of):.2f}", f"{min(of):.2f} to {max(of):.2f}", str(len(of))]
             for design, of in ratios(expected, rows).items()]  # fmt: skip
    name = runs(rows)[0]["gpu"] if runs(rows) else "a GPU"
    heads = ["design", f"measured / predicted, {name}", "from, to", "cells"]
    return "\n".join(["", *table(heads, lines), "", floors_table(rows)])


def floors_table(rows, gpu=None) -> str:
    """Every cell that was measured: a step of our fastest, and what its multiply-adds alone would take."""
    gpu, lines = gpu or Gpu(), []
    for key, of in sorted(medians(rows, "recurrence").items(), key=lambda item: item[0]):
        precision = PREDICTED_AS.get(key.precision, key.precision)
        if precision in PRECISIONS:
            floor = microseconds(gpu, "floor", precision, key["B"], key["H"], key.mode)
            name, ms = min(of.items(), key=lambda item: item[1])
            step = 1e3 * ms / key["T"]
            sizes = f"{key['B']}, {key['H']}"
            lines.append([key.precision, key.mode, sizes, name, digits(step), digits(floor), digits(step / floor)])
    return "\n".join(table(["precision", "mode", "B, H", "fastest", "us a step", "floor, us", "ratio"], lines))


TABLES = {"kernels/README.md": {"gpu_predictions": predictions_table}}

if __name__ == "__main__":
    write()
