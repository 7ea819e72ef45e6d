// Convolution as lanes: an offset table over padded planes (stride 1) or over phase planes (any stride), one kernel for
// all.
#include <algorithm>
#include <cstring>
#include <limits>

#include "pack_rows.h"

namespace gossamer {
namespace {

struct Tile {
  int64_t lane;
  int vectors;
};

// Vectors of a plane in tiles of at most `most`, sizes differing by one at most: no tile is a short rest.
std::vector<Tile> split_tiles(int64_t lanes, int width, int most) {
  const int64_t vectors = (lanes + width - 1) / width, tiles = (vectors + most - 1) / most;
  std::vector<Tile> out;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = vectors * t / tiles, end = vectors * (t + 1) / tiles;
    out.push_back({begin * width, static_cast<int>(end - begin)});
  }
  return out;
}

struct Phases {  // of a strided convolution: which (row, column) remainders occur, and the size of a phase plane
  std::vector<int64_t> rows, columns;
  int64_t height = 0, plane = 0;
};

Phases find_phases(const Node& node, const Slot& out) {
  Phases p;
  const auto collect = [&](int axis, std::vector<int64_t>& list) {
    for (int64_t tap = 0; tap < node.kernel[axis]; ++tap) {
      const int64_t phase = tap * node.dilation[axis] % node.stride[axis];
      if (std::find(list.begin(), list.end(), phase) == list.end()) list.push_back(phase);
    }
  };
  collect(0, p.rows);
  collect(1, p.columns);
  p.height = out.height + (node.kernel[0] - 1) * node.dilation[0] / node.stride[0];
  p.plane = round_up(p.height * out.row);
  return p;
}

// The offset of every tap (r, s) in the planes of the input.
std::vector<int64_t> plane_taps(const Node& node, const Slot& in) {
  std::vector<int64_t> taps;
  for (int64_t r = 0; r < node.kernel[0]; ++r)
    for (int64_t s = 0; s < node.kernel[1]; ++s)
      taps.push_back((r * node.dilation[0] - node.padding[0]) * in.row + s * node.dilation[1] - node.padding[1]);
  return taps;
}

// The same in the phase planes.
std::vector<int64_t> phase_taps(const Node& node, const Slot& out, const Phases& phases) {
  const auto places = [&](int axis, const std::vector<int64_t>& list) {  // of each tap's phase in the list
    std::vector<int64_t> at;
    for (int64_t tap = 0; tap < node.kernel[axis]; ++tap)
      at.push_back(std::find(list.begin(), list.end(), tap * node.dilation[axis] % node.stride[axis]) - list.begin());
    return at;
  };
  const std::vector<int64_t> rows = places(0, phases.rows), columns = places(1, phases.columns);
  std::vector<int64_t> taps;
  for (int64_t r = 0; r < node.kernel[0]; ++r)
    for (int64_t s = 0; s < node.kernel[1]; ++s) {
      const int64_t phase =
          rows[static_cast<size_t>(r)] * static_cast<int64_t>(phases.columns.size()) + columns[static_cast<size_t>(s)];
      taps.push_back(phase * phases.plane + r * node.dilation[0] / node.stride[0] * out.row +
                     s * node.dilation[1] / node.stride[1]);
    }
  return taps;
}

constexpr int64_t kGroupFloats = 32768;  // of the operand planes of a run of groups: half of a small L2

struct ConvStep final : Step {
  const KernelTable* kernels = nullptr;
  const Node* op = nullptr;
  const Slot *in = nullptr, *out = nullptr, *residual = nullptr, *scratch = nullptr;  // null: none
  bool strided = false, by_group = false;
  Phases phases;
  PackedRows packed;
  std::vector<uint32_t> mask;
  std::vector<Tile> tiles;
  float lo = 0, hi = 0;

