"""Numbers about predictions. Errors are in percent, 0..100."""

import math

import numpy as np


def error_percent(labels, predicted) -> float:
    """The share of wrong predictions, in percent."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    return 100.0 * float((labels != predicted).mean())


def wilson_interval(error, n, z=1.959964) -> tuple[float, float]:
    """The 95 % interval of an error rate seen on n texts (Wilson 1927), all in percent. Unlike the usual +-, it stays
    sensible when the error is close to 0 or 100."""
    p = error / 100
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def confusion_matrix(labels, predicted, n_classes) -> np.ndarray:
    """(C, C) counts: row = the true class, column = the predicted one."""
    matrix = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(matrix, (np.asarray(labels), np.asarray(predicted)), 1)
    return matrix


def macro_f1(matrix) -> float:
    """The mean over classes of 2 * correct / (true + predicted), in percent; a class that is in neither counts 0."""
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    return 100.0 * float(np.mean(2 * np.diag(matrix) / np.maximum(both, 1)))


def perplexity(loss) -> float:
    """exp of a mean loss in nats per word; inf where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf
