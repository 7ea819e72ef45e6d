// The kept entries of a convolution's weight in the order in which a kernel takes them.
#pragma once
#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "training_matrix.h"

namespace gossamer {

// Kept entries in the order of a kernel: by set (of phases), then block of operand channels, then row of results.
template <typename T>
struct Stream {
  int64_t sets = 1, blocks = 1, rows = 0;
  std::vector<uint32_t> offsets, source;  // source[i]: where the value and its gradient stand
  std::vector<T> values;
  std::vector<ConvSegment> segments;
  std::vector<uint32_t> start;  // [sets * blocks + 1] segments
};
struct Entry {
  int64_t set = 0, block = 0, row = 0, offset = 0;
};

template <typename F>
void each_entry(const TrainingMatrix& m, const F& f) {  // f(row, column, place of the value)
  uint32_t place = 0;
  for (int64_t b = 0; b < m.num_block_rows(); ++b)
    for (uint32_t i = m.row_start[static_cast<size_t>(b)]; i < m.row_start[static_cast<size_t>(b) + 1]; ++i) {
      const uint32_t column = m.column(i) * static_cast<uint32_t>(m.block_cols);
      for (int64_t r = 0; r < m.block_rows; ++r)
        for (uint32_t c = 0; c < static_cast<uint32_t>(m.block_cols); ++c) f(b * m.block_rows + r, column + c, place++);
    }
}

// entry_of(row, column) tells where an entry belongs. Every row of every set gets a segment, if only to become zero.
template <typename T, typename F>
Stream<T> sort_entries(const TrainingMatrix& m, int64_t sets, int64_t blocks, int64_t rows, const T* values,
                       const F& entry_of) {
  Stream<T> out;
  out.sets = sets, out.blocks = blocks, out.rows = rows;
  std::vector<uint32_t> next(static_cast<size_t>(sets * blocks * rows + 1), 0);
  const auto cell = [&](const Entry& e) { return static_cast<size_t>((e.set * blocks + e.block) * rows + e.row); };
  each_entry(m, [&](int64_t r, uint32_t c, uint32_t) { ++next[cell(entry_of(r, c)) + 1]; });
  for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
  std::vector<char> begun(static_cast<size_t>(rows));
  for (int64_t s = 0; s < sets; ++s) {
    std::fill(begun.begin(), begun.end(), 0);
    for (int64_t b = 0; b < blocks; ++b) {
      out.start.push_back(static_cast<uint32_t>(out.segments.size()));
      for (int64_t r = 0; r < rows; ++r) {
        const size_t at = static_cast<size_t>((s * blocks + b) * rows + r);
        char& seen = begun[static_cast<size_t>(r)];
        if (next[at] == next[at + 1] && (seen || b + 1 < blocks)) continue;
        out.segments.push_back({next[at], next[at + 1], static_cast<int32_t>(r), seen});
        seen = 1;
      }
    }
  }
  out.start.push_back(static_cast<uint32_t>(out.segments.size()));
  out.offsets.resize(static_cast<size_t>(m.num_kept()));
  if (values)
    out.values.resize(out.offsets.size());
  else
    out.source.resize(out.offsets.size());
  each_entry(m, [&](int64_t r, uint32_t c, uint32_t place) {
    const Entry e = entry_of(r, c);
    const uint32_t i = next[cell(e)]++;
    out.offsets[i] = static_cast<uint32_t>(e.offset);
    if (values)
      out.values[i] = values[place];
    else
      out.source[i] = place;
  });
  return out;
}

}  // namespace gossamer
