"""The whole classifier, loss to embedding: its gradients, unfreezing, lengths, batch norm and dropouts."""

import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import copies, load, same_bits
from strategies import normal, seeds
from tiny import (
    KINDS,
    SIZE,
    ClassifierCase,
    ClassifierProblem,
    classifier,
    classifier_cases,
    spread,
    well_posed,
)

from minilstm import Adam, MaskSource, gradcheck
from ulmfit.groups import layer_groups
from ulmfit.recipes import ClassifierTraining, Dropouts, ModelSize


@given(case=classifier_cases)
@settings(max_examples=settings.default.max_examples // 2)
def test_logits_and_loss_against_every_parameter(case):
    p = well_posed(ClassifierProblem, case)
    rng = np.random.default_rng(case.seed)
    gradcheck(p.forward, p.backward, p.inputs, rng=rng, zero=p.zero_by_nature(), tolerance=1e-7)
    assert p.backward(p.inputs, {"loss": 1.0}).keys() == p.model.params.keys()


@pytest.mark.parametrize("name", ClassifierProblem(ClassifierCase()).inputs)
def test_a_gradient_that_is_a_thousandth_too_large_is_noticed(name):
    p = well_posed(ClassifierProblem, ClassifierCase(T=6, B=4, E=3, H=4))

    def backward(inputs, d):
        grads = p.backward(inputs, d)
        return grads | {name: grads[name] * 1.001}

    with pytest.raises(AssertionError, match=f"/ d {name}: analytic"):
        gradcheck(p.forward, backward, p.inputs, rng=np.random.default_rng(0), zero=p.zero_by_nature(), tolerance=1e-7)


@given(case=classifier_cases)
def test_stopping_at_k_groups_is_the_top_of_the_full_backward(case):
    p = ClassifierProblem(case)
    full = p.undo({"loss": 1.0})
    groups = layer_groups(p.model)
    for k in range(1, len(groups) + 1):
        names = {name for group in groups[-k:] for name in group.params}
        same_bits(p.undo({"loss": 1.0}, k), {name: full[name] for name in names})


@pytest.mark.parametrize("k", range(1, 5))
def test_the_optimiser_leaves_frozen_groups_untouched(k):
    p = ClassifierProblem(ClassifierCase(seed=1))
    before, optimizer = copies(p.model.params), Adam(weight_decay=0.1)
    for _ in range(2):
        optimizer.step(p.model.params, p.undo({"loss": 1.0}, k), 0.1)
    groups = layer_groups(p.model)
    frozen = [name for group in groups[:-k] for name in group.params]
    same_bits({n: p.model.params[n] for n in frozen}, {n: before[n] for n in frozen})
    assert all((p.model.params[n] != before[n]).any() for group in groups[-k:] for n in group.params)
    assert not set(frozen) & set(optimizer.state["exp_avg"])


@given(case=classifier_cases)
def test_padding_changes_no_bit(case):
    p = ClassifierProblem(dataclasses.replace(case, lengths="mixed"))
    before = p.undo({"loss": 1.0}) | {"logits": p.run(p.inputs)[0]}
    p.ids[np.arange(case.T)[:, None] >= p.lengths] = case.V - 1
    same_bits(before, p.undo({"loss": 1.0}) | {"logits": p.run(p.inputs)[0]})


@given(case=classifier_cases)
def test_a_text_alone_in_evaluation_gives_the_logits_it_has_in_a_batch(case):
    p = ClassifierProblem(dataclasses.replace(case, lengths="mixed", dropout=False, training=False))
    logits, _, _ = p.run(p.inputs)
    for b, n in enumerate(p.lengths):
        ids = p.ids[: max(1, n), b : b + 1]
        alone, _, _ = p.model.forward(ids, p.lengths[b : b + 1], p.stats, need_cache=False, **case.windows)
        np.testing.assert_allclose(alone[0], logits[b], rtol=1e-9, atol=1e-9)


@given(seed=seeds)
def test_the_head_is_two_blocks_of_batch_norm_dropout_and_linear(seed):
    """Written out once more, from the sum over what each layer is."""
    p = ClassifierProblem(ClassifierCase(seed=seed), eps=1e-5)
    assert classifier().head.children["bn1"].eps == classifier().head.children["bn2"].eps == 1e-5
    a, (mask1, mask2) = p.inputs, p.masks.head
    x = normal(np.random.default_rng(seed), 3, 9)
    logits, _, _ = p.model.head.forward(x, p.stats, training=True, masks=(mask1, mask2))

    def norm(x, name):
        return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5) * a[f"{name}.weight"] + a[f"{name}.bias"]

    x = norm(x, "head.bn1") * mask1 @ a["head.linear1.weight"].T + a["head.linear1.bias"]
    x = norm(np.maximum(x, 0), "head.bn2") * mask2 @ a["head.linear2.weight"].T + a["head.linear2.bias"]
    np.testing.assert_allclose(logits, x, rtol=1e-9, atol=1e-12)


