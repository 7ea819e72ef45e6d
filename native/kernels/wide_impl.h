// Vectors of float and of double of the unit's width under one name, for the products of training.
#pragma once
#include "simd.h"

namespace gossamer {
namespace {

template <typename T>
struct Wide;
template <>
struct Wide<float> {
  typedef V type;
  typedef VU unaligned;
};
template <>
struct Wide<double> {
  typedef double type __attribute__((vector_size(kBytes)));
  typedef double unaligned __attribute__((vector_size(kBytes), aligned(8), may_alias));
};
template <typename T>
constexpr int64_t kWide = kBytes / (int64_t)sizeof(T);

GSM_INLINE Wide<double>::type fma(Wide<double>::type a, Wide<double>::type b, Wide<double>::type c) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_fmadd_pd(a, b, c);
#elif defined(GSM_UNIT_NEON)
  return (Wide<double>::type)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

template <typename T>
GSM_INLINE typename Wide<T>::type load_wide(const T* p) {
  return *reinterpret_cast<const typename Wide<T>::unaligned*>(p);
}

template <typename T>
GSM_INLINE T sum_wide(typename Wide<T>::type v) {
  T lane[kBytes / sizeof(T)];
  *reinterpret_cast<typename Wide<T>::unaligned*>(lane) = v;
  for (int64_t half = kWide<T> / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}
// g[j] += sum of acc[j]
GSM_INLINE void sum4(const Wide<double>::type (&acc)[4], double* g) {
  for (int j = 0; j < 4; ++j) g[j] += sum_wide<double>(acc[j]);
}
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
GSM_INLINE __m128 quarters(V v) {
#if defined(GSM_UNIT_AVX512)
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
#else
  const __m256 half = v;
#endif
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
GSM_INLINE void sum4(const V (&acc)[4], float* g) {
  __m128 a = quarters(acc[0]), b = quarters(acc[1]), c = quarters(acc[2]), d = quarters(acc[3]);
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b)),
               cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
  const __m128 all = _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
  _mm_storeu_ps(g, _mm_add_ps(_mm_loadu_ps(g), all));
}
#else
GSM_INLINE void sum4(const V (&acc)[4], float* g) {
  for (int j = 0; j < 4; ++j) g[j] += sum_wide<float>(acc[j]);
}
#endif

}  // namespace
}  // namespace gossamer
