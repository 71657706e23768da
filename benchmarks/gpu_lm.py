"""A whole training step of an AWD-LSTM language model on the GPU, by ulmfit and by the same modules of PyTorch with
cuDNN (contenders_lm.py has both sides): every dropout on, weight drop among them, penalties, clipping and Adam. Here
the host counts: words of several steps, by the clock on the wall, until all are done."""

from dataclasses import replace

import contenders_lm
from gpu_results import row
from harness import take_turns

from minilstm.threads import num_threads
from ulmfit.devices import task_to
from ulmfit.optimizers import make_optimizer
from ulmfit.recipes import Dropouts
from ulmfit.train import fit

SHAPE = {"T": 70, "B": 64, "V": 30_000, "H": 1150, "layers": 3}
SIZE = {"embedding": 400, "hidden": 1150, "layers": 3}
STEPS, ROUNDS = 10, 3
NAME, METRIC = "language model", "tokens/s"
SAME = 1e-3  # part of the first loss, without dropout, that the two may differ by


class Ours(contenders_lm.Ours):
    """ulmfit.train.fit, which looks at several steps together"""

    def __init__(self, gpu, *problem):
        with num_threads():  # contenders on the CPU choose the number for a process of their own
            super().__init__("auto", *problem)
        self.device = gpu.kind

    def task(self, recipe):
        task = super().task(recipe)
        task_to(task, self.device)
        return task

    def first_loss(self):
        task = self.task(replace(contenders_lm.recipe_for(*self.problem[:2]), dropouts=Dropouts()))
        made = task.loss_and_grads(0, None)
        return float(made.loss) + float(made.penalty)

    def call(self):
        if self.steps is None:
            task = self.task(contenders_lm.recipe_for(*self.problem[:2]))
            self.steps = fit(task, make_optimizer(task.recipe), 10**9, at_once=STEPS)
        for _ in range(STEPS):
            next(self.steps)


class Torch(contenders_lm.Torch):
    """Its losses, too, are looked at together."""

    def __init__(self, gpu, *problem, lean=False):
        super().__init__(lean, *problem, device=gpu.torch_device)
        self.torch.backends.cudnn.allow_tf32 = False  # float32 is what both of them are asked for
        self.step = 0

    def first_loss(self):
        self.start(Dropouts())
        return self.loss(0).item()

    def call(self):
        if self.step == 0:
            self.start(self.recipe.dropouts)
        for step in range(self.step, self.step + STEPS):
            loss = self.loss(step)
            loss.backward()
            self.update()
        self.step += STEPS
        return loss.item()


def language_model(gpu, journal):
    """Two rows, or one with the reason where a side cannot."""
    from gpu_bench import still_there

    about = {"kernel_name": NAME, "precision": "float32", "mode": "full", "shape": SHAPE}
    if journal.measured(**about) or journal.refusal("ulmfit", **about) or journal.refusal("torch", **about):
        return
    problem, works, losses = (SHAPE["T"], SHAPE["B"], SHAPE["V"], SIZE), {}, {}
    with journal.doing(provider="ulmfit", **about):
        for name, make in (("ulmfit", Ours), ("torch", Torch)):
            journal.beat(provider=name, **about)
            try:
                works[name] = make(gpu, *problem)
                losses[name] = works[name].first_loss()
                works[name].call()
            except Exception as error:
                journal.write([row("bench", provider=name, note=f"{type(error).__name__}: {error}", **about)])
                return still_there(gpu, error)
        seconds = take_turns({name: lambda w=w: gpu.seconds_with_host(w.call, 1) for name, w in works.items()}, ROUNDS)
        apart = abs(losses["ulmfit"] - losses["torch"])
        note = "" if apart <= SAME * abs(losses["torch"]) else f"the first losses are {losses}"
        words = SHAPE["T"] * SHAPE["B"] * STEPS
        rates = {name: [words / s for (s,) in taken] for name, taken in seconds.items()}
        journal.write([row("bench", provider=name, metric=METRIC, note=note, values=values, **about)
                       for name, values in rates.items()])  # fmt: skip
    works.clear()
    return gpu.release()
