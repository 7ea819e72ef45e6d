#include "conv_step.h"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace gossamer {

std::vector<Tile> split_tiles(int64_t lanes, int width, int most, int threads) {
  const int64_t vectors = (lanes + width - 1) / width, least = (vectors + most - 1) / most;
  const int64_t tiles = least > threads ? std::min(round_up(least, threads), vectors) : least;
  std::vector<Tile> out;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = vectors * t / tiles, end = vectors * (t + 1) / tiles;
    out.push_back({begin * width, static_cast<int>(end - begin)});
  }
  return out;
}

Phases find_phases(const Node& node, const Slot& in, const Slot& out) {
  Phases p;
  const auto collect = [&](int axis, std::vector<int64_t>& list) {
    for (int64_t tap = 0; tap < node.kernel[axis]; ++tap) {
      const int64_t phase = tap * node.dilation[axis] % node.stride[axis];
      if (std::find(list.begin(), list.end(), phase) == list.end()) list.push_back(phase);
    }
  };
  collect(0, p.rows);
  p.plane_a_column = plane_a_column(node, in.channels);
  if (p.plane_a_column)
    for (int64_t tap = 0; tap < node.kernel[1]; ++tap) p.columns.push_back(tap * node.dilation[1]);
  else
    collect(1, p.columns);
  p.height = out.height + (node.kernel[0] - 1) * node.dilation[0] / node.stride[0];
  p.plane = round_up(p.height * out.row);
  return p;
}

std::vector<int64_t> plane_taps(const Node& node, const Slot& in) {
  std::vector<int64_t> taps;
  for (int64_t r = 0; r < node.kernel[0]; ++r)
    for (int64_t s = 0; s < node.kernel[1]; ++s)
      taps.push_back((r * node.dilation[0] - node.padding[0]) * in.row + s * node.dilation[1] - node.padding[1]);
  return taps;
}

std::vector<int64_t> phase_taps(const Node& node, const Slot& out, const Phases& phases) {
  const auto places = [&](int axis, const std::vector<int64_t>& list) {  // of each tap's phase in the list
    std::vector<int64_t> at;
    for (int64_t tap = 0; tap < node.kernel[axis]; ++tap)
      at.push_back(std::find(list.begin(), list.end(), tap * node.dilation[axis] % node.stride[axis]) - list.begin());
    return at;
  };
  const bool apart = phases.plane_a_column;
  const std::vector<int64_t> rows = places(0, phases.rows),
                             columns = apart ? std::vector<int64_t>{} : places(1, phases.columns);
  std::vector<int64_t> taps;
  for (int64_t r = 0; r < node.kernel[0]; ++r)
    for (int64_t s = 0; s < node.kernel[1]; ++s) {
      const int64_t phase = rows[static_cast<size_t>(r)] * static_cast<int64_t>(phases.columns.size()) +
                            (apart ? s : columns[static_cast<size_t>(s)]);
      taps.push_back(phase * phases.plane + r * node.dilation[0] / node.stride[0] * out.row +
                     (apart ? 0 : s * node.dilation[1] / node.stride[1]));
    }
  return taps;
}

namespace {
constexpr int64_t kGroupFloats = 32768;  // of the operand planes of a run of groups: half of a small L2

double now(const Frame& frame) {  // seconds, while anybody asks
  return frame.timed ? std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count() : 0;
}

void move_time(const Frame& frame, int from, int to, double seconds) {
  if (!frame.timed) return;
  (*frame.timed)[static_cast<size_t>(from)].seconds -= seconds;
  (*frame.timed)[static_cast<size_t>(to)].seconds += seconds;
}

}  // namespace

int64_t ConvStep::phase_floats() const {
  return static_cast<int64_t>(phases.rows.size() * phases.columns.size()) * phases.plane;
}

