// The products of a sparse linear layer in training, over feature-major lanes: x [C][lanes], y and dy [R][lanes].
//
// Forward: the lanes of a row (of some rows of a block) stay in registers, each entry reads its column of x once.
// Backward: the lanes of a column of x and of dx stay in registers, and each entry reads its row of dy once for both
// dx += w dy and dw = x . dy: half the reads of two products. 4096x4096 at 90 %, batch 128 (avx512, 3.7 GHz), ns an
// entry: forward 3.8, backward 5.8, the gradient of the weights alone 4.9. Both are bound by lines from the
// second-level cache; fetching values and gradients ahead of the columns lost 10 to 20 %, because it takes from the
// same.
#pragma once
#include "kernels.h"
#include "wide_impl.h"

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
// In a register: two multiply-adds of one vector would else both read it from memory.
template <typename W>
GSM_INLINE W in_vector(W v) {
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  asm("" : "+v"(v));
#endif
  return v;
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

// ---------------------------------------------------------------------------------------------------------------- dots
// Sums over lanes are put off: an entry leaves a vector of partial sums here, and `kDots` of them are added up at once,
// sixteen by 45 instructions. Four at a time right behind their products: as fast in columns of a hundred entries,
// slower in columns of ten.
template <typename T>
struct Dots {
  static constexpr int kDots = 32;
  alignas(64) T partial[kDots * kWide<T>];
  int64_t at[kDots];  // in the gradient
  int count = 0;
};

template <typename T>
GSM_INLINE void sum16(const T* partial, T* sums) {
  for (int first = 0; first < 16; first += 4) {
    typename Wide<T>::type four[4];
    for (int i = 0; i < 4; ++i) four[i] = load_wide(partial + (first + i) * kWide<T>), sums[first + i] = 0;
    sum4(four, sums + first);
  }
}
#if defined(GSM_UNIT_AVX512)
// Of four vectors: in each quarter the sums of the quarters.
GSM_INLINE V quarter_sums(const float* p) {
  const V a = load(p), b = load(p + L), c = load(p + 2 * L), d = load(p + 3 * L);
  const V ab = (V)_mm512_unpacklo_ps(a, b) + (V)_mm512_unpackhi_ps(a, b);
  const V cd = (V)_mm512_unpacklo_ps(c, d) + (V)_mm512_unpackhi_ps(c, d);
  return (V)_mm512_shuffle_ps(ab, cd, 0x44) + (V)_mm512_shuffle_ps(ab, cd, 0xee);
}
template <>
inline __attribute__((always_inline)) void sum16<float>(const float* p, float* sums) {
  const V a = quarter_sums(p), b = quarter_sums(p + 4 * L), c = quarter_sums(p + 8 * L), d = quarter_sums(p + 12 * L);
  const V ab = (V)_mm512_shuffle_f32x4(a, b, 0x44) + (V)_mm512_shuffle_f32x4(a, b, 0xee);
  const V cd = (V)_mm512_shuffle_f32x4(c, d, 0x44) + (V)_mm512_shuffle_f32x4(c, d, 0xee);
  store(sums, (V)_mm512_shuffle_f32x4(ab, cd, 0x88) + (V)_mm512_shuffle_f32x4(ab, cd, 0xdd));
}
#endif

// To the gradients (add: on top of what they hold).
template <typename T>
GSM_INLINE void settle(Dots<T>& dots, T* gradient, bool add) {
  T sums[16];
  for (int first = 0; first < dots.count; first += 16) {
    const int count = dots.count - first < 16 ? dots.count - first : 16;
    sum16<T>(dots.partial + first * kWide<T>, sums);  // what lies behind count is not used
    if (add)
      for (int i = 0; i < count; ++i) gradient[dots.at[first + i]] += sums[i];
    else
      for (int i = 0; i < count; ++i) gradient[dots.at[first + i]] = sums[i];
  }
  dots.count = 0;
}
template <typename T>
GSM_INLINE void put(Dots<T>& dots, typename Wide<T>::type partial, int64_t at, T* gradient, bool add) {
  store_wide<T>(dots.partial + dots.count * kWide<T>, partial);
  dots.at[dots.count++] = at;
  if (dots.count == Dots<T>::kDots) settle(dots, gradient, add);
}

// ------------------------------------------------------------------------------------------------------------ gradient
template <typename T, typename Index, int kVectors>
GSM_INLINE void gradient_tile(const TrainingArgs& a, Dots<T>& dots, int64_t lane) {
  typedef typename Wide<T>::type W;
  const int64_t cols = a.block_cols, size = a.block_rows * cols;
  const bool add = a.add || lane > 0;
  T* gradient = static_cast<T*>(a.gradient);
  const T* x = static_cast<const T*>(a.x) + lane;
  const Index* columns = static_cast<const Index*>(a.columns);
  for (int64_t block_row = a.begin; block_row < a.end; ++block_row)
    for (int64_t inner = 0; inner < a.block_rows; ++inner) {
      const T* y = static_cast<const T*>(a.y) + (block_row * a.block_rows + inner) * a.y_stride + lane;
      W held[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) held[v] = load_wide(y + v * kWide<T>);
      for (int64_t i = a.start[block_row]; i < a.stop[block_row]; ++i) {
        const T* p = x + (int64_t)columns[i] * cols * a.x_stride;
        for (int64_t j = 0; j < cols; ++j, p += a.x_stride) {
          W even = {}, odd = {};
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v)
            (v % 2 ? odd : even) = fma(held[v], load_wide(p + v * kWide<T>), v % 2 ? odd : even);
          put(dots, even + odd, i * size + inner * cols + j, gradient, add);
        }
      }
    }
  settle(dots, gradient, add);
}

