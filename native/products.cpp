#include "products.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "guarded_product.h"
#include "vector_product.h"

namespace gossamer {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace
}  // namespace gossamer

extern "C" int gsm_spmm(const float* values, const uint32_t* row_start, const uint32_t* columns, int64_t rows,
                        int64_t width, const float* x, int64_t n, float* y, const char* isa) {
  using namespace gossamer;
  return guarded_product(isa, row_start, columns, rows, width, [&](const KernelTable& kernels) {
    // A tile of whole vectors of x, offsets relative to it; the last tile is padded with zeros.
    const int64_t tile = int64_t{kernels.max_vectors} * kernels.lanes;
    if (width >= std::numeric_limits<uint32_t>::max() / tile) throw std::bad_alloc();  // offsets are 32 bits wide
    std::vector<float> operand(static_cast<size_t>(width * tile), 0.0f), result(static_cast<size_t>(rows * tile));
    std::vector<uint32_t> offsets(columns, columns + row_start[rows]);
    for (uint32_t& offset : offsets) offset *= static_cast<uint32_t>(tile);
    for (int64_t first = 0; first < n; first += tile) {
      const int64_t count = std::min(tile, n - first);
      for (int64_t k = 0; k < width; ++k) {
        std::memcpy(&operand[static_cast<size_t>(k * tile)], x + k * n + first, static_cast<size_t>(count) * 4);
        std::fill(operand.begin() + k * tile + count, operand.begin() + (k + 1) * tile, 0.0f);
      }
      SpmmArgs a;
      a.x = operand.data(), a.y = result.data(), a.y_stride = tile, a.row_start = row_start, a.offsets = offsets.data(),
      a.values = values, a.wide = 1;
      a.row_end = rows, a.vectors = static_cast<int>((count + kernels.lanes - 1) / kernels.lanes), a.lo = -kInfinity,
      a.hi = kInfinity;
      kernels.spmm(&a);
      for (int64_t r = 0; r < rows; ++r)
        std::memcpy(y + r * n + first, &result[static_cast<size_t>(r * tile)], static_cast<size_t>(count) * 4);
    }
    return GSM_PRODUCT_OK;
  });
}

extern "C" int gsm_spmv(const float* values, const uint32_t* row_start, const uint32_t* columns, int64_t rows,
                        int64_t width, const float* x, float* y, const char* isa) {
  using namespace gossamer;
  return guarded_product(isa, row_start, columns, rows, width, [&](const KernelTable& kernels) {
    std::vector<uint16_t> narrow;
    if (width <= 65536) narrow.assign(columns, columns + row_start[rows]);
    VectorArgs a;
    a.x = x, a.y = y, a.start = row_start, a.values = values, a.end = rows, a.lo = -kInfinity, a.hi = kInfinity;
    a.wide = width > 65536;
    a.columns = a.wide ? static_cast<const void*>(columns) : narrow.data();
    a.gather = gather_wins(kernels);
    kernels.vector[kRows][kF32](&a);
    return GSM_PRODUCT_OK;
  });
}
