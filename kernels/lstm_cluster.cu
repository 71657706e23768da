// The recurrence of an LSTM, forward and backward, each as one kernel for all time steps, for GPUs with clusters of
// blocks (Hopper, sm_90, and newer).
//
// A cluster owns ROWS rows of the batch and all of weight_hh, which its blocks share among them and keep on the chip
// from the first step to the last, in registers and, where those are full, in shared memory. The blocks can write into
// each other's shared memory: what a step has computed is sent to the others by plain stores, and one barrier of the
// cluster later the next step begins. Clusters know nothing of each other: there is no barrier of the grid, and a
// batch with more rows than the GPU has room for is only slower.
//
//   forward    a block has 4 * WARPS units with all four gates; it sends their h to every block, which has two copies
//              of the whole h, one to read and one to be written to.
//              gates (4 * units, rows) = weight_hh[gates of the units] @ h
//   backward   the same gates belong to the block: it sends their share of dh to the blocks that own the units, which
//              add up the shares in the order of the blocks, so that the sum is the same every time.
//              dh (H, rows) = sum over blocks of weight_hh[gates of the block].T @ dgates
//
// Both products are made of tiles of 16 by 8 numbers, one warp to a tile, as tensor cores have them. Forward, the 16
// rows of a warp's only tile are the four gates of four units, and its 8 columns eight rows of the batch: two lanes
// have between them all that two cells need, and c never leaves its register. In which order the columns of weight_hh
// are gone through is all the same: of every 64 bytes a lane takes 16.
//
//   version 1   sums of products by each lane, over its own columns, which four lanes then add up: float, double, and
//               16 bits as well. The reference of the ladder.
//   version 2   tensor cores, with float sums: __half and __nv_bfloat16 (and for what follows, tensor_cores.cuh).
//   version 3   the same for float, in TF32.
//   version 4   the same for float, in three products of __nv_bfloat16.
//
// In versions 3 and 4 the packed weights, and the h or dgates that the blocks send each other, are factors for tensor
// cores; all that is returned is what they were made of.
//
// Rows have different lengths, and S, A and the rest are as in lstm_gates.cu.
#ifdef __CUDACC__
#include <cooperative_groups.h>
#endif
#include "lstm_gates.cu"
#include "tensor_cores.cuh"

namespace cg = cooperative_groups;

// --- weights ---------------------------------------------------------------------------------------------------------

// What a lane has of a tile of weights, 16 rows by 32 columns: eight columns of row lane / 4 and then of row
// lane / 4 + 8, in pieces of 16 bytes, one of each 64 bytes of columns.
template <class S> struct Fragment {
  static constexpr int V = 16 / sizeof(S), PIECES = sizeof(S), OF_ROW = PIECES / 2;
  uint4 piece[PIECES];
  __device__ S at(int i) const { return reinterpret_cast<const Pack<S, V>&>(piece[i / V]).at[i % V]; }
};

// Numbers [block][fragment][piece][thread][V] of a cluster, so that its threads can fetch their fragments at once.
// number_of: block, warp, fragment, row and column in the tile -> number. One thread of the grid to a piece.
template <class S, int VERSION, class F>
__device__ void pack(int blocks, int warps, int fragments, S* packed, F number_of) {
  constexpr int V = Fragment<S>::V, PIECES = Fragment<S>::PIECES, OF_ROW = Fragment<S>::OF_ROW;
  const int i = blockIdx.x * blockDim.x + threadIdx.x, threads = 32 * warps;
  if (i >= blocks * fragments * PIECES * threads) return;
  const int lane = i % 32, warp = i % threads / 32, piece = i / threads % PIECES;
  const int fragment = i / threads / PIECES % fragments, block = i / threads / PIECES / fragments;
  Pack<S, V> numbers;
#pragma unroll
  for (int v = 0; v < V; v++) {
    const int row = lane / 4 + piece / OF_ROW * 8, column = (piece % OF_ROW * 4 + lane % 4) * V + v;
    numbers.at[v] = number_of(block, warp, fragment, row, column);
  }
  store(packed + size_t(i) * V, factors<VERSION>(numbers));
}

