#include "pack_rows.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace gossamer {

void Offsets::assign(const std::vector<int64_t>& relative) {
  wide = std::any_of(relative.begin(), relative.end(), [](int64_t o) { return o >= kNarrowSpan; });
  for (int64_t o : relative)
    if (o > std::numeric_limits<int32_t>::max())
      throw Error{Error::Kind::plan, "expected planes within 2^31 floats of each other, got larger ones"};
  memory = WeightBytes(relative.size() * (wide ? sizeof(uint32_t) : sizeof(uint16_t)));
  const auto fill = [&](auto* to) {
    for (int64_t o : relative) *to++ = static_cast<std::remove_reference_t<decltype(*to)>>(o);
  };
  if (wide)
    fill(memory.as<uint32_t>());
  else
    fill(memory.as<uint16_t>());
}

size_t SparseStream::bytes() const {
  size_t total = offsets.memory.size() + values.size();
  for (const KBlock& block : k_blocks) total += (block.row_start.size() + block.order.size()) * 4;
  return total;
}
size_t BlockStream::bytes() const {
  size_t total = offsets.memory.size() + values.size();
  for (const KBlock& block : k_blocks) total += block.blocks.size() * sizeof(RowBlock);
  return total;
}

namespace {

// Walks the columns of one row, which ascend: their tap, channel and K block without a division an entry.
class Walk {
 public:
  explicit Walk(const ColumnMap& map) : map_(map) {}
  void move_to(int64_t column) {
    if (column < last_) tap_ = block_ = 0;
    last_ = column;
    if (column - tap_ * map_.channels >= map_.channels) tap_ = column / map_.channels, block_ = 0;
    channel_ = column - tap_ * map_.channels;
    if (channel_ < block_ * map_.block) block_ = 0;
    if (channel_ - block_ * map_.block >= map_.block) block_ = channel_ / map_.block;
  }
  size_t block() const { return static_cast<size_t>(block_); }
  int64_t offset() const { return map_.taps[static_cast<size_t>(tap_)] + channel_ * map_.channel_stride; }

 private:
  const ColumnMap& map_;
  int64_t last_ = 0, tap_ = 0, channel_ = 0, block_ = 0;
};

// The rows of every thread. An entry costs one, a row about four entries (measured).
std::vector<int64_t> equal_work(const SparseRows& rows, int threads) {
  const int64_t work = rows.row_start.back() + 4 * rows.rows;
  std::vector<int64_t> split = {0};
  for (int64_t r = 0; r < rows.rows; ++r)
    while (static_cast<int64_t>(split.size()) < threads &&
           rows.row_start[static_cast<size_t>(r)] + 4 * r >= work * static_cast<int64_t>(split.size()) / threads)
      split.push_back(r);
  while (static_cast<int64_t>(split.size()) <= threads) split.push_back(rows.rows);
  return split;
}

}  // namespace

SparseStream pack_sparse(const SparseRows& rows, const ColumnMap& map, int threads, Budget& budget, bool keep_order) {
  SparseStream out;
  const int64_t nnz = static_cast<int64_t>(rows.value.size());
  if (nnz >= int64_t{1} << 31)
    throw Error{Error::Kind::plan, "expected fewer than 2^31 kept weights in a layer, got " + std::to_string(nnz)};
  const size_t blocks = static_cast<size_t>(map.k_blocks()), count = static_cast<size_t>(rows.rows);
  budget.take(nnz, 16, "packed weights");
  budget.take(rows.rows + 1, 12 * int64_t{map.k_blocks()}, "packed weights");
  out.split = equal_work(rows, threads);
  out.k_blocks.resize(blocks);
  std::vector<std::vector<uint32_t>> place(blocks, std::vector<uint32_t>(count, 0));  // of a row: entries, then cursor
  std::vector<int64_t> low(blocks, std::numeric_limits<int64_t>::max());
  Walk walk(map);
  for (size_t r = 0; r < count; ++r)
    for (int64_t i = rows.row_start[r]; i < rows.row_start[r + 1]; ++i) {
      walk.move_to(rows.column[static_cast<size_t>(i)]);
      ++place[walk.block()][r];
      low[walk.block()] = std::min(low[walk.block()], walk.offset());
    }
  int64_t start = 0;
  for (size_t b = 0; b < blocks; ++b) {
    SparseStream::KBlock& block = out.k_blocks[b];
    std::vector<uint32_t>& entries = place[b];
    block.order.resize(count);
    std::iota(block.order.begin(), block.order.end(), 0);
    for (size_t part = 0; !keep_order && part + 1 < out.split.size(); ++part)
      std::stable_sort(block.order.begin() + out.split[part], block.order.begin() + out.split[part + 1],
                       [&](uint32_t one, uint32_t other) { return entries[one] < entries[other]; });
    block.start = start;
    block.row_start.assign(count + 1, 0);
    uint32_t cursor = 0;
    for (size_t at = 0; at < count; ++at) {
      const uint32_t length = entries[block.order[at]];
      entries[block.order[at]] = cursor;
      block.row_start[at + 1] = cursor += length;
    }
    block.x_shift = cursor ? low[b] : 0;
    start += cursor;
  }
  std::vector<int64_t> relative(static_cast<size_t>(nnz));
  out.values = WeightBytes(static_cast<size_t>(nnz) * sizeof(float));
  float* const values = out.values.as<float>();
  for (size_t r = 0; r < count; ++r)
    for (int64_t i = rows.row_start[r]; i < rows.row_start[r + 1]; ++i) {
      walk.move_to(rows.column[static_cast<size_t>(i)]);
      const SparseStream::KBlock& block = out.k_blocks[walk.block()];
      const size_t at = static_cast<size_t>(block.start + place[walk.block()][r]++);
      relative[at] = walk.offset() - block.x_shift;
      values[at] = rows.value[static_cast<size_t>(i)];
    }
  out.offsets.assign(relative);
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
  out.values = WeightBytes(static_cast<size_t>(rows / group_rows * round_up(group_rows, 4) * columns) * sizeof(float));
  float *const values = out.values.as<float>(), *value = values;
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
        four.value_start = value - values;
        four.count = static_cast<int32_t>(list.size());
        for (int32_t c : list)
          for (int64_t r = row; r < row + 4; ++r)
            *value++ = r < row + four.rows ? matrix[static_cast<size_t>(r * columns + c)] : 0.0f;
        block.blocks.push_back(four);
      }
    }
    out.k_blocks.push_back(std::move(block));
  }
  out.offsets.assign(relative);
  return out;
}

