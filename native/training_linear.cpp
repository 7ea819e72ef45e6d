#include "training_linear.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "weight_memory.h"

namespace gossamer {
namespace {

template <typename T>
constexpr int dtype_of = sizeof(T) == 8;
template <typename T>
constexpr int64_t kTile = kTileBytes / static_cast<int64_t>(sizeof(T));  // lanes

// x [count][width] by any strides -> tile [width][stride], lanes behind count zero; in blocks for the first-level cache
template <typename T>
void turn_in(const KernelTable& kernels, Lanes<const T> x, T* tile, int64_t stride, int64_t count, int64_t width) {
  if (x.example == 1) {
    for (int64_t c = 0; c < width; ++c) std::copy_n(x.data + c * x.feature, count, tile + c * stride);
  } else if constexpr (sizeof(T) == sizeof(float)) {
    if (x.feature == 1) kernels.transpose(x.data, x.example, tile, stride, count, width);
  }
  if (x.example != 1 && (sizeof(T) != sizeof(float) || x.feature != 1)) {
    constexpr int64_t kBlock = 16;
    for (int64_t c = 0; c < width; c += kBlock)
      for (int64_t f = 0; f < count; f += kBlock)
        for (int64_t j = c; j < std::min(width, c + kBlock); ++j)
          for (int64_t i = f; i < std::min(count, f + kBlock); ++i)
            tile[j * stride + i] = x.data[i * x.example + j * x.feature];
  }
  if (count < stride)
    for (int64_t c = 0; c < width; ++c) std::fill(tile + c * stride + count, tile + (c + 1) * stride, T{0});
}

template <typename T>
void turn_out(const KernelTable& kernels, const T* tile, int64_t stride, Lanes<T> y, int64_t count, int64_t width) {
  if (y.example == 1) {
    for (int64_t c = 0; c < width; ++c) std::copy_n(tile + c * stride, count, y.data + c * y.feature);
    return;
  }
  if constexpr (sizeof(T) == sizeof(float))
    if (y.feature == 1) return kernels.transpose(tile, stride, y.data, y.example, width, count);
  constexpr int64_t kBlock = 16;
  for (int64_t c = 0; c < width; c += kBlock)
    for (int64_t f = 0; f < count; f += kBlock)
      for (int64_t i = f; i < std::min(count, f + kBlock); ++i)
        for (int64_t j = c; j < std::min(width, c + kBlock); ++j)
          y.data[i * y.example + j * y.feature] = tile[j * stride + i];
}

// One tile of lanes of an array: where it stands, or a copy of it. Vectors across cache lines took twice as long (1024
// x 4096 at 90 %, batch 128, avx512: 7.2 instead of 3.8 ns an entry), so that arrays at odd addresses are copied.
template <typename T>
class Tile {
 public:
  Tile(const KernelTable& kernels, Lanes<T> whole, int64_t n, int64_t width)
      : kernels_(kernels), whole_(whole), n_(n), width_(width) {}
  // Lanes first .. first + count - 1, padded to `lanes`; read: with what they hold.
  void open(int64_t first, int64_t count, int64_t lanes, bool read) {
    at_ = {whole_.data + first * whole_.example, whole_.example, whole_.feature};
    count_ = count;
    direct_ = whole_.example == 1 && count == lanes && n_ == count &&
              (reinterpret_cast<uintptr_t>(at_.data) | static_cast<size_t>(at_.feature) * sizeof(T)) %
                      (static_cast<size_t>(kernels_.lanes) * sizeof(float)) ==
                  0;
    if (direct_) return;
    lanes_ = lanes;
    if (copy_.size() == 0) copy_ = WeightBytes(static_cast<size_t>(width_ * lanes) * sizeof(T));
    if (read) turn_in<Plain>(kernels_, {at_.data, at_.example, at_.feature}, copy_.as<Plain>(), lanes, count, width_);
  }
  T* data() const { return direct_ ? at_.data : copy_.as<Plain>(); }
  int64_t stride() const { return direct_ ? at_.feature : lanes_; }
  void write_back() const {
    if constexpr (!std::is_const_v<T>)
      if (!direct_) turn_out<T>(kernels_, copy_.as<T>(), lanes_, at_, count_, width_);
  }

