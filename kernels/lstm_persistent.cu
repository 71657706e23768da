// The recurrence of an LSTM, forward and backward, each as one kernel for all time steps, for any GPU since Volta
// (sm_70), with weight_hh on the chip from the first step to the last. (lstm_cluster.cu is for those with clusters.)
//
// A group of blocks owns ROWS rows of the batch and all of weight_hh: each of its blocks has UNITS hidden units, with
// the rows of weights that make them, in its registers and, where those are full, in shared memory. What a step has
// computed is exchanged through the cache that all blocks share (L2): every block writes its units, a barrier of the
// group, every block reads the whole vectors. One barrier a step; groups know nothing of each other. All blocks of a
// group must be on the GPU at once, so the launch is cooperative, and whoever launches has counted (persistent_plan.py,
// cupy_persistent.py).
//
//   forward    gates (4 * UNITS, rows) = weight_hh[gates of the units] @ h       exchanged: h, H numbers a row
//   backward   dh (UNITS, rows) = weight_hh[:, units].T @ dgates                 exchanged: dgates, 4H numbers a row
//
// Both are the same walk, over vectors of K numbers with rows of weights of K numbers. Within a block the warps divide
// K: each multiplies its columns of all the block's rows of weights, so that it needs its columns of the vectors alone
// and reads them straight into registers, the next ones while it multiplies. The sums of the warps meet in shared
// memory, where whoever owns a cell (a unit of a row) adds them up in the order of the warps: same bits every time.
//
// A barrier is a counter: a block has written, its threads have met, one of them adds 1 with release and waits with
// acquire until all have. The wait is bounded: a block that has looked `polls` times in vain says so in *given_up and
// leaves, and so do, one after the other, those who wait for it. Nothing hangs, and the results are worth nothing.
//
//   version 1   multiplications and additions of each lane: float, double, and 16 bits as well. The exact reference.
//   version 2   tensor cores with float sums: __half and __nv_bfloat16 (and for what follows, tensor_cores.cuh).
//   version 3   the same for float, in TF32: what is multiplied is rounded, what is kept and returned is not.
//   version 4   the same for float, in three products of __nv_bfloat16: near float's accuracy.
//
// Rows have different lengths, and S, A and the rest are as in lstm_gates.cu.
#include "lstm_gates.cu"
#include "tensor_cores.cuh"

// --- a word that blocks wait for -------------------------------------------------------------------------------------

