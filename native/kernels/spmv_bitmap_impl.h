// Matrix times vector with a bit a column: for 30 to 70 % sparsity, where a column number would cost as much as it
// saves. columns: one 16-bit mask for sixteen columns, ceil(width / 16) of them a row; values: the kept ones, packed.
// Bits behind the width are zero; sixteen values behind the last may be read.
//
// AVX-512 expands the values under the mask. AVX2 looks a permutation up (256 of eight bytes), NEON and portable code
// walk the bits. Dropped columns are not read (AVX-512) or become zero before the product (AVX2): a NaN there counts
// nothing.
#pragma once
#include "stored_impl.h"

namespace gossamer {
namespace {

#if defined(GSM_UNIT_AVX2)
struct ExpandTable {
  uint8_t lane[256][8];
};
constexpr ExpandTable make_expand_table() {
  ExpandTable t{};
  for (int mask = 0; mask < 256; ++mask)
    for (int i = 0, next = 0; i < 8; ++i) t.lane[mask][i] = (uint8_t)((mask >> i & 1) ? next++ : 0);
  return t;
}
constexpr ExpandTable kExpand = make_expand_table();
#endif

#if defined(GSM_UNIT_AVX512)
GSM_INLINE V expand(const float* v, __mmask16 m) { return _mm512_maskz_expandloadu_ps(m, v); }
GSM_INLINE V expand(const Half* v, __mmask16 m) { return _mm512_maskz_expand_ps(m, load_values(v)); }
#endif

template <typename T>
void spmv_bitmap(const VectorArgs* args) {
  const VectorArgs& a = *args;
  const int64_t words = (a.width + 15) / 16;
  for (int64_t row = a.begin; row < a.end; ++row) {
    const uint16_t* masks = static_cast<const uint16_t*>(a.columns) + row * words;
    const T* v = values_of<T>(a) + a.start[row];
    float total = 0.0f;
#if defined(GSM_UNIT_AVX512)
    V acc[2] = {};
    const auto one = [&](V& sum, int64_t w) __attribute__((always_inline)) {
      const __mmask16 m = masks[w];
      ahead(v);
      sum = _mm512_fmadd_ps(expand(v, m), _mm512_maskz_loadu_ps(m, a.x + 16 * w), sum);
      v += __builtin_popcount(masks[w]);
    };
    int64_t w = 0;
    for (; w + 2 <= words; w += 2) {
      one(acc[0], w);
      one(acc[1], w + 1);
    }
    if (w < words) one(acc[0], w);
    const __m512 both = acc[0] + acc[1];
    total = sum8(Eight{{(E)_mm256_add_ps(_mm512_castps512_ps256(both), _mm512_extractf32x8_ps(both, 1))}});
#elif defined(GSM_UNIT_AVX2)
    Eight acc[2] = {};
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const auto one = [&](Eight& sum, uint32_t mask, int64_t column) __attribute__((always_inline)) {
      const __m256i kept = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)mask), bits), bits);
      const __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpand.lane[mask])));
      const Eight value = {{(E)_mm256_permutevar8x32_ps(load8(v).part[0], lanes)}};
      fma8(sum, value, Eight{{(E)_mm256_maskload_ps(a.x + column, kept)}});
      v += __builtin_popcount(mask);
    };
    for (int64_t w = 0; w < words; ++w) {
      ahead(v);
      one(acc[0], masks[w] & 0xFF, 16 * w);
      if (masks[w] >> 8) one(acc[1], masks[w] >> 8, 16 * w + 8);
    }
    total = sum8(add8(acc[0], acc[1]));
#else
    float other = 0.0f;  // two chains
    for (int64_t w = 0; w < words; ++w) {
      const float* x = a.x + 16 * w;
      uint32_t mask = masks[w];
      while (mask) {
        total = fma1(value_of(*v++), x[__builtin_ctz(mask)], total);
        mask &= mask - 1;
        if (!mask) break;
        other = fma1(value_of(*v++), x[__builtin_ctz(mask)], other);
        mask &= mask - 1;
      }
    }
    total += other;
#endif
    finish1(a, row, total);
  }
}

}  // namespace
}  // namespace gossamer
