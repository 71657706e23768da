// A whole time step of an LSTM as one kernel, forward and backward: the product with weight_hh and, where a thread has
// all four sums of a unit, its gates. The library's product cannot be part of a CUDA graph in CuPy; this one can.
//
//   forward    h[t] @ weight_hh.T, then x_gates[t] is added, and the gates give h[t + 1] and c[t + 1]
//   backward   dh = dgates[t + 1] @ weight_hh, then dy[t] is added, and the gates are undone; step -1 gives dh0
//
// A graph repeats its launches with the arguments that they had when it was made. Hence no kernel here is told where
// the arrays of a call are: each gets one address that never changes, and finds the others there, where `publish` has
// written them. The sizes, and t, belong to the graph.
//
//   version 1   16 rows of the batch and 16 units a block, one of each a thread. Squares of both matrices go through
//               shared memory, 16 numbers deep. The reference of the ladder, for any H.
//   version 2   a block has ROWS rows and COLUMNS columns: the four gates of COLUMNS / 4 units, or backward COLUMNS
//               units. A thread has R by 4 of their sums in registers: what it reads from shared memory it uses four
//               times. Few blocks have few sums, so that several teams of threads share each sum among them: every team
//               takes its own lines of a slice, and at the end what they have is added up, always in the same order.
//               The next slice is under way from memory, V numbers at a time, while one is multiplied, and there are
//               two of them in shared memory, so that a slice costs one barrier. V divides H, and weight_hh begins at a
//               multiple of 16 bytes; 64 rows by 64 columns of double have no room.
//
// Rows have different lengths, and S, A and the rest are as in lstm_gates.cu.
#include "lstm_gates.cu"

// --- the arrays of a call --------------------------------------------------------------------------------------------

// Of h and c, row t % rows is the state before step t; ifgo may be null: not kept.
template <class S> struct Forward {
  const S *x_gates, *weight_hh;    // (T,B,4H), (4H,H)
  const int* lengths;              // (B,)
  S* h;                            // (rows,B,H)
  arithmetic<S>* c;                // (rows,B,H)
  S *y, *ifgo;                     // (T,B,H), (T,B,4H)
};

// dy may be null: zero.
template <class S> struct Backward {
  const S *dy, *dh_T, *weight_hh, *ifgo;    // (T,B,H), (B,H), (4H,H), (T,B,4H)
  const int* lengths;                       // (B,)
  const arithmetic<S>* c;                   // (T+1,B,H)
  arithmetic<S>* dc;                        // (B,H), in: of c[t + 1], out: of c[t]
  S *dgates, *dh0;                          // (T,B,4H), (B,H)
};

// One thread. The addresses are the launch's own, copied when it was queued: the host may do next what it likes.
__global__ void publish(unsigned long long* to, unsigned long long a, unsigned long long b, unsigned long long c,
                        unsigned long long d, unsigned long long e, unsigned long long f, unsigned long long g,
                        unsigned long long h, unsigned long long i) {
  to[0] = a, to[1] = b, to[2] = c, to[3] = d, to[4] = e, to[5] = f, to[6] = g, to[7] = h, to[8] = i;
}

// --- one unit, when its sums are there -------------------------------------------------------------------------------

// gates, in: the state's share
template <class S>
__device__ void finish_forward(const Forward<S>& call, int t, int rows, int B, int H, int b, int j,
                               Gates<arithmetic<S>> gates) {
  using A = arithmetic<S>;
  const size_t step = size_t(t) * B + b, now = size_t(t % rows) * B + b, next = size_t((t + 1) % rows) * B + b;
  A c = call.c[now * H + j];
  S h = call.h[now * H + j], y = S(0.f);
  if (t < call.lengths[b]) {
    const S* x = call.x_gates + step * 4 * H + j;
    gates = {gates.i + A(x[0]), gates.f + A(x[H]), gates.g + A(x[2 * H]), gates.o + A(x[3 * H])};
    h = y = S(unit_forward(gates, c));
  } else {
    gates = {0, 0, 0, 0};
  }
  call.h[next * H + j] = h;
  call.c[next * H + j] = c;
  call.y[step * H + j] = y;
  if (!call.ifgo) return;
  S* ifgo = call.ifgo + step * 4 * H + j;
  ifgo[0] = S(gates.i), ifgo[H] = S(gates.f), ifgo[2 * H] = S(gates.g), ifgo[3 * H] = S(gates.o);
}

