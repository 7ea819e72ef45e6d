// Pools, functions of single values, norms, joins, and the copies between the caller's arrays and the arena.
#include <algorithm>
#include <cstring>
#include <limits>

#include "pack_rows.h"

namespace gossamer {
namespace {

void copy_floats(float* to, const float* from, int64_t n) {
  if (n > 0) std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

struct PoolStep final : Step {
  void (*kernel)(const PoolArgs*) = nullptr;
  PoolArgs args;
  const Slot *in = nullptr, *out = nullptr, *scratch = nullptr;
  void run(const Frame& frame) const override {
    std::fill_n(frame.arena + out->offset, out->floats, 0.0f);
    PoolArgs a = args;
    a.x = frame.arena + in->origin();
    a.y = frame.arena + out->origin();
    a.scratch = frame.arena + scratch->offset;
    kernel(&a);
  }
};

// y = f(x), lane by lane
struct ActivationStep final : Step {
  const KernelTable* kernels = nullptr;
  int activation = kRelu;
  const Slot *in = nullptr, *out = nullptr;
  std::vector<uint32_t> mask;
  void run(const Frame& frame) const override {
    if (!in->planar)
      return kernels->activate(activation, frame.arena + in->offset, frame.arena + out->offset,
                               in->elements * frame.count, nullptr);
    zero_gaps(frame.arena + out->offset, *out);
    for (int64_t c = 0; c < in->channels; ++c)
      kernels->activate(activation, frame.arena + in->origin() + c * in->plane,
                        frame.arena + out->origin() + c * out->plane, in->lanes(), mask.data());
  }
};

struct AffineStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  std::vector<float> scale, shift;
  std::vector<uint32_t> mask;
  void run(const Frame& frame) const override {
    const int64_t channels = static_cast<int64_t>(scale.size());
    if (in->planar) {
      zero_gaps(frame.arena + out->offset, *out);
      for (int64_t c = 0; c < channels; ++c)
        kernels->affine(frame.arena + in->origin() + c * in->plane, frame.arena + out->origin() + c * out->plane,
                        in->lanes(), scale[static_cast<size_t>(c)], shift[static_cast<size_t>(c)], mask.data());
      return;
    }
    const float* x = frame.arena + in->offset;
    float* y = frame.arena + out->offset;
    const int64_t inner = in->elements / channels;
    for (int64_t n = 0; n < frame.count; ++n, x += in->elements, y += in->elements) {
      if (inner == 1) {
        for (int64_t c = 0; c < channels; ++c)
          y[c] = x[c] * scale[static_cast<size_t>(c)] + shift[static_cast<size_t>(c)];
      } else {
        for (int64_t c = 0; c < channels; ++c)
          kernels->affine(x + c * inner, y + c * inner, inner, scale[static_cast<size_t>(c)],
                          shift[static_cast<size_t>(c)], nullptr);
      }
    }
  }
};

struct AddStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *a = nullptr, *b = nullptr, *out = nullptr;
  float lo = 0, hi = 0;
  void run(const Frame& frame) const override {
    if (!out->planar)
      return kernels->add(frame.arena + a->offset, frame.arena + b->offset, frame.arena + out->offset,
                          out->elements * frame.count, lo, hi);
    zero_gaps(frame.arena + out->offset, *out);
    for (int64_t c = 0; c < out->channels; ++c)  // zero padding plus zero padding stays zero, also between the bounds
      kernels->add(frame.arena + a->origin() + c * a->plane, frame.arena + b->origin() + c * b->plane,
                   frame.arena + out->origin() + c * out->plane, out->lanes(), lo, hi);
  }
};

struct ConcatStep final : Step {
  std::vector<const Slot*> in;
  const Slot* out = nullptr;
  int64_t outer = 1, inner = 1;  // plain: [outer][axis * inner]
  std::vector<int64_t> sizes;
  void run(const Frame& frame) const override {
    float* y = frame.arena + out->origin();
    if (out->planar) {
      zero_gaps(frame.arena + out->offset, *out);
      for (const Slot* x : in)
        for (int64_t c = 0; c < x->channels; ++c, y += out->plane)
          copy_floats(y, frame.arena + x->origin() + c * x->plane, out->lanes());
      return;
    }
    for (int64_t o = 0; o < outer * frame.count; ++o) {
      for (size_t i = 0; i < in.size(); ++i) {
        copy_floats(y, frame.arena + in[i]->offset + o * sizes[i] * inner, sizes[i] * inner);
        y += sizes[i] * inner;
      }
    }
  }
};

struct RowsStep final : Step {  // softmax, layer norm
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  bool softmax = false;
  int64_t outer = 1, n = 1, inner = 1;  // of one example
  std::vector<float> weight, bias;
  float epsilon = 0;
  void run(const Frame& frame) const override {
    const float* x = frame.arena + in->offset;
    float* y = frame.arena + out->offset;
    if (softmax)
      kernels->softmax(x, y, outer * frame.count, n, inner);
    else
      kernels->layer_norm(x, y, outer * frame.count, n, weight.empty() ? nullptr : weight.data(),
                          bias.empty() ? nullptr : bias.data(), epsilon);
  }
};

struct CopyStep final : Step {  // input, output, flatten, and between the layouts
  Do what = Do::to_plain;
  const Slot *in = nullptr, *out = nullptr;
  int port = -1;
  static void rows_out(const float* from, float* to, const Slot& slot) {
    for (int64_t c = 0; c < slot.channels; ++c)
      for (int64_t h = 0; h < slot.height; ++h, to += slot.width)
        copy_floats(to, from + c * slot.plane + h * slot.row, slot.width);
  }
  void run(const Frame& frame) const override {
    switch (what) {
      case Do::input:
        return copy_floats(frame.arena + out->offset, frame.inputs[port] + frame.example * out->elements,
                           out->elements * frame.count);
      case Do::output: {
        float* to = frame.outputs[port] + frame.example * in->elements;
        if (in->planar) return rows_out(frame.arena + in->origin(), to, *in);
        return copy_floats(to, frame.arena + in->offset, in->elements * frame.count);
      }
      case Do::to_planar: {
        std::fill_n(frame.arena + out->offset, out->floats, 0.0f);
        const float* from = frame.arena + in->offset;
        float* to = frame.arena + out->origin();
        for (int64_t c = 0; c < out->channels; ++c)
          for (int64_t h = 0; h < out->height; ++h, from += out->width)
            copy_floats(to + c * out->plane + h * out->row, from, out->width);
        return;
      }
      default:
        if (in->planar) return rows_out(frame.arena + in->origin(), frame.arena + out->offset, *in);
        return copy_floats(frame.arena + out->offset, frame.arena + in->offset, in->elements * frame.count);
    }
  }
};

template <typename T>
std::unique_ptr<T> begin_step(const Context& context, const Spec& spec) {
  auto step = std::make_unique<T>();
  step->node = spec.node;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  return step;
}

}  // namespace

