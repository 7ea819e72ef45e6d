// The products of a sparse linear layer in training, over feature-major lanes: x [C][lanes], y and dy [R][lanes].
//
// Forward: the lanes of a row (of some rows of a block) stay in registers, each entry reads its column of x once.
// Backward: the lanes of a column of x and of dx stay in registers, and each entry reads its row of dy once for both
// dx += w dy and dw = x . dy: half the reads of two products.
#pragma once
#include "kernels.h"
#include "training_impl.h"

namespace gossamer {
namespace {

// Vectors of a row that stay in registers: eight of 32 registers; the backward product holds twice as many.
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_NEON)
constexpr int kHeldForward = 8, kHeldBackward = 8;
#else
constexpr int kHeldForward = 8, kHeldBackward = 4;
#endif

GSM_INLINE V splat_wide(float x) { return splat(x); }
GSM_INLINE Wide<double>::type splat_wide(double x) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_set1_pd(x);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_set1_pd(x);
#else
  return Wide<double>::type{x, x};
#endif
}
template <typename T>
GSM_INLINE void store_wide(T* p, typename Wide<T>::type v) {
  *reinterpret_cast<typename Wide<T>::unaligned*>(p) = v;
}

// ------------------------------------------------------------------------------------------------------------- forward
// kCols 1: blocks of one column; 0: a.block_cols.
template <typename T, typename Index, int kRows, int kVectors, int kCols>
GSM_INLINE void forward_tile(const TrainingArgs& a, int64_t block_row, int64_t inner, int64_t lane) {
  typedef typename Wide<T>::type W;
  const int64_t cols = kCols ? kCols : a.block_cols, size = a.block_rows * cols, row = block_row * a.block_rows + inner;
  T* y = static_cast<T*>(a.y) + row * a.y_stride + lane;
  W acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      acc[r][v] = a.add ? load_wide(y + r * a.y_stride + v * kWide<T>)
                        : splat_wide(a.bias ? static_cast<const T*>(a.bias)[row + r] : T{0});
  const T* x = static_cast<const T*>(a.x) + lane;
  const Index* columns = static_cast<const Index*>(a.columns);
  const uint32_t end = a.stop[block_row];
  for (uint32_t i = a.start[block_row]; i < end; ++i) {
    const T* p = x + (int64_t)columns[i] * cols * a.x_stride;
    const T* w = static_cast<const T*>(a.values) + i * size + inner * cols;
    for (int64_t j = 0; j < cols; ++j, p += a.x_stride) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const W lanes = load_wide(p + v * kWide<T>);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) acc[r][v] = fma(splat_wide(w[r * cols + j]), lanes, acc[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store_wide<T>(y + r * a.y_stride + v * kWide<T>, acc[r][v]);
}

template <typename T, typename Index, int kRows, int kMost>
GSM_INLINE void forward_lanes(const TrainingArgs& a, int64_t block_row, int64_t inner) {
  const bool one = a.block_cols == 1;
  int64_t lane = 0;
#define GSM_FORWARD(N)                                                                      \
  for (; kMost >= N && lane + N * kWide<T> <= a.lanes; lane += N * kWide<T>)                \
    one ? forward_tile<T, Index, kRows, (kMost >= N ? N : 1), 1>(a, block_row, inner, lane) \
        : forward_tile<T, Index, kRows, (kMost >= N ? N : 1), 0>(a, block_row, inner, lane);
  GSM_FORWARD(8)
  GSM_FORWARD(4)
  GSM_FORWARD(2)
  GSM_FORWARD(1)
#undef GSM_FORWARD
}

template <typename T, typename Index>
GSM_INLINE void forward_rows(const TrainingArgs& a) {
  for (int64_t block_row = a.begin; block_row < a.end; ++block_row) {
    int64_t inner = 0;
    for (; inner + 4 <= a.block_rows; inner += 4) forward_lanes<T, Index, 4, kHeldForward / 2>(a, block_row, inner);
    for (; inner + 2 <= a.block_rows; inner += 2) forward_lanes<T, Index, 2, kHeldForward / 2>(a, block_row, inner);
    for (; inner < a.block_rows; ++inner) forward_lanes<T, Index, 1, kHeldForward>(a, block_row, inner);
  }
}
template <typename T>
void training_forward(const TrainingArgs* a) {
  a->wide ? forward_rows<T, uint32_t>(*a) : forward_rows<T, uint16_t>(*a);
}

// ------------------------------------------------------------------------------------------------------------ gradient
// Dots of the held lanes with four others each, added to (or, at first, written over) their gradients.
template <typename T>
GSM_INLINE void give(T* gradient, T found, bool add) {
  *gradient = add ? *gradient + found : found;
}

template <typename T, typename Index, int kVectors>
GSM_INLINE void gradient_tile(const TrainingArgs& a, int64_t block_row, int64_t inner, int64_t lane) {
  typedef typename Wide<T>::type W;
  const int64_t cols = a.block_cols, size = a.block_rows * cols, row = block_row * a.block_rows + inner;
  const bool add = a.add || lane > 0;
  const T* y = static_cast<const T*>(a.y) + row * a.y_stride + lane;
  W held[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) held[v] = load_wide(y + v * kWide<T>);
  const T* x = static_cast<const T*>(a.x) + lane;
  const Index* columns = static_cast<const Index*>(a.columns);
  const int64_t end = a.stop[block_row];
  for (int64_t j = 0; j < cols; ++j) {
    T* g = static_cast<T*>(a.gradient) + inner * cols + j;
    int64_t i = a.start[block_row];
    for (; i + 4 <= end; i += 4) {
      W acc[4] = {};
      const T* p[4];
      for (int k = 0; k < 4; ++k) p[k] = x + ((int64_t)columns[i + k] * cols + j) * a.x_stride;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) acc[k] = fma(held[v], load_wide(p[k] + v * kWide<T>), acc[k]);
      T dot[4] = {};
      sum4(acc, dot);
      for (int k = 0; k < 4; ++k) give(g + (i + k) * size, dot[k], add);
    }
    for (; i < end; ++i) {
      const T* p = x + ((int64_t)columns[i] * cols + j) * a.x_stride;
      W acc = {};
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc = fma(held[v], load_wide(p + v * kWide<T>), acc);
      give(g + i * size, sum_wide<T>(acc), add);
    }
  }
}

template <typename T, typename Index>
GSM_INLINE void gradient_rows(const TrainingArgs& a) {
  for (int64_t block_row = a.begin; block_row < a.end; ++block_row)
    for (int64_t inner = 0; inner < a.block_rows; ++inner) {
      int64_t lane = 0;
#define GSM_GRADIENT(N) \
  for (; lane + N * kWide<T> <= a.lanes; lane += N * kWide<T>) gradient_tile<T, Index, N>(a, block_row, inner, lane);
      GSM_GRADIENT(8)
      GSM_GRADIENT(4)
      GSM_GRADIENT(2)
      GSM_GRADIENT(1)
#undef GSM_GRADIENT
    }
}
template <typename T>
void training_gradient(const TrainingArgs* a) {
  a->wide ? gradient_rows<T, uint32_t>(*a) : gradient_rows<T, uint16_t>(*a);
}

// ------------------------------------------------------------------------------------------------------------ backward
// One column of the weight within a band: `kCount` entries at dy[k], with their values and gradients at w[k], g[k].
template <typename T, int kVectors, int kCount>
GSM_INLINE void backward_entries(const typename Wide<T>::type (&x)[kVectors], typename Wide<T>::type (&dx)[kVectors],
                                 const T* const* dy, const T* values, T* gradient, const int64_t* at, bool add) {
  typedef typename Wide<T>::type W;
  W dot[4] = {}, w[kCount];
#pragma GCC unroll 4
  for (int k = 0; k < kCount; ++k) w[k] = splat_wide(values[at[k]]);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 4
    for (int k = 0; k < kCount; ++k) {
      const W lanes = load_wide(dy[k] + v * kWide<T>);
      dx[v] = fma(w[k], lanes, dx[v]);
      dot[k] = fma(x[v], lanes, dot[k]);
    }
  T found[4] = {};
  if (kCount == 4)
    sum4(dot, found);
  else
    found[0] = sum_wide<T>(dot[0]);
  for (int k = 0; k < kCount; ++k) give(gradient + at[k], found[k], add);
}

// kRows 1: blocks of one row; 0: a.block_rows.
template <typename T, int kVectors, int kRows>
GSM_INLINE void backward_tile(const TrainingArgs& a, int64_t column, int64_t lane) {
  typedef typename Wide<T>::type W;
  const int64_t rows = kRows ? kRows : a.block_rows, cols = a.block_cols, size = rows * cols;
  const int64_t block_column = column / cols, j = column % cols;
  const bool add = a.add_gradient || lane > 0;
  const T* px = static_cast<const T*>(a.x) + column * a.x_stride + lane;
  T* pdx = static_cast<T*>(a.dx) + column * a.dx_stride + lane;
  W x[kVectors], dx[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    x[v] = load_wide(px + v * kWide<T>);
    dx[v] = a.add ? load_wide(pdx + v * kWide<T>) : W{};
  }
  const T* y = static_cast<const T*>(a.y) + lane;
  const T* values = static_cast<const T*>(a.values) + j;
  T* gradient = static_cast<T*>(a.gradient) + j;
  const uint32_t mask = (uint32_t)((uint64_t{1} << a.shift) - 1);
  const uint32_t end = a.start[block_column + 1];
  const T* dy[4];
  int64_t at[4];
  uint32_t i = a.start[block_column];
  if (kRows == 1) {
    for (; i + 4 <= end; i += 4) {
      for (int k = 0; k < 4; ++k) {
        const uint32_t place = a.places[i + k];
        dy[k] = y + (int64_t)((uint64_t)place >> a.shift) * a.y_stride, at[k] = (int64_t)(place & mask) * size;
      }
      backward_entries<T, kVectors, 4>(x, dx, dy, values, gradient, at, add);
    }
  }
  for (; i < end; ++i) {
    const uint32_t place = a.places[i];
    const T* first = y + (int64_t)((uint64_t)place >> a.shift) * rows * a.y_stride;
    const int64_t block = (int64_t)(place & mask) * size;
    int64_t r = 0;
    for (; kRows != 1 && r + 4 <= rows; r += 4) {
      for (int k = 0; k < 4; ++k) dy[k] = first + (r + k) * a.y_stride, at[k] = block + (r + k) * cols;
      backward_entries<T, kVectors, 4>(x, dx, dy, values, gradient, at, add);
    }
    for (; r < rows; ++r) {
      dy[0] = first + r * a.y_stride, at[0] = block + r * cols;
      backward_entries<T, kVectors, 1>(x, dx, dy, values, gradient, at, add);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store_wide<T>(pdx + v * kWide<T>, dx[v]);
}

template <typename T>
void training_backward(const TrainingArgs* args) {
  const TrainingArgs& a = *args;
  for (int64_t column = a.begin; column < a.end; ++column) {
    int64_t lane = 0;
#define GSM_BACKWARD(N)                                                                    \
  for (; kHeldBackward >= N && lane + N * kWide<T> <= a.lanes; lane += N * kWide<T>)       \
    a.block_rows == 1 ? backward_tile<T, (kHeldBackward >= N ? N : 1), 1>(a, column, lane) \
                      : backward_tile<T, (kHeldBackward >= N ? N : 1), 0>(a, column, lane);
    GSM_BACKWARD(8)
    GSM_BACKWARD(4)
    GSM_BACKWARD(2)
    GSM_BACKWARD(1)
#undef GSM_BACKWARD
  }
}

}  // namespace
}  // namespace gossamer
