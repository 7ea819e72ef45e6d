// Matrix times vector where every weight fetches its own operand: rows of any columns, and gather-scatter bundles.
//
// Two ways to fetch eight operands, equal to the last bit: the gather instruction, or scalar loads whose columns are
// taken out of 64-bit words by shifts. Zen 3: 1.4 to 1.5 cycles an entry against 0.9 to 1.0, software wins. Sapphire
// Rapids: 0.24 against 0.29 ns at 4096x1024, 90 %, hardware wins (16 lanes; with 8 lanes they are equal). The planner
// probes once a process. Plain loops of scalar multiply-adds: 2.6 cycles an entry.
#pragma once
#include "stored_impl.h"

namespace gossamer {
namespace {

struct Quotient {  // horizontal gather-scatter: lane j of a bundle has the column 8 * q + j; one byte while C <= 2048
  uint8_t q;
};

GSM_INLINE uint32_t column_at(const uint16_t* c, int64_t i) { return c[i]; }
GSM_INLINE uint32_t column_at(const uint32_t* c, int64_t i) { return c[i]; }

#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
#define GSM_GATHER 1
GSM_INLINE Eight eight_of(const float* x, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f,
                          uint32_t g, uint32_t h) {
  return Eight{{E{x[a], x[b], x[c], x[d], x[e], x[f], x[g], x[h]}}};
}
GSM_INLINE __m256i indices8(const uint16_t* c) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(c)));
}
GSM_INLINE __m256i indices8(const uint32_t* c) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(c)); }
GSM_INLINE __m256i indices8(const Quotient* c) {
  const __m256i q = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(c)));
  return _mm256_add_epi32(_mm256_slli_epi32(q, 3), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#else
GSM_INLINE Eight eight_of(const float* x, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f,
                          uint32_t g, uint32_t h) {
  return Eight{{E{x[a], x[b], x[c], x[d]}, E{x[e], x[f], x[g], x[h]}}};
}
#endif

template <bool kHardware>
GSM_INLINE Eight fetch8(const float* x, const uint16_t* c) {
#if defined(GSM_GATHER)
  if constexpr (kHardware) return Eight{{_mm256_i32gather_ps(x, indices8(c), 4)}};
#endif
  uint64_t low, high;
  __builtin_memcpy(&low, c, 8);
  __builtin_memcpy(&high, c + 4, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return eight_of(x, low & 0xFFFF, (low >> 16) & 0xFFFF, (low >> 32) & 0xFFFF, low >> 48, high & 0xFFFF,
                  (high >> 16) & 0xFFFF, (high >> 32) & 0xFFFF, high >> 48);
#else
  return eight_of(x, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]);
#endif
}
template <bool kHardware>
GSM_INLINE Eight fetch8(const float* x, const uint32_t* c) {
#if defined(GSM_GATHER)
  if constexpr (kHardware) return Eight{{_mm256_i32gather_ps(x, indices8(c), 4)}};
#endif
  return eight_of(x, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]);
}
template <bool kHardware>
GSM_INLINE Eight fetch8(const float* x, const Quotient* c) {
#if defined(GSM_GATHER)
  if constexpr (kHardware) return Eight{{_mm256_i32gather_ps(x, indices8(c), 4)}};
#endif
  const auto at = [&](int lane) { return (uint32_t)c[lane].q * 8 + (uint32_t)lane; };
  return eight_of(x, at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
}

// ------------------------------------------------------------------------------------------------------------- rows
#if defined(GSM_UNIT_AVX512)
GSM_INLINE __m512i indices16(const uint16_t* c, __mmask16 m) {
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, c));
}
GSM_INLINE __m512i indices16(const uint32_t* c, __mmask16 m) { return _mm512_maskz_loadu_epi32(m, c); }
GSM_INLINE __m512 values16(const float* v, __mmask16 m) { return _mm512_maskz_loadu_ps(m, v); }
GSM_INLINE __m512 values16(const Half* v, __mmask16 m) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, v)); }
GSM_INLINE float sum16(__m512 v) {
  return sum8(Eight{{(E)_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1))}});
}
#endif

// Sixteen chains everywhere: the same order of additions by hardware and by software.
template <typename T, typename Index, bool kHardware>
GSM_INLINE float row_dot(const float* x, const Index* c, const T* v, int64_t n) {
  int64_t i = 0;
#if defined(GSM_UNIT_AVX512)
  if constexpr (kHardware) {
    __m512 acc = _mm512_setzero_ps();
    for (; i + 16 <= n; i += 16) {
      ahead(v + i);
      ahead(c + i);
      acc = _mm512_fmadd_ps(values16(v + i, 0xFFFF), _mm512_i32gather_ps(indices16(c + i, 0xFFFF), x, 4), acc);
    }
    if (i < n) {
      const __mmask16 m = (__mmask16)((1u << (n - i)) - 1);
      acc = _mm512_mask3_fmadd_ps(values16(v + i, m),
                                  _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, indices16(c + i, m), x, 4), acc, m);
    }
    return sum16(acc);
  }
