#include "pack_vector.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"
#include "streams.h"

namespace gossamer {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// The half whose value is x; x is one exactly (it was read from a file of halves).
uint16_t exact_half(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t sign = bits >> 16 & 0x8000;
  const float magnitude = std::fabs(x) * 0x1p-112f;  // exact: the result is a multiple of 2^-136
  std::memcpy(&bits, &magnitude, 4);
  return static_cast<uint16_t>(sign | bits >> 13);
}

// Values as the weight's dtype stores them.
WeightBytes store_values(const std::vector<float>& values, Stored stored, Budget& budget) {
  const size_t size = stored == kF16 ? 2 : 4;
  budget.take(static_cast<int64_t>(values.size()), static_cast<int64_t>(size), "packed weights");
  WeightBytes out(values.size() * size);
  if (stored == kF16)
    std::transform(values.begin(), values.end(), out.as<uint16_t>(), exact_half);
  else
    std::copy(values.begin(), values.end(), out.as<float>());
  return out;
}

// Columns as u16 where the width allows, else u32.
void store_columns(PackedVector& out, const std::vector<int32_t>& columns, Budget& budget) {
  out.wide = out.width > 65536;
  const size_t size = out.wide ? 4 : 2;
  budget.take(static_cast<int64_t>(columns.size()), static_cast<int64_t>(size), "packed weights");
  out.columns = WeightBytes(columns.size() * size);
  if (out.wide)
    std::copy(columns.begin(), columns.end(), out.columns.as<uint32_t>());
  else
    std::copy(columns.begin(), columns.end(), out.columns.as<uint16_t>());
}

void units_of(PackedVector& out, VectorKernel kernel, int64_t unit_rows) {
  out.kernel = kernel;
  out.unit_rows = unit_rows;
  out.units = out.rows / unit_rows;
  out.start.reserve(at(out.units) + 1);
  out.start.push_back(0);
}

void pack_rows_of(PackedVector& out, const SparseRows& rows, Budget& budget) {
  out.kernel = kRows;
  out.units = out.rows;
  out.start.assign(rows.row_start.begin(), rows.row_start.end());
  out.values = store_values(rows.value, out.stored, budget);
  store_columns(out, rows.column, budget);
  out.why = "rows of gathered columns";
}

void pack_bitmap(PackedVector& out, const SparseRows& rows, Budget& budget) {
  out.kernel = kBitmap;
  out.units = out.rows;
  out.start.assign(rows.row_start.begin(), rows.row_start.end());
  out.values = store_values(rows.value, out.stored, budget);
  const int64_t words = (out.width + 15) / 16;
  budget.take(budget.product({out.rows, words}, "a bitmap"), 2, "a bitmap");
  out.columns = WeightBytes(at(out.rows * words) * 2);
  uint16_t* masks = out.columns.as<uint16_t>();
  for (int64_t r = 0; r < out.rows; ++r)
    for (int64_t i = rows.row_start[at(r)]; i < rows.row_start[at(r) + 1]; ++i) {
      const int32_t c = rows.column[at(i)];
      uint16_t& word = masks[r * words + c / 16];
      word = static_cast<uint16_t>(word | 1u << (c % 16));
    }
  out.why = "rows as bitmaps";
}

// Rows in runs of `height` have equal columns.
bool rows_share(const SparseRows& rows, int64_t height) {
  if (rows.rows % height != 0) return false;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const int64_t a = rows.row_start[at(r / height * height)], b = rows.row_start[at(r)];
    const int64_t n = rows.row_start[at(r) + 1] - b;
    if (n != rows.row_start[at(r / height * height) + 1] - a) return false;
    if (!std::equal(rows.column.begin() + b, rows.column.begin() + b + n, rows.column.begin() + a)) return false;
  }
  return true;
}

// The scale of a row whose values are whole multiples of it up to 127, to the rounding of a float; else 0.
float exact_scale(const SparseRows& rows, int64_t row) {
  float most = 0;
  for (int64_t i = rows.row_start[at(row)]; i < rows.row_start[at(row) + 1]; ++i)
    most = std::max(most, std::fabs(rows.value[at(i)]));
  if (most == 0) return 1;
  const float scale = most / 127;
  for (int64_t i = rows.row_start[at(row)]; i < rows.row_start[at(row) + 1]; ++i) {
    const float value = rows.value[at(i)];
    if (std::fabs(std::nearbyint(value / scale) * scale - value) > 4e-7f * std::fabs(value)) return 0;
  }
  return scale;
}

// Blocks of eight whose values a network quantized to eight bits a row: one byte a weight, nothing lost. Values of
// another kind stay as they are. Rows in bundles and windows gain nothing: their operands bound them.
void shrink_to_bytes(PackedVector& out, const SparseRows& rows, const std::vector<float>& values) {
  for (int64_t row = 0; row < out.rows; ++row) {
    out.scale.push_back(exact_scale(rows, row));
    if (out.scale.back() == 0) {
      out.scale.clear();
      return;
    }
  }
  out.stored = kI8;
  out.values = WeightBytes(values.size());
  for (int64_t unit = 0; unit < out.units; ++unit)
    for (size_t i = 8 * size_t{out.start[at(unit)]}; i < 8 * size_t{out.start[at(unit) + 1]}; ++i)
      out.values.as<int8_t>()[i] = static_cast<int8_t>(std::nearbyint(values[i] / out.scale[at(unit) * 8 + i % 8]));
  out.why += ", eight-bit values with a scale a row";
}

