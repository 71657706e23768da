// The text of a CUDA C++ kernel, executed on the CPU, so that it can be tested where there is no GPU (g++, C++20).
//
// A .cu file includes this header instead of CUDA's where the compiler is not NVIDIA's. Its kernels are then plain
// functions, which cuda_on_cpu.cc calls once for every thread of a grid: there stands how, and what is made visible.
// Here is what a kernel can say. Not all of CUDA, only what kernels here use; the next word is a line or two.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <type_traits>
#include <utility>

#include "cuda_on_cpu_types.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __cluster_dims__(...)    // who launches has read it in the text
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ thread_local    // a block is a thread of the operating system; in a function, this is static as well
#define threadIdx (on_cpu::here().thread)
#define blockIdx (on_cpu::here().block)
#define blockDim (on_cpu::here().threads)
#define gridDim (on_cpu::here().blocks)
#define warpSize 32

// What a kernel asks for with: extern __shared__ unsigned char dynamic_shared[];
extern thread_local unsigned char dynamic_shared[];

namespace on_cpu {

struct Here {
  dim3 thread, block, threads, blocks;
  unsigned rank;    // of the thread in its block
};
const Here& here();
inline int lane() { return here().rank % 32; }

void sync_block(int line);
void sync_grid(int line);
unsigned cluster_size();
unsigned rank_in_cluster();    // of the block
void arrive_at_cluster(int line);
void wait_for_cluster(int line);
void* in_shared_memory_of(unsigned rank, const volatile void* mine, int line);
void let_others_run();
void fence();

// Waits for the lanes in mask and returns the value of one of them; from BALLOT, a bit for each value that is not 0.
constexpr int BALLOT = -1;
uint64_t exchange(unsigned mask, uint64_t value, int from, int line);
void gather(uint64_t value, uint64_t (&all)[32], int line);    // of a whole warp

}  // namespace on_cpu

// --- barriers, fences ------------------------------------------------------------------------------------------------

inline void __syncthreads(int line = __builtin_LINE()) { on_cpu::sync_block(line); }
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) { on_cpu::exchange(mask, 0, 0, line); }
inline void __threadfence() { on_cpu::fence(); }
inline void __nanosleep(unsigned) { on_cpu::let_others_run(); }    // every loop that waits for a block must call it

namespace cooperative_groups {

struct grid_group {
  void sync(int line = __builtin_LINE()) const { on_cpu::sync_grid(line); }
};
inline grid_group this_grid() { return {}; }

struct cluster_group {
  struct arrival_token {};
  static unsigned num_blocks() { return on_cpu::cluster_size(); }
  static unsigned block_rank() { return on_cpu::rank_in_cluster(); }
  static arrival_token barrier_arrive(int line = __builtin_LINE()) {
    on_cpu::arrive_at_cluster(line);
    return {};
  }
  static void barrier_wait(int line = __builtin_LINE()) { on_cpu::wait_for_cluster(line); }
  static void barrier_wait(arrival_token&&, int line = __builtin_LINE()) { on_cpu::wait_for_cluster(line); }
  static void sync(int line = __builtin_LINE()) { barrier_arrive(line), barrier_wait(line); }
  template <class T>
  static T* map_shared_rank(T* mine, int rank, int line = __builtin_LINE()) {
    return static_cast<T*>(on_cpu::in_shared_memory_of(rank, mine, line));
  }
};
inline cluster_group this_cluster() { return {}; }

}  // namespace cooperative_groups

// --- exchanges between the lanes of a warp ---------------------------------------------------------------------------

