#include "pack_rows.h"

#include <algorithm>
#include <limits>

namespace gossamer {

void Offsets::assign(const std::vector<int64_t>& relative) {
  wide = std::any_of(relative.begin(), relative.end(), [](int64_t o) { return o >= kNarrowSpan; });
  for (int64_t o : relative)
    if (o > std::numeric_limits<int32_t>::max())
      throw Error{Error::Kind::plan, "expected planes within 2^31 floats of each other, got larger ones"};
  if (wide)
    wider.assign(relative.begin(), relative.end());
  else
    narrow.assign(relative.begin(), relative.end());
}

size_t SparseStream::bytes() const {
  size_t total = offsets.bytes() + values.size() * 4;
  for (const KBlock& block : k_blocks) total += block.row_start.size() * 4;
  return total;
}
size_t BlockStream::bytes() const {
  size_t total = offsets.bytes() + values.size() * 4;
  for (const KBlock& block : k_blocks) total += block.blocks.size() * sizeof(RowBlock);
  return total;
}

SparseStream pack_sparse(const SparseRows& rows, const ColumnMap& map, int threads, Budget& budget) {
  SparseStream out;
  const int64_t nnz = static_cast<int64_t>(rows.value.size());
  if (nnz >= int64_t{1} << 31)
    throw Error{Error::Kind::plan, "expected fewer than 2^31 kept weights in a layer, got " + std::to_string(nnz)};
  budget.take(nnz, 16, "packed weights");
  budget.take(rows.rows + 1, 4 * int64_t{map.k_blocks()}, "packed weights");
  const size_t blocks = static_cast<size_t>(map.k_blocks());
  out.k_blocks.resize(blocks);
  std::vector<int64_t> count(blocks, 0), low(blocks, std::numeric_limits<int64_t>::max()), cursor(blocks, 0);
  for (int32_t c : rows.column) {
    const size_t b = static_cast<size_t>(map.k_block(c));
    ++count[b];
    low[b] = std::min(low[b], map.offset(c));
  }
  for (size_t b = 0, start = 0; b < blocks; start += static_cast<size_t>(count[b]), ++b) {
    out.k_blocks[b].start = static_cast<int64_t>(start);
    out.k_blocks[b].x_shift = count[b] ? low[b] : 0;
    out.k_blocks[b].row_start.assign(static_cast<size_t>(rows.rows) + 1, 0);
  }
  std::vector<int64_t> relative(static_cast<size_t>(nnz));
  out.values.resize(static_cast<size_t>(nnz));
  struct Entry {
    int32_t block;
    int64_t offset;
    float value;
  };
  std::vector<Entry> line;
  for (int64_t r = 0; r < rows.rows; ++r) {
    line.clear();
    for (int64_t i = rows.row_start[static_cast<size_t>(r)]; i < rows.row_start[static_cast<size_t>(r) + 1]; ++i) {
      const int64_t c = rows.column[static_cast<size_t>(i)];
      line.push_back({map.k_block(c), map.offset(c), rows.value[static_cast<size_t>(i)]});
    }
    std::sort(line.begin(), line.end(), [](const Entry& a, const Entry& b) {
      return a.block != b.block ? a.block < b.block : a.offset < b.offset;
    });
    for (const Entry& e : line) {
      const size_t b = static_cast<size_t>(e.block), at = static_cast<size_t>(out.k_blocks[b].start + cursor[b]++);
      relative[at] = e.offset - out.k_blocks[b].x_shift;
      out.values[at] = e.value;
    }
    for (size_t b = 0; b < blocks; ++b)
      out.k_blocks[b].row_start[static_cast<size_t>(r) + 1] = static_cast<uint32_t>(cursor[b]);
  }
  out.offsets.assign(relative);
  // Equal work a thread: an entry costs one, a row about four entries (measured).
  const int64_t work = nnz + 4 * rows.rows;
  out.split.assign(1, 0);
  for (int64_t r = 0; r < rows.rows; ++r)
    while (static_cast<int64_t>(out.split.size()) < threads &&
           rows.row_start[static_cast<size_t>(r)] + 4 * r >= work * static_cast<int64_t>(out.split.size()) / threads)
      out.split.push_back(r);
  while (static_cast<int64_t>(out.split.size()) <= threads) out.split.push_back(rows.rows);
  return out;
}

namespace {

// Columns of each K block by ascending offset, and the smallest offset.
struct SortedColumns {
  std::vector<std::vector<int32_t>> columns;
  explicit SortedColumns(const ColumnMap& map) : columns(static_cast<size_t>(map.k_blocks())) {
    for (int64_t c = 0; c < map.columns(); ++c)
      columns[static_cast<size_t>(map.k_block(c))].push_back(static_cast<int32_t>(c));
    for (auto& list : columns)
      std::sort(list.begin(), list.end(), [&](int32_t a, int32_t b) { return map.offset(a) < map.offset(b); });
  }
};

}  // namespace

BlockStream pack_dense(const std::vector<float>& matrix, int64_t rows, const ColumnMap& map, int64_t group_rows,
                       int64_t group_shift, Budget& budget) {
  BlockStream out;
  const int64_t columns = map.columns();
  budget.take(rows / group_rows * round_up(group_rows, 4), columns * 4, "packed weights");
  budget.take(columns, 24, "packed weights");
  const SortedColumns sorted(map);
  std::vector<int64_t> relative;
  for (const auto& list : sorted.columns) {
    BlockStream::KBlock block;
    const int64_t low = list.empty() ? 0 : map.offset(list[0]);
    const int64_t offset_start = static_cast<int64_t>(relative.size());
    for (int32_t c : list) relative.push_back(map.offset(c) - low);
    for (int64_t first = 0; first < rows; first += group_rows) {
      for (int64_t row = first; row < first + group_rows; row += 4) {
        RowBlock four;
        four.row = row;
        four.rows = static_cast<int32_t>(std::min<int64_t>(4, first + group_rows - row));
        four.x_shift = low + first / group_rows * group_shift;
        four.offset_start = offset_start;
        four.value_start = static_cast<int64_t>(out.values.size());
        four.count = static_cast<int32_t>(list.size());
        for (int32_t c : list)
          for (int64_t r = row; r < row + 4; ++r)
            out.values.push_back(r < row + four.rows ? matrix[static_cast<size_t>(r * columns + c)] : 0.0f);
        block.blocks.push_back(four);
      }
    }
    out.k_blocks.push_back(std::move(block));
  }
  out.offsets.assign(relative);
  return out;
}

BlockStream pack_blocks(const SparseRows& rows, const ColumnMap& map, Budget& budget) {
  BlockStream out;
  budget.take(static_cast<int64_t>(rows.value.size()) + rows.rows, 24, "packed weights");
  std::vector<int64_t> relative;
  const size_t blocks = static_cast<size_t>(map.k_blocks());
  out.k_blocks.resize(blocks);
  std::vector<int64_t> low(blocks, std::numeric_limits<int64_t>::max());
  for (int32_t c : rows.column) {
    int64_t& l = low[static_cast<size_t>(map.k_block(c))];
    l = std::min(l, map.offset(c));
  }
  struct Entry {
    int32_t block;
    int64_t offset;
    int lane;
    float value;
  };
  std::vector<Entry> entries;
  for (int64_t row = 0; row < rows.rows; row += 4) {
    const int count = static_cast<int>(std::min<int64_t>(4, rows.rows - row));
    entries.clear();
    for (int lane = 0; lane < count; ++lane) {
      for (int64_t i = rows.row_start[static_cast<size_t>(row + lane)];
           i < rows.row_start[static_cast<size_t>(row + lane) + 1]; ++i) {
        const int64_t c = rows.column[static_cast<size_t>(i)];
        entries.push_back({map.k_block(c), map.offset(c), lane, rows.value[static_cast<size_t>(i)]});
      }
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.block != b.block ? a.block < b.block : a.offset != b.offset ? a.offset < b.offset : a.lane < b.lane;
    });
    size_t i = 0;
    for (size_t b = 0; b < blocks; ++b) {
      RowBlock four;
      four.row = row;
      four.rows = count;
      four.x_shift = low[b] == std::numeric_limits<int64_t>::max() ? 0 : low[b];
      four.offset_start = static_cast<int64_t>(relative.size());
      four.value_start = static_cast<int64_t>(out.values.size());
      for (int64_t before = -1; i < entries.size() && static_cast<size_t>(entries[i].block) == b; ++i) {
        if (four.count == 0 || entries[i].offset != before) {
          before = entries[i].offset;
          relative.push_back(before - four.x_shift);
          out.values.insert(out.values.end(), 4, 0.0f);
          ++four.count;
        }
        out.values[out.values.size() - 4 + static_cast<size_t>(entries[i].lane)] = entries[i].value;
      }
      out.k_blocks[b].blocks.push_back(four);
    }
  }
  out.offsets.assign(relative);
  return out;
}

