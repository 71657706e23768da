"""How a sequence is cut into pieces: the estimate against hand and against all ways through the cells, the room that a
layer leaves against the plans of the kernels themselves."""

from itertools import combinations, product

import cuda_on_cpu
import numpy as np
import pytest
from cupy_on_cpu import in_place_of_cupy
from hypothesis import given
from hypothesis import strategies as st

import minilstm_kernels
from minilstm_kernels import cluster_plan, persistent_plan
from minilstm_kernels.wavefront_plan import GAIN, Rates, beside, choose, makespan

H100 = cluster_plan.Device(132, 227 * 1024)
SIZES = list(product((1, 16, 32, 64, 128), (256, 300, 400, 512, 650)))
few, seconds = st.integers(1, 4), st.floats(0, 10)
grids = few.flatmap(lambda n_pieces: st.lists(st.lists(seconds, min_size=n_pieces, max_size=n_pieces), min_size=1,
                                              max_size=4))  # fmt: skip


# --- the estimate


@given(times=grids)
def test_with_room_for_all_it_is_the_longest_way_through_the_cells(times):
    """Every way from the first cell to the last goes up and to the right: all of them, added up one by one."""
    n_layers, n_pieces = len(times), len(times[0])
    ways = []
    for ups in combinations(range(n_layers + n_pieces - 2), n_layers - 1):
        n = p = 0
        way = times[0][0]
        for step in range(n_layers + n_pieces - 2):
            n, p = (n + 1, p) if step in ups else (n, p + 1)
            way += times[n][p]
        ways.append(way)
    assert makespan(times) == pytest.approx(max(ways))


@given(n_layers=few, n_pieces=few, cell=seconds)
def test_cells_that_take_the_same_time_go_by_diagonals(n_layers, n_pieces, cell):
    assert makespan([[cell] * n_pieces] * n_layers) == pytest.approx((n_pieces + n_layers - 1) * cell)


@given(times=grids)
def test_with_room_for_one_it_is_the_sum(times):
    assert makespan(times, room=1) == pytest.approx(sum(map(sum, times)))


@given(times=grids, host=seconds, room=st.integers(1, 4))
def test_neither_the_host_nor_room_makes_it_shorter_than_it_can_be(times, host, room):
    """The host has ordered all, and then there is the last one; a place does one cell at a time."""
    n_cells, total = len(times) * len(times[0]), sum(map(sum, times))
    found, shortest = makespan(times, host, room), max(n_cells * host + times[-1][-1], total / room, makespan(times))
    assert shortest <= found * (1 + 1e-9) and found <= n_cells * host + total + 1e-9


def test_two_layers_by_hand():
    """
    host      |-0-|-1-|-2-|-3-|
    layer 0       [0,0   ][0,1   ]                [0,0] is ordered at 1 and ends at 4; [1,0] could begin at 4, and so
    layer 1               [1,0 ]  [1,1 ]          could [0,1]; [1,1] has to wait for [0,1] until 7
    """
    assert makespan([[3, 3], [2, 2]], host=1) == 9
    assert makespan([[3, 3], [2, 2]], host=1, room=1) == 11
    assert makespan([[3, 3], [2, 2]], host=5) == 4 * 5 + 2


# --- the room


@pytest.mark.parametrize("B, H", SIZES)
def test_clusters_have_the_room_that_their_plan_says(B, H):
    """As far as a layer leaves any."""
    said, real = beside("cluster", B, H, 132), []
    for direction in ("forward", "backward"):
        (blocks,), _ = cluster_plan.plan(direction, 2, B, H, "bfloat16", H100).grid(B)
        real.append(132 // blocks)
    assert said == min(real) or max(said, *real) < 2 or (H == 300 and said == min(real) // 2)


@pytest.mark.parametrize("B, H", [(16, 256), (16, 512), (64, 512), (128, 256)])
def test_a_persistent_kernel_leaves_no_room(B, H):
    how = persistent_plan.plan("forward", 2, B, H, "bfloat16", H100)
    assert 2 * how.groups * how.blocks > 132 and beside("persistent", B, H, 132) == 1


@cuda_on_cpu.needs_gxx
@pytest.mark.parametrize("B, H", SIZES + [(64, 1150), (128, 1150)])
def test_a_graph_has_the_room_that_its_grid_says(B, H):
    with in_place_of_cupy():
        _, grid, _ = minilstm_kernels.load("graph").plan("forward", 2, B, H, np.dtype(np.float32))
    assert beside("graph", B, H, 132) == 2 * 132 // np.prod(grid)


# --- the choice


@given(
    layers=st.integers(2, 4), T=st.integers(1, 200), B=st.integers(0, 128), H=st.integers(1, 1200),
    kernel=st.sampled_from(["graph", "cluster", "persistent", "cupy", "reference"]),
    multiprocessors=st.sampled_from([20, 58, 132]),
)  # fmt: skip
def test_pieces_are_chosen_where_the_estimate_is_a_tenth_better(layers, T, B, H, kernel, multiprocessors):
    pieces, reason = choose(layers, T, B, H, kernel, multiprocessors)
    room, rates = beside(kernel, B, H, multiprocessors), Rates()
    if kernel in ("cupy", "reference", "persistent") or room < 2:
        assert pieces == 1 and "one layer after the other" in reason
        return
    step = dict(rates.steps)[kernel]
    found = {
        n: makespan([[step * T / n + rates.cell] * n] * layers, rates.host, room) for n in range(1, min(T, 16) + 1)
    }
    assert "not measured" in reason and pieces <= T
    if pieces > 1:
        assert found[pieces] == min(found.values()) <= GAIN * found[1]
    else:
        assert min(found.values()) > GAIN * found[1]


def test_a_slow_host_is_not_given_more_to_do():
    """Three layers of 70 steps of a graph, with 16 rows of 256: by the estimate in 3 pieces, and 2/3 of the time"""
    assert choose(3, 70, 16, 256, "graph", 132).pieces == 3
    assert choose(3, 70, 16, 256, "graph", 132, Rates(host=1e-6, cell=1e-6)).pieces == 16
    assert choose(3, 70, 16, 256, "graph", 132, Rates(host=1e-3)).pieces == 1
    assert choose(3, 70, 16, 256, "cluster", 132).pieces == 1 and choose(3, 700, 16, 256, "cluster", 132).pieces > 1
