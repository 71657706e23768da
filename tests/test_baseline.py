"""The linear baseline."""

import sys

import numpy as np
import pytest
from cli_helpers import CLASSES, QUESTIONS

from ulmfit.baseline import linear_baseline

LABELS = np.array([sorted(CLASSES.values()).index(label) for _, label in QUESTIONS])
TEXTS = [text for text, _ in QUESTIONS]


def test_it_learns_what_a_word_decides():
    pytest.importorskip("sklearn")
    predicted = linear_baseline(TEXTS, LABELS, ["who was Ada ?", "where was Ada ?", "what was Ada ?"])
    assert predicted.tolist() == [1, 2, 0]  # HUM, LOC, ENTY


def test_it_learns_a_task_that_one_word_decides_among_names_of_their_own():
    pytest.importorskip("sklearn")
    texts = [f"is {k} a {'cat' if k % 2 else 'dog'}" for k in range(20)]
    assert linear_baseline(texts, np.arange(20) % 2, ["a cat ?", "some dog"]).tolist() == [1, 0]


def test_it_is_the_same_every_time():
    pytest.importorskip("sklearn")
    first, second = (linear_baseline(TEXTS, LABELS, TEXTS) for _ in range(2))
    assert np.array_equal(first, second) and len(first) == len(TEXTS)


def test_pairs_of_words_and_punctuation_count():
    """The same words in both classes: only their order, or a sign, tells them apart."""
    pytest.importorskip("sklearn")
    texts, labels = ["a b", "b a", "a b", "b a", "c ?", "c !"] * 3, np.array([0, 1, 0, 1, 2, 3] * 3)
    assert linear_baseline(texts, labels, ["a b", "b a", "c ?", "c !"]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("module", ["sklearn.svm", "sklearn.feature_extraction.text"])
def test_without_scikit_learn_there_is_none(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    assert linear_baseline(TEXTS, LABELS, TEXTS) is None
