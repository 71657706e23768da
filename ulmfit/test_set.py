"""The one look at the test set, once everything has been trained."""

import json

import numpy as np

from .baseline import linear_baseline
from .metrics import confusion_matrix, error_percent, macro_f1, wilson_interval
from .predictor import Predictor
from .saving import save_text


def run_test(config, dataset, out, progress) -> dict:
    """The classifier that `out` holds, and the baseline, on the test texts -> numbers for metrics.json.

    Every text with its class probabilities goes into predictions.jsonl.
    """
    progress.message("testing ...")
    predictor = Predictor.load(out, config.device)
    labels, texts = dataset.test.labels, dataset.test.texts
    each = predictor.predict_proba_each(texts, progress)
    probabilities = each.mean(axis=0)
    predicted = probabilities.argmax(axis=1)
    error = error_percent(labels, predicted)
    confusion = confusion_matrix(labels, predicted, len(dataset.classes))
    rows = []
    for text, label, p in zip(texts, labels, probabilities, strict=True):
        row = {"text": text, "label": dataset.classes[label], "predicted": dataset.classes[p.argmax()]}
        row["probabilities"] = dict(zip(dataset.classes, p.round(6).tolist(), strict=True))
        rows.append(json.dumps(row) + "\n")
    save_text(out / "predictions.jsonl", "".join(rows))
    # the baseline has nothing to validate, so it learns from the validation texts as well; not where n_train is the
    # question: then both get so many texts and no more
    known = (dataset.train,) if config.n_train else (dataset.train, dataset.valid)
    known_texts, known_labels = sum((k.texts for k in known), []), np.concatenate([k.labels for k in known])
    baseline = linear_baseline(known_texts, known_labels, texts)
    alone = [error_percent(labels, p.argmax(axis=1)) for p in each]
    return {
        "test_error": error,
        "test_error_by_direction": dict(zip(config.directions, alone, strict=True)),
        "test_error_ci95": list(wilson_interval(error, len(labels))),
        "macro_f1": macro_f1(confusion),
        "baseline_error": None if baseline is None else error_percent(labels, baseline),
        "classes": list(dataset.classes),
        "confusion": confusion.tolist(),
    }
