"""SGD, averaged SGD and Adam with one learning rate per parameter.

`step(params, grads, lrs)` changes `params` in place and touches only what is in `grads`: a frozen parameter is one
whose gradient is absent, and neither its value nor its moments nor its step count move. Everything is checked before
the first of them moves: a step is made as a whole or not at all.

`step(..., scale=)` multiplies every gradient first, by 1 or by what `clipping.clip_scale` makes of their norm. It may
be a number on the device, for which nobody waits; where it is not finite, no parameter and no moment changes. Since the
host has not seen it, steps are counted when they are tried, on every device.

kernel: "auto" takes the compiled twins, which go over memory once, for large parameters; "reference" the code here.
"""

import math
from contextlib import contextmanager

import numpy as np

from .arrays import get_array_module, is_cupy
from .checks import check_number, check_shape
from .twins import twin


class SGD:
    """p -= lr * v with v = momentum * v + g + weight_decay * p, as `torch.optim.SGD` (dampening 0)."""

    def __init__(self, *, momentum=0.0, weight_decay=0.0, kernel="auto"):
        check_number("momentum", momentum), check_number("weight_decay", weight_decay)
        self.momentum, self.weight_decay, self.kernel = momentum, weight_decay, kernel
        self.state = {"momentum": {}}  # moment -> parameter name -> array

    def step(self, params, grads, lrs, *, scale=1.0):
        """lrs: one rate for all, or one per parameter name; scale: of all gradients, see above. Raises KeyError for a
        gradient without a parameter or a rate, ValueError for a rate below zero and for other shapes."""
        compiled = twin("sgd", self.kernel, *grads.values())
        for name, p, g, lr in _checked(params, grads, lrs, self.state):
            v = _moment(self.state["momentum"], name, p) if self.momentum else None
            if compiled is not None and compiled(p, g, v, lr, self.momentum, self.weight_decay, scale):
                continue
            with _only_if_finite(scale, p, v):
                g = _scaled(g, scale)
                if self.weight_decay:
                    g = g + self.weight_decay * p
                if self.momentum:
                    v *= self.momentum
                    v += g
                    g = v
                p -= lr * g


class ASGD:
    """SGD that also keeps the mean of the weights it passes (Polyak & Juditsky 1992), as `torch.optim.ASGD` with
    lambd=0: p -= lr * (g + weight_decay * p), and `state["ax"]` holds the mean of p after its steps t0 + 2, t0 + 3, ...

    Training goes on from the weights themselves; the means are what is to be used in the end. Up to step t0 there are
    none. NT-ASGD is this with a t0 that is set on the way, to the number of steps made so far: see `triggered`.
    """

    def __init__(self, *, t0=math.inf, weight_decay=0.0, kernel="auto"):
        check_number("weight_decay", weight_decay)
        if not t0 >= 0:
            raise ValueError(f"t0: expected a number of steps from 0, or math.inf, got {t0}")
        self.t0, self.weight_decay, self.kernel = t0, weight_decay, kernel
        self.state = {"ax": {}, "step": {}}

    def step(self, params, grads, lrs, *, scale=1.0):
        """lrs: one rate for all, or one per parameter name; scale: of all gradients, see above. Raises KeyError for a
        gradient without a parameter or a rate, ValueError for a rate below zero and for other shapes."""
        means, compiled = self.state["ax"], twin("asgd", self.kernel, *grads.values())
        for name, p, g, lr in _checked(params, grads, lrs, self.state):
            n = _count(self.state["step"], name) - 1 - self.t0  # from -t0 on: of how many values the mean is, if of any
            mean = means.get(name) if n > 1 else None
            if compiled is None or not compiled(p, g, mean, lr, self.weight_decay, n, scale):
                with _only_if_finite(scale, p, mean):
                    g = _scaled(g, scale)
                    if self.weight_decay:
                        g = g + self.weight_decay * p
                    p -= lr * g
                    if mean is not None:
                        mean += (p - mean) / n
            if mean is None and n >= 0:  # PyTorch's mean of step t0 + 1 is forgotten at step t0 + 2
                means[name] = p.copy()


def triggered(losses, n):
    """How many of these validation losses, one an epoch, it takes until NT-ASGD begins to average; None if never.

    The trigger of awd-lstm-lm (Merity et al. 2017, section 3): a loss above the smallest of those that lie more than
    n epochs before it.
    """
    for k, loss in enumerate(losses):
        if k > n and loss > min(losses[: k - n]):
            return k + 1
    return None


