"""The layers of a stack side by side, on a GPU that has room for it: while a layer goes over one piece of the sequence,
the layer above it goes over the piece before.

                 piece 0    piece 1    piece 2
    layer 2         3          4          5           a cell waits for the one beneath it, whose y it reads, and for the
    layer 1         2          3          4           one before it, whose state it goes on with: cells of the same
    layer 0         1          2          3           number can be done at the same time; backward from 5 to 1

A cell is a call of `LSTM` with the state of the cell before it: any kernel will do. A layer has a stream of its own, on
which its cells are in order anyway; what a cell makes for the next layer is announced by an event. On NumPy arrays the
same cells are computed in the same order, one at a time, which gains nothing.

y and the states are the numbers of the serial stack, to the bit where a product's rows do not depend on how many there
are. The gradients of weights are sums over the pieces, always from the last one to the first, and but for rounding
those of the serial stack. They have the same bits every time where the products have; of products on several streams
at once cuBLAS promises that only with CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment (its documentation, "Results
reproducibility").
"""

from copy import copy
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from .arrays import get_array_module, is_cupy, multiprocessors, side_by_side
from .checks import check_float_array, check_lengths
from .dropout import dropout_backward, dropout_forward
from .lstm import LSTM, LSTMCache, LSTMState
from .recurrence import storage_dtype
from .twins import registry


@dataclass
class WavefrontCache:
    pieces: list[slice]  # of T
    layers: list[list[LSTMCache]]  # lowest first; of each layer, one for every piece
    input_masks: list  # (1, B, size) or None, per layer
    weight_hh_masks: list  # (4H, H) or None, per layer
    used: list[LSTM]  # the layers with the weights that they multiplied by


def check_wish(wish):
    """Raise unless it is None, "auto" or a number of pieces."""
    if wish is not None and wish != "auto" and (isinstance(wish, bool) or not isinstance(wish, int) or wish < 1):
        raise ValueError(f'wavefront: expected None, "auto" or a number of pieces from 1, got {wish!r}')


def choose(wish, layers, x, need_cache=True):
    """-> into how many pieces a call on x (T, B, I) cuts it, 1 for one layer after the other, and why

    wish: None, one layer after the other; a number of pieces; or "auto", which cuts nothing but arrays on a GPU."""
    if wish is None:
        return 1, "one layer after the other"
    check_float_array("x", x, ("T", "B", layers[0].input_size), layers[0].dtype)
    T, B, _ = x.shape
    if len(layers) == 1 or T < 2:
        return 1, "there is nothing to do side by side"
    if wish != "auto":
        return min(wish, T), f"layers side by side, in {min(wish, T)} pieces: asked for"
    kernels, reason = registry()
    if kernels is None or not is_cupy(x):
        return 1, f"one layer after the other: {reason or 'a CPU has no streams'}"
    largest = max(layers, key=lambda layer: layer.hidden_size)
    kernel = largest.plan(x, need_cache=need_cache).kernel
    return kernels.choose_wavefront(len(layers), T, B, largest.hidden_size, kernel, multiprocessors())


def wavefront_forward(layers, x, states, n_pieces, *, lengths, input_masks, weight_hh_masks, need_cache):
    """What `LSTMStack.forward` does, in pieces; states and masks are lists with an entry for every layer."""
    lengths = check_lengths(lengths, *x.shape[:2])
    pieces, new_states = cut(len(x), n_pieces), [*states]
    used, caches = [None] * len(layers), [[] for _ in layers]
    ys, done = {}, {}  # ys: (t, B, H) of every cell, kept until the streams have come together
    with side_by_side(x, len(layers)) as streams:
        for n, p in cells(len(layers), n_pieces):
            with streams[n] as stream:
                if n > 0:
                    stream.wait_event(done[n - 1, p])
                if p == 0:
                    used[n] = _with_weights_as_used(layers[n], weight_hh_masks[n])
                ys[n, p], new_states[n], cache = used[n].forward(
                    dropout_forward(ys[n - 1, p] if n > 0 else x[pieces[p]], input_masks[n]),
                    new_states[n], lengths=_within(pieces[p], lengths), need_cache=need_cache,
                )  # fmt: skip
                caches[n].append(cache)
                done[n, p] = stream.record()
    y = _joined([ys[len(layers) - 1, p] for p in range(n_pieces)])  # (T, B, H)
    return y, new_states, WavefrontCache(pieces, caches, input_masks, weight_hh_masks, used) if need_cache else None


