"""What the GPU kernels of the recurrence share (kernels/gpu_recurrence.py), with NumPy in the place of the device and
with gates that are the reference's: the loop over time, and the refusals before anything is launched."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import length_kinds, normal, seeds, sizes, some_lengths

from minilstm.gates import gates_backward, gates_forward
from minilstm.recurrence import ReferenceRecurrence
from minilstm_kernels import gpu_recurrence
from minilstm_kernels.gpu_recurrence import Gates

REFERENCE = ReferenceRecurrence()


def are_plain(*arrays):
    assert all(a.flags.c_contiguous for a in arrays)


def prepare_forward(x_gates, lengths, h, c, ifgo, y, keep):
    are_plain(x_gates, lengths, h, c, ifgo, y)

    def launch(t):
        now, new, kept = t % len(h), (t + 1) % len(h), t % len(ifgo)
        h_new, c_new, ifgo_new = gates_forward(x_gates[t] + ifgo[kept], c[now])
        alive = (t < lengths)[:, None]
        h[new], c[new] = np.where(alive, h_new, h[now]), np.where(alive, c_new, c[now])
        ifgo[kept] = np.where(alive, ifgo_new, 0) if keep else np.nan
        y[t] = np.where(alive, h_new, 0)

    return launch


def prepare_backward(dy, dh_T, lengths, c, ifgo, dh_later, dc, dgates):
    are_plain(dy, dh_T, lengths, c, ifgo, dh_later, dc, dgates)

    def launch(t):
        alive, goes_on = (t < lengths)[:, None], (t + 1 < lengths)[:, None]
        dh = np.where(goes_on, dh_later, dh_T) + dy[t % len(dy)]
        dpre, dc_prev = gates_backward(dh, dc, ifgo[t], c[t], c[t + 1])
        dgates[t], dc[...] = np.where(alive, dpre, 0), np.where(alive, dc_prev, dc)

    return launch


GATES = Gates(np, ("float32", "float64"), prepare_forward, prepare_backward)
NEVER = GATES._replace(prepare_forward=None, prepare_backward=None)  # for what must not come to a launch


def problem(T, B, H, lengths=None, seed=0, dtype=np.float64):
    """-> the arguments of forward, and dy, dh_T, dc_T"""
    rng = np.random.default_rng(seed)
    shapes = (T, B, 4 * H), (4 * H, H), (B, H), (B, H), (T, B, H), (B, H), (B, H)
    x, w, h0, c0, *d = (normal(rng, *shape, dtype=dtype) for shape in shapes)
    return [x, w, h0, c0, lengths], d


def run(ins, d, forward, backward, states):
    """Everything that a forward and a backward return."""
    *outs, saved = forward(*ins)
    return [*outs, *states(saved), *backward(*d, saved, ins[1])]


def ours(ins, d):
    return run(
        ins, d, lambda *a: gpu_recurrence.forward(GATES, *a), lambda *a: gpu_recurrence.backward(GATES, *a),
        gpu_recurrence.states,
    )  # fmt: skip


def plain(ins, d):
    return run(ins, d, REFERENCE.forward, REFERENCE.backward, REFERENCE.states)


def same(got, want):
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@given(T=sizes, B=sizes, H=sizes, kind=length_kinds, seed=seeds, missing=st.sets(st.integers(0, 2)))
def test_the_loop_over_time_is_the_reference(T, B, H, kind, seed, missing):
    """With any of the incoming gradients missing."""
    ins, d = problem(T, B, H, some_lengths(np.random.default_rng(seed), kind, T, B), seed)
    d = [None if n in missing else g for n, g in enumerate(d)]
    same(ours(ins, d), plain(ins, d))


@given(T=sizes, B=sizes, H=sizes, kind=length_kinds, seed=seeds)
def test_without_a_cache_the_bits_are_the_same(T, B, H, kind, seed):
    ins, _ = problem(T, B, H, some_lengths(np.random.default_rng(seed), kind, T, B), seed)
    *full, _ = gpu_recurrence.forward(GATES, *ins)
    *lean, saved = gpu_recurrence.forward(GATES, *ins, need_cache=False)
    assert saved is None
    assert all((a == b).all() for a, b in zip(full, lean, strict=True))


def test_with_float16_the_cell_state_is_kept_in_float32():
    """Within the roundings of what is stored: 2**-11, and a few of them add up."""
    gates = GATES._replace(dtypes=("float16",))
    ins, d = problem(4, 3, 5, dtype=np.float16)
    ins[1] /= 4
    want = plain([*(a.astype(float) for a in ins[:4]), None], [g.astype(float) for g in d])
    ins[3], d[2] = ins[3].astype(np.float32), d[2].astype(np.float32)
    *outs, saved = gpu_recurrence.forward(gates, *ins)
    got = [*outs, *gpu_recurrence.states(saved), *gpu_recurrence.backward(gates, *d, saved, ins[1])]
    float32 = {2, 4, 8}                     # c_T, c and dc0
    for n, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.dtype == (np.float32 if n in float32 else np.float16)
        np.testing.assert_allclose(a, b, rtol=0, atol=0.01)


@pytest.mark.parametrize("T, B, H", [(0, 2, 3), (2, 0, 3), (0, 0, 3)])
def test_nothing_is_launched_for_arrays_without_numbers(T, B, H):
    """A grid of no blocks is an error on a GPU."""
    ins, d = problem(T, B, H)
    want = plain(ins, d)
    *outs, saved = gpu_recurrence.forward(NEVER, *ins)
    same([*outs, *gpu_recurrence.states(saved), *gpu_recurrence.backward(NEVER, *d, saved, ins[1])], want)


def test_arrays_in_any_order_and_read_only_are_as_good_as_any():
    ins, d = problem(5, 3, 4)
    odd_ins = [*map(np.asfortranarray, ins[:4]), None]
    odd_d = [np.repeat(g, 2, axis=-1)[..., ::2] for g in d]
    for a in (*odd_ins[:4], *odd_d):
        a.flags.writeable = False
    same(ours(odd_ins, odd_d), plain(ins, d))


def test_what_comes_out_shares_no_memory_with_what_went_in_or_is_kept():
    ins, d = problem(4, 3, 2, lengths=np.array([4, 0, 2]))
    *outs, saved = gpu_recurrence.forward(GATES, *ins)
    kept = [*ins, *d, *saved]
    for a in (*outs, *gpu_recurrence.backward(GATES, *d, saved, ins[1])):
        assert not any(np.shares_memory(a, k) for k in kept)
    assert not any(np.shares_memory(k, a) for k in saved for a in ins)


# --- refused before anything is launched -----------------------------------------------------------------------------



@pytest.mark.parametrize("which, bad, said", [
    (0, np.zeros((3, 2, 8), np.float16), "x_gates: expected one of float32, float64, got float16"),
    (0, np.zeros((3, 2, 8), int), "x_gates: expected one of float32, float64, got int64"),
    (0, np.zeros((3, 8)), "x_gates: expected 3 axes, got (3, 8)"),
    (0, np.zeros((3, 2, 9)), "x_gates: expected float64 (3, 2, 8), got float64 (3, 2, 9)"),
    (0, [[[1.0]]], "x_gates: expected 3 axes, got list"),
    (1, np.zeros((2, 8)), "weight_hh: expected float64 (8, 2), got float64 (2, 8)"),
    (1, np.zeros((8, 2), "f"), "weight_hh: expected float64 (8, 2), got float32 (8, 2)"),
    (2, np.zeros((2, 2), "f"), "h0: expected float64 (2, 2), got float32 (2, 2)"),
    (2, np.zeros((1, 2)), "x_gates: expected float64 (3, 1, 8), got float64 (3, 2, 8)"),
    (2, np.zeros(2), "h0: expected 2 axes, got (2,)"),
    (3, np.zeros((2, 3)), "c0: expected float64 (2, 2), got float64 (2, 3)"),
    (3, None, "c0: expected a NumPy array, got builtins.NoneType"),
    (4, np.array([3, 3, 3]), "lengths: expected (2,) integers from 0 to 3, got [3 3 3]"),
    (4, np.array([3.0, 1.0]), "lengths: expected (2,) integers from 0 to 3, got [3. 1.]"),
    (4, np.array([4, 0]), "lengths: expected (2,) integers from 0 to 3, got [4 0]"),
    (4, [-1, 0], "lengths: expected (2,) integers from 0 to 3, got [-1  0]"),
])
def test_forward_refuses_and_names_the_argument(which, bad, said):
    ins, _ = problem(3, 2, 2)
    ins[which] = bad
    with pytest.raises(ValueError) as error:
        gpu_recurrence.forward(NEVER, *ins)
    assert str(error.value) == said


@pytest.mark.parametrize("which, name", [*enumerate(["dy", "dh_T", "dc_T", "weight_hh"])])
@pytest.mark.parametrize("spoil", [lambda a: a[:-1], lambda a: a.astype(np.float32), lambda a: a[0], list])
def test_backward_refuses_and_names_the_argument(which, name, spoil):
    ins, d = problem(3, 2, 2)
    saved = gpu_recurrence.forward(GATES, *ins)[3]
    arguments = [*d, ins[1]]
    arguments[which] = spoil(arguments[which])
    with pytest.raises(ValueError, match=rf"^{name}: expected (float64 \([2-8, ]+\)|a NumPy array), got "):
        gpu_recurrence.backward(NEVER, *arguments[:3], saved, arguments[3])


def test_arrays_of_another_module_are_refused():
    """NumPy arrays would reach a GPU kernel as addresses of the host."""
    cupy = SimpleNamespace(__name__="cupy", ndarray=type("ndarray", (), {}))
    ins, _ = problem(3, 2, 2)
    with pytest.raises(ValueError, match="x_gates: expected a CuPy array, got numpy.ndarray"):
        gpu_recurrence.forward(NEVER._replace(xp=cupy), *ins)