void ConvStep::copy_phases(const float* x, float* y, int64_t begin, int64_t end, int part, int parts) const {
  const int64_t row = phases.height * part / parts, stop = phases.height * (part + 1) / parts;
  PhaseArgs a;
  a.x_row = in->row;
  a.y_row = out->row, a.y_rows = stop - row;
  a.stride[0] = op->stride[0], a.stride[1] = op->stride[1];
  for (int64_t c = begin; c < end; ++c) {
    for (int64_t pr : phases.rows) {
      for (int64_t pc : phases.columns) {
        a.y = y + row * out->row;
        a.x = x + c * in->plane + (row * op->stride[0] + pr - op->padding[0]) * in->row + pc - op->padding[1];
        kernels->phase_plane(&a);
        if (part + 1 == parts) std::fill(y + phases.height * out->row, y + phases.plane, 0.0f);
        y += phases.plane;
      }
    }
  }
}

bool ConvStep::run_tile(LaneCall& call, size_t index) const {
  const Tile& tile = tiles[index];
  const int64_t width = kernels->lanes;
  const int64_t left = (out->lanes() - tile.lane + width - 1) / width;  // vectors, at the present length
  if (left <= 0) return false;
  call.lane = tile.lane;
  call.vectors = static_cast<int>(std::min<int64_t>(tile.vectors, left));
  run_lanes(*kernels, packed, call);
  return true;
}

// Few groups at a time, all their lanes: phase planes are read while they are in L2, and each plane is written once.
// MobileNetV1 (AVX-512): 1.2 times faster on 112x112 and 56x56 than all groups tile by tile; 8192 floats lost 5 %.
void ConvStep::run_groups(const Frame& frame, const float* source, const LaneCall& base) const {
  const int threads = frame.team->size();
  const int64_t inputs = in->channels / op->groups, outputs = out->channels / op->groups;
  const int64_t run = std::max<int64_t>(1, kGroupFloats / (inputs * (strided ? phase_floats() : in->plane)));
  frame.team->run([&](int part) {
    const int64_t begin = op->groups * part / threads, end = op->groups * (part + 1) / threads;
    clear_gaps(frame, begin * outputs, end * outputs);
    float* const planes = strided ? frame.arena + scratch->offset + begin * inputs * phase_floats() : nullptr;
    LaneCall call = base;
    for (int64_t g = begin; g < end; g += run) {
      const int64_t stop = std::min(g + run, end);
      if (strided) {  // always into the same planes of this thread; the stream's offsets count from the first group
        copy_phases(source, planes, g * inputs, stop * inputs, 0, 1);
        call.x = planes - g * inputs * phase_floats();
      }
      call.row_begin = g * outputs;
      call.row_end = stop * outputs;
      for (size_t t = 0; t < tiles.size() && run_tile(call, t); ++t) continue;
    }
  });
}

// By the thread that writes the lanes before them, which has these lines in its cache and clears some of those lanes
// too: cleared by one thread for all, ResNet-50 at 90 % on two threads ran 1.04 times slower.
void ConvStep::clear_gaps(const Frame& frame, int64_t first, int64_t end, int64_t own) const {
  if (out->place < 0 && first < end) zero_gaps(frame.arena + out->offset, *out, first, end, own);
}

// At a short length the part may have less than kAlign lanes: those before them are another thread's.
void ConvStep::clear_behind_tiles(const Frame& frame, int part) const {
  const int64_t n = static_cast<int64_t>(tiles.size()), threads = frame.team->size(), first = n * part / threads;
  int64_t last = n - 1;
  while (last > 0 && tiles[static_cast<size_t>(last)].lane >= out->lanes()) --last;
  if (first <= last && last < n * (part + 1) / threads)
    clear_gaps(frame, 0, out->channels, tiles[static_cast<size_t>(first)].lane);
}

LaneCall ConvStep::begin(const Frame& frame) const {
  LaneCall base;
  base.x = strided ? frame.arena + scratch->offset : frame.arena + in->origin();
  base.y = frame.arena + out->origin();
  base.y_stride = out->plane;
  base.residual = residual ? frame.arena + residual->origin() : nullptr;
  base.residual_stride = residual ? residual->plane : 0;
  base.mask = mask.data();
  base.lo = lo;
  base.hi = hi;
  base.finite = !packed.guarded || finite(frame);
  return base;
}

