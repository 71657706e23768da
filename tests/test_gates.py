import math

import numpy as np
import pytest
from hypothesis import given
from strategies import BH, normal, seeds

from minilstm import gradcheck
from minilstm.gates import gates_backward, gates_forward, split_ifgo


def logistic(x):
    return 1 / (1 + math.exp(-x))


@given(BH=BH, seed=seeds)
def test_the_six_equations_number_by_number(BH, seed):
    B, H = BH
    rng = np.random.default_rng(seed)
    pre, c_prev = normal(rng, B, 4 * H), normal(rng, B, H)
    h, c, ifgo = gates_forward(pre, c_prev)
    for b in range(B):
        for j in range(H):
            i, f, o = (logistic(pre[b, gate * H + j]) for gate in (0, 1, 3))
            g = math.tanh(pre[b, 2 * H + j])
            assert ifgo[b, j::H].tolist() == pytest.approx([i, f, g, o], rel=1e-12)
            assert c[b, j] == pytest.approx(f * c_prev[b, j] + i * g, rel=1e-12, abs=1e-15)
            assert h[b, j] == pytest.approx(o * math.tanh(f * c_prev[b, j] + i * g), rel=1e-12, abs=1e-15)


@given(BH=BH, seed=seeds)
def test_every_gradient_is_right(BH, seed):
    B, H = BH
    rng = np.random.default_rng(seed)

    def forward(a):
        h, c, _ = gates_forward(a["pre"], a["c_prev"])
        return {"h": h, "c": c}

    def backward(a, d):
        _, c, ifgo = gates_forward(a["pre"], a["c_prev"])
        zero = np.zeros((B, H))
        dh, dc = (zero if d[name] is None else d[name] for name in ("h", "c"))
        dpre, dc_prev = gates_backward(dh, dc, ifgo, a["c_prev"], c)
        return {"pre": dpre, "c_prev": dc_prev}

    gradcheck(forward, backward, {"pre": normal(rng, B, 4 * H), "c_prev": normal(rng, B, H)}, rng=rng)


@given(BH=BH, seed=seeds)
def test_dh_and_dc_add_up(BH, seed):
    """backward is linear in what comes in: both at once are the sum of one at a time."""
    rng = np.random.default_rng(seed)
    B, H = BH
    c_prev, dh, dc, zero = normal(rng, B, H), normal(rng, B, H), normal(rng, B, H), np.zeros((B, H))
    _, c, ifgo = gates_forward(normal(rng, B, 4 * H), c_prev)
    both, only_h, only_c = (gates_backward(*d, ifgo, c_prev, c) for d in ((dh, dc), (dh, zero), (zero, dc)))
    for whole, a, b in zip(both, only_h, only_c, strict=True):
        np.testing.assert_allclose(whole, a + b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(BH=BH, seed=seeds)
def test_extreme_pre_activations_saturate_in_silence(dtype, BH, seed):
    B, H = BH
    rng = np.random.default_rng(seed)
    pre = rng.choice([-1e4, 1e4], (B, 4 * H)).astype(dtype)
    c_prev = normal(rng, B, H, dtype=dtype)
    h, c, ifgo = gates_forward(pre, c_prev)
    for name, gate in zip("ifgo", split_ifgo(ifgo), strict=True):
        assert set(gate.ravel().tolist()) <= ({-1.0, 1.0} if name == "g" else {0.0, 1.0})
    dpre, dc_prev = gates_backward(np.ones_like(h), np.ones_like(c), ifgo, c_prev, c)
    for a in (h, c, ifgo, dpre, dc_prev):
        assert a.dtype == dtype and np.isfinite(a).all()
    assert not dpre.any()  # a saturated gate learns nothing
