// What a kernel finds in CUDA besides its threads (cuda_on_cpu.h): vectors, 16-bit numbers, mathematics, atomics.
#pragma once

#include <math.h>
#include <stdint.h>

#include <bit>
#include <type_traits>

// --- vectors ---------------------------------------------------------------------------------------------------------

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// --- 16-bit numbers: rounded to the nearest, ties to even ------------------------------------------------------------

namespace on_cpu {

inline uint16_t to_half(float number) {
  const uint32_t all = std::bit_cast<uint32_t>(number), sign = all >> 16 & 0x8000;
  uint32_t bits = all & 0x7fffffff;
  if (bits > 0x7f800000) return 0x7fff;              // NaN, as CUDA writes it
  if (bits >= 0x47800000) return sign | 0x7c00;      // from 2^16 on: infinity; what is rounded up to it comes there
  if (bits < 0x38800000)                             // subnormal below 2^-14: the last place of 0.5f is its unit
    return sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(bits) + 0.5f) - 0x3f000000);
  bits += 0xfff + (bits >> 13 & 1);
  return sign | (bits - 0x38000000) >> 13;
}

inline float from_half(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16, rest = uint32_t(half & 0x7fff) << 13;
  if (rest >= 0x0f800000) return std::bit_cast<float>(sign | 0x70000000 | rest);    // infinity, NaN
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p112f));
}

inline uint16_t to_bfloat16(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  return isnan(number) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

}  // namespace on_cpu

struct __half {
  uint16_t bits;
  __half() = default;
  explicit __half(float number) : bits(on_cpu::to_half(number)) {}
  explicit operator float() const { return on_cpu::from_half(bits); }
};
struct __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float number) : bits(on_cpu::to_bfloat16(number)) {}
  explicit operator float() const { return on_cpu::from_bfloat16(bits); }
};
inline __half __float2half(float number) { return __half(number); }
inline float __half2float(__half number) { return float(number); }
inline __nv_bfloat16 __float2bfloat16(float number) { return __nv_bfloat16(number); }
inline float __bfloat162float(__nv_bfloat16 number) { return float(number); }

// --- mathematics -----------------------------------------------------------------------------------------------------

template <class T>
T min(T a, std::type_identity_t<T> b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, std::type_identity_t<T> b) {
  return a < b ? b : a;
}
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return uint64_t(a) * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned __int128>(a) * b >> 64;
}
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __float_as_uint(float number) { return std::bit_cast<unsigned>(number); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}

// --- atomics: as on the GPU, they order nothing but themselves -------------------------------------------------------

template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  __atomic_compare_exchange(p, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;    // what was there
}

namespace on_cpu {

template <class T, class F>
T change(T* p, F make_new) {
  T old, now;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do now = make_new(old);
  while (!__atomic_compare_exchange(p, &old, &now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace on_cpu

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> value) {
  return on_cpu::change(p, [=](T old) { return T(old + value); });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> value) {
  return on_cpu::change(p, [=](T) { return value; });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> value) {
  return on_cpu::change(p, [=](T old) { return max(old, value); });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> value) {
  return on_cpu::change(p, [=](T old) { return min(old, value); });
}
