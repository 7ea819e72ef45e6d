// The choice between the sparse, the block and the dense lane kernel, and the call of the one chosen.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "pack_rows.h"

namespace gossamer {

std::string grouped(int64_t n) {
  std::string digits = std::to_string(n);
  for (int64_t i = static_cast<int64_t>(digits.size()) - 3; i > 0; i -= 3) digits.insert(static_cast<size_t>(i), ",");
  return digits;
}

namespace {
std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, share < 0.1 ? "%.1f %%" : "%.0f %%", 100 * share);
  return text;
}
}  // namespace

std::string kept_share(const Weight& weight) {
  const int64_t total = weight.shape[0] * weight.shape[1];
  return grouped(weight.num_kept) + " of " + grouped(total) + " weights kept (" +
         percent(static_cast<double>(weight.num_kept) / static_cast<double>(total)) + ")";
}

// The dense kernel reads its operand once for four rows and meets both multiply-add ports; the sparse one is bound by
// one (mostly line-splitting) load a multiply-add. Measured on ResNet layers with AVX-512: the sparse kernel at half
// the weights runs at 53 to 66 % of the dense kernel's rate for 3x3, at 68 to 78 % for 1x1 (benchmarks/layers.py), so
// both are equal near 60 % kept.
Weighed weigh(const Weight& weight, Budget& budget) {
  Weighed w;
  w.total = budget.product({weight.shape[0], weight.shape[1]}, "a weight");
  w.kept = weight.num_kept;
  const double density = static_cast<double>(w.kept) / static_cast<double>(w.total);
  if (weight.format == Format::dense) {
    w.matrix = decode_dense(weight);
    w.kept = w.total;
    w.reason = "stored dense, " + grouped(w.total) + " weights";
    return w;
  }
  budget.take(w.kept + weight.shape[0], 12, "decoded weights");
  w.rows = decode_rows(weight);
  const std::string share = kept_share(weight);
  if (w.kept > 0 && rows_share_columns(w.rows, 4)) {
    w.kind = PackedRows::Kind::blocks;
    w.reason = share + " in blocks of four rows that share their columns";
  } else if (density > kDenseAbove) {
    w.matrix = densify(w.rows, budget);
    w.rows = SparseRows{};
    w.reason = share + "; dense is faster above " + percent(kDenseAbove);
  } else {
    w.kind = PackedRows::Kind::sparse;
    w.reason = share;
  }
  return w;
}

namespace {
// What all K blocks of a call share.
template <typename Args>
Args lane_args(const PackedRows& packed, const LaneCall& call) {
  Args a;
  a.x = call.x;
  a.y = call.y;
  a.residual = call.residual;
  a.mask = call.mask;
  a.bias = packed.bias.empty() ? nullptr : packed.bias.data();
  a.y_stride = call.y_stride;
  a.residual_stride = call.residual_stride;
  a.lane = call.lane;
  a.vectors = call.vectors;
  a.lo = call.lo;
  a.hi = call.hi;
  return a;
}

// The tile of K block `block`: every channel, every tap, from the first lane.
void copy_tile(const TileCopy& copy, size_t block, const float* x, size_t bytes, float* out) {
  const ColumnMap& from = copy.from;
  const int64_t begin = static_cast<int64_t>(block) * from.block, end = std::min(begin + from.block, from.channels);
  for (int64_t c = begin; c < end; ++c)
    for (int64_t tap : from.taps) {
      std::memcpy(out, x + c * from.channel_stride + tap, bytes);
      out += copy.lanes;
    }
}

void run_sparse(const KernelTable& kernels, const PackedRows& packed, const LaneCall& call) {
  alignas(64) float copies[kCopyFloats];
  const TileCopy& copy = packed.copy;
  const SparseStream& stream = packed.stream;
  SpmmArgs a = lane_args<SpmmArgs>(packed, call);
  a.wide = stream.offsets.wide;
  a.row_begin = call.parts == 1 ? call.row_begin : stream.split[static_cast<size_t>(call.part)];
  a.row_end = call.parts > 1      ? stream.split[static_cast<size_t>(call.part) + 1]
              : call.row_end >= 0 ? call.row_end
                                  : packed.rows;
  if (copy.lanes) {  // lane 0 of the copies is the tile's first
    a.lane = 0;
    a.y += call.lane;
    if (a.residual) a.residual += call.lane;
    if (a.mask) a.mask += call.lane;
  }
  const int64_t copy_span = copy.from.block * static_cast<int64_t>(copy.from.taps.size()) * copy.lanes;
  for (size_t b = 0; b < stream.k_blocks.size(); ++b) {
    const SparseStream::KBlock& block = stream.k_blocks[b];
    if (copy.lanes) {
      copy_tile(copy, b, call.x + call.lane, static_cast<size_t>(call.vectors * kernels.lanes) * sizeof(float), copies);
      a.x = copies + (block.row_start.back() ? block.x_shift - static_cast<int64_t>(b) * copy_span : 0);
    } else {
      a.x = call.x + block.x_shift;
    }
    a.row_start = block.row_start.data();
    a.order = block.order.data();
    a.offsets = stream.offsets.data(block.start);
    a.values = stream.values.as<float>() + block.start;
    a.first = &block == &stream.k_blocks.front();
    a.last = &block == &stream.k_blocks.back();
    kernels.spmm(&a);
  }
}

void run_blocks(const KernelTable& kernels, const PackedRows& packed, const LaneCall& call) {
  const BlockStream& stream = packed.blocks;
  BlockArgs a = lane_args<BlockArgs>(packed, call);
  a.wide = stream.offsets.wide;
  a.offsets = stream.offsets.data();
  a.values = stream.values.as<float>();
  for (const BlockStream::KBlock& block : stream.k_blocks) {
    const int64_t count = static_cast<int64_t>(block.blocks.size());
    a.blocks = block.blocks.data();
    a.block_begin = count * call.part / call.parts;
    a.block_end = count * (call.part + 1) / call.parts;
    a.first = &block == &stream.k_blocks.front();
    a.last = &block == &stream.k_blocks.back();
    kernels.block(&a);
  }
}
}  // namespace

void run_lanes(const KernelTable& kernels, const PackedRows& packed, const LaneCall& call) {
  if (packed.kind == PackedRows::Kind::sparse)
    run_sparse(kernels, packed, call);
  else
    run_blocks(kernels, packed, call);
}

}  // namespace gossamer
