"""Masks are arguments; where they come from is a counter, pinned here bit by bit so that a GPU can be held to it."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import TBH, normal, scaled_mask, seeds
from twice import plain_and_compiled  # noqa: F401

from minilstm import MaskSource, dropout_backward, dropout_forward, gradcheck

MASK_64 = 2**64 - 1


def philox_4x64_10(counter, key):
    """Ten rounds of Philox4x64 (Salmon et al. 2011, section 3.3) on Python's own integers."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        p, q = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (q >> 64) ^ b ^ k0, q & MASK_64, (p >> 64) ^ d ^ k1, p & MASK_64
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK_64, (k1 + 0xBB67AE8584CAA73B) & MASK_64
    return a, b, c, d


def numbers_by_hand(seed, kind, layer, step, n):
    """The 16-bit numbers as the docstring of MaskSource describes them."""
    key = (seed, zlib.crc32(kind.encode()) * 2**32 + layer)
    blocks = (philox_4x64_10((block, 0, step, 0), key) for block in range(1, n // 16 + 2))
    return [word >> shift & 0xFFFF for block in blocks for word in block for shift in (0, 16, 32, 48)][:n]


def test_the_rounds_by_hand_are_the_published_ones():
    """The known answers of Random123 (kat_vectors, philox4x64 with 10 rounds)."""
    assert philox_4x64_10((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B,
    )  # fmt: skip
    assert philox_4x64_10((MASK_64,) * 4, (MASK_64,) * 2) == (
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    )  # fmt: skip


@given(
    seed=st.integers(0, MASK_64), kind=st.text(max_size=12), layer=st.integers(0, 9), step=st.integers(0, 2**40),
    n=st.integers(0, 70),
)  # fmt: skip
def test_the_numbers_are_philox_by_hand(seed, kind, layer, step, n):
    numbers = MaskSource(seed)._uint16(kind, layer, step, n)
    assert numbers.dtype == np.uint16 and numbers.tolist() == numbers_by_hand(seed, kind, layer, step, n)


def test_one_key_is_pinned():
    """Were the scheme to change, no old run could be repeated: neither the numbers nor the mask may move."""
    numbers = MaskSource(2**64 - 3)._uint16("weight_hh", 2, 5, 12).tolist()
    assert numbers == [46624, 1701, 5220, 60811, 42529, 56216, 53374, 5487, 26586, 6789, 2471, 17012]
    mask = MaskSource(1).mask("embedding", (2, 8), 0.25, step=0)
    assert (mask > 0).astype(int).tolist() == [[1, 1, 0, 0, 0, 1, 0, 0], [0, 1, 1, 1, 0, 1, 1, 1]]
    assert set(mask.ravel().tolist()) == {0.0, float(np.float32(4 / 3))}


@given(seed=seeds, p=st.floats(0.001, 0.999))
def test_an_element_is_dropped_when_its_number_is_below_p(seed, p):
    mask = MaskSource(seed).mask("kind", (5, 13), p, step=3, layer=1, dtype=np.float64)
    threshold = min(round(p * 65536), 65535)
    dropped = np.array(numbers_by_hand(seed, "kind", 1, 3, 65)).reshape(5, 13) < threshold
    assert ((mask == 0) == dropped).all()
    assert (mask[~dropped] == 1 / (1 - threshold / 65536)).all()


@given(seed=seeds, at=st.integers(0, 99))
def test_the_element_whose_number_is_p_itself_is_kept(seed, at):
    number = numbers_by_hand(seed, "kind", 0, 1, 100)[at]
    if number:
        mask = MaskSource(seed).mask("kind", (100,), number / 65536, step=1)
        assert mask[at] == np.float32(65536 / (65536 - number))


@pytest.mark.parametrize("p", [0.02, 0.1, 0.4, 0.5, 0.75, 0.98])
def test_the_rate_and_the_expectation_are_right(p):
    """Within five standard deviations: a right mask fails once in 1.7 million, and the seed is fixed."""
    n = 400_000
    mask = MaskSource(11).mask("rate", (n,), p, step=0, dtype=np.float64)
    sigma = (p * (1 - p) / n) ** 0.5
    assert abs((mask == 0).mean() - p) < 5 * sigma + 2**-16
    assert abs(mask.mean() - 1) < 5 * sigma / (1 - p)


def test_same_key_same_mask_other_key_other_mask():
    keys = [(0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1), (0, "a", 1, 1)]
    masks = [MaskSource(s).mask(k, (20, 30), 0.5, layer=layer, step=t) for s, k, layer, t in keys]
    again = [MaskSource(s).mask(k, (20, 30), 0.5, layer=layer, step=t) for s, k, layer, t in keys]
    for a in range(len(keys)):
        assert (masks[a] == again[a]).all()
        for b in range(a):
            assert 0.4 < (masks[a] == masks[b]).mean() < 0.6, (keys[a], keys[b])  # as two coins agree


def test_the_order_of_the_calls_does_not_matter():
    source = MaskSource(5)
    first = source.mask("a", (9,), 0.5, step=1)
    source.mask("b", (100,), 0.5, step=1)
    assert (first == source.mask("a", (9,), 0.5, step=1)).all()


def test_neighbours_are_independent():
    mask = MaskSource(3).mask("x", (500, 500), 0.5, step=0) > 0
    for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        assert abs((a == b).mean() - 0.5) < 5 * 0.5 / 500


def test_no_dropout_is_no_mask():
    assert MaskSource(0).mask("a", (3, 4), 0.0, step=0) is None
    x = np.ones((2, 3))
    assert dropout_forward(x, None) is x and dropout_backward(x, None) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_p_has_bounds(p):
    with pytest.raises(ValueError, match=r"dropout p \(a\): expected 0 <= p < 1, got"):
        MaskSource(0).mask("a", (3,), p, step=0)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_the_seed_has_bounds(seed):
    with pytest.raises(ValueError, match=r"seed: expected an integer in 0..2\*\*64-1, got"):
        MaskSource(seed)


@pytest.mark.parametrize("given, error, message", [
    ({"step": -1}, ValueError, r"step: expected an integer in 0..2\*\*64-1, got -1"),
    ({"step": 1.0}, TypeError, "step: expected an integer, got float"),
    ({"layer": -1}, ValueError, r"layer: expected an integer in 0..2\*\*32-1, got -1"),
    ({"layer": 2**32}, ValueError, "layer: expected an integer in"),
    ({"dtype": np.int32}, TypeError, "dtype: expected a floating-point one, got int32"),
])  # fmt: skip
def test_a_mask_that_would_be_anothers_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        MaskSource(0).mask("a", (3,), 0.5, **({"step": 0} | given))


def test_numpys_integers_are_integers():
    for kind in ("embed", "hidden", "output"):
        mask = MaskSource(np.int64(7)).mask(kind, (40,), 0.5, step=np.int64(3), layer=np.int64(1))
        assert (mask == MaskSource(7).mask(kind, (40,), 0.5, step=3, layer=1)).all()


def test_the_device_is_one_of_two():
    with pytest.raises(ValueError, match='device: expected "cpu" or "cuda", got \'gpu\''):
        MaskSource(0, device="gpu")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_mask_has_the_dtype_it_was_asked_for(dtype):
    mask = MaskSource(0).mask("a", (1, 3, 4), 0.3, step=0, dtype=dtype)
    assert mask.dtype == dtype and mask.shape == (1, 3, 4)


@pytest.mark.parametrize("locked", [False, True])
@given(TBH=TBH, seed=seeds)
def test_gradient(locked, TBH, seed):
    rng = np.random.default_rng(seed)
    mask = scaled_mask(rng, (1, *TBH[1:]) if locked else TBH)
    gradcheck(
        lambda a: {"y": dropout_forward(a["x"], mask)},
        lambda a, d: {"x": dropout_backward(d["y"], mask)},
        {"x": normal(rng, *TBH)},
        rng=rng,
    )


@pytest.mark.parametrize(
    "mask, error, message",
    [
        (np.ones((1, 3, 5), np.float32), ValueError, r"mask: .*broadcasts to \(2, 3, 4\), got \(1, 3, 5\)"),
        (np.ones((5, 2, 3, 4), np.float32), ValueError, r"mask: .*broadcasts to \(2, 3, 4\), got \(5, 2, 3, 4\)"),
        (np.ones((1, 3, 4)), TypeError, "mask: expected dtype float32, got float64"),
        (np.ones((1, 3, 4), bool), TypeError, "mask: expected a floating-point array, got dtype bool"),
    ],
)
def test_a_mask_must_fit(mask, error, message):
    with pytest.raises(error, match=message):
        dropout_forward(np.ones((2, 3, 4), np.float32), mask)


def test_a_mask_is_an_array():
    with pytest.raises(TypeError, match="mask: expected an array, got float"):
        dropout_forward(np.zeros(3), 1.0)
