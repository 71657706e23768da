"""What the tests draw: shapes, named by their letters, and seeds. The values come from a NumPy generator of the drawn
seed, so a failing example is a handful of small integers."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)
BH = st.tuples(sizes, sizes)
TBH = st.tuples(sizes, sizes, sizes)
NF = st.tuples(st.integers(2, 6), sizes)  # at least two rows: the batch of a batch norm
NC = st.tuples(sizes, st.integers(2, 5))  # at least two classes
length_kinds = st.sampled_from(["none", "full", "mixed", "all zero"])


def normal(rng, *shape, dtype=np.float64):
    """Standard normal numbers that float32 can hold, whatever the dtype: both precisions see the same numbers."""
    return rng.standard_normal(shape).astype(np.float32).astype(dtype)


def some_lengths(rng, kind, T, B):
    """(B,) integers in 0..T of one kind, or None."""
    if kind == "none":
        return None
    return {"full": np.full(B, T), "mixed": rng.integers(0, T + 1, B), "all zero": np.zeros(B, int)}[kind]


def scaled_mask(rng, shape, dtype=np.float64):
    """A dropout mask of 0 and 2 whose first entry along the last axis is never dropped."""
    mask = 2 * rng.integers(0, 2, shape).astype(dtype)
    mask[..., 0] = 2
    return mask


@dataclass
class LSTMCase:
    """Sizes, options and the seed of a call to an LSTM layer."""

    T: int
    B: int
    I: int
    H: int
    lengths: str = "none"
    weight_drop: bool = False
    seed: int = 0


lstm_cases = st.builds(
    LSTMCase, T=sizes, B=sizes, I=sizes, H=sizes, lengths=length_kinds, weight_drop=st.booleans(), seed=seeds
)
