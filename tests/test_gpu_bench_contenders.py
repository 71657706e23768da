"""Those who are measured on a GPU compute the same thing: ours, PyTorch's LSTM as it is and as it is arranged, and
cuDNN called directly, here through a stand-in that is as strict as its header."""

import ctypes
import re
from importlib.util import find_spec
from pathlib import Path

import cudnn_on_cpu
import numpy as np
import pytest

from minilstm import LSTMStack

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed"),
]
MODES = ("full", "inference")


@pytest.fixture
def gpu(script):
    from gpu_on_cpu import kernels

    with kernels("plain") as device:
        yield device


@pytest.fixture
def cell(script):
    return lambda layers=1, B=3, H=5, precision="float32", T=4: script("gpu_cells").Cell(layers, B, H, precision, T)


def by_hand(given, cell, mode):
    """{name: array} in float64 on the CPU, from a stack that none of the contenders knows"""
    rng = np.random.default_rng(1)
    stack = LSTMStack(cell.H, [cell.H] * cell.layers, rng=rng, dtype=np.float64, kernel="reference")
    for name, p in stack.params.items():
        p[...] = given.params[name]
    y, states, cache = stack.forward(given.x.astype(np.float64))
    made = {"y": y} | {f"{s}_T_l{n}": a for n, state in enumerate(states) for s, a in zip("hc", state, strict=True)}
    if mode == "full":
        dx, _, grads = stack.backward(given.dy.astype(np.float64), None, cache)
        made |= {"dx": dx} | {f"d{name}": g for name, g in grads.items()}
    return made


def same(found, wanted, tolerance):
    assert found.keys() == wanted.keys()
    for name, want in wanted.items():
        got = found[name].detach().double().numpy()
        assert got.shape == want.shape and np.abs(got - want).max() <= tolerance * np.abs(want).max(), name


# --- everybody


@pytest.mark.parametrize("everybody", ["of_the_layer", "of_the_loop"])
def test_who_is_nearly_as_exact_stands_beside_float32_as_what_he_is(gpu, cell, everybody, script, monkeypatch):
    bench, ladder = script("gpu_bench"), script("gpu_ladder")
    (kernel,) = ladder.runnable()
    monkeypatch.setattr(bench, "runnable", lambda: [kernel._replace(precisions=("tf32", "bfloat16x3"))])
    monkeypatch.setattr(ladder.module("plain"), "VERSIONS", {"tf32": 3, "bfloat16x3": 4}, raising=False)
    for precision in ("float32", "tf32"):
        found = {c.provider: c for c in getattr(bench, everybody)(cell(precision=precision))}
        assert "plain" in found and ("plain-bfloat16x3" in found) == (precision == "float32")
        if precision == "float32":
            near = found["plain-bfloat16x3"]
            assert (near.kernel, near.precision) == ("plain", "bfloat16x3")
            assert near.args == (("plain", {"version": 4}) if everybody == "of_the_loop"
                                 else ("plain", None, np.float32, "bfloat16x3"))  # fmt: skip
    assert ladder.products("plain", "tf32") == {"version": 3} and ladder.products("plain", "float32") == {}