#endif
  Eight low = {}, high = {};
  for (; i + 16 <= n; i += 16) {
    ahead(v + i);
    ahead(c + i);
    fma8(low, load8(v + i), fetch8<kHardware>(x, c + i));
    fma8(high, load8(v + i + 8), fetch8<kHardware>(x, c + i + 8));
  }
  if (i + 8 <= n) {
    fma8(low, load8(v + i), fetch8<kHardware>(x, c + i));
    float lanes[8];
    store8(lanes, high);
    for (int64_t j = i + 8; j < n; ++j) lanes[j - i - 8] = fma1(value_of(v[j]), x[column_at(c, j)], lanes[j - i - 8]);
    high = load8(lanes);
  } else if (i < n) {
    float lanes[8];
    store8(lanes, low);
    for (int64_t j = i; j < n; ++j) lanes[j - i] = fma1(value_of(v[j]), x[column_at(c, j)], lanes[j - i]);
    low = load8(lanes);
  }
  return sum8(add8(low, high));
}

template <typename T, typename Index, bool kHardware>
void rows_loop(const VectorArgs& a) {
  const Index* columns = static_cast<const Index*>(a.columns);
  for (int64_t row = a.begin; row < a.end; ++row) {
    const int64_t i = a.start[row], n = a.start[row + 1] - i;
    finish1(a, row, row_dot<T, Index, kHardware>(a.x, columns + i, values_of<T>(a) + i, n));
  }
}
template <typename T>
void spmv_rows(const VectorArgs* a) {
#if defined(GSM_GATHER)
  if (a->gather) return a->wide ? rows_loop<T, uint32_t, true>(*a) : rows_loop<T, uint16_t, true>(*a);
#endif
  return a->wide ? rows_loop<T, uint32_t, false>(*a) : rows_loop<T, uint16_t, false>(*a);
}

// ---------------------------------------------------------------------------------------------------------- bundles
// A unit is a group of 8 / per_row rows; lanes of one row are neighbours. Bundles alternate between two accumulators.
template <typename T, typename Index, bool kHardware>
GSM_INLINE Eight group_dot(const float* x, const Index* c, const T* v, int64_t n) {
  int64_t j = 0;
#if defined(GSM_UNIT_AVX512)
  if constexpr (kHardware) {
    __m512 acc = _mm512_setzero_ps();
    for (; j + 2 <= n; j += 2) {
      ahead(v + 8 * j);
      ahead(c + 8 * j);
      const __m512i index = _mm512_inserti32x8(_mm512_castsi256_si512(indices8(c + 8 * j)), indices8(c + 8 * j + 8), 1);
      acc = _mm512_fmadd_ps(values16(v + 8 * j, 0xFFFF), _mm512_i32gather_ps(index, x, 4), acc);
    }
    Eight low = {{(E)_mm512_castps512_ps256(acc)}};
    const Eight high = {{(E)_mm512_extractf32x8_ps(acc, 1)}};
    if (j < n) fma8(low, load8(v + 8 * j), fetch8<true>(x, c + 8 * j));
    return add8(low, high);
  }
#endif
  Eight low = {}, high = {};
  for (; j + 2 <= n; j += 2) {
    ahead(v + 8 * j);
    ahead(c + 8 * j);
    fma8(low, load8(v + 8 * j), fetch8<kHardware>(x, c + 8 * j));
    fma8(high, load8(v + 8 * j + 8), fetch8<kHardware>(x, c + 8 * j + 8));
  }
  if (j < n) fma8(low, load8(v + 8 * j), fetch8<kHardware>(x, c + 8 * j));
  return add8(low, high);
}

template <typename T, typename Index, bool kHardware>
void bundles_loop(const VectorArgs& a) {
  const Index* columns = static_cast<const Index*>(a.columns);
  for (int64_t unit = a.begin; unit < a.end; ++unit) {
    const int64_t j = a.start[unit], n = a.start[unit + 1] - j;
    const Eight total = group_dot<T, Index, kHardware>(a.x, columns + 8 * j, values_of<T>(a) + 8 * j, n);
    if (a.per_row == 1) {
      finish8(a, 8 * unit, total);
    } else if (a.per_row == 8) {
      finish1(a, unit, sum8(total));
    } else {
      float lane[8];
      store8(lane, total);
      for (int64_t r = 0; r < 8 / a.per_row; ++r) {
        float sum = 0.0f;
        for (int64_t k = 0; k < a.per_row; ++k) sum += lane[r * a.per_row + k];
        finish1(a, unit * (8 / a.per_row) + r, sum);
      }
    }
  }
}
template <typename T, bool kHardware>
void bundles_of(const VectorArgs& a) {
  if (a.wide == 2) return bundles_loop<T, Quotient, kHardware>(a);
  return a.wide ? bundles_loop<T, uint32_t, kHardware>(a) : bundles_loop<T, uint16_t, kHardware>(a);
}
template <typename T>
void spmv_bundles(const VectorArgs* a) {
#if defined(GSM_GATHER)
  if (a->gather) return bundles_of<T, true>(*a);
#endif
  bundles_of<T, false>(*a);
}

}  // namespace
}  // namespace gossamer
