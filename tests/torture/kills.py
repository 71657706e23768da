"""SIGKILL, at random moments of whole runs: of all three stages, with the kernels of NumPy and of Numba, in one
direction and in both. In the end every run must have come to the bits of the one that nothing happened to.

A run is killed some times and then left to its end. Where the kill is aimed at differs from life to life:

    anywhere        at a moment of the clock, while it starts or reads as well
    step            when the log has come to a random step, and a little later
    file            when a file half written shows up beside those of the run
    touch           just before it opens, renames or removes a file for the n-th time: see dying.py
"""

import json
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import interrupting
import numpy as np
from cli_helpers import SETTINGS, make_data
from interrupting import begin, finish, litter, logged, outcome, wait_until

from minilstm import load_arrays
from ulmfit.config_files import load_config
from ulmfit.saving import is_left_over
from ulmfit.vocab import Vocab

from .promises import Number, none_of

TESTS = Path(__file__).parents[1]
EPOCHS = {"pretrain.epochs": 8, "finetune.epochs": 8, "classify.epochs": 4}
KERNELS = {"numpy": "sys.modules['numba'] = None", "numba": "pass"}
KINDS = (("numpy", "forward"), ("numba", "both"), ("numpy", "both"), ("numba", "forward"))
AIMS = ("anywhere", "step", "file", "touch")
EVERY_SECONDS = (-1, 0.1, 10**6)  # a checkpoint: after every step, now and then, at the ends of the stages alone
MOST_A_RUN = 8
AT_ONCE = 2  # runs


class Kind(NamedTuple):
    """Runs that should all come to the same."""

    kernel: str
    command: list
    n_steps: int
    seconds: float  # that one takes
    outcome: dict


def torture(folder, rng, size, tell) -> list[Number]:
    """Kill at least so many runs (`size`) -> what came of them"""
    data = make_data(folder)
    kinds = [cache(partial(_kind, folder, data, *options)) for options in KINDS]
    killed, ended, faults = 0, 0, []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while killed < size:
            lives = min(MOST_A_RUN, -(-(size - killed) // AT_ONCE))
            seeds, chosen = rng.integers(2**31, size=AT_ONCE), [kinds[(ended + k) % len(kinds)] for k in range(AT_ONCE)]
            for n, found in pool.map(_one_run, repeat(folder), chosen, seeds, repeat(lives)):
                killed, ended = killed + n, ended + 1
                faults += found
                for fault in found:
                    tell(fault)
            tell(f"{killed} of {size} kills, {ended} runs at their end, {len(faults)} faults")
    what = {word: sum(fault.startswith(word) for fault in faults) for word in ("other", "corrupt", "litter", "failed")}
    return [
        Number("runs killed", killed, at_least=size),
        Number("of them taken to their end", ended),
        none_of("ended with other losses, weights or predictions", what["other"]),
        none_of("corrupt files", what["corrupt"]),
        none_of("runs with litter at their end", what["litter"]),
        none_of("that failed otherwise", what["failed"]),
    ]


def _kind(folder, data, kernel, direction) -> Kind:
    settings = [word for name, value in (SETTINGS | EPOCHS).items() for word in ("--set", f"{name}={value}")]
    files = [data / "train.csv", "--test-file", data / "test.csv", "--pretrain-text", data / "text.txt"]
    command = ["run", *files, *settings, "--direction", direction]
    if kernel == "numba":  # compile, once, and say so
        begin(command, folder / f"first-{direction}").communicate()
    out, began = folder / f"undisturbed-{kernel}-{direction}", time.monotonic()
    finish(command, out, more=KERNELS[kernel])
    versions = json.loads((out / "metrics.json").read_text())["versions"]
    assert (versions["kernel"] == "cpu") == (kernel == "numba"), versions
    return Kind(kernel, command, logged(out), time.monotonic() - began, outcome(out))


def _one_run(folder, kind, seed, lives):
    """-> how often it was killed; what is wrong with it in the end, in words"""
    kind = kind()  # made when it is first needed
    rng, out = np.random.default_rng(seed), folder / f"run-{seed}"
    killed, faults, told = 0, [], f"seed {seed}, {kind.kernel}, {kind.command[-1]}"
    try:
        for _ in range(rng.integers(1, lives + 1)):
            process = _killed(kind, out, rng)
            _, errors = process.communicate(timeout=interrupting.PATIENCE)
            if process.returncode != -signal.SIGKILL:  # it was sooner at its end
                faults += [f"failed: {told}: {errors}"] if process.returncode or errors else []
                break
            killed += 1
            faults += [f"corrupt: {told}: {path}" for path in unreadable(out)]
        finish(kind.command, out, more=KERNELS[kind.kernel])
        if differ := [name for name, value in outcome(out).items() if value != kind.outcome[name]]:
            faults.append(f"other: {told}: {', '.join(differ)}")
        if left := litter(out):
            faults.append(f"litter: {told}: {left}")
    except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as e:
        faults.append(f"failed: {told}: {e}")
    return killed, faults


def _killed(kind, out, rng):
    """A life that is killed at a random moment, or has come to its end before -> its process"""
    aim, more = rng.choice(AIMS), KERNELS[kind.kernel]
    if aim == "touch":
        touch = int(rng.integers(1, 3 * kind.n_steps))
        more += f"; sys.path.append({str(TESTS)!r}); from torture.dying import die_at_touch; die_at_touch({touch})"
    process = begin(kind.command, out, seconds=rng.choice(EVERY_SECONDS), more=more)
    if aim == "anywhere":
        time.sleep(rng.uniform(0, kind.seconds))
    elif aim == "touch":
        process.wait(interrupting.PATIENCE)
    else:
        at = logged(out) + rng.integers(kind.n_steps)
        wait_until(process, lambda: logged(out) >= at, every=0.02)
        if aim == "file":
            wait_until(process, lambda: any(map(is_left_over, out.rglob(".*.tmp"))))
        else:
            time.sleep(rng.uniform(0, 0.02))
    process.kill()
    return process


def unreadable(out) -> list[Path]:
    """Files of a run directory, of whatever a death has left, that bear their name and cannot be read whole."""
    return [path for path in sorted(out.rglob("*")) if path.is_file() and not is_left_over(path) and not _reads(path)]


def _reads(path) -> bool:
    try:
        if path.suffix == ".safetensors":
            load_arrays(path)
        elif path.name == "vocab.json":
            Vocab.load(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            return path.read_bytes().endswith(b"IEND\xaeB`\x82")
        elif path.suffix == ".yaml":
            load_config(path)
        elif path.suffix == ".jsonl":
            lines = path.read_text().splitlines(keepends=True)
            for line in lines[:-1] if path.name == "log.jsonl" else lines:  # the last line may be cut off there
                json.loads(line)
    except (ValueError, OSError):
        return False
    return True
