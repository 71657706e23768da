"""How many examples hypothesis draws (a few, or with --hypothesis-profile=ci many, and the same ones every time), and
a tiny trained run that tests of the command line share."""

import cli_helpers
import pytest
from hypothesis import settings

settings.register_profile("few", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
settings.load_profile("few")


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
