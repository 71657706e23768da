"""What executes CUDA C++ on the CPU: that it does what a GPU does, and that it shows what a GPU would hide."""

import cuda_on_cpu
import numpy as np
import pytest
from cuda_on_cpu import RawModule, recording, replay
from hypothesis import given
from hypothesis import strategies as st

pytestmark = cuda_on_cpu.needs_gxx

CODE = """
#define I (blockIdx.x * blockDim.x + threadIdx.x)
namespace cg = cooperative_groups;

__global__ void indices(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

template <bool BARRIER> __global__ void rotate(const float* x, float* y) {
  extern __shared__ unsigned char dynamic_shared[];
  float* s = reinterpret_cast<float*>(dynamic_shared);
  s[threadIdx.x] = x[I];
  if (BARRIER) __syncthreads();
  y[I] = s[(threadIdx.x + 1) % blockDim.x];
}

// Twice the same memory: the second time it must not be written before all have read it.
template <bool BARRIER> __global__ void sums(const float* x, float* y) {
  __shared__ float s[2];
  for (int k = 0; k < 2; k++) {
    if (threadIdx.x == 0) s[0] = x[k];
    __syncthreads();
    y[threadIdx.x * 2 + k] = s[0];
    if (BARRIER) __syncthreads();
  }
}

__global__ void unwritten(float* out) {
  extern __shared__ unsigned char dynamic_shared[];
  __shared__ float fixed[4];
  float* s = reinterpret_cast<float*>(dynamic_shared);
  out[2 * I] = s[threadIdx.x], out[2 * I + 1] = fixed[threadIdx.x % 4];
  s[threadIdx.x] = fixed[threadIdx.x % 4] = 1;
}

__global__ void shared_overflow(int at) {
  extern __shared__ unsigned char dynamic_shared[];
  dynamic_shared[at] = 1;
}

__global__ void shuffles(const double* x, double* y, int argument, int width, int n) {
  const double v = x[threadIdx.x];
  double* out = y + 4 * threadIdx.x;
  out[0] = __shfl_sync(~0u, v, argument, width), out[1] = __shfl_up_sync(~0u, v, argument, width);
  out[2] = __shfl_down_sync(~0u, v, argument, width), out[3] = __shfl_xor_sync(~0u, v, argument, width);
}

__global__ void half_a_warp(const int* x, int* y) {    // two halves that never wait for each other
  const unsigned low = threadIdx.x < 16, mask = low ? 0xffff : 0xffff0000;
  int v = x[threadIdx.x];
  for (int k = 0; k < (low ? 3 : 5); k++) v += __shfl_xor_sync(mask, v, 1);
  y[threadIdx.x] = low ? v : __shfl_sync(mask, v, 3);    // lane 3 is not among them
}

__global__ void votes(const int* x, unsigned* y) {
  y[3 * I] = __ballot_sync(~0u, x[I]), y[3 * I + 1] = __any_sync(~0u, x[I]), y[3 * I + 2] = __all_sync(~0u, x[I]);
}

__global__ void atomics(const float* x, float* sum, int* count, int* most, int* least, unsigned long long* last,
                        int n) {
  if (I >= n) return;
  atomicAdd(sum, x[I]), atomicAdd(count, 1), atomicMax(most, int(I)), atomicMin(least, -int(I));
  while (atomicCAS(last, I, I + 1) != I) __nanosleep(100);    // in the order of their numbers
  if (I == n - 1) atomicExch(count + 1, *count);
}

__global__ void halves(const float* x, __half* h, __nv_bfloat16* b, float* from_h, float* from_b, int n) {
  if (I < n) h[I] = __half(x[I]), b[I] = __nv_bfloat16(x[I]), from_h[I] = float(h[I]), from_b[I] = float(b[I]);
}

template <bool BARRIER> __global__ void relax(float* x, int steps) {    // each looks at its neighbour's last number
  const int n = gridDim.x * blockDim.x;
  for (int k = 0; k < steps; k++) {
    const float next = x[(I + 1) % n];
    if (BARRIER) cg::this_grid().sync();
    x[I] = next + 1;
    cg::this_grid().sync();
  }
}

template <bool FENCE> __global__ void message(int* data, int* ready, int* seen) {    // from one block to the others
  if (blockIdx.x == 0) {
    *data = 42;
    if (FENCE) __threadfence();
    atomicExch(ready, 1);
  } else {
    while (!atomicAdd(ready, 0)) __nanosleep(100);
    if (FENCE) __threadfence();
    seen[blockIdx.x] = *data;
  }
}

__global__ void early_return(int* out) {
  if (threadIdx.x % 2) return;
  __syncthreads();
  out[threadIdx.x] = __popc(__ballot_sync(~0u, 1));
}

__global__ void deadlock(int kind, int* never) {
  if (kind == 0) { if (threadIdx.x < 3) __syncthreads(); else if (threadIdx.x < 9) cg::this_grid().sync(); }
  if (kind == 1) { if (threadIdx.x < 3) __syncthreads(); else
    __syncthreads(); }
  if (kind == 2 && threadIdx.x) __shfl_sync(~0u, 1, 0);
  if (kind == 2 && !threadIdx.x) __shfl_sync(1u, 1, 0), __syncthreads();
  if (kind == 3 && blockIdx.x) cg::this_grid().sync();
  if (kind == 4) while (!atomicAdd(never, 0)) __nanosleep(100);
}

// Each block writes into the next one's memory, where there are two places that take turns.
enum Fault { NONE, NO_FIRST_BARRIER, NO_BARRIER, NO_WAIT };
template <int N, int FAULT> __cluster_dims__(N, 1, 1) __launch_bounds__(64, 1)
__global__ void pass_on(float* x, int steps) {
  extern __shared__ unsigned char dynamic_shared[];
  float(*s)[2] = reinterpret_cast<float(*)[2]>(dynamic_shared);
  const cg::cluster_group cluster = cg::this_cluster();
  s[threadIdx.x][0] = x[I];
  if (FAULT != NO_FIRST_BARRIER) cluster.sync();
  for (int k = 0; k < steps; k++) {
    *cluster.map_shared_rank(&s[threadIdx.x][(k + 1) % 2], (cluster.block_rank() + 1) % N) = s[threadIdx.x][k % 2] + 1;
    if (FAULT != NO_BARRIER) cluster.barrier_arrive();
    if (FAULT != NO_BARRIER && FAULT != NO_WAIT) cluster.barrier_wait();
    if (FAULT == NO_WAIT && k + 1 < steps) cluster.barrier_wait();
  }
  x[I] = s[threadIdx.x][steps % 2];
}

__cluster_dims__(2, 1, 1) __global__ void cluster_deadlock(int kind, int* never) {
  __shared__ int s;
  const cg::cluster_group cluster = cg::this_cluster();
  const bool first = cluster.block_rank() == 0;
  if (kind == 0 && first && threadIdx.x < 3) __syncthreads();
  if (kind == 1) cluster.barrier_wait();
  if (kind == 2) cluster.barrier_arrive(), cluster.barrier_arrive();
  if (kind == 3) *cluster.map_shared_rank(&s, 2) = 1;
  if (kind == 4) *cluster.map_shared_rank(never, 1) = 1;
  if (kind == 5 && first) while (!atomicAdd(never, 0)) __nanosleep(100);
  if (kind == 6 && first) return;
  cluster.sync();
  if (kind == 6) *cluster.map_shared_rank(&s, 0) = 1;
  if (kind == 7 && !first) *never = *cluster.map_shared_rank(&s, 0);
}

template <int N> __cluster_dims__(N, 1, 1) __global__ void who(unsigned* out) {
  const cg::cluster_group cluster = cg::this_cluster();
  out[2 * blockIdx.x] = cluster.num_blocks(), out[2 * blockIdx.x + 1] = cluster.block_rank();
}

template <class S> __global__ void tensor(const S* a, const S* b, float* d) {    // d (16,8) += a (16,K) @ b (8,K).T
  constexpr int WORD = 4 / sizeof(S), K = 8 * WORD;
  const int row = threadIdx.x / 4, column = threadIdx.x % 4 * WORD;
  const auto word = [](const S* from) { return *reinterpret_cast<const unsigned*>(from); };
  const S *low = a + row * K + column, *high = low + 8 * K, *mine = b + row * K + column;
  float sums[4], *const to = d + row * 8 + threadIdx.x % 4 * 2;
  for (int i = 0; i < 4; i++) sums[i] = to[i / 2 * 64 + i % 2];
  on_cpu::mma<S>(sums, word(low), word(high), word(low + K / 2), word(high + K / 2), word(mine), word(mine + K / 2));
  for (int i = 0; i < 4; i++) to[i / 2 * 64 + i % 2] = sums[i];
}

__global__ void as_factors(const float* x, unsigned* tf32, unsigned* pairs, int n) {    // pairs: of x and half of it
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) tf32[i] = on_cpu::to_tf32(x[i]), pairs[i] = on_cpu::pair_of_bfloat16(x[i], x[i] / 2);
}

__global__ void beside(float* x, int at) { x[at] = 1; }

__global__ void four(float* x, int at) { reinterpret_cast<float4*>(x + at)->w = 1; }
"""
NAMES = [
    "indices", "rotate<true>", "rotate<false>", "sums<true>", "sums<false>", "unwritten", "shared_overflow", "shuffles",
    "half_a_warp", "votes", "atomics", "halves", "relax<true>", "relax<false>", "message<true>", "message<false>",
    "early_return", "deadlock", "beside", "four", "cluster_deadlock", "tensor<__half>", "tensor<__nv_bfloat16>",
    "tensor<float>", "as_factors",
    "who<1>", "who<3>", "who<16>", "who<17>", "pass_on<2, NONE>", "pass_on<4, NONE>", "pass_on<16, NONE>",
    "pass_on<4, NO_FIRST_BARRIER>", "pass_on<4, NO_BARRIER>", "pass_on<4, NO_WAIT>",
]  # fmt: skip
both_ways = pytest.mark.parametrize("descending", [False, True])
int32 = np.int32


