// Weights in the order in which the matrix-times-vector kernels read them. The order follows the format of the file
// (bundles, windows, blocks), and so does the precision: what the file stores in halves stays in halves, exactly.
#pragma once
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "network.h"
#include "planner.h"
#include "weight_memory.h"

namespace gossamer {

struct PackedVector {
  VectorKernel kernel = kRows;
  Stored stored = kF32;
  int per_row = 1, wide = 0;
  int64_t rows = 0, width = 0, units = 0, unit_rows = 1;
  WeightBytes values, columns;
  std::vector<uint32_t> start;
  std::vector<float> scale;
  std::string why;  // the order in words
  size_t bytes() const { return values.size() + columns.size() + start.size() * 4 + scale.size() * 4; }
};

// Above this share kept an unstructured row is a bitmap. 4096x1024 (avx512, hot, us, rows against bitmap): 20 % kept
// 190 / 240, 30 % 300 / 270, 50 % 560 / 350.
constexpr double kBitmapAbove = 0.25;

// kernel: kRows or kBitmap instead of the one that kBitmapAbove tells, where either is possible; null: that one.
PackedVector pack_vector(const Weight& weight, Budget& budget, const VectorKernel* kernel = nullptr);

}  // namespace gossamer
