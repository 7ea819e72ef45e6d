// The call of a packed weight's kernel, and what a weight is in words.
#include <algorithm>
#include <cassert>
#include <cmath>
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

// Threads that share rows read all operands, of which the others made a part that lies in their caches: while a K block
// runs, those of the next are fetched. ResNet-50 at 90 % on two threads: 1.02 times faster (1x1 layers of 14x14 and 7x7
// 1.08 to 1.15); fetching those of the first block at once gained nothing.
void fetch_block(const ColumnMap& map, size_t block, const LaneCall& call, int lanes, SpmmArgs& a) {
  const int64_t channel = static_cast<int64_t>(block) * map.block;
  a.fetch = nullptr;
  a.fetch_channels = 0;
  if (call.parts == 1 || channel >= map.channels) return;
  const auto [low, high] = std::minmax_element(map.taps.begin(), map.taps.end());
  a.fetch = call.x + channel * map.channel_stride + *low + call.lane;
  a.fetch_stride = map.channel_stride;
  a.fetch_channels = std::min(map.block, map.channels - channel);
  a.fetch_lines = (call.vectors * lanes + *high - *low + kAlign - 1) / kAlign;
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
    fetch_block(packed.fetched, b + 1, call, kernels.lanes, a);
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

// The same as run_blocks without the dropped weights, which are -0: times NaN or infinity they would give NaN. Lane by
// lane and slow, but only for such operands.
void run_guarded(const KernelTable& kernels, const PackedRows& packed, const LaneCall& call) {
  constexpr int kMostLanes = 256;
  float sums[kMostLanes];
  const BlockStream& stream = packed.blocks;
  const int64_t lanes = int64_t{call.vectors} * kernels.lanes;
  assert(lanes <= kMostLanes);
  const auto offset = [&](int64_t i) {
    return stream.offsets.wide ? int64_t{stream.offsets.memory.as<uint32_t>()[i]}
                               : int64_t{stream.offsets.memory.as<uint16_t>()[i]};
  };
  const auto run_row = [&](const RowBlock& block, int row, bool first, bool last) {
    float* y = call.y + (block.row + row) * call.y_stride + call.lane;
    const float* residual =
        call.residual ? call.residual + (block.row + row) * call.residual_stride + call.lane : nullptr;
    const float bias = packed.bias.empty() ? 0.0f : packed.bias[static_cast<size_t>(block.row + row)];
    for (int64_t f = 0; f < lanes; ++f) sums[f] = !first ? y[f] : residual ? bias + residual[f] : bias;
    for (int32_t k = 0; k < block.count; ++k) {
      const float weight = stream.values.as<float>()[block.value_start + 4 * int64_t{k} + row];
      if (is_absent(weight)) continue;
      const float* x = call.x + block.x_shift + call.lane + offset(block.offset_start + k);
      for (int64_t f = 0; f < lanes; ++f) sums[f] += weight * x[f];
    }
    for (int64_t f = 0; f < lanes; ++f) {
      if (last) {  // NaN passes
        if (sums[f] < call.lo) sums[f] = call.lo;
        if (sums[f] > call.hi) sums[f] = call.hi;
        if (call.mask && call.mask[call.lane + f] == 0) sums[f] = 0.0f;
      }
      y[f] = sums[f];
    }
  };
  for (const BlockStream::KBlock& block : stream.k_blocks) {
    const int64_t count = static_cast<int64_t>(block.blocks.size());
    for (int64_t i = count * call.part / call.parts; i < count * (call.part + 1) / call.parts; ++i) {
      const RowBlock& four = block.blocks[static_cast<size_t>(i)];
      for (int row = 0; row < four.rows; ++row)
        run_row(four, row, &block == &stream.k_blocks.front(), &block == &stream.k_blocks.back());
    }
  }
}
}  // namespace

bool surely_finite(const KernelTable& kernels, const float* x, int64_t n) {
  return std::isfinite(kernels.fold(kSum, x, n));
}

void run_lanes(const KernelTable& kernels, const PackedRows& packed, const LaneCall& call) {
  if (packed.kind == PackedRows::Kind::sparse)
    run_sparse(kernels, packed, call);
  else if (packed.guarded && !call.finite)
    run_guarded(kernels, packed, call);
  else
    run_blocks(kernels, packed, call);
}

}  // namespace gossamer
