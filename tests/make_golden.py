"""PyTorch's side of the comparison: inputs and results of its layers, as dictionaries of NumPy arrays.

    python tests/make_golden.py

writes them to tests/golden/*.npz, for the machines where PyTorch is not installed. `parity.py` is the other side.
"""

import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"


class Torch:
    """PyTorch with a seed and a dtype: what the cases below draw and hand back."""

    def __init__(self, seed, dtype):
        import torch

        self.torch, self.dtype = torch, getattr(torch, dtype)
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)

    def normal(self, *shape, grad=False):
        return self.torch.randn(*shape, generator=self.generator, dtype=self.dtype).requires_grad_(grad)

    def integers(self, low, high, *shape):
        return self.torch.randint(low, high, shape, generator=self.generator)


def arrays(prefix, **tensors):
    """{"prefix/name": a copy, as a NumPy array}"""
    plain = {name: t.detach().numpy() if hasattr(t, "detach") else t for name, t in tensors.items()}
    return {f"{prefix}/{name}": np.array(a) for name, a in plain.items()}


def params_and_grads(module, suffix=""):
    named = dict(module.named_parameters())
    return arrays("param", **named) | arrays(f"grad{suffix}", **{name: p.grad for name, p in named.items()})


def lstm(th, n_layers, packed=False):
    T, B, I, H = 5, 3, 2, 3
    rnn = th.torch.nn.utils.rnn
    module = th.torch.nn.LSTM(I, H, n_layers, dtype=th.dtype)
    x = th.normal(T, B, I, grad=True)
    h_0, c_0 = (th.normal(n_layers, B, H, grad=True) for _ in range(2))
    dy, dh_n, dc_n = th.normal(T, B, H), th.normal(n_layers, B, H), th.normal(n_layers, B, H)
    given = {"x": x, "h_0": h_0, "c_0": c_0, "dy": dy, "dh_n": dh_n, "dc_n": dc_n}
    if packed:
        given["lengths"] = lengths = th.torch.tensor([2, 5, 1])
        y, (h_n, c_n) = module(rnn.pack_padded_sequence(x, lengths, enforce_sorted=False), (h_0, c_0))
        y, _ = rnn.pad_packed_sequence(y, total_length=T)
    else:
        y, (h_n, c_n) = module(x, (h_0, c_0))
    th.torch.autograd.backward([y, h_n, c_n], [dy, dh_n, dc_n])
    out = arrays("out", y=y, h_n=h_n, c_n=c_n, dx=x.grad, dh_0=h_0.grad, dc_0=c_0.grad)
    return arrays("in", **given) | out | params_and_grads(module)


def lstm_cell(th):
    B, I, H = 3, 2, 4
    module = th.torch.nn.LSTMCell(I, H, dtype=th.dtype)
    x, h_0, c_0 = th.normal(B, I, grad=True), th.normal(B, H, grad=True), th.normal(B, H, grad=True)
    dh_1, dc_1 = th.normal(B, H), th.normal(B, H)
    h_1, c_1 = module(x, (h_0, c_0))
    th.torch.autograd.backward([h_1, c_1], [dh_1, dc_1])
    given = arrays("in", x=x, h_0=h_0, c_0=c_0, dh_1=dh_1, dc_1=dc_1)
    return given | arrays("out", h_1=h_1, c_1=c_1, dx=x.grad, dh_0=h_0.grad, dc_0=c_0.grad) | params_and_grads(module)


def embedding(th):
    T, B, V, E = 5, 3, 6, 2
    module = th.torch.nn.Embedding(V, E, dtype=th.dtype)
    ids, dy = th.integers(0, V, T, B), th.normal(T, B, E)
    y = module(ids)
    y.backward(dy)
    return arrays("in", ids=ids, dy=dy) | arrays("out", y=y) | params_and_grads(module)


def batchnorm(th):
    steps, N, F = 4, 5, 3
    module = th.torch.nn.BatchNorm1d(F, dtype=th.dtype)
    with th.torch.no_grad():
        module.weight.copy_(th.normal(F))
        module.bias.copy_(th.normal(F))
    xs, dys = 2 * th.normal(steps, N, F) + 1, th.normal(steps, N, F)
    result = arrays("in", x=xs, dy=dys)
    for step in range(steps):
        module.train(step < steps - 1)
        module.zero_grad()
        x = xs[step].clone().requires_grad_()
        y = module(x)
        y.backward(dys[step])
        result |= arrays(f"out{step}", y=y, dx=x.grad, mean=module.running_mean, var=module.running_var)
        result |= params_and_grads(module, step)
    return result


