// What the pieces of work of the lane kernels cost, for each instruction set. The estimate of a choice is linear: the
// sum over the kinds of work of count times cost (lane_choice.h counts them). scripts/calibrate.py measures and prints
// the table.
#pragma once
#include <array>
#include <cstddef>

#include "kernels/kernels.h"

namespace gossamer {

enum LaneWork : std::size_t {
  kEntryWork,       // a sparse entry a tile: its offset, its broadcast
  kAlignedWork,     // a vector multiply-add of the sparse kernel, its operand in L1
  kSplitWork,       // the same where operands lie across cache lines: the taps of a convolution
  kFarWork,         // the same with operands that do not stay in L1
  kRowWork,         // a row a tile and K block
  kSumWork,         // a vector of partial sums read and written again
  kCopyWork,        // a vector copied to an aligned tile
  kColumnWork,      // a column of four rows a tile: dense and blocks
  kDenseWork,       // a vector multiply-add of these
  kDenseSplitWork,  // the same where operands lie across cache lines
  kDenseFarWork,    // a vector of operands that does not stay in L1: dense, one behind the other
  kBlockFarWork,    // the same where columns are missing between them
  kFourWork,        // four rows a tile and K block
  kStoreWork,       // a vector of results, whatever computes it
  kLaneWorks
};
using LaneCounts = std::array<double, kLaneWorks>;

// Nanoseconds, of which only the ratios count. Measured with scripts/calibrate.py on a Xeon (Sapphire Rapids, 2 MiB of
// L2 a core), 2026-11-22, avx2 and portable as sets of the same CPU: estimates lie 4 % (avx512) and 2 to 3 %
// off in the median, and choosing by them costs 2 % and 0.2 % over choosing by time. NEON takes the costs of AVX2:
// nobody has measured it. What the fit set to zero hides behind the rest; operands are copied with AVX-512 only.
const LaneCounts& lane_costs(const KernelTable& kernels);

}  // namespace gossamer
