"""The persistent LSTM at sizes where its parts are in play: several strips and narrow ones, blocks of k, memory that is
used again, units or rows divided among threads. (What every recurrence promises: test_recurrence.py.)"""

from itertools import product

import numpy as np
import pytest
from on_cpu import both_dtypes, cpu_lstm, fresh_python, team_of
from problems import LSTMProblem, copies, same_bits
from strategies import LSTMCase, normal
from test_recurrence import check_float32, check_float64

from minilstm.recurrence import ReferenceRecurrence

CASES = [
    LSTMCase(T=3, B=1, I=7, H=700, seed=1),                             # 4H, H and I beyond KC
    LSTMCase(T=4, B=5, I=530, H=16, lengths="mixed", seed=2),           # one vector of units
    LSTMCase(T=7, B=33, I=7, H=129, lengths="mixed", seed=3),           # the last vector has one unit
    LSTMCase(T=5, B=64, I=7, H=100, weight_drop=True, seed=4),          # rows divided among threads
    LSTMCase(T=3, B=5, I=7, H=520, lengths="mixed", seed=5),
    LSTMCase(T=3, B=64, I=530, H=129, seed=6),
    LSTMCase(T=3, B=33, I=7, H=700, lengths="mixed", weight_drop=True, seed=7),
    LSTMCase(T=2, B=1, I=1, H=1, seed=8),
]  # fmt: skip
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"T{c.T}-B{c.B}-I{c.I}-H{c.H}")
MIDDLE = LSTMCase(T=6, B=33, I=19, H=130, lengths="mixed", weight_drop=True, seed=9)


def on_cpu(case, dtype=np.float32):
    """A problem for the kernel; where its rows have lengths, the first has none and the last all."""
    p = LSTMProblem(case, dtype=dtype, kernel="cpu")
    if p.lengths is not None:
        p.lengths[0], p.lengths[-1] = 0, case.T
    return p


# --- values and gradients ---------------------------------------------------------------------------------------------


@every_case
def test_float32_is_as_exact_as_the_reference(case):
    with team_of(3):
        check_float32(case, "cpu", "cpu")


@every_case
def test_float64_is_the_reference(case):
    with team_of(3):
        check_float64(case, "cpu", "cpu")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -1e30])
@both_dtypes
def test_endless_gates_are_those_of_the_reference(dtype, value):
    rng = np.random.default_rng(0)
    T, B, H = 3, 7, 20
    x_gates = normal(rng, T, B, 4 * H, dtype=dtype)
    x_gates[rng.random(x_gates.shape) < 0.3] = value
    weight_hh, h0, c0 = normal(rng, 4 * H, H, dtype=dtype) / 5, normal(rng, B, H, dtype=dtype), np.zeros((B, H), dtype)
    results = []
    for kernel in (cpu_lstm, ReferenceRecurrence()):
        *outputs, saved = kernel.forward(x_gates, weight_hh, h0, c0)
        results.append([*outputs, *kernel.backward(outputs[0], *outputs[1:], saved, weight_hh)])
    for a, b in zip(*results, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=30 * np.finfo(dtype).eps)


def test_a_row_with_nan_is_alone_with_it():
    """From the step on at which it comes, backward before it, too; every bit of the other rows stays."""
    p = on_cpu(LSTMCase(T=5, B=15, I=19, H=130, seed=1))
    before = p.all_arrays()
    p.inputs["x"][2, 7, 3] = np.nan
    after = p.all_arrays()
    others = np.arange(15) != 7
    for name in ("y", "all h", "all c", "ifgo", "dx"):
        same_bits({name: before[name][:, others]}, {name: after[name][:, others]})
        assert np.isnan(after[name][2 + name.startswith("all"), 7]).all(), name
    for name in ("h", "c", "dh0", "dc0"):
        same_bits({name: before[name][others]}, {name: after[name][others]})
        assert np.isnan(after[name][7]).all(), name
    same_bits({"y": before["y"][:2]}, {"y": after["y"][:2]})
    assert all(np.isnan(after[f"d{name}"]).any() for name in p.layer.params)


# --- the same bits ----------------------------------------------------------------------------------------------------


