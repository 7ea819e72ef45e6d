// Shapes of what works along axes: norms, reductions, softmax, running sums, concatenation.
#include "shape_rules.h"

namespace gossamer {

Shape channel_affine_shape(const ShapeSite& site) {
  site.rank_at_least(2);
  site.vector("scale", site.node.scale, site.x()[1]);
  site.vector("shift", site.node.shift, site.x()[1]);
  return site.x();
}

Shape last_axes_norm_shape(const ShapeSite& site) {
  const Shape& x = site.x();
  site.axis_below_rank("axes", site.node.axes);
  int64_t size = 1;
  for (size_t i = x.size() - static_cast<size_t>(site.node.axes); i < x.size(); ++i)
    size *= x[i];  // within the elements of x
  site.vector("weight", site.node.weight, size);
  site.vector("bias", site.node.bias, size);
  return x;
}

Shape group_norm_shape(const ShapeSite& site) {
  site.rank_at_least(2);
  const Shape& x = site.x();
  if (x[1] % site.node.groups != 0)
    site.error("expected groups that divide ", x[1], " channels, got ", site.node.groups);
  site.vector("weight", site.node.weight, x[1]);
  site.vector("bias", site.node.bias, x[1]);
  return x;
}

Shape one_axis_shape(const ShapeSite& site) {
  site.axis_below_rank("axis", site.node.axis);
  return site.x();
}

Shape reduced_shape(const ShapeSite& site) {
  site.axis_below_rank("axes", site.node.list.back());  // ascending
  Shape out;
  size_t next = 0;
  for (size_t i = 0; i < site.x().size(); ++i) {
    const bool reduced = next < site.node.list.size() && static_cast<int64_t>(i) == site.node.list[next];
    if (reduced) ++next;
    if (!reduced) {
      out.push_back(site.x()[i]);
    } else if (site.node.keep) {
      out.push_back(1);
    }
  }
  return out;
}

Shape argmax_shape(const ShapeSite& site) {
  site.axis_below_rank("axis", site.node.axis);
  Shape out = site.x();
  if (site.node.keep) {
    out[static_cast<size_t>(site.node.axis)] = 1;
  } else {
    out.erase(out.begin() + site.node.axis);
  }
  return out;
}

Shape concat_shape(const ShapeSite& site) {
  Shape out = site.x();
  site.axis_below_rank("axis", site.node.axis);
  auto axis = static_cast<size_t>(site.node.axis);
  for (size_t i = 1; i < site.in.size(); ++i) {
    Shape other = *site.in[i];
    if (other.size() == out.size()) other[axis] = out[axis];
    if (other != out) {
      site.error("expected inputs of equal shape but for axis ", axis, ", got ", listed(site.x()), " and ",
                 listed(*site.in[i]));
    }
    out[axis] += (*site.in[i])[axis];
  }
  return out;
}

}  // namespace gossamer
