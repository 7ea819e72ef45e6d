// The unit's table; included last by each isa_*.cpp.
#pragma once
#include "phase_impl.h"
#include "pointwise_impl.h"
#include "pool_impl.h"
#include "spmm_impl.h"
#include "vector_impl.h"

namespace gossamer {
namespace {
constexpr KernelTable make_table(const char* name) {
  return KernelTable{name,       L,           kMaxVectors, kMaxBlockVectors,  spmm,     block,  spmv, spmv8,
                     gemv,       max_pool,    avg_pool,    adaptive_avg_pool, activate, affine, add,  softmax,
                     layer_norm, phase_plane, interleave,  deinterleave};
}
}  // namespace
}  // namespace gossamer
