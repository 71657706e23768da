"""The blocks that are used again: never one that anything still looks at, and always one that nothing does."""

import gc
import math
import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_cpu import both_dtypes, fresh_python

from minilstm_kernels import cpu_memory
from minilstm_kernels.cpu_memory import empty, held, release

F4 = np.dtype(np.float32)
LARGE = 1 << 18  # numbers: a megabyte


@pytest.fixture(autouse=True)
def no_blocks(monkeypatch):
    monkeypatch.setattr(cpu_memory, "_blocks", [])


def address(array):
    return array.ctypes.data


@both_dtypes
@given(shape=st.lists(st.integers(0, 700), min_size=1, max_size=3).filter(lambda s: math.prod(s) < 1 << 22))
def test_an_array_of_the_shape_asked_for(dtype, shape):
    array = empty(tuple(shape), dtype)
    assert array.shape == tuple(shape) and array.dtype == dtype
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    if array.nbytes >= cpu_memory._SMALL:
        assert address(array) % 64 == 0


def test_what_was_freed_is_used_again():
    first = empty((LARGE,), F4)
    at = address(first)
    del first
    second = empty((LARGE // 2, 2), F4)
    assert address(second) == at and held() == 4 * LARGE
    third = empty((LARGE,), F4)
    assert address(third) != at and held() == 8 * LARGE


USERS = {
    "itself": lambda a: a,
    "a view": lambda a: a[1:],
    "a slice of a slice": lambda a: a.reshape(512, -1)[3:50][::7, 2:9],
    "a single number": lambda a: a[5:6],
    "another type": lambda a: a.view(np.uint8).reshape(4, -1).T,
    "an iterator": lambda a: a.flat,
    "a memoryview": memoryview,
    "an array of a memoryview": lambda a: np.frombuffer(memoryview(a), F4, 3, offset=400),
    "an array of an array": lambda a: np.asarray(np.asarray(a)[::2]),
    "a subclass": lambda a: a.view(np.recarray),
    "its base": lambda a: a.base,
    "its pointer": lambda a: a.ctypes,
    "an interface": lambda a: np.asarray(Interface(a)),
    "another library": np.from_dlpack,
    "a closure": lambda a: lambda: a,
}


class Interface:
    """What other libraries see of an array."""

    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__


@pytest.mark.parametrize("use", USERS.values(), ids=USERS)
def test_a_block_that_is_in_use_is_not_handed_out(use):
    array = empty((LARGE,), F4)
    array[:] = 7
    start, user = address(array), use(array)
    del array
    gc.collect()
    others = [empty((LARGE,), F4) for _ in range(3)]
    assert start not in map(address, others) and len(set(map(address, others))) == 3
    for other in others:
        other[:] = -1
    release()
    assert held() == 4 * 4 * LARGE
    del user, others, other
    gc.collect()
    assert address(empty((LARGE,), F4)) in [address(block) for block, _ in cpu_memory._blocks]
    assert held() == 4 * 4 * LARGE


def test_values_stay_while_others_come_and_go():
    rng, kept = np.random.default_rng(0), []
    for step in range(300):
        array = empty((int(rng.integers(1 << 16, 1 << 17)), 1), F4)
        array[:] = step
        if rng.random() < 0.1:
            kept.append((step, array[:: int(rng.integers(1, 9))]))
            del kept[:-5]
    assert kept and all((array == step).all() for step, array in kept)
    assert len(cpu_memory._blocks) < 20


def test_a_much_larger_block_is_not_wasted_on_a_small_array():
    large = empty((64 * LARGE,), F4)
    at = address(large)
    del large
    small = empty((LARGE,), F4)
    assert not at <= address(small) < at + 256 * LARGE


def test_of_the_blocks_that_fit_the_smallest_is_taken():
    sizes = [6 * LARGE, 5 * LARGE, 7 * LARGE]
    arrays = [empty((n,), F4) for n in sizes]
    at = address(arrays[1])
    del arrays
    assert address(empty((5 * LARGE - 10,), F4)) == at


def test_release_gives_back_what_is_free_and_no_more():
    kept, freed = empty((LARGE,), F4), empty((2 * LARGE,), F4)
    kept[:] = 3
    del freed
    release()
    assert held() == kept.nbytes
    empty((LARGE,), F4)[:] = 4
    assert (kept == 3).all()


def test_what_nobody_wanted_for_long_goes_back():
    in_use, stale = empty((16 * LARGE,), F4), empty((64 * LARGE,), F4)
    del stale
    for _ in range(cpu_memory._PATIENCE - 5):
        empty((LARGE,), F4)
    assert held() >= 4 * 81 * LARGE
    for _ in range(10):
        empty((LARGE,), F4)
    assert held() == 4 * 17 * LARGE and in_use.size == 16 * LARGE


def test_small_arrays_keep_no_blocks():
    assert empty((10, 10), F4).shape == (10, 10) and empty((0, 5), F4).size == 0
    assert held() == 0


def test_threads_never_share_a_block():
    wrong, stop = [], time.perf_counter() + 0.5

    def work(number):
        rng = np.random.default_rng(number)
        while time.perf_counter() < stop:
            arrays = [empty((int(rng.integers(1 << 16, 1 << 17)),), F4) for _ in range(3)]
            for n, array in enumerate(arrays):
                array[:] = 10 * number + n
            time.sleep(0)
            wrong.extend(n for n, array in enumerate(arrays) if not (array == 10 * number + n).all())
            release()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_was_forked_while_another_thread_asks_for_memory():
    code = """if True:
        import os, signal, threading, time
        import numpy as np
        from minilstm_kernels import cpu_memory

        def hold():
            with cpu_memory._lock:
                held.set()
                time.sleep(0.3)

        held = threading.Event()
        threading.Thread(target=hold).start()
        held.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(5)     # ends the child if it hangs
            cpu_memory.empty((1 << 20,), np.dtype("f4"))[:] = 1
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
    """
    assert fresh_python(code)[0] == "0\n"