// weight_hh (4H,H): a warp's 16 rows are i of its four units, f, g and o.
template <class S, int VERSION>
__global__ void pack_forward(const S* weight_hh, int H, int blocks, int warps, int fragments, S* packed) {
  pack<S, VERSION>(blocks, warps, fragments, packed, [&](int block, int warp, int fragment, int row, int column) {
    const int unit = (block * warps + warp) * 4 + row % 4, k = fragment * 32 + column;
    return unit < H && k < H ? weight_hh[(size_t(row / 4) * H + unit) * H + k] : S(0.f);
  });
}

// A warp's rows are 16 of the H columns of weight_hh, and 16 more for each further tile; the columns of its tiles are
// the gates of the block: i, f, g, o of its first unit, of the second, ... What comes after those of its last unit will
// be multiplied by 0.
template <class S, int VERSION>
__global__ void pack_backward(const S* weight_hh, int H, int blocks, int warps, int fragments, S* packed) {
  const int chunks = (warps + 1) / 2;    // of 32 gates
  pack<S, VERSION>(blocks, warps, fragments, packed, [&](int block, int warp, int fragment, int row, int column) {
    const int k = (fragment / chunks * warps + warp) * 16 + row, gate = fragment % chunks * 32 + column;
    const int unit = block * 4 * warps + gate / 4;
    return unit < H && k < H ? weight_hh[(size_t(gate % 4) * H + unit) * H + k] : S(0.f);
  });
}

// All fragments of a lane: the first KEPT of them in its registers, the others in shared memory.
template <class S, int FRAGMENTS, int KEPT> struct Weights {
  static constexpr int PIECES = Fragment<S>::PIECES;
  Fragment<S> kept[KEPT ? KEPT : 1];
  uint4* const others;    // [FRAGMENTS - KEPT][pieces][threads]

  __device__ Weights(const S* packed, int block, S* room) : others(reinterpret_cast<uint4*>(room)) {
    const uint4* from = reinterpret_cast<const uint4*>(packed) + size_t(block) * FRAGMENTS * PIECES * blockDim.x;
#pragma unroll
    for (int f = 0; f < KEPT; f++)
#pragma unroll
      for (int p = 0; p < PIECES; p++) kept[f].piece[p] = from[(f * PIECES + p) * blockDim.x + threadIdx.x];
    from += KEPT * PIECES * blockDim.x;
    for (int i = threadIdx.x; i < (FRAGMENTS - KEPT) * PIECES * blockDim.x; i += blockDim.x) others[i] = from[i];
  }
  // Calls add for each of n fragments from one on, with its number among them.
  template <class F> __device__ void for_each(int first, int n, F add) const {
#pragma unroll
    for (int f = 0; f < n; f++)
      if (first + f < KEPT) add(kept[first + f], f);
#pragma unroll 2    // with more of them at a time ptxas reads them all at once, and spills
    for (int f = max(KEPT - first, 0); f < n; f++) {
      Fragment<S> fragment;
      const uint4* from = others + (first + f - KEPT) * PIECES * blockDim.x + threadIdx.x;
#pragma unroll
      for (int p = 0; p < PIECES; p++) fragment.piece[p] = from[p * blockDim.x];
      add(fragment, f);
    }
  }
};

// --- products --------------------------------------------------------------------------------------------------------

// What a lane has of a product of 16 by 8: rows lane / 4 (at[0], at[1]) and lane / 4 + 8 (at[2], at[3]), and columns
// 2 * (lane % 4) and the next one.
template <class A> struct Tile { A at[4]; };

// weights (16, n) @ x (8, n).T, 32 columns at a time. x lies in rows of `pitch` numbers.
template <class S, int VERSION> struct Product;

