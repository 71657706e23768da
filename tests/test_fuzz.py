"""What the fuzzer starts from and what it has found, replayed, with a few blind changes. `make fuzz` looks longer."""

import fuzz.targets
import pytest
from fuzz.run import CORPUS
from fuzz.targets import TARGETS
from hypothesis import given
from hypothesis import strategies as st

FILES = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(CORPUS.glob("*/*"))}
every_target = pytest.mark.parametrize("target", list(TARGETS))
PIECES = [b"", b"\0", b"\n", b"\r", b"\"", b",", b"\t", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * 99,
          b"9" * 5000, b"\x7f\xff\xff\xff", b"\xff" * 8, b"{}", b"NaN", b"-1", b"1e999"]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_what_was_found_stays_mended(file):
    TARGETS[file.split("/")[0]](FILES[file])


def test_every_target_has_a_small_corpus():
    for target in TARGETS:
        sizes = [len(data) for file, data in FILES.items() if file.startswith(f"{target}/")]
        assert sizes and sum(sizes) < 12_000, target
    assert {file.split("/")[0] for file in FILES} == TARGETS.keys()


@st.composite
def changed(draw, target):
    """A file of the corpus, in a few places of which some bytes are others."""
    data = draw(st.sampled_from([data for file, data in FILES.items() if file.startswith(f"{target}/")]))
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        data = data[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=4)) + data[start + length :]
    return data


@every_target
@given(data=st.data())
def test_changed_files_are_read_or_refused(target, data):
    TARGETS[target](data.draw(changed(target)))


@pytest.mark.parametrize("fault", [
    lambda *_: [][0], lambda *_: None.x, lambda *_: int("x"), lambda *_: [("", "HUM", "HUM:x")],
])  # fmt: skip
def test_a_parser_that_fails_otherwise_is_a_finding(fault, monkeypatch):
    monkeypatch.setattr(fuzz.targets, "read_trec", fault)
    with pytest.raises((IndexError, AttributeError, ValueError, AssertionError)):
        TARGETS["trec"](b"HUM:x Who ?\n")
