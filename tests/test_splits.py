"""Splits are stratified, and decided by the seed alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import refusal

from ulmfit.splits import stratified_split, stratified_subset

label_lists = st.lists(st.sampled_from("abcde"), min_size=1, max_size=200)
seeds = st.integers(0, 2**40)


@settings(deadline=None)
@given(label_lists, st.floats(0.01, 0.99), seeds)
def test_a_split_takes_its_share_of_every_class(labels, share, seed):
    train, valid = stratified_split(labels, share, seed)
    assert sorted([*train, *valid]) == list(range(len(labels)))
    assert list(train) == sorted(train) and list(valid) == sorted(valid)
    labels = np.array(labels)
    for label in set(labels):
        n, n_valid = (labels == label).sum(), (labels[valid] == label).sum()
        if n == 1:
            assert n_valid == 0
        else:
            assert 1 <= n_valid <= n - 1
            assert abs(n_valid - n * share) <= 1
    again = stratified_split(list(labels), share, seed)
    assert np.array_equal(again[0], train) and np.array_equal(again[1], valid)


def test_a_split_is_fixed_for_good_and_differs_by_seed():
    labels = ["a", "b"] * 20
    first, second = (stratified_split(labels, 0.1, seed)[1].tolist() for seed in (1, 2))
    assert [first, second] == [[9, 16, 36, 39], [3, 6, 7, 28]]
    assert stratified_split(np.array([0, 1] * 20), 0.1, 1)[1].tolist() == first      # whatever classes are called


@settings(deadline=None)
@given(label_lists, seeds, st.data())
def test_a_subset_has_n_rows_every_class_and_grows_by_adding(labels, seed, data):
    n = data.draw(st.integers(len(set(labels)), len(labels)))
    rows = stratified_subset(labels, n, seed)
    assert len(set(rows)) == n and list(rows) == sorted(rows)
    counts = {label: sum(labels[i] == label for i in rows) for label in labels}
    assert min(counts.values()) >= 1
    if n >= 5 * len(counts):      # once no class is held up by its one row
        assert all(count <= 2 + n * labels.count(label) / len(labels) for label, count in counts.items())
    if n < len(labels):
        assert set(rows) <= set(stratified_subset(labels, n + 1, seed))


def test_impossible_splits_are_refused():
    for share in (0, 1, -0.1, float("nan")):
        assert f"valid_share: expected a share between 0 and 1, got {share}" in refusal(
            stratified_split, ["a"] * 9, share, 1)
    assert "seed: expected a whole number from 0 up, got -1" in refusal(stratified_split, ["a"] * 9, 0.1, -1)
    for n in (1, 10):
        message = refusal(stratified_subset, list("aaaabbbbb"), n, 1)
        assert message == f"--n-train {n}: expected 2 (one a class) to 9 (all of train)"
