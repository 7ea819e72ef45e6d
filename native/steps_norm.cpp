// Norms and softmax: on plain rows, or on planes with statistics a lane.
#include <cmath>

#include "pack_rows.h"
#include "strided.h"

namespace gossamer {
namespace {

struct AffineStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  std::vector<float> scale, shift;
  void run(const Frame& frame) const override {
    const int64_t channels = static_cast<int64_t>(scale.size());
    const int64_t rows = in->planar ? in->height : 1, width = in->planar ? in->width : in->elements / channels;
    const int64_t x_plane = in->planar ? in->plane : width, y_plane = in->planar ? out->plane : width;
    begin_write(frame, *out);
    for (int64_t e = 0; e < frame.count; ++e) {
      const float* x = at(frame, *in, e);
      float* y = at(frame, *out, e);
      for (int64_t c = 0; c < channels; ++c) {
        const float a = scale[static_cast<size_t>(c)], b = shift[static_cast<size_t>(c)];
        if (width == 1 && rows == 1) {
          y[c * y_plane] = x[c * x_plane] * a + b;
          continue;
        }
        for (int64_t h = 0; h < rows; ++h)
          kernels->affine(x + c * x_plane + h * in->row, y + c * y_plane + h * out->row, width, a, b, nullptr);
      }
    }
  }
};

struct RowsStep final : Step {  // softmax, layer norm, rms norm
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  Op op = Op::softmax;
  size_t from = 0, to = 0;  // the axes that are normalized
  std::vector<float> weight, bias;
  float epsilon = 0;

  void run(const Frame& frame) const override {
    const float* g = weight.empty() ? nullptr : weight.data();
    const float* b = bias.empty() ? nullptr : bias.data();
    if (in->planar) return planes(frame, g, b);
    int64_t outer = frame.count, n = 1, inner = 1;
    for (size_t a = 0; a < in->shape.size(); ++a) (a < from ? outer : a < to ? n : inner) *= in->shape[a];
    const float* x = at(frame, *in);
    float* y = at(frame, *out);
    if (op == Op::softmax)
      kernels->softmax(x, y, outer, n, inner);
    else if (op == Op::rms_norm)
      kernels->rms_norm(x, y, outer, n, g, epsilon);
    else
      kernels->layer_norm(x, y, outer, n, g, b, epsilon);
  }

  void planes(const Frame& frame, const float* g, const float* b) const {
    const int64_t lanes = round_up(out->lanes());
    const int threads = frame.team->size();
    const int64_t pieces = lanes / kAlign;
    frame.team->run([&](int part) {
      const int64_t begin = pieces * part / threads * kAlign, end = pieces * (part + 1) / threads * kAlign;
      if (end > begin)
        kernels->norm_lanes(at(frame, *in) + begin, in->plane, at(frame, *out) + begin, out->plane, in->channels,
                            end - begin, g, b, epsilon, op == Op::rms_norm);
    });
    zero_padding(at(frame, *out) - out->lead, *out);
  }
};

struct GroupNormStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  int64_t groups = 1;
  std::vector<float> weight, bias;
  float epsilon = 0;
  void run(const Frame& frame) const override {
    const int64_t channels = in->shape[0], each = channels / groups;
    const int64_t rows = in->planar ? in->height : 1, width = in->planar ? in->width : in->elements / channels;
    const int64_t x_plane = in->planar ? in->plane : width, y_plane = in->planar ? out->plane : width;
    begin_write(frame, *out);
    for (int64_t e = 0; e < frame.count; ++e) {
      for (int64_t g = 0; g < groups; ++g) {
        const float* x = at(frame, *in, e) + g * each * x_plane;
        float* y = at(frame, *out, e) + g * each * y_plane;
        double total = 0, square = 0;
        for (int64_t c = 0; c < each; ++c)
          for (int64_t h = 0; h < rows; ++h) total += kernels->fold(kSum, x + c * x_plane + h * in->row, width);
        const double count = static_cast<double>(each * rows * width);
        const float mean = static_cast<float>(total / count);
        for (int64_t c = 0; c < each; ++c)
          for (int64_t h = 0; h < rows; ++h) square += kernels->squares(x + c * x_plane + h * in->row, width, mean);
        const float scale = static_cast<float>(1 / std::sqrt(square / count + static_cast<double>(epsilon)));
        for (int64_t c = 0; c < each; ++c) {
          const size_t channel = static_cast<size_t>(g * each + c);
          const float a = scale * (weight.empty() ? 1.0f : weight[channel]);
          const float b = (bias.empty() ? 0.0f : bias[channel]) - mean * a;
          for (int64_t h = 0; h < rows; ++h)
            kernels->affine(x + c * x_plane + h * in->row, y + c * y_plane + h * out->row, width, a, b, nullptr);
        }
      }
    }
  }
};

template <typename T>
std::unique_ptr<T> begin_step(const Context& context, const Spec& spec) {
  auto step = std::make_unique<T>();
  step->node = spec.node;
  step->kernels = &context.kernels;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  return step;
}

}  // namespace

std::unique_ptr<Step> make_norm(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  const Network& net = context.net;
  const Node& node = net.nodes[static_cast<size_t>(spec.node)];
  info.kernel = node.op == Op::channel_affine ? "pointwise" : "norm";
  info.reason = context.slot(spec.out).planar ? "on padded planes" : "on plain rows";
  const auto read = [&](int weight) {
    std::vector<float> values = optional_vector(net, weight, context.budget);
    weight_bytes += values.size() * 4;
    info.bytes += static_cast<int64_t>(values.size() * 4);
    return values;
  };
  if (node.op == Op::channel_affine) {
    auto step = begin_step<AffineStep>(context, spec);
    step->scale = read(node.scale);
    step->shift = read(node.shift);
    return step;
  }
  if (node.op == Op::group_norm) {
    auto step = begin_step<GroupNormStep>(context, spec);
    step->groups = node.groups;
    step->weight = read(node.weight);
    step->bias = read(node.bias);
    step->epsilon = static_cast<float>(node.epsilon);
    return step;
  }
  auto step = begin_step<RowsStep>(context, spec);
  step->op = node.op;
  const size_t rank = step->in->shape.size();
  step->from = node.op == Op::softmax ? static_cast<size_t>(node.axis) - 1 : rank - static_cast<size_t>(node.axes);
  step->to = node.op == Op::softmax ? step->from + 1 : rank;
  step->weight = read(node.weight);
  step->bias = read(node.bias);
  step->epsilon = static_cast<float>(node.epsilon);
  return step;
}

}  // namespace gossamer
