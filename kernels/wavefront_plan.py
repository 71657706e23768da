"""Into how many pieces a sequence is cut for the layers of a stack to run side by side on a GPU: numbers alone, which
need no GPU. minilstm/wavefront.py does it.

With P pieces and L layers there are L x P cells; each needs the one beneath it and the one before it, so that at best
P + L - 1 cells follow each other, where there were L x P. What it costs: every cell has its own products, copies and
launches, and they are ordered by one host. So it pays where a layer leaves room on the chip for another one, and where
the steps of a piece take longer than the host needs for it.
"""

from functools import cache
from itertools import product
from typing import NamedTuple

__all__ = ["Wavefront", "Rates", "choose", "makespan", "beside"]

MOST = 16    # pieces
GAIN = 0.9   # of the time that the layers need one after the other: what is not better than this is not worth it


class Wavefront(NamedTuple):
    """How a stack goes over its sequence: in so many pieces, 1 for layer after layer, and why."""

    pieces: int
    reason: str


class Rates(NamedTuple):
    """Seconds on a GPU of the H100's class: estimates, none of them measured."""

    steps: tuple = (("graph", 4e-6), ("cluster", 1e-6), ("persistent", 2e-6))    # one of them; launched once a call
    cell: float = 20e-6    # what a call of a layer takes besides its steps
    host: float = 50e-6    # what the host needs to order such a call


ASSUMED = Rates()


@cache
def choose(layers, T, B, H, kernel, multiprocessors, rates=ASSUMED) -> Wavefront:
    """For so many layers of H units (the most that one of them has) with this kernel, over T steps of B rows

    A kernel whose host orders every step is not cut, because the host is what it waits for; nor is one that leaves no
    room beside it. Else it is the number of pieces, up to 16, that takes the least time by `makespan` and the rates, if
    that is a tenth less than without."""
    room, step = beside(kernel, B, H, multiprocessors), dict(rates.steps).get(kernel)
    if step is None:
        return Wavefront(1, f"one layer after the other: the host orders every step of kernel {kernel!r}")
    if room < 2:
        return Wavefront(1, f"one layer after the other: {multiprocessors} multiprocessors have no room for two layers")

    def seconds(pieces):
        cell = step * T / pieces + rates.cell
        return makespan([[cell] * pieces] * layers, rates.host, room)

    pieces = min(range(1, min(T, MOST) + 1), key=seconds)
    there, serial = (f"{1e6 * seconds(n):.0f}" for n in (pieces, 1))
    estimate = f"an estimate, not measured: {there} instead of {serial} us forward"
    if seconds(pieces) > GAIN * seconds(1):
        return Wavefront(1, f"one layer after the other: pieces gain too little ({estimate})")
    return Wavefront(pieces, f"layers side by side, in {pieces} pieces ({estimate})")


def beside(kernel, B, H, multiprocessors) -> int:
    """Layers that have room beside each other: by the blocks of one, as the plans of their kernels cut it up, and how
    many blocks a multiprocessor has room for. A persistent kernel is cut up so as to have all of them, or nearly."""
    B = max(B, 1)
    if kernel == "cluster":
        return multiprocessors // ((8 if H <= 256 else 16) * -(-B // 8))
    if kernel == "graph":
        blocks = [-(-4 * H // rows) * -(-B // rows) for rows in (64, 32, 16) if rows < 2 * B or rows == 16]
        return 2 * multiprocessors // next((n for n in blocks if n >= 100), blocks[-1])
    return 1


def makespan(times, host=0.0, room=None) -> float:
    """Seconds from the first order to the end of a wavefront. Forward; backward is the same from the other corner.

    times: of each layer, lowest first, the seconds that each of its pieces takes on the device. host: seconds to order
    a cell; they are ordered by diagonals. room: cells that the device has room for at the same time; None: for all.
    """
    n_layers, n_pieces = len(times), len(times[0])
    by_diagonals = sorted(product(range(n_layers), range(n_pieces)), key=sum)
    ordered = {cell: (k + 1) * host for k, cell in enumerate(by_diagonals)}
    upcoming, done, free = [0] * n_layers, {}, [0.0] * (room or n_layers)    # free: from when on each place is
    for _ in by_diagonals:
        ready = {n: max(ordered[n, p], done.get((n - 1, p), 0.0), done.get((n, p - 1), 0.0))
                 for n, p in enumerate(upcoming) if p < n_pieces and (n == 0 or p < upcoming[n - 1])}  # fmt: skip
        n = min(ready, key=ready.get)    # whoever is ready first takes the place that is free first
        p, place = upcoming[n], free.index(min(free))
        done[n, p] = free[place] = max(ready[n], free[place]) + times[n][p]
        upcoming[n] += 1
    return max(free)
