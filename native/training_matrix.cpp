#include "training_matrix.h"

#include <algorithm>
#include <memory>

namespace gossamer {
namespace {

int bits_of(int64_t count) {  // that tell count things apart
  int bits = 0;
  while ((int64_t{1} << bits) < count) ++bits;
  return bits;
}

}  // namespace

std::string TrainingMatrix::refusal() const {
  if (block_rows < 1 || block_cols < 1 || rows < 1 || cols < 1 || rows % block_rows || cols % block_cols)
    return "expected a shape of whole blocks, got " + std::to_string(rows) + "x" + std::to_string(cols) +
           " in blocks of " + std::to_string(block_rows) + "x" + std::to_string(block_cols);
  const int64_t count = static_cast<int64_t>(std::max(columns16.size(), columns32.size()));
  const std::string starts =
      "expected " + std::to_string(num_block_rows() + 1) + " row starts that ascend from 0 to " + std::to_string(count);
  if (static_cast<int64_t>(row_start.size()) != num_block_rows() + 1)
    return starts + ", got " + std::to_string(row_start.size());
  if (row_start[0] != 0 || row_start.back() != count || !std::is_sorted(row_start.begin(), row_start.end()))
    return starts + ", got others";
  for (int64_t r = 0; r < num_block_rows(); ++r)
    for (int64_t i = row_start[static_cast<size_t>(r)]; i < row_start[static_cast<size_t>(r) + 1]; ++i) {
      if (column(i) >= num_block_cols())
        return "expected columns below " + std::to_string(num_block_cols()) + ", got " + std::to_string(column(i));
      if (i > row_start[static_cast<size_t>(r)] && column(i - 1) >= column(i))
        return "expected columns that ascend inside a row, got " + std::to_string(column(i - 1)) + " before " +
               std::to_string(column(i)) + " in row " + std::to_string(r);
    }
  return "";
}

const std::vector<uint32_t>& TrainingMatrix::cut() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!cut_) cut_ = cut_columns(*this, std::max<int64_t>(1, kBlockBytes / kTileBytes / block_cols));
  return *cut_;
}
const ByColumn& TrainingMatrix::columns() const {
  std::lock_guard<std::mutex> lock(mutex_);
  // A visit of a column costs as much as some entries: as few rows as give it 24. 4096x4096, batch 128 (avx512), ns an
  // entry for bands of 1024, 256, 128 rows: 6.6, 5.8, 6.1 at 90 %, 7.6, 9.0, 10.9 at 98 %; all rows: 12 at 98 %.
  const int64_t band = 24 * rows * cols / std::max<int64_t>(1, num_kept());
  if (!columns_) columns_ = by_column(*this, std::clamp(band, kBlockBytes / kTileBytes / 4, kBlockBytes / kTileBytes));
  return *columns_;
}
size_t TrainingMatrix::nbytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  size_t words = row_start.size() + (cut_ ? cut_->size() : 0);
  if (columns_) words += columns_->first.size() + columns_->start.size() + columns_->places.size();
  return words * sizeof(uint32_t);
}

ByColumn by_column(const TrainingMatrix& matrix, int64_t max_rows) {
  const int64_t rows = matrix.num_block_rows(), cols = matrix.num_block_cols();
  const auto start_of = [&](int64_t row) { return matrix.row_start[static_cast<size_t>(std::min(row, rows))]; };
  ByColumn out;
  const auto fits = [&](int64_t band) {
    const int64_t most = int64_t{1} << (32 - bits_of(band));
    for (int64_t r = 0; r < rows; r += band)
      if (start_of(r + band) - start_of(r) > most) return false;
    return true;
  };
  out.band_rows = std::min(rows, std::max<int64_t>(1, max_rows / matrix.block_rows));
  while (!fits(out.band_rows)) out.band_rows = (out.band_rows + 1) / 2;
  out.bands = (rows + out.band_rows - 1) / out.band_rows;
  out.shift = 32 - bits_of(out.band_rows);
  out.first.resize(static_cast<size_t>(out.bands) + 1);
  out.start.assign(static_cast<size_t>(out.bands * (cols + 1)), 0);
  out.places.resize(static_cast<size_t>(matrix.num_blocks()));
  std::vector<uint32_t> next(static_cast<size_t>(cols));
  for (int64_t b = 0; b < out.bands; ++b) {
    const int64_t row = b * out.band_rows, row_end = std::min(rows, row + out.band_rows);
    const uint32_t first = start_of(row), end = start_of(row_end);
    out.first[static_cast<size_t>(b)] = first;
    uint32_t* start = out.start.data() + b * (cols + 1);
    for (uint32_t i = first; i < end; ++i) ++start[matrix.column(i) + 1];
    start[0] = first;
    for (int64_t c = 0; c < cols; ++c) next[static_cast<size_t>(c)] = start[c], start[c + 1] += start[c];
    for (int64_t r = row; r < row_end; ++r)
      for (uint32_t i = start_of(r); i < start_of(r + 1); ++i)
        out.places[next[matrix.column(i)]++] =
            static_cast<uint32_t>(static_cast<uint64_t>(r - row) << out.shift) | (i - first);
  }
  out.first[static_cast<size_t>(out.bands)] = start_of(rows);
  return out;
}

std::vector<uint32_t> cut_columns(const TrainingMatrix& matrix, int64_t width) {
  const int64_t rows = matrix.num_block_rows();
  const int64_t blocks = std::max<int64_t>(1, (matrix.num_block_cols() + width - 1) / width);
  std::vector<uint32_t> cut(static_cast<size_t>((blocks + 1) * rows));
  for (int64_t r = 0; r < rows; ++r) {
    uint32_t i = matrix.row_start[static_cast<size_t>(r)];
    const uint32_t end = matrix.row_start[static_cast<size_t>(r) + 1];
    for (int64_t b = 0; b < blocks; ++b) {
      cut[static_cast<size_t>(b * rows + r)] = i;
      while (i < end && matrix.column(i) < (b + 1) * width) ++i;
    }
    cut[static_cast<size_t>(blocks * rows + r)] = end;
  }
  return cut;
}

Team& team_of(int threads) {
  thread_local std::unique_ptr<Team> team;
  if (!team || team->size() != threads) {
    team.reset();
    team = std::make_unique<Team>(threads);
  }
  return *team;
}

}  // namespace gossamer