@pytest.fixture(scope="module")
def kernel():
    """A function: name -> kernel; of a cooperative launch with cooperative=True"""
    flags = ("-O1", "-DON_CPU_PATIENCE=1")
    modules = [RawModule(code=CODE, name_expressions=NAMES, enable_cooperative_groups=c, flags=flags) for c in (0, 1)]
    return lambda name, cooperative=False: modules[cooperative].get_function(name)


def floats(*values):
    return np.array(values, np.float32)


# --- threads and blocks -----------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("grid, block", [((3,), (5,)), ((2, 3), (4, 5)), ((2, 1, 3), (3, 2, 4)), ((1,), (1024,))])
def test_every_thread_runs_once_and_knows_where_it_is(kernel, grid, block, descending):
    blocks, threads = np.prod(grid), np.prod(block)
    out = np.full(blocks * threads + 1, 7, np.uint32)
    kernel("indices")(grid, block, (out,), descending=descending)
    expected = np.add.outer(1000 * np.arange(blocks), np.arange(threads))
    assert (out[:-1] == expected.ravel()).all() and out[-1] == 7


def test_many_blocks_at_a_time(kernel):
    out = np.zeros(300 * 512, np.uint32)
    kernel("indices")((300,), (512,), (out,))
    assert (out == np.add.outer(1000 * np.arange(300), np.arange(512)).ravel()).all()


