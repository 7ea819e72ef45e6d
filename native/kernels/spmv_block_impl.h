// Matrix times vector without gather: blocks of eight or four rows that share their columns, and bundles of eight rows
// that share a window of eight columns.
//
// One multiply-add waits four cycles for the one before, so four chains. From the second-level cache on reading the
// values bounds all three: halves and eight-bit integers are faster for that reason alone, although they cost one or
// two instructions more.
#pragma once
#include "stored_impl.h"

namespace gossamer {
namespace {

GSM_INLINE Eight fold4(const Eight (&acc)[4]) { return add8(add8(acc[0], acc[1]), add8(acc[2], acc[3])); }

template <typename T>
GSM_INLINE void ahead_of_32(const T* v) {  // one prefetch a cache line of values
  ahead(v);
  if (sizeof(T) == 4) ahead(v + 16);
}

// ------------------------------------------------------------------------------------------------------- 8x1 blocks
template <typename T, typename Index>
void block8_loop(const VectorArgs& a) {
  const Index* columns = static_cast<const Index*>(a.columns);
  for (int64_t b = a.begin; b < a.end; ++b) {
    Eight acc[4] = {};
    int64_t j = a.start[b];
    const int64_t end = a.start[b + 1];
    const T* v = values_of<T>(a) + j * 8;
    for (; j + 4 <= end; j += 4, v += 32)
#pragma GCC unroll 4
      for (int chain = 0; chain < 4; ++chain) fma8(acc[chain], load8(v + chain * 8), splat8(a.x[columns[j + chain]]));
    for (; j < end; ++j, v += 8) fma8(acc[0], load8(v), splat8(a.x[columns[j]]));
    Eight total = fold4(acc);
    if constexpr (sizeof(T) == 1) {
      Eight scaled = {};
      fma8(scaled, total, load8(a.scale + b * 8));
      total = scaled;
    }
    finish8(a, b * 8, total);
  }
}
template <typename T>
void spmv_block8(const VectorArgs* a) {
  return a->wide ? block8_loop<T, uint32_t>(*a) : block8_loop<T, uint16_t>(*a);
}

// ------------------------------------------------------------------------------------------------------- 4x1 blocks
// Two columns share a vector: lanes 0 to 3 belong to the first, 4 to 7 to the second.
GSM_INLINE Eight pair4(float first, float second) {
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  return Eight{{(E)_mm256_blend_ps(_mm256_set1_ps(first), _mm256_set1_ps(second), 0xF0)}};
#else
  return Eight{{E{} + first, E{} + second}};
#endif
}
template <typename T, typename Index>
void block4_loop(const VectorArgs& a) {
  const Index* columns = static_cast<const Index*>(a.columns);
  for (int64_t b = a.begin; b < a.end; ++b) {
    Eight acc[4] = {};
    int64_t j = a.start[b];
    const int64_t end = a.start[b + 1];
    const T* v = values_of<T>(a) + j * 4;
    for (; j + 8 <= end; j += 8, v += 32) {
      ahead_of_32(v);
      ahead(columns + j);
#pragma GCC unroll 4
      for (int chain = 0; chain < 4; ++chain)
        fma8(acc[chain], load8(v + chain * 8), pair4(a.x[columns[j + 2 * chain]], a.x[columns[j + 2 * chain + 1]]));
    }
    for (; j + 2 <= end; j += 2, v += 8) fma8(acc[0], load8(v), pair4(a.x[columns[j]], a.x[columns[j + 1]]));
    float lane[8];
    store8(lane, fold4(acc));
    for (int i = 0; i < 4; ++i) {
      float total = lane[i] + lane[i + 4];
      if (j < end) total = fma1(value_of(v[i]), a.x[columns[j]], total);
      finish1(a, b * 4 + i, total);
    }
  }
}
template <typename T>
void spmv_block4(const VectorArgs* a) {
  return a->wide ? block4_loop<T, uint32_t>(*a) : block4_loop<T, uint16_t>(*a);
}

// --------------------------------------------------------------------------------------------------------- window:8
// A word a bundle: bits 3i .. 3i + 2 are the column of row i inside of the window, bits 24 .. 31 the window; wide: two
// words, the window is the second. One load and one permutation fetch eight operands.
GSM_INLINE Eight pick8(const float* window, uint32_t word) {
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  const __m256i lanes = _mm256_srlv_epi32(_mm256_set1_epi32((int)word), _mm256_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21));
  return Eight{{(E)_mm256_permutevar8x32_ps(_mm256_loadu_ps(window), lanes)}};
#else
  const auto at = [&](int i) { return window[(word >> (3 * i)) & 7]; };
  return Eight{{E{at(0), at(1), at(2), at(3)}, E{at(4), at(5), at(6), at(7)}}};
#endif
}
template <typename T, bool kWide>
void window8_loop(const VectorArgs& a) {
  const uint32_t* words = static_cast<const uint32_t*>(a.columns);
  const auto one = [&](Eight& acc, const T* v, int64_t j) __attribute__((always_inline)) {
    const uint32_t word = words[kWide ? 2 * j : j];
    const int64_t window = kWide ? words[2 * j + 1] : word >> 24;
    fma8(acc, load8(v), pick8(a.x + window * 8, word));
  };
  for (int64_t group = a.begin; group < a.end; ++group) {
    Eight acc[4] = {};
    int64_t j = a.start[group];
    const int64_t end = a.start[group + 1];
    const T* v = values_of<T>(a) + j * 8;
    for (; j + 4 <= end; j += 4, v += 32) {
      ahead_of_32(v);
      ahead(words + (kWide ? 2 * j : j));
#pragma GCC unroll 4
      for (int chain = 0; chain < 4; ++chain) one(acc[chain], v + chain * 8, j + chain);
    }
    for (; j < end; ++j, v += 8) one(acc[0], v, j);
    finish8(a, group * 8, fold4(acc));
  }
}
template <typename T>
void spmv_window8(const VectorArgs* a) {
  return a->wide ? window8_loop<T, true>(*a) : window8_loop<T, false>(*a);
}

}  // namespace
}  // namespace gossamer
