"""The team of threads: who does what, who waits for whom, and that it works wherever it is called.

What could hang runs in a process of its own, which is given up after a while.
"""

import subprocess
import sys
import threading
import time
from sys import getrefcount

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_cpu import cpu_team, fresh_python

from minilstm_kernels import set_num_threads
from minilstm_kernels.cpu_compile import compiled
from minilstm_kernels.cpu_team import barrier, run, share

# A layer's forward and backward; `alone` and `shared` are its bits on one thread and on a team.
LAYER = """if True:
    import hashlib, os, sys, threading, time
    import numpy as np
    import minilstm_kernels
    lstm = minilstm_kernels.load("cpu")
    from minilstm_kernels import cpu_gemm, cpu_team, set_num_threads
    cpu_gemm.WORTH = lstm.STEP_WORTH = 1

    def layer(seed, T=4, B=5, I=7, H=40):
        rng = np.random.default_rng(seed)
        def normal(*shape):
            return rng.standard_normal(shape).astype(np.float32)
        x, weight_ih, weight_hh, bias = normal(T, B, I), normal(4 * H, I), normal(4 * H, H), normal(4 * H)
        y, h, c, saved = lstm.layer_forward(x, weight_ih, weight_hh, bias, normal(B, H), normal(B, H))
        results = y, h, c, *lstm.layer_backward(normal(T, B, H), h, c, saved, x, weight_ih, weight_hh)
        return hashlib.sha256(b"".join(a.tobytes() for a in results)).hexdigest()

    def check(n):
        assert [layer(seed) for seed in range(n)] == alone[:n]
        return os.getpid()

    set_num_threads(1)
    alone = [layer(seed) for seed in range(8)]
    set_num_threads(3)
    check(8)
"""


@pytest.fixture(autouse=True)
def new_team(monkeypatch):
    """What a failing test leaves behind must not reach the next one."""
    monkeypatch.setattr(cpu_team, "_team", cpu_team._Team())
    yield
    set_num_threads(None)


def within(seconds, function):
    """function(), in a thread that is given up after a while: a team that hangs must not hang the tests"""
    results = []

    def call():
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    return results[0]


# --- who does what ----------------------------------------------------------------------------------------------------


@given(units=st.integers(0, 2000), members=st.integers(1, 130))
def test_shares_are_everything_once_and_about_equal(units, members):
    shares = [share.py_func(units, member, members) for member in range(members)]
    assert [unit for first, last in shares for unit in range(first, last)] == list(range(units))
    sizes = [last - first for first, last in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_every_member_is_called_once_with_its_number(n):
    set_num_threads(n)
    seen = []
    run(lambda team, a, b: seen.append((team[:2], a, b, threading.get_ident())), "a", "b")
    assert sorted(s[:3] for s in seen) == [((m, n), "a", "b") for m in range(n)]
    assert len({s[3] for s in seen}) == n and threading.get_ident() in {s[3] for s in seen}


def test_no_more_members_than_there_is_work_for():
    set_num_threads(5)
    for at_most, members in ((1, 1), (3, 3), (9, 5), (0, 1)):
        seen = []
        run(lambda team, seen: seen.append(team[:2]), seen, at_most=at_most)
        assert sorted(seen) == [(m, members) for m in range(members)]


@compiled
def _count_up(team, rounds, counts, wrong):
    member, members, counter = team
    for at in range(1, rounds + 1):
        counts[member, 0] = at
        barrier(2 * at - 1, members, counter)
        for other in range(members):
            if counts[other, 0] != at:
                wrong[member] += 1
        barrier(2 * at, members, counter)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_nobody_passes_a_barrier_before_all_have_come(n):
    set_num_threads(n)
    for _ in range(2):
        counts, wrong = np.zeros((n, 8), np.int64), np.zeros(n, np.int64)
        run(_count_up, 30, counts, wrong)
        assert not wrong.any() and (counts[:, 0] == 30).all()


# --- errors and interruptions -----------------------------------------------------------------------------------------


def run_slowly():
    """-> the members that have done their part when the call returns, though some take their time"""
    seen = []

    def work(team):
        time.sleep(0.02 * team[0])
        seen.append(team[0])

    run(work)
    return sorted(seen)


@pytest.mark.parametrize("who", [(1,), (0,), (1, 2), (0, 1, 2)], ids=str)
def test_an_error_of_any_member_reaches_the_caller_and_the_team_goes_on(who):
    set_num_threads(3)

    def fail(team):
        if team[0] in who:
            raise ZeroDivisionError(f"member {team[0]}")

    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="member"):
            run(fail)
        for _ in range(3):
            assert within(10, run_slowly) == [0, 1, 2]


def test_after_ctrl_c_nobody_is_still_at_work():
    """The caller is interrupted while it waits for a member that is not done."""
    code = LAYER + """
    import signal
    set_num_threads(2)
    def work(team):
        if team[0]:
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.3)
            done.append(team[0])
    done = []
    try:
        cpu_team.run(work)
        raise SystemExit("not interrupted")
    except KeyboardInterrupt:
        print(done)
    check(8)
    """
    assert fresh_python(code)[0] == "[1]\n"


