"""Does ulmfit train on this GPU? A few steps of each of the three stages, of a tiny model with every dropout on, there
and on the CPU, from the same weights: the losses and all that was trained are held against each other."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from gpu_bench import still_there
from gpu_results import plan, row

from minilstm import to_numpy
from minilstm.twins import registry
from ulmfit.corpus import Corpus
from ulmfit.devices import carry_to, task_to
from ulmfit.optimizers import make_optimizer
from ulmfit.recipes import ClassifierTraining, Dropouts, LMTraining, ModelSize, Recipe
from ulmfit.tasks import classifying_task, finetuning_task, pretraining_task
from ulmfit.train import fit

STEPS = 6
# What rounding may come to: of a loss, and of a parameter (Adam makes whole steps even of gradients near zero)
LOSS, PARAMETER = 1e-4, 2e-3
DROPOUTS = Dropouts(embedding=0.1, input=0.2, weight=0.3, hidden=0.2, output=0.2, head=(0.1, 0.1))
LM = LMTraining(epochs=1, batch_size=8, lr=0.005, bptt=20, dropouts=DROPOUTS)
RECIPE = Recipe(
    size=ModelSize(embedding=40, hidden=65, layers=3, head=20), vocab_size=500, min_freq=1, pretrain=LM, finetune=LM,
    classify=ClassifierTraining(epochs=3, batch_size=16, lr=0.005, dropouts=DROPOUTS, unfreezing="full"),
)  # fmt: skip


def texts(n, seed):
    """Of words w0 to w299, the first ones often"""
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{k}" for k in (300 * rng.random(int(rng.integers(5, 60))) ** 2).astype(int)) for _ in range(n)]


def pretrain(before):
    task, vocab, _ = pretraining_task(Corpus(texts(60, 1)), RECIPE, 0, "forward")
    return task, vocab


def finetune(before):
    return finetuning_task(*before, texts(60, 2), RECIPE, 0, "forward")


def classify(before):
    data = SimpleNamespace(classes="abc", train=SimpleNamespace(texts=texts(64, 3), labels=np.arange(64) % 3))
    return classifying_task(*before, data, RECIPE, 0, "forward"), before[1]


STAGES = {"pretrain": pretrain, "finetune": finetune, "classify": classify}


def trained(task, device):
    """-> the losses of STEPS steps, and what has become of the parameters and of the running statistics"""
    carry = carry_to(task.model.initial_stats(), device) if hasattr(task.model, "initial_stats") else None
    task_to(task, device)
    logs = list(fit(task, make_optimizer(task.recipe), STEPS, carry=carry))
    task_to(task, "cpu")
    found = {name: to_numpy(p) for name, p in task.model.params.items()}
    if hasattr(task.model, "initial_stats"):
        found |= {f"{name} {n}": to_numpy(a) for n, of in enumerate(logs[-1][1]) for name, a in of._asdict().items()}
    return np.array([log.loss for log, _ in logs]), found


def off_by(losses, found, wanted_losses, wanted) -> tuple[float, str]:
    """-> the largest difference, as a part of what is allowed, and of what"""
    worst = error(losses, wanted_losses, LOSS), "the loss"
    for name, a in wanted.items():
        worst = max(worst, (error(found[name], a, PARAMETER), name))
    return worst


def error(a, b, allowed):
    """Of numbers beyond 1, as a part of the largest; NaN counts as infinitely far"""
    found = float(np.abs(a - b).max() / (allowed * max(1, np.abs(b).max())))
    return found if found == found else np.inf


@contextmanager
def without_kernels_for_the_cpu():
    """Within, the CPU computes with plain code: to compile its kernels takes longer than all that is done here."""
    package, _ = registry()
    twin, implementations = package.twin, package.IMPLEMENTATIONS

    def of_the_gpu(name, device="cpu"):
        if device == "cpu":
            raise ImportError("not here")
        return twin(name, device)

    package.twin, package.IMPLEMENTATIONS = of_the_gpu, tuple(k for k in implementations if k.device != "cpu")
    try:
        yield
    finally:
        package.twin, package.IMPLEMENTATIONS = twin, implementations


@without_kernels_for_the_cpu()
def train(gpu, journal, until):
    """A row for each stage, from the CPU's model of the one before; in its note what is wrong, if anything is."""
    before = None
    for stage in STAGES:
        plan(journal, "ulmfit", [{"stage": stage}], 1)
    for stage, make in STAGES.items():
        about = {"kernel_name": "ulmfit", "precision": "float32", "mode": "train", "shape": {"stage": stage}}
        if time.time() > until:
            return
        with journal.doing(provider="auto", **about):
            task, vocab = make(before)
            on_cpu = trained(task, "cpu")
            if not journal.measured(**about) and journal.refusal("auto", **about) is None:
                journal.write([checked(gpu, make(before)[0], on_cpu, about)])
        before = task.model, vocab


def checked(gpu, task, on_cpu, about):
    try:
        worst, name = off_by(*trained(task, gpu.kind), *on_cpu)
        note = f"{name} is off by {worst:.3g} times what is allowed" if worst > 1 else ""
        return row("check", provider="auto", metric="off by", values=[min(worst, 1e9)], note=note, **about)
    except Exception as error:
        still_there(gpu, error)
        return row("check", provider="auto", note=f"{type(error).__name__}: {error}", **about)