@pytest.mark.parametrize("grid, block, shared, message", [
    ((1,), (1025,), 0, "1 to 1024 threads"), ((1,), (32, 33), 0, "1 to 1024 threads"), ((1,), (0,), 0, "1 to"),
    ((1,), (1, 1, 65), 0, "1 to 1024 threads"), ((0,), (1,), 0, "a grid of 1"), ((1, 65536), (1,), 0, "65535, 65535"),
    ((1,), (1,), 227 * 1024 + 1, "227 KB"),
])  # fmt: skip
def test_what_no_gpu_can_launch_is_refused(kernel, grid, block, shared, message):
    indices = kernel("indices")
    indices.max_dynamic_shared_size_bytes = 256 * 1024
    with pytest.raises(RuntimeError, match=f"indices: expected .*{message}"):
        indices(grid, block, (np.zeros(9, np.uint32),), shared_mem=shared)


# --- shared memory and barriers ---------------------------------------------------------------------------------------


@both_ways
def test_a_barrier_waits_for_all_threads(kernel, descending):
    x, y = np.arange(200, dtype=np.float32), np.zeros(200, np.float32)
    kernel("rotate<true>")((4,), (50,), (x, y), shared_mem=200, descending=descending)
    assert (y.reshape(4, 50) == np.roll(x.reshape(4, 50), -1, axis=1)).all()
    y = np.zeros(10, np.float32)
    kernel("sums<true>")((1,), (5,), (x[3:], y), descending=descending)
    assert (y.reshape(5, 2) == [3, 4]).all()


