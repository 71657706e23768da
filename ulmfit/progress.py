"""What a person sees while the machine works. Training knows nothing of it but the few calls of `Silent`."""

import time
from collections import deque
from statistics import median_low

from .printable import printable

NO_VALIDATION_TEXT = "no validation text"
COMPILES = 10  # a step that takes so many times what others do: no batch is so long, it waits for the compiler


class Silent:
    """Says nothing: the default when ULMFiT is used as a library, and the interface of the other one."""

    def message(self, text):
        """One line; what takes a while ends in " ..."."""

    def tokens(self, n):
        """So many tokens of a corpus are read."""

    def reads(self, n, total):
        """A model has read so many of the tokens of one or more texts; then `end` is said as well."""

    def begin(self, stage, n_steps, start, groups, measure):
        """A stage starts, or goes on, at step `start`; groups: its layer groups, lowest first; measure: the name of
        the number that validation will give."""

    def step(self, log):
        """One training step is done: a train.StepLog."""

    def epoch(self, log, mean_loss, validation):
        """An epoch is done: its last StepLog, its mean loss, and {measure: number} on the validation split; None where
        there is no such split."""

    def end(self):
        """The stage is done."""


class ConsoleProgress(Silent):
    """A live line (loss, rate, tokens per second, time left) on a terminal, a plain line every ten seconds elsewhere,
    and a row of a table for every epoch."""

    SECONDS_BETWEEN_LINES = 10

    def __init__(self, console):
        """console: a rich.console.Console"""
        self.console, self.live, self.stage = console, None, None
        self._last_line, self._read = time.monotonic(), None

    def message(self, text):
        self.console.print(printable(text), style="dim", highlight=False, markup=False)

    def tokens(self, n):
        if self._line_is_due():
            self.message(f"  {n:,} tokens so far ...")

    def reads(self, n, total):
        now = time.monotonic()
        if self._read is None:  # what was read by now has taken the time of compiling as well
            self._read = now, n
            self._go_live("reading", total, n)
            return
        began, first = self._read
        left = duration((now - began) / max(1, n - first) * (total - n))
        text = f"{n:,} of {total:,} tokens, {left} left"
        if self.live is not None:
            self.live.update(self.bar, completed=n, text=text)
        elif self._line_is_due():
            self.message(f"reading: {text} ...")

    def begin(self, stage, n_steps, start, groups, measure):
        self.stage, self.n_steps, self.recent = stage, n_steps, deque(maxlen=50)
        self.epoch_began = time.monotonic()
        names = ", ".join(group.name for group in groups)
        resumed = f", going on at step {start:,}" if start else ""
        line = f"\n[bold]{stage}[/bold]: {counted(n_steps, 'step')}{resumed}; layer groups: {names}"
        self.console.print(line, highlight=False)
        measured = {"validation_error": "validation error %"}.get(measure, f"validation {measure}")
        columns = f"{'epoch':>7}{'loss':>9}{measured:>24}{'rate':>10}{'seconds':>9}"
        self.console.print(columns, style="dim", highlight=False)
        self._go_live(stage, n_steps, start)

    def step(self, log):
        self.recent.append(log)
        if self.live is not None:
            self.live.update(self.bar, completed=log.step + 1, text=self._describe(log))
        elif self._line_is_due():
            self.console.print(f"{self.stage} {log.step + 1}/{self.n_steps}: {self._describe(log)}", highlight=False)

    def epoch(self, log, mean_loss, validation):
        values = "".join(f"{NO_VALIDATION_TEXT if v is None else format(v, '.2f'):>24}" for v in validation.values())
        now = time.monotonic()
        epoch = f"{log.epoch:.2f}".removesuffix(".00")
        row = f"{epoch:>7}{mean_loss:>9.4f}{values}{log.lr:>10.3g}{now - self.epoch_began:>9.1f}"
        self.console.print(row, highlight=False)
        self.epoch_began = now

    def end(self):
        self._read = None
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _go_live(self, name, total, done):
        """On a terminal, a line that changes from now on."""
        if self.console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn

            columns = TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}")
            self.live = Progress(*columns, console=self.console, transient=True)
            self.live.start()
            self.bar = self.live.add_task(name, total=total, completed=done, text="")

    def _describe(self, log):
        losses = [r.loss for r in self.recent if not r.skipped]
        said = f"loss {sum(losses) / max(1, len(losses)):.3f}  rate {log.lr:.3g}"
        if len(self.recent) == 1:  # it may have been spent on compiling
            return said
        usual = median_low(r.seconds for r in self.recent)
        fair = [r for r in self.recent if r.seconds <= COMPILES * usual]
        seconds = sum(r.seconds for r in fair)
        left = seconds / len(fair) * (self.n_steps - log.step - 1)
        return f"{said}  {sum(r.tokens for r in fair) / max(seconds, 1e-9):,.0f} tokens/s  {duration(left)} left"

    def _line_is_due(self):
        now = time.monotonic()
        if now - self._last_line < self.SECONDS_BETWEEN_LINES:
            return False
        self._last_line = now
        return True


def counted(n, noun) -> str:
    """1, "step" -> "1 step"; 1200, "step" -> "1,200 steps"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def duration(seconds) -> str:
    """75 -> "1:15", 3675 -> "1:01:15"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
