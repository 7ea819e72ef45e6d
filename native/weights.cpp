// Weights of the manifest: their tensors, checksums, and the rules of every storage format. What passes here can be
// decoded without a further check. All loops are bounded by bytes that exist in the file.
#include <algorithm>
#include <cstring>

#include "check.h"
#include "crc32.h"
#include "reader.h"
#include "streams.h"

namespace gossamer {
namespace {

using Type = Json::Type;
constexpr auto format_error = Error::Kind::format;
constexpr int64_t largest_size = (int64_t{1} << 31) - 1;
constexpr int64_t most_elements = int64_t{1} << 40;

std::string in_part(const Weight& w, const char* part) {
  return text("weight ", quoted(w.name), ", part '", part, "': ");
}

const Part& part_of(const Weight& w, const char* name) { return w.parts.at(name); }

void expect_shape(const Weight& w, const char* name, const std::vector<int64_t>& expected) {
  const Part& part = part_of(w, name);
  if (part.shape != expected)
    fail(format_error, in_part(w, name), "expected shape ", listed(expected), ", got ", listed(part.shape));
}

// Number of rows of `values`, whose other sizes must be `inner`.
int64_t stored(const Weight& w, std::vector<int64_t> inner) {
  const Part& part = part_of(w, "values");
  int64_t count = part.shape.empty() ? 0 : part.shape[0];
  inner.insert(inner.begin(), count);
  expect_shape(w, "values", inner);
  return count;
}

void expect_bytes(const Weight& w, const char* name, int64_t expected) { expect_shape(w, name, {expected}); }

void expect_bits(const Weight& w, const char* name, int64_t count, int width) {
  expect_bytes(w, name, BitReader::bytes_for(count, width));
  if (!BitReader::clean_end(part_of(w, name), count, width)) {
    fail(format_error, in_part(w, name), "expected 0 in the unused bits of the last byte, got others");
  }
}

// Every rule of a stream of gap bytes; on_slot(slot) for each of the `count` emitted slots.
template <class OnSlot>
void check_gaps(const Weight& w, int64_t slots, int64_t step, int64_t count, OnSlot&& on_slot) {
  const Part& gaps = part_of(w, "gaps");
  if (gaps.shape.size() != 1)
    fail(format_error, in_part(w, "gaps"), "expected one dimension, got shape ", listed(gaps.shape));
  int64_t cursor = 0, emitted = 0;
  for (size_t i = 0; i < gaps.bytes; ++i) {
    uint8_t gap = gaps.data[i];
    cursor += gap;
    bool emits = gap != gap_skip;
    if (cursor > slots || (emits && cursor == slots)) {
      fail(format_error, in_part(w, "gaps"), "expected slots below ", slots, ", got ", cursor, " at byte ", i);
    }
    if (!emits) continue;
    if (++emitted > count) break;
    on_slot(cursor);
    cursor += step;
  }
  if (emitted != count) {
    fail(format_error, in_part(w, "gaps"), "expected ", count, " slots, as many as 'values' has, got ",
         emitted > count ? "more" : std::to_string(emitted));
  }
  if (slots - cursor >= gap_skip) {
    fail(format_error, in_part(w, "gaps"), "expected the gaps to reach the end (", slots, " slots), got an end at ",
         cursor);
  }
}

void check_dense(Weight* w) {
  expect_shape(*w, "values", w->shape);
  const Part& values = part_of(*w, "values");
  if (w->shape.size() == 1) {
    w->num_kept = w->shape[0];
    return;
  }
  int64_t absent = 0;  // -0
  const size_t size = w->dtype == DType::f16 ? 2 : 4;
  for (size_t i = 0; i < values.bytes; i += size) {
    uint32_t bits = 0;
    std::memcpy(&bits, values.data + i, size);
    absent += bits == (size == 2 ? 0x8000u : 0x80000000u);
  }
  w->num_kept = w->shape[0] * w->shape[1] - absent;
}

void check_unstructured(Weight* w) {
  w->num_kept = stored(*w, {});
  check_gaps(*w, w->shape[0] * w->shape[1], 1, w->num_kept, [](int64_t) {});
}

void check_block(Weight* w) {
  int64_t r = w->p0, c = w->p1, rows = w->shape[0], columns = w->shape[1];
  bool sizes_fit = r >= 1 && c >= 1 && r <= 64 && c <= 64 && r * c >= 2;
  if (!sizes_fit || rows % r != 0 || columns % c != 0) {
    fail(format_error, "weight ", quoted(w->name),
         ": expected blocks of 2 or more entries, sides from 1 to 64 that divide ", listed(w->shape), ", got ", r, "x",
         c);
  }
  int64_t blocks = stored(*w, {r, c});
  w->num_kept = blocks * r * c;
  check_gaps(*w, (rows / r) * (columns / c), 1, blocks, [](int64_t) {});
}

void check_n_of_m(Weight* w) {
  int64_t n = w->p0, m = w->p1;
  if (n < 1 || n > m || m < 2 || m > 256 || w->shape[1] % m != 0) {
    fail(format_error, "weight ", quoted(w->name), ": expected 1 <= n <= m, 2 <= m <= 256 and m a divisor of ",
         w->shape[1], " columns, got ", n, ":", m);
  }
  int64_t groups = w->shape[0] * (w->shape[1] / m);
  w->num_kept = groups * n;
  expect_shape(*w, "values", {w->num_kept});
  int width = bits_for(m);
  expect_bits(*w, "positions", w->num_kept, width);
  BitReader positions(part_of(*w, "positions"), width);
  for (int64_t group = 0; group < groups; ++group) {
    int64_t before = -1;
    for (int64_t i = 0; i < n; ++i) {
      int64_t position = positions.next();
      if (position <= before || position >= m) {
        fail(format_error, in_part(*w, "positions"), "expected increasing positions below ", m, ", got ", position,
             " after ", before, " in group ", group);
      }
      before = position;
    }
  }
}

void check_gather_scatter(Weight* w) {
  int64_t banks = w->p0, per_row = w->p1, rows = w->shape[0], columns = w->shape[1];
  bool power = banks >= 2 && banks <= 64 && (banks & (banks - 1)) == 0;
  if (!power || per_row < 1 || per_row > banks || banks % per_row != 0 || columns % banks != 0 ||
      rows % (banks / per_row) != 0) {
    fail(format_error, "weight ", quoted(w->name), ": expected banks a power of two from 2 to 64 that divides ",
         columns, " columns, per_row a divisor of it, banks / per_row a divisor of ", rows, " rows, got banks ", banks,
         ", per_row ", per_row);
  }
  bool horizontal = per_row == banks;
  int64_t group_rows = banks / per_row, groups = rows / group_rows;
  int64_t bundles = stored(*w, {banks});
  w->num_kept = bundles * banks;
  int column_width = bits_for(horizontal ? columns / banks : columns);
  int count_width = bits_for(group_rows * (columns / banks) + 1);
  expect_bits(*w, "columns", w->num_kept, column_width);
  expect_bits(*w, "counts", groups, count_width);

  BitReader column_bits(part_of(*w, "columns"), column_width), count_bits(part_of(*w, "counts"), count_width);
  std::vector<int64_t> entries;  // row in the group * columns + column
  int64_t left = bundles;
  for (int64_t group = 0; group < groups; ++group) {
    int64_t count = count_bits.next();
    if (count > left)
      fail(format_error, in_part(*w, "counts"), "expected a sum of ", bundles, " bundles, got more at group ", group);
    left -= count;
    entries.clear();
    for (int64_t bundle = 0; bundle < count; ++bundle) {
      uint64_t seen = 0;  // residues of this bundle
      for (int64_t lane = 0; lane < banks; ++lane) {
        int64_t column = column_bits.next();
        if (horizontal) column = column * banks + lane;
        if (column >= columns)
          fail(format_error, in_part(*w, "columns"), "expected columns below ", columns, ", got ", column, " in group ",
               group);
        uint64_t bank = uint64_t{1} << (column % banks);
        if (seen & bank)
          fail(format_error, in_part(*w, "columns"), "expected different residues modulo ", banks, " in a bundle, got ",
               column % banks, " twice in group ", group);
        seen |= bank;
        entries.push_back((lane / per_row) * columns + column);
      }
    }
    std::sort(entries.begin(), entries.end());
    auto twice = std::adjacent_find(entries.begin(), entries.end());
    if (twice != entries.end()) {
      fail(format_error, in_part(*w, "columns"), "expected every entry once, got row ",
           group * group_rows + *twice / columns, ", column ", *twice % columns, " twice");
    }
  }
  if (left != 0)
    fail(format_error, in_part(*w, "counts"), "expected a sum of ", bundles, " bundles, got ", bundles - left);
}

void check_window(Weight* w) {
  int64_t rows = w->shape[0], columns = w->shape[1];
  if (w->p0 != 8 || rows % 8 != 0 || columns % 8 != 0) {
    fail(format_error, "weight ", quoted(w->name), ": expected width 8 and a shape divisible by 8, got width ", w->p0,
         " and ", listed(w->shape));
  }
  int64_t bundles = stored(*w, {8});
  w->num_kept = bundles * 8;
  expect_bytes(*w, "lanes", 3 * bundles);
  const uint8_t* lanes = part_of(*w, "lanes").data;
  int64_t last_slot = -1;
  uint64_t seen = 0;  // bit 8 * lane + column: entries of this slot
  check_gaps(*w, (rows / 8) * (columns / 8), 0, bundles, [&](int64_t slot) {
    if (slot != last_slot) seen = 0;
    last_slot = slot;
    uint32_t word = uint32_t{lanes[0]} | uint32_t{lanes[1]} << 8 | uint32_t{lanes[2]} << 16;
    lanes += 3;
    for (int lane = 0; lane < 8; ++lane) {
      uint64_t bit = uint64_t{1} << (8 * lane + static_cast<int>((word >> (3 * lane)) & 7));
      if (seen & bit)
        fail(format_error, in_part(*w, "lanes"), "expected every entry once, got lane ", lane, " of slot ", slot,
             " twice in one column");
      seen |= bit;
    }
  });
}

void check_finite(const Weight& w) {
  const Part& values = part_of(w, "values");
  size_t bad = values.bytes;
  if (w.dtype == DType::f16) {
    for (size_t i = 0; i + 1 < values.bytes; i += 2) {
      if ((values.data[i + 1] & 0x7C) == 0x7C) bad = std::min(bad, i / 2);
    }
  } else {
    for (size_t i = 0; i + 3 < values.bytes; i += 4) {
      if ((values.data[i + 3] & 0x7F) == 0x7F && (values.data[i + 2] & 0x80) != 0) bad = std::min(bad, i / 4);
    }
  }
  if (bad != values.bytes)
    fail(format_error, in_part(w, "values"), "expected finite values, got NaN or infinity at ", bad);
}

struct FormatRow {
  const char* name;
  Format format;
  const char* parameters[2];  // into p0, p1; nullptr: none
  const char* parts[3];       // 'values' first
  void (*check)(Weight*);
};

constexpr FormatRow formats[] = {
    {"dense", Format::dense, {nullptr, nullptr}, {"values", nullptr, nullptr}, check_dense},
    {"unstructured", Format::unstructured, {nullptr, nullptr}, {"values", "gaps", nullptr}, check_unstructured},
    {"block", Format::block, {"rows", "columns"}, {"values", "gaps", nullptr}, check_block},
    {"n_of_m", Format::n_of_m, {"n", "m"}, {"values", "positions", nullptr}, check_n_of_m},
    {"gather_scatter",
     Format::gather_scatter,
     {"banks", "per_row"},
     {"values", "columns", "counts"},
     check_gather_scatter},
    {"window", Format::window, {"width", nullptr}, {"values", "gaps", "lanes"}, check_window},
};

void read_shape(const Place& place, Json::View shape, Weight* w) {
  expect(place, shape, Type::array, "shape");
  if (shape.size() != 1 && shape.size() != 2)
    fail(place.kind, place.words, ": expected shape [n] or [rows, columns], got ", shape.size(), " sizes");
  shape.each([&](Json::View n) { w->shape.push_back(integer_in(place, n, "shape", 1, largest_size)); });
  int64_t elements = 0;
  if (w->shape.size() == 2 && !product_within(w->shape[0], w->shape[1], most_elements, &elements)) {
    fail(place.kind, place.words, ": expected at most 2^40 elements, got shape ", listed(w->shape));
  }
}

void read_part(const Place& weight_place, const char* name, Json::View view, Container* container, Weight* w) {
  Place place{weight_place.kind, text(weight_place.words, ", part '", name, "'")};
  std::vector<Json::View> f = fields(place, view, {"tensor", "crc32"});
  std::string_view tensor_name = string_of(place, f[0], "tensor");
  std::string_view checksum = string_of(place, f[1], "crc32");
  Tensor* tensor = container->find(tensor_name);
  if (tensor == nullptr) fail(place.kind, place.words, ": expected a tensor of the file, got ", quoted(tensor_name));
  if (tensor->used)
    fail(place.kind, place.words, ": expected a tensor that no other part names, got ", quoted(tensor_name));
  tensor->used = true;
  TensorType expected = TensorType::u8;
  if (std::strcmp(name, "values") == 0) expected = w->dtype == DType::f16 ? TensorType::f16 : TensorType::f32;
  if (tensor->type != expected) {
    fail(place.kind, place.words, ": expected dtype ", type_text(expected), ", got ", type_text(tensor->type),
         " in tensor ", quoted(tensor_name));
  }
  std::string actual = crc32_hex(tensor->part.data, tensor->part.bytes);
  if (checksum != actual) {
    fail(place.kind, place.words, ": expected CRC-32 ", quoted(checksum), ", got '", actual, "' of tensor ",
         quoted(tensor_name), "; the file is damaged");
  }
  w->parts[name] = tensor->part;
}

}  // namespace

Weight read_weight(std::string_view name, Json::View view, Container* container) {
  Place place{format_error, text("weight ", quoted(name))};
  check_name(place, name, "name");
  std::vector<Json::View> f = fields(place, view, {"format", "shape", "dtype", "parameters", "parts"});
  Weight w;
  w.name = std::string(name);
  std::string_view format = string_of(place, f[0], "format");
  const FormatRow* row =
      std::find_if(std::begin(formats), std::end(formats), [&](const FormatRow& r) { return format == r.name; });
  if (row == std::end(formats)) {
    fail(place.kind, place.words,
         ": expected format dense, unstructured, block, n_of_m, gather_scatter or window, got ", quoted(format));
  }
  w.format = row->format;
  read_shape(place, f[1], &w);
  if (w.shape.size() == 1 && w.format != Format::dense)
    fail(place.kind, place.words, ": expected format dense for a vector, got ", row->name);
  std::string_view dtype = string_of(place, f[2], "dtype");
  if (dtype != "float32" && dtype != "float16")
    fail(place.kind, place.words, ": expected dtype float32 or float16, got ", quoted(dtype));
  w.dtype = dtype == "float16" ? DType::f16 : DType::f32;

  Place parameter_place{place.kind, place.words + ", parameters"};
  std::vector<Json::View> parameters = row->parameters[0] == nullptr ? fields(parameter_place, f[3], {})
                                       : row->parameters[1] == nullptr
                                           ? fields(parameter_place, f[3], {row->parameters[0]})
                                           : fields(parameter_place, f[3], {row->parameters[0], row->parameters[1]});
  int64_t* const into[2] = {&w.p0, &w.p1};
  for (size_t i = 0; i < parameters.size(); ++i)
    *into[i] = integer_in(parameter_place, parameters[i], row->parameters[i], 0, largest_size);

  Place parts_place{place.kind, place.words + ", parts"};
  std::vector<Json::View> parts = row->parts[1] == nullptr ? fields(parts_place, f[4], {row->parts[0]})
                                  : row->parts[2] == nullptr
                                      ? fields(parts_place, f[4], {row->parts[0], row->parts[1]})
                                      : fields(parts_place, f[4], {row->parts[0], row->parts[1], row->parts[2]});
  for (size_t i = 0; i < parts.size(); ++i) read_part(place, row->parts[i], parts[i], container, &w);
  row->check(&w);
  check_finite(w);
  return w;
}

}  // namespace gossamer
