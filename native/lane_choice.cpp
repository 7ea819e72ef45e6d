#include "lane_choice.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace gossamer {
namespace {

constexpr int64_t kCacheLineFloats = 16;
constexpr int64_t kSparseTile = 8192;  // floats of X of a K block: it is read once a row, so it should stay in L1
// Dense weights beyond this pass through L2 and drive the partial sums out: blocks of a quarter of the channels,
// 768x3072 over 128 tokens 1.10 times slower, 4096x1024 over 32 rows 1.3 to 1.5 times (AVX-512, 2 MiB of L2).
constexpr int64_t kStayingFloats = 524288;
constexpr double kNearFloats = 10240;   // that L1 holds beside the streams
constexpr int64_t kBlockTile = 32768;   // read once in four rows: L2 will do
constexpr double kLeastDensity = 1e-3;  // of a channel, so that divisions stay finite
// 1x1 layers have no halo: a shorter tile over more channels reads less of the partial sums. ResNet-50 at 90 % with
// AVX-512, 1x1 layers of the third stage: 112 lanes and 16 entries 1.07 times faster than 224 and 12; 3x3 layers lost.
// 128 lanes are equal there, and hold the 128 tokens of a text: 1.23 to 1.29 times faster than in two tiles (768 and
// 3072 features, 90 %). Convolutions have no other choice there: with equal tiles one may run behind the other
// (conv_step.h).
constexpr int64_t kPointwiseLanes = 128;
constexpr double kPointwiseEntries = 16, kLeastEntries = 12;  // of a row in a K block
// A copied tile has as many floats for fewer channels: it pays where a row has enough entries in these. Xeon (Sapphire
// Rapids), AVX-512, 3x3 layers of ResNet-50: 1.11 to 1.45 times faster at 50 %, 1.09 to 1.33 at 80 %; at 90 % 7x7 alone
// gains, 1.1 to 1.2 times. Tiles of 14 vectors: up to 1.1 times slower.
constexpr int64_t kCopyVectors = 8;

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }
int64_t evenly(int64_t n, int64_t most) { return divide_up(n, divide_up(n, std::max<int64_t>(1, most))); }

using Kind = PackedRows::Kind;

// Entries of a row a channel.
double entries_per_channel(const Weighed& weight, const LaneLayer& layer) {
  const double kept = static_cast<double>(weight.dense ? weight.total : weight.kept);
  return kept / static_cast<double>(std::max<int64_t>(1, layer.rows * layer.channels));
}

// Channels a K block: the tile of X should stay in cache, but a row of a block should have `least_entries` or reading
// and writing the partial sums costs more than it saves, and 16-bit offsets want a block within kNarrowSpan floats.
int64_t channels_per_block(Kind kind, const LaneLayer& layer, int64_t tile_floats, double entries, double least_entries,
                           int64_t target) {
  const int64_t plane = layer.channel_stride;
  const bool dense = kind == Kind::dense;
  int64_t block = std::max<int64_t>(1, target / std::max<int64_t>(1, std::min(tile_floats, plane)));
  const int64_t least = static_cast<int64_t>(least_entries / std::max(entries, kLeastDensity)) + 1;
  if (!dense) block = std::max(block, least);
  // All rows of a dense weight share one list of offsets: their width does not matter.
  const int64_t narrow = dense ? layer.channels : (kNarrowSpan - 1 - layer.reach) / std::max<int64_t>(1, plane);
  if (narrow >= std::max<int64_t>(1, least / 2)) block = std::min(block, narrow);
  if (block * 10 >= layer.channels * 7)  // one block rather than two of which the second is short
    block = narrow >= layer.channels || narrow < 1 ? layer.channels : std::min(block, layer.channels);
  return evenly(layer.channels, block);
}

// Floats of X of a tile and channel.
int64_t tile_floats(const KernelTable& kernels, const LaneLayer& layer, int vectors) {
  return layer.pieces * (int64_t{vectors} * kernels.lanes + layer.overhang);
}

// Adds a choice that is not there yet.
void add(std::vector<LaneCandidate>& list, const LaneChoice& choice) {
  for (const LaneCandidate& known : list)
    if (known.choice.name() == choice.name()) return;
  LaneCandidate candidate;
  candidate.choice = choice;
  list.push_back(candidate);
}

