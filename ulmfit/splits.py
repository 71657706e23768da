"""Which rows go where: stratified by class, decided by the seed alone."""

from collections.abc import Sequence

import numpy as np

from .errors import InputError


def stratified_split(labels: Sequence | np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of train and validation, each ascending: `share` of every class, fixed by the seed alone.

    A class of two rows or more is in both parts; a single row stays in train.
    """
    if not 0 < share < 1:
        raise InputError(f"valid_share: expected a share between 0 and 1, got {share}; 0.1 is the paper's")
    rank, size = _rank_in_class(labels, seed)
    valid = (((rank + 0.5) / size < share) | (rank == 0)) & (rank < size - 1)
    return np.flatnonzero(~valid), np.flatnonzero(valid)


def stratified_subset(labels: Sequence | np.ndarray, n: int, seed: int) -> np.ndarray:
    """Numbers of n rows, ascending: every class in its share and at least once, fixed by the seed alone.

    A smaller subset is part of each larger one of that seed, so that a learning curve only adds rows.
    """
    rank, size = _rank_in_class(labels, seed)
    least = int((rank == 0).sum())
    if not least <= n <= len(rank):
        raise InputError(f"--n-train {n}: expected {least} (one a class) to {len(rank)} (all of train)")
    turn = np.where(rank == 0, 0, (rank + 0.5) / size)  # first one of each class
    return np.sort(np.argsort(turn, kind="stable")[:n])


def _rank_in_class(labels: Sequence | np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row its place in a random order of its class, and the size of that class; (n,) each."""
    if seed < 0:
        raise InputError(f"seed: expected a whole number from 0 up, got {seed}")
    _, ids, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    # Raw bits of PCG64 are the same in every version of NumPy; shuffle() and permutation() may change.
    order = np.lexsort((np.random.PCG64(seed).random_raw(len(ids)), ids))  # by class, random within each
    rank = np.empty(len(ids), dtype=np.int64)
    rank[order] = np.arange(len(ids)) - (np.cumsum(counts) - counts)[ids[order]]
    return rank, counts[ids]