@both_ways
def test_a_missing_barrier_shows(kernel, descending):
    x, y = np.arange(50, dtype=np.float32), np.zeros(50, np.float32)
    kernel("rotate<false>")((1,), (50,), (x, y), shared_mem=200, descending=descending)
    assert np.isnan(y).any()
    y = np.zeros(10, np.float32)
    kernel("sums<false>")((1,), (5,), (x[3:], y), descending=descending)
    assert (y.reshape(5, 2) == [3, 4]).all() == descending    # only one order shows the overwriting


def test_shared_memory_begins_as_nan_in_every_block(kernel):
    out = np.zeros((6, 8, 2), np.float32)
    kernel("unwritten")((6,), (8,), (out,), shared_mem=32)
    assert np.isnan(out[:, :4]).all()
    assert np.isnan(out[:, 4:, 0]).all() and (out[:, 4:, 1] == 1).all()    # which the threads before have written


def test_a_write_behind_dynamic_shared_memory_is_found(kernel):
    kernel("shared_overflow")((1,), (1,), (int32(99),), shared_mem=100)
    with pytest.raises(RuntimeError, match="a write behind the 100 bytes of dynamic shared memory"):
        kernel("shared_overflow")((1,), (1,), (int32(100),), shared_mem=100)


@both_ways
def test_a_barrier_does_not_wait_for_those_that_have_ended(kernel, descending):
    out = np.full(40, -1, int32)
    kernel("early_return")((1,), (40,), (out,), descending=descending)
    assert (out[0:32:2] == 16).all() and (out[32::2] == 4).all() and (out[1::2] == -1).all()


# --- warps ------------------------------------------------------------------------------------------------------------


@both_ways
@given(
    n=st.sampled_from([1, 7, 31, 32, 33, 64, 70]), width=st.sampled_from([1, 2, 4, 8, 16, 32]), k=st.integers(0, 31)
)
def test_shuffles(kernel, descending, n, width, k):
    """Against their definition: groups of `width` lanes, and one's own value where the lane is outside."""
    x, y = np.arange(n) + 0.5, np.zeros((n, 4))
    kernel("shuffles")((1,), (n,), (x, y, int32(k), int32(width), int32(n)), descending=descending)
    for i in range(n):
        first, lane = i - i % 32, i % 32
        group = range(lane - lane % width, lane - lane % width + width)
        lanes = [group[k % width], lane - k, lane + k, lane ^ k]
        lanes = [
            lanes[0], lanes[1] if lanes[1] >= group[0] else lane, lanes[2] if lanes[2] <= group[-1] else lane,
            lanes[3] if lanes[3] <= group[-1] else lane,
        ]  # fmt: skip
        for got, source in zip(y[i], lanes, strict=True):
            assert got == x[first + source] if first + source < n else np.isnan(got)    # nobody is there


@both_ways
def test_parts_of_a_warp_exchange_among_themselves(kernel, descending):
    x, y = np.arange(32, dtype=int32), np.zeros(32, int32)
    kernel("half_a_warp")((1,), (32,), (x, y), descending=descending)
    pairs = x + (x ^ 1)
    assert (y[:16] == pairs[:16] * 4).all()
    assert (y[16:] == -1).all()