#ifdef __CUDACC__
__device__ __forceinline__ void add_release(unsigned* word, unsigned n) {
  asm volatile("fence.acq_rel.gpu; red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(word), "r"(n) : "memory");
}
__device__ __forceinline__ unsigned read_acquire(const unsigned* word) {
  unsigned n;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(n) : "l"(word) : "memory");
  return n;
}
#else
inline void add_release(unsigned* word, unsigned n) { __atomic_fetch_add(word, n, __ATOMIC_RELEASE); }
inline unsigned read_acquire(const unsigned* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
#endif

constexpr unsigned PAUSE = 0;    // nanoseconds between two looks: as good as none

// A barrier of a group of blocks, one after the other, on a counter that began at 0.
struct Barrier {
  unsigned* const arrived;
  volatile int* const given_up;    // memory of the host
  const unsigned blocks, polls;
  int* const in_vain;              // shared memory: what the block's first thread tells the others
  unsigned awaited = 0;

  // What the block has written before, others can read after their wait.
  __device__ void arrive() {
    __syncthreads();
    if (!threadIdx.x) add_release(arrived, 1);
  }
  // -> whether all have arrived
  __device__ bool wait() {
    awaited += blocks;
    if (!threadIdx.x) {
      unsigned left = polls;
      bool all;
      while (!(all = read_acquire(arrived) >= awaited) && left--) __nanosleep(PAUSE);
      *in_vain = !all;
      if (!all) *given_up = 1;
    }
    __syncthreads();
    return !*in_vain;
  }
};

// --- the share of a block --------------------------------------------------------------------------------------------

// Vectors that a warp multiplies at once, and how many pieces of vectors are on their way meanwhile.
template <int VERSION, int ROWS> constexpr int AT_ONCE = VERSION > 1 ? 16 : ROWS < 4 ? ROWS : 4;
template <int VERSION> constexpr int AHEAD = VERSION > 1 ? 3 : 2;

// How a block does its product: M rows of weights by K columns, times ROWS vectors. Weights come in fragments of 512
// bytes, 16 for each lane: LANES lanes have WIDTH columns of a row, and there are HIGH rows. A warp has TALL of them
// one below the other, CHUNKS side by side.
template <class S, int VERSION_, int M, int LANES_1, int ROWS_, int WARPS_, int CHUNKS_, int KEPT_> struct Share {
  static constexpr int VERSION = VERSION_, ROWS = ROWS_, WARPS = WARPS_, CHUNKS = CHUNKS_, KEPT = KEPT_;
  static constexpr int THREADS = 32 * WARPS;
  static constexpr int V = 16 / sizeof(S), LANES = VERSION == 1 ? LANES_1 : 4, WIDTH = LANES * V, HIGH = 32 / LANES;
  static constexpr int TALL = (M + HIGH - 1) / HIGH, OTHERS = TALL * CHUNKS - KEPT;
  static constexpr int COLUMNS = WARPS * CHUNKS * WIDTH;    // of a vector, with padding
  static constexpr int AT_ONCE = ::AT_ONCE<VERSION, ROWS>, AHEAD = ::AHEAD<VERSION>;
  static constexpr int BELOW = TALL * HIGH;
  static constexpr int SUMS = M % 4 ? BELOW | 1 : 4 * (BELOW / 4 | 1);    // of a vector: neighbours on other banks
  static constexpr int ALL_SUMS = WARPS * ROWS * SUMS;
};

// The weights of a lane, as factors: the first KEPT fragments in its registers, the others in shared memory.
// number_of: row, column -> number; of the rows below the last of them, whose sums nobody reads, any
template <class S, class Share> struct Weights {
  uint4 kept[Share::KEPT ? Share::KEPT : 1];
  uint4* const others;    // [OTHERS][THREADS]

  template <class F> __device__ Weights(uint4* room, F number_of) : others(room) {
    const auto fragment = [&](int f) {
      const int lane = threadIdx.x % 32, row = f % Share::TALL * Share::HIGH + lane / Share::LANES;
      const int chunk = threadIdx.x / 32 * Share::CHUNKS + f / Share::TALL;
      Pack<S, Share::V> numbers;
#pragma unroll
      for (int v = 0; v < Share::V; v++)
        numbers.at[v] = number_of(row, chunk * Share::WIDTH + lane % Share::LANES * Share::V + v);
      return factors<Share::VERSION>(reinterpret_cast<const uint4&>(numbers));
    };
#pragma unroll
    for (int f = 0; f < Share::KEPT; f++) {
      kept[f] = fragment(f);
      asm volatile("" ::: "memory");    // one after the other: all at once would need many registers
    }
#pragma unroll 1
    for (int f = 0; f < Share::OTHERS; f++) others[f * Share::THREADS + threadIdx.x] = fragment(Share::KEPT + f);
  }
  __device__ uint4 operator()(int chunk, int below) const {
    const int f = chunk * Share::TALL + below;
    return f < Share::KEPT ? kept[f] : others[(f - Share::KEPT) * Share::THREADS + threadIdx.x];
  }
};

// What a warp makes of some vectors: its columns of weights @ vectors.
template <class S, class Share, int VERSION = Share::VERSION> struct Product;

template <class S, class Share> struct Product<S, Share, 1> {
  using A = arithmetic<S>;
  static constexpr int N = Share::AT_ONCE, LANES = Share::LANES, V = Share::V;
  A sums[Share::TALL][N] = {};    // over this lane's columns
  struct Piece { uint4 of[N]; };    // of the vectors: this lane's columns in a chunk

  __device__ static Piece read(const S* vectors) {
    Piece piece;
#pragma unroll
    for (int n = 0; n < N; n++)
      piece.of[n] = __ldcg(reinterpret_cast<const uint4*>(vectors + n * Share::COLUMNS + threadIdx.x % LANES * V));
    return piece;
  }
  __device__ void add(int below, const uint4& weights, const Piece& piece) {
    const auto& w = reinterpret_cast<const Pack<S, V>&>(weights);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int v = 0; v < V; v++)
        sums[below][n] += A(w.at[v]) * A(reinterpret_cast<const Pack<S, V>&>(piece.of[n]).at[v]);
  }
  // Lanes that have sums of the same numbers give away the half that is not theirs, and again, until each has the sums
  // of one vector; then they add up what is left to add.
  __device__ void write(A* to) {
    int n_mine = 0;
#pragma unroll
    for (int bit = LANES / 2, half = N / 2; bit; bit /= 2, half /= 2) {
      const bool upper = threadIdx.x & bit;
      if (half && upper) n_mine += half;
#pragma unroll
      for (int i = 0; i < Share::TALL; i++) {
        if (!half) sums[i][0] += __shfl_xor_sync(~0u, sums[i][0], bit);
#pragma unroll
        for (int n = 0; n < half; n++) {
          const A given = __shfl_xor_sync(~0u, upper ? sums[i][n] : sums[i][n + half], bit);
          sums[i][n] = (upper ? sums[i][n + half] : sums[i][n]) + given;
        }
      }
    }
    to += n_mine * Share::SUMS + threadIdx.x % 32 / LANES;
#pragma unroll
    for (int i = 0; i < Share::TALL; i++)
      if (!(threadIdx.x % (LANES / N))) to[i * Share::HIGH] = sums[i][0];    // so many lanes have the same
  }
};

