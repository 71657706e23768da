"""Out of memory in a step: the estimate is what the step then takes, and the batch that is advised does fit."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import is_refused, train, ulmfit
from tiny import classifier_task, first_carry, lm_task

from minilstm import Adam
from ulmfit import memory
from ulmfit.errors import StepTooLarge
from ulmfit.train import LMTask, fit

TASKS = {"lm": lm_task, "classifier": classifier_task}
every_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)


def one_failure(monkeypatch, task_type, free, at=0):
    """Step `at` finds no memory the first time that it is made, on a machine that has `free` bytes."""
    original, calls = task_type.loss_and_grads, []

    def loss_and_grads(self, step, carry):
        calls.append(step)
        if step == at and calls.count(at) == 1:
            raise MemoryError
        return original(self, step, carry)

    monkeypatch.setattr(task_type, "loss_and_grads", loss_and_grads)
    monkeypatch.setattr(memory, "free_memory", lambda: free)


def too_large(task, free, monkeypatch, at=0):
    """What is then raised."""
    one_failure(monkeypatch, type(task), free, at)
    with pytest.raises(StepTooLarge) as e:
        list(fit(task, Adam(), 3, carry=first_carry(task)))
    return e.value


def large(make):
    return make(batch_size=64, **({"documents": [np.arange(3, 12, dtype=np.int32)] * 99} if make is lm_task else {}))


@every_task
def test_what_a_step_needs_is_told_as_it_is(make, monkeypatch):
    task = large(make)
    B = task.batches[0].ids.shape[1]
    needed = memory.peak(task, 0, first_carry(task), B)
    monkeypatch.setattr(memory, "_gb", lambda n: f"{n:.0f} bytes")
    error = too_large(task, 10**9, monkeypatch)
    assert f"step 0: a batch of {B} rows of " in str(error) and "1000000000 bytes are free" in str(error)
    told = int(str(error).split(" needs about ")[1].split()[0])
    assert told == pytest.approx(needed, rel=0.2)


@every_task
def test_what_only_the_first_step_takes_is_no_part_of_it(make, monkeypatch):
    """Kernels that are loaded or compiled, and stay."""
    task, loaded = large(make), []
    needed, made = memory.peak(task, 0, first_carry(task), task.batches[0].ids.shape[1]), type(task).loss_and_grads

    def load_and_make(self, step, carry):
        loaded[:] = loaded or [bytes(10**7)]
        return made(self, step, carry)

    monkeypatch.setattr(type(task), "loss_and_grads", load_and_make)
    monkeypatch.setattr(memory, "_gb", lambda n: f"{n:.0f} bytes")
    told = int(str(too_large(task, 10**9, monkeypatch)).split(" needs about ")[1].split()[0])
    assert loaded and told == pytest.approx(needed, rel=0.2)


@pytest.mark.parametrize("fits", [64, 5])
def test_a_handful_of_rows_tells_nothing_of_many(fits, monkeypatch):
    """So as many are tried as may fit."""

    def peak(task, step, carry, n):
        if n > fits:
            raise MemoryError
        return max(10**7 * n, 5 * 10**7 if fits > 5 else 0) + 10**6

    task = large(lm_task)
    monkeypatch.setattr(memory, "peak", peak)
    error = too_large(task, 10**9, monkeypatch)
    assert "a batch of 64 rows" in str(error) and "needs about 641 MB, and 1.0 GB are free" in str(error)


@every_task
def test_the_batch_that_is_advised_fits_and_is_not_needlessly_small(make, monkeypatch):
    task = large(make)
    free = 0.6 * memory.peak(task, 0, first_carry(task), task.batches[0].ids.shape[1])
    fits = too_large(task, free, monkeypatch).fits
    assert 0.5 * free < memory.peak(task, 0, first_carry(task), fits) < free


@every_task
def test_a_later_step_with_what_is_carried_to_it(make, monkeypatch):
    assert too_large(large(make), 10**9, monkeypatch, at=2).fits > 1


@every_task
@pytest.mark.parametrize("free, said", [(1000, "are free; a smaller size or bptt helps"), (None, "more than there is")])
def test_where_no_batch_fits_or_nobody_knows(free, said, make, monkeypatch):
    error = too_large(large(make), free, monkeypatch)
    assert said in str(error) and (error.fits is None) == (free == 1000)


def test_where_not_even_a_few_rows_fit(monkeypatch):
    def fail(*_):
        raise MemoryError

    task = large(lm_task)
    monkeypatch.setattr(type(task), "loss_and_grads", fail)
    with pytest.raises(StepTooLarge, match="does not fit, nor do 2 rows; a smaller size or bptt helps") as e:
        next(fit(task, Adam(), 1))
    assert e.value.fits is None


def test_on_the_command_line_it_is_one_line_with_the_option(tiny_data, tmp_path, monkeypatch):
    one_failure(monkeypatch, LMTask, 10**9)
    answer = train(tiny_data, tmp_path / "run", "--direction", "both")
    remedy = "batch_size=8 would fit: start anew, with --overwrite --set pretrain.batch_size=8\n"
    is_refused(answer, "error: out of memory: pretrain-forward, step 0: a batch of 16 rows ", remedy, code=1)


def test_no_command_is_told_of_options_that_it_has_not(tiny_data, tiny_run, tmp_path, monkeypatch):
    """`run --config` takes no --set and quickstart neither; lr-find leaves nothing to start anew; and a run whose
    --minutes are still to be made steps has not begun a stage."""
    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    monkeypatch.setattr(memory, "peak", lambda task, step, carry, n: 10**8 * n)
    monkeypatch.setattr(LMTask, "loss_and_grads", lambda *_: (_ for _ in ()).throw(MemoryError))
    text, config, new = tiny_data / "text.txt", tiny_run / "config.yaml", ["--out", tmp_path / "new"]
    plan = {
        ("run", "--config", config, *new): f"--overwrite and a copy of {config}, its recipe with pretrain.batch_size=8",
        ("quickstart", *new): "ulmfit run questions --recipe quickstart --direction both --set finetune.batch_size=8",
        ("lr-find", "--stage", "pretrain", "--text", text, "--out", tmp_path / "a.png"): "--set pretrain.batch_size=8",
        ("pretrain", "--text", text, *new, "--minutes", "1"): "anew, with --overwrite --set pretrain.batch_size=8",
    }
    for command, remedy in plan.items():
        is_refused(ulmfit(*command), "error: out of memory: ", f"{remedy}\n", code=1)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    is_refused(ulmfit("lr-find", "--stage", "pretrain", "--text", text, "--out", tmp_path / "a.png"),
               "would fit: --set pretrain.batch_size=8\n", code=1)  # fmt: skip


# --- what is free


def test_the_smallest_limit_counts(tmp_path, monkeypatch):
    container = container_in(tmp_path, monkeypatch)
    assert container("5000\n", "3000\n") == 2000 and container("5", "6") == 0 and container("5000", "0") == 5000
    machine = container("max\n", "3000\n")
    assert 10**7 < machine < 10**14 and container(str(2**63), "3000") == pytest.approx(machine, rel=0.2)


@pytest.mark.parametrize("version", [0, 1])
def test_files_that_the_system_keeps_in_memory_take_none_away(version, tmp_path, monkeypatch):
    """Both versions of cgroups count them as used; of other lines with a like name, or of none, nothing is taken."""
    container = container_in(tmp_path, monkeypatch, version)
    name = ("inactive_file", "total_inactive_file")[version]
    assert container("5000", "3000", f"anon 900\n{name} 2500\nactive_file 70\n") == 4500
    for other in ("", f"x_{name} 2500\n", f"{name}\n", "\xff"):
        assert container("5000", "3000", other) == 2000


def container_in(folder, monkeypatch, version=0):
    """free_memory() where a container's files say so."""
    _, *names = memory.CGROUPS[version]
    monkeypatch.setattr(memory, "CGROUPS", [(folder, *names), ("/no/such", *names)])

    def free(limit, used, stat=None):
        for name, text in zip((*names[:2], "memory.stat"), (limit, used, stat), strict=True):
            (folder / name).unlink(missing_ok=True) if text is None else (folder / name).write_text(text)
        return memory.free_memory()

    return free