template <class S> struct Product<S, 1> {
  using A = arithmetic<S>;
  static constexpr int V = Fragment<S>::V, OF_ROW = Fragment<S>::OF_ROW;
  A sums[2][8] = {};    // over this lane's columns

  __device__ void add(const Fragment<S>& weights, const S* x, int pitch) {
#pragma unroll
    for (int row = 0; row < 8; row++) {
      const S* from = x + row * pitch + threadIdx.x % 4 * V;
      Pack<S, V> piece[OF_ROW];
#pragma unroll
      for (int p = 0; p < OF_ROW; p++) piece[p] = load<V>(from + p * 4 * V);
#pragma unroll
      for (int k = 0; k < 8; k++) {
        const A number = A(piece[k / V].at[k % V]);
        sums[0][row] += A(weights.at(k)) * number;
        sums[1][row] += A(weights.at(k + 8)) * number;
      }
    }
  }

  // Four lanes have sums of the same numbers: two by two they give away the half that is not theirs, and once more.
  __device__ Tile<A> total() const {
    const bool second = threadIdx.x & 2, odd = threadIdx.x & 1;
    Tile<A> total;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      A half[4];
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const A given = __shfl_xor_sync(~0u, second ? sums[i][k] : sums[i][k + 4], 2);
        half[k] = (second ? sums[i][k + 4] : sums[i][k]) + given;
      }
#pragma unroll
      for (int k = 0; k < 2; k++) {
        const A given = __shfl_xor_sync(~0u, odd ? half[k] : half[k + 2], 1);
        total.at[2 * i + k] = (odd ? half[k + 2] : half[k]) + given;
      }
    }
    return total;
  }
};

template <class S, int VERSION> struct Product {
  float sums[2][4] = {};

  __device__ void add(const Fragment<S>& weights, const S* x, int pitch) {
    constexpr int V = Fragment<S>::V, OF_ROW = Fragment<S>::OF_ROW;
    const S* from = x + threadIdx.x % 32 / 4 * pitch + threadIdx.x % 4 * V;
#pragma unroll
    for (int p = 0; p < OF_ROW; p++)
      add_product<S, VERSION>(sums[0], sums[1], weights.piece[p], weights.piece[p + OF_ROW],
                              *reinterpret_cast<const uint4*>(from + p * 4 * V));
  }
  __device__ Tile<float> total() const {
    return {sums[0][0] + sums[1][0], sums[0][1] + sums[1][1], sums[0][2] + sums[1][2], sums[0][3] + sums[1][3]};
  }
};

// Numbers from one row of a matrix in shared memory to the next: eight rows at 64 bytes are on all banks at once.
template <class S> __device__ constexpr int pitch(int columns) {
  return columns + (columns * sizeof(S) % 128 ? 0 : 64 / sizeof(S));
}

// --- who does what ---------------------------------------------------------------------------------------------------

// A lane's cells: one unit, and one row of every eight.
template <int CLUSTER, int WARPS, int ROWS> struct Cells {
  const cg::cluster_group cluster = cg::this_cluster();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int block = cluster.block_rank();
  const int unit_in_block = 4 * warp + lane / 4 % 4, unit = 4 * WARPS * block + unit_in_block;
  const int row = lane % 4 * 2 + lane / 16;              // of the first eight of the cluster
  const int first = blockIdx.x / CLUSTER * ROWS;         // of the cluster's rows

  __device__ int row_of(int n) const { return first + 8 * n + row; }
  __device__ bool exists(int n, int B, int H) const { return row_of(n) < B && unit < H; }
};

// The gates of a lane's cell. The lanes of the lower half of the warp have i and g of two rows, those of the upper half
// f and o; one row is for the one, the next one for the other.
template <class A> __device__ Gates<A> gates_of_cell(const Tile<A>& tile) {
  const bool upper = threadIdx.x & 16;
  const A first = __shfl_xor_sync(~0u, upper ? tile.at[0] : tile.at[1], 16);
  const A second = __shfl_xor_sync(~0u, upper ? tile.at[2] : tile.at[3], 16);
  if (upper) return {first, tile.at[1], second, tile.at[3]};
  return {tile.at[0], first, tile.at[2], second};
}

