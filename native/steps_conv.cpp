// Convolutions: tile, K block and kernel of each, and its weights packed for them.
#include <algorithm>
#include <limits>

#include "conv_step.h"

namespace gossamer {
namespace {

constexpr int64_t kCacheLineFloats = 16;
constexpr int64_t kSparseTile = 8192;  // floats of X: it is read once a row, so it should stay in L1 (32 KiB)
constexpr int64_t kBlockTile = 32768;  // once in four rows: L2 will do
// Of an image's operands, one a tap, which four rows at a time read again: L1. The stem of ResNet-50 with aligned
// operands (plane_a_column): 1.05 times faster with 4 vectors than unaligned with 6; 3, 5 and 6 vectors: 1.01 to 1.04.
constexpr int64_t kImageTile = 9728;
constexpr double kLeastEntries = 12;  // of a row in a K block: partial sums cost about four entries' worth
// 1x1 layers have no halo: a shorter tile over more channels reads less of the partial sums. ResNet-50 at 90 % with
// AVX-512, 1x1 layers of the third stage: 112 lanes and 16 entries 1.07 times faster than 224 and 12; 3x3 layers lost.
constexpr int64_t kPointwiseLanes = 112;
constexpr double kPointwiseEntries = 16;
constexpr double kLeastDensity = 1e-3;

// Channels a K block: the tile of X should stay in cache, but a row of a block should have `least_entries` or reading
// and writing the partial sums costs more than it saves, and 16-bit offsets want a block within kNarrowSpan floats.
int64_t channels_per_block(PackedRows::Kind kind, int64_t channels, int64_t tile_floats, int64_t plane,
                           double entries_per_channel, double least_entries, int64_t extent) {
  const int64_t target = kind == PackedRows::Kind::sparse ? kSparseTile : kBlockTile;
  const bool dense = kind == PackedRows::Kind::dense;
  int64_t block = std::max<int64_t>(1, target / std::max<int64_t>(1, std::min(tile_floats, plane)));
  const int64_t least = static_cast<int64_t>(least_entries / std::max(entries_per_channel, kLeastDensity)) + 1;
  if (!dense) block = std::max(block, least);
  // All rows of a dense weight share one list of offsets: their width does not matter.
  const int64_t narrow = dense ? channels : (kNarrowSpan - 1 - extent) / std::max<int64_t>(1, plane);
  if (narrow >= std::max<int64_t>(1, least / 2)) block = std::min(block, narrow);
  if (block * 10 >= channels * 7)  // one block rather than two of which the second is short
    block = narrow >= channels || narrow < 1 ? channels : std::min(block, channels);
  const int64_t blocks = (channels + block - 1) / block;
  return (channels + blocks - 1) / blocks;
}

// A copied tile has as many floats for fewer channels: it pays where a row has enough entries in these, and where each
// copy is read by enough rows. Xeon (Sapphire Rapids), AVX-512, 3x3 layers of ResNet-50: 1.11 to 1.45 times faster at
// 50 %, 1.09 to 1.33 at 80 %; at 90 % 7x7 alone takes copies, 1.1 to 1.2 times. Tiles of 14 vectors: up to
// 1.1 times slower.
constexpr int64_t kCopyVectors = 8;
constexpr double kLeastReaders = 8;  // rows a copy

// Channels a K block of copies; 0: operands are read where they are.
int64_t channels_per_copy(int64_t taps, int64_t tile_lanes, int64_t channels, int64_t rows, double entries) {
  const int64_t most = kCopyFloats / (taps * tile_lanes), blocks = most ? (channels + most - 1) / most : 0;
  const int64_t block = blocks ? (channels + blocks - 1) / blocks : 0;
  const bool pays = static_cast<double>(block) * entries >= kLeastEntries &&
                    static_cast<double>(rows) * entries >= kLeastReaders * static_cast<double>(taps);
  return pays ? block : 0;
}

}  // namespace

std::unique_ptr<Step> make_conv(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  auto step = std::make_unique<ConvStep>();
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  const Weight& weight = context.net.weights[static_cast<size_t>(node.weight)];
  step->kernels = &context.kernels;
  step->op = &node;
  step->node = spec.node;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  const Slot &in = *step->in, &out = *step->out;
  step->strided = spec.strided;
  if (spec.strided) step->scratch = &context.slot(spec.scratch);
  if (spec.residual >= 0) step->residual = &context.slot(spec.residual);
  step->lo = spec.lo;
  step->hi = spec.hi;
  step->mask = lane_mask(out, context.budget);

  Weighed w = weigh(weight, context.budget);
  const int64_t taps = node.kernel[0] * node.kernel[1], group_inputs = in.channels / node.groups,
                group_outputs = out.channels / node.groups;
  const bool by_rows = step->by_group =
      node.groups > 1 && group_outputs < 4;  // depthwise: each output reads its own planes; four rows share nothing
  if (by_rows) {
    SparseRows wide;
    wide.rows = out.channels;
    wide.columns = taps * in.channels;
    if (wide.columns > std::numeric_limits<int32_t>::max())
      throw Error{Error::Kind::plan, "expected fewer than 2^31 taps of a grouped convolution, got more"};
    context.budget.take(static_cast<int64_t>(w.matrix.size()), 8, "packed weights");
    wide.row_start.push_back(0);
    for (int64_t o = 0; o < out.channels; ++o) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t c = 0; c < group_inputs; ++c) {
          wide.column.push_back(static_cast<int32_t>(tap * in.channels + o / group_outputs * group_inputs + c));
          wide.value.push_back(w.matrix[static_cast<size_t>((o * taps + tap) * group_inputs + c)]);
        }
      }
      wide.row_start.push_back(static_cast<int64_t>(wide.column.size()));
    }
    w.rows = std::move(wide);
    w.kind = PackedRows::Kind::sparse;
  }

  const int64_t channels = by_rows ? in.channels : group_inputs;
  int64_t channel_stride = in.plane,
          reach = (node.kernel[0] - 1) * node.dilation[0] * in.row + (node.kernel[1] - 1) * node.dilation[1];
  if (spec.strided) {
    step->phases = find_phases(node, in, out);
    channel_stride = static_cast<int64_t>(step->phases.rows.size() * step->phases.columns.size()) * step->phases.plane;
    reach = channel_stride;
  }
  PackedRows& packed = step->packed;
  packed.kind = w.kind;
  packed.rows = out.channels;
  const int width = context.kernels.lanes;
  const bool pointwise = w.kind == PackedRows::Kind::sparse && taps == 1;
  int most = packed.max_vectors(context.kernels);
  if (pointwise) most = std::min(most, static_cast<int>(kPointwiseLanes / width));
  const int fit = static_cast<int>(kImageTile / (taps * channels * width));
  if (step->phases.plane_a_column && fit >= 3) most = std::min(most, fit);
  step->tiles = split_tiles(out.lanes(), width, most);
  int64_t tile_floats = int64_t{step->tiles[0].vectors} * width + reach;
  if (spec.strided)  // a stretch of every phase plane
    tile_floats = step->phase_floats() / step->phases.plane *
                  (int64_t{step->tiles[0].vectors} * width +
                   (node.kernel[0] - 1) * node.dilation[0] / node.stride[0] * out.row + node.kernel[1]);
  const double entries = static_cast<double>(w.kept) / static_cast<double>(out.channels * channels);
  int64_t copied = 0;  // channels a K block
  if (w.kind == PackedRows::Kind::sparse && taps > 1 && node.groups == 1 && width == kCacheLineFloats) {
    const std::vector<Tile> tiles = split_tiles(out.lanes(), width, kCopyVectors);
    packed.copy.lanes = int64_t{tiles.back().vectors} * width;  // the last is a longest
    copied = channels_per_copy(taps, packed.copy.lanes, channels, out.channels, entries);
    if (copied)
      step->tiles = tiles;
    else
      packed.copy.lanes = 0;
  }
  const int64_t block = by_rows ? channels
                                : channels_per_block(w.kind, channels, tile_floats, channel_stride, entries,
                                                     pointwise ? kPointwiseEntries : kLeastEntries, reach);

  ColumnMap map;
  map.channels = channels;
  map.channel_stride = channel_stride;
  map.block = block;
  context.budget.take(taps, 8, "an offset table");
  map.taps = spec.strided ? phase_taps(node, out, step->phases) : plane_taps(node, in);
  if (copied) {
    map.block = copied;
    packed.copy.from = map;
    map.channel_stride = taps * packed.copy.lanes;
    for (int64_t t = 0; t < taps; ++t) map.taps[static_cast<size_t>(t)] = t * packed.copy.lanes;
  }
  switch (w.kind) {
    case PackedRows::Kind::sparse: packed.stream = pack_sparse(w.rows, map, context.threads, context.budget); break;
    case PackedRows::Kind::blocks: packed.blocks = pack_blocks(w.rows, map, context.budget); break;
    case PackedRows::Kind::dense:
      packed.blocks =
          pack_dense(w.matrix, out.channels, map, group_outputs, group_inputs * channel_stride, context.budget);
  }
  packed.bias = optional_vector(context.net, node.bias, context.budget);

  info.kernel = by_rows                              ? "depthwise_conv"
                : w.kind == PackedRows::Kind::sparse ? "spmm"
                : w.kind == PackedRows::Kind::blocks ? "block_spmm"
                                                     : "dense_conv";
  info.reason = (by_rows ? "few outputs a group: each row reads its own planes, " : "") + w.reason;
  if (spec.strided) info.reason += "; stride through phase planes";
  if (copied) info.reason += "; operands copied to aligned tiles";
  if (map.k_blocks() > 1) info.reason += "; " + std::to_string(map.k_blocks()) + " channel blocks";
  info.num_kept = w.kept;
  info.num_weights = w.total;
  info.macs = w.kept * out.height * out.width;
  info.macs_dense = w.total * out.height * out.width;
  info.bytes = static_cast<int64_t>(packed.bytes());
  weight_bytes += packed.bytes();
  return step;
}

}  // namespace gossamer