def test_votes(kernel):
    x = np.array([0] * 32 + [1] * 32 + [0, 5, 0, -1], int32)
    y = np.zeros((68, 3), np.uint32)
    kernel("votes")((1,), (68,), (x, y))
    assert (y[:32] == [0, 0, 0]).all() and (y[32:64] == [2**32 - 1, 1, 1]).all() and (y[64:] == [0b1010, 1, 0]).all()


# --- atomics, the grid ------------------------------------------------------------------------------------------------


def test_atomics(kernel):
    n = 290
    x, sum_, count = np.arange(n, dtype=np.float32), floats(0.5), np.array([0, 0], int32)
    most, least, last = np.array([-5], int32), np.array([5], int32), np.zeros(1, np.uint64)
    kernel("atomics", True)((10,), (32,), (x, sum_, count, most, least, last, int32(n)))
    assert (sum_[0], *count, most[0], least[0], last[0]) == (x.sum() + 0.5, n, n, n - 1, 1 - n, n)


@both_ways
@pytest.mark.parametrize("blocks, threads", [(1, 3), (5, 1), (16, 64)])
def test_a_barrier_of_the_grid_waits_for_all_blocks(kernel, blocks, threads, descending):
    n, steps = blocks * threads, 7
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    expected = x
    for _ in range(steps):
        expected = np.roll(expected, -1) + np.float32(1)
    kernel("relax<true>", True)((blocks,), (threads,), (x, int32(steps)), descending=descending)
    assert (x == expected).all()


def test_a_message_from_block_to_block(kernel):
    data, ready, seen = np.zeros(1, int32), np.zeros(1, int32), np.zeros(8, int32)
    kernel("message<true>", True)((8,), (1,), (data, ready, seen))
    assert seen.tolist() == [0] + 7 * [42]


@pytest.mark.parametrize("kind, cooperative, message", [
    (0, True, r"block \(\d, 0, 0\) waits for ever: thread 0 at __syncthreads in line \d+; thread 3 at a barrier of the "
              r"grid in line \d+; 31 of 40 threads have ended"),
    (1, False, r"thread 0 at __syncthreads in line (\d+); thread 3 at __syncthreads in line (?!\1)\d+; 0 of 40"),
    (2, False, r"thread 0 at __syncthreads in line \d+; thread 1 for lanes of its warp in line"),
    (3, True, "1 blocks wait at a barrier of the grid for ever: the others have ended"),
    (3, False, "a barrier of the grid in a launch that is not cooperative"),
    (4, False, "threads wait in a loop for ever"),
])  # fmt: skip
def test_what_would_hang_a_gpu_is_an_error(kernel, kind, cooperative, message):
    with pytest.raises(RuntimeError, match=message):
        kernel("deadlock", cooperative)((2,), (40,), (int32(kind), np.zeros(1, int32)))
    out = np.zeros(1, np.uint32)
    kernel("indices")((1,), (1,), (out,))    # and what comes next is not disturbed


# --- clusters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 16])
def test_a_block_knows_its_place_in_its_cluster(kernel, n):
    out = np.zeros((3, n, 2), np.uint32)
    who = kernel(f"who<{n}>")
    cuda_on_cpu.func_set_attribute(who.kernel.ptr, 14, 1)
    who((3 * n,), (1,), (out,))
    assert (out[..., 0] == n).all() and (out[..., 1] == np.arange(n)).all()


@pytest.mark.parametrize("n, blocks, message", [(3, 4, "a grid of whole clusters"), (17, 17, "a cluster of 1 to 16")])
def test_clusters_that_no_gpu_has_are_refused(kernel, n, blocks, message):
    who = kernel(f"who<{n}>")
    cuda_on_cpu.func_set_attribute(who.kernel.ptr, 14, 1)
    with pytest.raises(RuntimeError, match=f"expected {message}"):
        who((blocks,), (1,), (np.zeros(99, np.uint32),))


def test_what_has_to_be_asked_for(kernel):
    """More than 8 blocks in a cluster, and more than 48 KB of shared memory."""
    with pytest.raises(RuntimeError, match="a cluster of 16 blocks that was not asked for"):
        kernel("who<16>")((16,), (1,), (np.zeros(32, np.uint32),))
    with pytest.raises(RuntimeError, match="49153 bytes of shared memory that were not asked for"):
        kernel("who<1>")((1,), (1,), (np.zeros(2, np.uint32),), shared_mem=48 * 1024 + 1)


