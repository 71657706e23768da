"""PyTorch's numbers from files, so that they are compared on every machine. `make_golden.py` made them."""

import numpy as np
import pytest
from make_golden import CASES, GOLDEN
from parity import CHECKS


@pytest.mark.parametrize("case", CHECKS)
def test_the_numbers_are_pytorchs(case):
    with np.load(GOLDEN / f"{case}.npz", allow_pickle=False) as arrays:
        CHECKS[case](dict(arrays))


@pytest.mark.parametrize("case", CHECKS)
def test_the_comparison_can_fail(case):
    """Any result of PyTorch, changed by a thousandth, is found to differ."""
    with np.load(GOLDEN / f"{case}.npz", allow_pickle=False) as file:
        arrays = dict(file)
    for name, a in arrays.items():
        if name.startswith(("out", "grad")):
            with pytest.raises(AssertionError, match=name.split("/")[1]):
                CHECKS[case](arrays | {name: a * 1.001 + 1e-6})


def test_every_case_has_its_file_its_check_and_little_weight():
    assert CASES.keys() == CHECKS.keys() == {path.stem for path in GOLDEN.glob("*.npz")}
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 100_000
