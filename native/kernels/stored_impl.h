// Eight floats at a time, and weights as they lie in memory: float, half precision (Half), eight-bit integers (int8_t,
// times a scale of the row). A half becomes a float exactly; stored values are finite, so infinities need no care.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace gossamer {
namespace {

struct Half {
  uint16_t bits;
};

constexpr int kEightBytes = kBytes >= 32 ? 32 : 16, kParts = 32 / kEightBytes, kPart = kEightBytes / 4;
typedef float E __attribute__((vector_size(kEightBytes)));
typedef float EU __attribute__((vector_size(kEightBytes), aligned(4), may_alias));
typedef int32_t EI __attribute__((vector_size(kEightBytes)));

struct Eight {  // one vector of 32 bytes or two of 16
  E part[kParts];
};

// (bits without sign) << 13 is the half as a float with an exponent too small by 112, also where it is subnormal.
GSM_INLINE float value_of(Half h) {
  const uint32_t magnitude = (uint32_t)(h.bits & 0x7FFF) << 13, sign = (uint32_t)(h.bits & 0x8000) << 16;
  float f;
  __builtin_memcpy(&f, &magnitude, 4);
  f *= 0x1p112f;
  uint32_t bits;
  __builtin_memcpy(&bits, &f, 4);
  bits |= sign;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
GSM_INLINE float value_of(float x) { return x; }
GSM_INLINE float value_of(int8_t x) { return (float)x; }

GSM_INLINE float fma1(float a, float b, float c) {
#if defined(GSM_UNIT_PORTABLE)
  return a * b + c;
#else
  return __builtin_fmaf(a, b, c);
#endif
}

GSM_INLINE E fma_part(E a, E b, E c) {
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  return _mm256_fmadd_ps(a, b, c);
#else
  return fma(a, b, c);
#endif
}
GSM_INLINE void fma8(Eight& acc, const Eight& a, const Eight& b) {
#pragma GCC unroll 2
  for (int p = 0; p < kParts; ++p) acc.part[p] = fma_part(a.part[p], b.part[p], acc.part[p]);
}
GSM_INLINE Eight add8(Eight a, const Eight& b) {
#pragma GCC unroll 2
  for (int p = 0; p < kParts; ++p) a.part[p] += b.part[p];
  return a;
}
GSM_INLINE Eight splat8(float x) {
  Eight r;
#pragma GCC unroll 2
  for (int p = 0; p < kParts; ++p) r.part[p] = E{} + x;
  return r;
}

GSM_INLINE Eight load8(const float* p) {
  Eight r;
#pragma GCC unroll 2
  for (int i = 0; i < kParts; ++i) r.part[i] = *reinterpret_cast<const EU*>(p + i * kPart);
  return r;
}
GSM_INLINE void store8(float* p, const Eight& v) {
#pragma GCC unroll 2
  for (int i = 0; i < kParts; ++i) *reinterpret_cast<EU*>(p + i * kPart) = v.part[i];
}
GSM_INLINE Eight load8(const Half* p) {
  Eight r;
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  r.part[0] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(GSM_UNIT_NEON)
  for (int i = 0; i < 2; ++i)
    r.part[i] = (E)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p) + 4 * i)));
#else
  for (int i = 0; i < kParts; ++i) {
    EI half = {};
#pragma GCC unroll 4
    for (int j = 0; j < kPart; ++j) half[j] = p[i * kPart + j].bits;
    const E magnitude = (E)((half & 0x7FFF) << 13) * 0x1p112f;
    r.part[i] = (E)((EI)magnitude | (half & 0x8000) << 16);
  }
#endif
  return r;
}
GSM_INLINE Eight load8(const int8_t* p) {
  Eight r;
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  r.part[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#elif defined(GSM_UNIT_NEON)
  const int16x8_t wide = vmovl_s8(vld1_s8(p));
  r.part[0] = (E)vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
  r.part[1] = (E)vcvtq_f32_s32(vmovl_s16(vget_high_s16(wide)));
#else
  for (int i = 0; i < kParts; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kPart; ++j) r.part[i][j] = (float)p[i * kPart + j];
#endif
  return r;
}

// A whole vector of the unit.
GSM_INLINE V load_values(const float* p) { return load(p); }
GSM_INLINE V load_values(const Half* p) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(GSM_UNIT_AVX2)
  return load8(p).part[0];
#elif defined(GSM_UNIT_NEON)
  return (V)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))));
#else
  V r;
  for (int i = 0; i < L; ++i) r[i] = value_of(p[i]);
  return r;
#endif
}

// ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7)) on every unit.
GSM_INLINE float sum8(const Eight& v) {
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v.part[0]), _mm256_extractf128_ps(v.part[0], 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  const E four = v.part[0] + v.part[1];
  return (four[0] + four[2]) + (four[1] + four[3]);
#endif
}

// Rows row .. row + 7 of the result.
GSM_INLINE void finish8(const VectorArgs& a, int64_t row, Eight total) {
  const Eight bias = a.bias ? load8(a.bias + row) : splat8(0.0f);
#pragma GCC unroll 2
  for (int p = 0; p < kParts; ++p) {
    E t = bias.part[p] + total.part[p];
    const E lo = E{} + a.lo, hi = E{} + a.hi;
    t = t < lo ? lo : t;
    total.part[p] = t > hi ? hi : t;
  }
  store8(a.y + row, total);
}
GSM_INLINE void finish1(const VectorArgs& a, int64_t row, float total) {
  a.y[row] = clamp((a.bias ? a.bias[row] : 0.0f) + total, a.lo, a.hi);
}

// Weights that come from memory: the hardware's own prefetch stops at the end of a page.
constexpr int64_t kAhead = 2048;  // bytes; 512 gains half as much, 4096 and 8192 the same
GSM_INLINE void ahead(const void* p) { __builtin_prefetch(static_cast<const char*>(p) + kAhead); }

template <typename T>
GSM_INLINE const T* values_of(const VectorArgs& a) {
  return static_cast<const T*>(a.values);
}

}  // namespace
}  // namespace gossamer
