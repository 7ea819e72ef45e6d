#include "container.h"

#include <algorithm>

#include "check.h"
#include "crc32.h"
#include "json.h"

namespace gossamer {
namespace {

using Type = Json::Type;
constexpr auto format = Error::Kind::format;
constexpr uint64_t longest_header = 100'000'000;
constexpr size_t most_dimensions = 8;

struct TypeRow {
  const char* text;
  TensorType type;
  int64_t bytes;
};
constexpr TypeRow types[] = {
    {"U8", TensorType::u8, 1}, {"U16", TensorType::u16, 2}, {"F16", TensorType::f16, 2}, {"F32", TensorType::f32, 4}};

struct Extent {
  int64_t begin, end;
  const std::string* name;
};

// Bytes of a tensor; -1 where they exceed 2^62 (no file has so many).
int64_t bytes_of(const std::vector<int64_t>& shape, int64_t element) {
  for (int64_t n : shape) {
    if (n == 0) return 0;
  }
  int64_t bytes = element;
  for (int64_t n : shape) {
    if (!product_within(bytes, n, int64_t{1} << 62, &bytes)) return -1;
  }
  return bytes;
}

std::vector<int64_t> sizes(Json::View view, const std::string& where, const char* key, size_t most) {
  if (!view.is(Type::array) || view.size() > most) {
    fail(format, where, ": expected '", key, "' to be an array of at most ", most, " integers, got ", view.type_name());
  }
  std::vector<int64_t> out;
  view.each([&](Json::View n) {
    if (!n.is(Type::integer) || n.integer() < 0)
      fail(format, where, ": expected integers >= 0 in '", key, "', got ", n.type_name());
    out.push_back(n.integer());
  });
  return out;
}

void read_metadata(Json::View metadata, Container* out) {
  if (!metadata.is(Type::object))
    fail(format, "header: expected '__metadata__' to be an object, got ", metadata.type_name());
  std::string_view checksum;
  bool has_manifest = false, has_checksum = false;
  metadata.each_member([&](std::string_view key, Json::View value) {
    if (!value.is(Type::string)) {
      fail(format, "header: expected the metadata ", quoted(key), " to be a string, got ", value.type_name());
    }
    if (key == "gossamer") {
      out->manifest = std::string(value.string());
      has_manifest = true;
    } else if (key == "gossamer_crc32") {
      checksum = value.string();
      has_checksum = true;
    }
  });
  if (!has_manifest || !has_checksum) {
    fail(format, "header: expected the metadata 'gossamer' and 'gossamer_crc32', got a .safetensors file without ",
         has_manifest ? "'gossamer_crc32'" : "'gossamer'", "; is this a packed file (gossamer pack)?");
  }
  std::string actual = crc32_hex(out->manifest.data(), out->manifest.size());
  if (checksum != actual)
    fail(format, "manifest: expected CRC-32 ", quoted(checksum), ", got '", actual, "'; the file is damaged");
}

Tensor read_tensor(std::string_view name, Json::View view, std::vector<Extent>* extents) {
  std::string where = text("tensor ", quoted(name));
  if (!view.is(Type::object)) fail(format, where, ": expected an object, got ", view.type_name());
  Json::View dtype, shape, offsets;
  view.each_member([&](std::string_view key, Json::View value) {
    if (key == "dtype") {
      dtype = value;
    } else if (key == "shape") {
      shape = value;
    } else if (key == "data_offsets") {
      offsets = value;
    } else {
      fail(format, where, ": expected the keys dtype, shape, data_offsets, got ", quoted(key));
    }
  });
  if (!dtype || !shape || !offsets) fail(format, where, ": expected the keys dtype, shape, data_offsets, got fewer");
  Tensor tensor;
  tensor.name = std::string(name);
  const TypeRow* row = std::find_if(std::begin(types), std::end(types), [&](const TypeRow& candidate) {
    return dtype.is(Type::string) && dtype.string() == candidate.text;
  });
  if (row == std::end(types)) {
    fail(format, where, ": expected dtype U8, U16, F16 or F32, got ",
         dtype.is(Type::string) ? quoted(dtype.string()) : dtype.type_name());
  }
  tensor.type = row->type;
  tensor.part.shape = sizes(shape, where, "shape", most_dimensions);
  std::vector<int64_t> range = sizes(offsets, where, "data_offsets", 2);
  if (range.size() != 2 || range[0] > range[1])
    fail(format, where, ": expected data_offsets [begin, end], got ", listed(range));
  int64_t bytes = bytes_of(tensor.part.shape, row->bytes);
  if (bytes != range[1] - range[0]) {
    fail(format, where, ": expected ", bytes < 0 ? "fewer than 2^62" : std::to_string(bytes), " bytes for ", row->text,
         " of shape ", listed(tensor.part.shape), ", got ", range[1] - range[0], " from data_offsets");
  }
  tensor.part.bytes = static_cast<size_t>(bytes);
  extents->push_back({range[0], range[1], nullptr});
  return tensor;
}

}  // namespace

const char* type_text(TensorType type) {
  for (const TypeRow& row : types) {
    if (row.type == type) return row.text;
  }
  return "?";
}

Tensor* Container::find(std::string_view name) {
  auto at = std::lower_bound(tensors.begin(), tensors.end(), name,
                             [](const Tensor& t, std::string_view n) { return t.name < n; });
  return at != tensors.end() && at->name == name ? &*at : nullptr;
}

uint64_t header_length(const uint8_t* prefix, size_t available, uint64_t file_size) {
  if (available < container_prefix || file_size < container_prefix) {
    fail(format, "expected a packed file (at least ", container_prefix, " bytes), got ", file_size, " bytes");
  }
  uint64_t length = 0;
  for (size_t i = 0; i < container_prefix; ++i) length |= uint64_t{prefix[i]} << (8 * i);
  if (length < 2 || length > longest_header || length > file_size - container_prefix) {
    fail(format, "header: expected a length from 2 to 100000000 that fits into the file of ", file_size, " bytes, got ",
         length, "; the file is truncated or not a packed file");
  }
  return length;
}

Container read_container(const uint8_t* data, size_t size) {
  auto length = static_cast<size_t>(header_length(data, size, size));
  const uint8_t* begin = data + container_prefix;
  if (begin[0] != '{') fail(format, "header: expected '{' as its first byte, got byte ", int{begin[0]});
  Json header = Json::parse(std::string_view(reinterpret_cast<const char*>(begin), length), format, "header");
  const uint8_t* payload = begin + length;
  auto payload_size = static_cast<int64_t>(size - container_prefix - length);

  Container out;
  std::vector<Extent> extents;
  bool has_metadata = false;
  header.root().each_member([&](std::string_view name, Json::View view) {
    if (name == "__metadata__") {
      read_metadata(view, &out);
      has_metadata = true;
    } else {
      out.tensors.push_back(read_tensor(name, view, &extents));
    }
  });
  if (!has_metadata)
    fail(format,
         "header: expected '__metadata__' with the key 'gossamer', got none; is this a packed file (gossamer pack)?");

  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i].end > payload_size) {
      fail(format, "tensor ", quoted(out.tensors[i].name), ": expected data within ", payload_size,
           " bytes, got data_offsets up to ", extents[i].end, "; the file is truncated");
    }
    out.tensors[i].part.data = payload + extents[i].begin;
    extents[i].name = &out.tensors[i].name;
  }
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  int64_t expected = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != expected) {
      fail(format, "tensor ", quoted(*extent.name), ": expected its data to begin at ", expected,
           " (no hole, no overlap), got ", extent.begin);
    }
    expected = extent.end;
  }
  if (expected != payload_size)
    fail(format, "expected ", expected, " bytes of tensor data, got ", payload_size, " bytes in the file");
  std::sort(out.tensors.begin(), out.tensors.end(), [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  return out;
}

}  // namespace gossamer
