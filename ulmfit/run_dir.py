"""The run directory: what a run leaves behind, and what it needs to go on after it was stopped.

    config.yaml         all that determines the run; replays with `ulmfit run --config`
    log.jsonl           one object per training step
    metrics.json        the numbers at the end
    model.safetensors   with vocab.json: the model
    checkpoints/        while it runs: see checkpoints.py
    pretrain/ finetune/ the language models after these stages
    forward/ backward/  where the run has both directions: in each a model, here and in the two folders above
"""

import contextlib
import json
import math
import os
import shutil
import sys
from pathlib import Path

from .checkpoints import Checkpoints
from .config_files import is_config, load_config, save_config
from .errors import InputError
from .locks import LOCK, refuse_if_locked
from .saving import errors_name, is_left_over, save_text, sweep

CONFIG, LOG, METRICS, CHECKPOINTS = "config.yaml", "log.jsonl", "metrics.json", "checkpoints"
PARTS = {
    CONFIG, LOG, METRICS, CHECKPOINTS, "model.safetensors", "vocab.json", "predictions.jsonl", "curves.png",
    "pretrain", "finetune", "forward", "backward", "without",
}  # fmt: skip
DELETED = {METRICS: 0, CONFIG: 2}  # in this order, others between: what is left is never taken for a run that is done


def prepare(path, *, resume=False, overwrite=False) -> Path:
    """A folder to write a run into, made or checked before any work is done; the run that `overwrite` replaces is
    deleted, and what a process that died has left half written. Nobody else may write there: see locks.py.

    Raises InputError when it holds something and neither `resume` nor `overwrite` was asked for, when there is
    nothing to resume, when `overwrite` would delete what is not a run, and when it cannot be written.
    """
    path = _checked(path, resume, overwrite)
    path.mkdir(parents=True, exist_ok=True)
    if overwrite and not resume:
        for run in path.glob(f"*/{LOCK}"):  # that of quickstart has another one inside
            refuse_if_locked(run.parent)
        for old in sorted(path.iterdir(), key=lambda p: DELETED.get(p.name, 1)):
            if old.name != LOCK:
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    sweep(path)
    return path


def check(path, *, resume=False, overwrite=False) -> Path:
    """What `prepare` raises, with nothing made and nothing deleted; and InputError where a run is just writing."""
    refuse_if_locked(Path(path))
    return _checked(path, resume, overwrite)


def _checked(path, resume, overwrite) -> Path:
    path = Path(path)
    try:
        _check(path, resume, overwrite)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror or e}); choose another --out") from e
    return path


def _check(path, resume, overwrite):
    is_run = (path / CONFIG).is_file()
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; name a folder for the run")
    if resume and not is_run:
        raise InputError(f"{path}: no run to resume there (no {CONFIG}); leave out --resume to start one")
    if path.is_dir() and any(not _is_nothing(p) for p in path.iterdir()) and not resume:
        if not overwrite:
            hint = "--resume continues it, --overwrite starts anew" if is_run else "name another --out"
            raise InputError(f"{path}: already exists and is not empty; {hint}")
        if not is_config(path / CONFIG):  # many a program has a config.yaml
            raise InputError(f"{path}: is not a run directory (no {CONFIG} of one), so it is not deleted; "
                             "name another --out")  # fmt: skip
        for other in sorted(path.iterdir()):
            if other.name not in PARTS and not _is_nothing(other):
                raise InputError(f"{other}: is no part of a run, and --overwrite deletes all there is; move it away, "
                                 "or name another --out")  # fmt: skip
    if not overwrite:  # which deletes them
        _refuse_links(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # it could not be made
                folder.rmdir()


def _refuse_links(run):
    """A run directory may be reached through a link, but what is in it must be there: who has sent it may have put a
    link to any file of ours in the place of one that we write."""
    for path in run.rglob("*") if run.is_dir() else ():
        if path.is_symlink():
            raise InputError(f"{path}: is a link, and a run writes nowhere but in its folder; replace it by its target")


def _is_nothing(path):
    """What a run that ended before it began may leave."""
    return path.name == LOCK or is_left_over(path)


class RunDirectory:
    """Log, checkpoints and metrics of one run. With several directions each has its own stage names."""

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoints = Checkpoints(self.path / CHECKPOINTS)
        self.held = lambda: None  # raises once the lock on it is lost: what locks.locked yields
        self.environment = {}  # what computes it now: device, versions and commit, as in metrics.json

    def save_config(self, config):
        save_config(config, self.path / CONFIG)

    def load_config(self):
        return load_config(self.path / CONFIG)

    def save_metrics(self, metrics):
        self.held()
        save_text(self.path / METRICS, json.dumps(_json_numbers(metrics), indent=2, allow_nan=False) + "\n")

    def load_metrics(self):
        """The metrics of a finished run, or None."""
        path = self.path / METRICS
        try:
            metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
            if metrics is not None and not (isinstance(metrics, dict) and "stages" in metrics):
                raise ValueError("no metrics of a run")
            return metrics
        except (ValueError, RecursionError) as e:
            raise InputError(f"{path}: damaged ({e}); delete it, and --resume makes it anew") from e

    # --- log.jsonl

    def log(self, stage, entry):
        """Append one step's StepLog."""
        self.held()  # before every line: what is added to a folder of another run is never noticed there
        row = _json_numbers({"stage": stage, **entry._asdict()})
        line = json.dumps({k: float(f"{v:.7g}") if isinstance(v, float) else v for k, v in row.items()}) + "\n"
        path = self.path / LOG
        with errors_name(path), open(path, "a", encoding="utf-8") as f:  # opened anew: a run may end anywhere
            f.write(line)

    def flush_log(self):
        """Onto the disk: a checkpoint must not know of steps that the log has lost."""
        self.held()
        path = self.path / LOG
        with errors_name(path), open(path, "ab") as f:
            os.fsync(f.fileno())

    def forget_log(self, stage, from_step):
        """Drop what was logged of `stage` from this step on, since those steps are about to be done again; and, with a
        warning, lines that are damaged. The last one may be cut off: a run may end anywhere."""
        self.held()
        path = self.path / LOG
        if not path.is_file():
            return
        rows = read_log(path)
        if n := rows[:-1].count(None):
            print(f"warning: {path}: {n} of {len(rows)} lines are damaged and left out", file=sys.stderr)
        kept = [r for r in rows if r is not None and not (r["stage"] == stage and r["step"] >= from_step)]
        save_text(path, "".join(json.dumps(r) + "\n" for r in kept))

    def close(self):
        """The run is done: drop the checkpoints, which nothing needs any more."""
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)
        sweep(self.path)


def read_log(path) -> list:
    """The lines of a log as dictionaries, None for those that are damaged."""
    return [_row(line) for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines()]


def _row(line):
    try:
        row = json.loads(line)
        is_row = isinstance(row["stage"], str) and isinstance(row["step"], int) and {"loss", "lr"} <= row.keys()
        return row if is_row else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _json_numbers(value):
    """NaN and infinity, which JSON does not know, as None: the perplexity of a model that has diverged."""
    if isinstance(value, dict):
        return {k: _json_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json_numbers(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
