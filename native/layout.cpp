// Layout: common row strides for values that meet lane by lane, plane sizes and gaps, and places in the arena.
#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "planner.h"

namespace gossamer {

namespace {
constexpr int64_t kMost = int64_t{1} << 46;  // floats; far beyond any memory, far below overflow

class Union {
 public:
  explicit Union(size_t n) : parent_(n) { std::iota(parent_.begin(), parent_.end(), 0); }
  int find(int i) {
    while (parent_[static_cast<size_t>(i)] != i)
      i = parent_[static_cast<size_t>(i)] = parent_[static_cast<size_t>(parent_[static_cast<size_t>(i)])];
    return i;
  }
  void join(int a, int b) { parent_[static_cast<size_t>(find(a))] = find(b); }

 private:
  std::vector<int> parent_;
};
}  // namespace

void Budget::take(int64_t count, int64_t size, const char* what) {
  const int64_t bytes = product({count, size}, what);
  if (static_cast<size_t>(bytes) > limit_ - used_)
    throw Error{Error::Kind::memory, std::string("expected a plan within ") + std::to_string(limit_) +
                                         " bytes, got more: " + what + " needs " + std::to_string(bytes) + " beside " +
                                         std::to_string(used_)};
  used_ += static_cast<size_t>(bytes);
}

int64_t Budget::product(std::initializer_list<int64_t> factors, const char* what) const {
  int64_t total = 1;
  for (int64_t factor : factors) {
    if (__builtin_mul_overflow(total, factor, &total) || total > kMost)
      throw Error{Error::Kind::memory,
                  std::string("expected sizes that fit into memory, got too large ones for ") + what};
  }
  return total;
}

bool plane_a_column(const Node& node, int64_t channels) {
  constexpr int64_t kMostChannels = 4;
  return node.groups == 1 && node.stride[1] > 1 && channels <= kMostChannels;
}

int64_t conv_phase_floats(const Node& node, const Slot& in, const Slot& out, const Budget& budget) {
  const int64_t rows = out.height + (node.kernel[0] - 1) * node.dilation[0] / node.stride[0];
  const int64_t columns = plane_a_column(node, in.channels) ? node.kernel[1] : std::min(node.stride[1], node.kernel[1]);
  const int64_t phases = budget.product({std::min(node.stride[0], node.kernel[0]), columns}, "phase planes");
  const int64_t plane = round_up(budget.product({rows, out.row}, "phase planes"));
  const int64_t reach = (node.kernel[0] * node.dilation[0] / node.stride[0] + 1) * out.row +
                        node.kernel[1] * node.dilation[1] + 2 * kAlign;
  return budget.product({in.channels, phases, plane}, "phase planes") + budget.product({reach, 1}, "phase planes") +
         plane;
}

void plan_rows(const Network& net, std::vector<Slot>& slots, std::vector<Spec>& specs, Budget& budget) {
  Union same_row(slots.size());
  auto at = [&](int slot) -> Slot& {  // views share rows and planes with their owner
    Slot& s = slots[static_cast<size_t>(slot)];
    return s.owner >= 0 ? slots[static_cast<size_t>(s.owner)] : s;
  };
  const auto join = [&](int a, int b) {
    const auto owner = [&](int s) {
      const int of = slots[static_cast<size_t>(s)].owner;
      return of >= 0 ? of : s;
    };
    if (slots[static_cast<size_t>(a)].planar && slots[static_cast<size_t>(b)].planar) same_row.join(owner(a), owner(b));
  };
  for (const Spec& spec : specs) {
    if (spec.what != Do::node || spec.out < 0 || !at(spec.out).planar) continue;
    const Node& node = net.nodes[static_cast<size_t>(spec.node)];
    Slot& out = at(spec.out);
    if (spec.residual >= 0) join(spec.residual, spec.out);
    switch (node.op) {
      case Op::conv2d: {
        Slot& in = at(spec.in[0]);
        if (spec.strided) {
          const bool apart = plane_a_column(node, in.channels);
          const int64_t right = apart ? 0 : (node.kernel[1] - 1) * node.dilation[1] / node.stride[1];
          out.min_row = std::max(out.min_row, out.width + right);
        } else {
          join(spec.in[0], spec.out);
        }
        in.pad_rows = std::max({in.pad_rows, node.padding[0], node.padding[2]});
        in.pad_columns = std::max({in.pad_columns, node.padding[1], node.padding[3]});
        break;
      }
      case Op::linear:
      case Op::layer_norm:
      case Op::rms_norm: join(spec.in[0], spec.out); break;
      default: break;
    }
  }
  std::map<int, int64_t> row;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i].planar || slots[i].owner >= 0) continue;
    int64_t& r = row[same_row.find(static_cast<int>(i))];
    r = std::max({r, slots[i].width + slots[i].pad_columns, slots[i].min_row});
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& s = slots[i];
    if (!s.planar || s.owner >= 0) continue;
    s.row = row[same_row.find(static_cast<int>(i))];
    const int64_t gap = budget.product({s.pad_rows, s.row}, "padding") + s.pad_columns;
    const int64_t lanes = budget.product({s.height, s.row}, "a plane");
    s.plane = std::max(round_up(lanes + gap), round_up(lanes));
    if (s.plane % 1024 == 0) s.plane += kAlign;  // planes a multiple of 4 KiB apart would share one cache set
    s.lead = round_up(gap);
    s.reach = round_up(lanes);
  }
  for (const Spec& spec : specs) {  // how far the readers look beyond the last plane
    if (spec.what != Do::node || net.nodes[static_cast<size_t>(spec.node)].op != Op::conv2d) continue;
    const Node& node = net.nodes[static_cast<size_t>(spec.node)];
    Slot& in = at(spec.in[0]);
    const Slot& out = at(spec.out);
    const int64_t down = (node.kernel[0] - 1) * node.dilation[0], right = (node.kernel[1] - 1) * node.dilation[1];
    if (spec.strided) {  // the copy to phase planes: whole vectors of every row, needed or not
      const int64_t rows = (out.height + down / node.stride[0]) * node.stride[0];
      in.reach = std::max(in.reach, budget.product({rows, in.row}, "a plane") +
                                        budget.product({round_up(out.row) + kAlign, node.stride[1]}, "a row") + right);
      continue;
    }
    in.reach = std::max(in.reach, round_up(budget.product({out.height, out.row}, "a plane")) +
                                      budget.product({down, in.row}, "a kernel") + right);
  }
  for (Slot& s : slots) {
    if (!s.planar || s.owner >= 0) continue;
    s.tail = round_up(std::max<int64_t>(s.reach - s.plane, 0) + kAlign);
    s.floats = s.lead + budget.product({s.channels, s.plane}, "an activation") + s.tail;
  }
  for (Slot& s : slots) {
    s.most = s.shape;
    if (s.owner < 0) continue;
    const Slot& owner = slots[static_cast<size_t>(s.owner)];
    s.row = owner.row;
    s.plane = owner.plane;
    s.lead = owner.lead + s.first_channel * owner.plane;
  }
  for (Spec& spec : specs) {
    if (spec.what != Do::node || !spec.strided) continue;
    at(spec.scratch).floats =
        round_up(conv_phase_floats(net.nodes[static_cast<size_t>(spec.node)], at(spec.in[0]), at(spec.out), budget));
  }
}