def test_ctrl_c_at_any_moment_leaves_a_team_that_works():
    code = LAYER + """
    import faulthandler, signal
    faulthandler.dump_traceback_later(100, exit=True)
    def interrupt(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    for n in range(200):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-5 * (n + 1))
            layer(0)
        except KeyboardInterrupt:
            interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        check(1)
    print(interrupted)
    """
    assert int(fresh_python(code)[0]) > 50


@compiled
def _meet(team):
    barrier(1, team[1], team[2])


@pytest.mark.parametrize("who", [0, 1, 2])
def test_a_member_that_fails_before_a_barrier_keeps_nobody_there(who):
    set_num_threads(3)

    def fail(team):
        if team[0] == who:
            raise ZeroDivisionError("before the barrier")
        _meet(team)

    for _ in range(2):
        error = within(60, lambda: run(fail))
        assert isinstance(error, ZeroDivisionError)
    assert within(10, run_slowly) == [0, 1, 2]


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3])
def test_ctrl_c_in_the_first_call_does_not_hang(seconds):
    """It may come while Numba compiles or loads the caller's part. (What Numba makes of that is its own affair.)"""
    code = f"""if True:
    import faulthandler, os, signal, threading, time
    import numpy as np
    import minilstm_kernels
    faulthandler.dump_traceback_later(100, exit=True)
    lstm = minilstm_kernels.load("cpu")
    minilstm_kernels.set_num_threads(2)
    x, weight_ih, weight_hh, bias, h = (
        np.zeros(shape, np.float32) for shape in ((8, 32, 64), (1024, 64), (1024, 256), (1024,), (32, 256))
    )
    def interrupt():
        time.sleep({seconds})
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    lstm.layer_forward(x, weight_ih, weight_hh, bias, h, h)
    time.sleep(2)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert "KeyboardInterrupt" in done.stderr and "Timeout" not in done.stderr


def test_threads_that_cannot_be_started_are_done_without(monkeypatch):
    set_num_threads(4)
    start, seen = threading.Thread.start, []

    def only_one(thread):
        if seen:
            raise RuntimeError("can't start new thread")
        seen.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", only_one)
    for _ in range(2):
        assert run_members() == [(0, 2), (1, 2)]
    monkeypatch.undo()


def run_members():
    seen = []
    run(lambda team: seen.append(team[:2]))
    return sorted(seen)


# --- wherever it is called --------------------------------------------------------------------------------------------


def test_a_call_within_a_call_works_alone():
    set_num_threads(2)
    inner = []
    within(100, lambda: run(lambda team: run(lambda team: inner.append(team[:2]))))
    assert inner == [(0, 1), (0, 1)]


def test_eight_threads_at_once_each_get_their_own_results():
    code = LAYER + """
    def twenty(seed):
        for _ in range(20):
            if layer(seed) != alone[seed]:
                wrong.append(seed)
        done.append(seed)
    wrong, done = [], []
    threads = [threading.Thread(target=twenty, args=(seed,)) for seed in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(wrong, sorted(done))
    """
    assert fresh_python(code)[0] == "[] [0, 1, 2, 3, 4, 5, 6, 7]\n"


def test_a_child_that_was_forked_while_another_thread_computes():
    code = LAYER + """
    import signal
    stop = []
    def busy():
        while not stop: layer(0)
    thread = threading.Thread(target=busy)
    thread.start()
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            signal.alarm(100)   # ends a child that hangs
            try: check(3)
            except BaseException as error: print(repr(error), flush=True); os._exit(1)
            os._exit(0)
        print(os.waitpid(pid, 0)[1])
    stop.append(True)
    thread.join()
    check(8)
    """
    assert fresh_python(code)[0] == 10 * "0\n"


def test_a_pool_of_forked_processes():
    code = LAYER + """
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pids = pool.map(check, [3] * 6, chunksize=1)
    assert os.getpid() not in pids
    """
    fresh_python(code)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_within_joblib(backend):
    pytest.importorskip("joblib")
    code = LAYER + f"""
    import joblib
    source = {LAYER!r}
    def in_a_new_process(seed):
        scope = {{}}
        exec(source, scope)
        return scope["layer"](seed)
    task = layer if {backend!r} == "threading" else in_a_new_process
    pool = joblib.Parallel(n_jobs=2, backend={backend!r})
    assert pool(joblib.delayed(task)(seed) for seed in range(8)) == alone
    """
    fresh_python(code)


def test_an_idle_team_takes_no_time():
    set_num_threads(4)
    run(_count_up, 10, np.zeros((4, 8), np.int64), np.zeros(4, np.int64))
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


def test_a_waiting_team_keeps_no_array_alive():
    set_num_threads(3)
    array = np.zeros(10)
    before = getrefcount(array)
    run(lambda team, array: None, array)
    deadline = time.perf_counter() + 5
    while getrefcount(array) != before and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert getrefcount(array) == before


def test_more_threads_than_there_are_processors():
    set_num_threads(40)
    assert run_members() == [(m, 40) for m in range(40)]
