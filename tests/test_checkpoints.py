"""Checkpoints: what they hold, that damage of any kind is noticed, and what is then done."""

import resource

import numpy as np
import pytest
from damage import DAMAGES, one_bit
from problems import copies, same_bits
from tiny import adam, classifier_task, first_carry, lm_task

from minilstm import LSTMState, load_arrays, save_arrays
from ulmfit.checkpoints import Checkpoints, origin
from ulmfit.errors import InputError
from ulmfit.train import fit

TASKS = {"lm": lm_task, "classifier": classifier_task}
every_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
ORIGIN = "what it learns from"


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def saved(checkpoints, make, steps=(2, 4, 6), stage="stage"):
    """Train, with a checkpoint at these steps -> {step: what was saved}"""
    task, states = make(), {}
    optimizer = adam(task)
    for log, carry in fit(task, optimizer, max(steps), carry=first_carry(task)):
        if log.step + 1 in steps:
            totals = {"tokens": log.step}
            checkpoints.save(stage, log.step + 1, ORIGIN, task.model.params, optimizer, carry, totals)
            states[log.step + 1] = everything(task, optimizer, carry)
    return states


def everything(task, optimizer, carry):
    arrays = copies(task.model.params)
    for moment, by_name in optimizer.state.items():
        arrays |= {f"{moment} {name}": np.array(a) for name, a in by_name.items()}
    return arrays | {f"carry {n} {k}": a.copy() for n, pair in enumerate(carry) for k, a in pair._asdict().items()}


def restored(checkpoints, make=lm_task, stage="stage"):
    """-> step, totals, and all arrays, in a task that had others"""
    task = make(seed=50)
    optimizer = adam(task)
    step, carry, totals = checkpoints.load(stage, ORIGIN, task.model.params, optimizer, task.carry_type)
    assert carry is None or all(type(pair) is task.carry_type for pair in carry)
    return step, totals, everything(task, optimizer, carry or ())


def names(checkpoints):
    return sorted(p.name for p in checkpoints.folder.iterdir())


def of_step(checkpoints, step):
    return checkpoints.folder / f"stage-{step:08d}.safetensors"


@every_task
def test_a_checkpoint_holds_parameters_moments_and_carry(make, checkpoints):
    states = saved(checkpoints, make)
    step, totals, arrays = restored(checkpoints, make)
    assert step == 6 and totals == {"tokens": 5}
    same_bits(arrays, states[6])


def test_the_newest_two_of_each_stage_are_kept(checkpoints):
    saved(checkpoints, lm_task, (1, 2, 3))
    saved(checkpoints, lm_task, (2,), stage="stage-forward")  # another stage, whose name begins alike
    assert names(checkpoints) == [f"stage-0000000{n}.safetensors" for n in (2, 3)] + [
        "stage-forward-00000002.safetensors"
    ]
    assert restored(checkpoints)[0] == 3


def test_without_a_checkpoint_nothing_is_touched(checkpoints, capsys):
    step, totals, arrays = restored(checkpoints)
    assert (step, totals) == (0, {}) and capsys.readouterr().err == ""
    same_bits(arrays, copies(lm_task(seed=50).model.params))


def test_what_is_loaded_does_not_hang_on_the_file(checkpoints):
    """The moments will be changed in place."""
    saved(checkpoints, lm_task)
    task = lm_task(seed=50)
    optimizer = adam(task)
    start, carry, _ = checkpoints.load("stage", ORIGIN, task.model.params, optimizer, LSTMState)
    next(fit(task, optimizer, 9, carry=carry, start=start))
    assert all(a.flags.writeable for a in optimizer.state["exp_avg"].values())


# --- damage

