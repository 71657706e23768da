"""A training step of an AWD-LSTM language model, by ulmfit and by torch modules: the same layers, dropouts, penalties,
clipping and Adam, from the same weights on the same text.

What is timed is a step of training, all dropouts on. What is checked is without them: the first loss, all its
gradients, and the losses of the next windows, each after an update. It takes several to see that clipping and betas are
right: Adam's first update is the same for all of them.
"""

import itertools
from dataclasses import replace

import numpy as np
from contenders_lstm import settle_threads

from minilstm import MaskSource, load_state_dict
from ulmfit.batching import LMBatches
from ulmfit.language_model import LanguageModel
from ulmfit.optimizers import make_optimizer
from ulmfit.recipes import PAPER, Dropouts, ModelSize
from ulmfit.train import LMTask, fit, update

WINDOWS = 20  # of the text, before it begins anew


def recipe_for(T, B):
    """The paper's fine-tuning, all at one rate that stays."""
    return replace(PAPER.finetune, bptt=T, batch_size=B, schedule="constant", lr_factor=1.0)


def text(T, B, V):
    """-> LMBatches of words drawn so that, as in a language, the n-th has a share of about 1 / n"""
    rng = np.random.default_rng(V)
    ids = np.exp(rng.uniform(0, np.log(V), B * (T * WINDOWS) + 1)).astype(np.int64) % V
    return LMBatches([ids.astype(np.int32)], B, T, seed=0)


def weights(T, B, V, size):
    """{name: float32 array}, the same in every process; the decoder's bias is not zero here"""
    rng = np.random.default_rng(V)
    params = LanguageModel(V, ModelSize(**size), rng=rng, kernel="reference").params
    params["decoder.bias"][:] = rng.uniform(-0.1, 0.1, V)
    return params


class Ours:
    """ulmfit.train.fit with one of the kernels; in float64, the reference to be compared with."""

    def __init__(self, kernel, T, B, V, size, updates=1, dtype=np.float32):
        settle_threads(kernel)
        self.problem, self.kernel, self.dtype = (T, B, V, size), kernel, dtype
        self.updates, self.steps = updates, None  # checked; made when they are needed

    def task(self, recipe):
        T, B, V, size = self.problem
        model = LanguageModel(V, ModelSize(**size), rng=np.random.default_rng(0), dtype=self.dtype, kernel=self.kernel)
        load_state_dict(model.params, {name: p.astype(self.dtype) for name, p in weights(*self.problem).items()})
        return LMTask(model, text(T, B, V), recipe, MaskSource(0))

    def call(self, mode):
        if self.steps is None:
            task = self.task(recipe_for(*self.problem[:2]))
            self.steps = fit(task, make_optimizer(task.recipe), 10**9)
        return next(self.steps)

    def arrays(self, mode):
        task = self.task(replace(recipe_for(*self.problem[:2]), dropouts=Dropouts()))
        made = task.loss_and_grads(0, None)
        found = {"loss": made.loss + made.penalty} | {name: g.copy() for name, g in made.grads.items()}
        optimizer = make_optimizer(task.recipe)
        for step in range(1, self.updates + 1):
            update(task, optimizer, made, task.recipe.lr)
            made = task.loss_and_grads(step, made.carry)
            found[f"loss {step}"] = made.loss + made.penalty
        return found


def expected(T, B, V, size, updates=1):
    return {"step": Ours("reference", T, B, V, size, updates, dtype=np.float64).arrays("step")}