@both_ways
@pytest.mark.parametrize("n", [2, 4, 16])
@pytest.mark.parametrize("clusters, threads, steps", [(1, 1, 1), (5, 7, 4), (2, 64, 3)])
def test_blocks_of_a_cluster_write_into_each_others_memory(kernel, n, clusters, threads, steps, descending):
    x = np.random.default_rng(0).standard_normal((clusters, n, threads)).astype(np.float32)
    expected = x
    for _ in range(steps):
        expected = np.roll(expected, 1, axis=1) + np.float32(1)
    pass_on = kernel(f"pass_on<{n}, NONE>")
    cuda_on_cpu.func_set_attribute(pass_on.kernel.ptr, 14, 1)
    pass_on((clusters * n,), (threads,), (x, int32(steps)), shared_mem=threads * 8, descending=descending)
    assert (x == expected).all()


@pytest.mark.parametrize("kind, message", [
    (0, r"block \(\d, 0, 0\) waits for ever: thread 0 at (__syncthreads|a barrier of the cluster) in line"),
    (1, "at a barrier of the cluster, out of turn"), (2, "at a barrier of the cluster, out of turn"),
    (3, "for a place in shared memory that there is not"), (4, "for a place in shared memory that there is not"),
    (5, "threads wait in a loop for ever"), (6, "a write into the shared memory of a block that has ended"),
])  # fmt: skip
def test_what_a_cluster_must_not_do_is_an_error(kernel, kind, message):
    with pytest.raises(RuntimeError, match=message):
        kernel("cluster_deadlock")((4,), (40,), (int32(kind), np.zeros(1, int32)))
    out = np.zeros((1, 2), np.uint32)
    kernel("who<1>")((1,), (1,), (out,))
    assert out.tolist() == [[1, 0]]


def test_whoever_reads_the_memory_of_a_block_that_has_ended_gets_nothing(kernel):
    out = np.zeros(1, int32)
    kernel("cluster_deadlock")((2,), (1,), (int32(7), out))
    assert out[0] == -1    # all bits are set


@pytest.mark.parametrize("name, K", [("__half", 16), ("__nv_bfloat16", 16), ("float", 8)])
def test_tensor_cores(kernel, name, K):
    """Whole numbers, of which a product has no rounding."""
    rng = np.random.default_rng(0)
    a, b, d = (rng.integers(-128, 128, shape).astype(np.float32) for shape in ((16, K), (8, K), (16, 8)))
    as_stored = {"__half": np.float16, "float": np.float32}
    stored = (x.astype(as_stored[name]) if name in as_stored else (x.view(np.uint32) >> 16).astype(np.uint16)
              for x in (a, b))  # fmt: skip
    expected = d + a @ b.T
    kernel(f"tensor<{name}>")((1,), (32,), (*stored, d))
    assert (d == expected).all()


def test_a_number_that_was_not_rounded_to_tf32_is_no_number(kernel):
    a, b, d = (np.ones(shape, np.float32) for shape in ((16, 8), (8, 8), (16, 8)))
    a[3, 5] += 2.0**-11
    kernel("tensor<float>")((1,), (32,), (a, b, d))
    assert np.isnan(d[3]).all() and (np.delete(d, 3, axis=0) == 9).all()