def test_a_loop_in_tf32_is_that_version(gpu, cell, script, monkeypatch):
    ladder, cell = script("gpu_ladder"), cell(precision="tf32")
    monkeypatch.setattr(ladder.module("plain"), "VERSIONS", {"tf32": 3}, raising=False)
    given = script("gpu_problems").problem(cell)
    assert ladder.Loop(gpu, cell, given, "plain", {}).options == {"version": 3}
    assert ladder.Loop(gpu, cell, given, "reference", {}).options == {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layers, wavefront", [(1, None), (3, None), (3, 2)])
def test_ours_and_the_expected_are_the_plain_stack(gpu, cell, layers, wavefront, mode, script):
    problems, cell = script("gpu_problems"), cell(layers)
    given = problems.problem(cell)
    ours = problems.Stack(gpu, cell, given, "plain", wavefront)
    ours.start(mode)
    assert ours.stack.wavefront == wavefront
    same(ours.arrays(), by_hand(given, cell, mode), 1e-5)
    same(problems.expected(gpu, cell, given, mode), by_hand(given, cell, mode), 1e-13)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("layers, arranged, graph", [(1, 0, 0), (3, 0, 1), (1, 1, 1), (2, 1, 0)])
def test_torch_is_the_plain_stack_however_it_is_arranged(
    gpu, cell, layers, arranged, graph, precision, mode, script
):
    cell, tolerance = cell(layers, precision=precision), {"float16": 5e-3, "bfloat16": 5e-2}.get(precision, 1e-5)
    given = script("gpu_problems").problem(cell)
    torch = script("gpu_torch").Torch(gpu, cell, given, arranged, graph)
    torch.start(mode)
    same(torch.arrays(), by_hand(given, cell, mode), tolerance)
    assert gpu.captured == graph
    assert gpu.torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert all(module.training == (mode == "full") for module in torch.modules)
    assert torch.call()[0].requires_grad == (mode == "full")


def test_what_is_arranged_is_what_pytorch_asks_of_a_persistent_kernel(gpu, cell, script):
    cell = cell(3, B=9, H=129, precision="float16")
    torch = script("gpu_torch").Torch(gpu, cell, script("gpu_problems").problem(cell), arranged=True)
    assert tuple(torch.x.shape) == (4, 16, 256) and torch.x.dtype == gpu.torch.float16
    assert [(m.num_layers, m.hidden_size, m.input_size) for m in torch.modules] == [(1, 256, 256)] * 3


@pytest.mark.parametrize("mode", MODES)
def test_every_version_of_the_loop_is_the_plain_one(gpu, cell, mode, script):
    ladder, cell = script("gpu_ladder"), cell()
    given = script("gpu_problems").problem(cell)
    assert ladder.versions("plain") == {"plain": {}, "plain-v1": {"version": 1}}
    exact = ladder.Loop(gpu, cell, given, "reference", {})
    exact.start(mode)
    wanted = {name: a.numpy() for name, a in exact.arrays().items()}
    assert ("dgates" in wanted) == (mode == "full") and wanted["y"].dtype == np.float64
    for options in ladder.versions("plain").values():
        loop = ladder.Loop(gpu, cell, given, "plain", options)
        loop.start(mode)
        same(loop.arrays(), wanted, 1e-5)


def test_the_same_cell_has_the_same_numbers_and_another_has_others(cell, script):
    problem = script("gpu_problems").problem
    first, again, other = problem(cell()), problem(cell()), problem(cell(B=4))
    assert all(np.array_equal(a, b) for a, b in ((first.x, again.x), (first.dy, again.dy)))
    assert np.array_equal(first.params["bias_hh_l0"], again.params["bias_hh_l0"])
    assert not np.array_equal(first.x[:, :3], other.x[:, :3]) and not np.array_equal(first.x, first.dy)


@pytest.mark.parametrize("change, said", [
    (lambda y: y + 0.02, "y is off by 0.02"), (lambda y: y * float("nan"), "y is off by nan"),
    (lambda y: y[:, :1], r"y has the shape \(2, 1\) and not \(2, 2\)"), (lambda y: y + 0.005, None),
])  # fmt: skip
def test_what_is_wrong_is_said(change, said, gpu, script):
    y = gpu.torch.tensor([[0.25, -1.0], [0.0, 0.5]], dtype=gpu.torch.float64)
    wrong = script("gpu_problems").difference({"y": change(y)}, {"y": y}, 0.01)
    assert wrong is None if said is None else re.match(said, wrong)


def test_what_is_missing_is_said(gpu, script):
    assert script("gpu_problems").difference({}, {"y": gpu.torch.ones(1)}, 1) == "there came  and not y"


# --- cuDNN


@pytest.fixture
def cudnn(script, monkeypatch):
    """-> gpu_cudnn_lstm with the stand-in for the library, and the stand-in"""
    binding, contender = script("gpu_cudnn"), script("gpu_cudnn_lstm")
    library = cudnn_on_cpu.Library(binding.SIGNATURES)
    made = object.__new__(binding.Cudnn)
    made.library = library
    monkeypatch.setattr(contender, "Cudnn", lambda: made)
    contender.library.cache_clear()
    yield contender, library
    contender.library.cache_clear()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layers, graph", [(1, False), (3, True)])
def test_cudnn_is_the_plain_stack_wherever_it_keeps_its_weights(gpu, cell, cudnn, layers, graph, mode, script):
    contender, library = cudnn
    cell = cell(layers)
    given = script("gpu_problems").problem(cell)
    lstm = contender.CudnnLSTM(gpu, cell, given, "standard", graph)
    lstm.start(mode)
    for _ in range(2):  # gradients are not added up from call to call
        same(lstm.arrays(), by_hand(given, cell, mode), 1e-5)
    assert library.stream == gpu.stream_now() and gpu.captured == graph
    assert ("cudnnRNNBackwardWeights_v8" in library.calls) == (mode == "full")


@pytest.mark.parametrize("algorithm, number", [
    ("standard", 0), ("persist-static", 1), ("persist-dynamic", 2), ("persist-static-small-h", 3),
])  # fmt: skip
@pytest.mark.parametrize("precision, dtype, math", [("float32", 0, 3), ("tf32", 0, 0)])
def test_each_algorithm_is_asked_for_with_the_math_of_the_precision(
    gpu, cell, cudnn, algorithm, number, precision, dtype, math, script
):
    contender, library = cudnn
    cell = cell(H=8, precision=precision)
    contender.CudnnLSTM(gpu, cell, script("gpu_problems").problem(cell), algorithm)
    (rnn,) = (made for made in library.made.values() if hasattr(made, "algorithm"))
    assert (rnn.algorithm, rnn.dtype, rnn.math) == (number, dtype, math)
    assert ("cudnnBuildRNNDynamic" in library.calls) == (algorithm == "persist-dynamic")


def test_an_algorithm_that_refuses_says_why(gpu, cell, cudnn, script):
    given = script("gpu_problems").problem(cell())
    with pytest.raises(script("workers").Refused, match="cudnnSetRNNDescriptor_v8: CUDNN_STATUS_NOT_SUPPORTED"):
        cudnn[0].CudnnLSTM(gpu, cell(), given, "persist-static")


def test_a_library_that_is_not_there_or_another_is_refused(script):
    binding, Refused = script("gpu_cudnn"), script("workers").Refused
    with pytest.raises(Refused, match="cuDNN cannot be called directly: /nowhere/libcudnn.so.9"):
        binding.Cudnn("/nowhere/libcudnn.so.9")
    with pytest.raises(Refused, match="libc.so.6 has no cudnn"):
        binding.Cudnn("libc.so.6")


def headers():
    """The folder of cuDNN's headers, which come with the library; None where it is not installed"""
    spec = find_spec("nvidia") and find_spec("nvidia.cudnn")
    return Path(next(iter(spec.submodule_search_locations)), "include") if spec else None


@pytest.mark.skipif(headers() is None, reason="pip install nvidia-cudnn-cu13")
def test_signatures_and_numbers_are_those_of_the_header(script):
    binding = script("gpu_cudnn")
    text = "".join((headers() / f"cudnn_{name}_v9.h").read_text() for name in ("adv", "ops", "graph"))
    for name, types in binding.SIGNATURES.items():
        (arguments,) = set(re.findall(rf"\b{name}\(([^)]*)\)", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))
        arguments = [] if arguments == "void" else re.split(r",\s*", arguments)
        assert [kind(a) for a in arguments] == [kind_of(t) for t in types], name
    for name, number in {"RNN_ALGO_STANDARD": 0, "RNN_ALGO_PERSIST_STATIC": 1, "RNN_ALGO_PERSIST_DYNAMIC": 2,
                         "RNN_ALGO_PERSIST_STATIC_SMALL_H": 3, "DATA_FLOAT": 0, "DATA_DOUBLE": 1, "DATA_HALF": 2,
                         "DATA_BFLOAT16": 9, "DEFAULT_MATH": 0, "TENSOR_OP_MATH": 1, "FMA_MATH": 3, "LSTM": 2,
                         "FWD_MODE_TRAINING": 1, "RNN_DOUBLE_BIAS": 2, "UNIDIRECTIONAL": 0, "LINEAR_INPUT": 0,
                         "RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED": 0, "WGRAD_MODE_ADD": 0}.items():  # fmt: skip
        assert re.search(rf"\bCUDNN_{name}\s*=\s*{number}\b", text), name


def kind(argument):
    """Of an argument as the header has it: how it is passed."""
    if "*" in argument or "[" in argument or re.search(r"Descriptor_t|Handle_t|cudaStream_t", argument):
        return "pointer"
    if "size_t" in argument or "long long" in argument:
        return "8 bytes"
    return "float" if "float" in argument else "int"


def kind_of(ctype):
    if ctype is ctypes.c_void_p or hasattr(ctype, "contents"):
        return "pointer"
    return {ctypes.c_size_t: "8 bytes", ctypes.c_ulonglong: "8 bytes", ctypes.c_float: "float"}.get(ctype, "int")


@pytest.mark.skipif(headers() is None, reason="pip install nvidia-cudnn-cu13")
def test_the_library_takes_our_descriptors_without_a_gpu(script):
    binding = script("gpu_cudnn")
    cudnn = binding.Cudnn()
    assert cudnn.version() >= 90000
    for precision in ("float32", "tf32", "float16", "bfloat16"):
        binding.data_descriptor(cudnn, precision, 70, 16, 256)
        binding.tensor_descriptor(cudnn, precision, 3, 16, 256)
        for algorithm in binding.ALGORITHMS:
            binding.lstm_descriptor(cudnn, precision, algorithm, 256, 3, None)
    with pytest.raises(script("workers").Refused, match="CUDNN_STATUS_BAD_PARAM"):
        binding.data_descriptor(cudnn, "float32", 70, 16, -1)