// dh: of h[t + 1], from step t + 1; it counts where the row has that step
template <class S>
__device__ void finish_backward(const Backward<S>& call, int t, int B, int H, int b, int j, arithmetic<S> dh) {
  using A = arithmetic<S>;
  const size_t unit = size_t(b) * H + j, step = size_t(t) * B * H;
  const int length = call.lengths[b];
  if (t + 1 >= length) dh = A(call.dh_T[unit]);    // of the row's last h
  if (t < 0) {
    call.dh0[unit] = S(dh);
    return;
  }
  Gates<A> d{0, 0, 0, 0};
  if (t < length) {
    const S* ifgo = call.ifgo + 4 * (step + size_t(b) * H) + j;
    const Gates<A> gates{A(ifgo[0]), A(ifgo[H]), A(ifgo[2 * H]), A(ifgo[3 * H])};
    if (call.dy) dh += A(call.dy[step + unit]);
    d = unit_backward(gates, call.c[step + unit], call.c[step + size_t(B) * H + unit], dh, call.dc[unit]);
  }
  S* to = call.dgates + 4 * (step + size_t(b) * H) + j;
  to[0] = S(d.i), to[H] = S(d.f), to[2 * H] = S(d.g), to[3 * H] = S(d.o);
}

// --- version 1 -------------------------------------------------------------------------------------------------------

// Step t, in blocks of 16 by 16 threads.
template <class S> __global__ void step_forward_1(const unsigned long long* addresses, int t, int rows, int B, int H) {
  using A = arithmetic<S>;
  const Forward<S> call = *reinterpret_cast<const Forward<S>*>(addresses);
  using Square = A[16][17];    // a 17th column: no two rows in the same banks
  __shared__ Square h_tile, w_tile[4];
  const int x = threadIdx.x, y = threadIdx.y, j0 = blockIdx.x * 16, b = blockIdx.y * 16 + y;
  const S* h = call.h + size_t(t % rows) * B * H;
  A sums[4] = {};
  for (int k0 = 0; k0 < H; k0 += 16) {
    h_tile[y][x] = b < B && k0 + x < H ? A(h[size_t(b) * H + k0 + x]) : A{};
    for (int gate = 0; gate < 4; gate++) {
      const bool exists = j0 + y < H && k0 + x < H;
      w_tile[gate][y][x] = exists ? A(call.weight_hh[(size_t(gate) * H + j0 + y) * H + k0 + x]) : A{};
    }
    __syncthreads();
    for (int k = 0; k < 16; k++)
      for (int gate = 0; gate < 4; gate++) sums[gate] += h_tile[y][k] * w_tile[gate][x][k];
    __syncthreads();
  }
  if (b < B && j0 + x < H) finish_forward(call, t, rows, B, H, b, j0 + x, {sums[0], sums[1], sums[2], sums[3]});
}

// Step t of T, or -1, in blocks of 16 by 16 threads.
template <class S> __global__ void step_backward_1(const unsigned long long* addresses, int t, int T, int B, int H) {
  using A = arithmetic<S>;
  const Backward<S> call = *reinterpret_cast<const Backward<S>*>(addresses);
  using Square = A[16][16];
  __shared__ Square d_tile, w_tile;
  const int x = threadIdx.x, y = threadIdx.y, j = blockIdx.x * 16 + x, b = blockIdx.y * 16 + y;
  const int n_gates = t + 1 < T ? 4 * H : 0;    // nothing comes after the last step
  const S* dgates = call.dgates + size_t(t + 1) * B * 4 * H;
  A dh = 0;
  for (int k0 = 0; k0 < n_gates; k0 += 16) {
    d_tile[y][x] = b < B && k0 + x < n_gates ? A(dgates[size_t(b) * 4 * H + k0 + x]) : A{};
    w_tile[y][x] = k0 + y < n_gates && j < H ? A(call.weight_hh[size_t(k0 + y) * H + j]) : A{};
    __syncthreads();
    for (int k = 0; k < 16; k++) dh += d_tile[y][k] * w_tile[k][x];
    __syncthreads();
  }
  if (b < B && j < H) finish_backward(call, t, B, H, b, j, dh);
}

// --- version 2 -------------------------------------------------------------------------------------------------------

constexpr int THREADS = 256;    // a block
constexpr int NOWHERE = -1;     // a place in a matrix that is outside of it
template <int A, int B> constexpr int DIVIDED_UP = (A + B - 1) / B;
template <int ROWS> constexpr int COLUMNS_OF_BLOCK = ROWS < 16 ? 16 : ROWS;
template <int ROWS> constexpr int ROWS_OF_THREAD = ROWS < 4 ? ROWS : ROWS < 64 ? 4 : 8;    // it has 4 columns

