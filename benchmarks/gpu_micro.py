"""What the device can do, measured with PyTorch's own operations: copies, matrix products, launches; and beside them
the kernel of a step's gates, which does little else than to read and write."""

import math
import time
from functools import partial
from itertools import product

import numpy as np
from gpu_barriers import on_chip
from gpu_bench import failed_check, still_there
from gpu_cells import GATES
from gpu_ladder import default_version, module, offers, runnable, versions
from gpu_results import row

from minilstm import to_device
from minilstm.recurrence import storage_dtype

COPY_BYTES, N, LAUNCHES, CALLS = 2**30, 8192, 200, 20
# Additions, multiplications, divisions, exp and tanh of a unit, counted in lstm_gates.cu
FLOPS = {"forward": 19, "backward": 24}


def micro(gpu, journal, until):
    """The ceiling of bandwidth and the gates of every kernel that has them, then the other ceilings."""
    for measure in (copy, gates, on_chip, products, launches):  # targets are about the first of them
        if time.time() > until:
            return
        for kernel_name, provider, precision, mode, shape, work, rate in measure(gpu, journal):
            about = {"kernel_name": kernel_name, "precision": precision, "mode": mode, "shape": shape}
            if time.time() > until:
                return
            if journal.measured(**about, provider=provider) or journal.refusal(provider, **about) is not None:
                continue
            with journal.doing(provider=provider, **about):
                journal.write(timed(gpu, provider, work, rate, about))
        gpu.release()


def timed(gpu, provider, work, rate, about):
    """work() prepares and returns a call; rate: {metric: a function of the seconds} -> rows"""
    try:
        call = work()
        gpu.seconds(call, 3)
        gpu.wake()
        seconds = gpu.seconds(call, CALLS)
    except Exception as error:
        still_there(gpu, error)
        return [row("micro", provider=provider, note=f"{type(error).__name__}: {error}", **about)]
    return [row("micro", provider=provider, metric=metric, values=[of(s) for s in seconds], **about)
            for metric, of in rate.items()]  # fmt: skip


def copy(gpu, journal):
    """Bytes read and written, as by the gates."""

    def work():
        a = gpu.torch.ones(COPY_BYTES // 4, device=gpu.torch_device)
        b = gpu.torch.empty_like(a)
        return lambda: b.copy_(a)

    yield "copy", "torch", "float32", "", {"bytes": COPY_BYTES}, work, {"GB/s": lambda s: 2 * COPY_BYTES / s / 1e9}


def products(gpu, journal):
    """Square ones in each precision."""
    torch = gpu.torch
    dtypes = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    for precision, dtype in dtypes.items():

        def work(precision=precision, dtype=dtype):
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            a = torch.randn(N, N, device=gpu.torch_device).to(dtype)
            b = torch.randn(N, N, device=gpu.torch_device).to(dtype)
            return lambda: a @ b

        yield "product", "torch", precision, "", {"n": N}, work, {"TFLOP/s": lambda s: 2 * N**3 / s / 1e12}


def launches(gpu, journal):
    """Of an operation on one number: queued one by one, and all of them in one graph."""

    def one_by_one():
        a = gpu.torch.zeros(1, device=gpu.torch_device)
        return lambda: [a.add_(1) for _ in range(LAUNCHES)]

    each = {"microseconds": lambda s: 1e6 * s / LAUNCHES}
    yield "launch", "torch", "float32", "", {"n": LAUNCHES}, one_by_one, each
    yield "launch", "torch-graph", "float32", "graph", {"n": LAUNCHES}, lambda: gpu.capture(one_by_one())[0], each


def gates(gpu, journal):
    """One step of every version, forward and backward."""
    for (B, H), kernel in product(GATES, runnable()):
        for provider, rung in rungs(kernel.name).items():
            for precision, mode in product(("float32", "float16", "bfloat16"), FLOPS):
                if not offers(kernel, precision) or failed_check(journal, kernel.name, precision):
                    continue
                dtype = storage_dtype(None if precision == "float32" else precision, np.dtype(np.float32))
                moved, flops = B * H * bytes_per_unit(mode, dtype.itemsize), B * H * FLOPS[mode]
                rate = {"GB/s": lambda s, n=moved: n / s / 1e9, "TFLOP/s": lambda s, n=flops: n / s / 1e12}
                work = partial(gate_step, gpu, rung, mode, dtype, B, H)
                yield "gates", provider, precision, mode, {"B": B, "H": H}, work, rate


def rungs(name) -> dict:
    """{provider: Gates} of a kernel; {} where its steps have no gates of their own"""
    functions = module(name)
    if hasattr(functions, "LADDER"):
        found = {p: functions.LADDER[of.get("version", default_version(name))] for p, of in versions(name).items()}
    else:
        found = {name: getattr(functions, "GATES", None)}
    return {provider: rung for provider, rung in found.items() if hasattr(rung, "prepare_forward")}


def bytes_per_unit(mode, stored, sums=4):
    """forward: reads four gates of the input and of the product, c and h; writes four gates, c, h and y.
    backward: reads four gates, dy, dh, dc and two c; writes four dgates and dc."""
    return (8 + 1 + 4 + 2) * stored + 2 * sums if mode == "forward" else (4 + 2 + 4) * stored + 4 * sums


def gate_step(gpu, gate, mode, dtype, B, H):
    """-> a call of one step, all rows at work, on numbers that are made on the device: there it takes no time"""
    xp, sums = gpu.cupy, np.promote_types(dtype, np.float32)

    def some(*shape, as_sums=False):
        a = xp.sin(xp.arange(math.prod(shape), dtype=np.float32)).reshape(shape)
        return a.astype(sums if as_sums else dtype)

    lengths = to_device(np.full(B, 2, np.int32), gpu.kind)
    if mode == "forward":
        h, c, y = some(2, B, H), some(2, B, H, as_sums=True), some(1, B, H)
        launch = gate.prepare_forward(some(1, B, 4 * H), lengths, h, c, some(1, B, 4 * H), y, True)
    else:
        dy, dh_T, dh, ifgo, dgates = some(1, B, H), some(B, H), some(B, H), some(1, B, 4 * H), some(1, B, 4 * H)
        c, dc = some(2, B, H, as_sums=True), some(B, H, as_sums=True)
        launch = gate.prepare_backward(dy, dh_T, lengths, c, ifgo, dh, dc, dgates)
    return lambda: launch(0)
