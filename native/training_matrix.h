// Places of a sparse weight in training, with everything prepared for the products with it: built once an edit of the
// mask, in time linear in the number of blocks. The values are a parameter of the caller, a flat array by row of
// blocks, inside a block row-major; no value is ever copied or moved. The columns stay the caller's as well: a copy was
// 5 MiB for 2.5 million entries.
//
// Letters: R x C = rows x columns of the weight, a block = block_rows x block_cols entries (1 x 1: unstructured).
#pragma once
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "threads.h"

namespace gossamer {

// The blocks by column, in bands of block rows. Band b holds the blocks first[b] .. first[b + 1] - 1 by row; its
// columns' entries are places[start[b * (columns + 1) + c]] .. places[start[b * (columns + 1) + c + 1] - 1], rows
// ascending. A place is (block row - b * band_rows) << shift | (block - first[b]): 32 bits for both, because a band has
// as few rows as that needs. 6 bytes an entry (u16 row, u32 block) would be 5 MiB more for 2.5 million entries.
struct ByColumn {
  int shift = 0;
  int64_t band_rows = 0, bands = 0;
  std::vector<uint32_t> first, start, places;
};

// Bytes of the lanes of one row or column that a tile holds, and of all lanes that one pass reads again and again: they
// stay in the second-level cache.
constexpr int64_t kTileBytes = 512, kBlockBytes = 524288;

// Numbers of somebody else, who keeps them.
template <typename T>
struct Borrowed {
  const T* first = nullptr;
  size_t count = 0;

  const T* data() const { return first; }
  size_t size() const { return count; }
  bool empty() const { return count == 0; }
  const T& operator[](size_t i) const { return first[i]; }
};

struct TrainingMatrix {
  int64_t rows = 0, cols = 0, block_rows = 1, block_cols = 1;
  std::vector<uint32_t> row_start;  // [R / block_rows + 1]
  Borrowed<uint16_t> columns16;     // of a block, in blocks; ascending in a row
  Borrowed<uint32_t> columns32;     // instead, where C / block_cols > 65536

  int64_t num_block_rows() const { return rows / block_rows; }
  int64_t num_block_cols() const { return cols / block_cols; }
  int64_t num_blocks() const { return row_start.back(); }
  int64_t num_kept() const { return num_blocks() * block_rows * block_cols; }
  uint32_t column(int64_t block) const {
    return columns16.empty() ? columns32[static_cast<size_t>(block)] : columns16[static_cast<size_t>(block)];
  }
  // What is wrong with the structure, in words; empty: nothing.
  std::string refusal() const;

  // What the linear products read, made when first asked for: the columns' blocks and the bands of rows of which a
  // tile of lanes stays in the second-level cache.
  const std::vector<uint32_t>& cut() const;
  const ByColumn& columns() const;
  // Of what is held here: not of the columns.
  size_t nbytes() const;

 private:
  mutable std::mutex mutex_;
  mutable std::optional<std::vector<uint32_t>> cut_;
  mutable std::optional<ByColumn> columns_;
};

// At most `max_rows` rows of the weight a band.
ByColumn by_column(const TrainingMatrix& matrix, int64_t max_rows);

// Where the share of each column block begins in each block row: cut[k * block rows + r], k <= blocks; `width` block
// columns a column block.
std::vector<uint32_t> cut_columns(const TrainingMatrix& matrix, int64_t width);

// The calling thread's workers; they sleep between calls and end with the thread.
Team& team_of(int threads);

}  // namespace gossamer