// The free pieces of the arena, and its end. Every operation is logarithmic: a file may hold 65,536 values that live at
// once.
class Holes {
 public:
  int64_t take(int64_t floats) {  // the smallest hole that fits, of equal ones the first; else at the end
    const auto best = by_size_.lower_bound({floats, 0});
    if (best == by_size_.end()) {
      end_ += floats;
      return end_ - floats;
    }
    const auto [size, offset] = *best;
    erase(offset);
    if (size > floats) insert(offset + floats, size - floats);
    return offset;
  }
  void give(int64_t offset, int64_t floats) {  // joins its neighbours
    const auto after = by_offset_.lower_bound(offset);
    if (after != by_offset_.end() && after->first == offset + floats) {
      const int64_t size = after->second;
      erase(offset + floats);
      floats += size;
    }
    const auto next = by_offset_.lower_bound(offset);
    if (next != by_offset_.begin()) {
      const auto [before, size] = *std::prev(next);
      if (before + size == offset) {
        erase(before);
        offset = before;
        floats += size;
      }
    }
    if (offset + floats == end_)
      end_ = offset;
    else
      insert(offset, floats);
  }
  int64_t end() const { return end_; }

 private:
  void insert(int64_t offset, int64_t size) {
    by_offset_[offset] = size;
    by_size_.insert({size, offset});
  }
  void erase(int64_t offset) {
    const auto at = by_offset_.find(offset);
    by_size_.erase({at->second, offset});
    by_offset_.erase(at);
  }
  std::map<int64_t, int64_t> by_offset_;           // offset -> size
  std::set<std::pair<int64_t, int64_t>> by_size_;  // size, offset
  int64_t end_ = 0;
};