 private:
  using Plain = std::remove_const_t<T>;
  const KernelTable& kernels_;
  Lanes<T> whole_, at_;
  int64_t n_, width_, count_ = 0, lanes_ = 0;
  bool direct_ = false;
  WeightBytes copy_;
};

template <typename T>
int64_t padded(const KernelTable& kernels, int64_t count) {
  const int64_t wide = kernels.lanes * static_cast<int64_t>(sizeof(float)) / static_cast<int64_t>(sizeof(T));
  return (count + wide - 1) / wide * wide;
}

TrainingArgs args_of(const TrainingMatrix& matrix) {
  TrainingArgs a;
  a.wide = matrix.columns16.empty();
  a.columns = a.wide ? static_cast<const void*>(matrix.columns32.data()) : matrix.columns16.data();
  a.block_rows = matrix.block_rows, a.block_cols = matrix.block_cols;
  return a;
}

// part(begin, end) over shares of 0 .. end - 1, one a thread
template <typename Part>
void share_out(int64_t end, int threads, const Part& part) {
  if (threads == 1) return part(0, end);
  team_of(threads).run([&](int i) { part(end * i / threads, end * (i + 1) / threads); });
}

// kernel over block rows, column block by column block; add: the first one to what is there
void by_cut(void (*kernel)(const TrainingArgs*), const TrainingArgs& whole, const TrainingMatrix& matrix, int threads,
            bool adds_blocks) {
  const std::vector<uint32_t>& cut = matrix.cut();
  const int64_t rows = matrix.num_block_rows(), blocks = static_cast<int64_t>(cut.size()) / rows - 1;
  share_out(rows, threads, [&](int64_t begin, int64_t end) {
    TrainingArgs a = whole;
    a.begin = begin, a.end = end;
    for (int64_t b = 0; b < blocks; ++b) {
      a.start = cut.data() + b * rows;
      a.stop = a.start + rows;
      a.add = whole.add || (adds_blocks && b > 0);
      kernel(&a);
    }
  });
}

template <typename T>
void by_band(void (*kernel)(const TrainingArgs*), const TrainingArgs& whole, const TrainingMatrix& matrix,
             const T* values, T* gradient, int threads) {
  const ByColumn& columns = matrix.columns();
  const int64_t size = matrix.block_rows * matrix.block_cols;
  share_out(matrix.cols, threads, [&](int64_t begin, int64_t end) {
    TrainingArgs a = whole;
    a.begin = begin, a.end = end;
    a.places = columns.places.data(), a.shift = columns.shift;
    for (int64_t b = 0; b < columns.bands; ++b) {
      const int64_t done = columns.first[static_cast<size_t>(b)] * size;
      a.start = columns.start.data() + b * (matrix.num_block_cols() + 1);
      a.values = values + done, a.gradient = gradient + done;
      a.y = static_cast<T*>(whole.y) + b * columns.band_rows * matrix.block_rows * a.y_stride;
      a.add = b > 0;
      kernel(&a);
    }
  });
}

}  // namespace

template <typename T>
void linear_forward(const TrainingMatrix& matrix, const KernelTable& kernels, const T* values, const T* bias,
                    Lanes<const T> x, Lanes<T> y, int64_t n, int threads) {
  Tile<const T> in(kernels, x, n, matrix.cols);
  Tile<T> out(kernels, y, n, matrix.rows);
  for (int64_t first = 0; first < n; first += kTile<T>) {
    const int64_t count = std::min(kTile<T>, n - first);
    TrainingArgs a = args_of(matrix);
    a.lanes = padded<T>(kernels, count);
    in.open(first, count, a.lanes, true);
    out.open(first, count, a.lanes, false);
    a.values = values, a.bias = bias;
    a.x = in.data(), a.x_stride = in.stride(), a.y = out.data(), a.y_stride = out.stride();
    by_cut(kernels.training_forward[dtype_of<T>], a, matrix, threads, true);
    out.write_back();
  }
}

template <typename T>
void linear_backward(const TrainingMatrix& matrix, const KernelTable& kernels, const T* values, Lanes<const T> x,
                     Lanes<const T> dy, Lanes<T> dx, T* gradient, int64_t n, int threads) {
  Tile<const T> in(kernels, x, n, matrix.cols), back(kernels, dy, n, matrix.rows);
  Tile<T> out(kernels, dx, n, matrix.cols);
  for (int64_t first = 0; first < n; first += kTile<T>) {
    const int64_t count = std::min(kTile<T>, n - first);
    TrainingArgs a = args_of(matrix);
    a.lanes = padded<T>(kernels, count);
    in.open(first, count, a.lanes, true);
    back.open(first, count, a.lanes, true);
    a.x = in.data(), a.x_stride = in.stride();
    a.y = const_cast<T*>(back.data()), a.y_stride = back.stride();
    if (dx.data == nullptr) {
      a.gradient = gradient, a.add = first > 0;
      by_cut(kernels.training_gradient[dtype_of<T>], a, matrix, threads, false);
      continue;
    }
    out.open(first, count, a.lanes, false);
    a.dx = out.data(), a.dx_stride = out.stride(), a.add_gradient = first > 0;
    by_band(kernels.training_backward[dtype_of<T>], a, matrix, values, gradient, threads);
    out.write_back();
  }
}

template void linear_forward(const TrainingMatrix&, const KernelTable&, const float*, const float*, Lanes<const float>,
                             Lanes<float>, int64_t, int);
template void linear_forward(const TrainingMatrix&, const KernelTable&, const double*, const double*,
                             Lanes<const double>, Lanes<double>, int64_t, int);
template void linear_backward(const TrainingMatrix&, const KernelTable&, const float*, Lanes<const float>,
                              Lanes<const float>, Lanes<float>, float*, int64_t, int);
template void linear_backward(const TrainingMatrix&, const KernelTable&, const double*, Lanes<const double>,
                              Lanes<const double>, Lanes<double>, double*, int64_t, int);

}  // namespace gossamer
