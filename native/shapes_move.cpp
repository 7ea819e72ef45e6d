// Shapes where elements are moved, repeated or left out.
#include <algorithm>

#include "shape_rules.h"

namespace gossamer {
namespace {

// [N, sizes of the attribute `shape`], the length symbol at `length`; kRest stays.
Shape with_batch(const ShapeSite& site, int64_t length) {
  Shape out{site.x()[0]};
  for (int64_t size : site.node.list) out.push_back(size == kLength ? length : size);
  return out;
}

}  // namespace

Shape flatten_shape(const ShapeSite& site) {
  const Shape& x = site.x();
  site.axis_below_rank("start", site.node.start);
  Shape out(x.begin(), x.begin() + site.node.start);
  int64_t rest = 1;
  for (size_t i = static_cast<size_t>(site.node.start); i < x.size(); ++i) rest *= x[i];  // within the elements of x
  out.push_back(rest);
  return out;
}

Shape reshape_shape(const ShapeSite& site) {
  Shape out = with_batch(site, site.length), known = out;
  const auto rest = std::find(out.begin(), out.end(), kRest);
  if (rest != out.end()) known.erase(known.begin() + (rest - out.begin()));
  const int64_t have = site.product(site.x()), want = site.product(known);
  const bool fits = rest != out.end() ? have % want == 0 : have == want;
  if (!fits)
    site.error("expected a shape of ", have, " elements like the input ", listed(site.x()), ", got ", listed(out));
  if (rest != out.end()) *rest = have / want;
  return out;
}

Shape permute_shape(const ShapeSite& site) {
  const Shape& x = site.x();
  const std::vector<int64_t>& order = site.node.list;
  if (order.size() + 1 != x.size())
    site.error("expected an 'order' of the ", x.size() - 1, " axes behind the batch, got ", listed(order));
  Shape out{x[0]};
  for (int64_t axis : order) out.push_back(x[static_cast<size_t>(axis)]);
  return out;
}

Shape slice_shape(const ShapeSite& site) {
  const Node& node = site.node;
  site.axis_below_rank("axis", node.axis);
  Shape out = site.x();
  int64_t& size = out[static_cast<size_t>(node.axis)];
  const auto place = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  const int64_t begin = place(node.start), end = place(node.stop);
  if (begin >= end) {
    site.error("expected at least one element of axis ", node.axis, " in ", listed(site.x()), ", got those from ",
               begin, " to ", end);
  }
  size = (end - begin - 1) / node.step + 1;
  return out;
}

Shape expand_shape(const ShapeSite& site) {
  const Shape &x = site.x(), out = with_batch(site, site.length);
  bool fits = out.size() == x.size();
  for (size_t i = 1; fits && i < x.size(); ++i) fits = x[i] == 1 || x[i] == out[i];
  if (!fits) site.error("expected a shape that ", listed(x), " can be repeated to, got ", listed(out));
  return out;
}

Shape pad_shape(const ShapeSite& site) {
  const Node& node = site.node;
  Shape out = site.x();
  if (node.list.size() + 1 != out.size()) {
    site.error("expected 'before' and 'after' of ", out.size() - 1, " axes behind the batch, got ", listed(node.list),
               " and ", listed(node.list2));
  }
  for (size_t i = 1; i < out.size(); ++i) {
    const int64_t before = node.list[i - 1], after = node.list2[i - 1];
    if (node.mode == 1 && std::max(before, after) >= out[i])
      site.error("expected less than the size ", out[i], " to be reflected along axis ", i, ", got ",
                 std::max(before, after));
    out[i] += before + after;  // each below 2^31, x within 2^40
  }
  return out;
}

Shape flip_shape(const ShapeSite& site) {
  site.axis_below_rank("axes", site.node.list.back());  // ascending
  return site.x();
}

Shape constant_shape(const ShapeSite& site) {
  Shape most = with_batch(site, site.longest);
  most[0] = 1;
  site.vector("value", site.node.weight, site.product(most));
  return with_batch(site, site.length);
}

}  // namespace gossamer
