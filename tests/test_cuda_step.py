"""lstm_step.cu and what makes a graph of it, cupy_graph.py, executed on the CPU from the same text: every version of
the ladder for every type, and that a graph is kept and finds the arrays of every call. (What all such kernels promise:
test_cuda_recurrences.py.)"""

import gc
import threading

import cuda_on_cpu
import numpy as np
import pytest
from cupy_on_cpu import Graph, Stream, no_waiting
from cupy_problems import arranged, moved, problem, run
from hypothesis import given
from hypothesis import strategies as st
from problems import same_bits
from step_on_cpu import (
    CODE,
    DIRECTIONS,
    NAMES,
    RUNGS,
    RUNGS_FOR_BUGS,
    check_all,
    check_backward,
    check_forward,
    check_publish,
)

import minilstm_kernels

pytestmark = cuda_on_cpu.needs_gxx
every_rung = pytest.mark.parametrize("rung", RUNGS, ids=lambda r: f"{r.version}-{r.storage.name}-{r.V}-{r.rows}")
FLOATS = [rung for rung in RUNGS if rung.storage.name == "float"]


@pytest.fixture(scope="module")
def kernels():
    """A function: the name of a kernel -> the kernel"""
    return cuda_on_cpu.RawModule(code=CODE, name_expressions=NAMES).get_function


@pytest.fixture(scope="module")
def graph(cupy):
    return minilstm_kernels.load("graph")


# --- the kernels ------------------------------------------------------------------------------------------------------


@every_rung
def test_a_step_is_that_of_the_reference(kernels, rung):
    check_all(kernels, [rung])


@pytest.mark.parametrize("rung", FLOATS, ids=lambda r: f"{r.version}-{r.V}-{r.rows}")
@given(data=st.data())
def test_a_step_of_any_size(kernels, rung, data):
    """With several blocks each way, and slices that end anywhere."""
    B = data.draw(st.integers(1, 3 if rung.rows == 1 else 20))
    H = rung.V * data.draw(st.integers(1, 40 // rung.V))
    t, seed = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 999))
    rows, T = data.draw(st.sampled_from([2, t + 2])), data.draw(st.integers(t or 1, 4))
    check_forward(kernels(rung.name("forward")), rung, B, H, t=t, rows=rows, seed=seed)
    check_backward(kernels(rung.name("backward")), rung, B, H, t=t - 1, T=T, seed=seed)


@pytest.mark.parametrize("rung", [r for r in FLOATS if r.version == 2], ids=lambda r: f"{r.V}-{r.rows}")
def test_of_slices_there_may_be_many_and_of_blocks(kernels, rung):
    """Three slices of h, or of the gates; and rows that do not fill the second block."""
    B = rung.rows + 1 if rung.rows > 1 else 2
    check_forward(kernels(rung.name("forward")), rung, B, {16: 260, 32: 132}.get(rung.rows, 68))
    check_backward(kernels(rung.name("backward")), rung, B, 68)


def test_the_order_of_the_threads_changes_no_bit(kernels):
    """Between two barriers they may run in any."""
    for rung in FLOATS:
        for direction, check in zip(DIRECTIONS, (check_forward, check_backward), strict=True):
            kernel = kernels(rung.name(direction))

            def descending(*how, kernel=kernel):
                kernel(*how, descending=True)

            up, down = (dict(enumerate(check(k, rung, 5, 36))) for k in (kernel, descending))
            same_bits(up, down)


def test_what_is_kept_changes_no_bit(kernels):
    for rung in FLOATS:
        forward = kernels(rung.name("forward"))
        kept, lean = (dict(enumerate(check_forward(forward, rung, 4, 48, keep=keep))) for keep in (True, False))
        same_bits(kept, lean)


def test_the_table_gets_its_addresses(kernels):
    check_publish(kernels("publish"))


# Of the four, what ThreadSanitizer is to see puts a slice where another one was, and takes a thread for every thread.
@pytest.mark.parametrize(
    "sanitizer, which, size", [("address,undefined", (0, 1, 2, 3), (18, 12)), ("thread", (0, 3), (2, 68))]
)
def test_no_sanitizer_has_a_complaint(sanitizer, which, size):
    """Reads and writes beside an array, misaligned ones, overflows; and races."""
    rungs = [RUNGS_FOR_BUGS[k][0] for k in which]
    names = ["publish", *(rung.name(direction) for direction in DIRECTIONS for rung in rungs)]
    kernels = cuda_on_cpu.RawModule(code=CODE, name_expressions=names).get_function
    with cuda_on_cpu.recording() as launches:
        check_publish(kernels("publish"))
        for rung in rungs:
            check_forward(kernels(rung.name("forward")), rung, *size)
            check_backward(kernels(rung.name("backward")), rung, *size)
    assert {launch.name for launch in launches} == set(names)
    done = cuda_on_cpu.replay(launches, sanitizer)
    assert done.returncode == 0 and b"runtime error" not in done.stderr, done.stderr.decode()[-4000:]