namespace on_cpu {

template <class T>
T shuffle(unsigned mask, T value, int from, int line) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  bits = exchange(mask, bits, from, line);
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace on_cpu

// Lanes are divided into groups of `width`; one that reaches out of its group gets its own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, int line = __builtin_LINE()) {
  return on_cpu::shuffle(mask, value, (on_cpu::lane() & -width) + (from & (width - 1)), line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
  const int lane = on_cpu::lane(), from = lane - int(delta);
  return on_cpu::shuffle(mask, value, from < (lane & -width) ? lane : from, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
  const int lane = on_cpu::lane(), from = lane + int(delta);
  return on_cpu::shuffle(mask, value, from >= (lane & -width) + width ? lane : from, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE()) {
  const int lane = on_cpu::lane(), from = lane ^ bits;
  return on_cpu::shuffle(mask, value, from >= (lane & -width) + width ? lane : from, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return on_cpu::exchange(mask, predicate != 0, on_cpu::BALLOT, line);
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, !predicate, line) == 0;
}

// --- tensor cores ----------------------------------------------------------------------------------------------------

namespace on_cpu {

// cvt.rna.tf32: 10 bits behind the point; half a unit is added to the number's size, unless it is a NaN.
inline unsigned to_tf32(float number) {
  const unsigned bits = __float_as_uint(number);
  return isnan(number) ? 0x7fffffff & ~0x1fff : bits + 0x1000 & ~0x1fff;
}
inline unsigned pair_of_bfloat16(float first, float second) {
  return to_bfloat16(first) | unsigned(to_bfloat16(second)) << 16;
}

// The number that the lower bits are. A float that is no TF32 is a NaN: a tensor core would cut it off in silence.
template <class S>
float factor(uint64_t bits) {
  if constexpr (std::is_same_v<S, float>) {
    return bits & 0x1fff ? NAN : __uint_as_float(bits);
  } else {
    S number;
    number.bits = bits;
    return float(number);
  }
}

// What a warp does with mma.sync: d (16, 8) += a (16, n) @ b (8, n).T, m16n8k16 of __half or __nv_bfloat16, two of them
// in a word, or m16n8k8 of float, as TF32. Of d and a, a lane has rows lane / 4 and lane / 4 + 8, of b row lane / 4;
// columns: those of word lane % 4, and in a2, a3 and b1 those of the fourth word after it; of d 2 * (lane % 4) and the
// next one. The sums are in double, each rounded once.
template <class S>
void mma(float (&d)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1,
         int line = __builtin_LINE()) {
  constexpr int WIDTH = 8 * sizeof(S), OF_LANE = 64 / WIDTH;
  uint64_t a_rows[2][32], b_rows[32];
  gather(a0 | uint64_t(a2) << 32, a_rows[0], line);
  gather(a1 | uint64_t(a3) << 32, a_rows[1], line);
  gather(b0 | uint64_t(b1) << 32, b_rows, line);
  for (int i = 0; i < 4; i++) {
    const uint64_t *row = a_rows[i / 2] + lane() / 4 * 4, *column = b_rows + (lane() % 4 * 2 + i % 2) * 4;
    double sum = d[i];
    for (int k = 0; k < 4 * OF_LANE; k++)
      sum += double(factor<S>(row[k / OF_LANE] >> k % OF_LANE * WIDTH)) *
             factor<S>(column[k / OF_LANE] >> k % OF_LANE * WIDTH);
    d[i] = sum;
  }
}

}  // namespace on_cpu

// --- how a kernel is launched from outside ---------------------------------------------------------------------------

namespace on_cpu {

using Kernel = void (*)();
using Call = void (*)(Kernel, void** arguments);

// sizes: of the grid and of a block; cluster: how many blocks are one -> nullptr, or what went wrong
const char* launch(Call call, Kernel kernel, void** arguments, const unsigned (&sizes)[6], unsigned cluster,
                   size_t shared, bool cooperative, bool descending);

template <class... A>
Call call_of(void (*)(A...)) {
  return [](Kernel kernel, void** arguments) {
    [=]<size_t... I>(std::index_sequence<I...>) {
      reinterpret_cast<void (*)(A...)>(kernel)(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
    }(std::index_sequence_for<A...>());
  };
}

// The types of a kernel's parameters, in NumPy's letters: "*f4," is a float*, "*const f2," a const __half*.
template <class T>
char* spell(char* to) {
  if constexpr (std::is_pointer_v<T>) {
    using Target = std::remove_pointer_t<T>;
    for (const char* from = std::is_const_v<Target> ? "*const " : "*"; *from;) *to++ = *from++;
    return spell<std::remove_cv_t<Target>>(to);
  } else {
    constexpr bool real = std::is_floating_point_v<T> || std::is_same_v<T, __half>;
    *to++ = std::is_same_v<T, __nv_bfloat16> ? 'V' : real ? 'f' : std::is_same_v<T, bool> ? 'b'
          : !std::is_integral_v<T> ? '?' : std::is_signed_v<T> ? 'i' : 'u';
    *to++ = '0' + sizeof(T);
    *to++ = ',';
    return to;
  }
}

template <class... A>
const char* signature(void (*)(A...)) {
  static char letters[sizeof...(A) * 10 + 1];
  char* to = letters;
  ((to = spell<std::remove_cv_t<A>>(to)), ...);
  return letters;
}

}  // namespace on_cpu

#define ON_CPU_EXPORT(k, cluster, ...)                                                                                \
  extern "C" __attribute__((visibility("default"))) const char* launch_##k(                                           \
      const unsigned (&sizes)[6], size_t shared, void** arguments, int cooperative, int descending) {                 \
    const auto kernel = __VA_ARGS__;                                                                                  \
    return on_cpu::launch(on_cpu::call_of(kernel), reinterpret_cast<on_cpu::Kernel>(kernel), arguments, sizes,        \
                          cluster, shared, cooperative, descending);                                                  \
  }                                                                                                                   \
  extern "C" __attribute__((visibility("default"))) const char* signature_##k() {                                     \
    return on_cpu::signature(__VA_ARGS__);                                                                            \
  }                                                                                                                   \
  extern "C" __attribute__((visibility("default"))) unsigned cluster_##k() { return cluster; }