class Torch:
    """The same with torch's LSTM, embedding, dropout, Adam and clipping.

    `lean` takes what PyTorch offers those who look for it: a cross-entropy in chunks and a fused Adam.
    """

    def __init__(self, lean, T, B, V, size, updates=1, device="cpu"):
        import torch

        self.device = device
        self.torch, self.problem, self.recipe = torch, (T, B, V, size), recipe_for(T, B)
        self.lean, self.fused, self.lstm = lean, lean, torch.lstm  # nn.LSTM calls the same function
        self.batches, self.updates, self.steps = text(T, B, V), updates, None

    def start(self, dropouts):
        """A model and its optimiser, at the beginning."""
        torch, recipe = self.torch, self.recipe
        self.dropouts, (_, B, _, size) = dropouts, self.problem
        widths = [size["hidden"]] * (size["layers"] - 1) + [size["embedding"]]
        self.carry = [tuple(torch.zeros(1, B, H, device=self.device) for _ in "hc") for H in widths]
        given = weights(*self.problem).items()
        self.params = {n: torch.from_numpy(p.copy()).to(self.device).requires_grad_() for n, p in given}
        fused = {"fused": True} if self.fused else {}
        self.optimizer = torch.optim.Adam(
            self.params.values(), lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, **fused
        )

    def mask(self, p, *shape):
        return self.torch.empty(shape, device=self.device).bernoulli_(1 - p).div_(1 - p)

    def loss(self, step):
        """The loss of a window, penalties and all; the LSTM's states go on from the last one, without gradient."""
        ids, targets = (self.torch.from_numpy(a.astype(np.int64)).to(self.device) for a in self.batches[step][:2])
        loss, self.carry = self.loss_of(ids, targets, self.carry)
        return loss

    def loss_of(self, ids, targets, carry):
        """ids, targets (T, B), the states before -> the loss, the states after"""
        p, drop, F = self.params, self.dropouts, self.torch.nn.functional
        B, after = ids.shape[1], []
        y = F.embedding(ids, p["encoder.embedding.weight"])  # (T, B, E)
        if drop.embedding:
            y = y * self.mask(drop.embedding, self.problem[2], 1)[ids]  # whole words
        for n, state in enumerate(carry):
            weight_ih, weight_hh, bias_ih, bias_hh = (
                p[f"encoder.lstm.{name}_l{n}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            dropout = drop.hidden if n else drop.input
            if dropout:
                y = y * self.mask(dropout, 1, B, y.shape[2])  # locked over time
            if drop.weight:
                weight_hh = F.dropout(weight_hh, drop.weight)
            parameters = [weight_ih, weight_hh, bias_ih, bias_hh]
            y, h, c = self.lstm(y, state, parameters, True, 1, 0.0, True, False, False)
            after.append((h.detach(), c.detach()))
        dropped = y * self.mask(drop.output, 1, B, y.shape[2]) if drop.output else y
        loss = self.cross_entropy(dropped.flatten(0, 1), targets.flatten())
        penalty = self.recipe.ar * dropped.pow(2).mean() + self.recipe.tar * (y[1:] - y[:-1]).pow(2).mean()
        return loss + penalty, after

    def cross_entropy(self, y, targets):
        nn, weight, bias = self.torch.nn, self.params["encoder.embedding.weight"], self.params["decoder.bias"]
        if self.lean:
            options = nn.LinearCrossEntropyOptions()
            return nn.functional.linear_cross_entropy(y, weight, targets, linear_bias=bias, options=options)
        return nn.functional.cross_entropy(nn.functional.linear(y, weight, bias), targets)

    def update(self):
        """What follows the backward."""
        self.torch.nn.utils.clip_grad_norm_(self.params.values(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def call(self, mode):
        if self.steps is None:
            self.start(self.recipe.dropouts)
            self.steps = itertools.count()
        loss = self.loss(next(self.steps))
        loss.backward()
        self.update()
        return loss.item()

    def arrays(self, mode):
        self.start(Dropouts())
        loss = self.loss(0)
        loss.backward()
        found = {"loss": loss.item()} | {name: p.grad.numpy().copy() for name, p in self.params.items()}
        for step in range(1, self.updates + 1):
            self.update()
            loss = self.loss(step)
            loss.backward()
            found[f"loss {step}"] = loss.item()
        del self.params, self.optimizer
        return found


class CompiledTorch(Torch):
    """Everything but the LSTM compiled, as torch.compile itself has it in a model with nn.LSTM, and Adam fused. Told to
    take the LSTM too, it unrolls it over time: at T = 5 and twelve units it compiled for over two minutes."""

    def __init__(self, T, B, V, size, updates=1):
        super().__init__(False, T, B, V, size, updates)
        self.torch._dynamo.reset()  # the last problem's programs
        self.fused, self.lstm = True, self.torch.compiler.disable(self.torch.lstm)
        self.loss_of = self.torch.compile(self.loss_of, dynamic=False)

    def arrays(self, mode):
        found = super().arrays(mode)
        self.call(mode)  # with dropouts it is another program: compiled now, before time and memory count
        self.steps = None
        return found
