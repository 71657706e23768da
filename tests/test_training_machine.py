"""A training that is stepped, saved, killed, damaged and resumed in any order that hypothesis can think of. Whatever
has happened, it is where the undisturbed one was after as many steps, and nothing but damage ever loses a step."""

import contextlib
import io
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGES
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tiny import adam, classifier_task, first_carry, lm_task
from torture.damages import everything, same_bits

from ulmfit.checkpoints import Checkpoints
from ulmfit.errors import InputError
from ulmfit.train import fit

KEPT = 2  # checkpoints of a stage, as is promised
N_STEPS = 9  # more than an epoch of either task
ORIGIN = "what it learns from"
TASKS = {"lm": lm_task, "classifier": classifier_task}


@cache
def undisturbed(name) -> list:
    """All arrays after 0, 1, ... N_STEPS steps."""
    task = TASKS[name]()
    optimizer, carry = adam(task), first_carry(task)
    states = [everything(task, optimizer, carry or ())]
    for _, after in fit(task, optimizer, N_STEPS, carry=carry):
        states.append(everything(task, optimizer, after))
    return states


class Training(RuleBasedStateMachine):
    """One process after another, and the folder that they share."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="training-"))
        self.good, self.damaged = [], []  # steps of which there is a checkpoint

    @initialize(name=st.sampled_from(list(TASKS)))
    def begin(self, name):
        self.name = name
        self.start()

    def start(self):
        """A process begins as all do, with other weights, and finds what there is."""
        self.task = TASKS[self.name](seed=0 if not self.good else 50)
        self.optimizer = adam(self.task)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            found = Checkpoints(self.folder).load(
                "stage", ORIGIN, self.task.model.params, self.optimizer, self.task.carry_type
            )
        self.step, carry, totals = found
        self.carry = carry or first_carry(self.task)
        assert totals == ({"steps": self.step} if self.step else {})
        assert self.step == max(self.good, default=0)
        newer = [n for n in self.damaged if n > self.step]
        assert said.getvalue().count("\n") == bool(newer)  # one warning, which names them all
        assert all(f"stage-{n:08d}.safetensors: " in said.getvalue() for n in newer)

    @precondition(lambda self: self.task is not None and self.step < N_STEPS)
    @rule(n=st.integers(1, 3))
    def train(self, n):
        stop = min(N_STEPS, self.step + n)
        steps = fit(self.task, self.optimizer, N_STEPS, carry=self.carry, start=self.step)
        while self.step < stop:
            _, self.carry = next(steps)
            self.step += 1

    @precondition(lambda self: self.task is not None and self.step)
    @rule()
    def save(self):
        totals = {"steps": self.step}
        params = self.task.model.params
        Checkpoints(self.folder).save("stage", self.step, ORIGIN, params, self.optimizer, self.carry, totals)
        there = sorted(n for n in {*self.good, *self.damaged, self.step} if n <= self.step)[-KEPT:]
        self.good = [n for n in there if n in (*self.good, self.step)]
        self.damaged = [n for n in there if n not in self.good]

    @precondition(lambda self: self.task is not None)
    @rule()
    def kill(self):
        self.task = None

    @precondition(lambda self: self.task is None and self.good)
    @rule(how=st.sampled_from(list(DAMAGES)), seed=st.integers(0, 2**32 - 1))
    def damage(self, how, seed):
        """The newest good one, which may be the last."""
        step = self.good.pop()
        DAMAGES[how](self.folder / f"stage-{step:08d}.safetensors", np.random.default_rng(seed))
        if how != "missing":
            self.damaged.append(step)

    @precondition(lambda self: self.task is None)
    @rule()
    def resume(self):
        if not self.good and len(self.damaged) >= KEPT:
            with pytest.raises(InputError, match="no good checkpoint of stage is left"):
                self.start()
            for n in self.damaged:  # as the message advises
                (self.folder / f"stage-{n:08d}.safetensors").unlink()
            self.damaged = []
        self.start()

    @invariant()
    def is_where_the_undisturbed_one_was(self):
        if getattr(self, "task", None) is not None:
            state = everything(self.task, self.optimizer, self.carry or ())
            assert same_bits(state, undisturbed(self.name)[self.step])

    def teardown(self):
        shutil.rmtree(self.folder)


Training.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_training_in_any_order = Training.TestCase
