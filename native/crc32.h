// CRC-32 of zlib (polynomial 0xEDB88320, reflected, initial and final value 0xFFFFFFFF).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace gossamer {

uint32_t crc32(const void* data, size_t size);
std::string crc32_hex(const void* data, size_t size);  // eight lower-case hexadecimal digits

}  // namespace gossamer