def test_a_sanitizer_sees_the_arrays_of_a_table():
    """One of them a number too short."""
    rung = FLOATS[0]
    kernels = cuda_on_cpu.RawModule(code=CODE, name_expressions=[rung.name("forward")]).get_function
    with cuda_on_cpu.recording() as launches:
        check_forward(kernels(rung.name("forward")), rung, 3, 20)
    (launch,) = launches
    assert [k for _, k, _ in launch.pointed] == list(range(7))
    for k in range(7):
        short = [(i, n, a.reshape(-1)[:-1] if n == k else a) for i, n, a in launch.pointed]
        done = cuda_on_cpu.replay([launch._replace(pointed=short)], "address,undefined")
        assert b"heap-buffer-overflow" in done.stderr, k


# --- the recurrence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("B, H", [(4, 12), (1, 34), (20, 16), (3, 7)])
def test_both_versions_of_the_ladder_can_be_asked_for(cupy, graph, B, H):
    """Where H is odd the second one is the first. They add up in another order: a few roundings apart."""
    ins, d = problem(cupy, 3, B, H, np.float64)
    with cuda_on_cpu.recording() as launches:
        first, second = (run(graph, ins, d, version=version) for version in (1, 2))
    names = [launch.name.split("<")[0] for launch in launches]
    assert set(names) == {"publish", *(f"step_{d}_{v}" for d in DIRECTIONS for v in (1, 2 - H % 2))}
    assert names.count("publish") == 4 and len(names) == 4 + 2 * (3 + 4)
    for name, a in first.items():
        np.testing.assert_allclose(second[name], a, rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_it_is_the_step_by_step_recurrence(cupy, graph, dtype):
    """cupy_gates.py; but in 16 bits the product is not rounded before the gates are computed."""
    ins, d = problem(cupy, 6, 4, 16, dtype)
    lengths = np.array([6, 0, 3, 1])
    ours, theirs = (run(k, ins, d, lengths) for k in (graph, minilstm_kernels.load("cupy")))
    for name, a in ours.items():
        assert a.dtype == theirs[name].dtype and a.shape == theirs[name].shape
        bound = 16 * np.finfo(dtype).eps * max(1, abs(theirs[name]).max())
        np.testing.assert_allclose(a.astype(float), theirs[name].astype(float), rtol=0, atol=bound, err_msg=name)


def published(launches):
    """The addresses that calls had, each with the number of the array in its table."""
    return [dict(enumerate(map(int, launch.args[1:]))) for launch in launches if launch.name == "publish"]


def test_what_is_not_there_is_a_null_pointer(cupy, graph):
    ins, d = problem(cupy)
    with cuda_on_cpu.recording() as launches:
        saved = graph.forward(*ins.values())[3]
        graph.forward(*ins.values(), need_cache=False)
        graph.backward(*d.values(), saved, ins["weight_hh"])
        graph.backward(None, None, None, saved, ins["weight_hh"])
    kept, lean, given, nothing = ({k for k, a in table.items() if a} for table in published(launches))
    assert (kept, lean) == (set(range(7)), set(range(6))) and (given, nothing) == (set(range(9)), set(range(1, 9)))


def test_the_weights_of_a_table_begin_at_a_multiple_of_16(cupy, graph):
    for arrangement in (moved, cupy.asfortranarray):
        with cuda_on_cpu.recording() as launches:
            run(graph, *arranged(arrangement, *problem(cupy)))
        forward, backward = published(launches)
        assert forward[1] % 16 == backward[2] % 16 == 0


# --- which kernel -----------------------------------------------------------------------------------------------------


@given(B=st.integers(1, 300), H=st.integers(1, 2000), dtype=st.sampled_from([np.float16, np.float32, np.float64]))
def test_a_plan_is_a_kernel_that_takes_these_sizes(graph, B, H, dtype):
    itemsize = np.dtype(dtype).itemsize
    for direction, units in (("forward", 4), ("backward", 1)):
        assert graph.plan(direction, 1, B, H, np.dtype(dtype))[0].startswith(f"step_{direction}_1<")
        name, grid, block = graph.plan(direction, 2, B, H, np.dtype(dtype))
        assert name in NAMES
        if H % 2:
            assert name.startswith(f"step_{direction}_1<") and grid == (-(-H // 16), -(-B // 16)) and block == (16, 16)
            continue
        V, rows = map(int, name.rstrip(">").split(",")[1:])
        columns = max(16, rows)
        assert block == (256,) and H % V == 0 and V * itemsize <= 16
        assert (grid[0] - 1) * columns < units * H <= grid[0] * columns and (grid[1] - 1) * rows < B <= grid[1] * rows


@pytest.mark.parametrize("B, H, forward, backward", [
    (1, 1150, "2, 1", "2, 1"), (16, 256, "4, 16", "4, 16"), (16, 1152, "4, 16", "4, 16"), (64, 512, "4, 32", "4, 16"),
    (64, 1150, "2, 32", "2, 16"), (128, 1152, "4, 64", "4, 32"), (200, 6, "2, 16", "2, 16"),
    (40, 1600, "4, 64", "4, 32"), (32, 1600, "4, 32", "4, 16"),
])  # fmt: skip
def test_blocks_are_as_large_as_leaves_enough_of_them(graph, B, H, forward, backward):
    for direction, numbers in zip(DIRECTIONS, (forward, backward), strict=True):
        assert graph.plan(direction, 2, B, H, np.dtype(np.float32))[0] == f"step_{direction}_2<float, {numbers}>"


def test_more_weights_than_an_int_counts_are_left_to_version_1(graph):
    assert graph.plan("forward", 2, 1, 23_168, np.dtype(np.float16))[0] == "step_forward_2<__half, 4, 1>"
    assert graph.plan("forward", 2, 1, 23_172, np.dtype(np.float16))[0] == "step_forward_1<__half>"


# --- graphs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def captures(graph):
    """A function -> the graphs that were made since the test began"""
    graph._captured.cache_clear()
    return lambda: graph._captured.cache_info().misses


def test_a_graph_is_made_once_and_finds_the_arrays_of_every_call(cupy, graph, captures):
    problems = [problem(cupy, seed=seed) for seed in range(4)]
    apart = []
    for ins, d in problems:
        graph._captured.cache_clear()
        apart.append(run(graph, ins, d))
    graph._captured.cache_clear()
    with cuda_on_cpu.recording() as launches:
        together = [run(graph, ins, d) for ins, d in problems]
    assert captures() == 2 and len(launches) == 4 * (1 + 5 + 1 + 6)
    for a, b in zip(apart, together, strict=True):
        same_bits(a, b)


def test_every_call_that_is_another_has_a_graph_of_its_own(cupy, graph, captures):
    def forward(T=3, B=4, H=12, dtype=np.float32, **options):
        ins, d = problem(cupy, T, B, H, dtype)
        graph.forward(*ins.values(), **options)

    calls = [{}, {"T": 4}, {"B": 5}, {"H": 16}, {"dtype": np.float64}, {"version": 1}, {"need_cache": False}]
    for k, call in enumerate(calls):
        forward(**call)
        forward(**call, lengths=np.zeros(call.get("B", 4), int))
        assert captures() == k + 1
    with Stream():
        forward()
    thread = threading.Thread(target=forward)
    thread.start()
    thread.join()
    assert captures() == len(calls) + 2


def test_of_many_graphs_the_oldest_is_forgotten(cupy, graph, captures):
    assert graph._captured.cache_info().maxsize == graph.KEPT >= 64    # texts come in many lengths


def test_backward_runs_when_it_likes(cupy, graph):
    """Two forwards before their backwards, which come in the order of a stack, or in that of a queue."""
    (ins, d), (ins_2, d_2) = problem(cupy), problem(cupy, seed=1)
    expected = [run(graph, *p)["dgates"] for p in ((ins, d), (ins_2, d_2))]
    for order in ((0, 1), (1, 0)):
        saved = [graph.forward(*i.values())[3] for i in (ins, ins_2)]
        for k in order:
            i, g = ((ins, d), (ins_2, d_2))[k]
            assert (graph.backward(*g.values(), saved[k], i["weight_hh"])[0].get() == expected[k]).all()


def test_the_host_never_waits(cupy, graph):
    ins, d = problem(cupy)
    with no_waiting():
        for _ in range(2):
            saved = graph.forward(*ins.values(), np.array([5, 0, 3, 1]))[3]
            graph.backward(*d.values(), saved, ins["weight_hh"])


# --- the stand-in -----------------------------------------------------------------------------------------------------


ADD = "__global__ void add(float* x, float y) { x[threadIdx.x] += y; }"


def test_the_stand_in_captures_launches_alone(cupy):
    x, module = cupy.zeros(4, np.float32), cupy.RawModule(code=ADD, name_expressions=("add",))
    add = module.get_function("add")
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cupy.cuda.get_current_stream().begin_capture()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        for what in (lambda: cupy.empty(3), lambda: x + 1, lambda: cupy.dot(x, x), lambda: module.get_function("add")):
            with pytest.raises(RuntimeError, match="no part of a graph"):
                what()
        add((1,), (4,), (x, np.float32(2)))
        graph = stream.end_capture()
    assert isinstance(graph, Graph) and (x.get() == 0).all()
    x[1] = 5
    graph.launch()
    graph.launch()
    assert (x.get() == [4, 9, 4, 4]).all()


def test_the_stand_in_keeps_no_memory_for_a_graph(cupy):
    add = cupy.RawModule(code=ADD, name_expressions=("add",)).get_function("add")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        add((1,), (4,), (np.zeros(4, np.float32), np.float32(2)))
        graph = stream.end_capture()
    gc.collect()
    with pytest.raises(AssertionError, match="memory that has been freed"):
        graph.launch()