  void copy_phases(const float* x, float* y, int64_t begin, int64_t end) const {
    PhaseArgs a;
    a.x_row = in->row;
    a.y_row = out->row, a.y_rows = phases.height;
    a.stride[0] = op->stride[0], a.stride[1] = op->stride[1];
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t pr : phases.rows) {
        for (int64_t pc : phases.columns) {
          a.y = y;
          a.x = x + c * in->plane + (pr - op->padding[0]) * in->row + pc - op->padding[1];
          kernels->phase_plane(&a);
          std::fill(y + phases.height * out->row, y + phases.plane, 0.0f);
          y += phases.plane;
        }
      }
    }
  }

  int64_t phase_floats() const {  // of a channel
    return static_cast<int64_t>(phases.rows.size() * phases.columns.size()) * phases.plane;
  }

  void run_tiles(LaneCall& call, int64_t begin, int64_t end) const {
    const int64_t width = kernels->lanes;
    for (int64_t t = begin; t < end; ++t) {
      const Tile& tile = tiles[static_cast<size_t>(t)];
      const int64_t left = (out->lanes() - tile.lane + width - 1) / width;  // vectors, at the present length
      if (left <= 0) return;
      call.lane = tile.lane;
      call.vectors = static_cast<int>(std::min<int64_t>(tile.vectors, left));
      run_lanes(*kernels, packed, call);
    }
  }

  // Few groups at a time, all their lanes: phase planes are read while they are in L2, and each plane is written once.
  // MobileNetV1 (AVX-512): 1.2 times faster on 112x112 and 56x56 than all groups tile by tile; 8192 floats lost 5 %.
  void run_groups(const Frame& frame, const float* source, const LaneCall& base) const {
    const int threads = frame.team->size();
    const int64_t inputs = in->channels / op->groups, outputs = out->channels / op->groups;
    const int64_t run = std::max<int64_t>(1, kGroupFloats / (inputs * (strided ? phase_floats() : in->plane)));
    frame.team->run([&](int part) {
      const int64_t begin = op->groups * part / threads, end = op->groups * (part + 1) / threads;
      float* const planes = strided ? frame.arena + scratch->offset + begin * inputs * phase_floats() : nullptr;
      LaneCall call = base;
      for (int64_t g = begin; g < end; g += run) {
        const int64_t stop = std::min(g + run, end);
        if (strided) {  // always into the same planes of this thread; the stream's offsets count from the first group
          copy_phases(source, planes, g * inputs, stop * inputs);
          call.x = planes - g * inputs * phase_floats();
        }
        call.row_begin = g * outputs;
        call.row_end = stop * outputs;
        run_tiles(call, 0, static_cast<int64_t>(tiles.size()));
      }
    });
  }

  void resize() override { fill_mask(mask, *out); }

  void run(const Frame& frame) const override {
    const float* source = frame.arena + in->origin();
    if (out->place < 0) zero_gaps(frame.arena + out->offset, *out);
    const int threads = frame.team->size();
    LaneCall base;
    base.x = strided ? frame.arena + scratch->offset : source;
    base.y = frame.arena + out->origin();
    base.y_stride = out->plane;
    base.residual = residual ? frame.arena + residual->origin() : nullptr;
    base.residual_stride = residual ? residual->plane : 0;
    base.mask = mask.data();
    base.lo = lo;
    base.hi = hi;
    // With several threads a tile's last vector would look into phase planes that another one is writing.
    if (by_group && (!strided || threads == 1)) return run_groups(frame, source, base);
    if (strided) {
      float* planes = frame.arena + scratch->offset;
      frame.team->run([&](int part) {
        const int64_t begin = in->channels * part / threads, end = in->channels * (part + 1) / threads;
        copy_phases(source, planes + begin * phase_floats(), begin, end);
      });
    }
    const int64_t n = static_cast<int64_t>(tiles.size());
    const bool by_tiles = n >= 2 * threads;
    frame.team->run([&](int part) {
      LaneCall call = base;
      call.part = by_tiles ? 0 : part;
      call.parts = by_tiles ? 1 : threads;
      run_tiles(call, by_tiles ? n * part / threads : 0, by_tiles ? n * (part + 1) / threads : n);
    });
  }
};

constexpr int64_t kCacheLineFloats = 16;
constexpr int64_t kSparseTile = 8192;  // floats of X: it is read once a row, so it should stay in L1 (32 KiB)
constexpr int64_t kBlockTile = 32768;  // once in four rows: L2 will do
constexpr double kLeastEntries = 12;   // of a row in a K block: partial sums cost about four entries' worth
// 1x1 layers have no halo: a shorter tile over more channels reads less of the partial sums. ResNet-50 at 90 % with
// AVX-512, 1x1 layers of the third stage: 112 lanes and 16 entries 1.07 times faster than 224 and 12; 3x3 layers lost.
constexpr int64_t kPointwiseLanes = 112;
constexpr double kPointwiseEntries = 16;
constexpr double kLeastDensity = 1e-3;
constexpr int64_t kLeastDenseChannels = 4;

// Channels a K block: the tile of X should stay in cache, but a row of a block should have `least_entries` or reading
// and writing the partial sums costs more than it saves, and 16-bit offsets want a block within kNarrowSpan floats.
int64_t channels_per_block(PackedRows::Kind kind, int64_t channels, int64_t tile_floats, int64_t plane,
                           double entries_per_channel, double least_entries, int64_t extent) {
  const int64_t target = kind == PackedRows::Kind::sparse ? kSparseTile : kBlockTile;
  int64_t block = std::max<int64_t>(1, target / std::max<int64_t>(1, std::min(tile_floats, plane)));
  const int64_t least = static_cast<int64_t>(least_entries / std::max(entries_per_channel, kLeastDensity)) + 1;
  if (kind != PackedRows::Kind::dense) block = std::max(block, least);
  const int64_t narrow = (kNarrowSpan - 1 - extent) / std::max<int64_t>(1, plane);
  if (narrow >= std::max<int64_t>(1, kind == PackedRows::Kind::dense ? kLeastDenseChannels : least / 2))
    block = std::min(block, narrow);
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
    step->phases = find_phases(node, out);
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
  step->tiles = split_tiles(out.lanes(), width, most);
  const int64_t tile_floats = int64_t{step->tiles[0].vectors} * width + reach;
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
