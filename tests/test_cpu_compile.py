"""When something is compiled, what is kept of it on disk, and what the user sees."""

import os
import shutil

import pytest
from on_cpu import ROOT, fresh_python

LINE = "minilstm: compiling CPU kernels for this processor; up to half a minute, longer on a busy machine ...\n"
FUNCTIONS = """
from minilstm_kernels.cpu_compile import compiled

@compiled
def twice(x):
    return 2 * x

@compiled
def thrice(x):
    return 3 * x
"""
FIRST_LAYER = """if True:
    import time
    start = time.process_time()
    import numpy as np
    import minilstm_kernels
    lstm = minilstm_kernels.load("cpu")
    T, B, I, H = 3, 2, 4, 5
    x, state = np.ones((T, B, I), np.float32), np.ones((B, H), np.float32)
    weight_ih, weight_hh, bias = (np.ones(s, np.float32) for s in ((4 * H, I), (4 * H, H), 4 * H))
    y, h, c, saved = lstm.layer_forward(x, weight_ih, weight_hh, bias, state, state)
    lstm.layer_backward(y, h, c, saved, x, weight_ih, weight_hh)
    print(time.process_time() - start)
"""


@pytest.fixture
def functions(tmp_path):
    """-> a function that runs code in a new process where functions.py can be imported, in a folder of its own"""
    (tmp_path / "functions.py").write_text(FUNCTIONS)

    def run(code, **env):
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        return fresh_python(code, PYTHONPATH=path, **env)

    return run


def test_one_line_says_that_something_is_compiled_and_none_that_nothing_is(functions):
    code = "import functions as f; print(f.twice(2), f.thrice(2), f.twice(1.5), f.twice(3))"
    assert functions(code) == ("4 6 3.0 6\n", LINE)
    assert functions(code) == ("4 6 3.0 6\n", "")
    assert functions(code + "; print(f.thrice(1.5))") == ("4 6 3.0 6\n4.5\n", LINE)


def test_what_a_program_compiles_for_itself_is_its_own_affair(functions):
    own = "import functions as f, numba; numba.njit(lambda x: x + 1)(1)"
    assert functions(own) == ("", "")
    assert functions(own + "; print(f.twice(2))") == ("4\n", LINE)


def test_without_a_place_to_write_it_is_compiled_every_time(functions, tmp_path):
    (tmp_path / "__pycache__").write_text("a file where the folder should be: even root cannot write into it")
    nowhere = dict(HOME="/dev/null", XDG_CACHE_HOME="/dev/null", NUMBA_CACHE_DIR="")
    for _ in range(2):
        assert functions("import functions as f; print(f.twice(2))", **nowhere) == ("4\n", LINE)


def test_no_machine_code_outlives_the_source_of_what_it_calls(tmp_path):
    """Numba looks at the date of one file alone: the digest of all of them must do the rest."""
    package = tmp_path / "copied_kernels"
    shutil.copytree(ROOT / "kernels", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "user.py").write_text(
        "from copied_kernels.cpu_compile import compiled\nfrom copied_kernels.cpu_number import number\n\n\n"
        "@compiled\ndef f():\n    return number()\n"
    )
    for value, lines in ((1, LINE), (1, ""), (2, LINE), (2, ""), (1, "")):
        source = "from .cpu_compile import inlined\n\n\n@inlined\ndef number():\n    return {}\n"
        (package / "cpu_number.py").write_text(source.format(value))
        assert fresh_python("import user; print(user.f())", PYTHONPATH=str(tmp_path)) == (f"{value}\n", lines)


def test_with_what_was_kept_the_first_call_takes_a_moment_and_says_nothing():
    """Seconds of the processor, imports included; how long they take by the clock depends on who else is at work."""
    fresh_python(FIRST_LAYER)
    seconds, said = fresh_python(FIRST_LAYER)
    assert said == "" and float(seconds) < 2
