"""What a result came from: the code, the packages, the machine and the data."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

from minilstm import get_num_threads, to_device
from minilstm.arrays import about_gpu
from minilstm.recurrence import plan_recurrence

PACKAGES = ("minilstm", "kernels", "ulmfit")  # the folders of the code that can bear on a result


def versions(device="cpu") -> dict:
    """Python, the machine, the packages and settings that bear on a result of this device; None for what is not
    installed."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "processor": _processor()}
    found["blas"] = blas()
    for package in ("minilstm", "numpy", "safetensors", "numba", "scikit-learn"):
        found[package] = version(package)
    found["cupy"] = next(filter(None, map(version, ("cupy-cuda13x", "cupy-cuda12x", "cupy"))), None)
    # The kernel that layers compute with decides how they round; threads do where it is NumPy's BLAS that multiplies.
    plan = plan_recurrence("auto", to_device(np.zeros((1, 1, 1), np.float32), device), H=1)
    found["kernel"] = plan.kernel if plan.microseconds is None else "by size"  # kernels/gpu_times.csv, of the commit
    found["threads"] = get_num_threads()
    return found | (about_gpu() if device == "cuda" else {})


NO_MATTER = ("python", "platform", "minilstm", "safetensors", "scikit-learn")  # how a training rounds is not theirs


def differences(before, now) -> str:
    """What bears on how a training rounds and is not what it was, in words; "" where all of it is.

    before, now: {"device": ..., "versions": ..., "commit": ...}, as metrics.json has them. Threads matter where it is
    NumPy's BLAS that multiplies; our kernels' results do not depend on them."""
    before, now = ({**a, **a.get("versions", {}), "versions": None} for a in (before, now))
    ours = "reference" not in (before.get("kernel"), now.get("kernel"))
    left_out = (*NO_MATTER, "threads") if ours else NO_MATTER
    changed = [name for name in now | before if name not in left_out and before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)} (now {now.get(name)})" for name in changed)


def blas() -> str:
    """The library behind NumPy's matrix products, and the settings that change how it rounds: another number of
    threads or another choice of kernels, and a training ends elsewhere."""
    about = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    names = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    settings = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return ", ".join([f"{about.get('name')} {about.get('version')}", *settings])


def version(package) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def fingerprint(*parts) -> str:
    """A sha256 over texts and arrays: did two runs learn from the same data?"""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(part.tobytes())
        else:
            digest.update(json.dumps(part).encode())
    return digest.hexdigest()


def peak_memory() -> float | None:
    """The most memory that this process has held so far, in MB (10**6 bytes); None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _processor() -> str:
    """Its name as Linux tells it, and how many cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
        cores = len(os.sched_getaffinity(0))
    except (OSError, AttributeError):
        name, cores = "", os.cpu_count()
    return f"{name or platform.machine()}, {cores} cores"


def commit() -> str | None:
    """The commit of the checkout this code lies in, marked when it was changed since or a module was added to it; None
    outside of one. Results are no code: those of one benchmark do not mark the next."""
    here = Path(__file__).resolve().parents[1]

    def git(*args):
        return subprocess.run(["git", "-C", str(here), *args], capture_output=True, text=True, timeout=10, check=True)

    try:
        if Path(git("rev-parse", "--show-toplevel").stdout.strip()) != here:
            return None  # an environment inside of some other repository
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results").stdout
        changed += git("ls-files", "--others", "--exclude-standard", *(f"{name}/*.py" for name in PACKAGES)).stdout
        return git("rev-parse", "HEAD").stdout.strip() + ("-changed" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
