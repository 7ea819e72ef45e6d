// The products of a sparse linear layer in training; float and double, any number of threads with equal results.
// N = batch. An array of lanes is [N][features] with any strides: feature-major arrays (example 1) of whole vectors are
// read and written where they stand, others through tiles.
#pragma once
#include "kernels/kernels.h"
#include "training_matrix.h"

namespace gossamer {

template <typename T>
struct Lanes {
  T* data = nullptr;
  int64_t example = 0, feature = 0;  // strides in elements
};

// y [N][R] = bias + x [N][C] W^T; bias may be null
template <typename T>
void linear_forward(const TrainingMatrix& matrix, const KernelTable& kernels, const T* values, const T* bias,
                    Lanes<const T> x, Lanes<T> y, int64_t n, int threads);
// gradient [nnz] = dy^T x at kept entries; dx [N][C] = dy W, not computed where dx.data is null
template <typename T>
void linear_backward(const TrainingMatrix& matrix, const KernelTable& kernels, const T* values, Lanes<const T> x,
                     Lanes<const T> dy, Lanes<T> dx, T* gradient, int64_t n, int threads);

}  // namespace gossamer
