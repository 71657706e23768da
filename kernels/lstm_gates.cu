// The gates of one time step of an LSTM, forward and backward, in one pass each. What a step needs besides is a matrix
// product, h_prev @ weight_hh.T forward and dgates @ weight_hh backward, and that is left to a library (cupy_gates.py).
//
//   i, f, o = sigmoid(pre)    g = tanh(pre)          pre = x_gates + h_gates, the input's share and the state's
//   c = f * c_prev + i * g    h = o * tanh(c)
//
// The four gates of a row of the batch lie side by side, in the order i, f, g, o, H numbers each. Plain code walks over
// them some twenty times, once for every + and tanh; a GPU spends all that time on waiting for memory. Here a number is
// read once, and what comes of it is written once.
//
//   version 1   one thread for each unit of each row. Threads that are neighbours have units that are neighbours, so
//               that a warp reads 32 numbers in a row. The reference of the ladder: nothing in it is clever.
//   version 2   V units for each thread: it reads and writes 16 bytes at a time, a quarter of the instructions in
//               float, and has more loads under way while it waits for the first. A block stays in one row, so no
//               thread divides by H. It needs V to divide H, for then every row begins at a multiple of 16 bytes; V = 1
//               serves all other H.
//
// Both take rows of different lengths. Past its end a row's y and gates are 0, and its h and c stay as they are; on the
// way back its dgates are 0 there, its dc stays, and at its own last step it begins with dh_T.
//
// S is the type that is stored: float, double, __half or __nv_bfloat16. What is computed, and c and dc, which add up
// over all steps, is float, or double with S = double. The same text runs on the CPU: see cuda_on_cpu.h.
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include "cuda_on_cpu.h"
#endif

template <class S> struct Arithmetic { using type = float; };
template <> struct Arithmetic<double> { using type = double; };
template <class S> using arithmetic = typename Arithmetic<S>::type;

// --- one unit --------------------------------------------------------------------------------------------------------

template <class A> struct Gates { A i, f, g, o; };

template <class A> __device__ A sigmoid(A x) {
  return A(1) / (A(1) + exp(-x));    // exp may overflow: 1 / infinity is 0
}

// gates, in: before activation, out: after; c, in: of the step before, out: of this one -> h
template <class A> __device__ A unit_forward(Gates<A>& gates, A& c) {
  gates = {sigmoid(gates.i), sigmoid(gates.f), tanh(gates.g), sigmoid(gates.o)};
  c = gates.f * c + gates.i * gates.g;
  return gates.o * tanh(c);
}

// gates: after activation; c, c_prev: after and before the step; dc, in: of c, out: of c_prev
// -> d of the gates before activation. Each line of unit_forward, the last one first.
template <class A> __device__ Gates<A> unit_backward(const Gates<A>& gates, A c_prev, A c, A dh, A& dc) {
  const auto [i, f, g, o] = gates;
  const A tanh_c = tanh(c);
  const A d_o = dh * tanh_c;    // h = o * tanh(c)
  dc += dh * o * (A(1) - tanh_c * tanh_c);
  const A d_i = dc * g, d_g = dc * i, d_f = dc * c_prev;    // c = f * c_prev + i * g
  dc *= f;
  return {d_i * i * (A(1) - i), d_f * f * (A(1) - f), d_g * (A(1) - g * g), d_o * o * (A(1) - o)};
}

// --- version 1 -------------------------------------------------------------------------------------------------------

// Step t. x_gates, h_gates (B,4H), h_prev, c_prev (B,H), lengths (B,)
// -> h, c, y (B,H), ifgo (B,4H) or null: not kept. ifgo may be h_gates.
template <class S>
__global__ void gates_forward_1(const S* x_gates, const S* h_gates, const S* h_prev, const arithmetic<S>* c_prev,
                                const int* lengths, int t, int B, int H, S* h, arithmetic<S>* c, S* y, S* ifgo) {
  using A = arithmetic<S>;
  const size_t unit = size_t(blockIdx.x) * blockDim.x + threadIdx.x;    // (b, j) of (B, H)
  if (unit >= size_t(B) * H) return;
  const int b = unit / H, j = unit % H;
  const size_t row = size_t(b) * 4 * H + j;
  const bool alive = t < lengths[b];
  Gates<A> gates{0, 0, 0, 0};
  A c_unit = c_prev[unit];
  S h_unit = h_prev[unit];
  if (alive) {
    gates = {A(x_gates[row]) + A(h_gates[row]), A(x_gates[row + H]) + A(h_gates[row + H]),
             A(x_gates[row + 2 * H]) + A(h_gates[row + 2 * H]), A(x_gates[row + 3 * H]) + A(h_gates[row + 3 * H])};
    h_unit = S(unit_forward(gates, c_unit));
  }
  h[unit] = h_unit;
  c[unit] = c_unit;
  y[unit] = alive ? h_unit : S(0.f);
  if (!ifgo) return;
  ifgo[row] = S(gates.i), ifgo[row + H] = S(gates.f), ifgo[row + 2 * H] = S(gates.g), ifgo[row + 3 * H] = S(gates.o);
}