DAMAGED = {name: damage for name, damage in DAMAGES.items() if name != "missing"}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_checkpoint_is_named_once_and_the_one_before_is_used(damage, checkpoints, capsys):
    rng, states, newest = np.random.default_rng(0), saved(checkpoints, lm_task), of_step(checkpoints, 6)
    whole = newest.read_bytes()
    for _ in range(10):
        newest.write_bytes(whole)
        damage(newest, rng)
        step, _, arrays = restored(checkpoints)
        assert step == 4
        same_bits(arrays, states[4])
        (warning,) = capsys.readouterr().err.splitlines()
        assert warning.startswith(f"warning: {newest}: ") and warning.endswith("; using stage-00000004.safetensors")


def test_a_missing_checkpoint_is_as_if_it_had_never_been(checkpoints, capsys):
    states = saved(checkpoints, lm_task)
    of_step(checkpoints, 6).unlink()
    step, _, arrays = restored(checkpoints)
    assert step == 4 and capsys.readouterr().err == ""
    same_bits(arrays, states[4])


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), PermissionError(13, "Permission denied")])
def test_a_checkpoint_that_cannot_be_read_is_as_a_damaged_one(error, checkpoints, capsys, monkeypatch):
    saved(checkpoints, lm_task)

    def load(path):
        if path == of_step(checkpoints, 6):
            raise error
        return load_arrays(path)

    monkeypatch.setattr("ulmfit.checkpoints.load_arrays", load)
    assert restored(checkpoints)[0] == 4
    warning = capsys.readouterr().err
    assert error.strerror in warning and str(of_step(checkpoints, 6)) in warning


@pytest.mark.parametrize("other", [2, 4])
def test_an_older_one_under_the_newest_name_is_as_a_damaged_one(other, checkpoints, capsys):
    """A backup that somebody has put back, say."""
    saved(checkpoints, lm_task, (2,))
    older = of_step(checkpoints, 2).read_bytes()
    states = saved(checkpoints, lm_task)
    of_step(checkpoints, 6).write_bytes(older if other == 2 else of_step(checkpoints, 4).read_bytes())
    step, _, arrays = restored(checkpoints)
    assert step == 4
    same_bits(arrays, states[4])
    said = f"warning: {of_step(checkpoints, 6)}: holds stage-0000000{other}: another file was put in its place; using"
    assert capsys.readouterr().err == f"{said} stage-00000004.safetensors\n"


def test_where_two_were_exchanged_one_error_names_both(checkpoints):
    saved(checkpoints, lm_task)
    of_step(checkpoints, 6).rename(checkpoints.folder / "x")
    of_step(checkpoints, 4).rename(of_step(checkpoints, 6))
    (checkpoints.folder / "x").rename(of_step(checkpoints, 4))
    with pytest.raises(InputError, match="^no good checkpoint .*6.*: holds stage-0*4: .*4.*: holds stage-0*6"):
        restored(checkpoints)


FOREIGN = {
    "no metadata": {},
    "no number": {"step": "six", "totals": "{}", "origin": ""},
    "no JSON": {"step": "6", "totals": "{", "origin": ""},
    "a list": {"step": "6", "totals": "[1]", "origin": ""},
    "endless": {"step": "6", "totals": "[" * 10**5, "origin": ""},
}


