// What a training step does with its gradients when it has them: their norm, and one step of an optimiser, without the
// host ever hearing of it.
//
// Nothing here does more than a few operations on a number, so all that counts is how often memory is read and written.
// Plain code goes over all of it once for every operator, some thirteen times for Adam; here it is once, clipping
// included: gradients are multiplied with `scale` as they are read.
//
// `scale` lies on the device, where the norm was computed, and says two things. It is max_norm / norm, at most 1; or it is
// not finite, because a gradient was not, and then no kernel here changes anything. So the host can order the next steps
// without having seen this one's norm, and no bad update is ever made.
//
// V numbers for each thread, moved 16 bytes at a time; it needs V to divide their number, and V = 1 serves all others.
#ifndef __CUDACC__
#include "cuda_on_cpu.h"
#endif

// --- a sum of squares ------------------------------------------------------------------------------------------------
// In two stages of fixed order, so that it has the same bits at every run: no atomics. In double, where the square of a
// float cannot overflow, and thousands of small numbers are not lost in a large sum.

// The sum over all threads of a block, of whole warps; in thread 0.
__device__ double sum_of_block(double mine) {
  __shared__ double of_warp[32];
  for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_down_sync(~0u, mine, lanes);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; warp < blockDim.x / 32; warp++) sum += of_warp[warp];
  return sum;
}

// x (n,) -> sums: of the squares of each piece of x, one piece a block
template <class S>
__global__ void squares_of_pieces(const S* x, long long n, int piece, double* sums) {
  const long long first = blockIdx.x * (long long)piece, last = min(first + piece, n);
  double sum = 0;
  for (long long i = first + threadIdx.x; i < last; i += blockDim.x) sum += double(x[i]) * double(x[i]);
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// sums (n,) -> total (1,), by one block
__global__ void total_of_pieces(const double* sums, int n, double* total) {
  double sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += sums[i];
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) *total = sum;
}

// --- one step of an optimiser ----------------------------------------------------------------------------------------

template <class N, int V> struct alignas(sizeof(N) * V < 16 ? sizeof(N) * V : 16) Pack { N at[V]; };

template <int V, class N> __device__ Pack<N, V> load(const N* from) {
  return *reinterpret_cast<const Pack<N, V>*>(from);
}
template <class N, int V> __device__ void store(N* to, const Pack<N, V>& pack) {
  *reinterpret_cast<Pack<N, V>*>(to) = pack;
}

// Where a thread's V numbers begin, of n; n where it has none, or where there must be no update. scale: null is 1
template <class S, int V> __device__ long long begin(const double* scale, long long n, S& factor) {
  const double s = scale ? *scale : 1.0;
  factor = S(s);
  return isfinite(s) ? (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V : n;
}

// The gradient with weight decay; without it an infinite p must not come in as 0 * infinity.
template <class S> __device__ S decayed(S g, S p, S weight_decay) {
  return weight_decay != S(0) ? g + weight_decay * p : g;
}

// p (n,), changed; g (n,); velocity (n,), changed, or null: no momentum
template <class S, int V>
__global__ void sgd(S* p, const S* g, S* velocity, const double* scale, S lr, S momentum, S weight_decay, long long n) {
  S factor;
  const long long i = begin<S, V>(scale, n, factor);
  if (i >= n) return;
  Pack<S, V> p_i = load<V>(p + i), g_i = load<V>(g + i), v_i = {};
  if (velocity) v_i = load<V>(velocity + i);
#pragma unroll
  for (int k = 0; k < V; k++) {
    v_i.at[k] = momentum * v_i.at[k] + decayed(factor * g_i.at[k], p_i.at[k], weight_decay);
    p_i.at[k] -= lr * v_i.at[k];
  }
  store(p + i, p_i);
  if (velocity) store(velocity + i, v_i);
}

// p (n,), changed; g (n,); mean (n,), changed: of p, over `count` of its values with the new one
template <class S, int V>
__global__ void asgd(S* p, const S* g, S* mean, const double* scale, S lr, S weight_decay, S count, long long n) {
  S factor;
  const long long i = begin<S, V>(scale, n, factor);
  if (i >= n) return;
  Pack<S, V> p_i = load<V>(p + i), g_i = load<V>(g + i), mean_i = load<V>(mean + i);
#pragma unroll
  for (int k = 0; k < V; k++) {
    p_i.at[k] -= lr * decayed(factor * g_i.at[k], p_i.at[k], weight_decay);
    mean_i.at[k] += (p_i.at[k] - mean_i.at[k]) / count;
  }
  store(p + i, p_i);
  store(mean + i, mean_i);
}

// p (n,), changed; g (n,); m and v (n,), changed: the means of the gradients and of their squares.
// p = shrink * p - step_size * m / (correction * sqrt(v) + eps); new1 is 1 - beta1, new2 is 1 - beta2
template <class S, int V>
__global__ void adam(S* p, const S* g, S* m, S* v, const double* scale, S new1, S beta2, S new2, S eps, S weight_decay,
                     S shrink, S step_size, S correction, long long n) {
  S factor;
  const long long i = begin<S, V>(scale, n, factor);
  if (i >= n) return;
  Pack<S, V> p_i = load<V>(p + i), g_i = load<V>(g + i), m_i = load<V>(m + i), v_i = load<V>(v + i);
#pragma unroll
  for (int k = 0; k < V; k++) {
    const S d = decayed(factor * g_i.at[k], p_i.at[k], weight_decay);
    m_i.at[k] += new1 * (d - m_i.at[k]);
    v_i.at[k] = beta2 * v_i.at[k] + new2 * (d * d);
    p_i.at[k] = shrink * p_i.at[k] - step_size * (m_i.at[k] / (correction * sqrt(v_i.at[k]) + eps));
  }
  store(p + i, p_i);
  store(m + i, m_i);
  store(v + i, v_i);
}
