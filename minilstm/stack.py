"""LSTM layers on top of each other, with locked dropout between them."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .dropout import dropout_backward, dropout_forward
from .lstm import LSTM, LSTMCache, LSTMState
from .wavefront import WavefrontCache, check_wish, choose, wavefront_backward, wavefront_forward


@dataclass
class StackCache:
    layers: list[LSTMCache]  # lowest first
    input_masks: list  # (1, B, size) or None, per layer


class LSTMStack:
    """Layers 0..n-1 of any sizes: the same two calls as `LSTM`, with a list of states.

    LSTMStack(400, [1150, 1150, 400], rng=rng) is the encoder of AWD-LSTM. params carry the names of a
    `torch.nn.LSTM` of n layers: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_ih_l1, ...

    wavefront: None, one layer after the other; a number of pieces of the sequence, over which the layers go side by
    side (wavefront.py); or "auto", as many as an estimate for the GPU at hand says.
    """

    def __init__(
        self, input_size, hidden_sizes, *, rng, dtype=np.float32, kernel="auto", precision=None, wavefront=None
    ):
        if not isinstance(hidden_sizes, list | tuple):
            raise TypeError(f"hidden_sizes: expected a list, as [{hidden_sizes!r}], got {type(hidden_sizes).__name__}")
        if not hidden_sizes:
            raise ValueError("hidden_sizes: expected at least one layer, got none")
        check_wish(wavefront)
        sizes = [input_size, *hidden_sizes]
        self.layers = [
            LSTM(I, H, rng=rng, dtype=dtype, kernel=kernel, precision=precision)
            for I, H in zip(sizes[:-1], sizes[1:], strict=True)
        ]
        self.wavefront = wavefront

    @property
    def params(self):
        """The layers' own arrays under one roof: change them in place."""
        return MappingProxyType(
            {f"{name}_l{n}": p for n, layer in enumerate(self.layers) for name, p in layer.params.items()}
        )

    def plan(self, x, *, need_cache=True):
        """For a call on `x` (T, B, I), which implementation each layer will use, and why: a Plan per layer, as
        `LSTM.plan` has it. Where layers go side by side, its time is that of all pieces of a layer together."""
        plans = [layer.plan(x, need_cache=need_cache) for layer in self.layers]
        if self.wavefront is None:
            return plans
        _, why = choose(self.wavefront, self.layers, x, need_cache)
        return [plan._replace(reason=f"{plan.reason}; {why}") for plan in plans]

    def forward(
        self, x, states=None, *, lengths=None, input_masks=None, weight_hh_masks=None, need_cache=True
    ):
        """x (T,B,I), one LSTMState per layer (None: zeros) -> y (T,B,H of the last layer), [LSTMState], StackCache

        input_masks, one per layer or None: what layer n reads is multiplied by input_masks[n], of shape (1, B, size)
        so that it is the same at every step (locked dropout, Gal & Ghahramani 2016). weight_hh_masks: weight drop,
        one per layer or None. The cache of layers that go side by side is a WavefrontCache.
        """
        n_layers = len(self.layers)
        states = self._per_layer("states", states)
        input_masks = self._per_layer("input_masks", input_masks)
        weight_hh_masks = self._per_layer("weight_hh_masks", weight_hh_masks)
        pieces, _ = choose(self.wavefront, self.layers, x, need_cache)
        if pieces > 1:
            return wavefront_forward(
                self.layers, x, states, pieces, lengths=lengths, input_masks=input_masks,
                weight_hh_masks=weight_hh_masks, need_cache=need_cache,
            )  # fmt: skip
        new_states, caches = [None] * n_layers, [None] * n_layers
        for n, layer in enumerate(self.layers):
            x = dropout_forward(x, input_masks[n])
            x, new_states[n], caches[n] = layer.forward(
                x, states[n], lengths=lengths, weight_hh_mask=weight_hh_masks[n], need_cache=need_cache
            )
        return x, new_states, StackCache(caches, input_masks) if need_cache else None

    def backward(self, dy, dstates, cache, *, lowest=0, need_dx=True):
        """dy (T,B,H), one LSTMState of gradients per layer (or None) -> dx (T,B,I), [LSTMState], grads

        Walks down to layer `lowest` and stops there: grads holds only what was walked through. dx is None when
        lowest > 0 or need_dx is False, and so are the state gradients of the layers not reached.
        """
        if cache is None:
            raise ValueError("cache: expected the StackCache of a forward with need_cache=True, got None")
        if not 0 <= lowest < len(self.layers):
            raise ValueError(f"lowest: expected a layer in 0..{len(self.layers) - 1}, got {lowest}")
        dstates = self._per_layer("dstates", dstates)
        if len(cache.layers) != len(self.layers):
            raise ValueError(f"cache: expected that of {len(self.layers)} layers, got one of {len(cache.layers)}")
        if isinstance(cache, WavefrontCache):
            return wavefront_backward(dy, dstates, cache, lowest=lowest, need_dx=need_dx)
        new_dstates: list[LSTMState | None] = [None] * len(self.layers)
        grads = {}
        for n in reversed(range(lowest, len(self.layers))):
            wanted = n > lowest or (lowest == 0 and need_dx)
            dx, new_dstates[n], layer_grads = self.layers[n].backward(
                dy, dstates[n], cache.layers[n], need_dx=wanted
            )
            grads |= {f"{name}_l{n}": g for name, g in layer_grads.items()}
            dy = dropout_backward(dx, cache.input_masks[n]) if wanted else None
        return dy, new_dstates, grads

    def _per_layer(self, name, values):
        """A list with one entry for every layer; None stands for a list of None."""
        if values is None:
            return [None] * len(self.layers)
        if len(values) != len(self.layers):
            raise ValueError(f"{name}: expected {len(self.layers)} entries, one per layer, got {len(values)}")
        return list(values)
