// The products of a sparse convolution in training; float and double. N = batch, C = channels, R = outputs; columns of
// the matrix are (kernel row, kernel column, channel inside of the group), the channel fastest.
#pragma once
#include "kernels/kernels.h"
#include "training_matrix.h"

namespace gossamer {

struct ConvAxis {  // one side of the images
  int64_t size = 1, kernel = 1, stride = 1, padding = 0, dilation = 1;
  int64_t out() const { return (size + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1; }
  // Of a tap, in the plane of its phase: a position that is read reaches so far beyond that of the output.
  int64_t shift(int64_t tap) const { return tap * dilation / stride; }
  int64_t phase(int64_t tap) const { return tap * dilation % stride; }
  int64_t reach() const { return shift(kernel - 1); }
  int64_t span() const { return out() + reach(); }
};

struct ConvShape {  // the caller has checked that it fits the matrix
  int64_t n = 0, channels = 0, groups = 1;
  ConvAxis height, width;
};

template <typename T>
struct Images {  // [N][C][H][W], or last: [N][H][W][C]
  T* data = nullptr;
  bool last = false;
};

template <typename T>
void conv_forward(const TrainingMatrix& matrix, const KernelTable& kernels, const ConvShape& shape, const T* values,
                  Images<const T> x, Images<T> y, int threads);
// gradient [nnz]; dx is not computed where its data is null. The order of sums depends on the number of threads.
template <typename T>
void conv_backward(const TrainingMatrix& matrix, const KernelTable& kernels, const ConvShape& shape, const T* values,
                   Images<const T> x, Images<const T> dy, Images<T> dx, T* gradient, int threads);

}  // namespace gossamer
