"""Training on a GPU, played by the CPU: the numbers are the CPU's, the host looks at them together and late, and what
comes of it is as if it had looked at every step."""

import math

import cuda_on_cpu
import numpy as np
import pytest
from cupy_on_cpu import in_place_of_cupy, no_waiting, waits
from problems import same_bits
from test_train import N_STEPS, SPOILS, TASKS, Spoilt, bad_carry, bad_grads, bad_loss, everything
from tiny import DROPOUTS, classifier_task, first_carry, lm_task

from minilstm import ASGD, Adam, NonFiniteError, to_numpy
from ulmfit.ahead import train_ahead, trains_ahead
from ulmfit.devices import carry_to, task_to
from ulmfit.recipes import Dropouts
from ulmfit.train import AT_ONCE, LATER, fit, update

pytestmark = cuda_on_cpu.needs_gxx
TASKS = TASKS | {  # texts of which some words are only skimmed, and others come in several windows
    "classifier-windows": lambda **o: classifier_task(
        **{"unfreezing": "full", "bptt": 2, "max_tokens": 3, "ar": 2.0, "tar": 1.0} | o
    ),
}
TWO = ["lm-regularised", "classifier-thaw"]
two_tasks = pytest.mark.parametrize("make", [TASKS[name] for name in TWO], ids=TWO)


@pytest.fixture(autouse=True)
def cupy():
    with in_place_of_cupy() as stand_in:
        yield stand_in


def there(task, kernel="reference"):
    """The same task on the device, with the kernels or, which is quicker here, with the plain code on CuPy arrays."""
    encoder = task.model.encoder.children
    for part in (task.model, task.masks, encoder["embedding"], *encoder["lstm"].layers):
        part.kernel = kernel
    task_to(task, "cuda")
    return task


def plain_adam(task):
    return Adam(betas=task.recipe.betas, weight_decay=task.recipe.weight_decay, kernel=task.masks.kernel)


def train(task, n_steps=N_STEPS, *, optimizer=None, carry=None, start=0, **how):
    """Wherever the task is -> logs without their seconds, and all that a later step depends on, on the host"""
    optimizer = optimizer or plain_adam(task)
    logs, carry = [], carry or carry_to(first_carry(task), "cuda" if trains_ahead(task) else "cpu")
    for log, new_carry in fit(task, optimizer, n_steps, carry=carry, start=start, **how):
        logs.append(log._replace(seconds=0))
        carry = carry if new_carry is LATER else new_carry
    return logs, here(task, carry, optimizer)


def first_steps(n, n_steps):
    """All that a later step depends on after the first n of n_steps of training the language model on the device."""
    task = there(lm_task())
    optimizer = plain_adam(task)
    steps = fit(task, optimizer, n_steps, at_once=1)
    for _ in range(n):
        _, carry = next(steps)
    return here(task, carry, optimizer)


def here(task, carry, optimizer):
    return {name: to_numpy(a) for name, a in everything(task, carry, optimizer).items()}


def alike(logs, others, rtol=1e-9):
    """Both of float64."""
    for log, other in zip(logs, others, strict=True):
        assert log[:2] == other[:2] and (log.lr, log.tokens) == (other.lr, other.tokens)
        assert log.skipped == other.skipped
        numbers = ((one.loss, one.grad_norm, one.penalty) for one in (log, other))
        np.testing.assert_allclose(*numbers, rtol=rtol, atol=1e-12)


def close(arrays, others):
    assert arrays.keys() == others.keys()
    for name, a in arrays.items():
        np.testing.assert_allclose(a, others[name], rtol=1e-6, atol=1e-9, err_msg=name)


# --- the same as on the CPU


@pytest.mark.parametrize(
    "name, kernel", [*((name, "reference") for name in TASKS), *((name, "cupy") for name in TWO)]
)
def test_losses_and_weights_are_those_of_the_cpu(name, kernel):
    """In float64, where nothing but rounding at the 16th digit lies between them, grown by 19 steps of Adam."""
    logs, state = train(TASKS[name](dtype=np.float64))
    device_logs, device_state = train(there(TASKS[name](dtype=np.float64), kernel))
    alike(device_logs, logs)
    close(device_state, state)
    assert all(type(n) in (int, float) for log in device_logs for n in log[:-1])


def test_in_float32_it_is_float32_that_is_computed_with():
    logs, state = train(there(lm_task(ar=2.0, tar=1.0), "cupy"), 8)
    expected, _ = train(lm_task(ar=2.0, tar=1.0), 8)
    np.testing.assert_allclose([log.loss for log in logs], [log.loss for log in expected], rtol=1e-5)
    assert {a.dtype for name, a in state.items() if not name.startswith("step")} == {np.dtype(np.float32)}


@pytest.mark.parametrize("make", [lm_task, classifier_task])
def test_masks_have_the_bits_of_the_cpus(make, cupy):
    task, on_device = make(), there(make())
    drawn = [draw(t) for t in (task, on_device) for draw in [masks_of]]
    assert len(drawn[0]) >= 6 and all(isinstance(mask, cupy.ndarray) for mask in drawn[1].values())
    same_bits({name: to_numpy(mask) for name, mask in drawn[1].items()}, drawn[0])


def masks_of(task):
    masks = getattr(task.model, "encoder", task.model).draw_masks(task.masks, 3, 5, DROPOUTS)
    arrays = {"embedding": masks.embedding, "output": masks.output}
    return arrays | {f"{what} {n}": m for what in ("inputs", "weights") for n, m in enumerate(getattr(masks, what))}


