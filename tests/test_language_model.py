"""The whole language model, loss to embedding: its gradients, its tied weight, its carried states, its dropouts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from problems import copies, load, same_bits
from strategies import seeds
from tiny import KINDS, LMCase, LMProblem, language_model, lm_cases, spread, well_posed

from minilstm import (
    Embedding,
    MaskSource,
    dropout_backward,
    dropout_forward,
    gradcheck,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from ulmfit.language_model import grow_vocabulary
from ulmfit.recipes import Dropouts


@given(case=lm_cases)
def test_the_loss_against_every_parameter(case):
    p = well_posed(LMProblem, case)
    rng = np.random.default_rng(case.seed)
    gradcheck(p.forward, p.backward, p.inputs, rng=rng, zero=p.zero_by_nature(), directions=2, tolerance=1e-7)
    assert p.backward(p.inputs, {"loss": 1.0}).keys() == p.model.params.keys()


@pytest.mark.parametrize("name", LMProblem(LMCase()).inputs)
def test_a_gradient_that_is_a_thousandth_too_large_is_noticed(name):
    """In whole models it takes the tolerance above: at 1e-6 some of these would pass."""
    p = well_posed(LMProblem, LMCase(ar=0.7, tar=0.9))

    def backward(inputs, d):
        grads = p.backward(inputs, d)
        return grads | {name: grads[name] * 1.001}

    with pytest.raises(AssertionError, match=f"d loss / d {name}: analytic"):
        gradcheck(p.forward, backward, p.inputs, rng=np.random.default_rng(0), directions=2, tolerance=1e-7)


@given(case=lm_cases)
def test_the_tied_weight_has_the_sum_of_two_gradients(case):
    """The same model untied: an embedding and a decoder matrix of their own, put together from the engine's layers."""
    p = LMProblem(dataclasses.replace(case, ar=0.0, tar=0.0))
    loss, _, cache = p.run(p.inputs)
    tied = p.model.backward(cache)
    untied_loss, d_embedding, d_decoder = untied(p)
    assert loss == pytest.approx(untied_loss, rel=1e-12)
    np.testing.assert_allclose(tied["encoder.embedding.weight"], d_embedding + d_decoder, rtol=1e-9, atol=1e-13)


def untied(p):
    """-> loss, gradient of the embedding, gradient of the decoder's matrix"""
    weight, bias = p.inputs["encoder.embedding.weight"], p.inputs["decoder.bias"]
    embedding = Embedding(*weight.shape, rng=np.random.default_rng(0), dtype=np.float64)
    load(embedding, {"weight": weight})
    lstm = p.model.encoder.children["lstm"]
    x, x_cache = embedding.forward(p.ids, p.masks.embedding)
    masks = {"input_masks": p.masks.inputs, "weight_hh_masks": p.masks.weights}
    h, _, h_cache = lstm.forward(x, p.states, **masks)
    h = dropout_forward(h, p.masks.output)
    rows = h.reshape(-1, h.shape[-1])
    loss, loss_cache = softmax_cross_entropy_forward(rows @ weight.T + bias, p.targets.ravel())
    dlogits = softmax_cross_entropy_backward(1.0, loss_cache)
    dh = dropout_backward((dlogits @ weight).reshape(h.shape), p.masks.output)
    dx, _, _ = lstm.backward(dh, None, h_cache)
    return loss, embedding.backward(dx, x_cache)[1]["weight"], dlogits.T @ rows


