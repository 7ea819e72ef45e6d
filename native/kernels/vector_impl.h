// Dense matrix times one vector, and the turn between [m][k] and interleaved [k][m] that serves larger batches.
#pragma once
#include "stored_impl.h"

namespace gossamer {
namespace {

// Four rows share each vector of x. values: [rows][width].
template <typename T>
void dense_rows(const VectorArgs* a) {
  const int64_t whole = a->width / L * L;
  for (int64_t row = a->begin; row < a->end; row += 4) {
    const int64_t rows = a->end - row < 4 ? a->end - row : 4;
    const T* w[4];
    for (int64_t r = 0; r < 4; ++r) w[r] = values_of<T>(*a) + (row + (r < rows ? r : 0)) * a->width;
    V acc[4] = {};
    for (int64_t k = 0; k < whole; k += L) {
      const V x = load(a->x + k);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) ahead(w[r] + k);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) acc[r] = fma(load_values(w[r] + k), x, acc[r]);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float dot = sum(acc[r]);
      for (int64_t k = whole; k < a->width; ++k) dot += value_of(w[r][k]) * a->x[k];
      finish1(*a, row + r, dot);
    }
  }
}

void interleave(const float* x, float* y, int64_t m, int64_t k, int64_t stride) {
  for (int64_t j = 0; j < k; ++j) {
    float* out = y + j * stride;
    for (int64_t i = 0; i < m; ++i) out[i] = x[i * k + j];
    for (int64_t i = m; i < stride; ++i) out[i] = 0.0f;
  }
}
void deinterleave(const float* y, float* x, int64_t m, int64_t k, int64_t stride) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < k; ++j) x[i * k + j] = y[j * stride + i];
}
}  // namespace
}  // namespace gossamer
