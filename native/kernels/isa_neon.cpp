// AArch64 Advanced SIMD with fused multiply-add.
#define GSM_UNIT_NEON
#include "table_impl.h"

extern "C" const gossamer::KernelTable* gossamer_kernels_neon() {
  static constexpr gossamer::KernelTable table = gossamer::make_table("neon");
  return &table;
}
