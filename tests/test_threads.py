"""One number of threads for our kernels and NumPy's BLAS."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minilstm
from minilstm import get_num_threads, num_threads, set_num_threads, threads
from minilstm_kernels import cpu_threads

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs numba")


def blas_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def as_it_was():
    with num_threads(get_num_threads()):
        yield


@needs_numba
def test_where_the_kernels_can_run_they_get_the_threads_and_the_blas_one():
    set_num_threads(3)
    assert get_num_threads() == 3 and set(blas_threads()) == {1}


def test_without_them_the_blas_gets_the_threads(monkeypatch):
    kernels, _ = threads.registry()
    nothing = [kernels.Availability("cpu", "cpu", "", "numba is not installed")]
    monkeypatch.setattr(kernels, "available", lambda: nothing)
    set_num_threads(2)
    assert get_num_threads() == 2 and set(blas_threads()) == {2}


def test_for_a_while():
    set_num_threads(1)
    with num_threads(4):
        assert get_num_threads() == 4
        with num_threads(2):
            assert get_num_threads() == 2
        assert get_num_threads() == 4
    assert get_num_threads() == 1
    with pytest.raises(KeyError), num_threads(5):
        raise KeyError
    assert get_num_threads() == 1


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True])
def test_numbers_that_are_none(n):
    before = get_num_threads()
    with pytest.raises(ValueError, match="threads: expected an integer from 1, or None, got"):
        set_num_threads(n)
    assert get_num_threads() == before


def fresh(code, **environment):
    import os

    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_by_default_what_the_environment_says_and_the_blas_is_left_alone():
    code = "import minilstm; print(minilstm.get_num_threads())"
    assert fresh(code, OMP_NUM_THREADS="1") == fresh(code, OPENBLAS_NUM_THREADS="1") == "1"
    here = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert fresh(here + code) == "1" and fresh(here + code, OMP_NUM_THREADS="8") == "1"
    assert fresh(code, OMP_NUM_THREADS="none of these") == fresh(code)
    untouched = """if True:
        from threadpoolctl import threadpool_info
        import numpy, minilstm
        before = threadpool_info()
        lstm = minilstm.LSTM(2, 3, rng=numpy.random.default_rng(0))
        lstm.forward(numpy.ones((2, 1, 2), "f"))
        print(all(library in threadpool_info() for library in before))
    """
    assert fresh(untouched) == "True"


@pytest.mark.parametrize("files, processors", [
    ({"cpu.max": "150000 100000\n"}, 2),    # docker run --cpus=1.5
    ({"cpu.max": "50000 100000\n"}, 1),
    ({"cpu.max": "max 100000\n"}, None),
    ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ({"cpu/cpu.cfs_quota_us": "400000\n"}, None),
    ({"cpu.max": "100000 0\n"}, None),
    ({"cpu.max": ""}, None),
    ({}, None),
])  # fmt: skip
def test_a_container_has_the_processors_that_its_quota_is_worth(files, processors, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_threads.quota(tmp_path) == processors
    n = cpu_threads.default()
    monkeypatch.setattr(cpu_threads, "quota", lambda: processors)
    assert cpu_threads.default() == min(n, processors or n)


@needs_numba
def test_back_at_the_default_the_blas_has_its_own_number_again():
    code = """if True:
        from threadpoolctl import threadpool_info
        import numpy, minilstm
        def blas():
            return [a["num_threads"] for a in threadpool_info() if a["user_api"] == "blas"]
        before = blas()
        with minilstm.num_threads(2):
            during = blas()
        print(before, during, blas())
    """
    assert fresh(code, OPENBLAS_NUM_THREADS="2") == "[2] [1] [2]"


def test_the_command_line_sets_it(tmp_path):
    code = """if True:
        import sys, minilstm
        from ulmfit.cli import main
        main(sys.argv[1:])
        print(minilstm.get_num_threads())
    """
    asked = ["predict", "a question", "--model", str(tmp_path / "none")]

    def threads(*options):
        done = subprocess.run([sys.executable, "-c", code, *options, *asked], capture_output=True, text=True)
        return int(done.stdout), done.stderr

    assert threads("--threads", "3")[0] == 3 and threads()[0] == threads("--threads", "0")[0] == get_num_threads()
    assert "--threads" in threads("--threads", "-1")[1]


@needs_numba
def test_the_number_of_threads_changes_no_bit():
    rng = np.random.default_rng(0)
    lstm = minilstm.LSTM(130, 200, rng=rng, kernel="cpu")
    x = rng.standard_normal((5, 40, 130), np.float32)
    results = []
    for n in (1, 2, 3):
        set_num_threads(n)
        y, state, cache = lstm.forward(x)
        dx, dstate, grads = lstm.backward(y, state, cache)
        results.append(b"".join(a.tobytes() for a in (y, *state, dx, *dstate, *grads.values())))
    assert results[0] == results[1] == results[2]
