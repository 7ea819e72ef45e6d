// x86-64-v3: AVX2, FMA.
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile this unit with -mavx2 -mfma -mf16c"
#endif
#define GSM_UNIT_AVX2
#include "table_impl.h"

extern "C" const gossamer::KernelTable* gossamer_kernels_avx2() {
  static constexpr gossamer::KernelTable table = gossamer::make_table("avx2");
  return &table;
}
