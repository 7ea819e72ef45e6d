// Convolution as lanes: an offset table over padded planes (stride 1) or over phase planes (any stride), one kernel for
// all. Behind it may run a 1x1 convolution that reads what it makes, tile by tile, while that tile is in cache.
#pragma once
#include "pack_rows.h"

namespace gossamer {

struct Tile {
  int64_t lane;
  int vectors;
  bool operator==(const Tile& other) const { return lane == other.lane && vectors == other.vectors; }
};
// Vectors of a plane in tiles of at most `most`, sizes differing by one at most: no tile is a short rest. Where there
// are more tiles than threads, each thread gets as many.
std::vector<Tile> split_tiles(int64_t lanes, int width, int most, int threads);

struct Phases {  // of a strided convolution: which (row, column) remainders occur, and the size of a phase plane
  std::vector<int64_t> rows, columns;
  bool plane_a_column = false;  // columns: the taps themselves
  int64_t height = 0, plane = 0;
};
Phases find_phases(const Node& node, const Slot& in, const Slot& out);
std::vector<int64_t> plane_taps(const Node& node, const Slot& in);  // offset of every tap (r, s) in the input's planes
std::vector<int64_t> phase_taps(const Node& node, const Slot& out, const Phases& phases);  // in the phase planes

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
  const ConvStep* behind = nullptr;  // runs every tile behind this one's
  bool led = false;                  // runs behind another

  void run(const Frame& frame) const override;
  void resize() override { fill_mask(mask, *out); }
  int64_t phase_floats() const;  // of a channel

 private:
  // of the output's planes first .. end - 1, no lane below `own`
  void clear_gaps(const Frame& frame, int64_t first, int64_t end, int64_t own = 0) const;
  void clear_behind_tiles(const Frame& frame, int part) const;  // where the part has the last lanes
  LaneCall begin(const Frame& frame) const;                     // looks at the input where it must
  bool finite(const Frame& frame) const;
  // channels begin .. end - 1, of every plane the rows of this part
  void copy_phases(const float* x, float* y, int64_t begin, int64_t end, int part, int parts) const;
  bool run_tile(LaneCall& call, size_t index) const;  // false: behind the last lane of the present length
  void run_groups(const Frame& frame, const float* source, const LaneCall& base) const;
  void run_alone(const Frame& frame) const;
  bool by_tiles(const Frame& frame) const {  // else the threads share rows
    return tiles.size() >= 2 * static_cast<size_t>(frame.team->size());
  }
  void run_behind(const Frame& frame) const;
  void copy_all_phases(const Frame& frame) const;
};

}  // namespace gossamer