// Step t. dy (B,H); dh (B,H), from step t + 1; dh_T (B,H), what is said about a row's last h; ifgo (B,4H);
// c_prev, c (B,H); lengths (B,) -> dgates (B,4H), dc (B,H), in: of c, out: of c_prev
template <class S>
__global__ void gates_backward_1(const S* dy, const S* dh, const S* dh_T, const S* ifgo, const arithmetic<S>* c_prev,
                                 const arithmetic<S>* c, const int* lengths, int t, int B, int H, arithmetic<S>* dc,
                                 S* dgates) {
  using A = arithmetic<S>;
  const size_t unit = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (unit >= size_t(B) * H) return;
  const int b = unit / H, j = unit % H;
  const size_t row = size_t(b) * 4 * H + j;
  const int length = lengths[b];
  Gates<A> d{0, 0, 0, 0};
  if (t < length) {
    const A dh_unit = A((t + 1 < length ? dh : dh_T)[unit]) + A(dy[unit]);
    const Gates<A> gates{A(ifgo[row]), A(ifgo[row + H]), A(ifgo[row + 2 * H]), A(ifgo[row + 3 * H])};
    d = unit_backward(gates, c_prev[unit], c[unit], dh_unit, dc[unit]);
  }
  dgates[row] = S(d.i), dgates[row + H] = S(d.f), dgates[row + 2 * H] = S(d.g), dgates[row + 3 * H] = S(d.o);
}

// --- version 2 -------------------------------------------------------------------------------------------------------

// V numbers that are moved with one instruction where they fill 16 bytes.
template <class N, int V> struct alignas(sizeof(N) * V < 16 ? sizeof(N) * V : 16) Pack { N at[V]; };

template <int V, class N> __device__ Pack<N, V> load(const N* from) {
  return *reinterpret_cast<const Pack<N, V>*>(from);
}
template <class N, int V> __device__ void store(N* to, const Pack<N, V>& pack) {
  *reinterpret_cast<Pack<N, V>*>(to) = pack;
}

// As version 1. H is a multiple of V; all arrays begin at multiples of 16 bytes where V is not 1.
template <class S, int V>
__global__ void gates_forward_2(const S* x_gates, const S* h_gates, const S* h_prev, const arithmetic<S>* c_prev,
                                const int* lengths, int t, int B, int H, S* h, arithmetic<S>* c, S* y, S* ifgo) {
  using A = arithmetic<S>;
  const int b = blockIdx.x, j = (blockIdx.y * blockDim.x + threadIdx.x) * V;
  if (j >= H) return;
  const size_t unit = size_t(b) * H + j, row = size_t(b) * 4 * H + j;
  Pack<S, V> h_out = load<V>(h_prev + unit), y_out = {}, out[4] = {};
  Pack<A, V> c_out = load<V>(c_prev + unit);
  if (t < lengths[b]) {
    Pack<S, V> x_in[4], h_in[4];
#pragma unroll
    for (int gate = 0; gate < 4; gate++) {
      x_in[gate] = load<V>(x_gates + row + gate * H);
      h_in[gate] = load<V>(h_gates + row + gate * H);
    }
#pragma unroll
    for (int k = 0; k < V; k++) {
      Gates<A> gates{A(x_in[0].at[k]) + A(h_in[0].at[k]), A(x_in[1].at[k]) + A(h_in[1].at[k]),
                     A(x_in[2].at[k]) + A(h_in[2].at[k]), A(x_in[3].at[k]) + A(h_in[3].at[k])};
      h_out.at[k] = S(unit_forward(gates, c_out.at[k]));
      out[0].at[k] = S(gates.i), out[1].at[k] = S(gates.f), out[2].at[k] = S(gates.g), out[3].at[k] = S(gates.o);
    }
    y_out = h_out;
  }
  store(h + unit, h_out);
  store(c + unit, c_out);
  store(y + unit, y_out);
  if (!ifgo) return;
#pragma unroll
  for (int gate = 0; gate < 4; gate++) store(ifgo + row + gate * H, out[gate]);
}

template <class S, int V>
__global__ void gates_backward_2(const S* dy, const S* dh, const S* dh_T, const S* ifgo, const arithmetic<S>* c_prev,
                                 const arithmetic<S>* c, const int* lengths, int t, int B, int H, arithmetic<S>* dc,
                                 S* dgates) {
  using A = arithmetic<S>;
  const int b = blockIdx.x, j = (blockIdx.y * blockDim.x + threadIdx.x) * V;
  if (j >= H) return;
  const size_t unit = size_t(b) * H + j, row = size_t(b) * 4 * H + j;
  const int length = lengths[b];
  Pack<S, V> out[4] = {};
  if (t < length) {
    Pack<S, V> gates_in[4];
#pragma unroll
    for (int gate = 0; gate < 4; gate++) gates_in[gate] = load<V>(ifgo + row + gate * H);
    const Pack<S, V> dh_in = load<V>((t + 1 < length ? dh : dh_T) + unit), dy_in = load<V>(dy + unit);
    const Pack<A, V> c_prev_in = load<V>(c_prev + unit), c_in = load<V>(c + unit);
    Pack<A, V> dc_unit = load<V>(dc + unit);
#pragma unroll
    for (int k = 0; k < V; k++) {
      const Gates<A> gates{A(gates_in[0].at[k]), A(gates_in[1].at[k]), A(gates_in[2].at[k]), A(gates_in[3].at[k])};
      const A dh_unit = A(dh_in.at[k]) + A(dy_in.at[k]);
      const Gates<A> d = unit_backward(gates, c_prev_in.at[k], c_in.at[k], dh_unit, dc_unit.at[k]);
      out[0].at[k] = S(d.i), out[1].at[k] = S(d.f), out[2].at[k] = S(d.g), out[3].at[k] = S(d.o);
    }
    store(dc + unit, dc_unit);
  }
#pragma unroll
  for (int gate = 0; gate < 4; gate++) store(dgates + row + gate * H, out[gate]);
}
