// Sums and extremes along axes, the place of the greatest, running sums.
#include <algorithm>
#include <cstring>
#include <limits>

#include "strided.h"

namespace gossamer {
namespace {

struct ReduceStep final : Step {  // any layout -> plain
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  std::vector<bool> gone;  // by axis
  int fold = kSum;
  bool mean = false;
  Walk walk;  // array 0: in, array 1: out (a step of 0 along what is reduced)

  void resize() override {
    walk.clear();
    int64_t step = 1, steps[kMostAxes];
    for (size_t a = in->shape.size(); a-- > 0;) {
      steps[a] = gone[a] ? 0 : step;
      step *= gone[a] ? 1 : in->shape[a];
    }
    for (size_t a = 0; a < in->shape.size(); ++a) walk.add(in->shape[a], in->stride(a), steps[a]);
    walk.order_by(0);
    walk.merge();
  }

  void run(const Frame& frame) const override {
    const float first = fold == kSum   ? 0.0f
                        : fold == kMax ? -std::numeric_limits<float>::infinity()
                                       : std::numeric_limits<float>::infinity();
    for (int64_t e = 0; e < frame.count; ++e) {
      const float* x = at(frame, *in, e);
      float* y = at(frame, *out, e);
      std::fill_n(y, out->elements, first);
      const int64_t n = walk.inner(), x_step = walk.inner_step(0), y_step = walk.inner_step(1);
      walk.runs([&](const int64_t* o) {
        if (x_step == 1 && y_step == 0) {
          const float one = kernels->fold(fold, x + o[0], n);
          kernels->combine(fold, &one, y + o[1], 1);
        } else if (x_step == 1 && y_step == 1) {
          kernels->combine(fold, x + o[0], y + o[1], n);
        } else {
          for (int64_t i = 0; i < n; ++i) kernels->combine(fold, x + o[0] + i * x_step, y + o[1] + i * y_step, 1);
        }
      });
      if (mean) kernels->affine(y, y, out->elements, factor(), 0.0f, nullptr);
    }
  }
  float factor() const {
    int64_t count = 1;
    for (size_t a = 0; a < gone.size(); ++a) count *= gone[a] ? in->shape[a] : 1;
    return 1.0f / static_cast<float>(count);
  }
};

struct AlongStep final : Step {  // argmax, cumsum: plain
  const Slot *in = nullptr, *out = nullptr;
  size_t axis = 0;
  bool sum = false;
  void run(const Frame& frame) const override {
    int64_t outer = frame.count, inner = 1;
    for (size_t a = 0; a < in->shape.size(); ++a) (a < axis ? outer : inner) *= a == axis ? 1 : in->shape[a];
    const int64_t n = in->shape[axis];
    const float* x = at(frame, *in);
    float* y = at(frame, *out);
    for (int64_t o = 0; o < outer; ++o, x += n * inner, y += sum ? n * inner : inner) {
      for (int64_t i = 0; i < inner; ++i) {
        if (sum)
          running_sum(x + i, y + i, n, inner);
        else
          y[i] = static_cast<float>(greatest(x + i, n, inner));
      }
    }
  }
  static void running_sum(const float* x, float* y, int64_t n, int64_t step) {
    double total = 0;
    for (int64_t k = 0; k < n; ++k) y[k * step] = static_cast<float>(total += static_cast<double>(x[k * step]));
  }
  static int64_t greatest(const float* x, int64_t n, int64_t step) {
    int64_t best = 0;
    for (int64_t k = 1; k < n && x[best * step] == x[best * step]; ++k)
      if (!(x[k * step] <= x[best * step])) best = k;
    return best;
  }
};

}  // namespace

std::unique_ptr<Step> make_reduction(const Context& context, const Spec& spec, LayerInfo& info) {
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  info.kernel = "reduce";
  const Slot &in = context.slot(spec.in[0]), &out = context.slot(spec.out);
  info.reason = in.planar ? "on padded planes" : "on plain rows";
  if (node.op == Op::argmax || node.op == Op::cumsum) {
    auto step = std::make_unique<AlongStep>();
    step->node = spec.node;
    step->in = &in;
    step->out = &out;
    step->axis = static_cast<size_t>(node.axis) - 1;
    step->sum = node.op == Op::cumsum;
    return step;
  }
  auto step = std::make_unique<ReduceStep>();
  step->node = spec.node;
  step->kernels = &context.kernels;
  step->in = &in;
  step->out = &out;
  step->gone.assign(in.shape.size(), false);
  for (int64_t axis : node.list) step->gone[static_cast<size_t>(axis) - 1] = true;
  step->fold = node.op == Op::max ? kMax : node.op == Op::min ? kMin : kSum;
  step->mean = node.op == Op::mean;
  step->resize();
  return step;
}

}  // namespace gossamer
