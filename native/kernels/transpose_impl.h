// y[c][r] = x[r][c]: tiles of L x L so that both sides are read and written in whole vectors.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace gossamer {
namespace {

GSM_INLINE V pick(V a, V b, I index) {
#if defined(__clang__)
  V y = {};
  for (int i = 0; i < L; ++i) y[i] = index[i] < L ? a[index[i]] : b[index[i] - L];
  return y;
#else
  return __builtin_shuffle(a, b, index);
#endif
}

// Rows of a tile become columns: log2(L) rounds in which rows i and i + half exchange every other run of lanes.
template <int Half>
GSM_INLINE void exchange(V (&v)[L]) {
  if constexpr (Half >= 1) {
    I low = {}, high = {};  // indices for a shuffle of two rows
    for (int i = 0; i < L; ++i) {
      const bool odd = (i / Half) % 2 != 0;
      low[i] = odd ? L + i - Half : i;
      high[i] = odd ? L + i : i + Half;
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      if ((i / Half) % 2 != 0) continue;
      const V a = v[i], b = v[i + Half];
      v[i] = pick(a, b, low);
      v[i + Half] = pick(a, b, high);
    }
    exchange<Half / 2>(v);
  }
}

void transpose(const float* x, int64_t x_stride, float* y, int64_t y_stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r += L) {
    const int64_t high = rows - r < L ? rows - r : L;
    for (int64_t c = 0; c < columns; c += L) {
      const int64_t wide = columns - c < L ? columns - c : L;
      V v[L];
      if (wide == L) {
        for (int i = 0; i < L; ++i) v[i] = i < high ? load(x + (r + i) * x_stride + c) : V{};
      } else {
        for (int i = 0; i < L; ++i) v[i] = i < high ? load_part(x + (r + i) * x_stride + c, wide) : V{};
      }
      exchange<L / 2>(v);
      if (high == L) {
        for (int64_t i = 0; i < wide; ++i) store(y + (c + i) * y_stride + r, v[i]);
      } else {
        for (int64_t i = 0; i < wide; ++i) store_part(y + (c + i) * y_stride + r, v[i], high);
      }
    }
  }
}

}  // namespace
}  // namespace gossamer
