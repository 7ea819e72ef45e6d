#include "conv_planes.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

namespace gossamer {

void Band::lay_out(int64_t width) {
  row = width * lanes;
  phase = rows * row;
  const int64_t used = front + phases * phase + 16;  // whole vectors may end behind the last lane
  slot = (used + 15) / 16 * 16;
  plane = slot + 16;
  if (plane / 16 % 2 == 0) plane += 16;  // channels in all sets of the first-level cache
  if (channels > std::numeric_limits<int32_t>::max() / plane) throw std::bad_alloc();
  for (int64_t c = 0; c < channels; ++c) channel_place.push_back(static_cast<int32_t>(c * plane));
}

ConvPhases::ConvPhases(const ConvShape& shape)
    : index(static_cast<size_t>(shape.height.stride * shape.width.stride), -1),
      row_read(static_cast<size_t>(shape.height.stride), false) {
  for (int64_t r = 0; r < shape.height.kernel; ++r)
    for (int64_t s = 0; s < shape.width.kernel; ++s) {
      const int64_t at = shape.height.phase(r) * shape.width.stride + shape.width.phase(s);
      row_read[static_cast<size_t>(shape.height.phase(r))] = true;
      if (index[static_cast<size_t>(at)] >= 0) continue;
      index[static_cast<size_t>(at)] = count();
      list.push_back(at);
    }
}

template <typename T>
const std::vector<int32_t>& ConvPlanes<T>::place(int64_t begin, int64_t end, int64_t base) {
  for (const Placed& known : placed_)
    if (known.begin == begin && known.end == end && known.base == base) return known.places;
  placed_.push_back({begin, end, base, {}});
  std::vector<int32_t>& out = placed_.back().places;
  out.reserve(static_cast<size_t>((end - begin) * pixel_columns()));
  if (!phases_) {
    for (int64_t y = begin; y < end; ++y)
      for (int64_t x = 0; x < pixel_columns(); ++x)
        out.push_back(static_cast<int32_t>(band_.front + (y - base) * band_.row + x * band_.lanes));
    return out;
  }
  const ConvAxis &high = shape_.height, &wide = shape_.width;
  for (int64_t y = begin; y < end; ++y) {
    const int64_t i = (y + high.padding) / high.stride, a = (y + high.padding) % high.stride;
    for (int64_t x = 0; x < wide.size; ++x) {
      const int64_t j = (x + wide.padding) / wide.stride, b = (x + wide.padding) % wide.stride;
      const int64_t phase = phases_->index[static_cast<size_t>(a * wide.stride + b)];
      const bool read = phase >= 0 && i < high.span() && j < wide.span();
      out.push_back(static_cast<int32_t>(
          read ? band_.front + phase * band_.phase + (i - base) * band_.row + j * band_.lanes : band_.slot));
    }
  }
  return out;
}

template <typename T>
TurnArgs ConvPlanes<T>::turn(T* tensor, bool last, int64_t first, int64_t count, int64_t begin, int64_t end,
                             int64_t base) {
  const std::vector<int32_t>& places = place(begin, end, base);
  const int64_t pixels = pixel_rows() * pixel_columns(), skipped = begin * pixel_columns();
  TurnArgs a;
  a.image_step = band_.channels * pixels;
  a.tensor = tensor + first * a.image_step + skipped * (last ? band_.channels : 1);
  a.planes = data_;
  a.images = count, a.lanes = band_.lanes;
  a.outer = band_.channels, a.outer_step = pixels, a.outer_place = band_.channel_place.data();
  a.columns = static_cast<int64_t>(places.size()), a.place = places.data();
  if (last) {
    std::swap(a.outer, a.columns);
    std::swap(a.outer_place, a.place);
    a.outer_step = band_.channels;
  }
  return a;
}

template <typename T>
void ConvPlanes<T>::fill(Images<const T> tensor, int64_t first, int64_t count, int64_t begin, int64_t end,
                         int64_t base) {
  const ConvAxis& high = shape_.height;
  const int64_t stride = phases_ ? high.stride : 1, padding = phases_ ? high.padding : 0, size = pixel_rows();
  for (int64_t i = begin; i < end; ++i) {
    if (i * stride - padding >= 0 && (i + 1) * stride - padding <= size) continue;
    for (int64_t c = 0; c < band_.channels; ++c)
      for (int64_t p = 0; p < band_.phases; ++p) {
        T* const at = data_ + c * band_.plane + band_.front + p * band_.phase + (i - base) * band_.row;
        std::fill(at, at + band_.row, T{0});
      }
  }
  const auto turn_rows = [&](int64_t from, int64_t to) {
    if (from >= to) return;
    const TurnArgs a = turn(const_cast<T*>(tensor.data), tensor.last, first, count, from, to, base);
    kernels_.conv_turn_in[sizeof(T) == 8](&a);
  };
  const int64_t from = std::clamp<int64_t>(begin * stride - padding, 0, size);
  const int64_t to = std::clamp<int64_t>(end * stride - padding, 0, size);
  if (!phases_ || std::all_of(phases_->row_read.begin(), phases_->row_read.end(), [](bool read) { return read; }))
    return turn_rows(from, to);
  for (int64_t y = from; y < to; ++y)
    if (phases_->row_read[static_cast<size_t>((y + padding) % stride)]) turn_rows(y, y + 1);
}

template <typename T>
void ConvPlanes<T>::write(Images<T> tensor, int64_t first, int64_t count, int64_t begin, int64_t end, int64_t base,
                          bool last) {
  const int64_t stride = phases_ ? shape_.height.stride : 1, padding = phases_ ? shape_.height.padding : 0;
  const int64_t size = pixel_rows(), from = std::clamp<int64_t>(begin * stride - padding, 0, size);
  const int64_t to = last ? size : std::clamp<int64_t>(end * stride - padding, 0, size);
  if (from >= to) return;
  const TurnArgs a = turn(tensor.data, tensor.last, first, count, from, to, base);
  kernels_.conv_turn_out[sizeof(T) == 8](&a);
}

template <typename T>
void ConvPlanes<T>::advance(int64_t rows, int64_t keep) {
  for (int64_t c = 0; c < band_.channels; ++c)
    for (int64_t p = 0; p < band_.phases; ++p) {
      T* const plane = data_ + c * band_.plane + band_.front + p * band_.phase;
      std::memmove(plane, plane + rows * band_.row, static_cast<size_t>(keep * band_.row) * sizeof(T));
    }
}

template <typename T>
void ConvPlanes<T>::clear() {
  std::fill(data_, data_ + band_.elements(), T{0});
}

template class ConvPlanes<float>;
template class ConvPlanes<double>;

}  // namespace gossamer
