// A small matrix planned for products with one vector at every step of a sequence, column by column (columns_impl.h).
#pragma once
#include "kernels/kernels.h"
#include "network.h"
#include "planner.h"
#include "weight_memory.h"

namespace gossamer {

class ColumnProduct {
 public:
  // Empty where rows of kept weights are faster, or where the matrix is too large for the second cache.
  static ColumnProduct make(const Weight& weight, const KernelTable& kernels, Budget& budget);
  bool empty() const { return rows_ == 0; }
  // y [rows] = add + matrix times x. Dropped weights count as zeros: x must be finite.
  void run(const float* x, float* y, const float* add, int part, int parts) const;
  size_t bytes() const { return values_.size(); }

 private:
  const KernelTable* kernels_ = nullptr;
  WeightBytes values_;
  int64_t rows_ = 0, width_ = 0;
};

}  // namespace gossamer
