"""What `gpu_check` has measured, as rows of a CSV file: each is on the disk at once, and none is lost by what follows.

    part            check (also of what is trained), train, micro, bench or tests; "run" for a row that says what the
                    others with its `run` came from: its note is JSON with gpu, driver, cuda, cudnn, torch, cupy, numba,
                    numpy, python, clocks, commit; "plan": how many checks there are to be of a shape
    kernel_name     what was computed: lstm, recurrence, gates, copy, product, launch, or the name of a check
    provider        who did: a kernel of ours ("cupy", "cupy-v1": a version of its ladder; "cupy-wave4": layers side by
                    side, in 4 pieces), torch, cudnn-standard, ...; "-graph": replayed from a CUDA graph
    precision       float32 (no TF32), tf32, float16, bfloat16 or float64
    mode            inference (nothing kept), full (forward and backward); forward, backward
    shape           JSON: T, B, H, layers; or what the kernel has instead
    metric          milliseconds (of the device, with a full queue), "milliseconds with the host" (one call after the
                    other, until all are done: whichever of the two is slower), GB/s, TFLOP/s, microseconds, tokens/s,
                    passed (tests); "off by" for a check: the largest error as a part of what is allowed
    y_50 y_20 y_80  median and percentiles of n samples; empty where there are none, and the note says why
    run, timestamp
"""

import contextlib
import csv
import io
import json
import os
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

COLUMNS = (
    "part", "kernel_name", "provider", "precision", "mode", "shape", "metric", "y_50", "y_20", "y_80", "n", "note",
    "run", "timestamp",
)  # fmt: skip
# How the note begins of a contender that took its process with it, of one that said that this is not for him, and of
# tests that passed as far as their time went
CRASHED, REFUSED, UNFINISHED = "its process", "refused: ", "unfinished: "


def file_name(gpu) -> str:
    """"NVIDIA H200" -> "nvidia-h200.csv" """
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") + ".csv"


def row(part, kernel_name, provider, *, precision="", mode="", shape=None, metric="", values=(), note="") -> dict:
    """A row of some samples; without samples the note says why there are none."""
    y = [f"{p:.6g}" for p in np.percentile(values, (50, 20, 80))] if len(values) else ["", "", ""]
    return {
        "part": part, "kernel_name": kernel_name, "provider": provider, "precision": precision, "mode": mode,
        "shape": json.dumps(shape or {}), "metric": metric, "y_50": y[0], "y_20": y[1], "y_80": y[2],
        "n": str(len(values)), "note": " ".join(str(note).split())[:2000],
    }  # fmt: skip


def read(path) -> list[dict]:
    """The whole rows of a file; one that was cut off while it was written is left out."""
    if not Path(path).is_file():
        return []
    return list(csv.DictReader(Path(path).read_bytes()[: _whole(path)].decode("utf-8").splitlines()))


def _whole(path):
    """So many bytes of a file are whole lines."""
    return Path(path).read_bytes().rfind(b"\n") + 1


def failed(found) -> bool:
    """Does a row say that something is not right? A kernel that refuses a size, as it may, is not wrong."""
    note = found["note"]
    return found["part"] in ("check", "train", "tests") and note != "" and not note.startswith((REFUSED, UNFINISHED))


def plan(journal, kernel_name, shapes, n):
    """A row for each shape that n checks are planned of it, before the first of them."""
    about = {"kernel_name": kernel_name, "precision": "", "mode": "check"}
    journal.write([row("plan", provider="checks", metric="checks", values=[n], shape=shape, **about)
                   for shape in shapes if not journal.measured(shape=shape, provider="checks", **about)])  # fmt: skip


def planned(rows) -> tuple[int, int]:
    """How many checks were planned, and how many of them have come to nothing: no result, and no reason."""
    left = {(found["kernel_name"], found["shape"]): int(found["y_50"]) for found in rows if found["part"] == "plan"}
    there_are = sum(left.values())
    done = {(found["kernel_name"], found["shape"], found["provider"], found["precision"])
            for found in rows if found["part"] == "check"}  # fmt: skip
    for kernel_name, shape, *_ in done:
        if (kernel_name, shape) in left:
            left[kernel_name, shape] -= 1
    return there_are, sum(max(0, n) for n in left.values())


def end_group(process):
    """End a process that was started with a session of its own, and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Journal:
    """A file of rows that is only ever added to, and a note beside it of what is going on: `doing`.

    Whoever watches the process knows by the note's age whether it hangs, and by its text what has killed it.
    """

    def __init__(self, path, run=""):
        self.path, self.run, self.rows = Path(path), run, []
        self._measured, self._left_out = set(), {}
        if self.path.exists():
            os.truncate(self.path, _whole(path))
        self._remember(read(path))
        self.doing_path = self.path.with_suffix(".doing.json")

    def write(self, rows):
        """Add rows. When this returns, they are on the disk."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [{**found, "run": self.run, "timestamp": now} for found in rows]
        new = not self.path.exists() or self.path.stat().st_size == 0
        with open(self.path, "ab") as f:
            f.write(_lines(rows, new).encode("utf-8"))
            f.flush()
            os.fsync(f.fileno())
        self._remember(rows)

    def _remember(self, rows):
        self.rows += rows
        for found in rows:
            what = tuple(found[name] for name in ("kernel_name", "precision", "mode", "shape"))
            if found["y_50"]:
                self._measured |= {(None, *what), (found["provider"], *what)}
            elif found["note"]:
                self._left_out.setdefault(found["provider"], []).append((what, found["note"]))

    @contextlib.contextmanager
    def doing(self, **about):
        """Within, the note says so; it stays only where the process ends within."""
        self.beat(**about)
        yield
        self.doing_path.unlink(missing_ok=True)

    def beat(self, **about):
        """Still alive, and at this."""
        fresh = self.doing_path.with_suffix(".new")
        fresh.write_text(json.dumps({**about, "at": time.time()}), encoding="utf-8")
        fresh.replace(self.doing_path)

    def was_doing(self) -> dict | None:
        try:
            return json.loads(self.doing_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def measured(self, kernel_name, precision, mode, shape, provider=None) -> bool:
        """By this provider, or by anybody?"""
        return (provider, kernel_name, precision, mode, json.dumps(shape)) in self._measured

    def refusal(self, provider, kernel_name, precision, mode, shape) -> str | None:
        """Why somebody was left out of this before; and who has ended two processes is left out of everything."""
        mine = self._left_out.get(provider, [])
        crashes = [note for _, note in mine if note.startswith(CRASHED)]
        if len(crashes) > 1:
            return f"left out after {len(crashes)} crashes: {crashes[-1]}"
        wanted = (kernel_name, precision, mode, json.dumps(shape))
        return next((note for what, note in reversed(mine) if what == wanted), None)


def _lines(rows, header):
    made = io.StringIO()
    table = csv.DictWriter(made, COLUMNS, lineterminator="\n")
    if header:
        table.writeheader()
    table.writerows(rows)
    return made.getvalue()
