"""The run directory: what a run leaves behind, and what it needs to go on after it was stopped.

    config.yaml         all that determines the run; replays with `ulmfit run --config`
    log.jsonl           one object per training step
    metrics.json        the numbers at the end
    model.safetensors   with vocab.json: the model
    checkpoints/        while it runs: STAGE-STEP.safetensors, the newest two of each stage
    pretrain/ finetune/ the language models after these stages
"""

import contextlib
import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from minilstm import CheckpointError, load_arrays, save_arrays
from minilstm.params import assign

from .config_files import is_config, load_config, save_config
from .errors import InputError

CONFIG, LOG, METRICS, CHECKPOINTS = "config.yaml", "log.jsonl", "metrics.json", "checkpoints"
KEPT = 2  # checkpoints of a stage


def prepare(path, *, resume=False, overwrite=False) -> Path:
    """A folder to write a run into, made or checked before any work is done; the run that `overwrite` replaces is
    deleted.

    Raises InputError when it holds something and neither `resume` nor `overwrite` was asked for, when there is
    nothing to resume, when `overwrite` would delete what is not a run, and when it cannot be written.
    """
    path = check(path, resume=resume, overwrite=overwrite)
    if overwrite and not resume and path.exists():
        for old in path.iterdir():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    path.mkdir(parents=True, exist_ok=True)
    return path


def check(path, *, resume=False, overwrite=False) -> Path:
    """What `prepare` raises, with nothing made and nothing deleted."""
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
    if path.is_dir() and any(path.iterdir()) and not resume:
        if not overwrite:
            hint = "--resume continues it, --overwrite starts anew" if is_run else "name another --out"
            raise InputError(f"{path}: already exists and is not empty; {hint}")
        if not is_config(path / CONFIG):  # many a program has a config.yaml
            raise InputError(f"{path}: is not a run directory (no {CONFIG} of one), so --overwrite will not delete it")
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # it could not be made
                folder.rmdir()


class RunDirectory:
    """Log, checkpoints and metrics of one run. With several directions each has its own stage names."""

    def __init__(self, path):
        self.path = Path(path)

    def save_config(self, config):
        save_config(config, self.path / CONFIG)

    def load_config(self):
        return load_config(self.path / CONFIG)

    def save_metrics(self, metrics):
        unfinished = self.path / f".{METRICS}.tmp"
        text = json.dumps(_json_numbers(metrics), indent=2, allow_nan=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.replace(self.path / METRICS)

    def load_metrics(self):
        """The metrics of a finished run, or None."""
        path = self.path / METRICS
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError as e:
            raise InputError(f"{path}: damaged ({e}); delete it, and --resume makes it anew") from e

    # --- log.jsonl

    def log(self, stage, entry):
        """Append one step's StepLog."""
        row = {"stage": stage, **entry._asdict()}
        with open(self.path / LOG, "a", encoding="utf-8") as f:  # opened anew each time: a run may end anywhere
            f.write(json.dumps({k: round(v, 7) if isinstance(v, float) else v for k, v in row.items()}) + "\n")

    def forget_log(self, stage, from_step):
        """Drop what was logged of `stage` from this step on, since those steps are about to be done again."""
        path = self.path / LOG
        if not path.is_file():
            return
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [r for r in rows if not (r["stage"] == stage and r["step"] >= from_step)]
        unfinished = self.path / f".{LOG}.tmp"
        unfinished.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")
        os.replace(unfinished, path)

    # --- checkpoints

    def save_checkpoint(self, stage, step, params, optimizer, carry, totals):
        """What the next step (`step`) depends on, beside the configuration: parameters, moments and the carry. Masks
        and batches are functions of the step, so there is no random state to keep."""
        folder = self.path / CHECKPOINTS
        folder.mkdir(exist_ok=True)
        metadata = {"stage": stage, "step": str(step), "totals": json.dumps(totals)}
        save_arrays(folder / f"{stage}-{step:08d}.safetensors", _flatten(params, optimizer, carry), metadata)
        for old in self._checkpoints(stage)[KEPT:]:
            old.unlink()

    def load_checkpoint(self, stage, params, optimizer, carry_type):
        """Put the newest good checkpoint back in place -> step, carry, totals; (0, None, {}) if there is none.

        A damaged one is named in one warning and the one before it is used.
        """
        for path in self._checkpoints(stage):
            try:
                arrays, metadata = load_arrays(path)
                step, totals = int(metadata["step"]), json.loads(metadata["totals"])
            except (CheckpointError, KeyError, ValueError) as e:
                reason = e if isinstance(e, CheckpointError) else f"{path}: not a checkpoint of a run ({e!r})"
                print(f"warning: {reason}; using the checkpoint before it, if there is one", file=sys.stderr)
                continue
            try:
                assign(params, _under("params", arrays))
            except ValueError as e:
                raise InputError(f"{path}: {e}; was {CONFIG} changed? Undo that, or start anew with --overwrite") from e
            for moment in optimizer.state:
                optimizer.state[moment] = _under(f"optimizer.{moment}", arrays)
            carry = _unflatten_carry(_under("carry", arrays), carry_type)
            return step, carry, totals
        return 0, None, {}

    def _checkpoints(self, stage):
        """Newest first."""
        return sorted((self.path / CHECKPOINTS).glob(f"{stage}-????????.safetensors"), reverse=True)

    def close(self):
        """The run is done: drop the checkpoints, which nothing needs any more."""
        shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)


def _json_numbers(value):
    """NaN and infinity, which JSON does not know, as None: the perplexity of a model that has diverged."""
    if isinstance(value, dict):
        return {k: _json_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_json_numbers(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flatten(params, optimizer, carry):
    """Everything as one flat dictionary of arrays. The carry is a sequence of named tuples, or None."""
    arrays = {f"params.{name}": p for name, p in params.items()}
    for moment, values in optimizer.state.items():
        arrays |= {f"optimizer.{moment}.{name}": a for name, a in values.items()}
    for n, pair in enumerate(carry or ()):
        arrays |= {f"carry.{n}.{name}": a for name, a in pair._asdict().items()}
    return arrays


def _under(prefix, arrays):
    """The arrays whose names begin with `prefix.`, without it. Copies: they will be changed in place."""
    return {n[len(prefix) + 1 :]: np.array(a) for n, a in arrays.items() if n.startswith(prefix + ".")}


def _unflatten_carry(arrays, carry_type):
    n_pairs = len({name.split(".")[0] for name in arrays})
    pairs = [carry_type(*(arrays[f"{n}.{name}"] for name in carry_type._fields)) for n in range(n_pairs)]
    return pairs or None
