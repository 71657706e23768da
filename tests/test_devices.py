"""Where a run computes: models and states go to a device and come back with the same numbers; and where there is no
GPU, that is one line with the reason and the remedy."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cli_helpers import is_refused, ulmfit
from cupy_on_cpu import in_place_of_cupy
from problems import copies, same_bits
from test_gpu_device import CUDARuntimeError
from tiny import adam, classifier, language_model, lm_task

from minilstm import LSTMStack, MaskSource, load_state_dict, to_numpy, to_state_dict
from minilstm.arrays import beside, fetch, number
from minilstm.params import assign, move
from ulmfit.config_files import load_config
from ulmfit.devices import carry_to, check_device, loaded_to, moments_to, task_to
from ulmfit.errors import InputError
from ulmfit.experiment import run_experiment
from ulmfit.model_files import load_model
from ulmfit.provenance import versions


@pytest.fixture
def cupy():
    with in_place_of_cupy() as stand_in:
        yield stand_in


def on_host(arrays):
    return {name: to_numpy(a) for name, a in arrays.items()}


# --- there and back


@pytest.mark.parametrize("make", [
    classifier, language_model, lambda: LSTMStack(3, [4, 2], rng=np.random.default_rng(0)),
])  # fmt: skip
def test_a_model_goes_to_a_device_and_comes_back_with_the_same_numbers(make, cupy):
    model = make()
    before = copies(model.params)
    move(model, "cuda")
    assert before and all(isinstance(p, cupy.ndarray) for p in model.params.values())
    same_bits(on_host(model.params), before)
    move(model, "cpu")
    assert all(type(p) is np.ndarray for p in model.params.values())
    same_bits(dict(model.params), before)


def test_numbers_are_copied_into_a_model_wherever_either_of_them_is(cupy):
    """And PyTorch's parameter names, in and out, are for a model on a device, too."""
    for source in ("cpu", "cuda"):
        for target in ("cpu", "cuda"):
            one, other = classifier(seed=1), classifier(seed=2)
            move(one, source), move(other, target)
            weight = other.params["head.linear1.weight"]
            assign(other.params, one.params)
            same_bits(on_host(other.params), on_host(one.params))
            assert weight is other.params["head.linear1.weight"]  # in place
            again = classifier(seed=3)
            move(again, target)
            load_state_dict(again.params, to_state_dict(one.params))
            same_bits(on_host(again.params), on_host(one.params))


def test_all_that_a_step_needs_goes_with_the_task(cupy):
    task, optimizer = lm_task(), adam(lm_task())
    made = task.loss_and_grads(0, None)
    optimizer.step(task.model.params, made.grads, 0.1)
    counts = {name: a.copy() for name, a in optimizer.state["step"].items()}
    task_to(task, "cuda"), moments_to(optimizer, "cuda")
    carry = carry_to(made.carry, "cuda")
    assert task.masks.device == "cuda" and isinstance(task.masks, MaskSource) and task.masks.seed == 7
    assert [type(state) for state in carry] == [type(state) for state in made.carry]
    for name in ("exp_avg", "exp_avg_sq"):
        assert all(isinstance(a, cupy.ndarray) for a in optimizer.state[name].values())
    same_bits(optimizer.state["step"], counts)  # the host's, always
    assert all(type(a) is np.ndarray for a in optimizer.state["step"].values())
    for state, before in zip(carry, made.carry, strict=True):
        same_bits(on_host(state._asdict()), before._asdict())
    assert carry_to(None, "cuda") is None


def test_a_models_statistics_go_with_it(tiny_run, cupy):
    loaded = load_model(tiny_run, "classifier")
    before = [s._asdict() for s in loaded.stats]
    there = loaded_to(loaded, "cuda")
    assert all(isinstance(a, cupy.ndarray) for s in there.stats for a in s) and there.classes == loaded.classes
    for s, arrays in zip(there.stats, before, strict=True):
        same_bits(on_host(s._asdict()), arrays)


def test_single_numbers_stay_where_they_are_until_they_are_fetched(cupy):
    there = cupy.asarray(np.float32([0.1, 2.5]))
    assert number(there[0]) is not None and isinstance(number(there[0]), cupy.ndarray)
    assert type(number(np.float32(0.5))) is float and number(0.5) == 0.5
    numbers = fetch([there[0], 7, there[1].astype(np.float64), np.float64(0.25)])
    assert numbers == [float(np.float32(0.1)), 7.0, 2.5, 0.25] and {type(n) for n in numbers} == {float}
    assert fetch([]) == [] and fetch([1.5]) == [1.5]
    assert isinstance(beside(np.ones(2), there), cupy.ndarray) and type(beside(there, np.ones(2))) is np.ndarray
    assert beside(None, there) is None


