"""The gates of one time step alone, without their matrix product: what fusing them gains.

    python benchmarks/bench_gates.py            writes benchmarks/results/gates.csv (about a minute)

From the gates before activation, (B, 4H), and the last cell state to h and c (mode "forward"), and back again ("full").
"""

import numpy as np
from harness import FULL, QUICK, Contender, compare, options
from speed_rows import circumstances, milliseconds, record, rows_of
from workers import Workers

from minilstm.gates import gates_backward, gates_forward

SHAPES, QUICK_SHAPES = ((1, 256), (16, 256), (16, 1150), (64, 400), (64, 1150), (256, 1150)), ((2, 5),)  # B, H
MODES = ("forward", "full")
TOLERANCE = 1e-5  # of an array's largest number


def problem(B, H, dtype=np.float32):
    """-> the gates before activation (B, 4H), c_prev, dh, dc (B, H)"""
    rng = np.random.default_rng([B, H])
    shapes = ((B, 4 * H), (B, H), (B, H), (B, H))
    return [rng.standard_normal(shape, dtype=np.float32).astype(dtype) for shape in shapes]


def named(mode, h, c, dgates=None, dc_prev=None):
    return {"h": h, "c": c} | ({"dgates": dgates, "dc_prev": dc_prev} if mode == "full" else {})


class Plain:
    """minilstm.gates, the definition."""

    def __init__(self, B, H, dtype=np.float32):
        self.pre, self.c_prev, self.dh, self.dc = problem(B, H, dtype)

    def call(self, mode):
        h, c, ifgo = gates_forward(self.pre, self.c_prev)
        return (h, c, *gates_backward(self.dh, self.dc, ifgo, self.c_prev, c)) if mode == "full" else (h, c)

    def arrays(self, mode):
        return named(mode, *self.call(mode))


class Compiled:
    """The pass of kernels/cpu_gates.py, on one thread. It writes over what it is given: each call begins with a copy,
    which takes a small part of its time."""

    def __init__(self, B, H):
        from minilstm_kernels import cpu_gates

        self.forward, self.backward = cpu_gates.step_forward, cpu_gates.step_backward
        self.pre, self.c_prev, self.dh, self.dc = problem(B, H)
        self.zero, self.ifgo, self.dgates = (np.zeros_like(self.pre) for _ in range(3))
        self.h, self.c, self.y, self.dc_prev, self.no_dy = (np.zeros_like(self.dh) for _ in range(5))
        self.alive = np.ones(B, bool)

    def call(self, mode):
        self.ifgo[:] = self.pre
        self.forward(self.zero, self.ifgo, self.dh, self.c_prev, self.alive, self.h, self.c, self.y)
        if mode != "full":
            return self.h, self.c
        self.dc_prev[:] = self.dc
        self.backward(self.no_dy, self.dh, self.ifgo, self.c_prev, self.c, self.alive, self.dc_prev, self.dgates)
        return self.h, self.c, self.dgates, self.dc_prev

    def arrays(self, mode):
        return named(mode, *self.call(mode))


class Torch:
    """The six equations with torch's functions, and its autograd backward; optionally compiled."""

    def __init__(self, compiled, B, H):
        import torch

        self.torch = torch
        self.pre, self.c_prev, self.dh, self.dc = (torch.from_numpy(a) for a in problem(B, H))
        self.pre.requires_grad_(), self.c_prev.requires_grad_()
        if compiled:
            torch._dynamo.reset()
        self.gates = torch.compile(self._gates, dynamic=False) if compiled else self._gates

    def _gates(self, pre, c_prev):
        torch = self.torch
        i, f, g, o = pre.chunk(4, 1)
        c = torch.sigmoid(f) * c_prev + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def call(self, mode):
        h, c = self.gates(self.pre, self.c_prev)
        if mode != "full":
            return h, c
        return h, c, *self.torch.autograd.grad((h, c), (self.pre, self.c_prev), (self.dh, self.dc))

    def arrays(self, mode):
        return named(mode, *(a.detach().numpy() for a in self.call(mode)))


CONTENDERS = {
    "reference": Contender("reference", Plain),
    "cpu-gates": Contender("cpu-gates", Compiled),
    "torch": Contender("torch", Torch, (False,)),
    "torch.compile": Contender("torch.compile", Torch, (True,)),
}


def main():
    asked = options(__doc__, list(CONTENDERS)).parse_args()
    about, effort = circumstances(asked.threads), QUICK if asked.quick else FULL._replace(seconds=1.0)
    names = asked.contenders or [name for name in CONTENDERS if not asked.quick or name != "torch.compile"]
    with Workers(asked.threads) as workers:
        for B, H in QUICK_SHAPES if asked.quick else SHAPES:
            reference = Plain(B, H, np.float64)
            wanted = {mode: reference.arrays(mode) for mode in MODES}
            contenders, shape = [CONTENDERS[name] for name in names], {"B": B, "H": H}
            seconds = compare(workers, contenders, shape, wanted, tolerance=TOLERANCE, effort=effort)
            record(rows_of("gates", shape, "milliseconds", milliseconds(seconds), about), "gates", asked)


if __name__ == "__main__":
    main()