LIMITED = """if True:
    import resource, sys
    from pathlib import Path
    import numpy as np
    from tiny import Dropouts, TextBatches, ClassifierTask, ClassifierTraining, MaskSource, ModelSize, TextClassifier
    from minilstm import Adam
    from ulmfit.errors import StepTooLarge
    from ulmfit.train import fit

    def step(B):
        rng = np.random.default_rng(0)
        model = TextClassifier(50, ModelSize(30, 60, 2, 5), 3, rng=rng)
        texts = [rng.integers(9, 50, 200) for _ in range(B)]
        recipe = ClassifierTraining(epochs=1, lr=0.01, batch_size=B, unfreezing="full", dropouts=Dropouts())
        task = ClassifierTask(model, TextBatches(texts, np.arange(B) % 3, B, 1), recipe, MaskSource(1))
        next(fit(task, Adam(), 1, carry=model.initial_stats()))

    step(4)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20,) * 2)
    try:
        step(256)
    except StepTooLarge as e:
        fits = e.fits
        print(e)
    step(fits)
    print("fits", fits)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="/proc tells how much memory a process has, on Linux")
def test_a_process_that_really_has_no_more_memory():
    tests = f"import sys; sys.path[:0] = {sys.path!r}\n"
    done = subprocess.run([sys.executable, "-c", tests + LIMITED], capture_output=True, text=True)
    said, fits = done.stdout.splitlines()
    assert done.stderr == "" and "a batch of 256 rows of 200 words needs about" in said and "are free" in said
    assert 4 <= int(fits.removeprefix("fits ")) < 256
