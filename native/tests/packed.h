// Packed files put together by hand, byte by byte, so that a test can break any rule.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "crc32.h"

namespace test {

using Bytes = std::string;

inline Bytes floats(const std::vector<float>& values) {
  Bytes out(values.size() * 4, '\0');
  if (!values.empty()) std::memcpy(out.data(), values.data(), out.size());  // tests run on little-endian machines
  return out;
}

inline Bytes bytes(const std::vector<int>& values) {
  Bytes out;
  for (int v : values) out += static_cast<char>(static_cast<unsigned char>(v));
  return out;
}

inline Bytes halves(const std::vector<int>& bits) {
  Bytes out;
  for (int v : bits) out += bytes({v & 255, v >> 8});
  return out;
}

struct TensorSpec {
  std::string name, dtype, shape;
  Bytes data;
};  // shape: "[2, 3]"

struct Packed {
  std::string network, weights;  // JSON; weights: members without braces
  std::vector<TensorSpec> tensors;
  std::string more;      // further members of the manifest, beginning with a comma
  std::string checksum;  // of the manifest; empty: the right one
  std::string header;    // the whole header; empty: made from the above
  std::string version = "1";

  // A weight "name" whose parts are tensors of the same names.
  void weight(const std::string& name, const std::string& format, const std::string& shape, const std::string& dtype,
              const std::string& parameters, const std::vector<TensorSpec>& parts) {
    weights += (weights.empty() ? "" : ", ") +
               ("\"" + name + "\": {\"format\": \"" + format + "\", \"shape\": " + shape + ", \"dtype\": \"" + dtype +
                "\", \"parameters\": {" + parameters + "}, \"parts\": {");
    bool first = true;
    for (const TensorSpec& part : parts) {
      std::string tensor = name + "." + part.name;
      weights += (first ? "\"" : ", \"") + part.name + "\": {\"tensor\": \"" + tensor + "\", \"crc32\": \"" +
                 gossamer::crc32_hex(part.data.data(), part.data.size()) + "\"}";
      tensors.push_back({tensor, part.dtype, part.shape, part.data});
      first = false;
    }
    weights += "}}";
  }

  std::string manifest() const {
    return "{\"format_version\": " + version + ", \"library\": \"test\", \"network\": " + network + ", \"weights\": {" +
           weights + "}" + more + "}";
  }

  Bytes build() const {
    std::string text = manifest(), escaped;
    for (char c : text) escaped += (c == '"' || c == '\\') ? std::string("\\") + c : std::string(1, c);
    std::string sum = checksum.empty() ? gossamer::crc32_hex(text.data(), text.size()) : checksum;
    std::string head = "{\"__metadata__\": {\"gossamer\": \"" + escaped + "\", \"gossamer_crc32\": \"" + sum + "\"}";
    Bytes data;
    for (const TensorSpec& t : tensors) {
      head += ", \"" + t.name + "\": {\"dtype\": \"" + t.dtype + "\", \"shape\": " + t.shape + ", \"data_offsets\": [" +
              std::to_string(data.size()) + ", " + std::to_string(data.size() + t.data.size()) + "]}";
      data += t.data;
    }
    head += "}";
    if (!header.empty()) head = header;
    Bytes out;
    for (size_t i = 0; i < 8; ++i) out += static_cast<char>(static_cast<unsigned char>((head.size() >> (8 * i)) & 255));
    return out + head + data;
  }
};

// x [n, columns] -> linear with the weight "w" -> y
inline std::string linear_network(int columns) {
  return "{\"name\": \"t\", \"dims\": {\"n\": {\"min\": 1, \"max\": 4}}, \"inputs\": [{\"name\": \"x\", \"shape\": "
         "[\"n\", " +
         std::to_string(columns) +
         "], \"dtype\": \"float32\"}], \"outputs\": [{\"name\": \"out\", \"value\": \"y\"}], \"nodes\": [{\"op\": "
         "\"linear\", \"name\": \"fc\", "
         "\"inputs\": [\"x\"], \"outputs\": [\"y\"], \"attributes\": {}, \"weights\": {\"weight\": \"w\"}}]}";
}

// x [n, 4, 6, 6] -> one node without weights -> y
inline std::string one_node(const std::string& op, const std::string& attributes, const std::string& inputs = "\"x\"") {
  return "{\"name\": \"t\", \"dims\": {\"n\": {\"min\": 1, \"max\": 4}}, \"inputs\": [{\"name\": \"x\", \"shape\": "
         "[\"n\", 4, 6, 6], \"dtype\": \"float32\"}], "
         "\"outputs\": [{\"name\": \"y\", \"value\": \"y\"}], \"nodes\": [{\"op\": \"" +
         op + "\", \"name\": \"it\", \"inputs\": [" + inputs + "], \"outputs\": [\"y\"], \"attributes\": {" +
         attributes + "}, \"weights\": {}}]}";
}

}  // namespace test
