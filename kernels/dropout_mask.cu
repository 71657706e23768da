// A dropout mask, drawn where it is used: nothing large comes from the host, and the bits are those of the host.
//
// The numbers come from a counter and not from a stream (Salmon et al. 2011, Philox4x64 with ten rounds), so any thread
// can begin anywhere. Block k of the counters (1, 0, step, 0), (2, 0, step, 0), ... gives four words of 64 bits, a word
// four numbers of 16 bits, the lowest first; an element is dropped where its number is below the threshold. Which
// counter and which key: minilstm/dropout.py, where the same is done by NumPy's generator.
//
//   version 1   a thread draws a block and writes the 16 elements that it decides. Neighbours write 16 elements apart:
//               every store of a warp touches 32 places, and a GPU writes 32 bytes at each of them.
//   version 2   the words of all threads meet in shared memory, and then neighbours write neighbours: 32 elements in a
//               row with each store of a warp. Between drawing and writing all threads wait for each other.
#ifndef __CUDACC__
#include "cuda_on_cpu.h"
#endif

using Word = unsigned long long;    // 64 bits
struct Words { Word at[4]; };

// --- the numbers -----------------------------------------------------------------------------------------------------

// Multipliers, and what is added to the key after each of the rounds: those of Salmon et al. 2011.
__device__ Words philox(Words counter, Word key_0, Word key_1) {
  const Word factor_0 = 0xD2E7470EE14C6C93, factor_1 = 0xCA5A826395121157;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const auto [a, b, c, d] = counter.at;
    counter = {__umul64hi(c, factor_1) ^ b ^ key_0, c * factor_1, __umul64hi(a, factor_0) ^ d ^ key_1, a * factor_0};
    key_0 += 0x9E3779B97F4A7C15, key_1 += 0xBB67AE8584CAA73B;
  }
  return counter;
}

__device__ unsigned number(Word word, int at) {
  return word >> (16 * at) & 0xFFFF;
}

// --- version 1 -------------------------------------------------------------------------------------------------------

// -> mask (n,), 0 or scale
template <class S>
__global__ void dropout_mask_1(Word key_0, Word key_1, Word step, unsigned threshold, S scale, long long n, S* mask) {
  const long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  const Words words = philox({Word(k + 1), 0, step, 0}, key_0, key_1);
#pragma unroll    // so that `words` stay in registers, which have no index
  for (int i = 0; i < 16; i++)
    if (k * 16 + i < n) mask[k * 16 + i] = number(words.at[i / 4], i % 4) < threshold ? S(0) : scale;
}

// --- version 2 -------------------------------------------------------------------------------------------------------

// As version 1. Shared memory: 32 bytes for each thread of a block.
template <class S>
__global__ void dropout_mask_2(Word key_0, Word key_1, Word step, unsigned threshold, S scale, long long n, S* mask) {
  extern __shared__ unsigned char dynamic_shared[];
  Word* words = reinterpret_cast<Word*>(dynamic_shared);
  const long long first = blockIdx.x * (long long)blockDim.x;    // of the block's own counters
  const Words mine = philox({Word(first + threadIdx.x + 1), 0, step, 0}, key_0, key_1);
  for (int i = 0; i < 4; i++) words[threadIdx.x * 4 + i] = mine.at[i];
  __syncthreads();
  for (int i = threadIdx.x; i < 16 * blockDim.x && first * 16 + i < n; i += blockDim.x)
    mask[first * 16 + i] = number(words[i / 4], i % 4) < threshold ? S(0) : scale;
}
