"""The encoder of AWD-LSTM (Merity et al. 2017): an embedding, LSTM layers, and where the dropouts go.

    ids (T, B) -> embedding (T, B, E) -> LSTM layers E -> H -> ... -> H -> E -> y (T, B, E)

The last layer is as wide as the embedding, so that a language model can use the embedding once more as its decoder.
"""

from typing import NamedTuple

import numpy as np

from minilstm import Embedding, LSTMStack
from minilstm.params import collect, prefixed


class EncoderMasks(NamedTuple):
    """The masks of one step, all of them scaled; an entry that is None drops nothing."""

    embedding: np.ndarray | None  # (V, 1)           whole words
    inputs: list  # (1, B, E or H) per layer         what each layer reads: layer 0 the embedded input, others `hidden`
    weights: list  # (4H, H) per layer               weight drop
    output: np.ndarray | None  # (1, B, E)           what the decoder reads


class AWDLSTM:
    """children: embedding (V, E) and lstm, an LSTMStack of sizes [H] * (n_layers - 1) + [E]."""

    def __init__(self, vocab_size, size, *, rng, dtype=np.float32, kernel="auto"):
        """size: a recipes.ModelSize"""
        E, H = size.embedding, size.hidden
        self.size, self.vocab_size, self.dtype = size, vocab_size, np.dtype(dtype)
        self.children = {
            "embedding": Embedding(vocab_size, E, rng=rng, dtype=dtype),
            "lstm": LSTMStack(E, [H] * (size.layers - 1) + [E], rng=rng, dtype=dtype, kernel=kernel),
        }

    @property
    def params(self):
        return collect(self.children)

    def draw_masks(self, source, step, batch_size, dropouts) -> EncoderMasks:
        """The masks of training step `step`, from a MaskSource and recipes.Dropouts."""

        def mask(kind, shape, p, layer=0):
            return source.mask(kind, shape, p, step=step, layer=layer, dtype=self.dtype)

        layers = self.children["lstm"].layers
        locked = [(1, batch_size, layer.input_size) for layer in layers]
        hidden = [mask("hidden", shape, dropouts.hidden, n) for n, shape in enumerate(locked) if n > 0]
        return EncoderMasks(
            embedding=mask("embedding", (self.vocab_size, 1), dropouts.embedding),
            inputs=[mask("input", locked[0], dropouts.input), *hidden],
            weights=[
                mask("weight", layer.params["weight_hh"].shape, dropouts.weight, n) for n, layer in enumerate(layers)
            ],
            output=mask("output", (1, batch_size, self.size.embedding), dropouts.output),
        )

    def forward(self, ids, states=None, *, lengths=None, masks=None, need_cache=True):
        """ids (T, B), [LSTMState] or None, lengths (B,) or None -> y (T, B, E), [LSTMState], cache

        y is what the last layer says, before any output dropout. Without masks nothing is dropped: evaluation.
        """
        row_mask, input_masks, weight_masks = (masks.embedding, masks.inputs, masks.weights) if masks else (None,) * 3
        x, embedding_cache = self.children["embedding"].forward(ids, row_mask)
        y, states, lstm_cache = self.children["lstm"].forward(
            x, states, lengths=lengths, input_masks=input_masks, weight_hh_masks=weight_masks, need_cache=need_cache
        )
        return y, states, (embedding_cache, lstm_cache) if need_cache else None

    def backward(self, dy, cache, *, n_unfrozen=None):
        """dy (T, B, E) -> grads of the `n_unfrozen` topmost parts: the LSTM layers from the top, then the embedding.

        None means all. Windows of truncated BPTT are detached from each other: the final states get no gradient.
        """
        embedding_cache, lstm_cache = cache
        n_layers = len(self.children["lstm"].layers)
        n_unfrozen = n_layers + 1 if n_unfrozen is None else n_unfrozen
        if n_unfrozen == 0:
            return {}
        dx, _, grads = self.children["lstm"].backward(
            dy, None, lstm_cache, lowest=max(0, n_layers - n_unfrozen), need_dx=n_unfrozen > n_layers
        )
        grads = prefixed("lstm", grads)
        if n_unfrozen > n_layers:
            _, embedding_grads = self.children["embedding"].backward(dx, embedding_cache)
            grads |= prefixed("embedding", embedding_grads)
        return grads