std::unique_ptr<Step> make_copy(const Context& context, const Spec& spec) {
  auto step = std::make_unique<CopyStep>();
  step->what = spec.what;
  step->port = spec.port;
  step->node = spec.node;
  if (!spec.in.empty()) step->in = &context.slot(spec.in[0]);
  if (spec.out >= 0) step->out = &context.slot(spec.out);
  return step;
}

int64_t pool_span(const Node& node, int64_t width, int64_t out_width) {
  if (node.op == Op::adaptive_avg_pool2d) return width + kAlign;
  const int64_t dilation = node.op == Op::max_pool2d ? node.dilation[1] : 1;
  return round_up(
      std::max(node.padding[1] + width, (out_width - 1) * node.stride[1] + (node.kernel[1] - 1) * dilation + 1) +
      kAlign);
}

std::unique_ptr<Step> make_pool(const Context& context, const Spec& spec, LayerInfo& info) {
  auto step = begin_step<PoolStep>(context, spec);
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  step->scratch = &context.slot(spec.scratch);
  PoolArgs& a = step->args;
  const Slot &in = *step->in, &out = *step->out;
  a.x_plane = in.plane, a.x_row = in.row, a.y_plane = out.plane, a.y_row = out.row;
  a.planes = in.channels, a.height = in.height, a.width = in.width, a.out_height = out.height, a.out_width = out.width;
  for (int i = 0; i < 2; ++i) {
    a.kernel[i] = node.kernel[i];
    a.stride[i] = node.stride[i];
    a.dilation[i] = node.op == Op::max_pool2d ? node.dilation[i] : 1;
  }
  a.top = node.padding[0], a.left = node.padding[1];
  a.span = pool_span(node, in.width, out.width);
  a.include_pad = node.count_include_pad;
  step->kernel = node.op == Op::max_pool2d   ? context.kernels.max_pool
                 : node.op == Op::avg_pool2d ? context.kernels.avg_pool
                                             : context.kernels.adaptive_avg_pool;
  info.kernel = "pool";
  info.reason = "rows by vectors, then columns";
  return step;
}