template <class S> __device__ Gates<arithmetic<S>> read_gates(const S* from, int H) {
  using A = arithmetic<S>;
  return {A(from[0]), A(from[H]), A(from[2 * H]), A(from[3 * H])};
}
template <class S> __device__ void write_gates(S* to, int H, const Gates<arithmetic<S>>& gates) {
  to[0] = S(gates.i), to[H] = S(gates.f), to[2 * H] = S(gates.g), to[3 * H] = S(gates.o);
}

// --- forward ---------------------------------------------------------------------------------------------------------

// x_gates (T,B,4H), packed weights, lengths (B,), T > 0; h and c (rows,B,H), of which row t % rows is the state before
// step t: row 0 is there, the others come about -> y (T,B,H); ifgo (T,B,4H) or null: not kept.
// FRAGMENTS: a 32nd of H, rounded up. Clusters of a grid of one row; shared memory: h twice, (ROWS, pitch), and the
// weights that are not kept.
template <class S, int VERSION, int CLUSTER, int WARPS, int FRAGMENTS, int KEPT, int ROWS>
__cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(32 * WARPS, 1)
__global__ void lstm_forward(const S* x_gates, const S* packed, const int* lengths, int T, int B, int H, int rows,
                             S* h, arithmetic<S>* c, S* y, S* ifgo) {
  using A = arithmetic<S>;
  constexpr int N = ROWS / 8, PITCH = pitch<S>(32 * FRAGMENTS);
  extern __shared__ __align__(16) unsigned char dynamic_shared[];
  S* const h_all = reinterpret_cast<S*>(dynamic_shared);    // [2][ROWS][PITCH]
  const Cells<CLUSTER, WARPS, ROWS> cells;
  const int four = cells.unit - cells.lane / 4 % 4;    // the first unit of the warp
  const Weights<S, FRAGMENTS, KEPT> weights(packed, cells.block, h_all + 2 * ROWS * PITCH);
  for (int i = 4 * threadIdx.x; i < ROWS * PITCH; i += 4 * 32 * WARPS) {
    const int b = cells.first + i / PITCH, k = i % PITCH;
    Pack<S, 4> h_four;
#pragma unroll
    for (int j = 0; j < 4; j++) h_four.at[j] = b < B && k + j < H ? h[size_t(b) * H + k + j] : S(0.f);
    store(h_all + i, factors<VERSION>(h_four));
    store(h_all + ROWS * PITCH + i, Pack<S, 4>{});    // what lies beyond H stays as it is
  }

  int length[N];
  S h_cell[N];
  A c_cell[N];
  Gates<A> x[N], gates[N];
  const auto read = [&](int t) {
#pragma unroll
    for (int n = 0; n < N; n++)
      if (t < length[n]) x[n] = read_gates(x_gates + (size_t(t) * B + cells.row_of(n)) * 4 * H + cells.unit, H);
  };
#pragma unroll
  for (int n = 0; n < N; n++) {
    const bool exists = cells.exists(n, B, H);
    const size_t cell = size_t(cells.row_of(n)) * H + cells.unit;
    length[n] = exists ? lengths[cells.row_of(n)] : 0;
    h_cell[n] = exists ? h[cell] : S(0.f);
    c_cell[n] = exists ? c[cell] : A(0);
  }
  read(0);
  cells.cluster.sync();

  for (int t = 0; t < T; t++) {
    const S* const h_now = h_all + t % 2 * ROWS * PITCH;
    S* const h_next = h_all + (t + 1) % 2 * ROWS * PITCH;
#pragma unroll
    for (int n = 0; n < N; n++) {
      Product<S, VERSION> product;
      weights.for_each(0, FRAGMENTS, [&](const Fragment<S>& fragment, int f) {
        product.add(fragment, h_now + 8 * n * PITCH + 32 * f, PITCH);
      });
      gates[n] = gates_of_cell(product.total());
      if (t < length[n]) {
        gates[n] = {gates[n].i + x[n].i, gates[n].f + x[n].f, gates[n].g + x[n].g, gates[n].o + x[n].o};
        h_cell[n] = S(unit_forward(gates[n], c_cell[n]));
      } else {
        gates[n] = {0, 0, 0, 0};
      }
      // the h of four units travels together, and their four lanes send it to different blocks
      Pack<S, 4> h_four;
#pragma unroll
      for (int i = 0; i < 4; i++) h_four.at[i] = __shfl_sync(~0u, h_cell[n], (cells.lane & ~12) + 4 * i);
      const Pack<S, 4> sent = factors<VERSION>(h_four);
      S* const to = h_next + (8 * n + cells.row) * PITCH + four;
      for (int block = cells.lane / 4 % 4; block < CLUSTER; block += 4)
        if (four < H) store(cells.cluster.map_shared_rank(to, block), sent);
    }
    cells.cluster.barrier_arrive();
#pragma unroll
    for (int n = 0; n < N; n++) {
      if (!cells.exists(n, B, H)) continue;
      const size_t b = cells.row_of(n), cell = (size_t(t + 1) % rows * B + b) * H + cells.unit;
      h[cell] = h_cell[n], c[cell] = c_cell[n];
      y[(size_t(t) * B + b) * H + cells.unit] = t < length[n] ? h_cell[n] : S(0.f);
      if (ifgo) write_gates(ifgo + (size_t(t) * B + b) * 4 * H + cells.unit, H, gates[n]);
    }
    read(t + 1);
    cells.cluster.barrier_wait();
  }
}

