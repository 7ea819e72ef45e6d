// The unit's table; included last by each isa_*.cpp.
#pragma once
#include "columns_impl.h"
#include "elementwise_impl.h"
#include "narrow_impl.h"
#include "norm_impl.h"
#include "phase_impl.h"
#include "pointwise_impl.h"
#include "pool_impl.h"
#include "product_impl.h"
#include "recurrent_impl.h"
#include "spmm_impl.h"
#include "spmv_bitmap_impl.h"
#include "spmv_block_impl.h"
#include "spmv_gather_impl.h"
#include "training_conv_impl.h"
#include "training_linear_impl.h"
#include "transpose_impl.h"
#include "vector_impl.h"
#include "wide_impl.h"

namespace gossamer {
namespace {
#if defined(GSM_GATHER)
constexpr bool kHasGather = true;
#else
constexpr bool kHasGather = false;
#endif
#if defined(GSM_UNIT_AVX512)
constexpr bool kHasExpand = true;
#else
constexpr bool kHasExpand = false;
#endif
#define GSM_NARROW(N)                                                   \
  {                                                                     \
      {narrow<kRows, float, N>, narrow<kRows, Half, N>, nullptr},       \
      {narrow<kBundles, float, N>, narrow<kBundles, Half, N>, nullptr}, \
      {narrow<kWindow8, float, N>, narrow<kWindow8, Half, N>, nullptr}, \
      {narrow<kBlock8, float, N>, narrow<kBlock8, Half, N>, nullptr},   \
  }
constexpr KernelTable make_table(const char* name) {
  return KernelTable{name,
                     L,
                     kMaxVectors,
                     kMaxBlockVectors,
                     spmm,
                     block,
                     kHasGather,
                     kHasExpand,
                     {{spmv_rows<float>, spmv_rows<Half>, nullptr},
                      {spmv_bundles<float>, spmv_bundles<Half>, nullptr},
                      {spmv_window8<float>, spmv_window8<Half>, nullptr},
                      {spmv_block8<float>, spmv_block8<Half>, spmv_block8<int8_t>},
                      {spmv_block4<float>, spmv_block4<Half>, nullptr},
                      {spmv_bitmap<float>, spmv_bitmap<Half>, nullptr},
                      {dense_rows<float>, dense_rows<Half>, nullptr}},
                     {GSM_NARROW(Four), GSM_NARROW(Eight)},
                     max_pool,
                     avg_pool,
                     adaptive_avg_pool,
                     activate,
                     affine,
                     add,
                     softmax,
                     layer_norm,
                     phase_plane,
                     interleave,
                     deinterleave,
                     {training_forward<float>, training_forward<double>},
                     {training_gradient<float>, training_gradient<double>},
                     {training_backward<float>, training_backward<double>},
                     {kConvProduct, kConvSddmm},
                     {conv_rectangle<float, false>, conv_rectangle<double, false>},
                     {conv_rectangle<float, true>, conv_rectangle<double, true>},
                     {conv_turn_in<float>, conv_turn_in<double>},
                     {conv_turn_out<float>, conv_turn_out<double>},
                     unary,
                     binary,
                     select,
                     fold,
                     combine,
                     norm_lanes,
                     rms_norm,
                     squares,
                     product,
                     attend,
                     lstm_cell,
                     gru_cell,
                     columns,
                     transpose};
}
}  // namespace
}  // namespace gossamer
