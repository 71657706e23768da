"""Who is updated, by how much, and when nothing is. (That the numbers are PyTorch's: test_golden.py.)"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import copies, same_bits
from strategies import normal
from twice import plain_and_compiled  # noqa: F401

from minilstm import ASGD, SGD, Adam, triggered

OPTIMISERS = [
    lambda: SGD(),
    lambda: SGD(momentum=0.9),
    lambda: SGD(momentum=0.9, weight_decay=0.1),
    lambda: ASGD(),
    lambda: ASGD(t0=1, weight_decay=0.1),
    lambda: Adam(),
    lambda: Adam(betas=(0.7, 0.99), weight_decay=0.1),
    lambda: Adam(weight_decay=0.1, decoupled_weight_decay=True),
]
IDS = ["sgd", "sgd-momentum", "sgd-momentum-decay", "asgd", "asgd-averaging", "adam", "adam-decay", "adamw"]
every_optimiser = pytest.mark.parametrize("make", OPTIMISERS, ids=IDS)


def some(seed=0, dtype=np.float64, names="abc"):
    rng = np.random.default_rng(seed)
    return {name: normal(rng, 2, 3, dtype=dtype) for name in names}


def test_sgd_by_hand():
    p, opt = {"w": np.array([10.0])}, SGD(momentum=0.5, weight_decay=0.1)
    opt.step(p, {"w": np.array([2.0])}, 0.1)  # v = 2 + 0.1 * 10 = 3
    assert p["w"][0] == pytest.approx(10 - 0.3)
    opt.step(p, {"w": np.array([2.0])}, 0.1)  # v = 0.5 * 3 + 2 + 0.97 = 4.47
    assert p["w"][0] == pytest.approx(9.7 - 0.447)


def test_adam_by_hand():
    p, opt = {"w": np.array([1.0])}, Adam(betas=(0.5, 0.75), eps=0.5)
    opt.step(p, {"w": np.array([2.0])}, 0.1)  # the bias corrections undo themselves at the first step
    assert p["w"][0] == pytest.approx(1 - 0.1 * 2 / (2 + 0.5))
    opt.step(p, {"w": np.array([-4.0])}, 0.1)
    m, v = (0.5 * 1 - 0.5 * 4) / (1 - 0.25), (0.75 * 1 + 0.25 * 16) / (1 - 0.75**2)
    assert p["w"][0] == pytest.approx(0.92 - 0.1 * m / (v**0.5 + 0.5))


@every_optimiser
def test_what_has_no_gradient_is_not_touched(make):
    """Neither the value, nor moments, nor the count of steps: not even by weight decay."""
    params, opt = some(), make()
    before = copies(params)
    opt.step(params, some(1, names="b"), 0.1)
    same_bits({n: params[n] for n in "ac"}, {n: before[n] for n in "ac"})
    assert (params["b"] != before["b"]).all()
    assert all(set(moments) <= {"b"} for moments in opt.state.values())


@every_optimiser
def test_one_rate_per_parameter(make):
    """Each parameter moves as if it were alone with its own rate; a rate of zero leaves it where it is."""
    grads, lrs = [some(seed) for seed in (1, 2, 3)], {"a": 0.1, "b": 0.01, "c": 0.0}
    together, opt = some(), make()
    for g in grads:
        opt.step(together, g, lrs)
    for name, lr in lrs.items():
        alone, opt = {name: some()[name]}, make()
        for g in grads:
            opt.step(alone, {name: g[name]}, lr)
        same_bits(alone, {name: together[name]})
    assert (together["c"] == some()["c"]).all()


@every_optimiser
def test_a_parameter_unfrozen_late_starts_like_any_other(make):
    """Its momentum and bias correction count its own steps, not the optimiser's."""
    early, opt = some(names="ab"), make()
    for seed in range(3):
        opt.step(early, some(seed, names="a"), 0.1)
    opt.step(early, some(7, names="ab"), 0.1)
    fresh, opt = some(names="ab"), make()
    opt.step(fresh, some(7, names="ab"), 0.1)
    assert (early["b"] == fresh["b"]).all() and (early["a"] != fresh["a"]).all()


@every_optimiser
def test_parameters_change_in_place_and_gradients_do_not(make):
    params, grads, opt = some(dtype=np.float32), some(1, np.float32), make()
    arrays, before = dict(params), copies(grads)
    for _ in range(3):
        opt.step(params, grads, 0.1)
    same_bits(before, grads)
    assert all(params[name] is a and a.dtype == np.float32 for name, a in arrays.items())
    for moments in opt.state.values():
        for name, m in moments.items():
            assert m.dtype in (np.float32, np.int64) and not np.shares_memory(m, grads[name])


@every_optimiser
def test_a_stopped_run_continues_from_its_state(make):
    """`state` is plain arrays: copied into a new optimiser it gives the same next step."""
    params, opt = some(), make()
    opt.step(params, some(1), 0.1)
    resumed, other = copies(params), make()
    other.state = {moment: copies(arrays) for moment, arrays in opt.state.items()}
    for p, o in ((params, opt), (resumed, other)):
        o.step(p, some(2), 0.1)
    same_bits(params, resumed)