template <class S, class Share, int VERSION> struct Product {
  float sums[Share::TALL][4] = {};
  struct Piece { uint4 low, high; };    // of vectors lane / 4 and lane / 4 + 8, where there are so many

  __device__ static Piece read(const S* vectors) {
    const int row = threadIdx.x % 32 / 4;
    const S* from = vectors + row * Share::COLUMNS + threadIdx.x % 4 * Share::V;
    Piece piece = {};
    if (row < Share::ROWS) piece.low = __ldcg(reinterpret_cast<const uint4*>(from));
    if (Share::ROWS > 8) piece.high = __ldcg(reinterpret_cast<const uint4*>(from + 8 * Share::COLUMNS));
    return piece;
  }
  static_assert(Share::ROWS <= 8 || Share::ROWS % 16 == 0, "no tile with rows that there are not, but half of one");
  __device__ void add(int below, const uint4& w, const Piece& piece) {
    add_product<S, VERSION>(sums[below], sums[below], piece.low, piece.high, w);
  }
  __device__ void write(float* to) {
    const int row = threadIdx.x % 32 / 4;
    to += row * Share::SUMS + threadIdx.x % 4 * 2;
#pragma unroll
    for (int k = 0; k < 4; k++)
      if (row + k / 2 * 8 < Share::ROWS)
#pragma unroll
        for (int i = 0; i < Share::TALL; i++) to[k / 2 * 8 * Share::SUMS + i * 8 + k % 2] = sums[i][k];
  }
};

// vectors (ROWS, COLUMNS), written by many blocks -> sums [WARPS][ROWS][SUMS] in shared memory
template <class S, class Share>
__device__ void multiply(const Weights<S, Share>& weights, const S* vectors, arithmetic<S>* sums) {
  using P = Product<S, Share>;
  const int warp = threadIdx.x / 32;
  vectors += warp * Share::CHUNKS * Share::WIDTH;
  sums += warp * Share::ROWS * Share::SUMS;
  constexpr int AHEAD = Share::AHEAD, CHUNKS = Share::CHUNKS, AT_ONCE = Share::AT_ONCE;
  constexpr int TILES = (Share::ROWS + AT_ONCE - 1) / AT_ONCE;
  typename P::Piece ahead[AHEAD];
  const auto read = [&](int tile, int n) {    // n: of the pieces from this tile on, to the last place
    if (n < CHUNKS || tile + n / CHUNKS < TILES)    // in this tile without a question: ptxas needs fewer registers
      ahead[AHEAD - 1] = P::read(vectors + (tile + n / CHUNKS) * AT_ONCE * Share::COLUMNS + n % CHUNKS * Share::WIDTH);
  };
  const auto move_up = [&] {
#pragma unroll
    for (int n = 1; n < AHEAD; n++) ahead[n - 1] = ahead[n];
  };
#pragma unroll
  for (int n = 0; n < AHEAD; n++) move_up(), read(0, n);
#pragma unroll 1
  for (int tile = 0; tile < TILES; tile++) {
    P product;
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      typename P::Piece piece = ahead[0];
      if constexpr (Share::VERSION > 2) {    // not before: it would be waited for
        piece.low = factors<Share::VERSION>(piece.low);
        if (Share::ROWS > 8) piece.high = factors<Share::VERSION>(piece.high);
      }
      move_up(), read(tile, chunk + AHEAD);
#pragma unroll
      for (int below = 0; below < Share::TALL; below++) product.add(below, weights(chunk, below), piece);
    }
    product.write(sums + tile * AT_ONCE * Share::SUMS);
  }
}

