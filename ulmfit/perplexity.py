"""The perplexity of a text under a language model.

All documents, each from its xxbos on (for a backward model: from its last word), are one long text, of which every
token but the first is predicted exactly once, from all that the LSTM's carried states remember of what came before.

To be quick the text is read in several streams side by side. Each answers for its own share and begins `WARM_UP`
tokens before it, so that it meets its first token with a past; what a state remembers from further back is next to
nothing. With batch_size=1 there is but one stream, and nothing to forget.
"""

import math
from typing import NamedTuple

import numpy as np

from minilstm import NonFiniteError, to_numpy
from minilstm.arrays import beside
from minilstm.loss import log_softmax

from .corpus import Corpus
from .errors import InputError
from .metrics import perplexity
from .progress import Silent
from .vocab import UNK_ID

WARM_UP = 100  # tokens
SHORTEST_SHARE = 1000  # tokens of a stream: shorter texts get fewer streams
LOGITS_AT_ONCE = 512  # rows of V numbers


class TextPerplexity(NamedTuple):
    direction: str
    documents: int
    tokens: int
    unknown_percent: float  # of the tokens, those that are xxunk to the model
    perplexity: float  # of all tokens but the first, the unknown ones counting as the one word xxunk
    bits_per_token: float  # the same as its logarithm
    known_perplexity: float | None  # with those left out that are xxunk; None where all are
    streams: int
    vocab_size: int  # with another one a perplexity means something else


def text_perplexity(model, vocab, texts, direction, *, batch_size=32, progress=None) -> TextPerplexity:
    """texts: the documents; direction: the model's; batch_size: at most so many streams; progress: a Progress.

    Raises InputError for a text of fewer than two tokens, NonFiniteError for a model whose training has diverged.
    """
    progress = progress or Silent()
    documents = Corpus(texts, progress.tokens).encode(vocab)
    ids = np.concatenate([np.zeros(0, np.int32), *(d[::-1] if direction == "backward" else d for d in documents)])
    if len(ids) < 2:
        raise InputError(f"the text has {len(ids)} tokens; a perplexity needs at least 2")
    streams = min(batch_size, max(1, len(ids) // SHORTEST_SHARE))
    losses, known = token_losses(model, ids, streams, progress), ids[1:] != UNK_ID
    if not np.isfinite(losses).all():
        raise NonFiniteError("the model's answers are not finite, so its training diverged: lower its rate")
    return TextPerplexity(
        direction, len(documents), len(ids), 100 * float((ids == UNK_ID).mean()),
        perplexity(losses.mean()), float(losses.mean() / math.log(2)),
        perplexity(losses[known].mean()) if known.any() else None, streams, len(vocab),
    )  # fmt: skip


def token_losses(model, ids, streams, progress=None) -> np.ndarray:
    """ids (n,) of one long text, in the model's direction -> the loss of each but the first, in nats (n - 1,)"""
    n = len(ids) - 1
    shares = np.linspace(0, n, streams + 1).astype(int)  # stream b answers for what follows shares[b]:shares[b + 1]
    T = min(n, WARM_UP + int(np.diff(shares).max()))
    reads = np.maximum(0, shares[1:] - T) + np.arange(T)[:, None]  # (T, B): which token of the text
    answers = (shares[:-1] <= reads) & (reads < shares[1:])  # (T, B)
    losses, states, window = np.zeros(n), None, max(1, LOGITS_AT_ONCE // streams)
    for start in range(0, T, window):
        rows, counted = reads[start : start + window], answers[start : start + window]
        logits, states = model.logits(ids[rows], states)  # (T_w, B, V)
        log_p = log_softmax(logits.reshape(-1, logits.shape[-1]))  # (T_w * B, V)
        where = tuple(beside(i, log_p) for i in (np.arange(rows.size), ids[rows + 1].ravel()))
        picked = to_numpy(log_p[where]).reshape(rows.shape)
        losses[rows[counted]] = -picked[counted]
        if progress is not None:
            progress.reads(n * min(T, start + window) // T, n)
    return losses
