"""An LSTM layer as each contender computes it, and the products and passes over memory that make the floor.

Modes of a layer: "forward" keeps what a backward needs, "inference" keeps nothing, "full" is forward and backward with
dx and the gradients of all weights. torch is imported in the processes of its contenders alone.
"""

import os

import numpy as np

import minilstm
from minilstm import LSTM, load_state_dict

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def problem(T, B, I, H):
    """-> x (T,B,I), dy (T,B,H), params: the same float32 numbers in every process"""
    rng = np.random.default_rng([T, B, I, H])
    x, dy = (rng.standard_normal(shape, dtype=np.float32) for shape in ((T, B, I), (T, B, H)))
    shapes = ((4 * H, I), (4 * H, H), (4 * H,), (4 * H,))
    params = [rng.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32) for shape in shapes]
    return x, dy, dict(zip(NAMES, params, strict=True))


def named(mode, y, state, dx=None, grads=None):
    """All that comes out of a call, by name."""
    made = {"y": y, "h_T": state[0], "c_T": state[1]}
    return made | {"dx": dx} | {"d" + name: g for name, g in grads.items()} if mode == "full" else made


def settle_threads(kernel):
    """As `ulmfit` does when it starts: our kernels get the threads and NumPy's BLAS one. Those who multiply by NumPy
    keep the BLAS as it is."""
    if kernel in ("cpu", "auto"):
        minilstm.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))


class Ours:
    """minilstm.LSTM with one of its kernels; in float64, the reference to be compared with."""

    def __init__(self, kernel, T, B, I, H, dtype=np.float32):
        settle_threads(kernel)
        self.layer = LSTM(I, H, rng=np.random.default_rng(0), dtype=dtype, kernel=kernel)
        self.x, self.dy, params = problem(T, B, I, H)
        self.x, self.dy = self.x.astype(dtype), self.dy.astype(dtype)
        load_state_dict(self.layer.params, {name: p.astype(dtype) for name, p in params.items()})

    def call(self, mode):
        y, state, cache = self.layer.forward(self.x, need_cache=mode != "inference")
        if mode != "full":
            return y, state
        dx, _, grads = self.layer.backward(self.dy, None, cache)
        return y, state, dx, grads

    def arrays(self, mode):
        return named(mode, *self.call(mode))


def expected(modes, T, B, I, H):
    """{mode: arrays}: the plain version in float64"""
    reference = Ours("reference", T, B, I, H, dtype=np.float64)
    return {mode: reference.arrays(mode) for mode in modes}


class Torch:
    """torch.nn.LSTM as it is."""

    def __init__(self, T, B, I, H):
        import torch

        self.torch, self.sizes = torch, (T, B, I, H)
        x, dy, params = problem(T, B, I, H)
        self.x, self.dy = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)
        self.layer = torch.nn.LSTM(I, H)
        with torch.no_grad():
            for name, p in params.items():
                getattr(self.layer, f"{name}_l0").copy_(torch.from_numpy(p))
        self.params = {name: getattr(self.layer, f"{name}_l0") for name in NAMES}

    def forward(self):
        """-> y (T,B,H), (h_T, c_T)"""
        return self.layer(self.x)

    def call(self, mode):
        if mode == "inference":
            with self.torch.inference_mode():
                return self.forward()
        y, state = self.forward()
        if mode == "forward":
            return y, state
        dx, *grads = self.torch.autograd.grad(y, [self.x, *self.params.values()], self.dy)
        return y, state, dx, dict(zip(NAMES, grads, strict=True))

    def arrays(self, mode):
        B, H = self.sizes[1], self.sizes[3]
        made = named(mode, *self.call(mode))
        shapes = {"h_T": (B, H), "c_T": (B, H)}  # nn.LSTM has them with an axis for its layers
        return {name: a.detach().numpy().reshape(shapes.get(name, a.shape)) for name, a in made.items()}


class CompiledTorch(Torch):
    """An LSTM of torch operations whose step is compiled: nn.LSTM itself is left as it is by torch.compile."""

    def __init__(self, T, B, I, H):
        super().__init__(T, B, I, H)
        self.torch._dynamo.reset()  # the last shape's programs
        self.step = self.torch.compile(self._step, dynamic=False)

    def _step(self, x_gates, h, c, weight_hh):
        torch = self.torch
        i, f, g, o = (x_gates + h @ weight_hh.T).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self):
        torch, (T, B, _, H) = self.torch, self.sizes
        weight_ih, weight_hh, bias_ih, bias_hh = self.params.values()
        x_gates = torch.nn.functional.linear(self.x, weight_ih, bias_ih + bias_hh)  # (T, B, 4H)
        # A first state with a gradient is like all later ones: one program does for all steps.
        h, c = (torch.zeros(B, H, requires_grad=torch.is_grad_enabled()) for _ in range(2))
        ys = []
        for t in range(T):
            h, c = self.step(x_gates[t], h, c, weight_hh)
            ys.append(h)
        return torch.stack(ys), (h, c)


# --- what the floor is made of ----------------------------------------------------------------------------------------


class Product:
    """a (n, n) @ b (n, n): how fast can a library multiply? Mode "product"."""

    def __init__(self, library, n):
        rng = np.random.default_rng(n)
        a, b = (rng.standard_normal((n, n), dtype=np.float32) for _ in range(2))
        self.multiply = {"numpy": _numpy_product, "cpu": _cpu_product, "torch": _torch_product}[library](a, b)

    def call(self, mode):
        return self.multiply()

    def arrays(self, mode):
        return {"product": self.multiply()}


class Read:
    """weight (4H, H) @ h (H,), which does little more than to read the weights. Mode "read"."""

    def __init__(self, library, H):
        rng = np.random.default_rng(H)
        weight, h = rng.standard_normal((4 * H, H), dtype=np.float32), rng.standard_normal(H, dtype=np.float32)
        self.multiply = {"numpy": _numpy_product, "torch": _torch_product}[library](weight, h)

    def call(self, mode):
        return self.multiply()

    def arrays(self, mode):
        return {"product": self.multiply()}


def expected_product(*shapes):
    """What Product(n) or Read(H) of the same shapes gives, in float64."""
    rng = np.random.default_rng(shapes[0][-1])
    a, b = (rng.standard_normal(shape, dtype=np.float32).astype(np.float64) for shape in shapes)
    return {"product": a @ b}


def _numpy_product(a, b):
    out = np.empty(a.shape[:1] + b.shape[1:], a.dtype)
    return lambda: np.matmul(a, b, out=out)


def _torch_product(a, b):
    import torch

    a, b = torch.from_numpy(a), torch.from_numpy(b)
    out = torch.empty(a.shape[:1] + b.shape[1:])
    return lambda: torch.matmul(a, b, out=out)


def _cpu_product(a, b):
    from minilstm_kernels import cpu_gemm

    settle_threads("cpu")
    out = np.empty((len(a), b.shape[1]), a.dtype)

    def multiply():
        cpu_gemm.linear_dx(a, b, out)
        return out

    return multiply
