// Products on tensor cores, in each precision that they have for an LSTM; for lstm_persistent.cu and lstm_cluster.cu.
// Sums are float. What is multiplied are factors, made of what is stored when it is read or, if that is once, written:
//
//   version 2   __half and __nv_bfloat16, as they are stored.
//   version 3   float, as TF32: rounded to 11 bits, the last 13 of its 32 being 0.
//   version 4   float, as a sum of two __nv_bfloat16, high and low, which have some 16 bits between them: high * high +
//               high * low + low * high, three products for one, each with an error near 2^-17 of its size.
//
// Factors have the size of what they are made of. In version 4 four of them, 16 bytes, are the high parts of the first
// two, those of the others, and the low parts of both.
#pragma once

template <class S> constexpr bool IS_HALF = false;
template <> constexpr bool IS_HALF<__half> = true;

// mma, d (16, 8) += a (16, n) @ b (8, n).T, by a warp. A word is two numbers of 16 bits, and n is 16, or a TF32, and n
// is 8. to_tf32: the nearest one, of two the one farther from 0. pair_of_bfloat16: the first in the lower half.
#ifdef __CUDACC__
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define MMA(n, type)                                                                                                  \
  asm("mma.sync.aligned.m16n8k" #n ".row.col.f32." #type "." #type ".f32 "                                            \
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                                         \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1))
#define CONVERT(how, ...) unsigned word; asm("cvt." how : "=r"(word) : __VA_ARGS__); return word
#else    // never launched: cupy_persistent.py takes version 1 there
#define MMA(n, type) __trap()
#define CONVERT(how, ...) return 0
#endif
template <class S>
__device__ void mma(float (&d)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  if constexpr (sizeof(S) == 4) MMA(8, tf32);
  else if constexpr (IS_HALF<S>) MMA(16, f16);
  else MMA(16, bf16);
}
__device__ inline unsigned to_tf32(float x) { CONVERT("rna.tf32.f32 %0, %1;", "f"(x)); }
__device__ inline unsigned pair_of_bfloat16(float first, float second) {
  CONVERT("rn.bf16x2.f32 %0, %2, %1;", "f"(first), "f"(second));
}
#undef MMA
#undef CONVERT
#else
using on_cpu::mma, on_cpu::to_tf32, on_cpu::pair_of_bfloat16;
#endif

// Numbers as they are stored -> as factors: of four that fill 16 bytes come 16 others in versions 3 and 4.
template <int VERSION, class Four> __device__ Four factors(const Four& numbers) {
  if constexpr (VERSION < 3) {
    return numbers;
  } else {
    static_assert(sizeof(Four) == 16);
    const auto& [a, b, c, d] = reinterpret_cast<const float4&>(numbers);
    uint4 made;
    if constexpr (VERSION == 3) {
      made = {to_tf32(a), to_tf32(b), to_tf32(c), to_tf32(d)};
    } else {
      const auto first_of = [](unsigned pair) { return __uint_as_float(pair << 16); };
      const auto second_of = [](unsigned pair) { return __uint_as_float(pair & 0xffff0000); };
      made.x = pair_of_bfloat16(a, b), made.y = pair_of_bfloat16(c, d);
      made.z = pair_of_bfloat16(a - first_of(made.x), b - second_of(made.x));
      made.w = pair_of_bfloat16(c - first_of(made.y), d - second_of(made.y));
    }
    return reinterpret_cast<const Four&>(made);
  }
}

// first and second, whose sum is wanted, += a (16, n) @ b (8, n).T, by a warp. A lane has 16 bytes of factors: of rows
// lane / 4 of a and, `below`, lane / 4 + 8, and of row lane / 4 of b. Which columns they are, and which of them meet in
// which mma, is all the same, as long as a and b agree about it. With two sums neither waits for the other.
template <class S, int VERSION>
__device__ void add_product(float (&first)[4], float (&second)[4], const uint4& a, const uint4& below, const uint4& b) {
  if constexpr (VERSION == 4) {
    mma<__nv_bfloat16>(first, a.x, below.x, a.y, below.y, b.x, b.y);
    mma<__nv_bfloat16>(second, a.x, below.x, a.y, below.y, b.z, b.w);
    mma<__nv_bfloat16>(second, a.z, below.z, a.w, below.w, b.x, b.y);
  } else {
    mma<S>(first, a.x, below.x, a.y, below.y, b.x, b.y);
    mma<S>(second, a.z, below.z, a.w, below.w, b.z, b.w);
  }
}