// A convolution that is the last reader of its residual writes over it: the kernels start from the residual, and the
// lines are in cache for writing when they have been read. The gaps stay as they are, zero. ResNet-50 at 90 %
// (AVX-512): its sums of the first stage 1.5 to 2.2 times faster, the whole 14.9 -> 14.2 ms, with 4x1 blocks 12.4
// -> 11.5.
void share_residuals(std::vector<Slot>& slots, const std::vector<Spec>& specs) {
  const auto at = [&](int slot) -> Slot& { return slots[static_cast<size_t>(slot)]; };
  for (size_t i = 0; i < specs.size(); ++i) {
    const Spec& spec = specs[i];
    if (spec.residual < 0 || at(spec.residual).last != static_cast<int>(i)) continue;
    const auto same_memory = [&](int in) { return in == spec.residual || at(in).owner == spec.residual; };
    if (std::any_of(spec.in.begin(), spec.in.end(), same_memory)) continue;
    const Slot& residual = at(spec.residual);
    Slot& out = at(spec.out);
    const bool same = residual.planar && out.planar && residual.channels == out.channels &&
                      residual.height == out.height && residual.row == out.row && residual.plane == out.plane &&
                      residual.lead == out.lead;
    if (!same) continue;
    out.place = residual.place >= 0 ? residual.place : spec.residual;
    Slot& owner = at(out.place);
    owner.last = std::max(owner.last, out.last);
    owner.floats += std::max<int64_t>(0, out.tail - owner.tail);
    owner.tail = std::max(owner.tail, out.tail);
  }
}

// In order of time: what died gives its place to what is born.
int64_t place_slots(std::vector<Slot>& slots, Budget& budget) {
  std::vector<Slot*> order;
  for (Slot& slot : slots)
    if (slot.first >= 0 && slot.place < 0 && slot.owner < 0) order.push_back(&slot);
  std::stable_sort(order.begin(), order.end(), [](const Slot* a, const Slot* b) { return a->first < b->first; });
  Holes holes;
  int64_t total = 0;
  std::multimap<int, const Slot*> deaths;  // last step ->
  for (Slot* s : order) {
    for (; !deaths.empty() && deaths.begin()->first < s->first; deaths.erase(deaths.begin()))
      holes.give(deaths.begin()->second->offset, deaths.begin()->second->floats);
    s->floats = std::max<int64_t>(round_up(s->floats), kAlign);
    s->offset = holes.take(s->floats);
    deaths.emplace(s->last, s);
    total = std::max(total, holes.end());
    budget.product({total, 4}, "the arena");
  }
  for (Slot& slot : slots)
    if (slot.place >= 0) slot.offset = slots[static_cast<size_t>(slot.place)].offset;
  for (Slot& slot : slots)
    if (slot.owner >= 0) slot.offset = slots[static_cast<size_t>(slot.owner)].offset;
  budget.take(total + kAlign, 4, "the arena");
  return total;
}

// Called before the lanes are written, so whole groups of kAlign floats may be cleared: a fixed-size store each, where
// a memset of a few dozen bytes a plane was 7 % of a 7x7 layer.
void zero_gaps(float* base, const Slot& s, int64_t begin, int64_t end, int64_t own) {
  const auto clear = [](float* p, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += kAlign) std::memset(p + i, 0, kAlign * sizeof(float));
  };
  if (begin == 0) clear(base, 0, s.lead);
  float* plane = base + s.lead;
  const int64_t first = std::max(s.lanes() / kAlign * kAlign, own), whole = round_up(first);
  for (int64_t c = begin; c < end; ++c) {
    float* const gap = plane + c * s.plane;
    if (first < whole) std::fill(gap + first, gap + whole, 0.0f);
    clear(gap, whole, s.plane);
  }
  if (end == s.channels) clear(plane + s.channels * s.plane, 0, s.tail);
}

void zero_padding(float* base, const Slot& s) {
  std::fill_n(base, s.lead, 0.0f);
  float* plane = base + s.lead;
  for (int64_t c = 0; c < s.channels; ++c, plane += s.plane) {
    for (int64_t h = 0; h + 1 < s.height; ++h) std::fill(plane + h * s.row + s.width, plane + (h + 1) * s.row, 0.0f);
    std::fill(plane + s.lanes(), plane + s.plane, 0.0f);
  }
  std::fill_n(plane, s.tail, 0.0f);
}

std::vector<uint32_t> lane_mask(const Slot& s, Budget& budget) {
  budget.take(round_up(s.lanes()), 4, "a lane mask");
  std::vector<uint32_t> mask(static_cast<size_t>(round_up(s.lanes())), 0);
  fill_mask(mask, s);
  return mask;
}

void fill_mask(std::vector<uint32_t>& mask, const Slot& s) {
  std::fill(mask.begin(), mask.end(), 0u);
  for (int64_t h = 0; h < s.height; ++h) std::fill_n(mask.begin() + h * s.row, s.width, ~uint32_t{0});
}

}  // namespace gossamer