double four_row_fill(const SparseRows& rows) {
  int64_t unions = 0;
  std::vector<int32_t> columns;
  for (int64_t row = 0; row < rows.rows; row += 4) {
    const int64_t end = std::min(row + 4, rows.rows);
    columns.assign(rows.column.begin() + rows.row_start[static_cast<size_t>(row)],
                   rows.column.begin() + rows.row_start[static_cast<size_t>(end)]);
    std::sort(columns.begin(), columns.end());
    unions += std::unique(columns.begin(), columns.end()) - columns.begin();
  }
  return unions ? static_cast<double>(rows.value.size()) / (4.0 * static_cast<double>(unions)) : 0.0;
}

std::vector<float> densify(const SparseRows& rows, Budget& budget) {
  budget.take(budget.product({rows.rows, rows.columns}, "a dense weight"), 4, "a dense weight");
  std::vector<float> matrix(static_cast<size_t>(rows.rows * rows.columns), 0.0f);
  for (int64_t r = 0; r < rows.rows; ++r)
    for (int64_t i = rows.row_start[static_cast<size_t>(r)]; i < rows.row_start[static_cast<size_t>(r) + 1]; ++i)
      matrix[static_cast<size_t>(r * rows.columns + rows.column[static_cast<size_t>(i)])] =
          rows.value[static_cast<size_t>(i)];
  return matrix;
}

std::vector<float> optional_vector(const Network& net, int weight, Budget& budget) {
  if (weight < 0) return {};
  budget.take(net.weights[static_cast<size_t>(weight)].shape[0], 4, "a vector");
  return decode_dense(net.weights[static_cast<size_t>(weight)]);
}

}  // namespace gossamer