def wavefront_backward(dy, dstates, cache, *, lowest, need_dx):
    """What `LSTMStack.backward` does, in pieces; dstates is a list with an entry for every layer."""
    layers, n_pieces, last = cache.used, len(cache.pieces), len(cache.used) - 1
    if dy is not None:
        shape = cache.pieces[-1].stop, cache.layers[0][0].x.shape[1], layers[last].hidden_size  # T, B, H
        check_float_array("dy", dy, shape, layers[last].dtype)
    dys = {(last, p): None if dy is None else dy[piece] for p, piece in enumerate(cache.pieces)}  # kept, as ys
    new_dstates: list[LSTMState | None] = [None] * len(layers)
    sums, done, need_dx = [None] * len(layers), {}, need_dx and lowest == 0
    with side_by_side(cache.layers[0][0].x, len(layers)) as streams:
        for n, p in reversed(cells(len(layers), n_pieces)):
            if n < lowest:
                continue
            wanted = n > lowest or need_dx
            with streams[n] as stream:
                if n < last:
                    stream.wait_event(done[n + 1, p])
                dx, new_dstates[n], grads = layers[n].backward(
                    dys[n, p], new_dstates[n] or dstates[n], cache.layers[n][p], need_dx=wanted
                )
                dys[n - 1, p] = dropout_backward(dx, cache.input_masks[n]) if wanted else None
                done[n, p] = stream.record()  # the layer beneath need not wait for the sums
                sums[n] = _added(sums[n], grads)
                if p == 0 and cache.weight_hh_masks[n] is not None:
                    sums[n]["weight_hh"] *= cache.weight_hh_masks[n]
    dx = _joined([dys[-1, p] for p in range(n_pieces)]) if need_dx else None  # (T, B, I)
    grads = {f"{name}_l{n}": g for n in reversed(range(lowest, len(layers))) for name, g in sums[n].items()}
    return dx, new_dstates, grads


# --- pieces and cells


def cut(T, n_pieces):
    """-> as many slices of range(T), as nearly equal as can be"""
    return [slice(*ends) for ends in pairwise(T * p // n_pieces for p in range(n_pieces + 1))]


def cells(n_layers, n_pieces):
    """-> every (layer, piece), each after the one beneath it and the one before it: diagonal by diagonal, as they are
    to be ordered so that no stream waits for the host longer than it must"""
    return sorted(product(range(n_layers), range(n_pieces)), key=sum)


def _within(piece, lengths):
    """(B,): what rows of these lengths have of a piece."""
    return None if lengths is None else np.clip(lengths - piece.start, 0, piece.stop - piece.start)


def _with_weights_as_used(layer, weight_hh_mask):
    """The layer with its weights dropped, and in the dtype that its precision stores: made once for all pieces."""
    used, weights = copy(layer), dict(layer.params)
    if weight_hh_mask is not None:
        check_float_array("weight_hh_mask", weight_hh_mask, weights["weight_hh"].shape, layer.dtype)
        weights["weight_hh"] = weights["weight_hh"] * weight_hh_mask
    storage = storage_dtype(layer.precision, layer.dtype)
    for name in ("weight_ih", "weight_hh"):
        weights[name] = weights[name].astype(storage, copy=False)
    used.params = weights
    return used


def _added(sums, grads):
    """Gradients of another piece, added in place."""
    if sums is None:
        return grads
    for name, g in grads.items():
        sums[name] += g
    return sums


def _joined(parts):
    """Pieces of T as one array, by the stream that the call came from."""
    return get_array_module(*parts).concatenate(parts)