@every_optimiser
def test_a_scale_multiplies_the_gradients_first(make):
    """As if they had been multiplied before; and where it is not finite, only the steps are counted."""
    scaled, by_hand, one, other = some(), some(), make(), make()
    for seed in range(3):
        one.step(scaled, some(seed), 0.1, scale=0.25)
        other.step(by_hand, {name: g * 0.25 for name, g in some(seed).items()}, 0.1)
    same_bits(scaled, by_hand)
    before = {moment: copies(arrays) for moment, arrays in one.state.items()}
    for bad in (np.nan, np.inf):
        one.step(scaled, some(9), 0.1, scale=bad)
    same_bits(scaled, by_hand)
    for moment, arrays in one.state.items():
        same_bits(arrays, {name: a + 2 * (moment == "step") for name, a in before[moment].items()})


@every_optimiser
def test_bad_names(make):
    with pytest.raises(KeyError, match="stranger"):
        make().step(some(), {"stranger": np.ones(1)}, 0.1)
    with pytest.raises(KeyError, match="c"):
        make().step(some(), some(1), {"a": 0.1, "b": 0.1})


# --- averaging


@given(t0=st.integers(0, 5), n=st.integers(0, 12), decay=st.sampled_from([0.0, 0.1]))
def test_asgd_is_sgd_that_keeps_the_mean_of_what_it_passes(t0, n, decay):
    params, plain = some(), some()
    averaging, sgd = ASGD(t0=t0, weight_decay=decay), SGD(weight_decay=decay)
    passed = []
    for step in range(n):
        averaging.step(params, some(step), 0.1)
        sgd.step(plain, some(step), 0.1)
        passed.append(copies(params))
    same_bits(params, plain)
    if n <= t0:
        assert averaging.state["ax"] == {}
        return
    counted = passed[t0:] if n == t0 + 1 else passed[t0 + 1 :]  # PyTorch's mean forgets the first
    for name, mean in averaging.state["ax"].items():
        np.testing.assert_allclose(mean, np.mean([p[name] for p in counted], axis=0), rtol=1e-12)
        assert not np.shares_memory(mean, params[name])
    assert averaging.state["ax"].keys() == params.keys()


@pytest.mark.parametrize("n_before", [0, 1, 4])
def test_averaging_can_begin_on_the_way(n_before):
    params, late = some(), ASGD()
    for step in range(n_before):
        late.step(params, some(step), 0.1)
    fresh, early = copies(params), ASGD(t0=0)
    late.t0 = n_before
    for step in range(5):
        late.step(params, some(step, names="ab"), 0.1)
        early.step(fresh, some(step, names="ab"), 0.1)
    same_bits(late.state["ax"], early.state["ax"])


def test_the_trigger_by_hand():
    """The sixth loss after the best is the first to look back as far as that (n = 5)."""
    falling = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]
    assert triggered(falling, 5) is None
    assert triggered([1.0, 2.0, 2.0, 2.0, 2.0, 2.0], 5) is None  # one loss too few
    assert triggered([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], 5) == 7
    assert triggered([1.0] * 20, 5) is None  # as good is good enough
    assert triggered([3.0, 1.0, 2.0, 2.0], 1) == 4 and triggered([], 1) is None


@given(losses=st.lists(st.integers(0, 6), max_size=15), n=st.integers(1, 6))
def test_the_trigger_is_awd_lstm_lms(losses, n):
    """As its main.py goes through the epochs, and never again once it has switched."""
    best, expected = [], None
    for epoch, loss in enumerate(losses):
        if len(best) > n and loss > min(best[:-n]):
            expected = epoch + 1
            break
        best.append(loss)
    assert triggered(losses, n) == expected
    if expected is not None:  # later losses do not move it
        assert triggered([*losses, 0, 9], n) == triggered(losses[:expected], n) == expected


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9), Adam()], ids=["SGD", "momentum", "Adam"])
def test_a_gradient_of_another_shape_is_refused_and_changes_nothing(optimizer):
    params = {"weight": np.ones((3, 2), np.float32)}
    with pytest.raises(ValueError, match=r"grads\['weight'\]: expected shape \(3, 2\), got \(2,\)"):
        optimizer.step(params, {"weight": np.ones(2, np.float32)}, 0.1)
    assert (params["weight"] == 1).all()


@every_optimiser
@pytest.mark.parametrize("spoil", ["no rate", "another shape", "moments of another shape"])
def test_a_step_is_made_as_a_whole_or_not_at_all(make, spoil):
    optimizer, params, rates = make(), some(dtype=np.float32), dict.fromkeys("abc", 0.1)
    for _ in range(3):
        optimizer.step(params, some(1, np.float32), rates)
    grads = some(2, np.float32)
    if spoil == "no rate":
        del rates["b"]
    elif spoil == "another shape":
        grads["b"] = grads["b"][:1]
    else:  # as of a vocabulary that has grown
        params["b"], grads["b"] = (np.concatenate([a, a]) for a in (params["b"], grads["b"]))
        if not any("b" in arrays for moment, arrays in optimizer.state.items() if moment != "step"):
            return
    before = copies(params), {moment: copies(arrays) for moment, arrays in optimizer.state.items()}
    with pytest.raises((KeyError, ValueError), match="'b'"):
        optimizer.step(params, grads, rates)
    same_bits(params, before[0])
    for moment, arrays in optimizer.state.items():
        same_bits(arrays, before[1][moment])


@pytest.mark.parametrize("t0", [-1, float("nan")])
def test_averaging_begins_at_a_step_or_never(t0):
    with pytest.raises(ValueError, match="t0: expected a number of steps from 0, or math.inf, got"):
        ASGD(t0=t0)
