"""The rows of gpu_results.py as numbers that can be compared: who was how fast, and who of a kind was the fastest."""

import csv
import json
import statistics
from typing import NamedTuple

from gpu_cells import NEAR_FLOAT32
from gpu_results import COLUMNS, failed, read
from tables import RESULTS

DEFAULT = "torch"  # cuDNN as PyTorch chooses


class Key(NamedTuple):
    """What was measured."""

    precision: str
    mode: str
    shape: tuple  # of pairs

    def __getitem__(self, name):
        return dict(self.shape)[name] if isinstance(name, str) else tuple.__getitem__(self, name)


def files() -> dict:
    """{file name: rows} of every GPU in benchmarks/results"""
    found = {}
    for path in sorted(RESULTS.glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as f:
            if tuple(next(csv.reader(f), ())) == COLUMNS:
                found[path.name] = read(path)
    return found


def measured(rows, kernel_name, metric="milliseconds") -> dict:
    """{Key: {provider: row}}; of several measurements the last"""
    found = {}
    for row in rows:
        if row["y_50"] and (row["kernel_name"], row["metric"]) == (kernel_name, metric):
            key = Key(row["precision"], row["mode"], tuple(json.loads(row["shape"]).items()))
            found.setdefault(key, {})[row["provider"]] = row
    return found


def medians(rows, kernel_name, metric="milliseconds") -> dict:
    """{Key: {provider: median}}"""
    return {key: {provider: float(row["y_50"]) for provider, row in of.items()}
            for key, of in measured(rows, kernel_name, metric).items()}  # fmt: skip


def is_rival(provider) -> bool:
    return provider.partition("-")[0] in ("torch", "cudnn")


def fastest(times, rivals) -> tuple[str, float] | None:
    """-> the fastest of our kernels, or of the rivals, and its time; None where none was measured. Who is less exact
    than the others does not count."""
    exact = {provider: ms for provider, ms in times.items() if not provider.endswith(NEAR_FLOAT32)}
    mine = {provider: ms for provider, ms in exact.items() if is_rival(provider) == rivals}
    return min(mine.items(), key=lambda item: item[1]) if mine else None


def ratio(times) -> float | None:
    """Our best time, as a part of cuDNN's best; None where one of them was not measured."""
    ours, theirs = fastest(times, rivals=False), fastest(times, rivals=True)
    return ours[1] / theirs[1] if ours and theirs else None


def ratios(rows) -> dict:
    """{Key: ratio} of whole LSTMs"""
    found = {key: ratio(times) for key, times in medians(rows, "lstm").items()}
    return {key: value for key, value in found.items() if value is not None}


def geometric_mean(values) -> float | None:
    values = list(values)
    return statistics.geometric_mean(values) if values else None


def runs(rows) -> list[dict]:
    """What the measurements came from."""
    return [json.loads(row["note"]) for row in rows if row["part"] == "run"]


def remarks(rows) -> list[dict]:
    """Rows of whoever was left out of something, or refused."""
    return [row for row in rows if row["part"] != "run" and row["note"] and not failed(row)]
