"""The kernels whose blocks wait for each other, again and again: do a thousand launches come to the same bits? And does
compute-sanitizer, where it is installed, find anything in tiny calls of them (which this file makes as a script)?"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # of an unpacked tree nothing is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_bench import still_there
from gpu_cells import Cell
from gpu_correct import Case, run
from gpu_ladder import Loop, offers, runnable
from gpu_problems import problem
from gpu_results import REFUSED, plan, row

KERNELS, PRECISIONS = ("persistent", "cluster"), ("float32", "bfloat16")
TIMES, SHAPE = 1000, {"T": 70, "B": 16, "H": 256, "layers": 1}
TOOLS, SECONDS = ("memcheck", "racecheck", "synccheck"), 60
TINY = (Case(3, 2, 5, 7, True), Case(4, 17, 33, 33))
BITS = {2: "uint16", 4: "uint32", 8: "uint64"}


def concerned():
    return [kernel for kernel in runnable() if kernel.name in KERNELS]


def check(gpu, journal, until):
    """A row for each kernel and precision, and for each tool"""
    everybody = [(kernel.name, p) for kernel in concerned() for p in PRECISIONS if offers(kernel, p)]
    plan(journal, "repeat", [SHAPE], len(everybody))
    for kernel, precision in everybody:
        about = {"kernel_name": "repeat", "precision": precision, "mode": "check", "shape": SHAPE}
        done = journal.measured(**about, provider=kernel) or journal.refusal(kernel, **about) is not None
        if not done and time.time() < until:
            with journal.doing(provider=kernel, **about):
                journal.write([repeated(gpu, journal, kernel, precision, about)])
    for tool in TOOLS if everybody else ():
        about = {"kernel_name": tool, "precision": "float32", "mode": "check", "shape": {}}
        done = journal.measured(**about) or journal.refusal("compute-sanitizer", **about) is not None
        if not done and time.time() < until:
            code, said = sanitized(tool, journal, min(until, time.time() + SECONDS))
            note = said if code is None else f"exit code {code}: {said}" if code else ""
            values = [0 if code == 0 else 1] if code is not None else []
            about |= {"provider": "compute-sanitizer", "metric": "off by"}
            journal.write([row("check", values=values, note=note, **about)])


def repeated(gpu, journal, kernel, precision, about):
    try:
        cell = Cell(SHAPE["layers"], SHAPE["B"], SHAPE["H"], precision, SHAPE["T"])
        loop = Loop(gpu, cell, problem(cell), kernel, {})
        loop.start("full")
        first, different = bits(loop.call()), 0
        for n in range(TIMES):  # nobody looks at a number before the end: the launches follow each other closely
            different = different + sum((a != b).any() for a, b in zip(bits(loop.call()), first, strict=True))
            if n % 100 == 0:
                journal.beat(provider=kernel, **about)
        different = int(different)
        note = f"of {TIMES} launches, {different} arrays have other bits" if different else ""
        return row("check", provider=kernel, metric="arrays", values=[different], note=note, **about)
    except ValueError as error:
        return row("check", provider=kernel, note=f"{REFUSED}{error}", **about)
    except Exception as error:
        still_there(gpu, error)
        return row("check", provider=kernel, note=f"{type(error).__name__}: {error}", **about)


def bits(arrays):
    return [a.view(BITS[a.dtype.itemsize]) for a in arrays]


def sanitized(tool, journal, until, command=(sys.executable, __file__)):
    """-> the exit code and the last line of what it said; None and the reason, where it came to nothing"""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        return None, f"{REFUSED}compute-sanitizer is not installed"
    output = journal.path.with_suffix(f".{tool}.txt")
    with open(output, "wb") as f, journal.doing(provider="compute-sanitizer"):
        command = [sanitizer, "--tool", tool, "--error-exitcode", "9", *command]
        process = subprocess.Popen(command, stdout=f, stderr=subprocess.STDOUT)
        while process.poll() is None and time.time() < until:
            journal.beat(provider="compute-sanitizer", tool=tool)
            time.sleep(0.1)
        if process.poll() is None:
            process.kill()
            process.wait()
            return None, f"{REFUSED}{tool} had not ended when its time was up"
    said = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return process.returncode, said[-1] if said else "nothing was said"


if __name__ == "__main__":
    for kernel in concerned():
        for case in TINY:
            run(case, kernel.name, "cuda", "float32")
    os._exit(0)
