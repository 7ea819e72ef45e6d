// The container of a packed file: a .safetensors file (docs/formats/packed-file.md section 1).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "network.h"

namespace gossamer {

enum class TensorType { u8, u16, f16, f32 };

struct Tensor {
  std::string name;
  TensorType type = TensorType::u8;
  Part part;          // points into the file
  bool used = false;  // named by a weight
};

struct Container {
  std::vector<Tensor> tensors;  // sorted by name
  std::string manifest;         // JSON text, its checksum verified

  Tensor* find(std::string_view name);
};

constexpr size_t container_prefix = 8;  // bytes before the header

// Length of the header, from the first bytes of a file of `file_size` bytes. Throws Error{format}.
uint64_t header_length(const uint8_t* prefix, size_t available, uint64_t file_size);

Container read_container(const uint8_t* data, size_t size);

const char* type_text(TensorType type);  // "F32"

}  // namespace gossamer
