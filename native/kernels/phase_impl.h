// Phase planes: every stride[1]-th element of every stride[0]-th row. Stride 2 takes the even lanes of two vectors in
// one shuffle; a scalar loop with edge tests was half of a strided layer's time (28x28, 16 channels: 5 of 10 us).
#pragma once
#include "kernels.h"
#include "simd.h"

namespace gossamer {
namespace {

typedef float P4 __attribute__((vector_size(16)));
typedef float P4U __attribute__((vector_size(16), aligned(4), may_alias));

GSM_INLINE int64_t even_lanes(const float* x, float* y, int64_t n) {
  int64_t i = 0;
#if defined(GSM_UNIT_AVX512)
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(y + i, _mm512_permutex2var_ps(_mm512_loadu_ps(x + 2 * i), even, _mm512_loadu_ps(x + 2 * i + 16)));
#endif
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  for (; i + 8 <= n; i += 8) {
    const __m256 pairs = _mm256_shuffle_ps(_mm256_loadu_ps(x + 2 * i), _mm256_loadu_ps(x + 2 * i + 8), 0x88);
    _mm256_storeu_ps(y + i, _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xD8)));
  }
#endif
  for (; i + 4 <= n; i += 4) {
    const P4 a = *reinterpret_cast<const P4U*>(x + 2 * i), b = *reinterpret_cast<const P4U*>(x + 2 * i + 4);
    *reinterpret_cast<P4U*>(y + i) = __builtin_shufflevector(a, b, 0, 2, 4, 6);
  }
  return i;
}

void phase_plane(const PhaseArgs* a) {
  const int64_t step = a->stride[1], whole = (a->y_row + L - 1) / L * L;
  const float* x = a->x;
  float* y = a->y;
  float* const end = a->y + a->y_rows * a->y_row;
  for (int64_t q = 0; q < a->y_rows; ++q, y += a->y_row, x += a->stride[0] * a->x_row) {
    // Whole vectors where the overrun falls on rows that are written later.
    int64_t i = step == 2 ? even_lanes(x, y, end - y >= whole ? whole : a->y_row) : 0;
    for (; i < a->y_row; ++i) y[i] = x[i * step];
  }
}

}  // namespace
}  // namespace gossamer
