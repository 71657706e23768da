"""The whole classifier, loss to embedding: its gradients, unfreezing, lengths, batch norm and dropouts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from problems import copies, load, same_bits
from strategies import normal, seeds
from tiny import (
    KINDS,
    ClassifierCase,
    ClassifierProblem,
    classifier,
    classifier_cases,
    well_posed,
)

from minilstm import Adam, MaskSource, gradcheck
from ulmfit.groups import layer_groups
from ulmfit.recipes import Dropouts


@given(case=classifier_cases)
def test_logits_and_loss_against_every_parameter(case):
    p = well_posed(ClassifierProblem, case)
    rng = np.random.default_rng(case.seed)
    gradcheck(p.forward, p.backward, p.inputs, rng=rng, zero=p.zero_by_nature(), directions=2)
    assert p.backward(p.inputs, {"loss": 1.0}).keys() == p.model.params.keys()


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
        alone, _, _ = p.model.forward(ids, p.lengths[b : b + 1], p.stats, need_cache=False)
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
    logits, _, cache = small.forward(p.ids, p.lengths, stats)
    np.testing.assert_allclose(logits, p.run(p.inputs)[0], rtol=1e-3, atol=1e-3)
    assert {a.dtype for a in (logits, *small.backward(logits, cache).values())} == {np.dtype(np.float32)}
