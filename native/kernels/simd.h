// One vector type for the unit that includes this, from the compiler's vector extension; the few operations that the
// extension lacks are intrinsics. Everything is in an anonymous namespace: no symbol leaves the unit. No standard
// library header but <cstdint> and the intrinsics may be included here (their inline functions would be linkable).
#pragma once
#include <stdint.h>

#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
#include <immintrin.h>
#elif defined(GSM_UNIT_NEON)
#include <arm_neon.h>
#endif

namespace gossamer {
namespace {

#if defined(GSM_UNIT_AVX512)
constexpr int kBytes = 64;
#elif defined(GSM_UNIT_AVX2)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
constexpr int L = kBytes / 4;

typedef float V __attribute__((vector_size(kBytes)));
typedef float VU __attribute__((vector_size(kBytes), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(kBytes)));
typedef int32_t IU __attribute__((vector_size(kBytes), aligned(4), may_alias));

#define GSM_INLINE static inline __attribute__((always_inline))

GSM_INLINE V load(const float* p) { return *reinterpret_cast<const VU*>(p); }
GSM_INLINE void store(float* p, V v) { *reinterpret_cast<VU*>(p) = v; }
GSM_INLINE I load_mask(const uint32_t* p) { return *reinterpret_cast<const IU*>(p); }
// Not V{} + x: that is a broadcast and an addition of +0 (which -0 does not survive), two more steps on the ports of
// the multiply-add: ResNet-50 with AVX-512 took 10 % longer with them.
GSM_INLINE V splat(float x) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_set1_ps(x);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_set1_ps(x);
#else
  return V{x, x, x, x};
#endif
}
// The address in one register: with a scaled index inside, a multiply-add from memory is two steps of the front end.
GSM_INLINE const float* in_register(const float* p) {
#if defined(__GNUC__)
  asm("" : "+r"(p));
#endif
  return p;
}
GSM_INLINE V keep(V v, I mask) { return reinterpret_cast<V>(reinterpret_cast<I>(v) & mask); }

GSM_INLINE V fma(V a, V b, V c) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(GSM_UNIT_NEON)
  return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// Clamp from below and above; a NaN in x passes (x86 max and min return their second operand then).
GSM_INLINE V at_least(V bound, V x) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_max_ps(bound, x);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_max_ps(bound, x);
#else
  return x < bound ? bound : x;
#endif
}
GSM_INLINE V at_most(V bound, V x) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_min_ps(bound, x);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_min_ps(bound, x);
#else
  return x > bound ? bound : x;
#endif
}
// Maximum in which a NaN of either side wins, as in torch.
GSM_INLINE V max_nan(V m, V x) { return ((x > m) | (x != x)) ? x : m; }
GSM_INLINE float max_nan(float m, float x) { return (x > m || x != x) ? x : m; }
GSM_INLINE float clamp(float x, float lo, float hi) {
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

// First 0 <= n < L floats; the other lanes are `rest`.
#if defined(GSM_UNIT_AVX2)
GSM_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif
GSM_INLINE V load_part(const float* p, int64_t n, float rest = 0.0f) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_mask_loadu_ps(_mm512_set1_ps(rest), (__mmask16)((1u << n) - 1), p);
#elif defined(GSM_UNIT_AVX2)
  const __m256i lanes = first_lanes(n);
  return _mm256_blendv_ps(_mm256_set1_ps(rest), _mm256_maskload_ps(p, lanes), _mm256_castsi256_ps(lanes));
#else
  V v = splat(rest);
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
GSM_INLINE void store_part(float* p, V v, int64_t n) {
#if defined(GSM_UNIT_AVX512)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#elif defined(GSM_UNIT_AVX2)
  _mm256_maskstore_ps(p, first_lanes(n), v);
#else
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}
GSM_INLINE I load_mask_part(const uint32_t* p, int64_t n) {
  I v = {};
  for (int64_t i = 0; i < n; ++i) v[i] = (int32_t)p[i];
  return v;
}
GSM_INLINE float sum(V v) {
  float pair[L];
  store(pair, v);
  for (int half = L / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) pair[i] += pair[i + half];
  return pair[0];
}

}  // namespace
}  // namespace gossamer
