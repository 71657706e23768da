"""How many threads a call may use. (Without Numba, so that it can be set before anything is compiled.)"""

import math
import os
from functools import cache
from numbers import Integral
from pathlib import Path

_n_threads = None


def set_num_threads(n: int | None):
    """From now on; None: the default again. Raises ValueError unless n is None or an integer from 1."""
    global _n_threads
    if n is not None and (not isinstance(n, Integral) or isinstance(n, bool) or n < 1):
        raise ValueError(f"threads: expected an integer from 1, or None, got {n!r}")
    _n_threads = n if n is None else int(n)


def get_num_threads() -> int:
    return _n_threads or default()


def default() -> int:
    """As many as this process has processors, and no more than a container's share of them, or than the variables say
    that numerical libraries heed: so a worker of joblib, which sets them, does not take the cores of its neighbours."""
    try:
        n = len(os.sched_getaffinity(0))
    except AttributeError:                  # macOS, Windows
        n = os.cpu_count() or 1
    n = min(n, quota() or n)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        value = os.environ.get(variable, "")
        if value.isdigit() and int(value) > 0:
            n = min(n, int(value))
    return n


@cache
def quota(root="/sys/fs/cgroup") -> int | None:
    """The time of how many processors a container may use (`docker run --cpus`, a limit of Kubernetes), rounded up;
    None: there is no limit, or no Linux. More threads than that would be stopped while others wait for them."""
    root = Path(root)
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):    # versions 2 and 1 of cgroups
        try:
            allowed, period = " ".join((root / name).read_text() for name in files).split()
            return math.ceil(int(allowed) / int(period)) if int(allowed) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):    # the other version, "max", or another system
            continue
    return None
