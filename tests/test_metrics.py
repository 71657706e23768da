import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.metrics import confusion_matrix, error_percent, macro_f1, perplexity, wilson_interval


def test_errors_are_in_percent():
    assert error_percent([0, 1, 2, 1], [0, 1, 1, 1]) == 25.0
    assert error_percent(np.array([1]), np.array([1])) == 0.0 and error_percent([1, 0], [0, 1]) == 100.0


def test_the_interval_of_the_papers_trec_error():
    """3.6 % of 500 questions: 94.4 to 97.7 % accuracy."""
    low, high = wilson_interval(3.6, 500)
    assert (low, high) == pytest.approx((2.29, 5.62), abs=0.01)


@given(n=st.integers(1, 2000), data=st.data())
def test_the_interval_holds_the_error_and_stays_within_0_and_100(n, data):
    error = 100 * data.draw(st.integers(0, n)) / n
    low, high = wilson_interval(error, n)
    assert 0 <= low <= error + 1e-9 and error - 1e-9 <= high <= 100 and low < high
    mirrored = wilson_interval(100 - error, n)
    assert (100 - mirrored[1], 100 - mirrored[0]) == pytest.approx((low, high), abs=1e-6)
    wide, narrow = wilson_interval(error, n), wilson_interval(error, 4 * n)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_the_interval_solves_its_equation():
    """Both ends are where the true error p is 1.96 of its own standard deviations away."""
    for end in wilson_interval(30.0, 50):
        p = end / 100
        assert abs(0.3 - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / 50), rel=1e-9)


def test_confusion_has_the_true_class_in_its_rows():
    matrix = confusion_matrix([0, 0, 0, 1, 2], [0, 1, 1, 1, 0], 4)
    assert matrix.tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert matrix.dtype == np.int64


def test_macro_f1_by_hand():
    # precision 1/2 and 1/3, recall 1/3 and 1; class 2: none right; class 3 does not exist
    matrix = confusion_matrix([0, 0, 0, 1, 2], [0, 1, 1, 1, 0], 4)
    assert macro_f1(matrix) == pytest.approx(100 * (2 / 5 + 2 / 4 + 0 + 0) / 4)
    assert macro_f1(np.eye(3, dtype=int)) == 100.0 and macro_f1(np.zeros((2, 2), int)) == 0.0


def test_perplexity():
    assert perplexity(0.0) == 1.0 and perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e9) == math.inf