# --- is there a device?

NOT_INSTALLED = "cupy is not installed: pip install cupy-cuda13x (or cupy-cuda12x)"
OLD = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")


def says(driver, error):
    """A CuPy whose runtime says this."""

    def count():
        raise error

    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, getDeviceCount=count, driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 13020,
    )  # fmt: skip
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


NO_GPU = {
    "no CuPy": (None, NOT_INSTALLED),
    "no driver": (says(0, OLD), "there is no NVIDIA driver"),
    "an old driver": (says(12040, OLD), "the NVIDIA driver is too old: it knows CUDA up to 12.4, and this CuPy is for"),
    "hidden": (says(13020, CUDARuntimeError("cudaErrorNoDevice")), "there is no CUDA device (CUDA_VISIBLE_DEVICES may"),
    "a broken CuPy": (SimpleNamespace(), "'types.SimpleNamespace' object has no attribute 'cuda'"),
}
COMMANDS = {
    "quickstart": [], "run": ["questions"], "pretrain": ["--text", "text.txt"], "finetune": ["questions"],
    "classify": ["questions"], "evaluate": ["questions.csv", "--model", "nowhere"],
    "predict": ["text", "--model", "nowhere"], "perplexity": ["text.txt"], "generate": ["The"],
    "lr-find": ["questions"], "import-fastai": ["x.tgz"],
}  # fmt: skip
WITH_OUT = ("quickstart", "run", "pretrain", "finetune", "classify", "import-fastai")


@pytest.mark.parametrize("module, reason", NO_GPU.values(), ids=NO_GPU)
def test_a_gpu_that_is_not_there_is_one_line_with_the_reason_and_the_remedy(module, reason, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", module)
    answer = ulmfit("run", "questions", "--device", "cuda", "--out", tmp_path / "run")
    is_refused(answer, f"--device cuda: {reason}", "; or use --device cpu")
    assert not (tmp_path / "run").exists()
    check_device("cpu")
    with pytest.raises(InputError, match="^x cuda: "):
        check_device("cuda", "x")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_but_doctor_says_so_before_it_does_anything(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.chdir(tmp_path)
    out = ["--out", "out"] if command in WITH_OUT else []
    is_refused(ulmfit(command, *COMMANDS[command], *out, "--device", "cuda"), f"--device cuda: {NOT_INSTALLED}")
    assert not any(tmp_path.iterdir())
    is_refused(ulmfit(command, *COMMANDS[command], *out, "--device", "tpu"), "--device", "'tpu'", "cpu", "cuda")


def test_a_configuration_that_asks_for_a_gpu_is_told_as_well(tiny_run, tmp_path, monkeypatch):
    """And the command line has the last word."""
    config = (tiny_run / "config.yaml").read_text()
    assert "device: cpu\n" in config and load_config(tiny_run / "config.yaml").device == "cpu"
    file = tmp_path / "config.yaml"
    file.write_text(config.replace("device: cpu\n", "device: cuda\n"))
    monkeypatch.setitem(sys.modules, "cupy", None)
    answer = ulmfit("run", "--config", file, "--out", tmp_path / "a")
    is_refused(answer, f"config.yaml says device cuda: {NOT_INSTALLED}", "; or use --device cpu")
    told = {}
    monkeypatch.setattr("ulmfit.experiment._read", lambda config, *_: told.update(device=config.device) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_experiment(load_config(file), tmp_path / "b", device="cpu")
    assert told == {"device": "cpu"}
    file.write_text(config.replace("device: cpu\n", "device: tpu\n"))
    is_refused(ulmfit("run", "--config", file, "--out", tmp_path / "c"), "device: expected one of cpu, cuda, got 'tpu'")
    file.write_text(config.replace("device: cpu\n", ""))  # of an older version
    assert load_config(file).device == "cpu"


def test_versions_name_the_gpu_and_its_cuda_where_it_computes(cupy):
    found = versions("cuda")
    assert (found["gpu"], found["driver"], found["cuda"]) == ("Stand-in", "for CUDA up to 13.2", "13.0")
    assert found["kernel"] != versions()["kernel"] and "gpu" not in versions()
