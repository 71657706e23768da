"""Training: it learns, it repeats, it goes on where it stopped, and it never lets a bad number at the weights."""

import dataclasses
import math

import numpy as np
import pytest
from problems import copies, load, same_bits
from tiny import (
    DROPOUTS,
    REPETITIVE,
    adam,
    classifier,
    classifier_task,
    first_carry,
    language_model,
    lm_task,
    separable_texts,
    spread,
)

from minilstm import (
    SGD,
    LSTMState,
    NonFiniteError,
    RunningStats,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from ulmfit.batching import LMBatches, TextBatches, pad_batch
from ulmfit.checkpoints import Checkpoints
from ulmfit.evaluation import lm_loss, predict_logits
from ulmfit.groups import layer_groups
from ulmfit.recipes import Dropouts, ModelSize
from ulmfit.train import by_layer, fit, update

# Each makes a task; options of the recipe, seed of the first weights. Both go through epochs, dropouts and decay.
TASKS = {
    "lm": lambda **o: lm_task(**{"weight_decay": 1e-3, "clip": 0.5, "lr_factor": 2.6} | o),
    "lm-regularised": lambda **o: lm_task(
        **{"ar": 2.0, "tar": 1.0, "variable_bptt": True, "bptt": 8, "lr_multipliers": (0.25, 0.5, 1.0)} | o
    ),
    "classifier": lambda **o: classifier_task(**{"weight_decay": 1e-3, "clip": 1.0} | o),
    "classifier-all": lambda **o: classifier_task(**{"unfreezing": "full"} | o),
    "classifier-thaw": lambda **o: classifier_task(
        **{"unfreezing": "chain_thaw", "restart": True, "warm_cut_frac": 0.5, "ar": 2.0, "tar": 1.0} | o
    ),
}
every_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
N_STEPS = 19  # the classifier's four-step epochs unfreeze all four groups, the language model's six-step ones turn over


def train(task, n_steps=N_STEPS, *, optimizer=None, carry=None, start=0):
    """-> logs without their seconds, the last carry, the optimiser"""
    optimizer = optimizer or adam(task)
    logs, carry = [], carry or first_carry(task)
    for log, new_carry in fit(task, optimizer, n_steps, carry=carry, start=start):
        logs.append(log._replace(seconds=0))
        carry = new_carry
    return logs, carry, optimizer


def everything(task, carry, optimizer):
    """All arrays that a later step depends on."""
    arrays = copies(task.model.params)
    arrays |= {f"{moment} {name}": a for moment, by_name in optimizer.state.items() for name, a in by_name.items()}
    return arrays | {f"carry {n} {k}": a for n, pair in enumerate(carry) for k, a in pair._asdict().items()}


# --- learning


def test_a_language_model_learns_a_repetitive_text():
    task = lm_task(lr=0.05, dropouts=Dropouts(), lr_factor=1.0)
    task.model = language_model(size=ModelSize(embedding=16, hidden=32, layers=1), dtype=np.float32)
    logs, _, _ = train(task, 100)
    assert logs[0].loss == pytest.approx(math.log(12), abs=0.1)  # it begins by knowing nothing
    assert logs[-1].loss < 0.3
    assert lm_loss(task.model, task.batches) < 0.3


def test_a_classifier_learns_a_separable_task():
    task = classifier_task(lr=0.02, dropouts=DROPOUTS.times(0.2), unfreezing="full", lr_factor=1.0)
    task.batches = TextBatches(*separable_texts(60), 5, seed=7)
    logs, stats, _ = train(task, 300)  # with 80, one seed in four falls short
    texts, labels = separable_texts(60, seed=11)  # others than those it was trained on
    assert (predict_logits(task.model, stats, texts).argmax(axis=1) == labels).mean() > 0.95
    assert np.mean([log.loss for log in logs[-8:]]) < 0.6 * np.mean([log.loss for log in logs[:8]])


# --- reproducibility


@every_task
def test_training_twice_gives_the_same_bits(make):
    first, second = make(), make()
    logs, *state = train(first)
    again, *same_state = train(second)
    assert logs == again
    same_bits(everything(first, *state), everything(second, *same_state))


@every_task
def test_going_on_from_a_checkpoint_at_any_step_gives_the_same_bits(make, tmp_path):
    """Losses, weights, moments and the carry; within an epoch, at its end, and across unfreezing."""
    task, checkpoints = make(), Checkpoints(tmp_path)
    logs, carry, optimizer = train(task)
    expected = everything(task, carry, optimizer)
    stopped = make()
    stopped_optimizer = adam(stopped)
    for log, state in fit(stopped, stopped_optimizer, N_STEPS, carry=first_carry(stopped)):
        done = log.step + 1
        checkpoints.save("stage", done, "", stopped.model.params, stopped_optimizer, state, {})
        resumed = make(seed=99)  # other first weights: all that counts comes from the file
        optimizer = adam(resumed)
        start, carry, _ = checkpoints.load("stage", "", resumed.model.params, optimizer, resumed.carry_type)
        assert start == done
        rest, carry, _ = train(resumed, optimizer=optimizer, carry=carry, start=start)
        assert rest == logs[done:]
        same_bits(everything(resumed, carry, optimizer), expected)


@every_task
def test_masks_and_batches_hang_on_the_seed(make):
    logs, _, _ = train(make(), 4)
    other = make()
    other.masks = type(other.masks)(8)
    assert train(other, 4)[0] != logs
    without = make(dropouts=Dropouts())
    without_again = make(dropouts=Dropouts())
    without_again.masks = type(other.masks)(8)
    assert train(without, 4)[0] == train(without_again, 4)[0]


@pytest.mark.parametrize("make", [lm_task, classifier_task])
def test_every_step_has_masks_of_its_own_and_none_without_dropout(make):
    """One batch is the whole of an epoch here, so that only masks can make a difference between steps."""

    def losses(**recipe):
        task = make(batch_size=20, **recipe) if make is classifier_task else make(bptt=100, **recipe)
        assert task.batches.steps_per_epoch == 1
        spread(task.model, np.random.default_rng(0))
        return [task.loss_and_grads(step, first_carry(task))[0] for step in range(4)]

    assert len(set(losses())) == 4
    np.testing.assert_allclose(losses(dropouts=Dropouts()), losses(dropouts=Dropouts())[0], rtol=1e-5)


def test_the_states_are_carried_within_an_epoch_and_begin_anew_with_the_next():
    task = lm_task(dropouts=Dropouts())
    spread(task.model, np.random.default_rng(0))
    states = [LSTMState(np.full((4, H), 0.5, np.float32), np.full((4, H), 0.5, np.float32)) for H in (8, 6)]
    per_epoch = task.batches.steps_per_epoch
    for step in range(2 * per_epoch):
        fresh, carried = (task.loss_and_grads(step, carry)[0] for carry in (None, states))
        assert (fresh == carried) == (step % per_epoch == 0)


def test_the_classifiers_carry_is_its_running_statistics():
    task = classifier_task()
    _, stats, _ = train(task, 3)
    assert all(isinstance(s, RunningStats) and (s.mean != 0).any() for s in stats) and len(stats) == 2


# --- rates, unfreezing, clipping


def test_a_step_log_says_what_was_done():
    task = classifier_task(lr=0.5)
    logs, _, _ = train(task, 8)
    assert [log.step for log in logs] == list(range(8))
    assert [log.epoch for log in logs] == [(n + 1) / 4 for n in range(8)]
    assert [log.tokens for log in logs] == [int(task.batches[n].lengths.sum()) for n in range(8)]
    assert max(log.lr for log in logs) == 0.5 and logs[0].lr == 0.5 / 32
    lm_logs, _, _ = train(lm_task(), 7)
    assert [log.tokens for log in lm_logs] == [16, 16, 16, 16, 16, 12, 16]  # 4 streams of 23 words
    assert all(log.seconds >= 0 and log.grad_norm > 0 for log in logs + lm_logs)


@pytest.mark.parametrize("kind", ["lm", "classifier-all"])
def test_every_group_moves_at_its_own_rate(kind):
    """One step of plain gradient descent: the parameter moves by its group's rate times its gradient."""
    task = TASKS[kind](schedule="constant", lr=0.5, lr_factor=2.6, clip=None, dtype=np.float64)
    before = copies(task.model.params)
    grads = task.loss_and_grads(0, first_carry(task)).grads
    train(task, 1, optimizer=SGD())
    groups = layer_groups(task.model)
    for below_top, group in enumerate(reversed(groups)):
        for name in group.params:
            moved = before[name] - task.model.params[name]
            np.testing.assert_allclose(moved, 0.5 / 2.6**below_top * grads[name], rtol=1e-6, atol=1e-15)


def test_one_more_group_is_trained_in_each_epoch():
    task = classifier_task()
    names = [group.params for group in layer_groups(task.model)]
    before = copies(task.model.params)
    for log, _ in fit(task, adam(task), 19, carry=first_carry(task)):
        unfrozen = min(4, log.step // 4 + 1)
        for n, group in enumerate(names):
            moved = [bool((task.model.params[name] != before[name]).any()) for name in group]
            assert all(moved) if n >= 4 - unfrozen else not any(moved), (log.step, group)


def test_chain_thaw_moves_one_group_an_epoch_and_then_all():
    task = classifier_task(unfreezing="chain_thaw", weight_decay=0.1)
    names = [group.params for group in layer_groups(task.model)]
    for log, before in steps_with_weights_before(task, 20):
        trained = [[3], [0], [1], [2], [0, 1, 2, 3]][log.step // 4]
        for n, group in enumerate(names):
            moved = {bool((task.model.params[name] != before[name]).any()) for name in group}
            assert moved == {n in trained}, (log.step, group)


def steps_with_weights_before(task, n_steps):
    """Train; yields (StepLog, the weights before that step)."""
    before = copies(task.model.params)
    for log, _ in fit(task, adam(task), n_steps, carry=first_carry(task)):
        yield log, before
        before = copies(task.model.params)


def test_rates_by_hand_move_each_group_at_its_own():
    task = lm_task(schedule="constant", lr=0.5, lr_multipliers=(0.1, 2.0, 1.0), clip=None, dtype=np.float64)
    before, grads = copies(task.model.params), task.loss_and_grads(0, None).grads
    logs, _, _ = train(task, 1, optimizer=SGD())
    for group, rate in zip(layer_groups(task.model), (0.05, 1.0, 0.5), strict=True):
        for name in group.params:
            moved = before[name] - task.model.params[name]
            np.testing.assert_allclose(moved, rate * grads[name], rtol=1e-6, atol=1e-15)
    assert logs[0].lr == 0.5


def test_the_rate_is_in_proportion_to_a_window_of_variable_length():
    task = lm_task(bptt=8, variable_bptt=True, schedule="constant", lr=0.5, lr_factor=1.0, clip=None, dtype=np.float64)
    lengths = [len(task.batches[step].ids) for step in range(8)]
    assert len(set(lengths)) > 1
    before, carry, optimizer = copies(task.model.params), None, SGD()
    for step, (log, new_carry) in enumerate(fit(task, optimizer, 8)):
        fresh = lm_task(bptt=8, variable_bptt=True, dtype=np.float64)
        load(fresh.model, before)
        grads = fresh.loss_and_grads(step, carry).grads
        assert log.lr == 0.5 * lengths[step] / 8 and log.tokens == 4 * lengths[step]
        for name, g in grads.items():
            np.testing.assert_allclose(before[name] - task.model.params[name], log.lr * g, rtol=1e-6, atol=1e-14)
        before, carry = copies(task.model.params), new_carry
    still = train(lm_task(bptt=8, variable_bptt=True, scale_lr=False, schedule="constant", lr=0.5), 8)[0]
    assert {log.lr for log in still} == {0.5} and [log.tokens for log in still] == [4 * n for n in lengths]
    fixed = train(lm_task(schedule="constant", lr=0.5), 7, optimizer=SGD())[0]
    assert {log.lr for log in fixed} == {0.5}  # the last window of an epoch is short, and no exception


@pytest.mark.parametrize("kind", ["lm", "classifier-all"])
def test_the_log_tells_the_penalties_from_the_loss(kind):
    plain, penalised = TASKS[kind](), TASKS[kind](ar=2.0, tar=1.0)
    first, second = (task.loss_and_grads(0, first_carry(task)) for task in (plain, penalised))
    assert first.loss == second.loss and first.penalty == 0 < second.penalty
    logs, plain_logs = train(penalised, 3)[0], train(plain, 3)[0]
    assert logs[0].loss == plain_logs[0].loss and logs[0].penalty == second.penalty
    assert logs[0].grad_norm != plain_logs[0].grad_norm and {log.penalty for log in plain_logs} == {0}


def test_the_penalties_wait_for_the_encoder_to_be_trained():
    logs, _, _ = train(classifier_task(ar=2.0, tar=1.0), 8)  # four steps of the head alone
    assert [log.penalty > 0 for log in logs] == [False] * 4 + [True] * 4


def test_a_classifier_is_trained_in_its_recipes_windows():
    windows = {"bptt": 2, "max_tokens": 3}
    task = classifier_task(unfreezing="full", dropouts=Dropouts(), **windows)
    batch, stats = task.batches[0], first_carry(task)
    logits, _, cache = task.model.forward(batch.ids, batch.lengths, stats, training=True, **windows)
    dlogits = softmax_cross_entropy_backward(1.0, softmax_cross_entropy_forward(logits, batch.labels)[1])
    same_bits(task.loss_and_grads(0, stats).grads, task.model.backward(dlogits, cache))
    whole = classifier_task(unfreezing="full", dropouts=Dropouts()).loss_and_grads(0, stats)
    assert whole.tokens == task.loss_and_grads(0, stats).tokens == batch.lengths.sum()
    assert all((whole.grads[name] != g).any() for name, g in task.loss_and_grads(0, stats).grads.items())


def test_clipping_bounds_the_step_and_reports_the_norm_before():
    free, clipped = (lm_task(schedule="constant", lr=1.0, lr_factor=1.0, clip=c) for c in (None, 1e-3))
    before = copies(clipped.model.params)
    logs, _, _ = train(free, 1, optimizer=SGD())
    clipped_logs, _, _ = train(clipped, 1, optimizer=SGD())
    assert logs[0].grad_norm == clipped_logs[0].grad_norm > 1e-3
    moved = math.sqrt(sum(float(((clipped.model.params[n] - before[n]) ** 2).sum()) for n in before))
    assert moved == pytest.approx(1e-3, rel=1e-3)


@dataclasses.dataclass
class Spoilt:
    """A task of which some steps are spoilt: {step: a function that spoils a Step}."""

    task: object
    spoils: dict

    def __getattr__(self, name):
        return getattr(self.task, name)

    def loss_and_grads(self, step, carry):
        return self.spoils.get(step, lambda made: made)(self.task.loss_and_grads(step, carry))


def bad_grads(made):
    """Two tensors that are not finite."""
    made.grads["decoder.bias"][2], made.grads["encoder.lstm.bias_hh_l0"][0] = np.nan, np.inf
    return made


def bad_loss(made):
    return made._replace(loss=math.inf)


def bad_carry(made):
    made.carry[1].c[0, 0] = -np.inf
    return made


SPOILS = {
    "gradient is not finite in lstm_0 (encoder.lstm.bias_hh_l0), decoder (decoder.bias); ": bad_grads,
    "the loss is inf; not finite: the activations; ": bad_loss,
    "what is carried to the next step is not finite: c of LSTMState 1; ": bad_carry,
}


@pytest.mark.parametrize("said, spoil", SPOILS.items())
def test_a_bad_number_stops_before_it_reaches_the_weights(said, spoil):
    good = lm_task()
    _, _, good_optimizer = train_some(good, 3)
    bad = lm_task()
    optimizer = adam(bad)
    with pytest.raises(NonFiniteError) as e:
        train(Spoilt(bad, {3: spoil}), 10, optimizer=optimizer)
    assert str(e.value).startswith(f"step 3: {said}a lower learning rate or a smaller clip")
    assert "skip_nonfinite" in str(e.value)
    same_bits(copies(bad.model.params), copies(good.model.params))
    assert all((optimizer.state["exp_avg"][n] == a).all() for n, a in good_optimizer.state["exp_avg"].items())


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=["gradient", "loss", "carry"])
def test_as_many_bad_steps_as_the_recipe_allows_are_left_out(spoil):
    """As if they had not been: no update, no carry, and the next step at its own rate."""
    task, other = lm_task(skip_nonfinite=3), lm_task()
    logs, carry, optimizer = train(Spoilt(task, dict.fromkeys((0, 3, 4), spoil)), 10)
    expected, other_optimizer = None, adam(other)
    rates = [log.lr for log in train(lm_task(), 10)[0]]
    for step in (1, 2, 5, 6, 7, 8, 9):
        made = other.loss_and_grads(step, expected)
        update(other, other_optimizer, made, rates[step])
        expected = made.carry
    same_bits(everything(task, carry, optimizer), everything(other, expected, other_optimizer))
    assert [log.step for log in logs if log.skipped] == [0, 3, 4] and [log.step for log in logs] == list(range(10))
    assert logs[3].skipped + "; " in SPOILS and math.isnan(logs[3].grad_norm) and logs[3].tokens == logs[2].tokens


def test_an_epoch_whose_first_window_is_left_out_does_not_begin_in_the_last_ones_states():
    task = lm_task(epochs=2, skip_nonfinite=1)
    first = task.batches.steps_per_epoch
    carries = [carry for _, carry in fit(Spoilt(task, {first: bad_loss}), adam(task), 2 * first)]
    assert carries[first - 1] is not None and carries[first] is None and carries[first + 1] is not None


def test_one_bad_step_more_stops_and_so_does_the_first_one_after_enough_of_them():
    task = Spoilt(lm_task(skip_nonfinite=2), dict.fromkeys((1, 3, 5), bad_loss))
    with pytest.raises(NonFiniteError, match="^step 5: the loss is inf; .*; it is number 3 of such steps; a lower"):
        train(task, 10)
    resumed = Spoilt(lm_task(skip_nonfinite=2), {5: bad_loss})
    assert len([log for log, _ in fit(resumed, adam(resumed), 10, skipped=1)]) == 10
    with pytest.raises(NonFiniteError, match="^step 5: .* number 3 "):
        list(fit(resumed, adam(resumed), 10, skipped=2))


def test_weights_that_are_broken_are_no_reason_to_leave_out_steps():
    """Nothing would ever mend them, and the advice to leave out more would be a wrong one."""

    def break_weights(made):
        task.model.params["decoder.bias"][0] = np.nan
        return bad_loss(made)

    task = lm_task(skip_nonfinite=9)
    with pytest.raises(NonFiniteError, match="^step 3: .*not finite: decoder .decoder.bias.; [^;]* usually helps$"):
        train(Spoilt(task, {3: break_weights}), 10)


def test_parameters_are_named_below_their_layer_groups():
    groups = layer_groups(classifier())
    assert by_layer([], groups) == ""
    names = ["head.bn1.weight", "encoder.lstm.weight_hh_l1", "head.linear2.bias"]
    assert by_layer(names, groups) == "lstm_1 (encoder.lstm.weight_hh_l1), head (head.bn1.weight, head.linear2.bias)"


def train_some(task, n):
    """The first n of ten steps."""
    optimizer = adam(task)
    steps = fit(task, optimizer, 10, carry=first_carry(task))
    for _ in range(n):
        next(steps)
    return task, steps, optimizer


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_step_and_tensor(value):
    task = lm_task()
    task.model.params["decoder.bias"][3] = value
    before = copies(task.model.params)
    said = r"^step 0: the loss is nan; not finite: decoder \(decoder.bias\); "
    with pytest.raises(NonFiniteError, match=said), ignore():
        train(task)
    same_bits(copies(task.model.params), before)


@pytest.mark.parametrize("kind", ["classifier", "classifier-all"])
def test_training_that_diverges_stops_with_the_last_good_weights(kind):
    task = TASKS[kind](lr=1e36, clip=None, schedule="constant", weight_decay=0.0)
    last = None
    with pytest.raises(NonFiniteError, match=r"^step \d+: .*not finite"), ignore():
        for _ in fit(task, SGD(), 30, carry=first_carry(task)):
            last = copies(task.model.params)
    assert last is not None
    same_bits(copies(task.model.params), last)
    assert all(np.isfinite(a).all() for a in last.values())


def ignore():
    return np.errstate(all="ignore")


# --- evaluation


def test_lm_loss_is_the_mean_over_all_words_without_dropout_whatever_the_windows():
    model = spread(language_model(), np.random.default_rng(1))
    whole = LMBatches(REPETITIVE, 3, 1000, 1, shuffle=False)
    expected = model.forward(whole[0].ids, whole[0].targets)[0]
    for bptt in (1, 4, 9, 31):
        batches = LMBatches(REPETITIVE, 3, bptt, 1, shuffle=False)
        assert lm_loss(model, batches) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("windows", [{}, {"bptt": 2, "max_tokens": 3}])
def test_predict_logits_keeps_the_order_of_the_texts(windows):
    model = spread(classifier(), np.random.default_rng(1))
    texts, _ = separable_texts(23)
    stats = model.initial_stats()
    together = predict_logits(model, stats, texts, batch_size=4, **windows)
    assert together.dtype == model.dtype and predict_logits(model, stats, []).shape == (0, 3)
    for text, logits in zip(texts, together, strict=True):
        batch = pad_batch([text], [0])
        alone, _, _ = model.forward(batch.ids, batch.lengths, stats, **windows)
        np.testing.assert_allclose(alone[0], logits, rtol=1e-9)
