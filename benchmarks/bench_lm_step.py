"""A whole training step of an AWD-LSTM language model beside the same model of torch modules: time and memory.

    python benchmarks/bench_lm_step.py            writes benchmarks/results/lm_step.csv (some three minutes)

Three layers of 400 and 1150, a tied decoder, the paper's dropouts, AR and TAR, clipping, Adam. For each vocabulary
every contender gets a new process; its memory counts from the end of the check to the end of the timing. Before that
all meet over a tiny model: there six updates are checked, and what is compiled is on disk from then on.
"""

import functools

from contenders_lm import CompiledTorch, Ours, Torch, expected
from harness import FULL, QUICK, Contender, admit, options, time_in_turns
from speed_rows import circumstances, milliseconds, record, rows_of
from workers import Workers

SIZE, QUICK_SIZE = {"embedding": 400, "hidden": 1150, "layers": 3}, {"embedding": 8, "hidden": 12, "layers": 3}
SHAPES, QUICK_SHAPE = ((70, 32, 10_000), (70, 32, 30_000)), (5, 3, 50)  # T, B, V
TOLERANCE = 5e-5  # of an array's largest number; float32 comes to some 3e-6
CONTENDERS = {
    "reference": Contender("reference", Ours, ("reference",)),
    "cpu": Contender("cpu", Ours, ("auto",)),
    "torch": Contender("torch", Torch, (False,)),
    "torch-lean": Contender("torch-lean", Torch, (True,)),
    "torch.compile": Contender("torch.compile", CompiledTorch),
}
MODE = "step"


def measure(shape, size, updates, contenders, threads, effort, about):
    """-> rows of one problem: milliseconds, words a second, peak MB; `updates` are checked"""
    problem = dict(zip("TBV", shape, strict=True))
    words, peaks = problem["T"] * problem["B"], {}
    with Workers(threads) as workers:
        given = problem | {"size": size, "updates": updates}
        names = admit(workers, contenders, given, expected(**given), TOLERANCE)
        for name in names:
            workers[name].ask("forget_peak")
        seconds = {(MODE, name): s for name, s in time_in_turns(workers, names, MODE, effort).items()}
        for _, name in seconds:
            peaks[MODE, name] = [workers[name].ask("peak_mb")]
    described = functools.partial(rows_of, "lm_step", problem | size, about=about)
    rows = described("milliseconds", milliseconds(seconds))
    rows += described("words/s", {key: [words / s for s in values] for key, values in seconds.items()})
    return rows + described("peak MB", {key: values for key, values in peaks.items() if values != [None]})


def main():
    asked = options(__doc__, list(CONTENDERS)).parse_args()
    about = circumstances(asked.threads)
    names = asked.contenders or [name for name in CONTENDERS if not asked.quick or name != "torch.compile"]
    contenders = [CONTENDERS[name] for name in names]
    rows = measure(QUICK_SHAPE, QUICK_SIZE, 6, contenders, asked.threads, QUICK, about)
    if asked.quick:
        record(rows, "lm_step", asked)
        return
    met = {row["provider"] for row in rows}
    for shape in SHAPES:
        rows = measure(shape, SIZE, 1, [c for c in contenders if c.name in met], asked.threads, FULL, about)
        record(rows, "lm_step", asked)


if __name__ == "__main__":
    main()
