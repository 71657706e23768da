"""How many examples hypothesis draws (a few, or with --hypothesis-profile=ci many, and the same ones every time; with
gpu, where each may be a kernel to be compiled, hardly any), and what several test files share: tiny trained runs, the
scripts of benchmarks/, and tables of measurements."""

import importlib
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import cli_helpers
import made_up_times
import numpy as np
import pytest
import tiny_runs
from cupy_on_cpu import in_place_of_cupy
from hypothesis import settings

from minilstm import Adam, MaskSource, clip_grad_norm
from minilstm_kernels import gpu_choice
from ulmfit import test_set
from ulmfit.experiment import run_experiment
from ulmfit.language_model import LanguageModel
from ulmfit.recipes import PAPER, ModelSize

settings.register_profile("few", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
settings.register_profile("gpu", max_examples=3, deadline=None, derandomize=True)
settings.load_profile("few")

# Whoever is started in the background of a shell ignores Ctrl-C, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels(request):
    """The CPU kernels, compiled before anything else: a program that has to compile them says so on stderr, and takes
    half a minute, which the tests of the command line do not expect, and those of a GPU do not have."""
    if find_spec("numba") is None or request.config.option.markexpr == "gpu":
        return
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        model = LanguageModel(30, ModelSize(4, 5, 2, 3), rng=rng, dtype=dtype)
        ids, adam = rng.integers(0, 30, (6, 3)), Adam()
        masks = model.encoder.draw_masks(MaskSource(0), 0, 3, PAPER.pretrain.dropouts)
        _, _, cache = model.forward(ids, ids, masks=masks, ar=1.0, tar=1.0)
        grads = model.backward(cache)
        clip_grad_norm(grads, 0.01)
        adam.step(model.params, grads, 0.1)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A folder with train.csv, test.csv and text.txt."""
    return cli_helpers.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def tiny_run(tiny_data, tmp_path_factory):
    """The folder of a trained run, made by the command line; to be read only."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    answer = cli_helpers.train(tiny_data, out)
    assert answer.code == 0, answer.err
    return out


@pytest.fixture(scope="session")
def pets(tmp_path_factory):
    """A folder with train.csv, test.csv and text.txt, for experiments: see tiny_runs."""
    return tiny_runs.make_pets(tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="session")
def pets_run(pets, tmp_path_factory):
    """-> the folder of an experiment in both directions, to be read only, and its metrics"""
    out = tmp_path_factory.mktemp("runs") / "pets"
    with pytest.MonkeyPatch.context() as m:
        replace_baseline(m)
        return out, run_experiment(tiny_runs.config_for(pets, direction="both"), out)


@pytest.fixture
def no_baseline(monkeypatch):
    replace_baseline(monkeypatch)


def replace_baseline(monkeypatch):
    """scikit-learn takes a second to import; the baseline is tested by itself."""
    monkeypatch.setattr(test_set, "linear_baseline", lambda train, labels, test: np.zeros(len(test), int))


@pytest.fixture(scope="module")
def cupy():
    """What stands for CuPy where there is no GPU, in its place."""
    with in_place_of_cupy() as stand_in:
        yield stand_in


@pytest.fixture
def script(monkeypatch):
    """A function: the name of a script of benchmarks/ -> its module, imported anew for each test: some of them change
    its constants, and what is imported meanwhile would keep what it has made of them."""
    folder = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    names = [path.stem for path in folder.glob("*.py")]
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(before)


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A function: the times of made_up_times.write, which from then on are what was measured on GPUs"""

    def measured(times, gpu=made_up_times.GPU):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        monkeypatch.setattr(gpu_choice, "TABLE", made_up_times.write(path, times, gpu))

    return measured
