"""Which kernel "auto" takes for CuPy arrays, by made-up measurements and by its rule without; and that a call takes it.
On the stand-in for CuPy."""

import numpy as np
import pytest
from cuda_on_cpu import needs_gxx
from made_up_times import GPU

import minilstm_kernels
from minilstm import LSTM, LSTMStack, arrays, lstm, recurrence, wavefront
from minilstm.recurrence import plan_recurrence
from minilstm_kernels import gpu_choice, persistent_plan
from ulmfit.provenance import versions

# --- room


ON_CHIP = ("cluster", "persistent")
SIZES = [(64, 256), (64, 257), (16, 512), (16, 513), (8, 704), (8, 705), (1, 1150), (128, 1150), (16, 1700), (1, 2000)]


@pytest.mark.parametrize("B, H", SIZES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ON_CHIP)
def test_there_is_room_where_a_call_finds_it(name, dtype, B, H, cupy, monkeypatch):
    """Forward alone, and with backward; nothing is launched."""
    kernel = minilstm_kernels.load(name)
    for what in ("launch", "_check_that_all_fit"):
        monkeypatch.setattr(kernel, what, lambda *args, **options: None, raising=False)
    zeros = {n: cupy.zeros(shape, dtype) for n, shape in {"x": (1, B, 4 * H), "w": (4 * H, H), "h": (B, H)}.items()}
    c = zeros["h"].astype(np.promote_types(dtype, np.float32))

    def call(need_cache):
        saved = kernel.forward(zeros["x"], zeros["w"], zeros["h"], c, need_cache=need_cache)[3]
        if need_cache:
            kernel.backward(None, zeros["h"], c, saved, zeros["w"])

    assert kernel.no_room(0, 64, dtype) is None
    for need_cache in (False, True):
        if kernel.no_room(B, H, dtype, need_cache) is None:
            call(need_cache)
        else:
            with pytest.raises(ValueError, match="take another kernel"):
                call(need_cache)


def test_another_version_or_gpu_may_have_less_room(cupy, monkeypatch):
    cluster, persistent = map(minilstm_kernels.load, ON_CHIP)
    assert cluster.no_room(16, 704, "float16") is None and "H = 704" in cluster.no_room(16, 704, "float16", version=1)
    assert persistent.no_room(16, 1700, "float16") is None and persistent.no_room(16, 1700, "float16", version=1)
    with monkeypatch.context() as m:
        m.setattr(persistent, "_capability", lambda number: (7, 5))  # without tensor cores it is version 1
        assert persistent.no_room(16, 1700, "float16")
        for version in persistent.VERSIONS.values():
            assert "this GPU has 7.5" in persistent.no_room(1, 8, "float32", version=version)
    assert persistent.no_room(1, 8, "float32", version=3) is None
    assert persistent.no_room(16, 900, "float16") is None
    monkeypatch.setattr(persistent, "_device", lambda number: persistent_plan.Device(20, 64 * 1024))
    assert "more than 20 multiprocessors" in persistent.no_room(16, 900, "float16")


# --- plans


def plan(cupy, B=64, H=512, kernel="auto", T=10, dtype=np.float32, **options):
    return plan_recurrence(kernel, cupy.zeros((T, B, 2), dtype), H=H, **options)


def test_auto_takes_the_fastest_on_this_gpu_and_says_how_long_it_is_expected_to_take(cupy, table):
    table({("cupy", 64, 512): 2.125, ("graph", 64, 512): 4.0, ("cupy", 64, 256): 2.0, ("graph", 64, 256): 1.0})
    assert plan(cupy) == ("cupy", "auto: the fastest measured on Stand-in (2.12 us a step)", 21.25)
    assert plan(cupy, H=256, T=70) == ("graph", "auto: the fastest measured on Stand-in (1 us a step)", 70.0)
    assert plan(cupy, H=100).reason == "auto: by the nearest measurements the fastest on Stand-in (1 us a step)"
    assert plan(cupy, kernel="graph") == ("graph", "asked for by name", 40.0)