@given(seed=seeds)
def test_windows_carry_their_states_as_values(seed):
    """Two windows see what one long window sees; but the gradient stays inside each."""
    p = LMProblem(LMCase(T=5, dropout=False, seed=seed))
    whole, states, _ = p.run(p.inputs)
    first, carry, first_cache = p.model.forward(p.ids[:2], p.targets[:2], p.states)
    alone = p.model.backward(first_cache)
    second, end, cache = p.model.forward(p.ids[2:], p.targets[2:], carry)
    assert (2 * first + 3 * second) / 5 == pytest.approx(whole, rel=1e-12)
    for a, b in zip(end, states, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    detached = [type(s)(s.h.copy(), s.c.copy()) for s in carry]
    same_bits(
        p.model.backward(cache), p.model.backward(p.model.forward(p.ids[2:], p.targets[2:], detached)[2])
    )
    same_bits(alone, p.model.backward(first_cache))  # the second window changed nothing of the first


@given(case=lm_cases)
def test_the_penalties_are_means_of_squares_the_first_of_what_the_decoder_reads(case):
    p = LMProblem(dataclasses.replace(case, T=case.T + 1, ar=2.0, tar=1.0))
    loss, _, cache = p.run(p.inputs)
    y, _, _ = p.model.encoder.forward(p.ids, p.states, masks=p.masks)
    ar = 2 * (dropout_forward(y, p.masks.output) ** 2).mean()
    tar = (np.diff(y, axis=0) ** 2).mean()
    assert cache.penalty == pytest.approx(ar + tar, rel=1e-12)
    p.penalties = {}
    without, _, plain = p.run(p.inputs)
    assert plain.penalty == 0 and plain.cross_entropy == without == cache.cross_entropy
    assert loss == pytest.approx(without + ar + tar, rel=1e-12)


def test_penalties_of_weight_zero_change_no_bit():
    p = LMProblem(LMCase())
    off, _, off_cache = p.run(p.inputs)
    p.penalties = {}
    none, _, none_cache = p.run(p.inputs)
    assert off == none
    same_bits(p.model.backward(off_cache), p.model.backward(none_cache))


def test_the_decoder_uses_the_undropped_matrix():
    """With every word of the text dropped the encoder sees only zeros, yet the decoder still knows all words."""
    p = LMProblem(LMCase(dropout=False, carried=True, layers=1))
    dropped = p.masks._replace(embedding=np.zeros((len(p.inputs["decoder.bias"]), 1)))
    loss, _, _ = p.model.forward(p.ids, p.targets, p.states, masks=dropped)
    weight = p.inputs["encoder.embedding.weight"]
    x = np.zeros((*p.ids.shape, weight.shape[1]))
    y, _, _ = p.model.encoder.children["lstm"].forward(x, p.states)
    logits = y.reshape(-1, weight.shape[1]) @ weight.T + p.inputs["decoder.bias"]
    assert loss == pytest.approx(softmax_cross_entropy_forward(logits, p.targets.ravel())[0], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_each_dropout_changes_loss_and_gradients_in_training_and_nothing_in_evaluation(kind):
    p = LMProblem(LMCase(T=5, B=4, E=4, H=4, layers=2, dropout=False, seed=1))

    def run(probability, step=0):
        dropouts = Dropouts(**{kind: probability})
        p.masks = p.model.encoder.draw_masks(MaskSource(5), step, 4, dropouts)
        loss, _, cache = p.run(p.inputs)
        return float(loss), p.model.backward(cache)

    off, off_grads = run(0.0)
    p.masks = None
    assert off == p.run(p.inputs)[0]
    losses = [run(0.3)[0], run(0.6)[0], run(0.6, step=1)[0]]
    assert len({off, *losses}) == 4
    assert run(0.6)[0] == losses[1]
    assert all((run(0.6)[1][name] != off_grads[name]).any() for name in off_grads)


def test_the_output_dropout_is_the_same_at_every_step():
    p = LMProblem(LMCase(T=4, E=4, dropout=False))
    mask = np.array([[[2.0, 0, 0, 2.0]]]).repeat(3, axis=1)
    loss, _, _ = p.model.forward(p.ids, p.targets, p.states, masks=p.masks._replace(output=mask))
    y, _, _ = p.model.encoder.forward(p.ids, p.states)
    weight, bias = p.inputs["encoder.embedding.weight"], p.inputs["decoder.bias"]
    logits = (y[..., [0, 3]] * 2) @ weight[:, [0, 3]].T + bias
    expected = softmax_cross_entropy_forward(logits.reshape(-1, len(bias)), p.targets.ravel())[0]
    assert loss == pytest.approx(expected, rel=1e-12)


def test_logits_are_what_the_loss_is_made_of():
    p = LMProblem(LMCase(dropout=False))
    logits, states = p.model.logits(p.ids, p.states)
    loss, same_states, _ = p.model.forward(p.ids, p.targets, p.states)
    expected = softmax_cross_entropy_forward(logits.reshape(-1, logits.shape[-1]), p.targets.ravel())[0]
    assert loss == pytest.approx(expected, rel=1e-12)
    same_bits(states[0]._asdict(), same_states[0]._asdict())


def test_evaluation_keeps_no_cache_and_gives_the_same_bits():
    p = LMProblem(LMCase(dropout=False))
    loss, states, cache = p.model.forward(p.ids, p.targets, p.states, need_cache=False)
    assert cache is None and loss == p.run(p.inputs)[0]


@given(case=lm_cases)
def test_float32_follows_float64(case):
    """The numbers are the same up to rounding, and nothing turns into float64 on the way."""
    p = LMProblem(dataclasses.replace(case, dropout=False, carried=False))
    small = language_model(case.V, case.size, dtype=np.float32)
    load(small, p.inputs)
    loss, states, cache = small.forward(p.ids, p.targets, **p.penalties)
    assert loss == pytest.approx(p.run(p.inputs)[0], rel=1e-4)
    assert {a.dtype for a in (states[0].h, *small.backward(cache).values())} == {np.dtype(np.float32)}


def test_a_new_vocabulary_keeps_known_rows_and_gives_new_words_the_mean():
    model = spread(language_model(4), np.random.default_rng(0))
    before = copies(model.params)
    rows = [2, -1, 0, 3, -1]  # the new word 0 was word 2, the new word 1 is unknown, ...
    grown = grow_vocabulary(model.params, rows)
    weight, bias = grown["encoder.embedding.weight"], grown["decoder.bias"]
    old_weight, old_bias = before["encoder.embedding.weight"], before["decoder.bias"]
    assert (weight[[0, 2, 3]] == old_weight[[2, 0, 3]]).all() and (bias[[0, 2, 3]] == old_bias[[2, 0, 3]]).all()
    np.testing.assert_allclose(weight[[1, 4]], [old_weight.mean(axis=0)] * 2)
    np.testing.assert_allclose(bias[[1, 4]], old_bias.mean())
    rest = before.keys() - {"encoder.embedding.weight", "decoder.bias"}
    same_bits({n: grown[n] for n in rest}, {n: before[n] for n in rest})
    same_bits(copies(model.params), before)
    assert weight.dtype == bias.dtype == np.float64


def test_the_embedding_starts_small_and_the_decoder_bias_at_zero():
    model = language_model(50)
    weight = model.params["encoder.embedding.weight"]
    assert 0.05 < abs(weight).max() <= 0.1 and not model.params["decoder.bias"].any()
    assert model.params["encoder.embedding.weight"] is model.encoder.children["embedding"].params["weight"]


def test_an_id_out_of_range_is_named():
    model = language_model(4)
    ids = np.array([[1], [4]])
    with pytest.raises(IndexError, match=r"ids: expected ids in 0..3 \(4 words\), got 4"):
        model.forward(ids, ids * 0)
    with pytest.raises(IndexError, match="targets"):
        model.forward(ids * 0, ids)


def test_carried_states_of_another_batch_are_refused():
    model = language_model(4)
    _, states, _ = model.forward(np.zeros((2, 3), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="state.h: expected shape"):
        model.forward(np.zeros((2, 4), int), np.zeros((2, 4), int), states)
