"""Concat pooling (Howard & Ruder 2018, section 3.3): the words that decide can stand anywhere in a text, so a text is
summed up by its last state, the maximum over time and the mean over time, side by side."""

import numpy as np

from .arrays import get_array_module
from .checks import check_float_array, check_lengths


def concat_pool_forward(h, lengths=None):
    """h (T, B, H), lengths (B,) in 0..T or None (all T) -> pooled (B, 3H) = [h_last, max, mean], cache

    Steps past a row's end count nowhere; a row of length 0 gives zeros.
    """
    check_float_array("h", h, ("T", "B", "H"))
    xp = get_array_module(h)
    T, B, H = h.shape
    if T == 0:
        raise ValueError(f"h: expected at least one time step, got shape {tuple(h.shape)}")
    lengths = check_lengths(lengths, T, B)
    lengths = xp.asarray(np.full(B, T) if lengths is None else lengths)
    alive = xp.arange(T)[:, None, None] < lengths[:, None]  # (T, B, 1)
    some = (lengths > 0)[:, None]  # (B, 1)
    last_t = xp.maximum(lengths - 1, 0)  # (B,)
    max_t = xp.where(alive, h, -xp.inf).argmax(axis=0)  # (B, H), the first of equals
    rows = xp.arange(B)
    h_last = h[last_t, rows]
    h_max = h[max_t, rows[:, None], xp.arange(H)]
    h_mean = xp.where(alive, h, 0).sum(axis=0) / xp.maximum(lengths, 1)[:, None].astype(h.dtype)
    pooled = xp.where(some, xp.concatenate([h_last, h_max, h_mean], axis=1), 0)
    return pooled, (h.shape, lengths, last_t, max_t)


def concat_pool_backward(dpooled, cache):
    """dpooled (B, 3H) -> dh (T, B, H), zero past every row's end"""
    (T, B, H), lengths, last_t, max_t = cache
    check_float_array("dpooled", dpooled, (B, 3 * H))
    xp = get_array_module(dpooled)
    dpooled = xp.where((lengths > 0)[:, None], dpooled, 0)
    dh_last, dh_max, dh_mean = dpooled[:, :H], dpooled[:, H : 2 * H], dpooled[:, 2 * H :]
    alive = xp.arange(T)[:, None, None] < lengths[:, None]
    dh = xp.where(alive, dh_mean / xp.maximum(lengths, 1)[:, None].astype(dpooled.dtype), 0)
    rows = xp.arange(B)
    dh[max_t, rows[:, None], xp.arange(H)] += dh_max
    dh[last_t, rows] += dh_last
    return dh