def test_tf32_is_the_nearest_and_of_two_the_one_farther_from_zero(kernel):
    x = interesting()
    tf32, pairs = np.zeros(len(x), np.uint32), np.zeros(len(x), np.uint32)
    kernel("as_factors")((-(-len(x) // 1024),), (1024,), (x, tf32, pairs, int32(len(x))))
    bits, real = x.view(np.uint32), np.isfinite(x)
    below = bits & 0xFFFFE000
    assert (tf32[real] == np.where(bits - below >= 0x1000, below + 0x2000, below)[real]).all()
    assert (tf32[np.isinf(x)] == bits[np.isinf(x)]).all() and np.isnan(float32_of(tf32[np.isnan(x)])).all()
    _, first, _, _ = convert(kernel, x)
    with np.errstate(invalid="ignore"):    # of a signalling NaN
        _, second, _, _ = convert(kernel, x / 2)
    assert (pairs == first | second.astype(np.uint32) << 16).all()


# --- 16-bit numbers ---------------------------------------------------------------------------------------------------


def convert(kernel, x):
    """x (n,) -> half, bfloat16 (as uint16), and both as float32 again"""
    outs = [np.zeros(len(x), dtype) for dtype in (np.float16, np.uint16, np.float32, np.float32)]
    kernel("halves")((-(-len(x) // 1024),), (1024,), (x, *outs, int32(len(x))))
    return outs


def float32_of(bits):
    return np.asarray(bits, np.uint32).view(np.float32)


def interesting():
    """Every half and every bfloat16, the numbers half-way between two of them, those beside; and random bits."""
    with np.errstate(over="ignore"):
        halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
    high = np.arange(2**16, dtype=np.uint32) << 16
    anything = np.random.default_rng(0).integers(0, 2**32, 10**5, dtype=np.uint32)
    exact = halves, halves + 0x1000, high, high + 0x8000
    near = [bits + np.uint32(d) for bits in exact for d in (0, 1, 2**32 - 1)]
    return float32_of(np.concatenate([*near, anything]))


def test_halves_are_numpys(kernel):
    x = interesting()
    half, _, back, _ = convert(kernel, x)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    real = ~np.isnan(x)
    assert (half[real].view(np.uint16) == expected[real].view(np.uint16)).all()
    assert np.isnan(half[~real]).all()
    np.testing.assert_array_equal(back, expected.astype(np.float32))


def test_bfloat16_is_the_nearest_and_of_two_the_even_one(kernel):
    x = interesting()
    _, got, _, back = convert(kernel, x)
    real = np.isfinite(x)
    toward_zero = x.view(np.uint32) >> 16
    candidates = np.stack([toward_zero, toward_zero + 1])[:, real]
    values = float32_of(candidates << 16).astype(np.float64)
    values = np.where(np.isinf(values), np.sign(values) * 2.0**128, values)    # infinity comes after the largest number
    away = abs(values - x[real].astype(np.float64))
    second = (away[1] < away[0]) | ((away[1] == away[0]) & (candidates[0] % 2 == 1))
    assert (got[real] == np.where(second, candidates[1], candidates[0])).all()
    assert (got[np.isinf(x)] == toward_zero[np.isinf(x)]).all()
    np.testing.assert_array_equal(back, float32_of(got.astype(np.uint32) << 16))
    assert np.isnan(back[np.isnan(x)]).all()


# --- the arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args, message", [
    ((np.zeros(3, np.float32),), "1 arguments for 2 parameters"),
    ((np.zeros(3, np.float64), int32(0)), r"argument 0: expected \*f4, got float64"),
    ((np.zeros((2, 2), np.float32).T[1:], int32(0)), "got float32 .*not contiguous"),
    ((np.frombuffer(b"1234", np.float32), int32(0)), "an array that may only be read"),
    ((None, int32(0)), "argument 0.*got NoneType"),
    ((np.zeros(3, np.float32), 0), "argument 1: expected i4, got int"),
    ((np.zeros(3, np.float32), np.int64(0)), "argument 1: expected i4, got int64"),
    ((np.zeros(3, np.float32), np.zeros(1, int32)), "argument 1: expected i4, got ndarray"),
])  # fmt: skip
def test_arguments_of_another_type_are_refused(kernel, args, message):
    with pytest.raises(TypeError, match=f"beside: .*{message}"):
        kernel("beside")((1,), (1,), args)


def test_the_parameters_are_known(kernel):
    assert kernel("halves").parameters == ["*const f4", "*f2", "*V2", "*f4", "*f4", "i4"]
    assert kernel("atomics").parameters[-2:] == ["*u8", "i4"]


def test_what_does_not_compile_says_so():
    with pytest.raises(RuntimeError, match=r"kernel.cu:1:\d+: error: 'nothing' was not declared".replace("'", ".")):
        RawModule(code="__global__ void f() { nothing(); }", name_expressions=["f"])


# --- sanitizers -------------------------------------------------------------------------------------------------------

X = np.zeros(32, np.float32)
GOOD = [    # kernel, blocks, threads, shared bytes, arguments
    ("rotate<true>", 2, 16, 64, (X, X.copy())),
    ("sums<true>", 1, 8, 0, (X, X.copy())),
    ("relax<true>", 3, 8, 0, (X, int32(3))),
    ("message<true>", 3, 1, 0, (np.zeros(1, int32), np.zeros(1, int32), np.zeros(3, int32))),
    ("shuffles", 1, 40, 0, (np.zeros(40), np.zeros(160), int32(1), int32(32), int32(40))),
    ("pass_on<4, NONE>", 8, 3, 24, (X, int32(4))),
    ("tensor<__half>", 1, 32, 0, (np.zeros(256, np.float16), np.zeros(128, np.float16), np.zeros(128, np.float32))),
    ("beside", 1, 1, 0, (X, int32(31))),
    ("four", 1, 1, 0, (X, int32(28))),
]  # fmt: skip
BAD = [
    ("thread", "data race", "rotate<false>", 1, 16, 64, (X, X.copy())),
    ("thread", "data race", "sums<false>", 1, 8, 0, (X, X.copy())),
    ("thread", "data race", "relax<false>", 3, 8, 0, (X, int32(3))),
    ("thread", "data race", "message<false>", 3, 1, 0, (np.zeros(1, int32), np.zeros(1, int32), np.zeros(3, int32))),
    ("thread", "data race", "pass_on<4, NO_FIRST_BARRIER>", 4, 3, 24, (X, int32(1))),
    ("thread", "data race", "pass_on<4, NO_BARRIER>", 4, 3, 24, (X, int32(2))),
    ("thread", "data race", "pass_on<4, NO_WAIT>", 4, 3, 24, (X, int32(2))),
    ("thread", "data race", "beside", 1, 2, 0, (X, int32(31))),
    ("thread", "data race", "beside", 2, 1, 0, (X, int32(31))),
    ("address,undefined", "heap-buffer-overflow", "beside", 1, 1, 0, (X, int32(32))),
    ("address,undefined", "heap-buffer-overflow", "beside", 1, 1, 0, (X, int32(-1))),
    ("address,undefined", "use-after-poison", "shared_overflow", 1, 1, 100, (int32(100),)),
    ("address,undefined", "misaligned address", "four", 1, 1, 0, (X, int32(2))),
]  # fmt: skip


@pytest.fixture(scope="module")
def recorded():
    """A function: (kernel, blocks, threads, shared bytes, arguments) ... -> launches, none of which runs."""
    module = RawModule(code=CODE, name_expressions=NAMES, enable_cooperative_groups=True)

    def record(*launches):
        return [
            cuda_on_cpu.Launch(module, name, (blocks, 1, 1, threads, 1, 1), shared, [np.array(a) for a in args])
            for name, blocks, threads, shared, args in launches
        ]

    return record


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_have_no_complaint_about_what_is_right(recorded, sanitizer):
    done = replay(recorded(*GOOD), sanitizer)
    assert done.returncode == 0 and b"runtime error" not in done.stderr, done.stderr.decode()[-4000:]


@pytest.mark.parametrize("sanitizer, complaint, name, blocks, threads, shared, args", BAD, ids=lambda v: str(v)[:20])
def test_sanitizers_find_what_is_planted(recorded, sanitizer, complaint, name, blocks, threads, shared, args):
    done = replay(recorded((name, blocks, threads, shared, args)), sanitizer)
    assert done.returncode != 0 and complaint in done.stderr.decode() and "kernel.cu:" in done.stderr.decode()


def test_a_recording_is_of_what_was_there_before(kernel):
    x = np.zeros(3, np.float32)
    with recording() as launches:
        kernel("beside")((1,), (1,), (x, int32(1)))
        kernel("beside")((1,), (1,), (x, int32(2)))
    assert [launch.args[0].tolist() for launch in launches] == [[0, 0, 0], [0, 1, 0]] and x.tolist() == [0, 1, 1]
