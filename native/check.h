// Small helpers of the reader: errors with a sentence, quoted names, arithmetic that cannot overflow silently.
#pragma once
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "network.h"

namespace gossamer {

template <class... T>
std::string text(const T&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... T>
[[noreturn]] void fail(Error::Kind kind, const T&... parts) {
  throw Error{kind, text(parts...)};
}

// 'name' for messages: at most 80 bytes, control characters shown as '?', cut only between UTF-8 characters.
std::string quoted(std::string_view name);

// [2, 3]
std::string listed(const std::vector<int64_t>& sizes);

// a * b of non-negative numbers, or false where the product exceeds `limit`.
inline bool product_within(int64_t a, int64_t b, int64_t limit, int64_t* out) {
  if (b != 0 && a > limit / b) return false;
  *out = a * b;
  return true;
}

// Smallest w with 2^w >= n (n >= 1): the bits that tell n things apart.
inline int bits_for(int64_t n) {
  int bits = 0;
  while ((int64_t{1} << bits) < n) ++bits;
  return bits;
}

}  // namespace gossamer