// --- cells -----------------------------------------------------------------------------------------------------------

// A unit of a row. The i-th of a block belongs to the same thread for all steps.
struct Cell {
  const int i, row, unit_in_block, b, unit;
  const bool exists;
  __device__ bool lives(int t, const int* lengths) const { return t < lengths[b]; }
};

// A block's place among the others, and what lies in its shared memory: the weights that are not in registers, sums, a
// State for each cell, a word.
template <class S, class Share, int UNITS, class State> struct Block {
  using A = arithmetic<S>;
  static constexpr int ROWS = Share::ROWS, COLUMNS = Share::COLUMNS;
  const int B, H, group, number;    // number: in the group
  const int first;                  // row of the group
  S* const exchange;                // [2][ROWS][COLUMNS], the group's
  uint4* const others;              // [OTHERS][THREADS]
  A* const sums;                    // [WARPS][ROWS][SUMS]
  State* const cells;               // [ROWS * UNITS]
  Barrier barrier;

  __device__ Block(int B, int H, int first, int blocks, S* exchange, unsigned* arrived, volatile int* given_up,
                   unsigned polls, unsigned char* shared)
      : B(B), H(H), group(blockIdx.x / blocks), number(blockIdx.x % blocks), first(first + group * ROWS),
        exchange(exchange + size_t(group) * 2 * ROWS * COLUMNS), others(reinterpret_cast<uint4*>(shared)),
        sums(reinterpret_cast<A*>(others + Share::OTHERS * Share::THREADS)),
        cells(reinterpret_cast<State*>(sums + Share::ALL_SUMS)),
        barrier{arrived + group * 32, given_up, unsigned(blocks), polls,
                reinterpret_cast<int*>(cells + ROWS * UNITS)} {}

  // The vectors of step t, from a row on. Two steps take turns.
  __device__ S* vectors(int t, int row = 0) const { return exchange + (t % 2 * ROWS + row) * COLUMNS; }
  // What a warp makes of a row.
  __device__ const A* sums_of(int warp, int row) const { return sums + (warp * ROWS + row) * Share::SUMS; }

  // Calls f for each cell of a thread.
  template <class F> __device__ void for_cells(F f) const {
#pragma unroll 1
    for (int i = threadIdx.x; i < ROWS * UNITS; i += Share::THREADS) {
      const int row = i / UNITS, unit = number * UNITS + i % UNITS;
      if (first + row < B && unit < H) f(Cell{i, row, i % UNITS, first + row, unit});
    }
  }
};

template <class S> __device__ Gates<arithmetic<S>> read_gates(const S* from, int H) {
  using A = arithmetic<S>;
  return {A(from[0]), A(from[H]), A(from[2 * H]), A(from[3 * H])};
}
template <class S> __device__ void write_gates(S* to, int H, const Gates<arithmetic<S>>& gates) {
  to[0] = S(gates.i), to[H] = S(gates.f), to[2 * H] = S(gates.g), to[3 * H] = S(gates.o);
}

// --- forward ---------------------------------------------------------------------------------------------------------

template <class A> struct Forward {    // what a cell has in shared memory
  Gates<A> gates;    // of x, until they are those of the step
  A c;
};

