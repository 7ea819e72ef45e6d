// x86-64-v4: AVX-512 F, BW, DQ, VL.
#if !defined(__AVX512F__) || !defined(__AVX512VL__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__)
#error "compile this unit with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c"
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarms inside of g++ 12's own intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#define GSM_UNIT_AVX512
#include "table_impl.h"

extern "C" const gossamer::KernelTable* gossamer_kernels_avx512() {
  static constexpr gossamer::KernelTable table = gossamer::make_table("avx512");
  return &table;
}