def test_the_head_reads_last_max_and_mean_of_the_encoder():
    p = ClassifierProblem(ClassifierCase(T=4, B=3, seed=2, dropout=False, training=False))
    lengths = np.array([4, 2, 1])
    h, _, _ = p.model.encoder.forward(p.ids, lengths=lengths)
    pooled = np.stack([
        np.concatenate([h[n - 1, b], h[:n, b].max(axis=0), h[:n, b].mean(axis=0)]) for b, n in enumerate(lengths)
    ])  # fmt: skip
    expected, _, _ = p.model.head.forward(pooled, p.stats, training=False)
    np.testing.assert_allclose(p.model.forward(p.ids, lengths, p.stats)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("kind", [*KINDS[:-1], "head 0", "head 1"])
def test_each_dropout_changes_logits_and_gradients_in_training_and_nothing_in_evaluation(kind):
    p = ClassifierProblem(ClassifierCase(T=5, B=5, E=4, H=4, dropout=False, seed=1))

    def run(probability, step=0):
        n, head = kind.removeprefix("head "), [0.0, 0.0]
        if kind.startswith("head"):
            head[int(n)] = probability
        dropouts = Dropouts(head=tuple(head)) if n != kind else Dropouts(**{kind: probability})
        p.masks = p.model.draw_masks(MaskSource(5), step, 5, dropouts)
        return p.run(p.inputs)[0], p.undo({"loss": 1.0})

    off, off_grads = run(0.0)
    logits, grads = run(0.5)
    assert (off != logits).any() and (run(0.3)[0] != logits).any() and (run(0.5, step=1)[0] != logits).any()
    assert (run(0.5)[0] == logits).all()  # the same step, the same masks
    # all of them; but dropout of the last block leaves the gradient of the last bias to the softmax alone
    assert all((grads[name] != off_grads[name]).any() for name in grads)
    p.masks = None
    assert (p.run(p.inputs)[0] == off).all()


def test_head_masks_are_element_wise_and_differ_between_blocks():
    model = classifier()
    masks = model.draw_masks(MaskSource(5), 0, 7, Dropouts(head=(0.5, 0.25)))
    assert [m.shape for m in masks.head] == [(7, 18), (7, 5)]
    assert [set(np.unique(m)) for m in masks.head] == [{0, 2}, {0, 4 / 3}]
    assert len({m.tobytes() for m in masks.head[0]}) == 7
    assert (model.draw_masks(MaskSource(5), 0, 7, Dropouts(head=(0.5, 0.5))).head[1] != masks.head[0][:, :5]).any()


def test_training_moves_the_running_statistics_and_evaluation_uses_them():
    p = ClassifierProblem(ClassifierCase(dropout=False, seed=4))
    training, moved, _ = p.run(p.inputs)
    evaluation, kept, _ = p.model.forward(p.ids, p.lengths, p.stats)
    assert (training != evaluation).any()
    for before, after, same in zip(p.stats, moved, kept, strict=True):
        assert (after.mean != before.mean).all() and same.mean is before.mean and same.var is before.var
    assert (p.model.forward(p.ids, p.lengths, moved)[0] != evaluation).any()
    first = p.model.initial_stats()
    assert [s.mean.shape for s in first] == [(9,), (4,)] and all((s.var == 1).all() for s in first)


def test_a_training_batch_of_one_text_is_refused():
    model = classifier()
    ids, lengths = np.ones((2, 1), int), np.array([2])
    with pytest.raises(ValueError, match="batch norm needs at least 2 rows"):
        model.forward(ids, lengths, model.initial_stats(), training=True)


@given(case=classifier_cases)
def test_float32_follows_float64(case):
    case = dataclasses.replace(case, training=False, dropout=False)
    p = ClassifierProblem(case)
    small = classifier(case.V, case.size, case.C, dtype=np.float32)
    load(small, p.inputs)
    for name in ("bn1", "bn2"):
        small.head.children[name].eps = p.model.head.children[name].eps
    stats = tuple(type(s)(*(a.astype(np.float32) for a in s)) for s in p.stats)
    logits, _, cache = small.forward(p.ids, p.lengths, stats, **case.windows)
    np.testing.assert_allclose(logits, p.run(p.inputs)[0], rtol=1e-3, atol=1e-3)
    assert {a.dtype for a in (logits, *small.backward(logits, cache).values())} == {np.dtype(np.float32)}


# --- windows


@given(case=classifier_cases)
def test_logits_and_penalty_are_those_of_windows_that_begin_where_the_text_before_them_ended(case):
    p = ClassifierProblem(case)
    logits, _, cache = p.run(p.inputs)
    expected = p.forward(p.inputs)
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(p.loss(logits)[0] + cache.penalty, expected["loss"], rtol=1e-9)
    assert len(cache.windows) == max(1, *(len(p.spans(b)) for b in range(case.B)))
    no_cache = p.model.forward(
        p.ids, p.lengths, p.stats, training=case.training, masks=p.masks, need_cache=False, **case.windows
    )
    assert (no_cache[0] == logits).all() and no_cache[2] is None


@given(case=classifier_cases)
def test_a_text_that_is_pooled_as_a_whole_has_the_same_logits_whatever_the_windows(case):
    p = ClassifierProblem(case)
    whole, windows = (
        p.model.forward(p.ids, p.lengths, p.stats, masks=p.masks, bptt=bptt, max_tokens=case.T)[0]
        for bptt in (case.T, case.bptt)
    )
    np.testing.assert_allclose(windows, whole, rtol=1e-9, atol=1e-9)


distinct_words = st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 9), seeds)  # T, bptt, max_tokens