def test_precision_and_mode_have_times_of_their_own(cupy, table):
    size = (64, 512)
    table({("cupy", *size, "bfloat16", "full"): 1.0, ("graph", *size, "bfloat16", "full"): 2.0,
           ("cupy", *size, "float32", "inference"): 3.0, ("graph", *size): 4.0, ("cupy", *size): 5.0})  # fmt: skip
    assert plan(cupy)[::2] == ("graph", 40.0) and plan(cupy, need_cache=False)[::2] == ("cupy", 30.0)
    pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes")
    assert plan(cupy, precision="bfloat16")[::2] == ("cupy", 10.0)
    for other in ({"precision": "float16"}, {"dtype": np.float64}, {"precision": "bfloat16", "need_cache": False}):
        assert plan(cupy, **other)[::2] == ("graph", None), other


@pytest.mark.parametrize("times, gpu", [({}, GPU), ({("cupy", 64, 512): 1.0}, "NVIDIA H200"),
                                        ({("cupy", 64, 256): 1.0}, GPU), ({("cupy", 16, 512): 1.0}, GPU)])  # fmt: skip
def test_where_nothing_was_measured_the_order_of_preference_decides(times, gpu, cupy, table):
    table(times, gpu)
    found = plan(cupy)
    assert found.kernel == "graph" and found.microseconds is None
    assert found.reason.startswith("auto: not measured on Stand-in at this size; the first that runs here (CUDA C++: a")


def test_without_h_the_table_is_not_asked(cupy, table):
    table({("cupy", 64, 512): 1.0})
    assert plan(cupy)[0] == "cupy" and plan(cupy, H=None)[::2] == ("graph", None)


def test_arrays_of_the_cpu_go_by_the_order(table):
    table({("cpu-gates", 64, 512): 1.0, ("cupy", 64, 512): 1.0})
    found = LSTM(2, 512, rng=np.random.default_rng(0)).plan(np.zeros((10, 64, 2), np.float32))
    assert found.microseconds is None and found.reason.startswith("auto: ") and found.kernel != "cpu-gates"


def test_a_kernel_without_room_is_out_whatever_the_table_says(cupy, table):
    """512 in float32 is as much as clusters have room for; with this table the sizes around were measured."""
    table({("cluster", 64, H): 1.0 for H in (512, 1150)} | {("cupy", 64, H): 2.0 for H in (512, 1150)})
    assert plan(cupy)[::2] == ("cluster", 10.0)
    assert plan(cupy, H=513)[::2] == plan(cupy, H=1150)[::2] == ("cupy", 20.0)


def only(monkeypatch, *names):
    """As if these were the kernels there are, in this order."""
    known = {k.name: k for k in minilstm_kernels.IMPLEMENTATIONS}
    monkeypatch.setattr(minilstm_kernels, "IMPLEMENTATIONS", tuple(known[name] for name in names))


def test_the_rule_passes_over_those_without_room(cupy, monkeypatch, table):
    table({})
    only(monkeypatch, "cluster", "persistent", "cupy")
    kernels = [plan(cupy, H=H).kernel for H in (512, 600, 1150, 4000)]
    assert kernels == ["cluster", "persistent", "persistent", "cupy"]


def test_a_precision_that_nobody_with_room_offers_is_an_error_that_says_so(cupy, monkeypatch):
    only(monkeypatch, "cluster", "persistent")
    with pytest.raises(RuntimeError, match="precision 'float16': no kernel .* offers it; cluster: .*H = 4000.*; pers"):
        plan(cupy, H=4000, precision="float16")


def test_a_kernel_that_cannot_be_loaded_is_passed_over(cupy, monkeypatch, table):
    table({("cupy", 64, 512): 1.0, ("cluster", 64, 512): 2.0})
    right = minilstm_kernels._broken
    monkeypatch.setattr(minilstm_kernels, "_broken", lambda k: "no such driver" if k.name == "cupy" else right(k))
    assert plan(cupy)[::2] == ("cluster", 20.0)