// x_gates (T,B,4H), weight_hh (4H,H), lengths (B,), T > 0; h and c (rows,B,H), of which row t % rows is the state
// before step t: row 0 is there, the others come about -> y (T,B,H); ifgo (T,B,4H) or null: not kept. Groups of
// `blocks` blocks, with ROWS rows each, from row `first` on. exchange: for each group (2, ROWS, COLUMNS), and arrived:
// a counter every 128 bytes, all 0. Shared memory: the weights that are not kept, sums, cells, a word.
template <class S, int VERSION, int UNITS, int ROWS, int WARPS, int CHUNKS, int KEPT>
__launch_bounds__(32 * WARPS, 1)
__global__ void lstm_forward(const S* x_gates, const S* weight_hh, const int* lengths, int T, int B, int H, int rows,
                             int first, int blocks, S* h, arithmetic<S>* c, S* y, S* ifgo, S* exchange,
                             unsigned* arrived, volatile int* given_up, unsigned polls) {
  using A = arithmetic<S>;
  using Share = ::Share<S, VERSION, 4 * UNITS, 8, ROWS, WARPS, CHUNKS, KEPT>;
  extern __shared__ __align__(16) unsigned char dynamic_shared[];
  Block<S, Share, UNITS, Forward<A>> block(B, H, first, blocks, exchange, arrived, given_up, polls, dynamic_shared);
  // four rows of weights for each unit: i, f, g, o
  const Weights<S, Share> weights(block.others, [&](int row, int k) {
    const int unit = block.number * UNITS + row / 4;
    return unit < H && k < H ? weight_hh[(size_t(row % 4) * H + unit) * H + k] : S(0.f);
  });
  const auto read = [&](int t, const Cell& cell) {
    if (!cell.lives(t, lengths)) return;    // nor does any at T
    block.cells[cell.i].gates = read_gates(x_gates + (size_t(t) * B + cell.b) * 4 * H + cell.unit, H);
  };
  const auto exchanged = [&](int t, const Cell& cell) -> S& {    // h before step t
    return block.vectors(t, cell.row)[cell.unit];
  };

  block.for_cells([&](const Cell& cell) {
    block.cells[cell.i].c = c[size_t(cell.b) * H + cell.unit];
    exchanged(0, cell) = h[size_t(cell.b) * H + cell.unit];
    read(0, cell);
  });
  block.barrier.arrive();
  if (!block.barrier.wait()) return;

  for (int t = 0; t < T; t++) {
    multiply(weights, block.vectors(t), block.sums);
    __syncthreads();
    block.for_cells([&](const Cell& cell) {
      if (!cell.lives(t, lengths)) {
        exchanged(t + 1, cell) = exchanged(t, cell);
        block.cells[cell.i].gates = {0, 0, 0, 0};
        return;
      }
      Forward<A> now = block.cells[cell.i];
      auto& [i, f, g, o] = now.gates;
#pragma unroll
      for (int warp = 0; warp < WARPS; warp++) {
        const auto sum = load<4>(block.sums_of(warp, cell.row) + 4 * cell.unit_in_block);
        i += sum.at[0], f += sum.at[1], g += sum.at[2], o += sum.at[3];
      }
      exchanged(t + 1, cell) = S(unit_forward(now.gates, now.c));
      block.cells[cell.i] = now;
    });
    block.barrier.arrive();
    block.for_cells([&](const Cell& cell) {
      const size_t now = (size_t(t) * B + cell.b) * H, next = (size_t((t + 1) % rows) * B + cell.b) * H + cell.unit;
      const S h_cell = exchanged(t + 1, cell);
      h[next] = h_cell, c[next] = block.cells[cell.i].c;
      y[now + cell.unit] = cell.lives(t, lengths) ? h_cell : S(0.f);
      if (ifgo) write_gates(ifgo + 4 * now + cell.unit, H, block.cells[cell.i].gates);
      read(t + 1, cell);
    });
    if (!block.barrier.wait()) return;
  }
}

// --- backward --------------------------------------------------------------------------------------------------------

template <class A> struct Backward {    // what a cell has in shared memory
  Gates<A> gates;           // of the step, until they are their gradients before activation
  A c_prev, c, dh, dc, none;    // dh: from outside; none: so that neighbours are on other banks
};

