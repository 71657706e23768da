// Softmax cross-entropy of rows of logits, and its gradient, written over the logits.
//
//   loss of a row = log(sum of exp(x)) - x[target] = log(total) - (x[target] - largest)    total = sum of exp(x - largest)
//   d loss / d x  = exp(x - largest) / total - (1 at the target)                           divided by n, the rows that count
//
// x is what the product of the layer below has left in `logits`, and its bias. A block has one row, of tens of thousands
// of numbers, far too many for registers; it is read from memory, and that is all that it costs. So what counts is how
// often.
//
//   version 1   as one would write it down: once for the largest, once for the sum, once for the gradient.
//   version 2   the largest so far and the sum that goes with it in one walk: where a larger number comes, the sum so far
//               is scaled down to it (Milakov & Gimelshein 2018). Two partial results are joined in the same way.
//
// Sums are added up in a fixed order: the loss has the same bits at every run. A target that there is not is never used
// as an address: it makes its row NaN.
#ifndef __CUDACC__
#include "cuda_on_cpu.h"
#endif

template <class S> struct Softmax { S largest, total; };    // total: the sum of exp(x - largest)

template <class S> __device__ Softmax<S> nothing() {
  return {S(-3e38), S(0)};    // less than any number that counts, and finite: -infinity - -infinity would be NaN
}

template <class S> __device__ Softmax<S> join(Softmax<S> a, Softmax<S> b) {
  const S largest = max(a.largest, b.largest);
  return {largest, a.total * exp(a.largest - largest) + b.total * exp(b.largest - largest)};
}

// Those of all threads of a block, of whole warps, joined; the same in all of them.
template <class S> __device__ Softmax<S> join_all(Softmax<S> mine) {
  __shared__ Softmax<S> of_warp[32];
  for (int lanes = 16; lanes > 0; lanes /= 2)
    mine = join(mine, {__shfl_down_sync(~0u, mine.largest, lanes), __shfl_down_sync(~0u, mine.total, lanes)});
  __syncthreads();    // of_warp may still be read from the last time
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  Softmax<S> all = of_warp[0];
  for (int warp = 1; warp < blockDim.x / 32; warp++) all = join(all, of_warp[warp]);
  return all;
}

// The end of both versions. picked: x of the target -> nll (N,) of the block's row; logits becomes the gradient if wanted
template <class S>
__device__ void finish(Softmax<S> softmax, S picked, bool counted, long long target, const long long* n_counted, int V,
                       const S* bias, int want_gradient, S* row, double* nll) {
  const auto [largest, total] = softmax;
  if (threadIdx.x == 0) nll[blockIdx.x] = counted ? log(double(total)) - double(picked - largest) : 0.0;
  if (!want_gradient) return;
  const S share = S(1) / S(*n_counted), factor = picked == picked ? share / total : picked;    // NaN: no such class
  for (int j = threadIdx.x; j < V; j += blockDim.x) {
    const S probability = exp(row[j] + bias[j] - largest) * factor;
    row[j] = !counted ? S(0) : j == target ? probability - share : probability;
  }
}

// The target's x; NaN where there is no such class.
template <class S> __device__ S pick(const S* row, const S* bias, long long target, int V) {
  return 0 <= target && target < V ? row[target] + bias[target] : S(nan(""));
}

// logits (N,V) without bias, bias (V,), targets (N,), n_counted (1,): of all rows, those that are not ignore_index
// -> nll (N,), and with want_gradient logits = d(sum of nll / n_counted)/dx. A block for each of the N rows.
template <class S>
__global__ void cross_entropy_1(const S* bias, const long long* targets, long long ignore_index,
                                const long long* n_counted, int V, int want_gradient, S* logits, double* nll) {
  S* row = logits + size_t(blockIdx.x) * V;
  const long long target = targets[blockIdx.x];
  const bool counted = target != ignore_index;
  const S picked = pick(row, bias, target, V);
  Softmax<S> mine = nothing<S>();
  for (int j = threadIdx.x; j < V; j += blockDim.x) mine.largest = max(mine.largest, row[j] + bias[j]);
  mine.largest = join_all(mine).largest;
  for (int j = threadIdx.x; j < V; j += blockDim.x) mine.total += exp(row[j] + bias[j] - mine.largest);
  finish(join_all(mine), picked, counted, target, n_counted, V, bias, want_gradient, row, nll);
}

template <class S>
__global__ void cross_entropy_2(const S* bias, const long long* targets, long long ignore_index,
                                const long long* n_counted, int V, int want_gradient, S* logits, double* nll) {
  S* row = logits + size_t(blockIdx.x) * V;
  const long long target = targets[blockIdx.x];
  const bool counted = target != ignore_index;
  const S picked = pick(row, bias, target, V);
  Softmax<S> mine = nothing<S>();
  for (int j = threadIdx.x; j < V; j += blockDim.x) {
    const S x = row[j] + bias[j];
    if (x > mine.largest) mine = {x, mine.total * exp(mine.largest - x) + S(1)};
    else mine.total += exp(x - mine.largest);
  }
  finish(join_all(mine), picked, counted, target, n_counted, V, bias, want_gradient, row, nll);
}
