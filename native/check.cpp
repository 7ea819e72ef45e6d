#include "check.h"

namespace gossamer {

std::string quoted(std::string_view name) {
  constexpr size_t longest = 80;
  bool cut = name.size() > longest;
  size_t end = cut ? longest : name.size();
  while (cut && end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0) == 0x80) --end;
  std::string out = "'";
  for (char c : name.substr(0, end)) {
    auto byte = static_cast<unsigned char>(c);
    out += (byte < 0x20 || byte == 0x7F) ? '?' : c;
  }
  return out + (cut ? "…'" : "'");
}

std::string listed(const std::vector<int64_t>& sizes) {
  std::ostringstream out;
  out << "[";
  for (size_t i = 0; i < sizes.size(); ++i) out << (i ? ", " : "") << sizes[i];
  out << "]";
  return out.str();
}

}  // namespace gossamer