// dy (T,B,H), dh_T and dc_T (B,H), each of them or null: zero; ifgo (T,B,4H), c (T+1,B,H), weight_hh (4H,H), lengths
// (B,), T > 0 -> dgates (T,B,4H), dh0 and dc0 (B,H). The others as in lstm_forward, but that a vector that is exchanged
// is the four gates of the first unit, of the second, ...
template <class S, int VERSION, int UNITS, int ROWS, int WARPS, int CHUNKS, int KEPT>
__launch_bounds__(32 * WARPS, 1)
__global__ void lstm_backward(const S* dy, const S* dh_T, const arithmetic<S>* dc_T, const S* ifgo,
                              const arithmetic<S>* c, const S* weight_hh, const int* lengths, int T, int B, int H,
                              int first, int blocks, S* dgates, S* dh0, arithmetic<S>* dc0, S* exchange,
                              unsigned* arrived, volatile int* given_up, unsigned polls) {
  using A = arithmetic<S>;
  using Share = ::Share<S, VERSION, UNITS, 32, ROWS, WARPS, CHUNKS, KEPT>;
  extern __shared__ __align__(16) unsigned char dynamic_shared[];
  Block<S, Share, UNITS, Backward<A>> block(B, H, first, blocks, exchange, arrived, given_up, polls, dynamic_shared);
  const Weights<S, Share> weights(block.others, [&](int row, int k) {
    const int unit = block.number * UNITS + row;
    return unit < H && k < 4 * H ? weight_hh[(size_t(k % 4) * H + k / 4) * H + unit] : S(0.f);
  });
  const auto read = [&](int t, const Cell& cell) {
    const size_t at = size_t(cell.b) * H + cell.unit, now = size_t(t) * B * H + at;
    Backward<A>& to = block.cells[cell.i];
    to.gates = read_gates(ifgo + 4 * (now - cell.unit) + cell.unit, H);
    to.c_prev = c[now], to.c = c[now + size_t(B) * H];
    to.dh = dy ? A(dy[now]) : A(0);
    if (dh_T && !cell.lives(t + 1, lengths)) to.dh += A(dh_T[at]);
  };
  const auto dh_of = [&](const Cell& cell) {    // what the last product says
    A dh = 0;
#pragma unroll
    for (int warp = 0; warp < WARPS; warp++) dh += block.sums_of(warp, cell.row)[cell.unit_in_block];
    return dh;
  };

  block.for_cells([&](const Cell& cell) {
    block.cells[cell.i].dc = dc_T ? dc_T[size_t(cell.b) * H + cell.unit] : A(0);
    read(T - 1, cell);
  });
  for (int t = T - 1; t >= 0; t--) {
    if (t + 1 < T) multiply(weights, block.vectors(t + 1), block.sums);
    __syncthreads();
    block.for_cells([&](const Cell& cell) {
      Backward<A>& now = block.cells[cell.i];
      if (cell.lives(t, lengths)) {
        const A dh = cell.lives(t + 1, lengths) ? now.dh + dh_of(cell) : now.dh;
        now.gates = unit_backward(now.gates, now.c_prev, now.c, dh, now.dc);
      } else {
        now.gates = {0, 0, 0, 0};
      }
      const auto [i, f, g, o] = now.gates;
      store(block.vectors(t, cell.row) + 4 * cell.unit, Pack<S, 4>{S(i), S(f), S(g), S(o)});
    });
    block.barrier.arrive();
    block.for_cells([&](const Cell& cell) {
      write_gates(dgates + (size_t(t) * B + cell.b) * 4 * H + cell.unit, H, block.cells[cell.i].gates);
      if (t) read(t - 1, cell);
    });
    if (!block.barrier.wait()) return;
  }
  multiply(weights, block.vectors(0), block.sums);
  __syncthreads();
  block.for_cells([&](const Cell& cell) {
    const size_t at = size_t(cell.b) * H + cell.unit;
    dh0[at] = lengths[cell.b] ? S(dh_of(cell)) : dh_T ? dh_T[at] : S(0.f);    // a row that has not begun hands it on
    dc0[at] = block.cells[cell.i].dc;
  });
}