# --- nobody waits


@pytest.mark.parametrize("kernel", ["reference", "cupy"])
@two_tasks
def test_the_host_waits_once_for_a_group_of_steps(make, kernel):
    task = there(make(), kernel)
    per_epoch = task.batches.steps_per_epoch
    with waits() as waited:
        assert len(logs_and_carries(task, per_epoch + 2)) == per_epoch + 2
    assert waited == ["get()"] * 2
    with waits() as waited:
        logs_and_carries(there(make(), kernel), per_epoch, at_once=2)
    assert waited == ["get()"] * math.ceil(per_epoch / 2)


def logs_and_carries(task, n_steps, **how):
    return list(fit(task, plain_adam(task), n_steps, carry=carry_to(first_carry(task), "cuda"), **how))


def test_a_carry_comes_with_the_last_log_of_a_group_alone():
    """An epoch has six steps: groups of four and two."""
    logs = logs_and_carries(there(lm_task()), 9, at_once=4)
    assert [log.step for log, carry in logs if carry is not LATER] == [3, 5, 8]
    assert [log.step for log, _ in logs] == list(range(9)) and AT_ONCE > 6
    assert [log.step for log, carry in logs_and_carries(there(lm_task()), 9) if carry is not LATER] == [5, 8]


def test_a_step_of_the_host_is_refused_where_nobody_may_wait():
    """What the tests above rest on."""
    task = there(lm_task())
    made = task.loss_and_grads(0, None)
    with no_waiting(), pytest.raises(AssertionError, match="the host wait"):
        update(task, plain_adam(task), made, 0.1)


@two_tasks
def test_how_many_steps_are_made_at_once_changes_no_bit(make):
    (logs, state), (others, other_state) = (train(there(make()), at_once=n) for n in (1, 3))
    assert logs == others
    same_bits(state, other_state)


# --- numbers that are not finite


@pytest.mark.parametrize("at_once", [1, 16])
@pytest.mark.parametrize("said, spoil", SPOILS.items(), ids=["gradient", "loss", "carry"])
def test_a_bad_number_stops_before_it_reaches_the_weights(said, spoil, at_once):
    """In the CPU's words, with the weights and moments of the last good step, to the bit."""
    task, seen = there(lm_task()), []
    optimizer = plain_adam(task)
    with pytest.raises(NonFiniteError) as on_device:
        for log, carry in fit(Spoilt(task, {3: spoil}), optimizer, 10, at_once=at_once):
            seen.append((log.step, carry))
    with pytest.raises(NonFiniteError) as on_host:
        train(Spoilt(lm_task(), {3: spoil}), 10)
    assert str(on_device.value) == str(on_host.value) and str(on_host.value).startswith(f"step 3: {said}")
    assert [step for step, _ in seen] == [0, 1, 2]
    same_bits(here(task, seen[-1][1], optimizer), first_steps(3, 10))


@pytest.mark.parametrize("spoil", [bad_grads, bad_loss, bad_carry])
def test_what_is_in_the_weights_when_nobody_has_looked_yet(spoil):
    """The guard itself: after the order to make six steps, of which the fourth is bad, the weights are the third's."""
    logs, _ = train(there(lm_task()), 6)
    task = there(lm_task())
    optimizer = plain_adam(task)
    seen, carry = train_ahead(Spoilt(task, {3: spoil}), optimizer, [log.lr for log in logs].__getitem__, range(6), None)
    assert [s.step for s in seen] == [0, 1, 2]
    same_bits(here(task, carry, optimizer), first_steps(3, 6))


@pytest.mark.parametrize("at_once", [1, 16])
@pytest.mark.parametrize("spoil", [bad_grads, bad_loss, bad_carry])
def test_steps_that_are_left_out_are_as_if_they_had_not_been(spoil, at_once):
    """The same are left out as on the CPU, with the same words; and for moments, counts and carry they never were."""
    spoils = dict.fromkeys((0, 3, 4, 9), spoil)
    logs, state = train(Spoilt(lm_task(skip_nonfinite=4, dtype=np.float64), spoils), 14)
    device_logs, device_state = train(
        Spoilt(there(lm_task(skip_nonfinite=4, dtype=np.float64)), spoils), 14, at_once=at_once
    )
    assert [log.step for log in device_logs if log.skipped] == [0, 3, 4, 9]
    alike(device_logs, logs)
    close(device_state, state)
    with pytest.raises(NonFiniteError, match="^step 9: .*; it is number 4 of such steps"):
        train(Spoilt(there(lm_task(skip_nonfinite=3)), spoils), 14, at_once=at_once)


def test_means_of_weights_survive_steps_that_are_left_out():
    """NT-ASGD begins its means just where steps are bad."""
    spoils = dict.fromkeys((2, 3, 5), bad_loss)
    for skipped in ({}, spoils):
        states = []
        for move in (lambda task: task, there):
            task = Spoilt(move(lm_task(skip_nonfinite=3, dtype=np.float64, dropouts=Dropouts())), skipped)
            states.append(train(task, 9, optimizer=ASGD(t0=2))[1])
        close(*states)
        assert any(name.startswith("ax") for name in states[0])


def test_a_model_that_has_diverged_stops_at_once_and_names_the_tensor(cupy):
    task = there(lm_task())
    task.model.params["decoder.bias"][3] = cupy.nan
    with pytest.raises(NonFiniteError, match=r"^step 0: the loss is nan; not finite: decoder \(decoder.bias\); "):
        train(task)
