// 16-byte vectors on the compiler's baseline (SSE2 on x86-64, NEON without fused multiply-add on AArch64).
#define GSM_UNIT_PORTABLE
#include "table_impl.h"

extern "C" const gossamer::KernelTable* gossamer_kernels_portable() {
  static constexpr gossamer::KernelTable table = gossamer::make_table("portable");
  return &table;
}
