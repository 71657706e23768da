"""The same comparisons with PyTorch as it is installed here, with other numbers and in both precisions."""

import numpy as np
import pytest
from make_golden import CASES, GOLDEN, make
from parity import CHECKS, tolerance

torch = pytest.importorskip("torch", reason="torch is not installed; test_golden.py compares with its numbers")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_the_numbers_are_pytorchs(case, dtype, seed):
    CHECKS[case](make(case, seed=seed, dtype=dtype))


@pytest.mark.parametrize("case", CASES)
def test_the_golden_files_are_what_the_script_makes(case):
    with np.load(GOLDEN / f"{case}.npz", allow_pickle=False) as golden:
        made = make(case, seed=1)
        assert made.keys() == golden.keys()
        for name, a in made.items():
            np.testing.assert_allclose(golden[name], a, rtol=0, atol=tolerance(np.float64) * max(1, abs(a).max()))