@every_case
def test_any_number_of_threads_gives_the_same_bits(case):
    p = on_cpu(case)
    alone = p.all_arrays()
    for n in (1, 2, 3, 4):
        with team_of(n):
            same_bits(alone, p.all_arrays())


@pytest.mark.parametrize("B, H", [(1, 3), (5, 20), (3, 100), (40, 33)])
def test_more_threads_than_units_or_rows(B, H):
    p = on_cpu(LSTMCase(T=3, B=B, I=3, H=H, lengths="mixed"))
    alone = p.all_arrays()
    for n in (5, 7):
        with team_of(n):
            same_bits(alone, p.all_arrays())


@both_dtypes
def test_a_row_alone_has_the_bits_it_has_in_a_batch(dtype):
    p = on_cpu(MIDDLE, dtype.type)
    with team_of(2):
        batch = p.all_arrays()
    T, lengths, whole = MIDDLE.T, p.lengths, p.inputs
    d, per_step = p.d, ("y", "all h", "all c", "ifgo", "dx")
    for b in (0, 1, 5, 17, 32):
        row = slice(b, b + 1)
        p.inputs = whole | {"x": whole["x"][:, row]} | {name: whole[name][row] for name in ("h0", "c0")}
        p.d = {"y": d["y"][:, row], "h": d["h"][row], "c": d["c"][row]}
        p.lengths = lengths[row]
        alone = p.all_arrays()
        for name in (*per_step, "h", "c", "dh0", "dc0"):
            same_bits({name: batch[name][:, row] if name in per_step else batch[name][row]}, {name: alone[name]})
    assert T in lengths and 0 in lengths


@every_case
def test_without_a_cache_the_bits_are_the_same(case):
    p = on_cpu(case)
    with team_of(2):
        same_bits(p.forward(p.inputs), p.forward(p.inputs, need_cache=False))


@every_case
def test_inputs_stay_as_they_were_and_a_second_time_is_like_the_first(case):
    p = on_cpu(case)
    inputs, d, lengths = copies(p.inputs), copies(p.d), None if p.lengths is None else p.lengths.copy()
    with team_of(2):
        first = p.all_arrays()
        cache = p.run(p.inputs)[2]
        once, again = p.undo(p.d, cache), p.undo(p.d, cache)
        same_bits(first, p.all_arrays())
    same_bits(once, again)
    same_bits(inputs, p.inputs)
    same_bits(d, p.d)
    assert lengths is None or (lengths == p.lengths).all()


def test_two_caches_at_a_time():
    """forward A, forward B, backward A, backward B: no block of memory that A still needs is given to B."""
    a, b = (on_cpu(LSTMCase(T=6, B=33, I=150, H=300, lengths=n, seed=s)) for s, n in ((1, "none"), (2, "mixed")))
    with team_of(2):
        alone = [p.all_arrays() for p in (a, b)]
        runs = [p.run(p.inputs) for p in (a, b)]
        gradients = [p.undo(p.d, cache) for p, (_, _, cache) in zip((a, b), runs, strict=True)]
    for (y, (h, c), cache), g, want in zip(runs, gradients, alone, strict=True):
        got = {"y": y, "h": h, "c": c, "all h": cache.h, "all c": cache.c, "ifgo": cache.ifgo}
        same_bits(want, got | {f"d{name}": array for name, array in g.items()})


# --- the ways to call it ----------------------------------------------------------------------------------------------


def test_what_is_missing_is_zero():
    p = on_cpu(MIDDLE)
    cache = p.run(p.inputs)[2]
    for which in product((False, True), repeat=3):
        d = {name: np.zeros_like(a) if zero else a for (name, a), zero in zip(p.d.items(), which, strict=True)}
        less = {name: a for (name, a), zero in zip(p.d.items(), which, strict=True) if not zero}
        same_bits(p.undo(d, cache), p.undo(less, cache))
    y, state, _ = p.layer.forward(p.inputs["x"], None, lengths=p.lengths)
    zero = np.zeros_like(p.inputs["h0"])
    y0, state0, _ = p.layer.forward(p.inputs["x"], (zero, zero), lengths=p.lengths)
    same_bits({"y": y, "h": state.h, "c": state.c}, {"y": y0, "h": state0.h, "c": state0.c})


