// The rows of a word embedding, gathered, and their gradients, added up where a word stands in many places; with a mask
// that drops whole words.
//
// Scattering with atomic additions would be the short way, and give other bits at every run: whoever comes first is
// added first. Sorting the ids would give an order, but a library's sort makes the host wait. Here a block owns words:
// all those with the same remainder when divided by the number of blocks, so that the frequent words, whose ids are
// small, are spread. It walks over all ids, 32 at a time, and where one of its words stands it adds a row: the places of
// a word are added in their order, by the same thread, and nobody else touches that number. To read all ids in every
// block is cheap: some thousand ids are a few kilobytes, and they stay in the cache. What costs is a word that stands in
// thousands of places: its block adds their rows one after the other.
//
// An id that there is not is never used as an address: its row is NaN, which no loss survives unseen.
#ifndef __CUDACC__
#include "cuda_on_cpu.h"
#endif

// weight (V,E), ids (N,), row_mask (V,) or null -> y (N,E). A block for each of the N places.
template <class S>
__global__ void embedding_forward(const S* weight, const int* ids, const S* row_mask, int V, int E, S* y) {
  const int n = blockIdx.x, word = ids[n];
  const bool known = 0 <= word && word < V;
  const S factor = !known ? S(nan("")) : row_mask ? row_mask[word] : S(1);
  const S* row = weight + size_t(known ? word : 0) * E;
  for (int j = threadIdx.x; j < E; j += blockDim.x) y[size_t(n) * E + j] = row[j] * factor;
}

// dy (N,E), ids (N,), row_mask (V,) or null -> added to dweight (V,E). Blocks (x, y): words, columns. A block is made of
// whole warps; each looks through all ids by itself, and its threads have a column each.
template <class S>
__global__ void embedding_backward(const S* dy, const int* ids, const S* row_mask, int N, int V, int E, S* dweight) {
  const int lane = threadIdx.x % 32, j = blockIdx.y * blockDim.x + threadIdx.x;
  for (int first = 0; first < N; first += 32) {
    const int id = first + lane < N ? ids[first + lane] : -1;
    const bool own = 0 <= id && id < V && id % gridDim.x == blockIdx.x;
    unsigned found = __ballot_sync(~0u, own);    // a bit for each of the 32 places
    for (; found; found &= found - 1) {          // the lowest bit goes out
      const int k = __ffs(found) - 1, word = __shfl_sync(~0u, id, k);
      const S factor = row_mask ? row_mask[word] : S(1);
      if (j < E) dweight[size_t(word) * E + j] += dy[size_t(first + k) * E + j] * factor;
    }
  }
}