class Adam:
    """Adam (Kingma & Ba 2015) as `torch.optim.Adam` computes it.

    weight_decay is added to the gradient; with decoupled_weight_decay it shrinks the parameter instead (AdamW,
    Loshchilov & Hutter 2019). Steps are counted per parameter, so one that is unfrozen late gets its own bias
    correction.
    """

    def __init__(
        self, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False, kernel="auto"
    ):
        check_number("betas[0]", betas[0], below=1), check_number("betas[1]", betas[1], below=1)
        check_number("eps", eps), check_number("weight_decay", weight_decay)
        self.betas, self.eps, self.kernel = betas, eps, kernel
        self.weight_decay, self.decoupled_weight_decay = weight_decay, decoupled_weight_decay
        self.state = {"exp_avg": {}, "exp_avg_sq": {}, "step": {}}

    def step(self, params, grads, lrs, *, scale=1.0):
        """lrs: one rate for all, or one per parameter name; scale: of all gradients, see above. Raises KeyError for a
        gradient without a parameter or a rate, ValueError for a rate below zero and for other shapes."""
        beta1, beta2 = self.betas
        decay, shrinkage = (0.0, self.weight_decay) if self.decoupled_weight_decay else (self.weight_decay, 0.0)
        compiled = twin("adam", self.kernel, *grads.values())
        for name, p, g, lr in _checked(params, grads, lrs, self.state):
            m, v = (_moment(self.state[moment], name, p) for moment in ("exp_avg", "exp_avg_sq"))
            t = _count(self.state["step"], name)
            # p -= lr * m_hat / (sqrt(v_hat) + eps), the hats being the bias corrections
            step_size, correction = lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
            if compiled is not None and compiled(
                p, g, m, v, self.betas, self.eps, decay, 1 - lr * shrinkage, step_size, correction, scale
            ):
                continue
            with _only_if_finite(scale, p, m, v):
                g = _scaled(g, scale)
                if shrinkage:
                    p *= 1 - lr * shrinkage
                if decay:
                    g = g + decay * p
                # m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g**2
                m += (1 - beta1) * (g - m)
                v *= beta2
                v += (1 - beta2) * (g * g)
                denominator = get_array_module(p).sqrt(v)
                denominator *= correction
                denominator += self.eps
                p -= step_size * (m / denominator)


def _checked(params, grads, lrs, state):
    """-> [(name, parameter, gradient, rate)] of all gradients. Raises KeyError for one without a parameter or a rate,
    ValueError for one of another shape, and for moments of another shape: the parameter was exchanged since."""
    found = []
    for name, g in grads.items():
        if name not in params:
            raise KeyError(f"grads: there is no parameter {name!r}")
        p = params[name]
        check_shape(f"grads[{name!r}]", g, p.shape)
        for moment, arrays in state.items():
            if name in arrays and moment != "step":
                check_shape(f"state[{moment!r}][{name!r}]", arrays[name], p.shape)
        found.append((name, p, g, _rate(lrs, name)))
    return found


def _rate(lrs, name):
    if isinstance(lrs, dict) and name not in lrs:
        raise KeyError(f"lrs: there is no rate for {name!r}")
    lr = float(lrs[name] if isinstance(lrs, dict) else lrs)
    check_number("lrs", lr)
    return lr


def _moment(moments, name, p):
    """A parameter's moment, zero at first, to be changed in place."""
    if name not in moments:
        moments[name] = get_array_module(p).zeros_like(p)
    return moments[name]


def _count(counts, name):
    """The number of this step of the parameter, from 1."""
    count = counts.setdefault(name, np.zeros((), np.int64))
    count += 1
    return int(count)


def _scaled(g, scale):
    if is_cupy(scale):
        return g * scale.astype(g.dtype)
    return g if scale == 1 else g * g.dtype.type(scale)


@contextmanager
def _only_if_finite(scale, *arrays):
    """What this block does to the arrays (None: there is none) is undone where the scale is not finite."""
    if not is_cupy(scale) and math.isfinite(scale):
        yield
        return
    arrays = [a for a in arrays if a is not None]
    xp, before = get_array_module(*arrays), [a.copy() for a in arrays]
    with np.errstate(all="ignore"):
        yield
    for a, b in zip(arrays, before, strict=True):
        xp.copyto(a, b, where=~xp.isfinite(scale))
