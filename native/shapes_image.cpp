// Shapes of convolution, pooling and resizing of images [N, C, H, W].
#include "shape_rules.h"

namespace gossamer {
namespace {

// Number of window positions along image axis 0 (height) or 1 (width).
int64_t windows(const ShapeSite& site, int axis) {
  const Node& node = site.node;
  int64_t padded = site.x()[static_cast<size_t>(2 + axis)] + node.padding[axis] + node.padding[axis + 2];
  int64_t room = padded - node.dilation[axis] * (node.kernel[axis] - 1) - 1;
  if (room < 0) {
    site.error("expected the window to fit into the padded image, got input ", listed(site.x()), " and kernel ",
               node.kernel[axis]);
  }
  return room / node.stride[axis] + 1;
}

}  // namespace

Shape conv2d_shape(const ShapeSite& site) {
  site.image();
  const Node& node = site.node;
  const Shape& x = site.x();
  const Weight& w = site.weight(node.weight);
  int64_t rows = w.shape[0];
  if (x[1] % node.groups != 0 || rows % node.groups != 0) {
    site.error("expected groups that divide ", x[1], " inputs and ", rows, " outputs, got ", node.groups);
  }
  int64_t columns = 0;
  if (!product_within(node.kernel[0] * node.kernel[1], x[1] / node.groups, most_elements, &columns) ||
      columns != w.shape[1]) {
    site.error("expected a weight of kh * kw * I / groups columns for the input ", listed(x), ", got shape ",
               listed(w.shape));
  }
  site.vector("bias", node.bias, rows);
  return {x[0], rows, windows(site, 0), windows(site, 1)};
}

Shape pool_shape(const ShapeSite& site) {
  site.image();
  return {site.x()[0], site.x()[1], windows(site, 0), windows(site, 1)};
}

Shape resized_shape(const ShapeSite& site) {
  site.image();
  return {site.x()[0], site.x()[1], site.node.out_size[0], site.node.out_size[1]};
}

Shape pixel_shuffle_shape(const ShapeSite& site) {
  site.image();
  const Shape& x = site.x();
  const int64_t *factor = site.node.stride, phases = factor[0] * factor[1];
  if (x[1] % phases != 0) site.error("expected channels that ", phases, " divides, got ", listed(x));
  return {x[0], x[1] / phases, x[2] * factor[0], x[3] * factor[1]};
}

}  // namespace gossamer
