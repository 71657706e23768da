"""What a model makes of texts, without any dropout: a language model's loss, a classifier's answers.

Everything is ordered before anything is looked at: on a GPU that would be to wait.
"""

import numpy as np

from minilstm import to_numpy

from .batching import LMBatches, evaluation_batches
from .recipes import ClassifierTraining


def lm_loss(model, batches: LMBatches) -> float:
    """Mean loss in nats per word over one epoch of `batches`; exp of it is the perplexity."""
    total, words, states = 0.0, 0, None
    for step in range(batches.steps_per_epoch):
        ids, targets, _ = batches[step]
        loss, states, _ = model.forward(ids, targets, states, need_cache=False)
        total, words = total + loss * ids.size, words + ids.size
    return float(total / words)


def predict_logits(
    model, stats, texts, batch_size=128, *, bptt=ClassifierTraining.bptt, max_tokens=ClassifierTraining.max_tokens,
    read=lambda n: None,
) -> np.ndarray:  # fmt: skip
    """texts: integer arrays of word ids -> logits (N, C), in the order of the texts

    read: is told, batch by batch, the number of words that were read."""
    how, made = {"need_cache": False, "bptt": bptt, "max_tokens": max_tokens}, []
    for batch in evaluation_batches(texts, batch_size=batch_size):
        made.append((batch.rows, model.forward(batch.ids, batch.lengths, stats, **how)[0]))
        read(int(batch.lengths.sum()))
    logits = np.zeros((len(texts), model.n_classes), model.dtype)
    for rows, part in made:
        logits[rows] = to_numpy(part)
    return logits