// --- backward --------------------------------------------------------------------------------------------------------

// dy (T,B,H), dh_T and dc_T (B,H), each of them or null: zero; ifgo (T,B,4H), c (T+1,B,H), packed weights, lengths
// (B,), T > 0 -> dgates (T,B,4H), dh0 and dc0 (B,H).
// FRAGMENTS: CHUNKS for each of a warp's tiles. Clusters of a grid of one row; shared memory: twice the shares of dh
// from every block, (CLUSTER, units, ROWS); dgates of the block, (ROWS, pitch); and the weights that are not kept.
template <class S, int VERSION, int CLUSTER, int WARPS, int FRAGMENTS, int KEPT, int ROWS>
__cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(32 * WARPS, 1)
__global__ void lstm_backward(const S* dy, const S* dh_T, const arithmetic<S>* dc_T, const S* ifgo,
                              const arithmetic<S>* c, const S* packed, const int* lengths, int T, int B, int H,
                              S* dgates, S* dh0, arithmetic<S>* dc0) {
  using A = arithmetic<S>;
  constexpr int N = ROWS / 8, UNITS = 4 * WARPS, CHUNKS = (WARPS + 1) / 2, PITCH = pitch<S>(32 * CHUNKS);
  constexpr int SHARES = CLUSTER * UNITS * ROWS;
  extern __shared__ __align__(16) unsigned char dynamic_shared[];
  A* const shares = reinterpret_cast<A*>(dynamic_shared);          // [2][CLUSTER][UNITS][ROWS]
  S* const d_block = reinterpret_cast<S*>(shares + 2 * SHARES);    // [ROWS][PITCH]
  const Cells<CLUSTER, WARPS, ROWS> cells;
  S* const d_cell = d_block + cells.row * PITCH + 4 * cells.unit_in_block;
  const Weights<S, FRAGMENTS, KEPT> weights(packed, cells.block, d_block + ROWS * PITCH);
  for (int i = threadIdx.x; i < ROWS * PITCH; i += 32 * WARPS) d_block[i] = S(0.f);    // beyond the gates, too

  int length[N];
  A c_now[N], c_prev[N], dc[N], dh_given[N];    // given: from outside
  Gates<A> gates[N];
  Pack<S, 4> d_gates[N];    // of the step, where what is multiplied is made of them
  const auto read = [&](int t) {
#pragma unroll
    for (int n = 0; n < N; n++) {
      if (t < 0 || t >= length[n]) continue;
      const size_t b = cells.row_of(n), cell = b * H + cells.unit, step = size_t(t) * B * H;
      gates[n] = read_gates(ifgo + 4 * step + b * 4 * H + cells.unit, H);
      c_now[n] = c[step + size_t(B) * H + cell], c_prev[n] = c[step + cell];
      dh_given[n] = dy ? A(dy[step + cell]) : A(0);
      if (t + 1 == length[n] && dh_T) dh_given[n] += A(dh_T[cell]);
    }
  };
  // what the product of step t says about the h before it
  const auto dh_of = [&](int t, int n) {
    const A* share = shares + t % 2 * SHARES + cells.unit_in_block * ROWS + 8 * n + cells.row;
    A dh = 0;
#pragma unroll
    for (int block = 0; block < CLUSTER; block++) dh += share[block * UNITS * ROWS];
    return dh;
  };
#pragma unroll
  for (int n = 0; n < N; n++) {
    const bool exists = cells.exists(n, B, H);
    length[n] = exists ? lengths[cells.row_of(n)] : 0;
    dc[n] = exists && dc_T ? dc_T[size_t(cells.row_of(n)) * H + cells.unit] : A(0);
  }
  read(T - 1);
  cells.cluster.sync();

  for (int t = T - 1; t >= 0; t--) {
#pragma unroll
    for (int n = 0; n < N; n++) {
      Gates<A> d{0, 0, 0, 0};
      if (t < length[n]) {
        const A dh = dh_given[n] + (t + 1 < length[n] ? dh_of(t + 1, n) : A(0));
        d = unit_backward(gates[n], c_prev[n], c_now[n], dh, dc[n]);
      }
      d_gates[n] = {S(d.i), S(d.f), S(d.g), S(d.o)};
      store(d_cell + 8 * n * PITCH, factors<VERSION>(d_gates[n]));
    }
    __syncthreads();
#pragma unroll
    for (int tile = 0; tile < FRAGMENTS / CHUNKS; tile++) {
#pragma unroll 2    // with more of them at a time the addresses of shares spill
      for (int n = 0; n < N; n++) {
        Product<S, VERSION> product;
        weights.for_each(tile * CHUNKS, CHUNKS, [&](const Fragment<S>& fragment, int f) {
          product.add(fragment, d_block + 8 * n * PITCH + 32 * f, PITCH);
        });
        const Tile<A> total = product.total();
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const int unit = (tile * WARPS + cells.warp) * 16 + cells.lane / 4 + 8 * i;
          if (unit >= H) continue;
          A* const to = shares + t % 2 * SHARES + (cells.block * UNITS + unit % UNITS) * ROWS;
          store(cells.cluster.map_shared_rank(to + 8 * n + cells.lane % 4 * 2, unit / UNITS),
                Pack<A, 2>{total.at[2 * i], total.at[2 * i + 1]});
        }
      }
    }
    cells.cluster.barrier_arrive();
#pragma unroll
    for (int n = 0; n < N; n++) {
      if (!cells.exists(n, B, H)) continue;
      const Pack<S, 4> d = VERSION < 3 ? load<4>(d_cell + 8 * n * PITCH) : d_gates[n];
      S* const to = dgates + (size_t(t) * B + cells.row_of(n)) * 4 * H + cells.unit;
#pragma unroll
      for (int gate = 0; gate < 4; gate++) to[gate * H] = d.at[gate];
    }
    read(t - 1);
    cells.cluster.barrier_wait();
  }
#pragma unroll
  for (int n = 0; n < N; n++) {
    if (!cells.exists(n, B, H)) continue;
    const size_t cell = size_t(cells.row_of(n)) * H + cells.unit;
    dh0[cell] = length[n] ? S(dh_of(0, n)) : dh_T ? dh_T[cell] : S(0.f);    // a row that has not begun hands it on
    dc0[cell] = dc[n];
  }
}
