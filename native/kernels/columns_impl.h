// A small dense matrix times one vector, column by column: rows are the lanes, so that nothing is summed across a
// vector and no index is read. For matrices that stay in the cache from call to call, as those of recurrent layers do.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace gossamer {
namespace {

// Two sums a row where registers allow: a chain of multiply-adds waits four cycles for each.
constexpr int kColumnVectors = kColumnRows / L, kColumnSums = L == 16 ? 2 : 1;

void columns(const ColumnsArgs* args) {
  const ColumnsArgs& a = *args;
  for (int64_t block = a.begin; block < a.end; ++block) {
    const float* w = a.values + block * a.width * kColumnRows;
    V acc[kColumnSums][kColumnVectors] = {};
    int64_t k = 0;
    for (; k + kColumnSums <= a.width; k += kColumnSums) {
#pragma GCC unroll 2
      for (int s = 0; s < kColumnSums; ++s, w += kColumnRows) {
        const V x = splat(a.x[k + s]);
#pragma GCC unroll 16
        for (int v = 0; v < kColumnVectors; ++v) acc[s][v] = fma(x, load(w + v * L), acc[s][v]);
      }
    }
    for (; k < a.width; ++k, w += kColumnRows)
      for (int v = 0; v < kColumnVectors; ++v) acc[0][v] = fma(splat(a.x[k]), load(w + v * L), acc[0][v]);
    const int64_t row = block * kColumnRows;
#pragma GCC unroll 16
    for (int v = 0; v < kColumnVectors; ++v) {
      const int64_t at = row + v * L, left = a.rows - at;
      if (left <= 0) break;
      V total = acc[0][v];
      if (kColumnSums == 2) total += acc[kColumnSums - 1][v];
      if (left >= L)
        store(a.y + at, a.bias ? load(a.bias + at) + total : total);
      else
        store_part(a.y + at, a.bias ? load_part(a.bias + at, left) + total : total, left);
    }
  }
}

}  // namespace
}  // namespace gossamer