def test_a_damaged_table_stops_a_call_on_a_gpu_and_no_other(cupy, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_choice, "TABLE", tmp_path / "times.csv")
    gpu_choice.TABLE.write_text("gpu\n")
    with pytest.raises(ValueError, match="times.csv, line 1: expected the columns"):
        plan(cupy)
    assert plan_recurrence("auto", np.zeros((1, 1, 1), np.float32), H=1).kernel


def test_the_device_is_asked_for_its_name_once(cupy, monkeypatch, table):
    table({("cupy", 64, 512): 1.0})
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 3)  # a device that nobody has asked yet
    asked = []
    properties = cupy.cuda.runtime.getDeviceProperties
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceProperties", lambda n: asked.append(n) or properties(n))
    for _ in range(3):
        plan(cupy), arrays.multiprocessors()
    assert asked == [3]


# --- what runs is what was planned


@pytest.fixture
def taken(monkeypatch):
    """The names of the kernels that calls have taken, in order"""
    names = []

    def get_recurrence(name, precision):
        names.append(name)
        return recurrence.get_recurrence(name, precision)

    monkeypatch.setattr(lstm, "get_recurrence", get_recurrence)
    return names


FASTEST = {("cupy", 3, 4): 1.0, ("graph", 3, 4): 2.0, ("cupy", 3, 8): 2.0, ("graph", 3, 8): 1.0} | {
    ("graph", 3, H, "float32", "inference"): 1.0 for H in (4, 8)
}  # fmt: skip


@needs_gxx
@pytest.mark.parametrize("n_pieces", [None, 3])
def test_a_call_takes_the_kernel_that_was_planned(n_pieces, cupy, table, taken):
    """Each layer its own; with pieces of the sequence, at every piece."""
    table(FASTEST)
    made = LSTMStack(2, [4, 8, 3], rng=np.random.default_rng(0), wavefront=n_pieces)
    for layer in made.layers:
        layer.params = {name: cupy.asarray(p) for name, p in layer.params.items()}
    x = cupy.zeros((5, 3, 2), np.float32)
    for need_cache, kernels in ((True, ["cupy", "graph", "cupy"]), (False, ["graph"] * 3)):
        plans = made.plan(x, need_cache=need_cache)
        assert [p.kernel for p in plans] == kernels and [p.microseconds for p in plans] == [5.0] * 3
        taken.clear()
        made.forward(x, need_cache=need_cache)
        assert taken == [kernels[n] for n, _ in wavefront.cells(3, n_pieces or 1)]


def test_how_layers_go_depends_on_the_kernel_of_the_largest(cupy, table):
    """The rates of wavefront_plan.py: 3 pieces for `graph`, while the host orders every step of `cupy`."""
    table({(name, 16, H): 1.0 + (name != fast) for H, fast in ((128, "cupy"), (256, "graph"))
           for name in ("cupy", "graph")} | {("cupy", 16, 256, "float32", "inference"): 1.0})  # fmt: skip
    made = LSTMStack(3, [128, 256, 128], rng=np.random.default_rng(0), wavefront="auto")
    x = cupy.zeros((70, 16, 3), np.float32)
    assert [p.kernel for p in made.plan(x)] == ["cupy", "graph", "cupy"]
    assert wavefront.choose("auto", made.layers, x) == minilstm_kernels.choose_wavefront(3, 70, 16, 256, "graph", 132)
    assert wavefront.choose("auto", made.layers, x, need_cache=False)[0] == 1


def test_what_a_run_came_from_says_by_size_where_sizes_decide(cupy, table):
    table({})
    assert versions("cuda")["kernel"] == "graph"
    table({("cupy", 64, 512): 1.0})
    assert versions("cuda")["kernel"] == "by size"