// How a block divides ROWS by COLUMNS sums.
template <class A, int ROWS> struct Tile {
  static constexpr int COLUMNS = COLUMNS_OF_BLOCK<ROWS>, R = ROWS_OF_THREAD<ROWS>;
  static constexpr int TEAM = ROWS / R * (COLUMNS / 4);              // threads that have all the sums
  static constexpr int TEAMS = THREADS / TEAM;
  static constexpr int DEPTH = 8192 / sizeof(A) / COLUMNS;           // of a slice
  static constexpr int PITCH = COLUMNS + 4, ROW_PITCH = ROWS + 4;    // 4 numbers on: not in the same banks
  static constexpr int SLICE = DEPTH * (PITCH + ROW_PITCH);
  static_assert(DEPTH % TEAMS == 0 && TEAMS * ROWS * COLUMNS <= 2 * SLICE);
};

// A slice of a matrix on its way to shared memory, where WIDTH numbers lie side by side, DEPTH times: what this thread
// brings of it, in packs of V. In the matrix neighbours are along the width or, if it is to be TURNED, along the depth.
template <class S, int V, int WIDTH, int DEPTH, bool TURNED> struct Slice {
  static constexpr int PACKS = WIDTH * DEPTH / V, MINE = DIVIDED_UP<PACKS, THREADS>, PITCH = WIDTH + 4;
  Pack<S, V> packs[MINE];

  // f(number of one of this thread's packs, where it begins in the slice: w, k)
  template <class F> __device__ static void for_each(F f) {
#pragma unroll
    for (int n = 0; n < MINE; n++) {
      const int p = n * THREADS + threadIdx.x;
      if (PACKS % THREADS && p >= PACKS) break;
      if constexpr (TURNED) f(n, p / 4 % WIDTH, (p / 4 / WIDTH * 4 + p % 4) * V);    // a warp: 4 neighbours of 8 lines
      else f(n, p % (WIDTH / V) * V, p / (WIDTH / V));
    }
  }
  // at: w, k -> where it is in the matrix, or NOWHERE: 0
  template <class F> __device__ void fetch(const S* matrix, int k0, F at) {
    for_each([&](int n, int w, int k) {
      const int i = at(w, k0 + k);
      packs[n] = i < 0 ? Pack<S, V>{} : load<V>(matrix + i);
    });
  }
  template <class A> __device__ void put(A* slice) const {
    for_each([&](int n, int w, int k) {
      Pack<A, V> numbers;
#pragma unroll
      for (int v = 0; v < V; v++) numbers.at[v] = A(packs[n].at[v]);
      if constexpr (TURNED) {
#pragma unroll
        for (int v = 0; v < V; v++) slice[(k + v) * PITCH + w] = numbers.at[v];
      } else {
        store(slice + k * PITCH + w, numbers);
      }
    });
  }
};

// a (ROWS, K) @ b (K, COLUMNS); a_at(row, k) and b_at(column, k): which numbers of two matrices they are, or NOWHERE
// -> [TEAMS][ROWS][COLUMNS], to be added up, in shared memory
template <class S, int V, int ROWS, bool TURNED, class F, class G>
__device__ arithmetic<S>* product(int K, const S* a_matrix, F a_at, const S* b_matrix, G b_at) {
  using A = arithmetic<S>;
  using Block = Tile<A, ROWS>;
  constexpr int COLUMNS = Block::COLUMNS, R = Block::R, TEAM = Block::TEAM, ACROSS = COLUMNS / 4;
  __shared__ __align__(16) A memory[2 * Block::SLICE];
  const int team = threadIdx.x / TEAM, row = threadIdx.x % TEAM / ACROSS * R, column = threadIdx.x % ACROSS * 4;
  A sums[R][4] = {};
  Slice<S, V, ROWS, Block::DEPTH, true> a;
  Slice<S, V, COLUMNS, Block::DEPTH, TURNED> b;
  a.fetch(a_matrix, 0, a_at), b.fetch(b_matrix, 0, b_at);
  for (int k0 = 0; k0 < K; k0 += Block::DEPTH) {
    A* a_slice = memory + k0 / Block::DEPTH % 2 * Block::SLICE;    // last used two slices ago: before the last barrier
    A* b_slice = a_slice + Block::DEPTH * Block::ROW_PITCH;
    a.put(a_slice), b.put(b_slice);
    __syncthreads();
    a.fetch(a_matrix, k0 + Block::DEPTH, a_at), b.fetch(b_matrix, k0 + Block::DEPTH, b_at);
#pragma unroll (R < 8 ? 4 : 2)    // 8 rows leave no registers for more
    for (int n = 0; n < Block::DEPTH / Block::TEAMS; n++) {
      const int k = n * Block::TEAMS + team;
      const Pack<A, R> left = load<R>(a_slice + k * Block::ROW_PITCH + row);
      const Pack<A, 4> right = load<4>(b_slice + k * Block::PITCH + column);
#pragma unroll
      for (int r = 0; r < R; r++)
#pragma unroll
        for (int i = 0; i < 4; i++) sums[r][i] += left.at[r] * right.at[i];
    }
  }
  __syncthreads();    // now the slices are of no use
#pragma unroll
  for (int r = 0; r < R; r++) {
    Pack<A, 4> part;
#pragma unroll
    for (int i = 0; i < 4; i++) part.at[i] = sums[r][i];
    store(memory + (team * ROWS + row + r) * COLUMNS + column, part);
  }
  __syncthreads();
  return memory;
}

