"""Concat pooling (Howard & Ruder 2018, section 3.3): the words that decide can stand anywhere in a text, so a text is
summed up by its last state, the maximum over time and the mean over time, side by side.

A long text comes in windows. What they come to is a value, Pools, that every window moves on and that is all that
remains of it; backward turns the final one into the gradient of any window, in any order.
"""

from typing import NamedTuple

import numpy as np

from .arrays import get_array_module
from .checks import check_float_array, check_lengths


class Pools(NamedTuple):
    """What the windows so far come to. Steps are counted through all of them."""

    n_steps: int
    lengths: np.ndarray  # (B,) words
    last: np.ndarray  # (B, H)
    last_t: np.ndarray  # (B,) the step of the last word
    max: np.ndarray  # (B, H), -inf before the first word
    max_t: np.ndarray  # (B, H) the step of the maximum, the first of equals
    sum: np.ndarray  # (B, H)


def no_pools(xp, B, H, dtype) -> Pools:
    """Before the first window."""
    zeros, steps = xp.zeros((B, H), dtype), xp.zeros((B, H), np.int64)
    return Pools(0, steps[:, 0], zeros, steps[:, 0], zeros - np.inf, steps, zeros)


def pool_window_forward(h, lengths=None, pools=None):
    """h (T, B, H), lengths (B,) in 0..T or None (all T), Pools of the windows before or None -> Pools, cache

    Steps past a row's end in this window count nowhere.
    """
    check_float_array("h", h, ("T", "B", "H"))
    xp = get_array_module(h)
    T, B, H = h.shape
    if T == 0:
        raise ValueError(f"h: expected at least one time step, got shape {tuple(h.shape)}")
    lengths = check_lengths(lengths, T, B)
    lengths = xp.asarray(np.full(B, T) if lengths is None else lengths)
    pools = no_pools(xp, B, H, h.dtype) if pools is None else pools
    alive = xp.arange(T)[:, None, None] < lengths[:, None]  # (T, B, 1)
    some = lengths > 0  # (B,)
    rows = xp.arange(B)
    last_t = xp.maximum(lengths - 1, 0)  # (B,)
    max_t = xp.where(alive, h, -xp.inf).argmax(axis=0)  # (B, H), the first of equals
    h_max = h[max_t, rows[:, None], xp.arange(H)]  # (B, H)
    higher = some[:, None] & ~(h_max <= pools.max)  # so that NaN counts as higher, and is seen
    moved_on = Pools(
        n_steps=pools.n_steps + T,
        lengths=pools.lengths + lengths,
        last=xp.where(some[:, None], h[last_t, rows], pools.last),
        last_t=xp.where(some, pools.n_steps + last_t, pools.last_t),
        max=xp.where(higher, h_max, pools.max),
        max_t=xp.where(higher, pools.n_steps + max_t, pools.max_t),
        sum=pools.sum + xp.where(alive, h, 0).sum(axis=0),
    )
    return moved_on, (pools.n_steps, T, lengths)


def concat_pools(pools):
    """Pools -> pooled (B, 3H) = [h_last, max, mean]; a row without a word gives zeros."""
    xp = get_array_module(pools.sum)
    mean = pools.sum / _at_least_one(pools.lengths, pools.sum.dtype)
    pooled = xp.concatenate([pools.last, pools.max, mean], axis=1)
    return xp.where((pools.lengths > 0)[:, None], pooled, 0)


def pool_window_backward(dpooled, pools, cache):
    """dpooled (B, 3H), the Pools after the last window, a window's cache -> that window's dh (T, B, H), zero past
    every row's end"""
    first_step, T, lengths = cache
    B, H = pools.sum.shape
    check_float_array("dpooled", dpooled, (B, 3 * H))
    xp = get_array_module(dpooled)
    dpooled = xp.where((pools.lengths > 0)[:, None], dpooled, 0)
    dh_last, dh_max, dh_mean = dpooled[:, :H], dpooled[:, H : 2 * H], dpooled[:, 2 * H :]
    t = xp.arange(T)[:, None, None]
    dh = xp.where(t < lengths[:, None], dh_mean / _at_least_one(pools.lengths, dpooled.dtype), 0)
    dh += xp.where(first_step + t == pools.max_t, dh_max, 0)
    dh += xp.where(first_step + t == pools.last_t[:, None], dh_last, 0)
    return dh


def concat_pool_forward(h, lengths=None):
    """The whole text in one window: h (T, B, H), lengths (B,) in 0..T or None (all T)
    -> pooled (B, 3H) = [h_last, max, mean], cache

    Steps past a row's end count nowhere; a row of length 0 gives zeros.
    """
    pools, cache = pool_window_forward(h, lengths)
    return concat_pools(pools), (pools, cache)


def concat_pool_backward(dpooled, cache):
    """dpooled (B, 3H) -> dh (T, B, H), zero past every row's end"""
    return pool_window_backward(dpooled, *cache)


def _at_least_one(lengths, dtype):
    """(B,) -> (B, 1), to divide by."""
    return lengths.clip(1)[:, None].astype(dtype)
