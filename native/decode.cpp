// Storage formats -> plain rows or plain values. The input was validated by weights.cpp; nothing is checked again here.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"
#include "network.h"
#include "streams.h"

namespace gossamer {
namespace {

// IEEE binary16 -> binary32, exact (also subnormal numbers).
float from_half(uint16_t half) {
  uint32_t sign = uint32_t{half & 0x8000u} << 16, exponent = (half >> 10) & 0x1F, fraction = half & 0x3FF;
  uint32_t bits = 0;
  if (exponent == 31) {
    bits = sign | 0x7F800000u | fraction << 13;
  } else if (exponent != 0) {
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  } else {
    float small = static_cast<float>(fraction) * (1.0f / 16777216.0f);  // fraction * 2^-24
    std::memcpy(&bits, &small, sizeof bits);
    bits |= sign;
  }
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

class Values {  // in the order of the file
 public:
  explicit Values(const Weight& w) : data_(w.parts.at("values").data), half_(w.dtype == DType::f16) {}
  float operator[](int64_t index) const {
    auto i = static_cast<size_t>(index);
    if (half_) return from_half(static_cast<uint16_t>(data_[2 * i] | data_[2 * i + 1] << 8));
    uint32_t bits = uint32_t{data_[4 * i]} | uint32_t{data_[4 * i + 1]} << 8 | uint32_t{data_[4 * i + 2]} << 16 |
                    uint32_t{data_[4 * i + 3]} << 24;
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
  }

 private:
  const uint8_t* data_;
  bool half_;
};

// emit(row, column) for every stored value, in the order of the values.
template <class Emit>
void walk_entries(const Weight& w, Emit&& emit) {
  const int64_t rows = w.shape[0], columns = w.shape[1];
  switch (w.format) {
    case Format::dense:
      for (int64_t slot = 0; slot < rows * columns; ++slot) emit(slot / columns, slot % columns);
      break;
    case Format::unstructured:
      walk_gaps(w.parts.at("gaps"), 1, [&](int64_t slot) { emit(slot / columns, slot % columns); });
      break;
    case Format::block:
      walk_gaps(w.parts.at("gaps"), 1, [&](int64_t slot) {
        int64_t row = slot / (columns / w.p1) * w.p0, column = slot % (columns / w.p1) * w.p1;
        for (int64_t i = 0; i < w.p0 * w.p1; ++i) emit(row + i / w.p1, column + i % w.p1);
      });
      break;
    case Format::n_of_m: {
      BitReader positions(w.parts.at("positions"), bits_for(w.p1));
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t group = 0; group < columns; group += w.p1) {
          for (int64_t i = 0; i < w.p0; ++i) emit(row, group + positions.next());
        }
      }
      break;
    }
    case Format::gather_scatter: {
      const int64_t banks = w.p0, per_row = w.p1, group_rows = banks / per_row;
      const bool horizontal = per_row == banks;
      BitReader column_bits(w.parts.at("columns"), bits_for(horizontal ? columns / banks : columns));
      BitReader counts(w.parts.at("counts"), bits_for(group_rows * (columns / banks) + 1));
      for (int64_t row = 0; row < rows; row += group_rows) {
        for (int64_t left = counts.next(); left > 0; --left) {
          for (int64_t lane = 0; lane < banks; ++lane) {
            int64_t column = column_bits.next();
            emit(row + lane / per_row, horizontal ? column * banks + lane : column);
          }
        }
      }
      break;
    }
    case Format::window: {
      const uint8_t* lanes = w.parts.at("lanes").data;
      walk_gaps(w.parts.at("gaps"), 0, [&](int64_t slot) {
        uint32_t word = uint32_t{lanes[0]} | uint32_t{lanes[1]} << 8 | uint32_t{lanes[2]} << 16;
        lanes += 3;
        for (int64_t lane = 0; lane < 8; ++lane) {
          emit(slot / (columns / 8) * 8 + lane,
               slot % (columns / 8) * 8 + static_cast<int64_t>((word >> (3 * lane)) & 7));
        }
      });
      break;
    }
  }
}

void sort_row(SparseRows* rows, int64_t begin, int64_t end, std::vector<std::pair<int32_t, float>>* scratch) {
  if (std::is_sorted(rows->column.begin() + begin, rows->column.begin() + end)) return;
  scratch->clear();
  for (int64_t i = begin; i < end; ++i)
    scratch->emplace_back(rows->column[static_cast<size_t>(i)], rows->value[static_cast<size_t>(i)]);
  std::sort(scratch->begin(), scratch->end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (int64_t i = begin; i < end; ++i) {
    std::tie(rows->column[static_cast<size_t>(i)], rows->value[static_cast<size_t>(i)]) =
        (*scratch)[static_cast<size_t>(i - begin)];
  }
}

}  // namespace

bool is_absent(float value) { return value == 0.0f && std::signbit(value); }

bool Weight::full() const { return shape.size() == 1 || num_kept == shape[0] * shape[1]; }

// Two walks: the first counts the entries of every row, the second puts them into their places; then rows are sorted.
SparseRows decode_rows(const Weight& weight) {
  if (weight.shape.size() != 2)
    fail(Error::Kind::plan, "weight ", quoted(weight.name), ": expected a matrix, got a vector");
  SparseRows out;
  out.rows = weight.shape[0];
  out.columns = weight.shape[1];
  out.row_start.assign(static_cast<size_t>(out.rows) + 1, 0);
  const Values values(weight);
  int64_t index = 0;
  const auto absent = [&](float value) { return weight.format == Format::dense && is_absent(value); };
  walk_entries(weight, [&](int64_t row, int64_t) {
    if (!absent(values[index++])) ++out.row_start[static_cast<size_t>(row) + 1];
  });
  for (size_t row = 0; row < static_cast<size_t>(out.rows); ++row) out.row_start[row + 1] += out.row_start[row];

  out.column.resize(static_cast<size_t>(weight.num_kept));
  out.value.resize(static_cast<size_t>(weight.num_kept));
  index = 0;
  // row_start[row] serves as the place of the row's next entry; afterwards it is the start of the next row.
  walk_entries(weight, [&](int64_t row, int64_t column) {
    const float value = values[index++];
    if (absent(value)) return;
    auto place = static_cast<size_t>(out.row_start[static_cast<size_t>(row)]++);
    out.column[place] = static_cast<int32_t>(column);
    out.value[place] = value;
  });
  for (size_t row = static_cast<size_t>(out.rows); row > 0; --row) out.row_start[row] = out.row_start[row - 1];
  out.row_start[0] = 0;

  std::vector<std::pair<int32_t, float>> scratch;
  for (size_t row = 0; row < static_cast<size_t>(out.rows); ++row)
    sort_row(&out, out.row_start[row], out.row_start[row + 1], &scratch);
  return out;
}

std::vector<float> decode_values(const Weight& weight) {
  std::vector<float> out(weight.parts.at("values").bytes / (weight.dtype == DType::f16 ? 2 : 4));
  Values values(weight);
  for (size_t i = 0; i < out.size(); ++i) out[i] = values[static_cast<int64_t>(i)];
  return out;
}

std::vector<float> decode_dense(const Weight& weight) {
  if (weight.format != Format::dense)
    fail(Error::Kind::plan, "weight ", quoted(weight.name), ": expected the format dense, got another");
  return decode_values(weight);
}

void decode_dense_row(const Weight& weight, int64_t row, float* out) {
  const int64_t width = weight.shape[1];
  const uint8_t* data = weight.parts.at("values").data + row * width * (weight.dtype == DType::f16 ? 2 : 4);
  if (weight.dtype == DType::f32) {
    std::memcpy(out, data, static_cast<size_t>(width) * sizeof(float));
    return;
  }
  // (bits without sign) << 13 is the half as a float with an exponent too small by 112, also where it is subnormal;
  // stored values are finite.
  for (int64_t i = 0; i < width; ++i) {
    uint16_t half;
    std::memcpy(&half, data + 2 * i, 2);
    uint32_t bits = uint32_t{half & 0x7FFFu} << 13;
    float magnitude;
    std::memcpy(&magnitude, &bits, sizeof bits);
    magnitude *= 0x1p112f;
    std::memcpy(&bits, &magnitude, sizeof bits);
    bits |= uint32_t{half & 0x8000u} << 16;
    std::memcpy(out + i, &bits, sizeof bits);
  }
}

}  // namespace gossamer
