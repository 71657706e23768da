"""Files of strangers execute nothing, write nothing but where they may, take no memory, and get one clear line."""

import pytest
from malicious import CASES, attack


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
def test_a_malicious_file_does_no_harm(case, tmp_path):
    assert attack(case, tmp_path).faults == []


def test_there_are_as_many_as_were_promised_and_each_has_a_name_of_its_own():
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES) >= 40
