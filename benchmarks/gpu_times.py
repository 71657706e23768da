"""kernels/gpu_times.csv, by which kernel="auto" chooses (kernels/gpu_choice.py): a line for each kernel and size whose
loop over time was measured. Versions of a ladder that are not the default are left out, since "auto" cannot take them,
and so is a kernel whose check failed in that precision."""

import csv
import io
import json
from importlib import import_module

from gpu_results import failed
from gpu_rows import files, measured, runs

from minilstm.twins import registry

FILE = "kernels/gpu_times.csv"


def text() -> str:
    """The whole file; its header alone where no GPU has measured anything."""
    package, _ = registry()
    made = io.StringIO()
    out = csv.writer(made, lineterminator="\n")
    out.writerow(import_module(f"{package.__name__}.gpu_choice").COLUMNS)
    for rows in files().values():
        out.writerows(lines(rows, [k.name for k in package.IMPLEMENTATIONS if k.device == "cuda"]))
    return made.getvalue()


def lines(rows, kernels):
    """-> the lines of one GPU, in order"""
    commits = {row["run"]: json.loads(row["note"])["commit"] for row in rows if row["part"] == "run"}
    wrong = {(row["provider"], row["precision"]) for row in filter(failed, rows)}
    gpus = [run["gpu"] for run in runs(rows)][:1]
    return sorted(
        (gpu, kernel, key.precision, key.mode, key["B"], key["H"], f"{1e3 * float(row['y_50']) / key['T']:.4g}",
         commits[row["run"]])
        for gpu in gpus for key, of in measured(rows, "recurrence").items() for kernel, row in of.items()
        if kernel in kernels and (kernel, key.precision) not in wrong
    )  # fmt: skip
