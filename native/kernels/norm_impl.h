// Norms whose features are planes: every lane has statistics of its own, so nothing is summed across a vector. Two
// passes over a block of lanes that stays in cache, then one that writes.
#pragma once
#include "elementwise_impl.h"

namespace gossamer {
namespace {

constexpr int kNormVectors = 4;

template <int T>
void norm_block(const float* x, int64_t x_plane, float* y, int64_t y_plane, int64_t planes, const float* weight,
                const float* bias, float epsilon, int rms) {
  V mean[T] = {}, square[T] = {};
  const float share = 1.0f / (float)planes;
  if (!rms) {
    for (int64_t c = 0; c < planes; ++c) {
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) mean[t] += load(x + c * x_plane + t * L);
    }
    for (int t = 0; t < T; ++t) mean[t] *= share;
  }
  for (int64_t c = 0; c < planes; ++c) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const V d = load(x + c * x_plane + t * L) - mean[t];
      square[t] = fma(d, d, square[t]);
    }
  }
  V scale[T];
  for (int t = 0; t < T; ++t) scale[t] = 1.0f / sqrt_v(square[t] * share + epsilon);
  for (int64_t c = 0; c < planes; ++c) {
    const V w = splat(weight ? weight[c] : 1.0f), b = splat(bias ? bias[c] : 0.0f);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t)
      store(y + c * y_plane + t * L, fma((load(x + c * x_plane + t * L) - mean[t]) * scale[t], w, b));
  }
}

// x, y [planes][n] at their strides; whole vectors are read and written.
void norm_lanes(const float* x, int64_t x_plane, float* y, int64_t y_plane, int64_t planes, int64_t n,
                const float* weight, const float* bias, float epsilon, int rms) {
  int64_t i = 0;
  for (; i + kNormVectors * L <= n; i += kNormVectors * L)
    norm_block<kNormVectors>(x + i, x_plane, y + i, y_plane, planes, weight, bias, epsilon, rms);
  for (; i < n; i += L) norm_block<1>(x + i, x_plane, y + i, y_plane, planes, weight, bias, epsilon, rms);
}

void rms_norm(const float* x, float* y, int64_t rows, int64_t n, const float* weight, float epsilon) {
  const int64_t whole = n / L * L;
  for (int64_t row = 0; row < rows; ++row, x += n, y += n) {
    V square = {};
    for (int64_t i = 0; i < whole; i += L) square = fma(load(x + i), load(x + i), square);
    float s = sum(square);
    for (int64_t i = whole; i < n; ++i) s += x[i] * x[i];
    const float scale = 1.0f / __builtin_sqrtf(s / (float)n + epsilon);
    for (int64_t i = 0; i < whole; i += L) {
      const V v = load(x + i) * scale;
      store(y + i, weight ? v * load(weight + i) : v);
    }
    for (int64_t i = whole; i < n; ++i) y[i] = x[i] * scale * (weight ? weight[i] : 1.0f);
  }
}

// Sum of the squared distances from `mean`.
float squares(const float* x, int64_t n, float mean) {
  V total = {};
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    const V d = load(x + i) - mean;
    total = fma(d, d, total);
  }
  float s = sum(total);
  for (; i < n; ++i) s += (x[i] - mean) * (x[i] - mean);
  return s;
}

}  // namespace
}  // namespace gossamer