def gradient_by_word(T, bptt, max_tokens, seed, lengths, **options):
    """Texts of words that occur once -> whether each word (T, B) has a gradient"""
    B, rng = len(lengths), np.random.default_rng(seed)
    size = dataclasses.replace(SIZE, head=64)  # some of so many units are always above zero
    model = spread(classifier(T * B, size), rng)
    ids = rng.permutation(T * B).reshape(T, B)
    logits, _, cache = model.forward(ids, lengths, model.initial_stats(), bptt=bptt, max_tokens=max_tokens, **options)
    grads = model.backward(rng.standard_normal(logits.shape), cache)
    return grads["encoder.embedding.weight"][ids].any(axis=2)


@given(sizes=distinct_words)
def test_every_pooled_window_has_a_gradient_and_nothing_before_it(sizes):
    """Each pooled word is at least in the mean; the rest of the text, and padding, is not looked at."""
    T, bptt, max_tokens, seed = sizes
    lengths = np.random.default_rng(seed).integers(0, T + 1, 3)
    reached = gradient_by_word(T, bptt, max_tokens, seed, lengths)
    n_pooled = bptt * -(-max_tokens // bptt)
    t = np.arange(T)[:, None]
    assert (reached == ((lengths - n_pooled <= t) & (t < lengths))).all()


def test_the_defaults_are_twenty_windows_of_seventy_words():
    reached = gradient_by_word(1500, 70, 1400, 0, np.array([1500, 1401]))
    assert reached.sum(axis=0).tolist() == [1400, 1400]
    assert (ClassifierTraining.bptt, ClassifierTraining.max_tokens) == (70, 1400)
    model = classifier()
    ids = np.random.default_rng(0).integers(0, 12, (150, 2))
    _, _, cache = model.forward(ids, [150, 60], model.initial_stats())
    assert [w.encoder[0][0].shape for w in cache.windows] == [(10, 2), (70, 2), (70, 2)]  # ids


def test_nothing_goes_back_from_a_window_to_the_one_before_it():
    """Only the last state is looked at: the last window gets all of the gradient."""
    model = spread(classifier(7), np.random.default_rng(0))
    ids = np.arange(7)[:, None]
    for bptt, reached in ((7, 7), (3, 3), (1, 1)):
        logits, _, cache = model.forward(ids, [7], model.initial_stats(), bptt=bptt)
        model.head.children["bn1"].params["weight"][6:] = 0  # maximum and mean of six units
        grads = model.backward(np.ones_like(logits), cache)
        assert grads["encoder.embedding.weight"].any(axis=1).tolist() == [False] * (7 - reached) + [True] * reached


@pytest.mark.parametrize("training", [True, False])
def test_memory_does_not_grow_with_the_length_of_a_text(training):
    """But for the ids, which are there before."""
    model = classifier(size=ModelSize(embedding=8, hidden=8, layers=1, head=4), dtype=np.float32)
    windows = {"bptt": 40, "max_tokens": 160}

    def peak(n):
        ids = np.ones((n, 2), np.int64)
        tracemalloc.start()
        try:
            logits, _, cache = model.forward(
                ids, [n, n // 2], model.initial_stats(), training=training, need_cache=training, **windows
            )
            if training:
                assert len(cache.windows) == 4
                model.backward(logits, cache)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(400)
    assert peak(2000) < 1.1 * peak(400)


@pytest.mark.parametrize("ids, lengths, error, message", [
    (np.ones(3, int), None, ValueError, r"ids: expected shape \(T, B\), got \(3,\)"),
    (np.ones((3, 2), int), [1, 4], ValueError, "lengths: expected values in 0..T = 3, got 4 in row 1"),
    (np.ones((3, 2), int), [1.0, 2.0], TypeError, "lengths: expected integers"),
])  # fmt: skip
def test_bad_arguments(ids, lengths, error, message):
    model = classifier()
    with pytest.raises(error, match=message):
        model.forward(ids, lengths, model.initial_stats())


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(6))
def test_gradients_are_pytorchs(seed):
    """BPT3C once more, with autograd and detach: each text alone, word by word."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    case = ClassifierCase(
        T=9, B=4, H=3, V=9, layers=1 + seed % 3, bptt=(1, 2, 3, 70)[seed % 4], max_tokens=5, ar=0.5, tar=0.8, seed=seed
    )
    p = ClassifierProblem(case)
    p.lengths[:3] = 9, 0, 1
    a = {name: torch.tensor(x, requires_grad=True) for name, x in p.inputs.items()}
    row_mask, inputs, weights, head = (
        [torch.tensor(np.asarray(mask)) for mask in masks]
        for masks in ([p.masks.encoder.embedding], p.masks.encoder.inputs, p.masks.encoder.weights, p.masks.head)
    )
    pooled, words, changes = [], [], []
    for b, length in enumerate(p.lengths):
        states = [[torch.zeros(1, m.shape[1], dtype=torch.float64)] * 2 for m in weights]
        kept = []
        for start, end in [(max(0, n - case.bptt), n) for n in reversed(range(length, 0, -case.bptt))]:
            states, window = [[s.detach() for s in pair] for pair in states], []
            for word in p.ids[start:end, b]:
                x = a["encoder.embedding.weight"][word] * row_mask[0][word]
                for n, pair in enumerate(states):
                    w_ih, w_hh, b_ih, b_hh = (
                        a[f"encoder.lstm.{k}_l{n}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                    )
                    x = (x * inputs[n][0, b])[None]
                    states[n] = torch.lstm_cell(x, pair, w_ih, w_hh * weights[n], b_ih, b_hh)
                    x = states[n][0][0]
                window.append(x)
            kept.append(torch.stack(window))
        kept = kept[-math.ceil(case.max_tokens / case.bptt) :]
        words += kept
        changes += [window[1:] - window[:-1] for window in kept]
        h = torch.cat(kept) if kept else torch.zeros(1, case.E, dtype=torch.float64)
        pooled.append(torch.cat([h[-1], h.max(dim=0).values, h.mean(dim=0)]))
    x = torch.stack(pooled)
    for n in (1, 2):
        norm, linear = f"head.bn{n}.", f"head.linear{n}."
        x = torch.nn.functional.batch_norm(x, None, None, a[norm + "weight"], a[norm + "bias"], training=True, eps=0.1)
        x = (x * head[n - 1]) @ a[linear + "weight"].T + a[linear + "bias"]
        x = torch.relu(x) if n == 1 else x
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(p.labels))
    penalty = case.ar * torch.cat(words).pow(2).mean()
    if case.bptt > 1:
        penalty = penalty + case.tar * torch.cat(changes).pow(2).mean()
    (loss + penalty).backward()

    logits, _, cache = p.run(p.inputs)
    np.testing.assert_allclose(logits, x.detach().numpy(), rtol=1e-9, atol=1e-9)
    assert cache.penalty == pytest.approx(penalty.item(), rel=1e-9)
    grads = p.undo({"loss": 1.0})
    assert grads.keys() == a.keys()
    for name, g in grads.items():
        np.testing.assert_allclose(g, a[name].grad.numpy(), rtol=1e-7, atol=1e-9, err_msg=name)
