"""`torch.nn.LSTM` as a contender: as it is; as one arranges it to be given cuDNN's persistent kernels; and each of them
replayed from a CUDA graph."""

GATES = 4


class Torch:
    """torch.nn.LSTM, which chooses cuDNN's algorithm itself. The parameters lie in cuDNN's own buffer.

    arranged: PyTorch takes the persistent algorithm only in float16, for one layer of at most 1024 units, units and
    input multiples of 128, and a batch of at most 128 that is a multiple of 8 (aten/src/ATen/native/cudnn/RNN.cpp). So
    there is a module for each layer, and units and rows of zeros are added, which stay zero: c = 0.5 * 0 + 0.5 * 0.
    """

    def __init__(self, gpu, cell, given, arranged=False, graph=False):
        torch = gpu.torch
        self.gpu, self.cell, self.graph, self.replay = gpu, cell, graph, None
        self.B, self.H = (-(-cell.B // 8) * 8, -(-cell.H // 128) * 128) if arranged else (cell.B, cell.H)
        dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(cell.precision, torch.float32)
        x, dy, params = given
        self.x = self._padded(x, dtype).requires_grad_()
        self.dy = self._padded(dy, dtype)
        a_module = 1 if arranged else cell.layers
        self.modules = [torch.nn.LSTM(self.H, self.H, a_module).to(self.x) for _ in range(cell.layers // a_module)]
        self.params = {}
        for n, module in enumerate(self.modules):
            for name, p in module.named_parameters():  # weight_ih_l0, ...
                kind, _, layer = name.rpartition("_l")
                self.params[f"{kind}_l{n * a_module + int(layer)}"] = p
            module.flatten_parameters()
        with torch.no_grad():
            for name, p in self.params.items():
                self._real(p.zero_()).copy_(torch.from_numpy(params[name]).reshape(GATES, cell.H, -1))

    def _padded(self, a, dtype):
        """(T, B, H) of the host -> the same on the device with rows and units of zeros"""
        made = self.gpu.torch.zeros(len(a), self.B, self.H, dtype=dtype, device=self.gpu.torch_device)
        made[:, : self.cell.B, : self.cell.H] = self.gpu.torch.from_numpy(a).to(made)
        return made

    def _real(self, p):
        """A parameter without what was added to it: (4, H, H) of a weight, (4, H, 1) of a bias."""
        return p.reshape(GATES, self.H, -1)[:, : self.cell.H, : self.cell.H]

    def start(self, mode):
        """What is chosen once: whether TF32 may be used, and the graph."""
        self.mode = mode
        self.gpu.torch.backends.cudnn.allow_tf32 = self.cell.precision == "tf32"
        for module in self.modules:
            module.train(mode == "full")
        if self.graph:
            self.replay, self.made = self.gpu.capture(self._call)

    def call(self):
        if self.replay is None:
            return self._call()
        self.replay()
        return self.made

    def _call(self):
        with self.gpu.torch.set_grad_enabled(self.mode == "full"):
            y, states = self.x, []
            for module in self.modules:
                y, state = module(y)
                states.append(state)
        if self.mode != "full":
            return y, states
        dx, *grads = self.gpu.torch.autograd.grad(y, [self.x, *self.params.values()], self.dy)
        return y, states, dx, dict(zip(self.params, grads, strict=True))

    def arrays(self):
        y, states, *rest = self.call()
        B, H = self.cell.B, self.cell.H
        made = {"y": y[:, :B, :H]}
        for name, of_modules in zip("hc", zip(*states, strict=True), strict=True):
            layers = self.gpu.torch.cat(of_modules)  # (layers, B, H)
            made |= {f"{name}_T_l{n}": a[:B, :H] for n, a in enumerate(layers)}
        if rest:
            dx, grads = rest
            shapes = {"weight": (GATES * H, H), "bias": (GATES * H,)}
            made |= {"dx": dx[:, :B, :H]}
            made |= {f"d{name}": self._real(g).reshape(shapes[name.partition("_")[0]]) for name, g in grads.items()}
        return made