std::unique_ptr<Step> make_pointwise(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  const Network& net = context.net;
  const Node& node = net.nodes[static_cast<size_t>(spec.node)];
  const Slot& out = context.slot(spec.out);
  info.kernel = "pointwise";
  info.reason = out.planar ? "on padded planes" : "on plain rows";
  size_t floats = 0;
  std::unique_ptr<Step> result;
  switch (node.op) {
    case Op::channel_affine: {
      auto step = begin_step<AffineStep>(context, spec);
      step->kernels = &context.kernels;
      step->scale = optional_vector(net, node.scale, context.budget);
      step->shift = optional_vector(net, node.shift, context.budget);
      floats = step->scale.size() + step->shift.size();
      if (out.planar) step->mask = lane_mask(out, context.budget);
      result = std::move(step);
      break;
    }
    case Op::add: {
      auto step = std::make_unique<AddStep>();
      step->node = spec.node;
      step->kernels = &context.kernels;
      step->a = &context.slot(spec.in[0]);
      step->b = &context.slot(spec.in[1]);
      step->out = &out;
      step->lo = spec.lo;
      step->hi = spec.hi;
      result = std::move(step);
      break;
    }
    case Op::concat: {
      auto step = std::make_unique<ConcatStep>();
      step->node = spec.node;
      step->out = &out;
      const size_t axis = static_cast<size_t>(node.axis) - 1;  // of one example
      for (size_t i = 0; i < axis; ++i) step->outer *= out.shape[i];
      for (size_t i = axis + 1; i < out.shape.size(); ++i) step->inner *= out.shape[i];
      for (int in : spec.in) {
        step->in.push_back(&context.slot(in));
        step->sizes.push_back(step->in.back()->shape[axis]);
      }
      info.kernel = "copy";
      result = std::move(step);
      break;
    }
    case Op::softmax:
    case Op::layer_norm: {
      auto step = begin_step<RowsStep>(context, spec);
      step->kernels = &context.kernels;
      step->softmax = node.op == Op::softmax;
      const size_t rank = out.shape.size();
      const size_t from = step->softmax ? static_cast<size_t>(node.axis) - 1 : rank - static_cast<size_t>(node.axes);
      const size_t to = step->softmax ? from + 1 : rank;
      for (size_t i = 0; i < rank; ++i) (i < from ? step->outer : i < to ? step->n : step->inner) *= out.shape[i];
      step->weight = optional_vector(net, node.weight, context.budget);
      step->bias = optional_vector(net, node.bias, context.budget);
      step->epsilon = static_cast<float>(node.epsilon);
      floats = step->weight.size() + step->bias.size();
      result = std::move(step);
      break;
    }
    default: {
      auto step = begin_step<ActivationStep>(context, spec);
      step->kernels = &context.kernels;
      step->activation = node.op == Op::relu      ? kRelu
                         : node.op == Op::relu6   ? kRelu6
                         : node.op == Op::silu    ? kSilu
                         : node.op == Op::sigmoid ? kSigmoid
                         : node.gelu_tanh         ? kGeluTanh
                                                  : kGelu;
      if (out.planar) step->mask = lane_mask(out, context.budget);
      result = std::move(step);
    }
  }
  weight_bytes += floats * 4;
  info.bytes = static_cast<int64_t>(floats * 4);
  return result;
}

}  // namespace gossamer