// Step t.
template <class S, int V, int ROWS> __launch_bounds__(THREADS, 2)
__global__ void step_forward_2(const unsigned long long* addresses, int t, int rows, int B, int H) {
  using A = arithmetic<S>;
  constexpr int UNITS = Tile<A, ROWS>::COLUMNS / 4;
  const Forward<S> call = *reinterpret_cast<const Forward<S>*>(addresses);
  const int b0 = blockIdx.y * ROWS, j0 = blockIdx.x * UNITS;
  const S* h = call.h + (size_t(t % rows) * B + b0) * H;
  const auto h_at = [&](int row, int k) { return b0 + row < B && k < H ? row * H + k : NOWHERE; };
  const auto weight_at = [&](int column, int k) {    // the four gates of a unit are neighbours
    const int gate = column % 4, j = j0 + column / 4;
    return j < H && k < H ? (gate * H + j) * H + k : NOWHERE;
  };
  const A* parts = product<S, V, ROWS, true>(H, h, h_at, call.weight_hh, weight_at);
  for (int n = threadIdx.x; n < ROWS * UNITS; n += THREADS) {
    const int b = b0 + n / UNITS, j = j0 + n % UNITS;
    if (b >= B || j >= H) continue;
    Gates<A> gates{0, 0, 0, 0};
#pragma unroll 4
    for (int part = 0; part < Tile<A, ROWS>::TEAMS; part++) {
      const Pack<A, 4> sums = load<4>(parts + (part * ROWS * UNITS + n) * 4);
      gates = {gates.i + sums.at[0], gates.f + sums.at[1], gates.g + sums.at[2], gates.o + sums.at[3]};
    }
    finish_forward(call, t, rows, B, H, b, j, gates);
  }
}

// Step t of T, or -1.
template <class S, int V, int ROWS> __launch_bounds__(THREADS, 2)
__global__ void step_backward_2(const unsigned long long* addresses, int t, int T, int B, int H) {
  using A = arithmetic<S>;
  constexpr int COLUMNS = Tile<A, ROWS>::COLUMNS;
  const Backward<S> call = *reinterpret_cast<const Backward<S>*>(addresses);
  const int b0 = blockIdx.y * ROWS, j0 = blockIdx.x * COLUMNS;
  const int n_gates = t + 1 < T ? 4 * H : 0;    // nothing comes after the last step
  const S* dgates = call.dgates + (size_t(t + 1) * B + b0) * 4 * H;
  const auto dgates_at = [&](int row, int k) { return b0 + row < B && k < n_gates ? row * 4 * H + k : NOWHERE; };
  const auto weight_at = [&](int column, int k) {
    return j0 + column < H && k < n_gates ? k * H + j0 + column : NOWHERE;
  };
  const A* parts = product<S, V, ROWS, false>(n_gates, dgates, dgates_at, call.weight_hh, weight_at);
  for (int n = threadIdx.x; n < ROWS * COLUMNS; n += THREADS) {
    const int b = b0 + n / COLUMNS, j = j0 + n % COLUMNS;
    if (b >= B || j >= H) continue;
    A dh = 0;
#pragma unroll 4
    for (int part = 0; part < Tile<A, ROWS>::TEAMS; part++) dh += parts[part * ROWS * COLUMNS + n];
    finish_backward(call, t, B, H, b, j, dh);
  }
}
