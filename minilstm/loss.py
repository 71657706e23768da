"""Softmax cross-entropy, plain and fused with the large linear layer below it.

With logits on the device, targets may come from the host: they are checked here, and sent. Nothing waits for the
device; a loss on it is an array of shape ().
"""

import numpy as np

from .arrays import get_array_module, is_cupy
from .checks import check_float_array, check_ids, check_shape
from .twins import twin

IGNORE = -100  # PyTorch's ignore_index: a target that counts nowhere


def log_softmax(logits):
    """(N, C) -> (N, C). The maximum is taken off first, so nothing overflows."""
    xp = get_array_module(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=1, keepdims=True))


def softmax_cross_entropy_forward(logits, targets, ignore_index=IGNORE):
    """logits (N, C), targets (N,) in 0..C-1 or ignore_index -> loss, the mean over the targets that count, cache

    A batch whose targets are all ignored has loss 0 and gradient 0. Raises IndexError for any other target.
    """
    check_float_array("logits", logits, ("N", "C"))
    check_targets(targets, *logits.shape, ignore_index)
    xp = get_array_module(logits)
    targets = xp.asarray(targets)
    counted, n = _counted(targets, ignore_index)
    log_p = log_softmax(logits)
    safe_targets = xp.where(counted, targets, 0)
    nll = -log_p[xp.arange(len(targets)), safe_targets]
    loss = (xp.where(counted, nll, 0).sum() / n).astype(logits.dtype)
    return loss, (log_p, safe_targets, counted, n)


def softmax_cross_entropy_backward(dloss, cache):
    """dloss, a number -> dlogits (N, C) = dloss * (softmax - one_hot) / n"""
    log_p, safe_targets, counted, n = cache
    xp = get_array_module(log_p)
    dlogits = xp.exp(log_p)
    dlogits[xp.arange(len(safe_targets)), safe_targets] -= 1
    dlogits *= (counted * (dloss / n)).astype(log_p.dtype)[:, None]
    return dlogits


def linear_cross_entropy(
    x, weight, bias, targets, *, ignore_index=IGNORE, chunk=512, need_grads=True, kernel="auto"
):
    """The loss of a linear layer with softmax over a large vocabulary, and its gradients, in one go.

    x (N, E), weight (V, E), bias (V,), targets (N,) -> loss, (dx (N, E), dweight (V, E), dbias (V,)) or None

    The same numbers as `x @ weight.T + bias` and the two functions above, but only `chunk` rows of logits exist at
    a time: a chunk's gradient is taken while it is still in the processor's cache, and the (N, V) array, by far the
    largest of a language model, is never made. Forward and backward share one walk because of that, and the
    gradients are those for dloss = 1. kernel: "auto" takes the compiled twin where there is one, "reference" this code.
    """
    check_float_array("weight", weight, ("V", "E"))
    check_float_array("x", x, ("N", weight.shape[1]), weight.dtype)
    check_float_array("bias", bias, (weight.shape[0],), weight.dtype)
    check_targets(targets, x.shape[0], weight.shape[0], ignore_index)
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 row, got {chunk}")
    xp = get_array_module(x, weight, bias)
    targets = xp.asarray(targets)
    compiled = twin("linear_cross_entropy", kernel, x)
    made = None if compiled is None else compiled(x, weight, bias, targets, ignore_index, chunk, need_grads)
    if made is not None:
        return made
    counted, n = _counted(targets, ignore_index)
    loss = xp.zeros(())
    grads = (xp.empty_like(x), xp.zeros_like(weight), xp.zeros_like(bias)) if need_grads else None
    for start in range(0, len(x), chunk):
        rows = slice(start, start + chunk)
        logits = x[rows] @ weight.T  # (chunk, V)
        logits += bias
        nll, dlogits = _chunk_loss_and_gradient(xp, logits, targets[rows], counted[rows], n, need_grads)
        loss += nll
        if grads is not None:
            dx, dweight, dbias = grads
            dx[rows] = dlogits @ weight
            dweight += dlogits.T @ x[rows]
            dbias += dlogits.sum(axis=0)
    loss = loss / n
    return loss if is_cupy(loss) else float(loss), grads


def _counted(targets, ignore_index):
    """-> (N,) booleans: does this target count?, and how many do, at least 1; on the device a number there"""
    xp = get_array_module(targets)
    counted = xp.full(targets.shape, True) if ignore_index is None else targets != ignore_index
    return counted, xp.maximum(counted.sum(), 1) if is_cupy(counted) else max(int(counted.sum()), 1)


def _chunk_loss_and_gradient(xp, logits, targets, counted, n, need_grads):
    """Summed loss of some rows, and d(mean loss)/dlogits, written over the logits."""
    rows, safe_targets = xp.arange(len(targets)), xp.where(counted, targets, 0)
    logits -= logits.max(axis=1, keepdims=True)
    picked = logits[rows, safe_targets]
    p = xp.exp(logits, out=logits)
    total = p.sum(axis=1)
    nll = xp.where(counted, xp.log(total) - picked, 0).sum().astype(np.float64)
    if not need_grads:
        return nll, None
    p *= (counted / (total * n)).astype(p.dtype)[:, None]
    p[rows, safe_targets] -= (counted / n).astype(p.dtype)
    return nll, p


def check_targets(targets, N, C, ignore_index):
    """Raise unless `targets` are (N,) integers in 0..C-1 or ignore_index. Of an array on the device the values are not
    looked at: see `check_ids`."""
    if not hasattr(targets, "shape"):
        raise TypeError(f"targets: expected an array of integers, got {type(targets).__name__}")
    check_shape("targets", targets, (N,))
    everything = ignore_index is None or is_cupy(targets)
    check_ids("targets", targets if everything else targets[targets != ignore_index], C, "classes")
