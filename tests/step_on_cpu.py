"""One step of the kernels of lstm_step.cu, executed on the CPU and compared with a product and minilstm/gates.py in
float64. Arrays lie between NaNs and memory that cannot be touched, and the steps that this one does not use are NaN."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from cuda_on_cpu import addresses_of
from gates_on_cpu import STORAGES, Fenced, Storage, close, some_lengths

from minilstm.gates import gates_backward, gates_forward

CODE = (Path(__file__).resolve().parents[1] / "kernels" / "lstm_step.cu").read_text(encoding="utf-8")


class Rung(NamedTuple):
    """A version of the ladder for a type; of the second, the numbers of a pack and the rows of a block."""

    version: int
    storage: Storage
    V: int = 1
    rows: int = 16

    def name(self, direction):
        numbers = f", {self.V}, {self.rows}" if self.version == 2 else ""
        return f"step_{direction}_{self.version}<{self.storage.name}{numbers}>"

    def sizes(self, direction, B, H):
        """-> grid, block"""
        wide = direction == "forward" and self.version == 2    # four columns for each unit
        columns, rows = (4 if wide else 1) * H, -(-B // self.rows)
        return (-(-columns // max(16, self.rows)), rows), (16, 16) if self.version == 1 else (256,)


def rungs(storage):
    yield Rung(1, storage)
    for V in (2, 4) if storage.width > 2 else (2,):
        for rows in (1, 16, 32, 64):
            if rows < 64 or storage.width > 2:
                yield Rung(2, storage, V, rows)


RUNGS = [rung for storage in STORAGES for rung in rungs(storage)]
DIRECTIONS = ("forward", "backward")
NAMES = ["publish", *(rung.name(direction) for direction in DIRECTIONS for rung in RUNGS)]


def alone(array, t):
    """(T, ...) of which all steps but t are NaN."""
    kept = Fenced.empty(array.shape, array.dtype)
    kept.array[t] = array[t]
    return kept


def run(kernel, how, arrays, *numbers):
    """Launch; nothing that is not to be written has changed. arrays: those of the table, and whether they are."""
    before = [b and b.array.copy() for b, _ in arrays]
    table = addresses_of([b and b.array for b, _ in arrays])
    kernel(*how, (table, *map(np.int32, numbers)))
    for (b, rows), old in zip(arrays, before, strict=True):
        if b is None:
            continue
        b.check()
        now = b.array.copy()
        if rows is not None:
            now[rows] = old[rows]
        assert now.tobytes() == old.tobytes(), "a number was changed that is another step's, or an argument"


def compare(s, got, reference):
    """got: arrays, and whether they are stored or sums; reference: dtype -> the same arrays"""
    for (a, stored), exact, in_sums in zip(got, reference(np.float64), reference(s.sums), strict=True):
        close(s, s.decode(a) if stored else a, exact, in_sums, stored)


def check_forward(kernel, rung, B, H, keep=True, t=1, rows=3, seed=0):
    """Step t, the last -> h, c, y"""
    s, rng, T = rung.storage, np.random.default_rng(seed), t + 1
    x, h, w = (s.encode(rng.standard_normal(shape)) for shape in ((T, B, 4 * H), (rows, B, H), (4 * H, H)))
    w = s.encode(s.decode(w) / H**0.5)
    c, lengths = rng.standard_normal((rows, B, H)).astype(s.sums), some_lengths(rng, t, B)
    now, after = t % rows, (t + 1) % rows
    states = alone(h, now), alone(c, now)
    y, ifgo = Fenced.empty((T, B, H), s.dtype), Fenced.empty((T, B, 4 * H), s.dtype)
    arrays = [(alone(x, t), None), (Fenced(w), None), (Fenced(lengths), None), (states[0], after), (states[1], after),
              (y, t), (ifgo, t) if keep else (None, None)]  # fmt: skip
    run(kernel, rung.sizes("forward", B, H), arrays, t, rows, B, H)

    def reference(dtype):
        alive, before, c_now = (t < lengths)[:, None], s.decode(h[now]).astype(dtype), c[now].astype(dtype)
        sums = before @ s.decode(w).astype(dtype).T
        h_new, c_new, gates = gates_forward(s.decode(x[t]).astype(dtype) + sums, c_now)
        out = [np.where(alive, h_new, before), np.where(alive, c_new, c_now), np.where(alive, h_new, 0)]
        return out + [np.where(alive, gates, 0)] * keep

    out = [states[0].array[after], states[1].array[after], y.array[t]]
    compare(s, list(zip([*out, ifgo.array[t]][: 3 + keep], (True, False, True, True), strict=False)), reference)
    return [a.copy() for a in out]


def check_backward(kernel, rung, B, H, given=True, t=1, T=3, seed=0):
    """Step t, or -1; given: dy is there -> dgates, dc or dh0"""
    s, rng = rung.storage, np.random.default_rng(seed)
    dy, ifgo, dgates, w, dh_T = (
        s.encode(rng.standard_normal(shape))
        for shape in ((T, B, H), (T, B, 4 * H), (T, B, 4 * H), (4 * H, H), (B, H))
    )  # fmt: skip
    w, ifgo = s.encode(s.decode(w) / H**0.5), s.encode(abs(s.decode(ifgo)) % 1)
    c, dc = rng.standard_normal((T + 1, B, H)).astype(s.sums), rng.standard_normal((B, H)).astype(s.sums)
    lengths = np.clip(some_lengths(rng, t, B), 0, T).astype(np.int32)
    c_known, dc_out, dh0 = alone(c, [t, t + 1]), Fenced(dc), Fenced.empty((B, H), s.dtype)
    d_known = alone(dgates, slice(t + 1, t + 2))
    arrays = [(alone(dy, t) if given else None, None), (Fenced(dh_T), None), (Fenced(w), None),
              (alone(ifgo, t), None), (Fenced(lengths), None), (c_known, None),
              (dc_out, slice(None) if t >= 0 else None), (d_known, t if t >= 0 else None),
              (dh0, slice(None) if t < 0 else None)]  # fmt: skip
    run(kernel, rung.sizes("backward", B, H), arrays, t, T, B, H)

    def reference(dtype):
        alive, goes_on = (t < lengths)[:, None], (t + 1 < lengths)[:, None]
        later = s.decode(dgates[t + 1]).astype(dtype) @ s.decode(w).astype(dtype) if t + 1 < T else 0
        dh = np.where(goes_on, later, s.decode(dh_T).astype(dtype))
        if t < 0:
            return [dh]
        dh = dh + s.decode(dy[t]).astype(dtype) * given
        gates, dc_now = s.decode(ifgo[t]).astype(dtype), dc.astype(dtype)
        dpre, dc_prev = gates_backward(dh, dc_now, gates, c[t].astype(dtype), c[t + 1].astype(dtype))
        return np.where(alive, dpre, 0), np.where(alive, dc_prev, dc_now)

    out = [(dh0.array, True)] if t < 0 else [(d_known.array[t], True), (dc_out.array, False)]
    compare(s, out, reference)
    return [a.copy() for a, _ in out]


def check_publish(kernel):
    table, addresses = Fenced.empty(9, np.uint64), np.arange(9, dtype=np.uint64) * 2**32 + 7
    kernel((1,), (1,), (table.array, *addresses))
    table.check()
    assert (table.array == addresses).all()


def check_all(kernels, rungs=RUNGS, sizes=((1, 4), (3, 20), (5, 36))):
    """Every kernel at every size; kernels: name -> kernel."""
    check_publish(kernels("publish"))
    for rung in rungs:
        forward, backward = (kernels(rung.name(direction)) for direction in DIRECTIONS)
        for k, (B, H) in enumerate(sizes):
            check_forward(forward, rung, B, H, keep=k != 1)
            check_forward(forward, rung, B, H, keep=k == 1, t=5, rows=2, seed=1)
            for t in (-1, 1, 2):
                check_backward(backward, rung, B, H, given=(k + t) % 2 == 0, t=t)


# For cuda_mutants.py: each version, blocks of one row, of some in a warp and of some in several, and a type with
# another type for its sums. The last has more rows than a block, and three slices in both directions.
FLOAT, _, HALF, _ = STORAGES
RUNGS_FOR_BUGS = [
    (Rung(1, FLOAT), (32, 47)), (Rung(2, FLOAT, 2, 1), (2, 34)), (Rung(2, HALF, 4, 16), (18, 12)),
    (Rung(2, FLOAT, 4, 64), (66, 68)),
]  # fmt: skip
NAMES_FOR_BUGS = ["publish", *(rung.name(direction) for direction in DIRECTIONS for rung, _ in RUNGS_FOR_BUGS)]


def check_bugs(kernels):
    for rung, size in RUNGS_FOR_BUGS:
        check_all(kernels, [rung], [size])