// Every thread looks at its share of the input.
bool ConvStep::finite(const Frame& frame) const {
  const float* source = frame.arena + in->origin();
  const int threads = frame.team->size();
  std::atomic<bool> all{true};
  frame.team->run([&](int part) {
    const int64_t begin = in->channels * part / threads, end = in->channels * (part + 1) / threads;
    if (!surely_finite(*kernels, source + begin * in->plane, (end - begin) * in->plane)) all = false;
  });
  return all;
}

// A thread copies planes, or of the large planes of an image rows, nearly those that its tiles read: on two threads the
// stem of ResNet-50 ran 1.05 times faster by rows, strided layers on 28x28 and less 1.2 to 1.7 times slower, as both
// write lines at the seams and fetch the other's ahead.
void ConvStep::copy_all_phases(const Frame& frame) const {
  const int threads = frame.team->size();
  const bool rows = phases.plane_a_column;
  frame.team->run([&](int part) {
    const int64_t begin = rows ? 0 : in->channels * part / threads,
                  end = rows ? in->channels : in->channels * (part + 1) / threads;
    float* const planes = frame.arena + scratch->offset + begin * phase_floats();
    copy_phases(frame.arena + in->origin(), planes, begin, end, rows ? part : 0, rows ? threads : 1);
  });
}

void ConvStep::run_alone(const Frame& frame) const {
  const int threads = frame.team->size();
  const LaneCall base = begin(frame);
  // With several threads a tile's last vector would look into phase planes that another one is writing.
  if (by_group && (!strided || threads == 1)) return run_groups(frame, frame.arena + in->origin(), base);
  if (strided) copy_all_phases(frame);
  const int64_t n = static_cast<int64_t>(tiles.size());
  const bool whole = by_tiles(frame), sparse = packed.kind == PackedRows::Kind::sparse;
  if (!whole && !sparse) clear_gaps(frame, 0, out->channels);
  frame.team->run([&](int part) {
    const size_t at = static_cast<size_t>(part);
    if (whole) clear_behind_tiles(frame, part);
    if (!whole && sparse) clear_gaps(frame, packed.stream.split[at], packed.stream.split[at + 1]);
    LaneCall call = base;
    call.part = whole ? 0 : part;
    call.parts = whole ? 1 : threads;
    const int64_t end = whole ? n * (part + 1) / threads : n;
    for (int64_t t = whole ? n * part / threads : 0; t < end && run_tile(call, static_cast<size_t>(t)); ++t) continue;
  });
}

void ConvStep::run_behind(const Frame& frame) const {
  const int threads = frame.team->size();
  const LaneCall first = begin(frame), second = behind->begin(frame);
  if (strided) copy_all_phases(frame);
  const int64_t n = static_cast<int64_t>(tiles.size());
  double passed = 0;  // of the second, in part 0
  frame.team->run([&](int part) {
    LaneCall mine = first, other = second;
    clear_behind_tiles(frame, part);
    behind->clear_behind_tiles(frame, part);
    const int64_t end = n * (part + 1) / threads;
    for (int64_t t = n * part / threads; t < end && run_tile(mine, static_cast<size_t>(t)); ++t) {
      const double start = now(frame);
      behind->run_tile(other, static_cast<size_t>(t));
      if (part == 0) passed += now(frame) - start;
    }
  });
  move_time(frame, node, behind->node, passed);
}

// With few tiles the threads share rows, and one convolution must end before the next begins.
void ConvStep::run(const Frame& frame) const {
  if (!by_tiles(frame) || (!led && !behind)) return run_alone(frame);
  if (behind) run_behind(frame);
}

bool run_behind(Step& first, Step& second) {
  auto& leader = static_cast<ConvStep&>(first);
  auto& follower = static_cast<ConvStep&>(second);
  if (leader.by_group || follower.by_group || leader.tiles.size() < 2 || !(leader.tiles == follower.tiles))
    return false;
  if (follower.packed.guarded) return false;  // it looks at its whole input first
  leader.behind = &follower;
  follower.led = true;
  return true;
}

}  // namespace gossamer
