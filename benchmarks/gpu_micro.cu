// What the kernels that keep their weights on the chip are made of, each alone: barriers, the way to another block's
// memory, the common cache, tensor cores (gpu_barriers.py). The barrier of blocks and mma() are those of
// kernels/lstm_persistent.cu, whose text comes before this one. For Hopper and newer; not yet run on a GPU.
#include "lstm_persistent.cu"

#ifdef __CUDACC__
#include <cooperative_groups.h>
#endif
namespace cg = cooperative_groups;

// All blocks meet n times, as the blocks of a group do after a step; counter: 0.
__global__ void barrier_of_blocks(int n, unsigned* counter, volatile int* given_up) {
  __shared__ int in_vain;
  Barrier barrier{counter, given_up, gridDim.x, 1u << 24, &in_vain};
  for (int i = 0; i < n; i++) {
    barrier.arrive();
    if (!barrier.wait()) return;
  }
}

// The same by CUDA's own means.
__global__ void barrier_of_grid(int n) {
  for (int i = 0; i < n; i++) cg::this_grid().sync();
}

template <int BLOCKS> __cluster_dims__(BLOCKS, 1, 1) __global__ void barrier_of_cluster(int n) {
  for (int i = 0; i < n; i++) cg::this_cluster().sync();
}

// A pointer that is chased through another block's shared memory: each read waits for the one before -> where it ends
template <int BLOCKS> __cluster_dims__(BLOCKS, 1, 1) __global__ void to_another_block(int n, int* end) {
  __shared__ int next[32];
  const cg::cluster_group cluster = cg::this_cluster();
  next[threadIdx.x] = (threadIdx.x + 1) % 32;
  cluster.sync();
  int* const there = cluster.map_shared_rank(&next[0], (cluster.block_rank() + 1) % BLOCKS);
  int at = threadIdx.x;
  for (int i = 0; i < n; i++) at = there[at];
  end[blockIdx.x * blockDim.x + threadIdx.x] = at;
  cluster.sync();    // nobody ends while another reads his memory
}

// Every block reads the same vectors, `size` times 16 bytes, n times -> their bits, all mixed
__global__ void broadcast(const unsigned* vectors, int size, int n, unsigned* mixed) {
  uint4 sum = {};
  for (int i = 0; i < n; i++)
#pragma unroll 4
    for (int k = threadIdx.x; k < size; k += blockDim.x) {
      const uint4 v = __ldcg(reinterpret_cast<const uint4*>(vectors) + k);
      sum.x ^= v.x, sum.y ^= v.y, sum.z ^= v.z, sum.w ^= v.w;
    }
  mixed[blockIdx.x * blockDim.x + threadIdx.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}

// Eight chains of products of ones: each grows by 16 a step, of TF32 by 8, and a chain waits for itself alone.
template <class S> __global__ void tensor_cores(int n, float* sums) {
  Pack<S, 4 / sizeof(S)> ones;
  for (S& number : ones.at) number = S(1.f);
  const unsigned one = reinterpret_cast<const unsigned&>(ones);
  float d[8][4] = {}, sum = 0;
  for (int i = 0; i < n; i++)
#pragma unroll
    for (int k = 0; k < 8; k++) mma<S>(d[k], one, one, one, one, one, one);
#pragma unroll
  for (int k = 0; k < 8; k++) sum += d[k][0] + d[k][1] + d[k][2] + d[k][3];
  sums[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
