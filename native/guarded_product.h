// What all single products share: the kernel table by its name, the check of the structure, exceptions as codes.
#pragma once
#include <algorithm>
#include <exception>
#include <vector>

#include "isa.h"
#include "network.h"
#include "products.h"

namespace gossamer {

// row_start ascends from 0, every column is below width.
inline bool indices_fit(const uint32_t* row_start, const uint32_t* columns, int64_t rows, int64_t width) {
  if (row_start[0] != 0) return false;
  for (int64_t r = 0; r < rows; ++r)
    if (row_start[r] > row_start[r + 1]) return false;
  return std::all_of(columns, columns + row_start[rows], [&](uint32_t c) { return c < width; });
}

// call(kernels) returns a code.
template <typename F>
int guarded_product(const char* isa, const uint32_t* row_start, const uint32_t* columns, int64_t rows, int64_t width,
                    F call) {
  try {
    const KernelTable* kernels = find_kernels(isa);
    if (!indices_fit(row_start, columns, rows, width)) return GSM_PRODUCT_BAD_INDEX;
    return call(*kernels);
  } catch (const Error&) {
    return GSM_PRODUCT_BAD_ISA;
  } catch (const std::exception&) {  // bad_alloc, length_error
    return GSM_PRODUCT_NO_MEMORY;
  }
}

}  // namespace gossamer
