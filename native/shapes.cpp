// Shapes of all values of a network for given free dimensions, and every rule of docs/formats/operators.md that needs
// them.
#include "shape_rules.h"

namespace gossamer {
namespace {

Shape first_shape(const ShapeSite& site) {
  switch (site.node.op) {
    case Op::conv2d: return conv2d_shape(site);
    case Op::linear: return linear_shape(site);
    case Op::channel_affine: return channel_affine_shape(site);
    case Op::layer_norm:
    case Op::rms_norm: return last_axes_norm_shape(site);
    case Op::group_norm: return group_norm_shape(site);

    case Op::relu:
    case Op::relu6:
    case Op::silu:
    case Op::sigmoid:
    case Op::gelu:
    case Op::tanh:
    case Op::exp:
    case Op::log:
    case Op::sqrt:
    case Op::rsqrt:
    case Op::abs:
    case Op::neg:
    case Op::erf:
    case Op::sin:
    case Op::cos:
    case Op::floor:
    case Op::sign:
    case Op::hardswish:
    case Op::hardsigmoid:
    case Op::mish:
    case Op::leaky_relu:
    case Op::elu:
    case Op::softplus:
    case Op::clamp:
    case Op::affine:
    case Op::power: return site.x();

    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
    case Op::maximum:
    case Op::minimum:
    case Op::equal:
    case Op::not_equal:
    case Op::less:
    case Op::less_equal:
    case Op::where: return broadcast_shape(site);

    case Op::softmax:
    case Op::cumsum: return one_axis_shape(site);
    case Op::mean:
    case Op::sum:
    case Op::max:
    case Op::min: return reduced_shape(site);
    case Op::argmax: return argmax_shape(site);
    case Op::concat: return concat_shape(site);

    case Op::max_pool2d:
    case Op::avg_pool2d: return pool_shape(site);
    case Op::adaptive_avg_pool2d:
    case Op::upsample: return resized_shape(site);
    case Op::pixel_shuffle: return pixel_shuffle_shape(site);

    case Op::flatten: return flatten_shape(site);
    case Op::reshape: return reshape_shape(site);
    case Op::permute: return permute_shape(site);
    case Op::slice: return slice_shape(site);
    case Op::expand: return expand_shape(site);
    case Op::pad: return pad_shape(site);
    case Op::flip: return flip_shape(site);
    case Op::constant: return constant_shape(site);

    case Op::matmul: return matmul_shape(site);
    case Op::attention: return attention_shape(site);
    case Op::embedding: return embedding_shape(site);
    case Op::lstm:
    case Op::gru: return recurrent_shape(site);
  }
  site.error("expected a known operator, got another");
}

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
  const auto length = static_cast<size_t>(network.length);
  const int64_t size = network.length < 0 ? 1 : dims[length],
                longest = network.length < 0 ? 1 : network.dims[length].max;
  std::vector<Shape> shapes(network.values.size());
  const auto define = [&](int index, Shape shape) {
    check_elements(network.values[static_cast<size_t>(index)], shape);
    shapes[static_cast<size_t>(index)] = std::move(shape);
  };
  for (int index : network.inputs) {
    Shape shape;
    for (const Dim& dim : network.values[static_cast<size_t>(index)].shape)
      shape.push_back(dim.symbol < 0 ? dim.size : dims[static_cast<size_t>(dim.symbol)]);
    define(index, std::move(shape));
  }
  std::vector<const Shape*> in;
  for (const Node& node : network.nodes) {
    in.clear();
    for (int input : node.inputs) in.push_back(&shapes[static_cast<size_t>(input)]);
    const ShapeSite site{network, node, in, size, longest};
    Shape first = first_shape(site);
    for (int index : node.more_outputs) define(index, recurrent_last_shape(site));
    define(node.output, std::move(first));
  }
  return shapes;
}

}  // namespace gossamer
