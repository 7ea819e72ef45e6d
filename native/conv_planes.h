// Bands of padded planes in which images are lanes: what the convolutions of training read and write.
//
// A position of a band holds `lanes` images side by side, so that with 16 of them every tap is a whole number of
// vectors away and no lane is wasted on padding. A stride splits the input into phase planes, one a remainder, where
// taps are neighbours again: position (i, j) of phase (a, b) is the pixel (i * stride + a - padding, j * stride + b -
// padding). A band holds some rows of all channels; it stays in the second-level cache.
#pragma once
#include <memory>
#include <vector>

#include "training_conv.h"

namespace gossamer {

struct Band {
  int64_t channels = 0, rows = 0, lanes = 0;  // rows of positions, images a position
  int64_t phases = 1, front = 0;              // front: elements before the first position of a channel
  int64_t row = 0, phase = 0, plane = 0,
          slot = 0;  // elements of a row, a phase, a channel; a place outside of all rows
  std::vector<int32_t> channel_place;
  void lay_out(int64_t width);  // from channels, rows, lanes, phases, front; throws std::bad_alloc beyond 31 bits
  int64_t elements() const { return channels * plane + 16; }
};

// Which remainders the taps read; index[a * stride + b] is the phase plane of a remainder, -1: none reads it.
struct ConvPhases {
  std::vector<int64_t> index, list;
  std::vector<bool> row_read;
  explicit ConvPhases(const ConvShape& shape);
  int64_t count() const { return static_cast<int64_t>(list.size()); }
};

// One side of a product, with the tensor that its bands are filled from or written to.
template <typename T>
class ConvPlanes {
 public:
  ConvPlanes(const KernelTable& kernels, const ConvShape& shape, const ConvPhases* phases, const Band& band, T* data)
      : kernels_(kernels), shape_(shape), phases_(phases), band_(band), data_(data) {}
  // Position rows begin .. end - 1 of images first .. first + count - 1 from the tensor; row `base` is the band's
  // first.
  void fill(Images<const T> tensor, int64_t first, int64_t count, int64_t begin, int64_t end, int64_t base);
  // Back into the tensor; last: with all pixel rows behind them.
  void write(Images<T> tensor, int64_t first, int64_t count, int64_t begin, int64_t end, int64_t base, bool last);
  void advance(int64_t rows, int64_t keep);  // the rows `rows` .. rows + keep - 1 become the first
  void clear();
  T* data() const { return data_; }

 private:
  int64_t pixel_rows() const { return phases_ ? shape_.height.size : shape_.height.out(); }
  int64_t pixel_columns() const { return phases_ ? shape_.width.size : shape_.width.out(); }
  const std::vector<int32_t>& place(int64_t begin, int64_t end, int64_t base);  // of pixel rows
  TurnArgs turn(T* tensor, bool last, int64_t first, int64_t count, int64_t begin, int64_t end, int64_t base);
  const KernelTable& kernels_;
  const ConvShape& shape_;
  const ConvPhases* phases_;  // null: positions are the output's pixels
  const Band& band_;
  T* data_;
  struct Placed {
    int64_t begin, end, base;
    std::vector<int32_t> places;
  };
  std::vector<Placed> placed_;  // bands of one group of images lie as those of the next
};

}  // namespace gossamer
