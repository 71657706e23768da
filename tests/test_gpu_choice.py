"""Which kernel is the fastest on a GPU, by tables of made-up measurements (kernels/gpu_choice.py)."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_times import GPU

import minilstm_kernels
from minilstm_kernels import gpu_choice
from minilstm_kernels.gpu_choice import COLUMNS, choose

BATCHES, HIDDEN = (1, 16, 64, 128), (256, 512, 1150)
SIZES = list(product(BATCHES, HIDDEN))
NAMES = ("graph", "cupy", "cluster")
batches, hidden = st.integers(1, 128), st.integers(1, 1150)


def best(B, H, names=NAMES, T=10, gpu=GPU, precision="float32", mode="full"):
    return choose(gpu, precision, T, B, H, mode, names)


def around(B, H):
    """The measured sizes next to B and H, which is itself if it is one."""

    def nearest(sizes, size):
        above = min(s for s in sizes if s >= size)
        return {max((s for s in sizes if s <= size), default=above), above}

    return list(product(nearest(BATCHES, B), nearest(HIDDEN, H)))


# --- by the table


def test_the_committed_table_can_be_read_and_names_kernels_that_auto_can_take():
    known = {k.name for k in minilstm_kernels.IMPLEMENTATIONS if k.device == "cuda"}
    for cells in gpu_choice.read(gpu_choice.TABLE).values():
        assert all(times.keys() <= known for row in cells.values() for times in row.values())


def test_what_was_measured_to_be_the_fastest_is_taken_and_its_time_is_that_of_the_call(table):
    table({("graph", 64, 512): 2.5, ("cupy", 64, 512): 8.0, ("graph", 1, 512): 9.0, ("cupy", 1, 512): 8.25})
    assert best(64, 512) == ("graph", 25.0, 2.5, True)
    assert best(1, 512, T=100) == ("cupy", 825.0, 8.25, True)
    assert best(64, 512, names=("cupy",)) == ("cupy", 80.0, 8.0, True)


def test_of_two_that_are_as_fast_the_first_is_taken(table):
    table({(name, 64, H): 2.0 for name in NAMES for H in (256, 512)})
    for H, first in product((256, 300, 512), NAMES):
        assert best(64, H, names=(first, *NAMES)).kernel == first


@pytest.mark.parametrize("other", [
    {"gpu": "NVIDIA H100"}, {"precision": "tf32"}, {"mode": "inference"}, {"names": ("persistent",)}, {"names": ()},
])  # fmt: skip
def test_of_what_was_not_measured_it_says_nothing(other, table):
    table({("graph", 64, 512): 2.5})
    assert best(64, 512) and best(64, 512, **other) is None


@given(B=batches, H=st.integers(256, 1150), power=st.tuples(*[st.floats(-1, 2)] * 2))
def test_a_time_that_grows_as_powers_is_known_between_the_sizes(B, H, power):
    cells = {h: {b: {"graph": 3 * b ** power[0] * h ** power[1]} for b in BATCHES} for h in HIDDEN}
    assert gpu_choice._expected(cells, B, H)["graph"] == pytest.approx(3 * B ** power[0] * H ** power[1])


@given(B=batches, H=hidden, data=st.data())
def test_an_expected_time_lies_within_those_around(B, H, data):
    times = {size: data.draw(st.floats(0.1, 100)) for size in SIZES}
    cells = {h: {b: {"graph": times[b, h]} for b in BATCHES} for h in HIDDEN}
    corners = [times[size] for size in around(B, H)]
    found = gpu_choice._expected(cells, B, H)["graph"]
    assert min(corners) * (1 - 1e-9) <= found <= max(corners) * (1 + 1e-9)
    assert (B, H) not in times or found == times[B, H]


def test_beyond_the_sizes_it_goes_as_far_as_there_is_a_bound(table):
    table({("graph", B, H): B * H / 1000 for B in (16, 64) for H in (256, 512)})
    assert best(1, 256) == best(16, 1) == best(0, 9) == ("graph", 40.96, 4.096, False)
    assert best(100, 512) == ("graph", 512.0, 51.2, False) and best(128, 400).step == pytest.approx(51.2)
    assert best(129, 512) is best(64, 513) is best(16, 1000) is None


def test_where_not_all_sizes_are_measured_the_nearest_of_each_h_count(table):
    table({("graph", 16, 512): 2.0, ("graph", 64, 512): 4.0, ("graph", 64, 256): 3.0})
    assert best(16, 256).step == 3.0 and best(32, 512).step == pytest.approx(8**0.5)
    assert best(128, 256).step == 6.0
    assert best(32, 362).step == pytest.approx((3 * 8**0.5) ** 0.5, rel=1e-3)


@given(B=batches, H=hidden, missing=st.sampled_from(SIZES))
def test_a_kernel_that_lacks_a_size_is_taken_only_where_that_is_not_needed(B, H, missing):
    """It would be the fastest everywhere."""
    cells = {h: {b: {"cupy": 5.0, "cluster": 1.0} for b in BATCHES} for h in HIDDEN}
    del cells[missing[1]][missing[0]]["cluster"]
    assert ("cluster" in gpu_choice._expected(cells, B, H)) == (missing not in around(B, H))


@given(B=batches, H=hidden, largest=st.sampled_from(HIDDEN[:-1]))
def test_no_kernel_is_taken_above_the_largest_h_that_it_was_measured_at(B, H, largest):
    cells = {h: {b: {"cupy": 5.0} | ({"cluster": 1.0} if h <= largest else {}) for b in BATCHES} for h in HIDDEN}
    assert ("cluster" in gpu_choice._expected(cells, B, H)) == (H <= largest)


# --- the file


HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize("text, said", [
    ("", "line 1: expected the columns gpu, kernel"),
    ("gpu,kernel\n", "line 1: expected the columns gpu, kernel"),
    (f"{HEADER}\nA,graph,float32,full,64,512,2.5\n", "line 2: expected gpu.*, got 'A,graph,float32,full,64,512,2.5'"),
    (f"{HEADER}\nA,graph,float32,full,1,2,2.5,c\nA,graph,float32,full,64,H,2.5,c\n", "line 3: .*; run python bench"),
    (f"{HEADER}\nA,graph,float32,full,0,512,2.5,c\n", "line 2"), (f"{HEADER}\n,graph,float32,full,1,1,1,c\n", "line 2"),
    (f"{HEADER}\nA,graph,float32,full,64,512,-1,c\n", "line 2"), (f"{HEADER}\nA,,float32,full,1,1,1,c\n", "line 2"),
    (f"{HEADER}\nA,graph,float32,full,64,512,nan,c\n", "line 2"), (f"{HEADER}\nA,graph,,full,1,1,1,c\n", "line 2"),
    (f"{HEADER}\nA,graph,float32,both,64,512,2.5,c\n", "line 2"),
])  # fmt: skip
def test_a_damaged_table_is_refused_with_the_line(text, said, tmp_path):
    path = tmp_path / "times.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"times.csv, {said}"):
        gpu_choice.read(path)


def test_a_table_that_is_empty_or_missing_says_nothing(tmp_path, table, monkeypatch):
    table({})
    assert best(64, 512) is None
    monkeypatch.setattr(gpu_choice, "TABLE", tmp_path / "none.csv")
    assert best(64, 512) is None
