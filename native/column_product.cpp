#include "column_product.h"

#include "pack_rows.h"

namespace gossamer {
namespace {

constexpr int64_t kMostFloats = 262144;  // 1 MiB
// Nanoseconds of a kept weight and of a row in rows of kept weights, and of 16 weights column by column. LSTM of 64,
// 128 and 256 units at 88 % (AVX-512, microseconds a step): 1.2, 3.5 and 11.8 by rows.
constexpr double kEntry = 0.3, kRow = 2.0, kSixteen = 0.6;

bool wins(const Weight& weight, const KernelTable& kernels) {
  if (weight.format != Format::dense && weight.format != Format::unstructured) return false;  // those read vectors
  const int64_t rows = round_up(weight.shape[0], kColumnRows), floats = rows * weight.shape[1];
  const double by_rows = kEntry * static_cast<double>(weight.num_kept) + kRow * static_cast<double>(weight.shape[0]);
  return floats <= kMostFloats && kSixteen / kernels.lanes * static_cast<double>(floats) < by_rows;
}

}  // namespace

ColumnProduct ColumnProduct::make(const Weight& weight, const KernelTable& kernels, Budget& budget) {
  ColumnProduct out;
  if (!wins(weight, kernels)) return out;
  out.kernels_ = &kernels;
  out.rows_ = weight.shape[0];
  out.width_ = weight.shape[1];
  const int64_t floats = round_up(out.rows_, kColumnRows) * out.width_;
  budget.take(floats, 4, "a matrix by columns");
  out.values_ = WeightBytes(static_cast<size_t>(floats) * sizeof(float));
  const std::vector<float> matrix =
      weight.format == Format::dense ? decode_dense(weight) : densify(decode_rows(weight), budget);
  float* to = out.values_.as<float>();
  for (int64_t r = 0; r < out.rows_; ++r)
    for (int64_t k = 0; k < out.width_; ++k)
      to[(r / kColumnRows * out.width_ + k) * kColumnRows + r % kColumnRows] =
          matrix[static_cast<size_t>(r * out.width_ + k)];
  return out;
}

void ColumnProduct::run(const float* x, float* y, const float* add, int part, int parts) const {
  const int64_t blocks = (rows_ + kColumnRows - 1) / kColumnRows;
  ColumnsArgs a;
  a.x = x;
  a.y = y;
  a.bias = add;
  a.values = values_.as<float>();
  a.begin = blocks * part / parts;
  a.end = blocks * (part + 1) / parts;
  a.rows = rows_;
  a.width = width_;
  kernels_->columns(&a);
}

}  // namespace gossamer
