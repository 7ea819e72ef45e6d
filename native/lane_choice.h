// How a layer runs over lanes, as data: the weight, what may be chosen, what each choice would cost, and the weight
// packed for one choice. For convolutions, linear layers over several rows and the inputs of recurrent layers.
#pragma once
#include <functional>
#include <optional>

#include "costs.h"
#include "pack_rows.h"

namespace gossamer {

// A weight as the planner weighs it.
struct Weighed {
  SparseRows rows;            // stored sparse
  std::vector<float> matrix;  // stored dense
  int64_t kept = 0, total = 0;
  bool dense = false;   // stored so
  bool shared = false;  // rows share their columns in fours
  std::string words;    // "410 of 4,096 weights kept (10 %)"
};
Weighed weigh(const Weight& weight, Budget& budget);

// All that the cost of a choice depends on, beside the weight.
struct LaneLayer {
  int64_t rows = 0, lanes = 0;      // outputs; lanes of one pass
  int64_t channels = 0;             // that a row reads from: all, or those of its group
  int64_t group_rows = 0;           // rows that read the same channels
  int64_t channel_stride = 1;       // floats between two channels
  int64_t reach = 0;                // floats from the first to the last tap
  int64_t pieces = 1;               // of a channel that a tile reads: phase planes
  int64_t overhang = 0;             // floats of a piece that a tile reads beyond its lanes
  int most_vectors = 0;             // of a tile; 0: any
  bool aligned = false;             // no operand lies across vectors, though there are several taps
  bool chained = false;             // layers with equal tiles may run tile by tile behind each other
  std::vector<int64_t> taps = {0};  // their offsets
  int64_t stored_lanes = 0;         // of an interleaved tile: no tile may be longer; 0: any
  bool by_rows = false;             // depthwise: no two rows read the same planes
  int64_t entries() const { return static_cast<int64_t>(taps.size()) * channels; }  // of a full row
};

struct LaneChoice {
  PackedRows::Kind kind = PackedRows::Kind::sparse;
  int vectors = 1;           // of a tile at most
  int64_t block = 1;         // channels a K block
  bool copies = false;       // operands copied to aligned tiles
  std::string name() const;  // "sparse 14x36", "sparse 8x28 copied", "dense 6x512": vectors a tile, channels a K block
};

// A choice with its price.
struct LaneCandidate {
  LaneChoice choice;
  LaneCounts work{};
  double nanoseconds = 0;  // estimated
};

// What is sensible, the cheapest first; never empty.
std::vector<LaneCandidate> lane_candidates(const KernelTable& kernels, const Weighed& weight, const LaneLayer& layer);

// The weight as the choice reads it. Dropped weights of one that runs dense are told apart (guarded).
PackedRows pack_lanes(const KernelTable& kernels, const Weighed& weight, const LaneLayer& layer,
                      const LaneChoice& choice, int threads, Budget& budget);

// "spmm", "block_spmm", `dense`.
const char* lane_kernel(const LaneChoice& choice, const char* dense);
// Why, in words: the weight, the choice, and how the other kind of kernel would do.
std::string lane_reason(const Weighed& weight, const std::vector<LaneCandidate>& candidates, const LaneChoice& chosen,
                        const std::string& measured);

}  // namespace gossamer
