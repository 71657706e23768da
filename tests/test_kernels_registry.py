"""The registry of fast kernels, and the first of them: the gates of a step in one pass (kernels/cpu_gates.py).

What all implementations of the recurrence share is tested for all of them in test_recurrence.py; here is what a
kernel must hold on its own, against the reference in float64.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minilstm_kernels
from minilstm.recurrence import ReferenceRecurrence
from minilstm_kernels import Implementation

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ReferenceRecurrence()
DTYPES = (np.float32, np.float64)


@pytest.fixture(scope="module")
def cpu_gates():
    pytest.importorskip("numba", reason="pip install 'minilstm[numba]'", exc_type=ImportError)
    return minilstm_kernels.load("cpu-gates")


def fresh_python(code, **env):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the registry ---------------------------------------------------------------------------------------------------


def test_every_registered_kernel_is_a_file_with_a_name_of_its_own():
    names = [k.name for k in minilstm_kernels.IMPLEMENTATIONS]
    assert len(set(names)) == len(names)
    for kernel in minilstm_kernels.IMPLEMENTATIONS:
        assert (ROOT / "kernels" / f"{kernel.module}.py").exists()
        assert kernel.device in ("cpu", "cuda") and kernel.summary and kernel.requires


def test_available_lists_every_kernel_and_what_loads_has_the_three_functions():
    listed = minilstm_kernels.available(try_import=True)
    assert [k.name for k in listed] == [k.name for k in minilstm_kernels.IMPLEMENTATIONS]
    for kernel in listed:
        if kernel.reason is None:
            module = minilstm_kernels.load(kernel.name)
            assert all(callable(getattr(module, f)) for f in ("forward", "backward", "states"))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown kernel 'cpu_gates'.*cpu-gates"):
        minilstm_kernels.load("cpu_gates")


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    other = Implementation("other", "cpu_other", "cpu", ("surely_not_installed",), "pip install it", "none")
    monkeypatch.setattr(minilstm_kernels, "IMPLEMENTATIONS", (other,))
    reason = "surely_not_installed is not installed: pip install it"
    assert minilstm_kernels.available() == [("other", "cpu", "none", reason, ())]
    with pytest.raises(ImportError, match=reason):
        minilstm_kernels.load("other")


def test_a_package_that_was_made_unimportable_counts_as_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    (cpu_gates,) = (k for k in minilstm_kernels.available() if k.name == "cpu-gates")
    assert cpu_gates.reason == "numba is not installed: pip install numba"


def test_a_broken_installation_gives_a_reason_and_no_other_exception(tmp_path):
    (tmp_path / "numba.py").write_text("raise RuntimeError('no driver found')")
    code = """if True:
        import minilstm_kernels as kernels
        for try_import in (False, True):
            print(kernels.available(try_import=try_import)[0].reason)
        try:
            kernels.load("cpu")
        except ImportError as error:
            print(error)
    """
    out = fresh_python(code, PYTHONPATH=str(tmp_path))
    quick, thorough, raised = out.splitlines()
    assert quick == "None"
    assert thorough == raised == "cpu cannot be imported: RuntimeError: no driver found"


def test_listing_loads_nothing_heavy():
    assert fresh_python("import minilstm_kernels as k, sys; k.available(); print('numba' in sys.modules)") == "False\n"


# --- cpu-gates: values and gradients --------------------------------------------------------------------------------


def problem(T, B, H, dtype=np.float64, lengths=None, seed=0, scale=1.0):
    """-> the arguments of forward, those of backward without saved and weight_hh"""
    rng = np.random.default_rng(seed)
    shapes = (T, B, 4 * H), (4 * H, H), (B, H), (B, H), (T, B, H), (B, H), (B, H)
    x, w, h0, c0, *douts = ((scale * rng.standard_normal(s)).astype(dtype) for s in shapes)
    lengths = None if lengths is None else np.array(lengths)
    return (x, (w / np.sqrt(H)).astype(dtype), h0, c0, lengths), tuple(douts)


def run(kernel, ins, douts):
    """-> dict of all that a forward and a backward return"""
    y, h_T, c_T, saved = kernel.forward(*ins)
    h, c, ifgo = kernel.states(saved)
    dgates, dh0, dc0 = kernel.backward(*douts, saved, ins[1])
    return dict(y=y, h_T=h_T, c_T=c_T, h=h, c=c, ifgo=ifgo, dgates=dgates, dh0=dh0, dc0=dc0)


def to_float64(arrays):
    return tuple(a if a is None or a.dtype.kind == "i" else a.astype(np.float64) for a in arrays)


CASES = [
    dict(T=1, B=1, H=1),
    dict(T=7, B=3, H=5),
    dict(T=12, B=16, H=64),
    dict(T=5, B=4, H=33, lengths=[5, 0, 3, 1]),
    dict(T=4, B=2, H=17, lengths=[0, 0]),
    dict(T=6, B=5, H=20, lengths=[2, 6, 6, 0, 5], scale=4.0),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_the_reference(cpu_gates, case, dtype):
    ins, douts = problem(**case, dtype=dtype)
    ours, plain = run(cpu_gates, ins, douts), run(REFERENCE, ins, douts)
    exact = run(REFERENCE, to_float64(ins), to_float64(douts))
    alive = np.ones((case["T"], case["B"]), bool) if ins[4] is None else np.arange(case["T"])[:, None] < ins[4]
    for name, want in exact.items():
        got, other = ours[name], plain[name]
        assert got.dtype == dtype and got.shape == want.shape, name
        if name == "ifgo":                  # past its end a row has no gates
            got, other, want = got[alive], other[alive], want[alive]
        floor = 8 * np.finfo(dtype).eps * max(1, np.abs(want).max(initial=0))
        error, allowed = np.abs(got - want).max(initial=0), 2 * np.abs(other - want).max(initial=0) + floor
        assert error <= allowed, f"{name}: {error:.2e} > {allowed:.2e}"


def test_past_the_end_of_a_row(cpu_gates):
    lengths = [4, 0, 2]
    ins, douts = problem(4, 3, 6, lengths=lengths)
    out = run(cpu_gates, ins, douts)
    for b, n in enumerate(lengths):
        assert not out["y"][n:, b].any() and not out["dgates"][n:, b].any()
        assert (out["h"][n:, b] == out["h_T"][b]).all() and (out["c"][n:, b] == out["c_T"][b]).all()
    assert (out["h_T"][1] == ins[2][1]).all() and (out["c_T"][1] == ins[3][1]).all()
    assert (out["dh0"][1] == douts[1][1]).all() and (out["dc0"][1] == douts[2][1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_changes_no_bit(cpu_gates, dtype):
    lengths = np.array([3, 9, 0, 5])
    ins, douts = problem(9, 4, 21, dtype, lengths)
    padding = np.arange(9)[:, None] >= lengths
    x, dy = ins[0].copy(), douts[0].copy()
    x[padding], dy[padding] = 1e30, -1e30
    before, after = run(cpu_gates, ins, douts), run(cpu_gates, (x, *ins[1:]), (dy, *douts[1:]))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_two_runs_agree_bit_for_bit_and_inputs_stay_as_they_were(cpu_gates):
    ins, douts = problem(8, 16, 40, np.float32, lengths=[8] * 10 + [3] * 6)
    kept = [a.copy() for a in (*ins, *douts)]
    first = run(cpu_gates, ins, douts)
    second = run(cpu_gates, ins, douts)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(np.array_equal(a, b) for a, b in zip(kept, (*ins, *douts), strict=True))


def test_inference_keeps_nothing_and_gives_the_same_bits(cpu_gates):
    for T in (1, 2, 5):
        ins, _ = problem(T, 3, 8, np.float32, lengths=[T, 0, 1])
        *full, _ = cpu_gates.forward(*ins)
        *lean, saved = cpu_gates.forward(*ins, need_cache=False)
        assert saved is None
        assert all(np.array_equal(a, b) for a, b in zip(full, lean, strict=True))


def test_no_incoming_gradient_is_a_zero_one(cpu_gates):
    ins, douts = problem(5, 3, 8)
    saved = cpu_gates.forward(*ins)[3]
    for missing in range(3):
        with_none, with_zero = list(douts), list(douts)
        with_none[missing], with_zero[missing] = None, np.zeros_like(douts[missing])
        for a, b in zip(*(cpu_gates.backward(*d, saved, ins[1]) for d in (with_none, with_zero)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_results_share_no_memory_with_what_backward_needs(cpu_gates):
    ins, douts = problem(5, 3, 8)
    y, h_T, c_T, saved = cpu_gates.forward(*ins)
    for result in (y, h_T, c_T):
        assert not any(np.shares_memory(result, kept) for kept in saved)


def test_strided_and_read_only_arrays_are_as_good_as_any(cpu_gates):
    ins, douts = problem(5, 3, 8)
    odd_ins = [np.asfortranarray(a) for a in ins[:4]]
    odd_douts = [np.repeat(d, 2, axis=-1)[..., ::2] for d in douts]
    for array in (*odd_ins, *odd_douts):
        array.flags.writeable = False
    plain, odd = run(cpu_gates, ins, douts), run(cpu_gates, (*odd_ins, None), odd_douts)
    for name in plain:
        np.testing.assert_allclose(odd[name], plain[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_gates_stay_finite_and_nan_stays_visible(cpu_gates, dtype):
    ins, douts = problem(3, 4, 8, dtype)
    x = np.where(ins[0] > 0, 1e4, -1e4).astype(dtype)
    with np.errstate(all="raise", under="ignore"):
        out = run(cpu_gates, (x, *ins[1:]), douts)
    assert all(np.isfinite(a).all() for a in out.values())
    x[1, 2, 3] = np.nan
    out = run(cpu_gates, (x, *ins[1:]), douts)
    assert np.isnan(out["y"][1, 2]).any() and np.isnan(out["dgates"][0, 2]).any()
    assert np.isfinite(np.delete(out["y"], 2, axis=1)).all()


# --- its compilation -------------------------------------------------------------------------------------------------


def test_one_file_imported_under_two_names_keeps_two_caches(cpu_gates):
    """Numba's cache remembers the module's name: code cached as minilstm_kernels must not be loaded by kernels."""
    code = """if True:
        import sys
        sys.modules[{absent!r}] = None
        import {present} as package, numpy as np
        cpu_gates = package.load("cpu-gates")
        x, w, s = np.ones((2, 1, 8), "f"), np.ones((8, 2), "f"), np.ones((1, 2), "f")
        y, h, c, saved = cpu_gates.forward(x, w, s, s)
        cpu_gates.backward(y, h, c, saved, w)
    """
    for present, absent in (("minilstm_kernels", "kernels"), ("kernels", "minilstm_kernels")) * 2:
        fresh_python(code.format(present=present, absent=absent))


def test_where_nothing_can_be_written_it_compiles_without_a_cache(cpu_gates, monkeypatch):
    import numba

    cpu_compile = sys.modules[cpu_gates.compiled.__module__]

    def njit(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(cpu_compile, "njit", njit)
    assert cpu_compile.compiled(lambda a: a + 1)(1) == 2
