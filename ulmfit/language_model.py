"""A language model: the encoder, and a decoder tied to its embedding (Press & Wolf 2017).

    ids (T, B) -> encoder -> y (T, B, E) -> y @ embedding.T + bias -> the next word of V

Truncated BPTT: the text runs on from window to window. The LSTM's states are carried, as values and without gradient.
"""

from typing import NamedTuple

import numpy as np

from minilstm import (
    activation_regularization_backward,
    activation_regularization_forward,
    dropout_backward,
    dropout_forward,
    linear_cross_entropy,
    temporal_activation_regularization_backward,
    temporal_activation_regularization_forward,
)
from minilstm.arrays import number
from minilstm.params import add_grads, collect, prefixed

from .awd_lstm import AWDLSTM


class DecoderBias:
    """All that the tied decoder has of its own. params: bias (V,), zeros at first."""

    def __init__(self, vocab_size, dtype):
        self.params = {"bias": np.zeros(vocab_size, dtype)}


class LMCache(NamedTuple):
    """The two parts of the loss, on a GPU as arrays of shape () there, and what backward needs."""

    cross_entropy: float  # mean over T*B, nats per word
    penalty: float  # AR + TAR
    encoder: tuple
    output_mask: np.ndarray | None  # (1, B, E)
    y_shape: tuple  # T, B, E
    decoder_grads: tuple  # dy (T*B, E), dweight (V, E), dbias (V,)
    ar: tuple | None  # of the dropped y; None where it is off
    tar: tuple | None  # of the raw y


class LanguageModel:
    """params: encoder.embedding.weight (V, E), encoder.lstm.*, decoder.bias (V,). The decoder's weight is the
    embedding's: it has no name of its own, and its two gradients are added in `backward`, in the open."""

    kind = "language_model"

    def __init__(self, vocab_size, size, *, rng, dtype=np.float32, kernel="auto"):
        self.size, self.vocab_size, self.kernel = size, vocab_size, kernel
        self.encoder = AWDLSTM(vocab_size, size, rng=rng, dtype=dtype, kernel=kernel)
        self.children = {"encoder": self.encoder, "decoder": DecoderBias(vocab_size, dtype)}

    @property
    def params(self):
        return collect(self.children)

    def forward(self, ids, targets, states=None, *, masks=None, need_cache=True, ar=0.0, tar=0.0):
        """ids and targets (T, B), the targets one word ahead; [LSTMState] or None
        -> loss (mean over T*B, nats per word, plus the penalties), [LSTMState], cache

        ar and tar weigh the activation regularisation of what the decoder reads, dropout and all, and the temporal
        one of what the last layer says.
        """
        y, states, encoder_cache = self.encoder.forward(ids, states, masks=masks, need_cache=need_cache)
        output_mask = masks.output if masks else None
        tar_penalty, tar_cache = temporal_activation_regularization_forward(y, tar) if tar else (0.0, None)
        y = dropout_forward(y, output_mask)  # (T, B, E)
        ar_penalty, ar_cache = activation_regularization_forward(y, ar) if ar else (0.0, None)
        weight, bias = self._decoder()
        loss, decoder_grads = linear_cross_entropy(
            y.reshape(-1, weight.shape[1]), weight, bias, targets.reshape(-1), need_grads=need_cache, kernel=self.kernel
        )
        penalty = number(ar_penalty + tar_penalty)
        cache = LMCache(loss, penalty, encoder_cache, output_mask, y.shape, decoder_grads, ar_cache, tar_cache)
        return loss + penalty, states, cache if need_cache else None

    def backward(self, cache):
        """-> grads of the loss, penalties and all, keys and shapes of params. It always walks all the way down:
        partial unfreezing belongs to the classifier, which has no tied weight."""
        dy, dweight, dbias = cache.decoder_grads
        dy = dy.reshape(cache.y_shape)  # (T, B, E)
        if cache.ar is not None:
            dy = dy + activation_regularization_backward(1.0, cache.ar)
        dy = dropout_backward(dy, cache.output_mask)
        if cache.tar is not None:
            dy = dy + temporal_activation_regularization_backward(1.0, cache.tar)
        grads = prefixed("encoder", self.encoder.backward(dy, cache.encoder))
        return add_grads(grads, {"encoder.embedding.weight": dweight, "decoder.bias": dbias})

    def logits(self, ids, states=None):
        """ids (T, B) -> logits of the next word (T, B, V), [LSTMState]: for reading along and for sampling."""
        y, states, _ = self.encoder.forward(ids, states, need_cache=False)
        weight, bias = self._decoder()
        return y @ weight.T + bias, states

    def _decoder(self):
        return self.encoder.children["embedding"].params["weight"], self.children["decoder"].params["bias"]


def grow_vocabulary(params, old_rows):
    """The parameters of a language model for a larger vocabulary.

    old_rows (V_new,): for each new word its row in the old vocabulary, or -1. Words the model has never seen start
    from the mean of all rows (and the mean bias), as the authors' scripts do. Everything else is taken as it is.
    """
    old_rows = np.asarray(old_rows)
    known = (old_rows >= 0).reshape(-1, 1)
    weight, bias = params["encoder.embedding.weight"], params["decoder.bias"]
    return {
        **params,
        "encoder.embedding.weight": np.where(known, weight[old_rows], weight.mean(axis=0)),
        "decoder.bias": np.where(known[:, 0], bias[old_rows], bias.mean()),
    }
