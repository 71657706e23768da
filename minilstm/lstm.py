"""One LSTM layer over a whole sequence, forward and backward through time.

    x_gates = x @ weight_ih.T + bias_ih + bias_hh     one big product for all time steps, before the loop
    y, h, c = recurrence(x_gates, weight_hh)          the loop over time: recurrence.py and gates.py
    dweight = dgates.T @ [x, h]                       big products again, after the loop backward

Legend: T time, B batch, I input size, H hidden size; gates lie in the order i, f, g, o along 4H.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .arrays import get_array_module, library_products
from .checks import check_float_array, check_lengths, check_shape, check_size
from .params import uniform
from .recurrence import Plan, Recurrence, check_kernel, get_recurrence, plan_recurrence, storage_dtype


class LSTMState(NamedTuple):
    """What an LSTM carries from one call to the next; the same type carries its gradients dh and dc."""

    h: np.ndarray  # (B, H)
    c: np.ndarray  # (B, H)


def pair(name, state):
    """The two members of a state, (None, None) for None. Raises TypeError for anything but a pair."""
    if state is None:
        return None, None
    if not isinstance(state, tuple | list) or len(state) != 2:
        got = f"{type(state).__name__} of {len(state)}" if hasattr(state, "__len__") else type(state).__name__
        raise TypeError(f"{name}: expected an LSTMState (h, c), got {got}")
    return tuple(state)


@dataclass
class LSTMCache:
    """What `backward` needs of one call to `forward`, and what is worth looking at afterwards."""

    x: np.ndarray  # (T, B, I), the caller's own array; in 16 bits, as weight_hh is, where the precision says so
    weight_hh: np.ndarray  # (4H, H), the effective weights: after weight drop
    weight_hh_mask: np.ndarray | None  # (4H, H), scaled
    lengths: np.ndarray | None  # (B,)
    recurrence: Recurrence
    saved: object  # the recurrence's own

    @property
    def h(self):
        """(T+1, B, H): h[0] is the initial state, h[t+1] the state after step t."""
        return self.recurrence.states(self.saved)[0]

    @property
    def c(self):
        """(T+1, B, H), like h."""
        return self.recurrence.states(self.saved)[1]

    @property
    def ifgo(self):
        """(T, B, 4H): the four gates after activation."""
        return self.recurrence.states(self.saved)[2]

    def __repr__(self):
        T, B, I = self.x.shape
        H = self.weight_hh.shape[1]
        drop = "none" if self.weight_hh_mask is None else f"{float((self.weight_hh_mask == 0).mean()):.0%} dropped"
        lengths = "all T" if self.lengths is None else self.lengths.tolist()
        return (
            f"LSTMCache(T={T}, B={B}, I={I}, H={H}, {self.x.dtype}, kernel={self.recurrence.name!r}, "
            f"weight_hh: {drop}, lengths: {lengths}; h {(T + 1, B, H)}, c {(T + 1, B, H)}, ifgo {(T, B, 4 * H)})"
        )


class LSTM:
    """A one-directional LSTM layer with PyTorch's parameters and none of its autograd.

    params: weight_ih (4H, I), weight_hh (4H, H), bias_ih (4H,), bias_hh (4H,), all U(-1/sqrt(H), 1/sqrt(H)) at
    first, as `torch.nn.LSTM` does. They may be changed in place between a backward and the next forward.
    `rng` is used for initialisation alone; `kernel` is "auto" or a name of `minilstm.available_kernels()`.

    precision: None, the arrays' own, or one that a kernel offers a layer of float32, in which sums and c stay:

      "float16", "bfloat16"  multiplies and keeps for backward in 16 bits. float16 ends at 65504 and begins at 6e-8:
                             scale the loss up, and the gradients down again, where they are small.
      "tf32"                 keeps everything in float32, but rounds what it multiplies to the 11 bits of TF32: in the
                             loop, and in the large products before and after it, which cuBLAS does so.
      "bfloat16x3"           the same, but in the loop a number is the sum of two bfloat16, so that a product is three
                             and errs by some 2^-17 of it, not 2^-12; the large products are those of float32.
    """

    def __init__(self, input_size, hidden_size, *, rng, dtype=np.float32, kernel="auto", precision=None):
        check_size("input_size", input_size), check_size("hidden_size", hidden_size)
        self.input_size, self.hidden_size, self.dtype = input_size, hidden_size, np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype: expected float32 or float64, got {self.dtype}")
        if precision is not None and self.dtype != np.float32:
            raise ValueError(f"precision: expected None for {self.dtype} arrays, got {precision!r}")
        self.kernel, self.precision = kernel, precision
        check_kernel(kernel, precision)
        I, H = input_size, hidden_size
        self.shapes = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}
        self.params = {name: uniform(rng, shape, H**-0.5, dtype) for name, shape in self.shapes.items()}

    def plan(self, x, *, need_cache=True) -> Plan:
        """Which implementation a call of `forward` on `x` (T, B, I) will use, why, and the microseconds that its loop
        over time should take, with backward where it keeps a cache: None but on a GPU that was measured."""
        return plan_recurrence(self.kernel, x, self.precision, self.hidden_size, need_cache)

    def forward(self, x, state=None, *, lengths=None, weight_hh_mask=None, need_cache=True):
        """x (T,B,I), state of (B,H) each (None: zeros) -> y (T,B,H), LSTMState, LSTMCache

        lengths (B,), host integers in 0..T in any order: past its end a row's y is zero and its state stays as it
        is; None means T for every row. weight_hh_mask (4H,H), already scaled, is weight drop (Merity et al. 2017).
        With need_cache=False nothing is kept and the cache is None. The returned states are copies.
        Raises ValueError (shapes, lengths) or TypeError (dtypes, mixed devices).
        """
        lengths = self._check(x, state, lengths, weight_hh_mask)
        xp = get_array_module(x, self.params["weight_ih"])
        (T, B, I), H = x.shape, self.hidden_size
        h0, c0 = state if state is not None else (xp.zeros((B, H), self.dtype), xp.zeros((B, H), self.dtype))
        weight_hh = self.params["weight_hh"]
        if weight_hh_mask is not None:
            weight_hh = weight_hh * weight_hh_mask
        weight_ih, bias = self.params["weight_ih"], self.params["bias_ih"] + self.params["bias_hh"]
        recurrence = get_recurrence(self.plan(x, need_cache=need_cache).kernel, self.precision)
        # c stays in the layer's own dtype
        x, weight_ih, weight_hh, bias, h0 = self._as_stored(x, weight_ih, weight_hh, bias, h0)
        if hasattr(recurrence, "layer_forward"):
            y, h_T, c_T, saved = recurrence.layer_forward(x, weight_ih, weight_hh, bias, h0, c0, lengths, need_cache)
        else:
            with library_products(x, self.precision):
                (x_gates,) = self._as_stored(x.reshape(T * B, I) @ weight_ih.T + bias)  # (T*B, 4H)
                y, h_T, c_T, saved = recurrence.forward(
                    x_gates.reshape(T, B, 4 * H), weight_hh, h0, c0, lengths, need_cache
                )
        cache = LSTMCache(x, weight_hh, weight_hh_mask, lengths, recurrence, saved) if need_cache else None
        y, h_T = (a.astype(self.dtype, copy=False) for a in (y, h_T))
        return y, LSTMState(h_T, c_T), cache

    def backward(self, dy, dstate, cache, *, need_dx=True):
        """dy (T,B,H) and dstate, what is said about the outputs and the final state (each, or a member, may be
        None: zero) -> dx (T,B,I), LSTMState of dh0 and dc0, grads (the keys and shapes of params)

        need_dx=False leaves out the product for dx, which is then None: for the lowest layer that is trained.
        """
        if cache is None:
            raise ValueError("cache: expected the LSTMCache of a forward with need_cache=True, got None")
        (T, B, I), H = cache.x.shape, self.hidden_size
        if (I, cache.weight_hh.shape[1]) != (self.input_size, H):
            raise ValueError(f"cache: expected that of a layer of I={self.input_size}, H={H}, got {cache!r}")
        dh_T, dc_T = pair("dstate", dstate)
        for name, d, shape in (("dy", dy, (T, B, H)), ("dstate.h", dh_T, (B, H)), ("dstate.c", dc_T, (B, H))):
            if d is not None:
                check_float_array(name, d, shape, self.dtype)
        weight_ih, dy, dh_T = self._as_stored(self.params["weight_ih"], dy, dh_T)
        if hasattr(cache.recurrence, "layer_backward"):
            dx, dh0, dc0, dweight_ih, dweight_hh, dbias = cache.recurrence.layer_backward(
                dy, dh_T, dc_T, cache.saved, cache.x, weight_ih, cache.weight_hh, need_dx
            )
        else:
            with library_products(cache.x, self.precision):
                dgates, dh0, dc0 = cache.recurrence.backward(dy, dh_T, dc_T, cache.saved, cache.weight_hh)
                dgates = dgates.reshape(T * B, 4 * H)
                # x_gates[t] + h[t] @ weight_hh.T, for all t at once
                dweight_hh = dgates.T @ cache.h[:-1].reshape(T * B, H)
                # x_gates = x @ weight_ih.T + bias
                dweight_ih, dbias = dgates.T @ cache.x.reshape(T * B, I), dgates.sum(axis=0, dtype=self.dtype)
                dx = (dgates @ weight_ih).reshape(T, B, I) if need_dx else None
            dx, dh0, dweight_ih, dweight_hh = (
                d if d is None else d.astype(self.dtype, copy=False) for d in (dx, dh0, dweight_ih, dweight_hh)
            )
        if cache.weight_hh_mask is not None:
            dweight_hh *= cache.weight_hh_mask
        grads = {"weight_ih": dweight_ih, "weight_hh": dweight_hh, "bias_ih": dbias, "bias_hh": dbias.copy()}
        return dx, LSTMState(dh0, dc0), grads

    def _as_stored(self, *arrays):
        """The arrays in the dtype that the precision stores: themselves where there is none."""
        storage = storage_dtype(self.precision, self.dtype)
        return [a if a is None else a.astype(storage, copy=False) for a in arrays]

    def _check(self, x, state, lengths, weight_hh_mask):
        check_float_array("x", x, ("T", "B", self.input_size), self.dtype)
        for name, shape in self.shapes.items():  # a kernel would read past the end of an array that is too short
            check_shape(f"params[{name!r}]", self.params[name], shape)
        T, B, _ = x.shape
        H = self.hidden_size
        if T == 0:
            raise ValueError("x: expected at least one time step, got shape " + str(tuple(x.shape)))
        if state is not None:
            for name, s in zip(("state.h", "state.c"), pair("state", state), strict=True):
                check_float_array(name, s, (B, H), self.dtype)
        if weight_hh_mask is not None:
            check_float_array("weight_hh_mask", weight_hh_mask, (4 * H, H), self.dtype)
        return check_lengths(lengths, T, B)
