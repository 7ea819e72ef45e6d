// Shapes of all values of a network for given free dimensions, and every rule of docs/formats/operators.md that needs
// them.
#include <algorithm>

#include "check.h"
#include "network.h"

namespace gossamer {
namespace {

using Shape = std::vector<int64_t>;
constexpr int64_t most_elements = int64_t{1} << 40;

class NodeShape {
 public:
  NodeShape(const Network& network, const Node& node) : network_(network), node_(node) {}

  Shape infer(const std::vector<const Shape*>& in) const {
    const Shape& x = *in[0];
    switch (node_.op) {
      case Op::conv2d: return convolution(x);
      case Op::linear: return linear(x);
      case Op::channel_affine:
        rank_at_least(x, 2);
        vector("scale", node_.scale, x[1]);
        vector("shift", node_.shift, x[1]);
        return x;
      case Op::layer_norm: return layer_norm(x);
      case Op::relu:
      case Op::relu6:
      case Op::silu:
      case Op::sigmoid:
      case Op::gelu: return x;
      case Op::softmax: axis_below_rank("axis", node_.axis, x); return x;
      case Op::add:
        if (*in[1] != x) error("expected two inputs of equal shape, got ", listed(x), " and ", listed(*in[1]));
        return x;
      case Op::concat: return concat(in);
      case Op::max_pool2d:
      case Op::avg_pool2d: image(x); return {x[0], x[1], windows(x, 0), windows(x, 1)};
      case Op::adaptive_avg_pool2d: image(x); return {x[0], x[1], node_.out_size[0], node_.out_size[1]};
      case Op::flatten: {
        axis_below_rank("start", node_.start, x);
        Shape out(x.begin(), x.begin() + node_.start);
        int64_t rest = 1;
        for (size_t i = static_cast<size_t>(node_.start); i < x.size(); ++i) rest *= x[i];  // within the elements of x
        out.push_back(rest);
        return out;
      }
    }
    error("expected a known operator, got another");
  }

 private:
  template <class... T>
  [[noreturn]] void error(const T&... parts) const {
    fail(Error::Kind::graph, "node ", quoted(node_.name), " (", node_.op_name, "): ", parts...);
  }

  const Weight& weight(int index) const { return network_.weights[static_cast<size_t>(index)]; }

  void rank_at_least(const Shape& x, size_t rank) const {
    if (x.size() < rank) error("expected an input of at least ", rank, " dimensions, got ", listed(x));
  }
  void image(const Shape& x) const {
    if (x.size() != 4) error("expected an input [N, C, H, W], got ", listed(x));
  }
  void axis_below_rank(const char* name, int64_t axis, const Shape& x) const {
    if (axis >= static_cast<int64_t>(x.size()))
      error("expected '", name, "' below the rank ", x.size(), ", got ", axis);
  }
  void vector(const char* role, int index, int64_t size) const {
    if (index < 0) return;
    const Weight& w = weight(index);
    if (w.shape[0] != size)
      error("expected '", role, "' of ", size, " values, got ", w.shape[0], " in weight ", quoted(w.name));
  }

  // Number of window positions along image axis 0 (height) or 1 (width).
  int64_t windows(const Shape& x, int axis) const {
    int64_t padded = x[static_cast<size_t>(2 + axis)] + node_.padding[axis] + node_.padding[axis + 2];
    int64_t room = padded - node_.dilation[axis] * (node_.kernel[axis] - 1) - 1;
    if (room < 0)
      error("expected the window to fit into the padded image, got input ", listed(x), " and kernel ",
            node_.kernel[axis]);
    return room / node_.stride[axis] + 1;
  }

  Shape convolution(const Shape& x) const {
    image(x);
    const Weight& w = weight(node_.weight);
    int64_t rows = w.shape[0];
    if (x[1] % node_.groups != 0 || rows % node_.groups != 0) {
      error("expected groups that divide ", x[1], " inputs and ", rows, " outputs, got ", node_.groups);
    }
    int64_t columns = 0;
    if (!product_within(node_.kernel[0] * node_.kernel[1], x[1] / node_.groups, most_elements, &columns) ||
        columns != w.shape[1]) {
      error("expected a weight of kh * kw * I / groups columns for the input ", listed(x), ", got shape ",
            listed(w.shape));
    }
    vector("bias", node_.bias, rows);
    return {x[0], rows, windows(x, 0), windows(x, 1)};
  }

  Shape linear(const Shape& x) const {
    rank_at_least(x, 2);
    const Weight& w = weight(node_.weight);
    if (x.back() != w.shape[1])
      error("expected a weight of ", x.back(), " columns for the input ", listed(x), ", got shape ", listed(w.shape));
    vector("bias", node_.bias, w.shape[0]);
    Shape out = x;
    out.back() = w.shape[0];
    return out;
  }

  Shape layer_norm(const Shape& x) const {
    axis_below_rank("axes", node_.axes, x);
    int64_t size = 1;
    for (size_t i = x.size() - static_cast<size_t>(node_.axes); i < x.size(); ++i)
      size *= x[i];  // within the elements of x
    vector("weight", node_.weight, size);
    vector("bias", node_.bias, size);
    return x;
  }

  Shape concat(const std::vector<const Shape*>& in) const {
    Shape out = *in[0];
    axis_below_rank("axis", node_.axis, out);
    auto axis = static_cast<size_t>(node_.axis);
    for (size_t i = 1; i < in.size(); ++i) {
      Shape other = *in[i];
      if (other.size() == out.size()) other[axis] = out[axis];
      if (other != out)
        error("expected inputs of equal shape but for axis ", axis, ", got ", listed(*in[0]), " and ", listed(*in[i]));
      out[axis] += (*in[i])[axis];
    }
    return out;
  }

  const Network& network_;
  const Node& node_;
};

void check_elements(const Value& value, const Shape& shape) {
  int64_t elements = 1;
  for (int64_t n : shape) {
    if (!product_within(elements, n, most_elements, &elements)) {
      fail(Error::Kind::graph, "value ", quoted(value.name), ": expected at most 2^40 elements, got shape ",
           listed(shape));
    }
  }
}

}  // namespace

std::vector<std::vector<int64_t>> infer_shapes(const Network& network, const std::vector<int64_t>& dims) {
  if (dims.size() != network.dims.size()) {
    fail(Error::Kind::argument, "expected ", network.dims.size(), " free dimensions, got ", dims.size());
  }
  std::vector<Shape> shapes(network.values.size());
  for (int index : network.inputs) {
    const Value& value = network.values[static_cast<size_t>(index)];
    Shape& shape = shapes[static_cast<size_t>(index)];
    for (const Dim& dim : value.shape)
      shape.push_back(dim.symbol < 0 ? dim.size : dims[static_cast<size_t>(dim.symbol)]);
    check_elements(value, shape);
  }
  std::vector<const Shape*> in;
  for (const Node& node : network.nodes) {
    in.clear();
    for (int input : node.inputs) in.push_back(&shapes[static_cast<size_t>(input)]);
    Shape shape = NodeShape(network, node).infer(in);
    check_elements(network.values[static_cast<size_t>(node.output)], shape);
    shapes[static_cast<size_t>(node.output)] = std::move(shape);
  }
  return shapes;
}

}  // namespace gossamer
