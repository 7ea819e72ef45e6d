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

// unstructured: kRows or kBitmap, for rows without a pattern.
PackedVector pack_vector(const Weight& weight, Budget& budget, VectorKernel unstructured);

}  // namespace gossamer
