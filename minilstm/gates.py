"""The six equations of the LSTM and their undoing, for one time step (Hochreiter & Schmidhuber 1997, with the
forget gate of Gers et al. 2000). Everything else in this package exists to run these two functions over time.

    i = sigmoid(pre_i)    input gate        c = f * c_prev + i * g
    f = sigmoid(pre_f)    forget gate       h = o * tanh(c)
    g = tanh(pre_g)       candidate
    o = sigmoid(pre_o)    output gate

The four gates of a row lie side by side in PyTorch's order i, f, g, o; an array that holds them is called `ifgo`.
"""

from .activations import dsigmoid, dtanh, sigmoid, tanh
from .arrays import get_array_module


def split_ifgo(ifgo):
    """(B, 4H) -> four views (B, H), in the order i, f, g, o."""
    H = ifgo.shape[1] // 4
    return ifgo[:, :H], ifgo[:, H : 2 * H], ifgo[:, 2 * H : 3 * H], ifgo[:, 3 * H :]


def gates_forward(pre, c_prev):
    """One step forward.

    pre (B, 4H), the gates before activation; c_prev (B, H) -> h (B, H), c (B, H), ifgo (B, 4H) after activation
    """
    xp = get_array_module(pre)
    pre_i, pre_f, pre_g, pre_o = split_ifgo(pre)
    i, f, g, o = sigmoid(pre_i), sigmoid(pre_f), tanh(pre_g), sigmoid(pre_o)
    c = f * c_prev + i * g
    h = o * tanh(c)
    return h, c, xp.concatenate([i, f, g, o], axis=1)


def gates_backward(dh, dc, ifgo, c_prev, c):
    """The same step backward: each forward line, last one first, and below it what undoes it.

    dh (B, H) and dc (B, H), what later steps and the layer above say about h and c
    -> dpre (B, 4H), dc_prev (B, H)
    """
    xp = get_array_module(ifgo)
    i, f, g, o = split_ifgo(ifgo)
    # h = o * tanh(c)
    tanh_c = tanh(c)
    do = dh * tanh_c
    dc = dc + dh * o * dtanh(tanh_c)
    # c = f * c_prev + i * g
    df, dc_prev = dc * c_prev, dc * f
    di, dg = dc * g, dc * i
    # i, f, g, o = sigmoid(pre_i), sigmoid(pre_f), tanh(pre_g), sigmoid(pre_o)
    dpre = xp.concatenate([di * dsigmoid(i), df * dsigmoid(f), dg * dtanh(g), do * dsigmoid(o)], axis=1)
    return dpre, dc_prev