template <typename T, typename Index>
GSM_INLINE void gradient_rows(const TrainingArgs& a) {
  Dots<T> dots;
  int64_t lane = 0;
#define GSM_GRADIENT(N) \
  for (; lane + N * kWide<T> <= a.lanes; lane += N * kWide<T>) gradient_tile<T, Index, N>(a, dots, lane);
  GSM_GRADIENT(8)
  GSM_GRADIENT(4)
  GSM_GRADIENT(2)
  GSM_GRADIENT(1)
#undef GSM_GRADIENT
}
template <typename T>
void training_gradient(const TrainingArgs* a) {
  a->wide ? gradient_rows<T, uint32_t>(*a) : gradient_rows<T, uint16_t>(*a);
}

// ------------------------------------------------------------------------------------------------------------ backward
// kOne: blocks are single entries (7 % faster than as blocks of 1x1).
template <typename T, int kVectors, bool kOne>
GSM_INLINE void backward_tile(const TrainingArgs& a, Dots<T>& dots, int64_t lane) {
  typedef typename Wide<T>::type W;
  const int64_t rows = kOne ? 1 : a.block_rows, cols = kOne ? 1 : a.block_cols, size = rows * cols;
  const bool add = a.add_gradient || lane > 0;
  const uint32_t mask = (uint32_t)((uint64_t{1} << a.shift) - 1);
  const int64_t y_stride = a.y_stride;
  const T* y = static_cast<const T*>(a.y) + lane;
  const T* values = static_cast<const T*>(a.values);
  T* gradient = static_cast<T*>(a.gradient);
  for (int64_t column = a.begin; column < a.end; ++column) {
    const int64_t block_column = kOne ? column : column / cols, j = kOne ? 0 : column % cols;
    const T* px = static_cast<const T*>(a.x) + column * a.x_stride + lane;
    T* pdx = static_cast<T*>(a.dx) + column * a.dx_stride + lane;
    W x[kVectors], dx[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      x[v] = load_wide(px + v * kWide<T>);
      dx[v] = a.add ? load_wide(pdx + v * kWide<T>) : W{};
    }
    const uint32_t end = a.start[block_column + 1];
    for (uint32_t i = a.start[block_column]; i < end; ++i) {
      const uint32_t place = a.places[i];
      const T* dy = y + (int64_t)((uint64_t)place >> a.shift) * rows * y_stride;
      int64_t at = (int64_t)(place & mask) * size + j;
      for (int64_t r = 0; r < rows; ++r, dy += y_stride, at += cols) {
        const W w = splat_wide(values[at]);
        W even = {}, odd = {};
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          const W lanes = in_vector(load_wide(dy + v * kWide<T>));
          dx[v] = fma(w, lanes, dx[v]);
          (v % 2 ? odd : even) = fma(x[v], lanes, v % 2 ? odd : even);
        }
        put(dots, even + odd, at, gradient, add);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store_wide<T>(pdx + v * kWide<T>, dx[v]);
  }
  settle(dots, gradient, add);
}

template <typename T>
void training_backward(const TrainingArgs* args) {
  const TrainingArgs& a = *args;
  const bool one = a.block_rows == 1 && a.block_cols == 1;
  Dots<T> dots;
  int64_t lane = 0;
#define GSM_BACKWARD(N)                                                              \
  for (; kHeldBackward >= N && lane + N * kWide<T> <= a.lanes; lane += N * kWide<T>) \
    one ? backward_tile<T, (kHeldBackward >= N ? N : 1), true>(a, dots, lane)        \
        : backward_tile<T, (kHeldBackward >= N ? N : 1), false>(a, dots, lane);
  GSM_BACKWARD(8)
  GSM_BACKWARD(4)
  GSM_BACKWARD(2)
  GSM_BACKWARD(1)
#undef GSM_BACKWARD
}

}  // namespace
}  // namespace gossamer
