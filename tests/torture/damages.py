"""The newest checkpoint damaged in thousands of ways: is it noticed, and does training go on from the one before?

Of a language model and of a classifier in training three checkpoints are kept in mind. Then, again and again, two of
them are put into a folder, the newer one is damaged, and what a stage would go on from is compared with what was saved.
"""

import contextlib
import io
import shutil
import time
from collections import Counter

import numpy as np
from damage import DAMAGES
from problems import copies
from tiny import adam, classifier_task, first_carry, lm_task

from ulmfit.checkpoints import Checkpoints
from ulmfit.errors import InputError
from ulmfit.train import fit

from .promises import Number, none_of

STAGE, ORIGIN = "stage", "what it learns from"
OLDEST, BEFORE, NEWEST = STEPS = (2, 4, 6)
SHARE = 0.99  # of all damages, that training has to go on after


def path_of(folder, step):
    return folder / f"{STAGE}-{step:08d}.safetensors"


def an_older_one(path, rng):
    """A backup that somebody has put back, under the newest one's name."""
    shutil.copyfile(path.with_name(f"kept-{OLDEST}"), path)


def exchanged(path, rng):
    """For the one before. (The two for each other are no good one left.)"""
    shutil.copyfile(path_of(path.parent, BEFORE), path)


def a_folder(path, rng):
    path.unlink(), path.mkdir()


def a_link_to_nothing(path, rng):
    path.unlink(), path.symlink_to("nowhere")


MORE_DAMAGES = {f.__name__.replace("_", " "): f for f in (an_older_one, exchanged, a_folder, a_link_to_nothing)}


class Trained:
    """A task, and what it was at every step at which it was saved."""

    def __init__(self, make, folder):
        self.make, self.folder, self.states = make, folder, {}
        task = make()
        optimizer = adam(task)
        for log, carry in fit(task, optimizer, NEWEST, carry=first_carry(task)):
            if (done := log.step + 1) in STEPS:
                Checkpoints(folder).save(STAGE, done, ORIGIN, task.model.params, optimizer, carry, {"n": done})
                self.states[done] = everything(task, optimizer, carry)
                shutil.copyfile(path_of(folder, done), folder / f"kept-{done}")

    def put_back(self):
        for step in (BEFORE, NEWEST):
            path = path_of(self.folder, step)
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir():
                path.rmdir()
            shutil.copyfile(self.folder / f"kept-{step}", path)

    def go_on(self):
        """What a stage that begins here finds -> the step, whether everything is as it was then, what is said"""
        task = self.make(seed=50)
        optimizer = adam(task)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            found = Checkpoints(self.folder).load(STAGE, ORIGIN, task.model.params, optimizer, task.carry_type)
        step, carry, totals = found
        state = everything(task, optimizer, carry)
        same = step in STEPS and totals == {"n": step} and same_bits(state, self.states[step])
        if same and step < NEWEST:  # and on to the end
            *_, (_, last) = fit(task, optimizer, NEWEST, carry=carry, start=step)
            same = same_bits(everything(task, optimizer, last), self.states[NEWEST])
        return step, same, said.getvalue().splitlines()


def everything(task, optimizer, carry):
    """All arrays that the next step depends on, by name."""
    arrays = copies(task.model.params)
    for moment, by_name in optimizer.state.items():
        arrays |= {f"{moment} {name}": np.array(a) for name, a in by_name.items()}
    return arrays | {f"carry {n} {k}": a.copy() for n, pair in enumerate(carry) for k, a in pair._asdict().items()}


def same_bits(a, b) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and a[n].tobytes() == b[n].tobytes() for n in a)


def judge(trained, name) -> str:
    """What became of a damage: before, whole, error; or silent, noisy, raw, which should not be"""
    newest = str(path_of(trained.folder, NEWEST))
    try:
        step, same, said = trained.go_on()
    except InputError as e:
        return "error" if newest in str(e) and "\n" not in str(e) else "raw"
    except Exception:
        return "raw"
    if not same:
        return "silent"
    if step == NEWEST:
        return "whole"  # the one before was hurt, or nothing that is read
    if any(not line.startswith(f"warning: {newest}: ") for line in said) or len(said) > 1:
        return "noisy"
    return "before" if said or name == "missing" else "noisy"  # what has never been nobody can miss


def torture(folder, rng, size, tell) -> list[Number]:
    """So many damages (`size`) -> what came of them"""
    trained = []
    for make in (lm_task, classifier_task):
        (folder / make.__name__).mkdir(parents=True)
        trained.append(Trained(make, folder / make.__name__))
    damages, became, last = list((DAMAGES | MORE_DAMAGES).items()), Counter(), time.monotonic()
    for n in range(size):
        one, (name, damage) = trained[n % 2], damages[n // 2 % len(damages)]
        one.put_back()
        damage(path_of(one.folder, NEWEST), rng)
        verdict = judge(one, name)
        became[verdict] += 1
        if verdict in ("silent", "noisy", "raw"):
            tell(f"{verdict}: damage {n}, {name}, {one.make.__name__}")
        if time.monotonic() - last > 10:
            last = time.monotonic()
            tell(f"{n + 1} of {size} damages: {dict(became)}")
    good = became["before"] + became["whole"]
    return [
        Number("damages of the newest checkpoint", size, at_least=size),
        none_of("taken for good although it was not", became["silent"]),
        Number("percent went on to the same bits", 100 * good / size, at_least=100 * SHARE),
        Number("ended in one clear error", became["error"], at_most=(1 - SHARE) * size),
        none_of("ended in anything else", became["raw"] + became["noisy"]),
    ]