// In ascending order: by length, as in pack_sparse, 4x1 layers with a residual ran 1.2 to 1.5 times slower.
BlockStream pack_blocks(const SparseRows& rows, const ColumnMap& map, Budget& budget) {
  BlockStream out;
  const size_t nnz = rows.value.size(), fours = static_cast<size_t>(rows.rows / 4),
               blocks = static_cast<size_t>(map.k_blocks());
  budget.take(static_cast<int64_t>(nnz) + rows.rows, 24, "packed weights");
  budget.take(static_cast<int64_t>(blocks), (rows.rows / 4 + 1) * static_cast<int64_t>(sizeof(RowBlock)),
              "packed weights");
  out.k_blocks.resize(blocks);
  std::vector<int64_t> low(blocks, std::numeric_limits<int64_t>::max());
  for (auto& block : out.k_blocks) block.blocks.resize(fours);
  Walk walk(map);
  const auto each = [&](size_t four, auto&& visit) {  // the entries of its first row, which are those of all four
    for (int64_t i = rows.row_start[4 * four]; i < rows.row_start[4 * four + 1]; ++i) {
      walk.move_to(rows.column[static_cast<size_t>(i)]);
      visit(walk.block(), i - rows.row_start[4 * four]);
    }
  };
  for (size_t four = 0; four < fours; ++four)
    each(four, [&](size_t b, int64_t) {
      ++out.k_blocks[b].blocks[four].count;
      low[b] = std::min(low[b], walk.offset());
    });
  int64_t start = 0;
  for (size_t b = 0; b < blocks; ++b) {
    for (size_t four = 0; four < fours; ++four) {
      RowBlock& block = out.k_blocks[b].blocks[four];
      block.row = static_cast<int64_t>(4 * four);
      block.x_shift = low[b] == std::numeric_limits<int64_t>::max() ? 0 : low[b];
      block.offset_start = start;
      block.value_start = 4 * start;
      start += block.count;
      block.count = 0;
    }
  }
  std::vector<int64_t> relative(static_cast<size_t>(start));
  out.values = WeightBytes(static_cast<size_t>(4 * start) * sizeof(float));
  float* const values = out.values.as<float>();
  for (size_t four = 0; four < fours; ++four)
    each(four, [&](size_t b, int64_t entry) {
      RowBlock& block = out.k_blocks[b].blocks[four];
      relative[static_cast<size_t>(block.offset_start + block.count)] = walk.offset() - block.x_shift;
      for (size_t lane = 0; lane < 4; ++lane)
        values[static_cast<size_t>(block.value_start + 4 * block.count) + lane] =
            rows.value[static_cast<size_t>(rows.row_start[4 * four + lane] + entry)];
      ++block.count;
    });
  out.offsets.assign(relative);
  return out;
}

bool rows_share_columns(const SparseRows& rows, int64_t height) {
  if (rows.rows % height != 0) return false;
  for (int64_t row = 0; row < rows.rows; ++row) {
    const int64_t of = rows.row_start[static_cast<size_t>(row / height * height)],
                  of_end = rows.row_start[static_cast<size_t>(row / height * height + 1)];
    if (!std::equal(rows.column.begin() + of, rows.column.begin() + of_end,
                    rows.column.begin() + rows.row_start[static_cast<size_t>(row)],
                    rows.column.begin() + rows.row_start[static_cast<size_t>(row + 1)]))
      return false;
  }
  return true;
}

std::vector<float> densify(const SparseRows& rows, Budget& budget) {
  budget.take(budget.product({rows.rows, rows.columns}, "a dense weight"), 4, "a dense weight");
  std::vector<float> matrix(static_cast<size_t>(rows.rows * rows.columns), -0.0f);
  for (int64_t r = 0; r < rows.rows; ++r)
    for (int64_t i = rows.row_start[static_cast<size_t>(r)]; i < rows.row_start[static_cast<size_t>(r) + 1]; ++i)
      matrix[static_cast<size_t>(r * rows.columns + rows.column[static_cast<size_t>(i)])] =
          rows.value[static_cast<size_t>(i)] + 0.0f;
  return matrix;
}

std::vector<float> optional_vector(const Network& net, int weight, Budget& budget) {
  if (weight < 0) return {};
  budget.take(net.weights[static_cast<size_t>(weight)].shape[0], 4, "a vector");
  return decode_dense(net.weights[static_cast<size_t>(weight)]);
}

}  // namespace gossamer
