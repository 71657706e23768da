"""What a torture measures, beside what was promised of it; and the file in which that is kept."""

import csv
import platform
import time
from math import inf
from typing import NamedTuple

COLUMNS = (
    "test", "number", "measured", "at_least", "at_most", "kept", "seconds", "seed", "date", "commit", "python",
    "numpy", "numba", "safetensors", "blas", "processor", "platform", "note",
)  # fmt: skip


class Number(NamedTuple):
    """So many of something, and between which bounds it was promised to be."""

    name: str
    measured: float
    at_least: float = -inf
    at_most: float = inf

    @property
    def kept(self) -> bool:
        return self.at_least <= self.measured <= self.at_most

    def __str__(self):
        promised = promise(self.at_least, self.at_most)
        broken = "" if self.kept else "  BROKEN"
        return f"{self.measured:,.10g} {self.name}{f' (promised: {promised})' if promised else ''}{broken}"


def promise(at_least, at_most) -> str:
    """Two bounds in words."""
    if at_most == 0:
        return "none"
    bounds = [("at least", at_least), ("at most", at_most)]
    return " and ".join(f"{word} {bound:,.10g}" for word, bound in bounds if abs(bound) < inf)


def none_of(name, measured) -> Number:
    """What must not happen at all."""
    return Number(name, measured, 0, 0)


def rows(test, numbers, seconds, seed, note="") -> list[dict]:
    """The numbers of one test as rows of the file, with where they come from."""
    from ulmfit.provenance import commit, versions

    found = versions() | {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "python": platform.python_version()}
    about = {name: found.get(name) for name in COLUMNS if name in found}
    return [
        about | {
            "test": test, "number": n.name, "measured": f"{n.measured:.10g}", "at_least": bound(n.at_least),
            "at_most": bound(n.at_most), "kept": n.kept, "seconds": round(seconds), "seed": seed, "note": note,
        }
        for n in numbers
    ]  # fmt: skip


def bound(value) -> str:
    return f"{value:.10g}" if abs(value) < inf else ""


def keep(path, new):
    """Put the rows of one test in the place of its earlier ones."""
    old = []
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as f:
            old = [row for row in csv.DictReader(f) if row["test"] != new[0]["test"]]
    with open(path, "w", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows([*old, *new])
