"""Our side of the comparison with PyTorch: each check takes arrays that `make_golden.py` made there, its inputs and
its results, computes the results once more here, and compares. The arrays come from files (test_golden.py) or straight
from PyTorch (test_torch_parity.py)."""

import numpy as np

from minilstm import (
    ASGD,
    LSTM,
    SGD,
    Adam,
    BatchNorm,
    Embedding,
    Linear,
    LSTMStack,
    LSTMState,
    RunningStats,
    activation_regularization_backward,
    activation_regularization_forward,
    load_state_dict,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    temporal_activation_regularization_backward,
    temporal_activation_regularization_forward,
)


def tolerance(dtype):
    """Relative to an array's largest number: a hundred roundings or so."""
    return 128 * np.finfo(dtype).eps


def agree(ours, theirs):
    """Raise AssertionError unless every array of `theirs` is there and equal up to rounding."""
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        got = np.asarray(ours[name])
        assert got.shape == want.shape, f"{name}: {got.shape}, PyTorch has {want.shape}"
        limit = tolerance(want.dtype) * max(1, abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=limit, err_msg=name)


def under(prefix, arrays):
    """{"grad/weight": a, ...} -> {"weight": a} for the prefix "grad"."""
    return {name.removeprefix(prefix + "/"): a for name, a in arrays.items() if name.startswith(prefix + "/")}


def no_rng():
    return np.random.default_rng(0)  # for parameters that are overwritten at once


def stack_for(params):
    """An LSTMStack of the sizes of these parameters of a torch.nn.LSTM, holding them."""
    n_layers = sum(name.startswith("weight_hh") for name in params)
    sizes = [params[f"weight_hh_l{n}"].shape[1] for n in range(n_layers)]
    w = params["weight_ih_l0"]
    stack = LSTMStack(w.shape[1], sizes, rng=no_rng(), dtype=w.dtype)
    load_state_dict(stack.params, params)
    return stack


def check_lstm(arrays):
    """torch.nn.LSTM of any number of layers, with packed sequences where the arrays hold lengths."""
    given, params = under("in", arrays), under("param", arrays)
    stack = stack_for(params)
    states = [LSTMState(h, c) for h, c in zip(given["h_0"], given["c_0"], strict=True)]
    y, states, cache = stack.forward(given["x"], states, lengths=given.get("lengths"))
    dstates = [LSTMState(dh, dc) for dh, dc in zip(given["dh_n"], given["dc_n"], strict=True)]
    dx, dstates, grads = stack.backward(given["dy"], dstates, cache)
    h_n, c_n, dh_0, dc_0 = (np.stack([getattr(s, k) for s in ss]) for ss in (states, dstates) for k in "hc")
    agree({"y": y, "h_n": h_n, "c_n": c_n, "dx": dx, "dh_0": dh_0, "dc_0": dc_0}, under("out", arrays))
    agree(grads, under("grad", arrays))


def check_lstm_cell(arrays):
    given, params = under("in", arrays), under("param", arrays)
    layer = LSTM(params["weight_ih"].shape[1], params["weight_hh"].shape[1], rng=no_rng(), dtype=given["x"].dtype)
    load_state_dict(layer.params, params)
    y, (h, c), cache = layer.forward(given["x"][None], LSTMState(given["h_0"], given["c_0"]))
    assert (y[0] == h).all()
    dx, (dh_0, dc_0), grads = layer.backward(None, LSTMState(given["dh_1"], given["dc_1"]), cache)
    agree({"h_1": h, "c_1": c, "dx": dx[0], "dh_0": dh_0, "dc_0": dc_0}, under("out", arrays))
    agree(grads, under("grad", arrays))


def check_embedding(arrays):
    given, params = under("in", arrays), under("param", arrays)
    layer = Embedding(*params["weight"].shape, rng=no_rng(), dtype=params["weight"].dtype)
    load_state_dict(layer.params, params)
    y, cache = layer.forward(given["ids"])
    agree({"y": y}, under("out", arrays))
    agree(layer.backward(given["dy"], cache)[1], under("grad", arrays))


def check_batchnorm(arrays):
    """Some batches of training, whose running statistics carry over, then one of evaluation."""
    given, params = under("in", arrays), under("param", arrays)
    layer = BatchNorm(len(params["weight"]), dtype=params["weight"].dtype)
    load_state_dict(layer.params, params)
    stats = layer.initial_stats()
    last = len(given["x"]) - 1
    for step, (x, dy) in enumerate(zip(given["x"], given["dy"], strict=True)):
        y, stats, cache = layer.forward(x, RunningStats(*stats), training=step < last)
        dx, grads = layer.backward(dy, cache)
        agree({"y": y, "dx": dx, "mean": stats.mean, "var": stats.var}, under(f"out{step}", arrays))
        agree(grads, under(f"grad{step}", arrays))


