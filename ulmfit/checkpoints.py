"""Checkpoints: all that a stage of training needs to go on at a step as if nothing had happened.

    checkpoints/STAGE-STEP.safetensors      the newest two of each stage

A file has the parameters, the optimiser's moments and the carry as arrays, and as metadata what the stage has counted
and validated so far, and a fingerprint of what it learns from. Masks, batches and rates are functions of the step, so
there is no random state and no position to keep. Files are written and verified as minilstm.checkpoint says.
"""

import json
import sys
from pathlib import Path

import numpy as np

from minilstm import CheckpointError, load_arrays, save_arrays
from minilstm.params import assign

from .errors import InputError
from .printable import printable
from .provenance import fingerprint

KEPT = 2  # of a stage
ANEW = "or start anew with --overwrite"


def origin(task) -> str:
    """A fingerprint of what a stage learns from and how: its recipe, its seeds, and every text and label."""
    data = task.data()
    return fingerprint(repr(task.recipe), [task.batches.seed, task.masks.seed, *map(len, data)], *data)


class Checkpoints:
    def __init__(self, folder):
        self.folder = Path(folder)

    def save(self, stage, step, origin, params, optimizer, carry, totals):
        """What the next step (`step`) depends on. Of what was there before, the newest stays as well."""
        self.folder.mkdir(exist_ok=True)
        saved = self.folder / f"{stage}-{step:08d}.safetensors"
        metadata = {"stage": stage, "step": str(step), "origin": origin, "totals": json.dumps(totals)}
        save_arrays(saved, _flatten(params, optimizer, carry), metadata)
        paths = self._newest_first(stage)
        stale = [p for p in paths if p > saved]  # damaged: the steps up to there were done again
        for old in stale + [p for p in paths if p <= saved][KEPT:]:
            old.unlink()

    def load(self, stage, origin, params, optimizer, carry_type):
        """Put the newest good checkpoint back in place -> step, carry, totals; (0, None, {}) if there is none.

        Damaged ones are named in one warning and the one before them is used; a stage that has only one begins anew.
        Raises InputError where all that are kept are damaged, and for one of another origin.
        """
        path, arrays, metadata = self._newest_good(stage)
        if path is None:
            return 0, None, {}
        try:
            assign(params, _under("params", arrays))
        except ValueError as e:
            raise InputError(f"{path}: {e}; was config.yaml changed? Undo that, {ANEW}") from e
        if metadata["origin"] != origin:
            raise InputError(f"{path}: was made of other data, or with other constants, than {stage} has now; "
                             f"undo what was changed, {ANEW}")  # fmt: skip
        for moment in optimizer.state:
            optimizer.state[moment] = _under(f"optimizer.{moment}", arrays)
        carry = _unflatten_carry(_under("carry", arrays), carry_type)
        return metadata["step"], carry, metadata["totals"]

    def _newest_good(self, stage):
        """-> its path, arrays, and metadata as `_read` gives them; None, {}, {} where the stage has to begin anew"""
        damaged = []
        for path in self._newest_first(stage):
            try:
                found = path, *_read(path)
                break
            except CheckpointError as e:
                damaged.append(str(e))
            except OSError as e:
                damaged.append(f"{path}: {e.strerror or e}")
        else:
            found = None, {}, {}
            if len(damaged) >= KEPT:
                raise InputError(f"no good checkpoint of {stage} is left ({'; '.join(damaged)}): restore one of them, "
                                 f"or delete them and repeat the stage, {ANEW}")  # fmt: skip
        if damaged:
            instead = f"using {found[0].name}" if found[0] else f"{stage} begins anew, as there is none before it"
            print(f"warning: {printable('; '.join(damaged))}; {instead}", file=sys.stderr)
        return found

    def _newest_first(self, stage):
        return sorted(self.folder.glob(f"{stage}-????????.safetensors"), reverse=True)


def _read(path):
    """-> arrays, {"step": int, "totals": dict, "origin": text}. Raises CheckpointError and OSError."""
    arrays, metadata = load_arrays(path)
    try:
        step, totals = int(metadata["step"]), json.loads(metadata["totals"])
        found = {"step": step, "totals": {**totals}, "origin": metadata["origin"]}
        name = f"{metadata['stage']}-{step:08d}"
    except (KeyError, ValueError, TypeError, RecursionError) as e:
        raise CheckpointError(f"{path}: not a checkpoint of a run ({type(e).__name__}: {e})") from e
    if path.stem != name:
        raise CheckpointError(f"{path}: holds {name}: another file was put in its place")
    return arrays, found


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
