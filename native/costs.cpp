#include "costs.h"

#include <cstring>

namespace gossamer {
namespace {

// entry, aligned, split, far, row, sum, copy; column, dense, dense split, dense far, block far, four; store
constexpr LaneCounts kAvx512 = {0.3, 0.21, 0.355, 0.37, 1, 0.95, 0.8, 0, 0.182, 0.197, 0.09, 0.12, 2, 1.8};
constexpr LaneCounts kAvx2 = {0, 0.19, 0.225, 0.265, 0, 0.8, 0, 0.88, 0.074, 0.075, 0.006, 0.01, 2, 1};
constexpr LaneCounts kPortable = {0, 0.235, 0.224, 0.24, 0, 0.5, 0, 1.4, 0.103, 0.1, 0.07, 0.07, 3.5, 0.7};

}  // namespace

const LaneCounts& lane_costs(const KernelTable& kernels) {
  if (std::strcmp(kernels.name, "avx512") == 0) return kAvx512;
  return std::strcmp(kernels.name, "portable") == 0 ? kPortable : kAvx2;
}

}  // namespace gossamer
