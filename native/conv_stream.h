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
  int64_t blocks = 1;
  std::vector<uint32_t> offsets, source;  // source[i]: where the value and its gradient stand
  std::vector<T> values;
  std::vector<ConvSegment> segments;
  std::vector<uint32_t> start;  // [sets * blocks + 1] segments
};
// Where an entry belongs: cell = (set * blocks + block) * rows + row. Of a column and of a row of the matrix, to be
// added.
struct Spot {
  uint32_t cell = 0, offset = 0;
};

template <typename Index, typename F>
void each_entry(const TrainingMatrix& m, const Borrowed<Index>& columns, const F& f) {  // f(row, column, place)
  const uint32_t wide = static_cast<uint32_t>(m.block_cols), size = static_cast<uint32_t>(m.block_rows) * wide;
  for (int64_t r = 0; r < m.rows; ++r) {
    const uint32_t inner = static_cast<uint32_t>(r % m.block_rows) * wide;
    const uint32_t* start = m.row_start.data() + r / m.block_rows;
    for (uint32_t i = start[0]; i < start[1]; ++i)
      for (uint32_t c = 0; c < wide; ++c) f(r, columns[i] * wide + c, i * size + inner + c);
  }
}

// columns_of(group, table) fills the spots of all columns for the rows of a group, row_of(row) tells a row's. Every row
// of every set gets a segment, if only to become zero. Without values the entries get their source.
template <typename T, typename Index, typename Columns, typename Row>
Stream<T> sort_entries(const TrainingMatrix& m, const Borrowed<Index>& columns, int64_t sets, int64_t blocks,
                       int64_t rows, int64_t outputs, const T* values, const Columns& columns_of, const Row& row_of) {
  Stream<T> out;
  out.blocks = blocks;
  std::vector<uint32_t> next(static_cast<size_t>(sets * blocks * rows + 1), 0);
  std::vector<Spot> table(static_cast<size_t>(m.cols));
  const auto each = [&](const auto& f) {  // f(cell, offset, place)
    int64_t row = -1;
    Spot base;
    each_entry(m, columns, [&](int64_t r, uint32_t c, uint32_t place) {
      if (r != row) {
        if (row < 0 || r / outputs != row / outputs) columns_of(r / outputs, table);
        row = r, base = row_of(r);
      }
      f(table[c].cell + base.cell, table[c].offset + base.offset, place);
    });
  };
  each([&](uint32_t cell, uint32_t, uint32_t) { ++next[cell + 1]; });
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
  const size_t count = static_cast<size_t>(m.num_kept());
  out.offsets.resize(count);
  if (values) {
    out.values.resize(count);
    each([&](uint32_t cell, uint32_t offset, uint32_t place) {
      const uint32_t i = next[cell]++;
      out.offsets[i] = offset, out.values[i] = values[place];
    });
  } else {
    out.source.resize(count);
    each([&](uint32_t cell, uint32_t offset, uint32_t place) {
      const uint32_t i = next[cell]++;
      out.offsets[i] = offset, out.source[i] = place;
    });
  }
  return out;
}

}  // namespace gossamer
