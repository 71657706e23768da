"""The encoder: each of the five dropouts falls where it should, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given
from problems import same_bits
from strategies import normal, seeds
from tiny import DROPOUTS, KINDS, SIZE, language_model, spread

from minilstm import MaskSource
from ulmfit.awd_lstm import AWDLSTM
from ulmfit.recipes import Dropouts, ModelSize

IDS = np.random.default_rng(0).integers(0, 12, (5, 3))
IDS[0, 0] = IDS[3, 2] = IDS[4, 1] = 4  # a word that stands in several places
THREE_LAYERS = ModelSize(embedding=6, hidden=8, layers=3)


def encoder(size=SIZE, dtype=np.float64):
    return spread(AWDLSTM(12, size, rng=np.random.default_rng(1), dtype=dtype, kernel="reference"),
                  np.random.default_rng(2))


def draw(enc, step=0, seed=3, B=3, **p):
    return enc.draw_masks(MaskSource(seed), step, B, Dropouts(**p))


def arrays(masks):
    """All masks of a step by name, those that are None left out."""
    named = {"embedding": masks.embedding, "output": masks.output}
    named |= {f"input {n}": m for n, m in enumerate(masks.inputs)}
    named |= {f"weight {n}": m for n, m in enumerate(masks.weights)}
    return {name: m for name, m in named.items() if m is not None}


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_last_layer_is_as_wide_as_the_embedding(layers):
    enc = encoder(ModelSize(embedding=6, hidden=8, layers=layers))
    widths = [layer.params["weight_hh"].shape[1] for layer in enc.children["lstm"].layers]
    assert widths == [8] * (layers - 1) + [6]
    y, states, _ = enc.forward(IDS)
    assert y.shape == (5, 3, 6) and [s.h.shape for s in states] == [(3, H) for H in widths]
    assert list(enc.params)[0] == "embedding.weight" and f"lstm.bias_hh_l{layers - 1}" in enc.params


WHERE = {
    "embedding": {"embedding": (12, 1)},
    "input": {"input 0": (1, 3, 6)},
    "weight": {"weight 0": (32, 8), "weight 1": (32, 8), "weight 2": (24, 6)},
    "hidden": {"input 1": (1, 3, 8), "input 2": (1, 3, 8)},
    "output": {"output": (1, 3, 6)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_probability_makes_its_own_masks_and_no_others(kind):
    masks = arrays(draw(encoder(THREE_LAYERS), **{kind: 0.5}))
    assert {name: m.shape for name, m in masks.items()} == WHERE[kind]
    assert all(set(np.unique(m)) == {0.0, 2.0} for m in masks.values())  # dropped, or scaled by 1 / (1 - p)


def test_no_two_masks_of_a_step_are_the_same_draw():
    masks = arrays(draw(encoder(ModelSize(embedding=8, hidden=8, layers=3)), B=40, **dict.fromkeys(KINDS, 0.5)))
    long_enough = {name: m.ravel()[:256].tobytes() for name, m in masks.items() if m.size >= 256}
    assert len(long_enough) == 7 == len(set(long_enough.values()))


@given(seed=seeds)
def test_masks_are_a_function_of_seed_and_step(seed):
    enc, p = encoder(), dict.fromkeys(KINDS, 0.4)
    first = arrays(draw(enc, 5, seed, **p))
    draw(enc, 6, seed, **p)  # whatever is drawn in between
    same_bits(first, arrays(draw(encoder(), 5, seed, **p)))
    for other in (draw(enc, 6, seed, **p), draw(enc, 5, seed + 1, **p)):
        assert all((arrays(other)[name] != first[name]).any() for name in first if first[name].size > 50)


def test_a_dropped_word_is_zero_wherever_it_stands():
    enc = encoder()
    masks = draw(enc)._replace(embedding=np.full((12, 1), 1.25))
    masks.embedding[4] = 0
    y, _, cache = enc.forward(IDS, masks=masks)
    grads = enc.backward(np.ones_like(y), cache)
    assert not grads["embedding.weight"][4].any() and grads["embedding.weight"][IDS[1, 1]].any()
    weight = enc.params["embedding.weight"]
    weight *= 1.25  # the same by hand, in the matrix itself
    weight[4] = 0
    np.testing.assert_allclose(y, enc.forward(IDS)[0], rtol=1e-12)


def test_weight_drop_hits_weight_hh_alone_and_is_scaled():
    enc, weights = encoder(), encoder()
    masks = draw(enc, weight=0.5)
    for mask, layer in zip(masks.weights, weights.children["lstm"].layers, strict=True):
        layer.params["weight_hh"][...] *= mask
    y, _, cache = enc.forward(IDS, masks=masks)
    assert (y == weights.forward(IDS)[0]).all() and (y != enc.forward(IDS)[0]).any()
    grads = enc.backward(np.ones_like(y), cache)
    for n, mask in enumerate(masks.weights):
        assert not grads[f"lstm.weight_hh_l{n}"][mask == 0].any() and grads[f"lstm.weight_hh_l{n}"][mask > 0].all()
        assert grads[f"lstm.weight_ih_l{n}"].all()


@pytest.mark.parametrize("kind, layer", [("input", 0), ("hidden", 1)])
def test_locked_masks_are_the_same_at_every_step(kind, layer):
    """What a layer reads is multiplied by hand, at all time steps alike."""
    enc = encoder()
    mask = draw(enc, **{kind: 0.5}).inputs[layer]
    x = enc.params["embedding.weight"][IDS]
    for n, lstm in enumerate(enc.children["lstm"].layers):
        x = np.stack([x_t * mask[0] for x_t in x]) if n == layer else x
        x, _, _ = lstm.forward(x)
    y, _, _ = enc.forward(IDS, masks=draw(enc, **{kind: 0.5}))
    assert (y == x).all() and (y != enc.forward(IDS)[0]).any()


def test_the_output_dropout_is_the_decoders_and_leaves_the_encoder_alone():
    enc = encoder()
    assert (enc.forward(IDS, masks=draw(enc, output=0.5))[0] == enc.forward(IDS)[0]).all()


def test_every_dropout_is_off_without_masks_and_with_probability_zero():
    enc = encoder()
    assert not arrays(enc.draw_masks(MaskSource(0), 0, 3, Dropouts()))
    plain = enc.forward(IDS)[0]
    assert (plain == enc.forward(IDS, masks=enc.draw_masks(MaskSource(0), 0, 3, Dropouts()))[0]).all()
    assert (plain == enc.forward(IDS, need_cache=False)[0]).all() and enc.forward(IDS, need_cache=False)[2] is None


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_stopping_early_is_the_top_of_the_full_backward(layers):
    enc = encoder(ModelSize(embedding=6, hidden=8, layers=layers))
    masks = enc.draw_masks(MaskSource(0), 0, 3, DROPOUTS)
    y, _, cache = enc.forward(IDS, lengths=np.array([5, 2, 4]), masks=masks)
    dy = normal(np.random.default_rng(0), *y.shape)
    full = enc.backward(dy, cache)
    assert full.keys() == enc.params.keys()
    parts = [f"_l{n}" for n in reversed(range(layers))] + ["embedding.weight"]
    for k in range(layers + 2):
        same_bits(enc.backward(dy, cache, n_unfrozen=k), {
            name: g for name, g in full.items() if name.endswith(tuple(parts[:k]))
        })  # fmt: skip


def test_float32_stays_float32():
    enc = encoder(dtype=np.float32)
    y, states, cache = enc.forward(IDS, masks=enc.draw_masks(MaskSource(0), 0, 3, DROPOUTS))
    grads = enc.backward(y, cache)
    assert {a.dtype for a in (y, states[0].h, *grads.values())} == {np.dtype(np.float32)}


def test_the_language_model_uses_this_encoder():
    assert isinstance(language_model().encoder, AWDLSTM)