def cross_entropy(th):
    N, C = 7, 4
    logits, targets = th.normal(N, C, grad=True), th.integers(0, C, N)
    targets[[1, 4]] = -100
    loss = th.torch.nn.CrossEntropyLoss()(3 * logits, targets)
    loss.backward()
    # given 3 * logits, so that some probabilities are small; the derivative by what was given is a third
    return arrays("in", logits=3 * logits, targets=targets) | arrays("out", loss=loss, dlogits=logits.grad / 3)


def penalties(th):
    """As awd-lstm-lm's main.py adds them to the loss."""
    y = th.normal(4, 3, 2, grad=True)
    ar, tar = 2 * y.pow(2).mean(), (y[1:] - y[:-1]).pow(2).mean()
    (dar,), (dtar,) = th.torch.autograd.grad(ar, y), th.torch.autograd.grad(tar, y)
    return arrays("in", y=y) | arrays("out", ar=ar, tar=tar, dar=dar, dtar=dtar)


def optimisers(th):
    optim = th.torch.optim
    make = {
        "sgd": lambda groups: optim.SGD(groups),
        "sgd_momentum_decay": lambda groups: optim.SGD(groups, momentum=0.9, weight_decay=0.05),
        "adam": lambda groups: optim.Adam(groups),
        "adam_decay": lambda groups: optim.Adam(groups, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05),
        "adamw": lambda groups: optim.AdamW(groups, weight_decay=0.05),
    }
    early, late, grads = th.normal(2, 3), th.normal(2, 3), th.normal(6, 2, 3)
    result = arrays("in", early=early, late=late, grads=grads)
    for name, optimiser in make.items():
        a, b = (p.clone().requires_grad_() for p in (early, late))
        stepper = optimiser([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.02}])
        for step, g in enumerate(grads):
            a.grad, b.grad = g.clone(), 2 * g if step >= 2 else None
            stepper.step()
        result |= arrays(f"out_{name}", early=a, late=b)
    return result


def averaging(th):
    """With numbers that float32 can hold: PyTorch keeps the rate and the weight of the mean in it."""
    p, grads = th.normal(2, 3), th.normal(5, 2, 3)
    ours = p.clone().requires_grad_()
    stepper = th.torch.optim.ASGD([ours], lr=0.125, lambd=0, t0=2, weight_decay=0.05)
    for g in grads:
        ours.grad = g.clone()
        stepper.step()
    return arrays("in", p=p, grads=grads) | arrays("out", p=ours, ax=stepper.state[ours]["ax"])


def training(th):
    steps, T, B, V, E, H, C, lr = 10, 4, 4, 7, 3, 4, 3, 0.05
    torch, nn = th.torch, th.torch.nn
    ids, targets = th.integers(0, V, steps, T, B), th.integers(0, C, steps, B)
    lengths = th.integers(1, T + 1, steps, B)
    result = arrays("in", ids=ids, targets=targets, lengths=lengths, lr=np.array(lr))
    optimisers = {
        "sgd": lambda params: torch.optim.SGD(params, lr, momentum=0.9),
        "adam": lambda params: torch.optim.Adam(params, lr, eps=1e-3),  # or a gradient of one rounding makes a step
    }
    start = None
    for name, make in optimisers.items():
        parts = {"embedding": nn.Embedding(V, E), "lstm": nn.LSTM(E, H, 2), "linear": nn.Linear(H, C)}
        model = nn.ModuleDict(parts).to(th.dtype)
        start = start or {name: p.clone() for name, p in model.state_dict().items()}
        model.load_state_dict(start)
        stepper, losses = make(model.parameters()), []
        for step in range(steps):
            x = nn.utils.rnn.pack_padded_sequence(model["embedding"](ids[step]), lengths[step], enforce_sorted=False)
            _, (h_n, _) = model["lstm"](x)
            loss = nn.functional.cross_entropy(model["linear"](h_n[-1]), targets[step])
            stepper.zero_grad()
            loss.backward()
            stepper.step()
            losses.append(loss.item())
        losses = np.array(losses, str(th.dtype).removeprefix("torch."))
        result |= arrays(f"out_{name}", losses=losses, **dict(model.named_parameters()))
    return result | arrays("param", **start)


CASES = {
    "lstm_1_layer": lambda th: lstm(th, 1),
    "lstm_2_layers": lambda th: lstm(th, 2),
    "lstm_3_layers": lambda th: lstm(th, 3),
    "lstm_packed": lambda th: lstm(th, 2, packed=True),
    "lstm_cell": lstm_cell,
    "embedding": embedding,
    "batchnorm": batchnorm,
    "cross_entropy": cross_entropy,
    "penalties": penalties,
    "optimisers": optimisers,
    "averaging": averaging,
    "training": training,
}


def make(case, *, seed, dtype="float64"):
    return CASES[case](Torch(seed, dtype))


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        path = GOLDEN / f"{case}.npz"
        np.savez_compressed(path, **make(case, seed=1))
        print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)