def check_cross_entropy(arrays):
    given = under("in", arrays)
    loss, cache = softmax_cross_entropy_forward(given["logits"], given["targets"])
    agree({"loss": loss, "dlogits": softmax_cross_entropy_backward(1.0, cache)}, under("out", arrays))


def check_penalties(arrays):
    y = under("in", arrays)["y"]
    ar, ar_cache = activation_regularization_forward(y, 2.0)
    tar, tar_cache = temporal_activation_regularization_forward(y, 1.0)
    dar, dtar = (
        activation_regularization_backward(1.0, ar_cache), temporal_activation_regularization_backward(1.0, tar_cache)
    )  # fmt: skip
    agree({"ar": ar, "tar": tar, "dar": dar, "dtar": dtar}, under("out", arrays))


OPTIMISERS = {
    "sgd": lambda: SGD(),
    "sgd_momentum_decay": lambda: SGD(momentum=0.9, weight_decay=0.05),
    "adam": lambda: Adam(),
    "adam_decay": lambda: Adam(betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05),
    "adamw": lambda: Adam(weight_decay=0.05, decoupled_weight_decay=True),
}


def check_optimiser(arrays):
    """Steps with given gradients and a rate for each of two groups; `late` joins at the third step."""
    given = under("in", arrays)
    for name, make in OPTIMISERS.items():
        optimiser = make()
        params = {"early": given["early"].copy(), "late": given["late"].copy()}
        for step, g in enumerate(given["grads"]):
            grads = {"early": g, "late": 2 * g} if step >= 2 else {"early": g}
            optimiser.step(params, grads, {"early": 0.1, "late": 0.02})
        agree(params, under(f"out_{name}", arrays))


def check_averaging(arrays):
    given = under("in", arrays)
    optimiser, params = ASGD(t0=2, weight_decay=0.05), {"p": given["p"].copy()}
    for g in given["grads"]:
        optimiser.step(params, {"p": g}, 0.125)
    agree(params | {"ax": optimiser.state["ax"]["p"]}, under("out", arrays))


def check_training(arrays):
    """Ten steps of embedding, LSTM, last state, linear layer and cross-entropy: the same ten losses."""
    given, params = under("in", arrays), under("param", arrays)
    V, E = params["embedding.weight"].shape
    C, H = params["linear.weight"].shape
    dtype = params["linear.weight"].dtype
    stack = stack_for(under("lstm", {name.replace(".", "/"): p for name, p in params.items()}))
    layers = {"embedding": Embedding(V, E, rng=no_rng(), dtype=dtype), "lstm": stack}
    layers["linear"] = Linear(H, C, rng=no_rng(), dtype=dtype)
    ours = {f"{part}.{name}": p for part, layer in layers.items() for name, p in layer.params.items()}
    for name, make in (("sgd", lambda: SGD(momentum=0.9)), ("adam", lambda: Adam(eps=1e-3))):
        load_state_dict(ours, params)
        optimiser, losses = make(), []
        for ids, targets, lengths in zip(given["ids"], given["targets"], given["lengths"], strict=True):
            loss, grads = loss_and_grads(layers, ids, targets, lengths)
            optimiser.step(ours, grads, float(given["lr"]))
            losses.append(loss)
        agree({"losses": np.array(losses), **ours}, under(f"out_{name}", arrays))


def loss_and_grads(layers, ids, targets, lengths):
    x, embedding_cache = layers["embedding"].forward(ids)
    _, states, lstm_cache = layers["lstm"].forward(x, lengths=lengths)
    logits, linear_cache = layers["linear"].forward(states[-1].h)
    loss, loss_cache = softmax_cross_entropy_forward(logits, targets)

    dlogits = softmax_cross_entropy_backward(1.0, loss_cache)
    dh, linear_grads = layers["linear"].backward(dlogits, linear_cache)
    dstates = [None] * (len(states) - 1) + [LSTMState(dh, None)]
    dx, _, lstm_grads = layers["lstm"].backward(None, dstates, lstm_cache)
    _, embedding_grads = layers["embedding"].backward(dx, embedding_cache)
    parts = {"embedding": embedding_grads, "lstm": lstm_grads, "linear": linear_grads}
    return loss, {f"{part}.{name}": g for part, grads in parts.items() for name, g in grads.items()}


CHECKS = {
    "lstm_1_layer": check_lstm,
    "lstm_2_layers": check_lstm,
    "lstm_3_layers": check_lstm,
    "lstm_packed": check_lstm,
    "lstm_cell": check_lstm_cell,
    "embedding": check_embedding,
    "batchnorm": check_batchnorm,
    "cross_entropy": check_cross_entropy,
    "penalties": check_penalties,
    "optimisers": check_optimiser,
    "averaging": check_averaging,
    "training": check_training,
}