def test_without_dx_the_rest_is_the_same():
    p = on_cpu(MIDDLE)
    cache = p.run(p.inputs)[2]
    dx, dstate, grads = p.layer.backward(p.d["y"], None, cache)
    no_dx, dstate_again, grads_again = p.layer.backward(p.d["y"], None, cache, need_dx=False)
    assert dx is not None and no_dx is None
    same_bits(grads | dstate._asdict(), grads_again | dstate_again._asdict())


@pytest.mark.parametrize("order", ["every other number", "Fortran", "read-only"])
def test_arrays_that_lie_in_memory_in_another_way(order):
    strange = {
        "every other number": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        "Fortran": np.asfortranarray,
        "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    }[order]
    plain, p = on_cpu(MIDDLE), on_cpu(MIDDLE)
    p.inputs, p.d = ({name: strange(a) for name, a in arrays.items()} for arrays in (p.inputs, p.d))
    p.mask = strange(p.mask)
    same_bits(plain.all_arrays(), p.all_arrays())


def test_every_other_row_of_a_batch():
    p = on_cpu(MIDDLE)
    doubled = p.inputs | {"x": np.repeat(p.inputs["x"], 2, axis=1)[:, ::2], "h0": np.repeat(p.inputs["h0"], 2, 0)[::2]}
    assert not doubled["x"].flags.c_contiguous
    same_bits(p.backward(p.inputs, p.d), p.backward(doubled, p.d))


def test_the_recurrence_alone_is_the_layer_without_its_input():
    """forward and backward, which take the gates' share of the input ready made, against the reference."""
    rng = np.random.default_rng(0)
    T, B, H = 5, 33, 129
    x_gates, weight_hh, dy = normal(rng, T, B, 4 * H), normal(rng, 4 * H, H) / H**0.5, normal(rng, T, B, H)
    h0, c0, dh, dc = (normal(rng, B, H) for _ in range(4))
    lengths, results = rng.integers(0, T + 1, B), []
    with team_of(3):
        for kernel in (cpu_lstm, ReferenceRecurrence()):
            y, h, c, saved = kernel.forward(x_gates, weight_hh, h0, c0, lengths)
            results.append([y, h, c, *kernel.states(saved), *kernel.backward(dy, dh, dc, saved, weight_hh)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * max(1, abs(b).max()))


# --- the same bits on another processor -------------------------------------------------------------------------------

HASHES = """if True:
    import hashlib
    import numpy as np
    import minilstm_kernels
    lstm = minilstm_kernels.load("cpu")
    from minilstm_kernels import cpu_compile
    print(cpu_compile.VECTOR_BYTES)
    for T, B, I, H in (3, 5, 7, 16), (4, 33, 530, 129), (2, 7, 20, 520):
        rng = np.random.default_rng(H)
        def normal(*shape):
            return rng.standard_normal(shape).astype(np.float32)
        x, weight_ih, weight_hh, bias = normal(T, B, I), normal(4 * H, I), normal(4 * H, H) / 20, normal(4 * H)
        y, h, c, saved = lstm.layer_forward(x, weight_ih, weight_hh, bias, normal(B, H), normal(B, H))
        results = y, h, c, *lstm.layer_backward(normal(T, B, H), h, c, saved, x, weight_ih, weight_hh)
        names = "y h c dx dh0 dc0 dweight_ih dweight_hh dbias".split()
        for name, a in zip(names, results, strict=True):
            print(H, name, hashlib.sha256(a.tobytes()).hexdigest())
"""


def test_vectors_of_half_the_width_give_the_same_bits():
    """A process that compiles for a processor with AVX2 and no AVX-512. (Kept on disk: half a minute once.)"""
    ours, _ = fresh_python(HASHES)
    if not ours.startswith("64"):
        pytest.skip("this processor has no AVX-512, so there is nothing to compare with")
    features = "+avx,+avx2,+bmi,+bmi2,+cmov,+cx8,+cx16,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,+sahf,+sse,+sse2,"
    features += "+sse3,+sse4.1,+sse4.2,+ssse3,+xsave,+64bit"
    theirs, _ = fresh_python(HASHES, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=features)
    assert theirs.startswith("32")
    assert theirs.splitlines()[1:] == ours.splitlines()[1:]
