// A weight matrix planned for products with one vector: the kernel by the weight's format, the split over threads by
// equal work. For linear layers at batch 1, and for the steps of LSTM and GRU cells.
#pragma once
#include <limits>
#include <string>
#include <vector>

#include "pack_vector.h"

namespace gossamer {

struct VectorChoice {
  VectorKernel kernel = kRows;
  int gather = 0;            // by the gather instruction
  std::string name() const;  // "spmv", "spmv with gather", "bitmap_spmv", …
};

class VectorProduct {
 public:
  // choice: null for the default, else one of choices() of a product of this weight.
  static VectorProduct make(const Weight& weight, const KernelTable& kernels, Budget& budget,
                            const VectorChoice* choice = nullptr);
  std::vector<VectorChoice> choices() const;  // what might run instead; this one first
  void remark(const std::string& words) { reason_ += "; " + words; }

  // y [rows] = clamp(add + matrix times x [columns], lo, hi), for the rows of `part` of `parts` only; add: [rows], may
  // be y; null = zero. Allocates nothing; every row is computed by one part, in an order that does not depend on parts.
  void run(const float* x, float* y, const float* add = nullptr, int part = 0, int parts = 1,
           float lo = -std::numeric_limits<float>::infinity(), float hi = std::numeric_limits<float>::infinity()) const;

  // Small batches: x [columns][width] and y [rows][width] interleaved, width 4 or 8, where interleaves() is true.
  bool interleaves() const { return kernels_ && kernels_->narrow[0][packed_.kernel][packed_.stored] != nullptr; }
  // How many of `count` vectors run best as one interleaved group: 1 to 8. LSTM 1024, 32 steps, AVX-512, microseconds
  // for 1, 2, 3, 4, 8 examples: bundles 3257, 6611, 7248, 7719, 10850; blocks of eight rows, which read eight weights
  // at once without it, 1122, 3072, 3294, 3613, 6364.
  int64_t together(int64_t count) const;
  void run_interleaved(int width, const float* x, float* y, const float* add, int part, int parts, float lo,
                       float hi) const;
  int64_t first_row(int part, int parts) const { return begin_of(part, parts) * packed_.unit_rows; }

  int64_t rows() const { return packed_.rows; }
  int64_t columns() const { return packed_.width; }
  int64_t kept() const { return kept_; }
  size_t bytes() const { return packed_.bytes(); }
  const std::string& kernel() const { return kernel_; }  // "window_spmv", …
  const std::string& reason() const { return reason_; }

 private:
  int64_t begin_of(int part, int parts) const;  // first unit
  VectorArgs arguments(const float* x, float* y, const float* add, int part, int parts, float lo, float hi) const;
  PackedVector packed_;
  const KernelTable* kernels_ = nullptr;
  int64_t kept_ = 0;
  int gather_ = 0;
  std::string kernel_, reason_;
};

// Whether the gather instruction beats scalar loads on this CPU: measured once a process and instruction set, at the
// first plan that needs to know, in less than a millisecond.
bool gather_wins(const KernelTable& kernels);

}  // namespace gossamer
