// What one core can do at best, measured: the two ends of a roofline.
#pragma once
#include <cstddef>
#include <string>

namespace gossamer {

// Floating-point operations a second of fused multiply-adds on registers (1 multiply-add = 2), in the widest vectors of
// `isa`. Takes about a millisecond; the caller takes the best of several.
double peak_flops(const std::string& isa);

// Bytes a second of reading `count` floats once, in the widest vectors of `isa`.
double read_rate(const float* data, size_t count, const std::string& isa);

}  // namespace gossamer
