// The start-up probe: a matrix of 64 rows with 256 entries each, by the gather instruction and by scalar loads,
// alternately; the better of the minima. Takes about 0.2 ms.
#include <chrono>
#include <map>
#include <mutex>

#include "vector_product.h"

namespace gossamer {
namespace {

bool probe(const KernelTable& kernels) {
  constexpr int64_t kRowsOfProbe = 64, kEntries = 256, kWidth = 2048;
  std::vector<float> x(kWidth, 1.0f), y(kRowsOfProbe), values(kRowsOfProbe * kEntries, 1.0f);
  std::vector<uint16_t> columns(values.size());
  std::vector<uint32_t> start;
  for (int64_t r = 0; r <= kRowsOfProbe; ++r) start.push_back(static_cast<uint32_t>(r * kEntries));
  uint32_t state = 1;
  for (uint16_t& c : columns) c = static_cast<uint16_t>((state = state * 1664525u + 1013904223u) >> 21);
  VectorArgs a;
  a.x = x.data(), a.y = y.data(), a.values = values.data(), a.columns = columns.data(), a.start = start.data();
  a.end = kRowsOfProbe, a.lo = -1e30f, a.hi = 1e30f;
  double best[2] = {1e9, 1e9};
  for (int repeat = 0; repeat < 16; ++repeat) {
    for (int way = 0; way < 2; ++way) {
      a.gather = way;
      const auto begin = std::chrono::steady_clock::now();
      kernels.vector[kRows][kF32](&a);
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
      best[way] = std::min(best[way], passed.count());
    }
  }
  return best[1] < best[0];
}

}  // namespace

bool gather_wins(const KernelTable& kernels) {
  if (!kernels.has_gather) return false;
  static std::mutex mutex;
  static std::map<const KernelTable*, bool> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(&kernels);
  if (found != known.end()) return found->second;
  return known[&kernels] = probe(kernels);
}

}  // namespace gossamer
