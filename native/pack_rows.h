// Weights in the order in which the kernels read them: streams a K block, entries of a row by ascending address of
// their operand.
#pragma once
#include "kernels/kernels.h"
#include "planner.h"
#include "weight_memory.h"

namespace gossamer {

constexpr int64_t kNarrowSpan = 65536;  // floats that u16 offsets reach

// Offsets as u16 where every K block spans at most kNarrowSpan floats (half the bytes), else u32.
struct Offsets {
  bool wide = false;
  WeightBytes memory;
  const void* data(int64_t start = 0) const {
    return wide ? static_cast<const void*>(memory.as<uint32_t>() + start) : memory.as<uint16_t>() + start;
  }
  void assign(const std::vector<int64_t>& relative);
};

struct SparseStream {
  struct KBlock {
    int64_t x_shift = 0, start = 0;  // added to x; first entry in offsets and values
    std::vector<uint32_t> row_start;
    std::vector<uint32_t> order;  // the rows in the order of the stream
  };
  std::vector<KBlock> k_blocks;
  Offsets offsets;
  WeightBytes values;          // float
  std::vector<int64_t> split;  // rows of a thread: equal non-zeros
  size_t bytes() const;
};

struct BlockStream {
  struct KBlock {
    std::vector<RowBlock> blocks;
  };
  std::vector<KBlock> k_blocks;
  Offsets offsets;
  WeightBytes values;  // float
  size_t bytes() const;
};

// Where a column (tap, channel) of the matrix finds its operand, and in which K block it is: channels in runs of
// `block`. Two numbers and a table of taps instead of a table of columns: a file of 4 MB may name 10^9 columns.
struct ColumnMap {
  int64_t channels = 1, channel_stride = 1, block = 1;
  std::vector<int64_t> taps = {0};
  int64_t columns() const { return channels * static_cast<int64_t>(taps.size()); }
  int64_t offset(int64_t column) const {
    return taps[static_cast<size_t>(column / channels)] + column % channels * channel_stride;
  }
  int32_t k_block(int64_t column) const { return static_cast<int32_t>(column % channels / block); }
  int k_blocks() const { return static_cast<int>((channels + block - 1) / block); }
};

// The rows of a thread stand by their number of entries in every K block, so that the branch at a row's end is
// foreseen; keep_order: they stand as they are, for callers that run them in pieces.
SparseStream pack_sparse(const SparseRows& rows, const ColumnMap& map, int threads, Budget& budget,
                         bool keep_order = false);
// Floats of a turned tile of inputs and its products together, of linear and recurrent layers. 768-3072-768 over 197
// rows (AVX-512, 2 MiB of L2 a core; not measured with less): a quarter of this leaves one vector a tile, 1.7 times
// slower dense and 1.25 times at 90 %; twice this is equal.
constexpr int64_t kTileFloats = 262144;

// Rows in fours that share their columns (rows_share_columns).
BlockStream pack_blocks(const SparseRows& rows, const ColumnMap& map, Budget& budget);
// group_rows: rows that share an x shift (convolution groups).
BlockStream pack_dense(const std::vector<float>& matrix, int64_t rows, const ColumnMap& map, int64_t group_rows,
                       int64_t group_shift, Budget& budget);

// Operands of a tile copied for every tap before the rows of a K block pass over them. Where a vector is a cache line,
// nearly every operand of a 3x3 convolution lies across two of them and costs two reads; the copies lie aligned, in L1.
struct TileCopy {
  int64_t lanes = 0;  // of a copy: those of the longest tile; 0: operands are read where they are
  ColumnMap from;     // where the operands are; the stream counts in copies
};
constexpr int64_t kCopyFloats = 9216;  // of a K block: 36 of 48 KiB of L1; 64 KiB lost a fifth

// A matrix packed for one of the two lane kernels (lane_choice.h).
struct PackedRows {
  enum class Kind { sparse, blocks, dense } kind = Kind::sparse;
  SparseStream stream;
  BlockStream blocks;
  TileCopy copy;         // sparse only
  bool guarded = false;  // dense with dropped weights, which are -0 and must count nothing
  ColumnMap fetched{0};  // of a sparse convolution without copies: operands to fetch ahead; no channels: none
  std::vector<float> bias;
  int64_t rows = 0;
  size_t bytes() const { return stream.bytes() + blocks.bytes() + bias.size() * 4; }
};

struct LaneCall {  // one tile of lanes
  const float* x = nullptr;
  float* y = nullptr;
  const float* residual = nullptr;
  const uint32_t* mask = nullptr;
  int64_t y_stride = 0, residual_stride = 0, lane = 0;
  int vectors = 0, part = 0, parts = 1;  // rows of this part only
  int64_t row_begin = 0, row_end = -1;   // of a sparse stream in one part: these places of its order only; -1: all
  float lo = 0, hi = 0;
  bool finite = true;  // else x holds NaN or infinity, which dropped weights must not meet
};
void run_lanes(const KernelTable& kernels, const PackedRows& packed, const LaneCall& call);
// Whether x holds neither NaN nor infinity; false also for finite numbers whose sum overflows (x is read once).
bool surely_finite(const KernelTable& kernels, const float* x, int64_t n);

std::string grouped(int64_t n);                // 419,430
std::string kept_share(const Weight& weight);  // "419,430 of 4,194,304 weights kept (10 %)"

// Whether every `height` rows keep the same columns (r x 1 blocks with height | r).
bool rows_share_columns(const SparseRows& rows, int64_t height);
// Dropped weights as -0, kept zeros as +0: as decode_dense has them.
std::vector<float> densify(const SparseRows& rows, Budget& budget);
std::vector<float> optional_vector(const Network& net, int weight, Budget& budget);

}  // namespace gossamer
