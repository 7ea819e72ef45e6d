// The products of training, float and double: lanes times kept weights with the values in an order of their own (the
// gradient of the input is the product with the transposed structure), and the gradient of the kept weights (SDDMM).
//
// Both hold a tile of one row in registers and read the other operand once an entry. An SDDMM entry ends in a sum over
// lanes; four entries share its shuffles: 4096x1024 at 90 %, batch 128 (avx512): see benchmarks/products.py.
#pragma once
#include "kernels.h"
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

// ------------------------------------------------------------------------------------------------- lanes times weights
template <typename T, int kVectors>
GSM_INLINE void product_tile(const LanesArgs& a, int64_t row, int64_t lane) {
  typedef typename Wide<T>::type W;
  W acc[kVectors] = {};
  T* y = static_cast<T*>(a.y) + row * a.y_stride + lane;
  if (a.add)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[v] = load_wide(y + v * kWide<T>);
  const T* x = static_cast<const T*>(a.x) + lane;
  const T* values = static_cast<const T*>(a.values);
  for (uint32_t i = a.row_start[row]; i < a.row_stop[row]; ++i) {
    const W value = W{} + values[a.order ? a.order[i] : i];
    const T* p = x + a.offsets[i];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[v] = fma(value, load_wide(p + v * kWide<T>), acc[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) *reinterpret_cast<typename Wide<T>::unaligned*>(y + v * kWide<T>) = acc[v];
}

template <typename T>
GSM_INLINE void product_lane(const LanesArgs& a, int64_t row, int64_t lane) {
  T& y = static_cast<T*>(a.y)[row * a.y_stride + lane];
  T acc = a.add ? y : T{0};
  for (uint32_t i = a.row_start[row]; i < a.row_stop[row]; ++i)
    acc += static_cast<const T*>(a.values)[a.order ? a.order[i] : i] * static_cast<const T*>(a.x)[a.offsets[i] + lane];
  y = acc;
}

// The last vector overlaps the one before instead of reaching behind the end; a call that adds has whole vectors.
template <typename T>
void lanes_product(const LanesArgs* args) {
  const LanesArgs& a = *args;
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    int64_t lane = 0;
    if (a.n < kWide<T>) {
      for (; lane < a.n; ++lane) product_lane<T>(a, row, lane);
      continue;
    }
    for (; lane + 8 * kWide<T> <= a.n; lane += 8 * kWide<T>) product_tile<T, 8>(a, row, lane);
    if (lane + 4 * kWide<T> <= a.n) product_tile<T, 4>(a, row, lane), lane += 4 * kWide<T>;
    if (lane + 2 * kWide<T> <= a.n) product_tile<T, 2>(a, row, lane), lane += 2 * kWide<T>;
    if (lane + kWide<T> <= a.n) product_tile<T, 1>(a, row, lane), lane += kWide<T>;
    if (lane < a.n) product_tile<T, 1>(a, row, a.n - kWide<T>);
  }
}

// --------------------------------------------------------------------------------------------------------------- sddmm
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

template <typename T, int kVectors>
GSM_INLINE void sddmm_tile(const LanesArgs& a, int64_t row, int64_t lane, int64_t skip) {
  typedef typename Wide<T>::type W;
  W held[kVectors];
  const T* y = static_cast<const T*>(a.y) + row * a.y_stride + lane;
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) held[v] = load_wide(y + v * kWide<T>);
  for (int64_t i = 0; i < skip; ++i) held[0][i] = 0;  // lanes that the vector before has counted
  const T* x = static_cast<const T*>(a.x) + lane;
  T* g = static_cast<T*>(a.gradient);
  uint32_t i = a.row_start[row];
  const uint32_t end = a.row_stop[row];
  for (; i + 4 <= end; i += 4) {
    W acc[4] = {};
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) acc[j] = fma(held[v], load_wide(x + a.offsets[i + j] + v * kWide<T>), acc[j]);
    sum4(acc, g + i);
  }
  for (; i < end; ++i) {
    W acc = {};
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc = fma(held[v], load_wide(x + a.offsets[i] + v * kWide<T>), acc);
    g[i] += sum_wide<T>(acc);
  }
}

template <typename T>
void lanes_sddmm(const LanesArgs* args) {
  const LanesArgs& a = *args;
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    int64_t lane = 0;
    if (a.n < kWide<T>) {
      for (uint32_t i = a.row_start[row]; i < a.row_stop[row]; ++i)
        for (lane = 0; lane < a.n; ++lane)
          static_cast<T*>(a.gradient)[i] +=
              static_cast<const T*>(a.y)[row * a.y_stride + lane] * static_cast<const T*>(a.x)[a.offsets[i] + lane];
      continue;
    }
    for (; lane + 8 * kWide<T> <= a.n; lane += 8 * kWide<T>) sddmm_tile<T, 8>(a, row, lane, 0);
    if (lane + 4 * kWide<T> <= a.n) sddmm_tile<T, 4>(a, row, lane, 0), lane += 4 * kWide<T>;
    if (lane + 2 * kWide<T> <= a.n) sddmm_tile<T, 2>(a, row, lane, 0), lane += 2 * kWide<T>;
    if (lane + kWide<T> <= a.n) sddmm_tile<T, 1>(a, row, lane, 0), lane += kWide<T>;
    if (lane < a.n) sddmm_tile<T, 1>(a, row, a.n - kWide<T>, lane - (a.n - kWide<T>));
  }
}

}  // namespace
}  // namespace gossamer