LaneCounts count_work(const KernelTable& kernels, const Weighed& weight, const LaneLayer& layer,
                      const LaneChoice& choice) {
  LaneCounts work{};
  const double vectors = static_cast<double>(divide_up(layer.lanes, kernels.lanes)),
               tiles = std::ceil(vectors / choice.vectors), rows = static_cast<double>(layer.rows),
               blocks = static_cast<double>(divide_up(layer.channels, choice.block)),
               kept = static_cast<double>(weight.dense ? weight.total : weight.kept);
  const bool split = layer.taps.size() > 1 && !layer.aligned && !choice.copies;
  work[kStoreWork] = rows * vectors;
  work[kSumWork] = rows * (blocks - 1) * vectors;
  const int64_t tile = tile_floats(kernels, layer, choice.vectors);
  const double span = static_cast<double>(choice.block * std::min(tile, std::max<int64_t>(1, layer.channel_stride)));
  const double far =  // share of operands that do not come from L1
      choice.copies || layer.by_rows ? 0 : std::max(0.0, 1 - kNearFloats / span);
  if (choice.kind == Kind::sparse) {
    work[kEntryWork] = kept * tiles;
    work[split ? kSplitWork : kAlignedWork] = kept * vectors * (1 - far);
    work[kFarWork] = kept * vectors * far;
    work[kRowWork] = rows * blocks * tiles;
    if (choice.copies) work[kCopyWork] = static_cast<double>(layer.entries()) * vectors;
    return work;
  }
  const double fours = static_cast<double>(divide_up(layer.group_rows, 4)) * rows /
                       static_cast<double>(std::max<int64_t>(1, layer.group_rows)),
               columns = choice.kind == Kind::blocks ? kept / 4 : fours * static_cast<double>(layer.entries());
  work[kColumnWork] = columns * tiles;
  work[split ? kDenseSplitWork : kDenseWork] = 4 * columns * vectors;
  work[choice.kind == Kind::blocks ? kBlockFarWork : kDenseFarWork] = columns * vectors * far;
  work[kFourWork] = fours * blocks * tiles;
  return work;
}

std::string ratio(double times) {
  char text[32];
  std::snprintf(text, sizeof text, times < 10 ? "%.2f" : "%.0f", times);
  return text;
}

}  // namespace

std::string LaneChoice::name() const {
  const char* kinds[] = {"sparse ", "blocks ", "dense "};
  return kinds[static_cast<size_t>(kind)] + std::to_string(vectors) + "x" + std::to_string(block) +
         (copies ? " copied" : "");
}

Weighed weigh(const Weight& weight, Budget& budget) {
  Weighed w;
  w.total = budget.product({weight.shape[0], weight.shape[1]}, "a weight");
  w.kept = weight.num_kept;
  if (weight.format == Format::dense) {
    w.matrix = decode_dense(weight);
    w.dense = true;
    w.words = "stored dense, " + (weight.full() ? grouped(w.total) + " weights" : kept_share(weight));
    return w;
  }
  budget.take(w.kept + weight.shape[0], 12, "decoded weights");
  w.rows = decode_rows(weight);
  w.shared = w.kept > 0 && rows_share_columns(w.rows, 4);
  w.words = kept_share(weight) + (w.shared ? " in blocks of four rows that share their columns" : "");
  return w;
}