@pytest.mark.parametrize("metadata", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_among_the_checkpoints_is_passed_over(metadata, checkpoints, capsys):
    saved(checkpoints, lm_task)
    save_arrays(of_step(checkpoints, 99), {"a": np.zeros(3)}, metadata)
    assert restored(checkpoints)[0] == 6
    assert "stage-00000099.safetensors: not a checkpoint of a run" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_none_of_the_two_that_are_kept(checkpoints):
    """It is left as it is until a good one has been saved."""
    saved(checkpoints, lm_task)
    one_bit(of_step(checkpoints, 6), np.random.default_rng(0))
    assert restored(checkpoints)[0] == 4 and of_step(checkpoints, 6).exists()
    saved(checkpoints, lm_task, (5,))
    assert names(checkpoints) == ["stage-00000004.safetensors", "stage-00000005.safetensors"]


def test_where_all_are_damaged_one_error_names_them_and_the_remedies(checkpoints, capsys):
    saved(checkpoints, lm_task)
    for path in checkpoints.folder.iterdir():
        one_bit(path, np.random.default_rng(0))
    with pytest.raises(InputError, match="^no good checkpoint of stage is left ") as e:
        restored(checkpoints)
    said = str(e.value)
    assert all(f"{of_step(checkpoints, n)}: " in said for n in (4, 6)) and "\n" not in said
    assert "restore one of them, or delete them and repeat the stage, or start anew with --overwrite" in said
    assert capsys.readouterr().err == ""


def test_a_stage_whose_only_checkpoint_is_damaged_begins_anew(checkpoints, capsys):
    """That is little to lose: two minutes at most, or a stage that took no longer than one."""
    saved(checkpoints, lm_task, (2,))
    one_bit(of_step(checkpoints, 2), np.random.default_rng(0))
    step, totals, arrays = restored(checkpoints)
    assert (step, totals) == (0, {})
    (warning,) = capsys.readouterr().err.splitlines()
    assert str(of_step(checkpoints, 2)) in warning and "stage begins anew" in warning
    same_bits(arrays, copies(lm_task(seed=50).model.params))


# --- of something else


def test_a_checkpoint_of_other_sizes_is_refused_with_every_mismatch(checkpoints):
    """What has happened when the data changed under a run that is resumed."""
    saved(checkpoints, lm_task)
    other = classifier_task()
    with pytest.raises(InputError) as e:
        checkpoints.load("stage", ORIGIN, other.model.params, adam(other), other.carry_type)
    message = str(e.value)
    assert "stage-00000006.safetensors: " in message and "\n" not in message
    assert all(f"{n}: missing" in message for n in other.model.params if n.startswith("head."))
    assert "decoder.bias: not expected" in message


def test_a_checkpoint_of_another_origin_is_refused(checkpoints):
    saved(checkpoints, lm_task)
    task = lm_task()
    with pytest.raises(InputError, match="00000006.safetensors: was made of other data, or with other constants, than"):
        checkpoints.load("stage", "something else", task.model.params, adam(task), task.carry_type)


def other_masks(task):
    task.masks = type(task.masks)(8)


def other_order(task):
    task.batches.seed = 8


def other_word(task):
    task.data()[1][0] += 1


def other_end(task):
    """Of the last text, or the last label."""
    task.data()[-1][-1] += 1


def other_boundary(task):
    """The first text ends a word later, and the second one begins there."""
    texts = task.batches.documents if hasattr(task.batches, "documents") else task.batches.texts
    texts[0], texts[1] = np.append(texts[0], texts[1][:1]), texts[1][1:]


CHANGES = (other_masks, other_order, other_word, other_end, other_boundary)


@every_task
def test_whatever_determines_the_steps_is_in_the_origin(make):
    """The weights are not: they are in the checkpoint."""

    def task(**recipe):
        made = make(**recipe)
        if make is lm_task:  # whose documents are all the same array
            made.batches.documents = [d.copy() for d in made.batches.documents]
        return made

    assert origin(task()) == origin(task(seed=1))
    others = [task(clip=1.0), task(skip_nonfinite=1), *(task() for _ in CHANGES)]
    for change, other in zip(CHANGES, others[2:], strict=True):
        change(other)
    assert len({origin(task()), *map(origin, others)}) == 1 + len(others)


# --- a disk that is full


@pytest.mark.parametrize("limit", [0, 10, 3000])
def test_a_file_that_finds_no_room_leaves_the_one_before_and_no_litter(limit, checkpoints):
    """The system refuses to write more than so many bytes of a file."""
    states = saved(checkpoints, lm_task)
    assert of_step(checkpoints, 6).stat().st_size > 3000
    before = names(checkpoints)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError) as e:
            saved(checkpoints, lm_task, (7,))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert e.value.filename == str(of_step(checkpoints, 7)) and names(checkpoints) == before
    same_bits(restored(checkpoints)[2], states[6])
