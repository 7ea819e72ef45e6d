// Where the axes of a value lie, and which changes of shape need no copy.
#include <algorithm>

#include "planner.h"

namespace gossamer {

namespace {
constexpr int64_t kLeastLanes = 8;  // tokens from which features become planes
}

void Slot::set_shape(const int64_t* sizes, size_t rank) {
  shape.assign(sizes, sizes + rank);
  elements = 1;
  for (int64_t size : shape) elements *= size;
  if (!planar) return;
  channels = height = width = 1;
  for (size_t a = 0; a < rank; ++a) {
    if (axes[a].place == Place::plane) channels += (shape[a] - 1) * axes[a].step;
    if (axes[a].place == Place::row) height = shape[a];
    if (axes[a].place == Place::column) width = shape[a];
  }
}

int64_t Slot::stride(size_t axis) const {
  if (planar) {
    const Axis& a = axes[axis];
    return a.place == Place::plane ? a.step * plane : a.place == Place::row ? row : 1;
  }
  int64_t step = 1;
  for (size_t a = axis + 1; a < shape.size(); ++a) step *= shape[a];
  return step;
}

bool Slot::compact() const { return !planar || channels * height * width == elements; }

// A linear layer runs planar where its tokens fill vectors; not beside recurrent layers, whose values are plain: planes
// hold one example, and those step together.
bool on_lanes(const Network& net, const Node& node, const std::vector<int64_t>& in) {
  if (node.op != Op::linear || in.size() < 2 || in.size() > 3) return false;
  const auto recurrent = [](const Node& n) { return n.op == Op::lstm || n.op == Op::gru; };
  if (std::any_of(net.nodes.begin(), net.nodes.end(), recurrent)) return false;
  int64_t tokens = 1;
  for (size_t a = 0; a + 1 < in.size(); ++a) tokens *= in[a];
  return tokens >= kLeastLanes;
}

Axes image_axes() { return {{Place::plane, 1}, {Place::row, 0}, {Place::column, 0}}; }

Axes token_axes(size_t rank) {
  if (rank == 2) return {{Place::column, 0}, {Place::plane, 1}};
  return {{Place::row, 0}, {Place::column, 0}, {Place::plane, 1}};
}

Axes compact_axes(const Axes& like, const std::vector<int64_t>& shape) {
  Axes out = like;
  std::vector<size_t> order;
  for (size_t a = 0; a < like.size(); ++a)
    if (like[a].place == Place::plane) order.push_back(a);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return like[a].step > like[b].step; });
  int64_t step = 1;
  for (size_t i = order.size(); i-- > 0;) {
    out[order[i]].step = shape[order[i]] == 1 ? 0 : step;
    step *= shape[order[i]];
  }
  if (step == 1 && !order.empty()) out[order.back()].step = 1;  // a single plane
  return out;
}

bool steady(const Axes& axes, const Sizes& sizes) {
  int64_t most = 0;
  for (const Axis& axis : axes)
    if (axis.place == Place::plane) most = std::max(most, axis.step);
  for (size_t a = 0; a < axes.size(); ++a)
    if (axes[a].place == Place::plane && axes[a].step < most && sizes.most[a] != sizes.least[a]) return false;
  return true;
}

namespace {

struct Matched {  // the axes of one side that are not 1 at every length
  std::vector<size_t> at;
  std::vector<int64_t> most, least;
  explicit Matched(const Sizes& sizes) {
    for (size_t a = 0; a < sizes.most.size(); ++a) {
      if (sizes.most[a] == 1 && sizes.least[a] == 1) continue;
      at.push_back(a);
      most.push_back(sizes.most[a]);
      least.push_back(sizes.least[a]);
    }
  }
};

// One group of axes with equal products: planes that lie behind each other, or all rows and columns.
bool match_group(const Axes& axes, const Matched& in, size_t i, size_t i_end, const Matched& out, size_t o,
                 size_t o_end, Axes& result, bool& regroup) {
  const auto axis = [&](size_t k) -> const Axis& { return axes[in.at[k]]; };
  if (i_end - i == 1 && o_end - o == 1) {
    result[out.at[o]] = axis(i);
    return true;
  }
  bool planes = true, lanes = true;
  for (size_t k = i; k < i_end; ++k) {
    planes = planes && axis(k).place == Place::plane;
    lanes = lanes && axis(k).place != Place::plane;
    if (planes && k + 1 < i_end && axis(k + 1).place == Place::plane)
      planes = in.most[k + 1] == in.least[k + 1] && axis(k).step == axis(k + 1).step * in.most[k + 1];
  }
  if (planes) {
    int64_t step = axis(i_end - 1).step;
    for (size_t k = o_end; k-- > o; step *= out.most[k]) {
      if (k > o && out.most[k] != out.least[k]) return false;
      result[out.at[k]] = {Place::plane, step};
    }
    return true;
  }
  if (!lanes || o_end - o > 2) return false;
  for (size_t k = i; k + 1 < i_end; ++k)
    if (axis(k).place != Place::row || axis(k + 1).place != Place::column) return false;
  size_t all = 0;  // no lane axis of the value may lie in another group
  for (size_t k = 0; k < in.at.size(); ++k) all += axis(k).place != Place::plane;
  if (all != i_end - i) return false;
  result[out.at[o_end - 1]] = {Place::column, 0};
  if (o_end - o == 2) result[out.at[o]] = {Place::row, 0};
  regroup = true;
  return true;
}

}  // namespace

Axes reshape_axes(const Axes& axes, const Sizes& from, const Sizes& to, bool& regroup) {
  regroup = false;
  const Matched in(from), out(to);
  Axes result(to.most.size(), Axis{Place::plane, 0});
  size_t i = 0, o = 0;
  while (i < in.at.size() && o < out.at.size()) {
    size_t i_end = i + 1, o_end = o + 1;
    int64_t a = in.most[i], b = out.most[o], small_a = in.least[i], small_b = out.least[o];
    while (a != b || small_a != small_b) {
      if (a < b || (a == b && small_a < small_b)) {
        if (i_end == in.at.size()) return {};
        a *= in.most[i_end];
        small_a *= in.least[i_end++];
      } else {
        if (o_end == out.at.size()) return {};
        b *= out.most[o_end];
        small_b *= out.least[o_end++];
      }
    }
    if (!match_group(axes, in, i, i_end, out, o, o_end, result, regroup)) return {};
    i = i_end;
    o = o_end;
  }
  if (i != in.at.size() || o != out.at.size()) return {};
  return result;
}

}  // namespace gossamer
