"""Measurements as rows of a CSV file: one a contender, mode and shape, with all that one has to know about it.

What was measured together, for one shape in one mode, is replaced together: a ratio is always of one run.
"""

import csv
import json
import os
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
from workers import environment

from ulmfit.provenance import commit, versions

RESULTS = Path(__file__).parent / "results"
WHAT = ("kernel_name", "mode", "metric", "shape", "extra_config_json", "device")  # equal in what is replaced together
COLUMNS = (
    "kernel_name", "provider", "mode", "metric", "shape", "y_50", "y_20", "y_80", "ratio_to_torch",
    "extra_config_json", "device", "versions", "blas", "load", "commit", "timestamp",
)  # fmt: skip
RIVAL = "torch"


def circumstances(threads, dtype="float32") -> dict:
    """The columns that are the same in all rows of a run; to be called before anything else runs."""
    with environment(threads):  # as the contenders have it
        found = versions()
    named = {"Python": found["python"], "NumPy": found["numpy"], "Numba": found["numba"], "torch": _version("torch")}
    return {
        "extra_config_json": json.dumps({"threads": threads, "dtype": dtype}),
        "device": found["processor"],
        "versions": ", ".join(f"{name} {version}" for name, version in named.items() if version),
        "blas": found["blas"],
        "load": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "",  # what else ran, in processes
        "commit": commit() or "",
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def rows_of(kernel_name, shape, metric, measured, about) -> list[dict]:
    """{(mode, provider): values} -> rows, each with its ratio to torch's median where torch was measured.

    Of milliseconds and MB less is better and of a rate more; the ratio is what the numbers are, value / torch's value.
    """
    rows = []
    for (mode, provider), values in measured.items():
        p20, p50, p80 = np.percentile(values, (20, 50, 80))
        rival = measured.get((mode, RIVAL))
        ratio = f"{p50 / np.median(rival):.4f}" if rival is not None else ""
        rows.append({
            "kernel_name": kernel_name, "provider": provider, "mode": mode, "metric": metric,
            "shape": json.dumps(shape), "y_50": f"{p50:.6g}", "y_20": f"{p20:.6g}", "y_80": f"{p80:.6g}",
            "ratio_to_torch": ratio, **about,
        })  # fmt: skip
    return rows


def milliseconds(seconds):
    return {key: [1e3 * s for s in values] for key, values in seconds.items()}


def replace_rows(old, new) -> list[dict]:
    """All of `new`, and what is in `old` about other things, which stay where they are."""

    def what(row):
        return tuple(row[column] for column in WHAT)

    measured = {what(row) for row in new}
    return [row for row in old if what(row) not in measured] + new


def read_rows(path) -> list[dict]:
    if not Path(path).is_file():
        return []
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def write_rows(path, new):
    """Put the rows into a file, in the place of those about the same."""
    rows = replace_rows(read_rows(path), new)
    with open(path, "w", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def record(rows, name, asked):
    """Show the rows of a problem and write them where the options say, so that none is lost by what comes later. A
    quick run, which measures nothing, leaves benchmarks/results alone."""
    show(rows)
    out = asked.out or (None if asked.quick else RESULTS / f"{name}.csv")
    if out is not None:
        write_rows(out, rows)


def show(rows):
    for row in rows:
        shape = ", ".join(map(str, json.loads(row["shape"]).values()))
        value, ratio = float(row["y_50"]), row["ratio_to_torch"]
        said = f"{shape:22} {row['mode']:10} {row['provider']:14} {value:10.4g} {row['metric']:12} {ratio:>10}"
        print(said, flush=True)