void pack_blocks_of(PackedVector& out, const SparseRows& rows, int64_t height, Budget& budget) {
  units_of(out, height == 8 ? kBlock8 : kBlock4, height);
  std::vector<float> values;
  std::vector<int32_t> columns;
  values.reserve(rows.value.size());
  columns.reserve(rows.value.size() / at(height));
  for (int64_t r = 0; r < out.rows; r += height) {
    const int64_t begin = rows.row_start[at(r)], end = rows.row_start[at(r) + 1];
    for (int64_t i = begin; i < end; ++i) {
      columns.push_back(rows.column[at(i)]);
      for (int64_t lane = 0; lane < height; ++lane)
        values.push_back(rows.value[at(rows.row_start[at(r + lane)] + i - begin)]);
    }
    out.start.push_back(static_cast<uint32_t>(columns.size()));
  }
  out.values = store_values(values, out.stored, budget);
  store_columns(out, columns, budget);
  out.why = "blocks of " + std::to_string(height) + " rows that share their columns";
  if (height == 8) shrink_to_bytes(out, rows, values);
}

// Every row keeps equally many entries of every window of eight columns: the j-th ones of eight rows make a bundle.
void pack_windows(PackedVector& out, const SparseRows& rows, Budget& budget) {
  units_of(out, kWindow8, 8);
  out.wide = out.width > 2048;
  std::vector<float> values;
  std::vector<uint32_t> words;
  values.reserve(rows.value.size());
  for (int64_t r = 0; r < out.rows; r += 8) {
    const int64_t n = rows.row_start[at(r) + 1] - rows.row_start[at(r)];
    for (int64_t i = 0; i < n; ++i) {
      uint32_t word = 0;
      int32_t column = 0;
      for (int64_t lane = 0; lane < 8; ++lane) {
        const size_t entry = at(rows.row_start[at(r + lane)] + i);
        column = rows.column[entry];
        word |= static_cast<uint32_t>(column % 8) << (3 * lane);
        values.push_back(rows.value[entry]);
      }
      const uint32_t window = static_cast<uint32_t>(column / 8);
      words.push_back(out.wide ? word : word | window << 24);
      if (out.wide) words.push_back(window);
    }
    out.start.push_back(static_cast<uint32_t>(values.size() / 8));
  }
  out.values = store_values(values, out.stored, budget);
  budget.take(static_cast<int64_t>(words.size()), 4, "packed weights");
  out.columns = WeightBytes(words.size() * 4);
  std::copy(words.begin(), words.end(), out.columns.as<uint32_t>());
  out.why = "windows of eight columns, one permutation for eight rows";
}

// Bundles in the file's own order.
void pack_bundles(PackedVector& out, const Weight& weight, Budget& budget) {
  const int64_t per_row = weight.p1, group_rows = 8 / per_row;
  units_of(out, kBundles, group_rows);
  out.per_row = static_cast<int>(per_row);
  const bool horizontal = per_row == 8;
  BitReader column_bits(weight.parts.at("columns"), bits_for(horizontal ? out.width / 8 : out.width));
  BitReader counts(weight.parts.at("counts"), bits_for(group_rows * (out.width / 8) + 1));
  for (int64_t unit = 0; unit < out.units; ++unit)
    out.start.push_back(out.start.back() + static_cast<uint32_t>(counts.next()));
  budget.take(weight.num_kept, 4, "packed weights");
  std::vector<int32_t> columns(at(weight.num_kept));
  for (size_t i = 0; i < columns.size(); ++i)
    columns[i] =
        static_cast<int32_t>(horizontal ? column_bits.next() * 8 + static_cast<int64_t>(i % 8) : column_bits.next());
  if (horizontal && out.width <= 2048) {
    out.wide = 2;
    out.columns = WeightBytes(columns.size());
    std::transform(columns.begin(), columns.end(), out.columns.as<uint8_t>(),
                   [](int32_t c) { return static_cast<uint8_t>(c / 8); });
  } else {
    store_columns(out, columns, budget);
  }
  out.values = store_values(decode_values(weight), out.stored, budget);
  out.why = "gather-scatter bundles of eight, " + std::to_string(per_row) + " a row";
}

}  // namespace

PackedVector pack_vector(const Weight& weight, Budget& budget, VectorKernel unstructured) {
  if (weight.num_kept >= int64_t{1} << 31)
    throw Error{Error::Kind::plan,
                "expected fewer than 2^31 kept weights in a layer, got " + std::to_string(weight.num_kept)};
  PackedVector out;
  out.rows = weight.shape[0];
  out.width = weight.shape[1];
  out.stored = weight.dtype == DType::f16 ? kF16 : kF32;
  if (weight.format == Format::dense && weight.full()) {
    out.kernel = kDense;
    out.units = out.rows;
    out.values = store_values(decode_values(weight), out.stored, budget);
    out.why = "stored dense";
    return out;
  }
  if (weight.format == Format::gather_scatter && weight.p0 == 8) {
    pack_bundles(out, weight, budget);
    return out;
  }
  budget.take(weight.num_kept + out.rows, 12, "decoded weights");
  const SparseRows rows = decode_rows(weight);
  if (weight.full()) {
    out.kernel = kDense;
    out.units = out.rows;
    out.values = store_values(rows.value, out.stored, budget);
    out.why = "nothing dropped";
    return out;
  }
  const bool eights = out.rows % 8 == 0 && out.width % 8 == 0;
  if (weight.format == Format::window || (weight.format == Format::n_of_m && eights && 8 % weight.p1 == 0))
    pack_windows(out, rows, budget);
  else if (weight.num_kept > 0 && rows_share(rows, 8))
    pack_blocks_of(out, rows, 8, budget);
  else if (weight.num_kept > 0 && rows_share(rows, 4))
    pack_blocks_of(out, rows, 4, budget);
  else if (unstructured == kBitmap)
    pack_bitmap(out, rows, budget);
  else
    pack_rows_of(out, rows, budget);
  return out;
}

}  // namespace gossamer
