"""Is the rest of a training step right on this GPU? Every function that has a fast twin there, through the engine that
calls it, against the plain code on the CPU in float64: loss over a vocabulary, masks, embedding, norm, optimisers."""

import time

import numpy as np
from gpu_bench import still_there
from gpu_results import plan, row

from minilstm import ASGD, SGD, Adam, Embedding, MaskSource, grad_norm, linear_cross_entropy, to_device, to_numpy

# Parts of an array's largest number; sums of thousands, in another order
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}
V, E, N = 30_011, 123, 257  # odd everywhere


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def loss(kernel, device, dtype):
    x, weight, bias = (to_device(a.astype(dtype), device) for a in (numbers(1, N, E), numbers(2, V, E), numbers(3, V)))
    targets = np.random.default_rng(4).integers(0, V, N)
    targets[::7] = -100
    made, grads = linear_cross_entropy(x, weight / 8, bias, targets, ignore_index=-100, kernel=kernel)
    return {"loss": made} | dict(zip(("dx", "dweight", "dbias"), grads, strict=True))


def masks(kernel, device, dtype):
    source = MaskSource(5, kernel=kernel, device=device)
    drawn = {p: source.mask("hidden", (1, 65, 1150), p, step=3, layer=1, dtype=dtype) for p in (0.0, 0.1, 0.5)}
    return {f"p={p}": mask for p, mask in drawn.items() if mask is not None}


def embedding(kernel, device, dtype):
    layer = Embedding(V, E, rng=np.random.default_rng(6), dtype=dtype, kernel=kernel)
    layer.params = {name: to_device(numbers(6, *p.shape).astype(dtype), device) for name, p in layer.params.items()}
    ids = np.random.default_rng(7).integers(0, 50, (70, 9)) ** 2 % V  # many of them often
    row_mask = to_device((numbers(8, V, 1) > 0).astype(dtype) * 2, device)
    y, cache = layer.forward(ids, row_mask=row_mask)
    _, grads = layer.backward(to_device(numbers(9, 70, 9, E).astype(dtype), device), cache)
    return {"y": y} | grads


def norm(kernel, device, dtype):
    grads = {f"g{n}": to_device(numbers(n, 1000 * n + 7).astype(dtype), device) for n in (1, 20, 300)}
    return {"norm": grad_norm(grads, kernel=kernel)}


def optimiser(make):
    def steps(kernel, device, dtype):
        params = {"a": to_device(numbers(1, 1150, 40).astype(dtype), device),
                  "b": to_device(numbers(2, 33).astype(dtype), device)}  # fmt: skip
        rule = make(kernel)
        for n in range(3):
            grads = {name: to_device(numbers(10 + n, *p.shape).astype(dtype), device) for name, p in params.items()}
            rule.step(params, grads, 0.01, scale=0.5)
        return params

    return steps


CHECKS = {  # by the names of the twins
    "linear_cross_entropy": loss,
    "dropout_mask": masks,
    "embedding_forward": embedding,
    "embedding_backward": embedding,
    "sum_of_squares": norm,
    "sgd": optimiser(lambda kernel: SGD(momentum=0.9, weight_decay=0.01, kernel=kernel)),
    "asgd": optimiser(lambda kernel: ASGD(t0=1, weight_decay=0.01, kernel=kernel)),
    "adam": optimiser(lambda kernel: Adam(kernel=kernel)),
}


def off_by(name, device, dtype) -> tuple[float, str]:
    """-> the largest error, as a part of what is allowed, and of which array. Of masks every bit counts."""
    found = CHECKS[name]("auto", device, np.dtype(dtype))
    exact = CHECKS[name]("reference", "cpu", np.dtype(np.float64))
    tolerance = 1e-30 if name == "dropout_mask" else TOLERANCES[dtype]
    worst = 0.0, ""
    for array, want in exact.items():
        got, want = np.asarray(to_numpy(found[array])), np.asarray(want)
        if name == "dropout_mask":
            want = want.astype(dtype)
        error = np.abs(got - want).max() / (tolerance * np.abs(want).max())
        worst = max(worst, (float(error if error == error else np.inf), array))
    return worst


def check(gpu, journal, until):
    """A row for each function and dtype; in its note what is wrong, if anything is."""
    for name in CHECKS:
        plan(journal, name, [{}], len(TOLERANCES))
    for name in CHECKS:
        for dtype in TOLERANCES:
            about = {"kernel_name": name, "precision": dtype, "mode": "check", "shape": {}}
            if journal.measured(**about) or journal.refusal("twin", **about) is not None:
                continue
            if time.time() > until:
                return
            with journal.doing(provider="twin", **about):
                journal.write([checked(gpu, name, dtype, about)])


def checked(gpu, name, dtype, about):
    try:
        worst, array = off_by(name, gpu.kind, dtype)
        note = f"{array} is off by {worst:.3g} times what is allowed" if worst > 1 else ""
        return row("check", provider="twin", metric="off by", values=[min(worst, 1e9)], note=note, **about)
    except Exception as error:
        still_there(gpu, error)
        return row("check", provider="twin", note=f"{type(error).__name__}: {error}", **about)
