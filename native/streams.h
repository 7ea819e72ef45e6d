// The two kinds of index stream of a packed file: fields of w bits, and gap bytes (docs/formats/packed-file.md section
// 4).
#pragma once
#include <cstddef>
#include <cstdint>

#include "network.h"

namespace gossamer {

// w-bit unsigned numbers, from the least significant bit of byte 0 upwards; 0 <= w <= 32. Reads nothing outside the
// part.
class BitReader {
 public:
  BitReader(const Part& part, int width) : data_(part.data), bytes_(part.bytes), width_(width) {}

  int64_t next() {
    size_t first = at_ >> 3;
    uint64_t word = 0;
    for (size_t i = 0; i < 5 && first + i < bytes_; ++i) word |= uint64_t{data_[first + i]} << (8 * i);
    word >>= at_ & 7;
    at_ += static_cast<size_t>(width_);
    return static_cast<int64_t>(word & ((uint64_t{1} << width_) - 1));
  }

  // Bytes that `count` fields occupy.
  static int64_t bytes_for(int64_t count, int width) { return (count * width + 7) / 8; }

  // Whether the bits behind the last of `count` fields are 0.
  static bool clean_end(const Part& part, int64_t count, int width) {
    int64_t rest = (count * width) % 8;
    return rest == 0 || (part.data[part.bytes - 1] >> rest) == 0;
  }

 private:
  const uint8_t* data_;
  size_t bytes_;
  int width_;
  size_t at_ = 0;
};

constexpr uint8_t gap_skip = 255;  // a gap byte that moves the cursor and emits nothing

// emit(slot) for every slot of a stream that was validated; step: 1, or 0 where a slot may be emitted again.
template <class Emit>
void walk_gaps(const Part& gaps, int64_t step, Emit&& emit) {
  int64_t cursor = 0;
  for (size_t i = 0; i < gaps.bytes; ++i) {
    cursor += gaps.data[i];
    if (gaps.data[i] == gap_skip) continue;
    emit(cursor);
    cursor += step;
  }
}

}  // namespace gossamer
