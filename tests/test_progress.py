"""What is shown while the machine works: a live line on a terminal, plain lines elsewhere."""

import io
import time

import pytest
from cli_helpers import train
from rich.console import Console

from ulmfit.groups import LayerGroup
from ulmfit.progress import ConsoleProgress, Silent, counted, duration
from ulmfit.train import StepLog

GROUPS = [LayerGroup("lstm_0", ()), LayerGroup("head", ())]


def log(step, seconds=0.5, loss=2.0):
    return StepLog(step, epoch=(step + 1) / 10, loss=loss, lr=0.004, grad_norm=1.0, tokens=100, seconds=seconds)


def shown(act, *, terminal=False):
    """What a progress writes while `act(progress)` happens."""
    file = io.StringIO()
    act(ConsoleProgress(Console(file=file, force_terminal=terminal, width=100)))
    return file.getvalue()


@pytest.mark.parametrize("n, text", [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1200, "1,200 steps")])
def test_counts(n, text):
    assert counted(n, "step") == text


@pytest.mark.parametrize("seconds, text", [
    (0, "0:00"), (0.6, "0:01"), (59.4, "0:59"), (59.6, "1:00"), (75, "1:15"), (3599, "59:59"), (3675, "1:01:15"),
    (360_000, "100:00:00"),
])  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_table_has_a_row_for_every_epoch_and_its_columns_stand_below_their_names():
    def act(progress):
        progress.begin("classify", 20, 0, GROUPS, "validation_error")
        for epoch in (1, 2):
            progress.epoch(log(10 * epoch - 1), 1.25 / epoch, {"validation_error": 12.5})
        progress.end()

    lines = shown(act).splitlines()
    assert lines[1] == "classify: 20 steps; layer groups: lstm_0, head"
    names, first, second = lines[2:]
    assert names.split() == ["epoch", "loss", "validation", "error", "%", "rate", "seconds"]
    assert first.split()[:4] == ["1", "1.2500", "12.50", "0.004"] and second.split()[:2] == ["2", "0.6250"]
    assert len(names) == len(first) == len(second)


def test_steps_that_were_left_out_do_not_spoil_the_loss(monkeypatch):
    monkeypatch.setattr(ConsoleProgress, "SECONDS_BETWEEN_LINES", -1)
    steps = [log(0), log(1, loss=float("nan"))._replace(skipped="why"), log(2, loss=4.0)]

    def act(progress):
        progress.begin("pretrain", 10, 0, GROUPS, "perplexity")
        for step in steps:
            progress.step(step)

    assert "pretrain 3/10: loss 3.000 " in shown(act)


def test_a_number_that_is_not_there_is_said_to_be_missing():
    def act(progress):
        progress.begin("pretrain", 2, 1, GROUPS, "perplexity")
        progress.epoch(log(1), 1.0, {"perplexity": None})

    assert "going on at step 1" in shown(act) and " no validation text " in shown(act)
    assert " loss   validation perplexity " in shown(act)  # the loss is that of training
    assert "pretrain: 2 steps, going" in shown(act)


def test_plain_lines_come_now_and_then(monkeypatch):
    monkeypatch.setattr(ConsoleProgress, "SECONDS_BETWEEN_LINES", 0.01)

    def act(progress):
        progress.begin("pretrain", 1000, 0, GROUPS, "perplexity")
        for step in range(100):
            progress.step(log(step))  # a hundred of them take no time: no line
        time.sleep(0.02)
        progress.step(log(100))

    names = shown(act).splitlines()[2]
    assert names.split() == ["epoch", "loss", "validation", "perplexity", "rate", "seconds"]  # above whatever comes
    assert shown(act).splitlines()[-1] == "pretrain 101/1000: loss 2.000  rate 0.004  200 tokens/s  7:30 left"
    assert shown(act).count("tokens/s") <= 3 and "\x1b" not in shown(act)


@pytest.mark.parametrize("seconds, said", [
    ([30], ""), ([30, 0.5], "200 tokens/s  8:19 left"), ([0.5, 0.5, 30], "200 tokens/s  8:18 left"),
    ([0.5, 1.5], "100 tokens/s  16:38 left"),
])  # fmt: skip
def test_what_is_left_does_not_count_the_compiler(seconds, said, monkeypatch):
    """The first step waits for it, and so does the first one of layers that are trained later."""
    monkeypatch.setattr(ConsoleProgress, "SECONDS_BETWEEN_LINES", -1)

    def act(progress):
        progress.begin("classify", 1000, 0, GROUPS, "validation_error")
        for n, s in enumerate(seconds):
            progress.step(log(n, seconds=s))

    assert shown(act).splitlines()[-1].partition("rate 0.004")[2].strip() == said


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_model_has_read_is_shown_with_what_is_left(terminal, monkeypatch):
    monkeypatch.setattr(ConsoleProgress, "SECONDS_BETWEEN_LINES", -1)
    monkeypatch.setattr("ulmfit.progress.time.monotonic", iter(range(0, 10_000, 60)).__next__)

    def act(progress):
        for n in (1000, 2000, 3000):
            progress.reads(n, 5000)
            if progress.live is not None:
                progress.live.refresh()
        progress.end()

    text = shown(act, terminal=terminal)
    if terminal:
        assert "3,000 of 5,000 tokens, " in text and "\x1b[?25h" in text
    else:
        assert text.splitlines()[0] == "reading: 2,000 of 5,000 tokens, 3:00 left ..."
        assert len(text.splitlines()) == 2


def test_a_terminal_shows_one_live_line_and_is_given_back():
    def act(progress):
        progress.begin("pretrain", 1000, 0, GROUPS, "perplexity")
        progress.step(log(0)), progress.step(log(1))
        progress.live.refresh()
        progress.end()
        progress.end()  # once more does no harm

    text = shown(act, terminal=True)
    assert "loss 2.000" in text and "200 tokens/s" in text and "8:19 left" in text
    assert "\x1b[?25l" in text and text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize("error, code", [(KeyboardInterrupt, 130), (ZeroDivisionError, 1)])
def test_the_terminal_is_given_back_when_a_run_ends_early(error, code, tiny_data, tmp_path, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("ulmfit.commands.train.console", lambda: Console(file=file, force_terminal=True, width=100))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail(*_):
        raise error

    monkeypatch.setattr("ulmfit.run_dir.RunDirectory.log", fail)
    assert train(tiny_data, tmp_path / "run").code == code
    text = file.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_reading_a_corpus_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(ConsoleProgress, "SECONDS_BETWEEN_LINES", -1)
    assert shown(lambda progress: progress.tokens(1_234_567)) == "  1,234,567 tokens so far ...\n"


def test_messages_with_brackets_are_shown_as_they_are():
    assert shown(lambda progress: progress.message("reading [/a] [b] ...")) == "reading [/a] [b] ...\n"
    assert shown(lambda progress: progress.message("nothing is left")) == "nothing is left\n"


def test_silence_understands_every_call():
    calls = [name for name in vars(ConsoleProgress) if not name.startswith("_") and name.islower()]
    assert set(calls) == {name for name in vars(Silent) if not name.startswith("_")}
    assert Silent().message("x") is Silent().end() is None
