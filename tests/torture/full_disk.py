"""A disk that is full just when something is to be saved: a file system of a few MB in memory, which only one process
sees, and in it whole runs. What was saved before has to stay, and when there is room again the run goes on.

Where mounting is not allowed, the system refuses instead to make a file longer than some bytes (RLIMIT_FSIZE).
"""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from tiny_runs import config_for, make_pets, model_bytes, untimed, untimed_log

from ulmfit import pipeline, test_set
from ulmfit.experiment import run_experiment
from ulmfit.plots import plot_run
from ulmfit.run_dir import CONFIG, METRICS
from ulmfit.saving import is_left_over

from .kills import unreadable
from .promises import Number, none_of

MB = 4
PAGE = 4096  # bytes; a file system in memory gives room by the page


class SmallDisk:
    """Full, on demand, just before the n-th file is opened to be written."""

    how = f"tmpfs of {MB} MB"

    def __init__(self, folder):
        self.folder, self.opened, self.full_at = folder, [], None
        sys.addaudithook(self._listen)

    def until_full(self, n, room):
        """From now on files are counted, and with the n-th one (None: never) there is room for so many pages more."""
        self.opened, self.full_at, self.room, self.before = [], n, room, {}

    def _listen(self, event, args):
        if event != "open" or args[2] & os.O_ACCMODE == os.O_RDONLY or not str(args[0]).startswith(str(self.folder)):
            return
        self.opened.append(_kind(Path(args[0]).name))
        if len(self.opened) - 1 == self.full_at:
            self.full_at = None
            self.before = {p: p.read_bytes() for p in self.folder.rglob("checkpoints/*.safetensors")}
            self.fill()

    def fill(self):
        filler = self.folder.parent / "filler"  # outside of what is listened to
        filler.write_bytes(bytes(max(0, shutil.disk_usage(self.folder).free - self.room * PAGE)))

    def make_room(self):
        (self.folder.parent / "filler").unlink(missing_ok=True)


class ShortFiles(SmallDisk):
    how = "RLIMIT_FSIZE"

    def fill(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.room * PAGE, resource.RLIM_INFINITY))

    def make_room(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _kind(name):
    """The name of a file without what differs from one save to the next: ".pretrain-00000003.safetensors.12.tmp" is
    pretrain-.safetensors."""
    return ".".join(re.sub(r"\d+", "", name).lstrip(".").split(".")[:2]).rstrip(".")


def torture(folder, rng, size, tell) -> list[Number]:
    """A full disk at so many saves (`size`) or at one of each kind -> what came of it"""
    space = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MB}m", "tmpfs", str(folder)]
    may_mount = shutil.which("unshare") and subprocess.run([*space, *mount], capture_output=True).returncode == 0
    code = f"import sys; sys.path[:0] = {sys.path!r}; from torture.full_disk import child; child(sys.argv[1:])"
    if not may_mount:
        space = mount = []
    command = [*space, sys.executable, "-c", code, str(folder), str(size), str(rng.integers(2**31)), *mount]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    answers = []
    for line in process.stdout:
        answers.append(answer := json.loads(line))
        place = f"save {answer['n']}, {answer['kind']}"
        tell(f"{place}: {'; '.join(answer['faults']) or ('went on to the same' if answer['died'] else 'room enough')}")
    done = process.wait() == 0
    faults = [fault for answer in answers for fault in answer["faults"]]
    of = {word: sum(fault.startswith(word) for fault in faults) for word in ("lost", "other", "litter")}
    return [
        Number(f"saves that found the disk full ({answers[0]['how']})", sum(a["died"] for a in answers), size // 2),
        Number("kinds of files", len({a["kind"] for a in answers if a["died"]})),
        none_of("checkpoints lost, or files half written", of["lost"]),
        none_of("ended with other losses, weights or predictions", of["other"]),
        none_of("with litter", of["litter"]),
        none_of("with any other fault", len(faults) - sum(of.values()) + (not done)),
    ]


def child(arguments):
    """The runs, in a process of its own, whose disk it is -> a line of JSON for each"""
    folder, size, seed, *mount = arguments
    if mount:
        subprocess.run(mount, check=True)
    rng, pets, out = np.random.default_rng(int(seed)), make_pets(Path(folder)), Path(folder, "runs")
    out.mkdir()
    disk, config = (SmallDisk if mount else ShortFiles)(out), config_for(pets)
    baseline = mock.patch.object(test_set, "linear_baseline", lambda train, labels, test: np.zeros(len(test), int))
    with baseline, mock.patch.object(pipeline, "CHECKPOINT_SECONDS", -1):
        disk.until_full(None, 0)
        _run(config, out / "undisturbed")
        opened, wanted = disk.opened, _results(out / "undisturbed")
        for k, n in enumerate(_chosen(opened, rng, int(size))):
            disk.until_full(n, int(rng.integers(3)) if k >= len({*opened}) else 0)
            died, faults = _one(config, out / "run", disk, wanted)
            answer = {"n": n, "kind": opened[n], "how": disk.how, "died": died, "faults": faults}
            print(json.dumps(answer), flush=True)
            shutil.rmtree(out / "run")


def _chosen(opened, rng, size):
    """Some of the times that a file was opened: one of each kind first."""
    order = rng.permutation(len(opened)).tolist()
    first = {opened[n]: n for n in order}.values()
    return [*first, *(n for n in order if n not in first)][:size]


def _one(config, out, disk, wanted):
    """A run that finds the disk full, and another that goes on -> whether it did, what is wrong in words"""
    faults, died = [], False
    try:
        _run(config, out)
    except OSError as e:
        died = True
        if e.errno not in (errno.ENOSPC, errno.EFBIG) or not str(e.filename).startswith(str(out)):
            faults.append(f"unclear: {type(e).__name__}: {e}")
    except Exception as e:
        died = True
        faults.append(f"unclear: {type(e).__name__}: {e}")
    disk.make_room()
    lost = [p.name for p, content in disk.before.items() if died and (not p.is_file() or p.read_bytes() != content)]
    faults += [f"lost: {name}" for name in [*lost, *(p.name for p in unreadable(out))]]
    faults += [f"litter: {p.name}" for p in out.rglob("*") if is_left_over(p)]
    disk.until_full(None, 0)
    if died:
        _run(config, out, resume=(out / CONFIG).is_file())
    if _results(out) != wanted:
        faults.append("other: results")
    return died, faults


def _run(config, out, **how):
    """With its curves, as the command line has them."""
    run_experiment(config, out, **how)
    plot_run(out)


def _results(out):
    metrics = json.loads((out / METRICS).read_text())
    return untimed(metrics), model_bytes(out), untimed_log(out)
