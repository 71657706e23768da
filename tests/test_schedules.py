"""Learning rates at every step, above all where the paper's own formula breaks down."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.recipes import SCRIPTS, ClassifierTraining, LMTraining
from ulmfit.schedules import SCHEDULES, cosine, linear_warmup, one_cycle, rate_function, slanted_triangular

LR = 0.01
n_steps = st.integers(1, 3000)


def rates(schedule, n, **options):
    return [schedule(t, n, LR, **options) for t in range(n)]


def papers(t, T, lr_max, cut_frac=0.1, ratio=32):
    """Equation 3 of Howard & Ruder (2018), as it is printed."""
    cut = math.floor(T * cut_frac)
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
    return lr_max * (1 + p * (ratio - 1)) / ratio


@given(tens=st.integers(1, 300))
def test_slanted_triangular_is_the_papers_where_that_is_sound(tens):
    """Sound means: a tenth of the steps is a whole number."""
    expected = [papers(t, 10 * tens, LR) for t in range(10 * tens)]
    assert rates(slanted_triangular, 10 * tens) == pytest.approx(expected, rel=1e-9)


def test_the_papers_formula_is_not_sound_everywhere():
    with pytest.raises(ZeroDivisionError):
        papers(0, 9, LR)
    assert papers(18, 19, LR) / LR == pytest.approx(-0.83, abs=0.01)


@pytest.mark.parametrize("n", [1, 7, 19, 77])
def test_slanted_triangular_at_awkward_numbers_of_steps(n):
    lrs = rates(slanted_triangular, n)
    cut = max(1, n // 10)
    assert min(lrs) >= LR / 32 and lrs[0] == pytest.approx(LR / 32)
    assert n == 1 or (lrs[cut] == max(lrs) == pytest.approx(LR))
    # one more step of the fall would end at the floor
    assert n == 1 or slanted_triangular(n, n, LR) == pytest.approx(LR / 32)


@given(n=n_steps)
def test_slanted_triangular_rises_to_its_peak_and_falls_to_its_floor(n):
    lrs = rates(slanted_triangular, n)
    cut = max(1, math.floor(n * 0.1))
    assert all(LR / 32 <= lr <= LR * (1 + 1e-12) for lr in lrs)
    assert lrs[:cut] == sorted(lrs[:cut]) and lrs[cut:] == sorted(lrs[cut:], reverse=True)
    if n > 1:
        assert lrs[cut] == pytest.approx(LR)
        assert lrs[-1] - LR / 32 == pytest.approx(31 / 32 * LR / (n - cut))  # one step above the floor


@given(n=st.integers(2, 500), cut_frac=st.floats(0.01, 0.99), ratio=st.floats(1, 100))
def test_slanted_triangular_with_other_constants(n, cut_frac, ratio):
    lrs = rates(slanted_triangular, n, cut_frac=cut_frac, ratio=ratio)
    assert all(LR / ratio * (1 - 1e-9) <= lr <= LR * (1 + 1e-9) for lr in lrs)
    assert max(lrs) == pytest.approx(LR)


@pytest.mark.parametrize("name", list(SCHEDULES))
@given(n=n_steps)
def test_no_schedule_divides_by_zero_goes_negative_or_beyond_its_maximum(name, n):
    lrs = [SCHEDULES[name](t, n, LR) for t in range(n + 2)]  # and what if somebody goes on
    assert all(math.isfinite(lr) and 0 <= lr <= LR * (1 + 1e-9) for lr in lrs)
    assert all(lr > 0 for lr in lrs[:n])


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_schedule_is_proportional_to_its_maximum_and_a_function_of_the_step_alone(name):
    for t in (0, 3, 50, 99, 3):
        assert SCHEDULES[name](t, 100, 3.0) == pytest.approx(3 * SCHEDULES[name](t, 100, 1.0))


def test_constant():
    assert rates(SCHEDULES["constant"], 5) == [LR] * 5


@given(n=st.integers(2, 3000))
def test_cosine_falls_from_the_maximum_toward_zero(n):
    lrs = rates(cosine, n)
    assert lrs[0] == LR and lrs == sorted(lrs, reverse=True) and lrs[n // 2] == pytest.approx(LR / 2, rel=4 / n)
    assert cosine(n, n, LR) == pytest.approx(0, abs=1e-12)


@given(n=st.integers(2, 3000))
def test_one_cycle_rises_and_falls(n):
    lrs = rates(one_cycle, n)
    cut = max(1, n // 4)
    assert lrs[0] == pytest.approx(LR / 25) and lrs[cut] == pytest.approx(LR)
    assert lrs[:cut] == sorted(lrs[:cut]) and lrs[cut:] == sorted(lrs[cut:], reverse=True)
    assert one_cycle(n, n, LR) == pytest.approx(LR / 1e5)


@given(n=n_steps)
def test_linear_warmup_rises_and_stays(n):
    lrs = rates(linear_warmup, n)
    cut = max(1, n // 10)
    assert lrs == sorted(lrs) and lrs[0] == pytest.approx(LR / cut) and lrs[cut - 1 :] == [LR] * (n - cut + 1)


# --- a recipe's rates


def rates_of(recipe, n, per_epoch, n_groups=5):
    rate = rate_function(recipe, n, per_epoch, n_groups)
    return [rate(step) for step in range(n)]


def circular(nb, div, cut_div):
    """fastai's CircularLR, which `use_clr=(div, cut_div)` of the authors' scripts means, over nb steps."""
    cut = nb // cut_div
    down = [1 - (n - cut) / (nb - cut) for n in range(nb)]
    return [LR * (1 + (down[n] if n > cut else n / cut) * (div - 1)) / div for n in range(nb)]


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@given(n=st.integers(1, 300), per_epoch=st.integers(1, 50))
def test_a_recipe_without_restarts_runs_its_schedule_once(schedule, n, per_epoch):
    for recipe in (LMTraining, ClassifierTraining):
        training = recipe(epochs=1, batch_size=2, lr=LR, schedule=schedule)
        assert rates_of(training, n, per_epoch) == rates(SCHEDULES[schedule], n)


def test_cut_frac_and_ratio_are_the_recipes():
    recipe = LMTraining(epochs=1, batch_size=2, lr=LR, cut_frac=0.5, ratio=4.0)
    assert rates_of(recipe, 10, 5) == rates(slanted_triangular, 10, cut_frac=0.5, ratio=4)


@given(per_epoch=st.integers(8, 60), epochs=st.integers(3, 6))
def test_the_scripts_begin_anew_in_each_phase(per_epoch, epochs):
    """train_clas.py: use_clr=(8, 3) for the head, again for the top two groups, then (8, 8) for everything."""
    n_steps = per_epoch * epochs
    warm, full = circular(per_epoch, 8, 3), circular(n_steps - 2 * per_epoch, 8, 8)
    assert rates_of(SCRIPTS.classify, n_steps, per_epoch) == pytest.approx(warm + warm + full, rel=1e-9)


def test_training_that_ends_within_a_phase_still_comes_down():
    """Two epochs never reach the third phase; of a phase's own half an epoch, the schedule runs in that half."""
    recipe = SCRIPTS.classify
    assert rates_of(recipe, 18, 12) == pytest.approx(circular(12, 8, 3) + circular(6, 8, 3), rel=1e-9)
    assert rates_of(recipe, 24, 12) == pytest.approx(2 * circular(12, 8, 3), rel=1e-9)
    assert rates_of(recipe, 5, 12) == pytest.approx(circular(5, 8, 3), rel=1e-9)


@pytest.mark.parametrize("plan, phases", [("full", 1), ("last", 1), ("two_step", 3), ("gradual", 5), ("chain_thaw", 6)])
def test_a_restart_for_every_phase_of_the_plan(plan, phases):
    recipe = ClassifierTraining(epochs=9, batch_size=2, lr=LR, unfreezing=plan, restart=True)
    lrs = rates_of(recipe, 90, 10)
    assert [step for step in range(90) if lrs[step] == LR / 32] == [10 * n for n in range(phases)]  # the floor
    assert rates_of(recipe, 90, 10)[-10 * (10 - phases) :] == rates(slanted_triangular, 10 * (10 - phases))
