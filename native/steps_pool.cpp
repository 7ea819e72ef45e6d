// Pools over windows of planes.
#include <algorithm>

#include "planner.h"

namespace gossamer {
namespace {

struct PoolStep final : Step {
  void (*kernel)(const PoolArgs*) = nullptr;
  PoolArgs args;
  const Slot *in = nullptr, *out = nullptr, *scratch = nullptr;
  void resize() override {
    args.planes = in->channels;
    args.height = in->height, args.width = in->width;
    args.out_height = out->height, args.out_width = out->width;
  }
  void run(const Frame& frame) const override {
    float* const first = frame.arena + out->origin();
    std::fill_n(frame.arena + out->offset, out->lead, 0.0f);
    std::fill_n(first + out->channels * out->plane, out->tail, 0.0f);
    const int threads = frame.team->size();
    frame.team->run([&](int part) {  // planes of a thread
      const int64_t begin = args.planes * part / threads, end = args.planes * (part + 1) / threads;
      PoolArgs a = args;
      a.planes = end - begin;
      a.x = frame.arena + in->origin() + begin * a.x_plane;
      a.y = first + begin * a.y_plane;
      a.scratch = frame.arena + scratch->offset + part * 2 * a.span;
      std::fill_n(a.y, a.planes * a.y_plane, 0.0f);
      kernel(&a);
    });
  }
};

}  // namespace

int64_t pool_span(const Node& node, int64_t width, int64_t out_width) {
  if (node.op == Op::adaptive_avg_pool2d) return width + kAlign;
  const int64_t dilation = node.op == Op::max_pool2d ? node.dilation[1] : 1;
  return round_up(
      std::max(node.padding[1] + width, (out_width - 1) * node.stride[1] + (node.kernel[1] - 1) * dilation + 1) +
      kAlign);
}

std::unique_ptr<Step> make_pool(const Context& context, const Spec& spec, LayerInfo& info) {
  auto step = std::make_unique<PoolStep>();
  step->node = spec.node;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  step->scratch = &context.slot(spec.scratch);
  PoolArgs& a = step->args;
  const Slot &in = *step->in, &out = *step->out;
  a.x_plane = in.plane, a.x_row = in.row, a.y_plane = out.plane, a.y_row = out.row;
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
  step->resize();
  info.kernel = "pool";
  info.reason = "rows by vectors, then columns";
  return step;
}

}  // namespace gossamer