std::vector<LaneCandidate> lane_candidates(const KernelTable& kernels, const Weighed& weight, const LaneLayer& layer) {
  std::vector<LaneCandidate> list;
  const int width = kernels.lanes, taps = static_cast<int>(std::min<size_t>(layer.taps.size(), 1 << 20));
  const int held = static_cast<int>(divide_up(layer.stored_lanes > 0 ? layer.stored_lanes : layer.lanes, width)),
            most = layer.most_vectors > 0 ? std::min(held, layer.most_vectors) : held;
  const int fours = std::min(kernels.max_block_vectors, most);
  const double entries = entries_per_channel(weight, layer);
  const auto tile_of = [&](int64_t vectors) {  // vectors of the longest tile: sizes differ by one at most
    return static_cast<int>(evenly(divide_up(layer.lanes, width), vectors));
  };
  const auto blocked = [&](Kind kind, int vectors, double least, int64_t floats_of_block) {
    const int64_t floats = tile_floats(kernels, layer, tile_of(vectors));
    add(list, {kind, vectors, channels_per_block(kind, layer, floats, entries, least, floats_of_block), false});
  };
  if (layer.by_rows) {
    add(list, {Kind::sparse, std::min(kernels.max_vectors, most), layer.channels, false});
  } else if (weight.shared) {
    blocked(Kind::blocks, fours, kLeastEntries, kBlockTile);
    blocked(Kind::blocks, fours, kLeastEntries, kSparseTile);
  } else if (!weight.dense) {
    const int long_tile = std::min(kernels.max_vectors, most),
              short_tile = std::min(long_tile, std::max(1, static_cast<int>(kPointwiseLanes / width)));
    if (layer.chained && taps == 1) {
      blocked(Kind::sparse, short_tile, kPointwiseEntries, kSparseTile);
      blocked(Kind::sparse, short_tile, 2 * kPointwiseEntries, kSparseTile);
    } else {
      blocked(Kind::sparse, long_tile, kLeastEntries, kSparseTile);
      blocked(Kind::sparse, short_tile, kPointwiseEntries, kSparseTile);
    }
    if (taps > 1 && layer.group_rows == layer.rows && width == kCacheLineFloats) {
      const int copied = tile_of(std::min<int64_t>(kCopyVectors, most));
      const int64_t channels = kCopyFloats / (int64_t{taps} * copied * width);
      if (channels > 0) add(list, {Kind::sparse, copied, evenly(layer.channels, channels), true});
    }
  }
  if (!weight.shared && !layer.by_rows) {
    blocked(Kind::dense, fours, kLeastEntries, kBlockTile);
    if (weight.total <= kStayingFloats) blocked(Kind::dense, fours, kLeastEntries, kSparseTile);
  }
  const LaneCounts& costs = lane_costs(kernels);
  for (LaneCandidate& candidate : list) {
    candidate.work = count_work(kernels, weight, layer, candidate.choice);
    for (size_t i = 0; i < kLaneWorks; ++i) candidate.nanoseconds += candidate.work[i] * costs[i];
  }
  std::stable_sort(list.begin(), list.end(), [](const LaneCandidate& one, const LaneCandidate& other) {
    return one.nanoseconds < other.nanoseconds;
  });
  return list;
}

PackedRows pack_lanes(const KernelTable& kernels, const Weighed& weight, const LaneLayer& layer,
                      const LaneChoice& choice, int threads, Budget& budget) {
  PackedRows packed;
  packed.kind = choice.kind;
  packed.rows = layer.rows;
  ColumnMap map;
  map.channels = layer.channels;
  map.channel_stride = layer.channel_stride;
  map.block = choice.block;
  map.taps = layer.taps;
  if (choice.copies) {
    packed.copy.lanes = int64_t{choice.vectors} * kernels.lanes;
    packed.copy.from = map;
    map.channel_stride = static_cast<int64_t>(layer.taps.size()) * packed.copy.lanes;
    for (size_t t = 0; t < map.taps.size(); ++t) map.taps[t] = static_cast<int64_t>(t) * packed.copy.lanes;
  }
  switch (choice.kind) {
    case Kind::sparse:
      if (!choice.copies && !layer.by_rows) packed.fetched = map;
      packed.stream = pack_sparse(weight.rows, map, threads, budget, layer.by_rows);
      break;
    case Kind::blocks: packed.blocks = pack_blocks(weight.rows, map, budget); break;
    case Kind::dense:
      packed.guarded = weight.kept < weight.total;
      packed.blocks = pack_dense(weight.dense ? weight.matrix : densify(weight.rows, budget), layer.rows, map,
                                 layer.group_rows, layer.channels * layer.channel_stride, budget);
  }
  return packed;
}

const char* lane_kernel(const LaneChoice& choice, const char* dense) {
  switch (choice.kind) {
    case Kind::sparse: return "spmm";
    case Kind::blocks: return "block_spmm";
    default: return dense;
  }
}

std::string lane_reason(const Weighed& weight, const std::vector<LaneCandidate>& candidates, const LaneChoice& chosen,
                        const std::string& measured) {
  std::string words = weight.words;
  if (!measured.empty()) {
    words += "; " + measured;
  } else {
    double mine = 0, other = 0;  // the cheapest of the chosen kind, and of the rest
    for (const LaneCandidate& c : candidates) {
      double& best = c.choice.kind == chosen.kind ? mine : other;
      if (best == 0 || c.nanoseconds < best) best = c.nanoseconds;
    }
    if (mine > 0 && other > 0)
      words += (chosen.kind == Kind::dense ? "; dense is " : "; dense would be ") + ratio(other / mine) +
               (chosen.kind == Kind::dense ? " times faster (estimated)" : " times slower (estimated)");
  }
  if (chosen.copies) words += "; operands copied to aligned tiles";
  return words;
}

}  // namespace gossamer
