// Operators that move, repeat or leave out elements.
#include <algorithm>
#include <cstring>

#include "pack_rows.h"
#include "strided.h"

namespace gossamer {
namespace {

struct ConcatStep final : Step {
  const KernelTable* kernels = nullptr;
  std::vector<const Slot*> in;
  const Slot* out = nullptr;
  size_t axis = 0;
  std::vector<Walk> walks;
  std::vector<int64_t> begins;
  void resize() override {
    int64_t begin = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      walks[i].clear();
      for (size_t a = 0; a < out->shape.size(); ++a) walks[i].add(in[i]->shape[a], in[i]->stride(a), out->stride(a));
      begins[i] = begin * out->stride(axis);
      begin += in[i]->shape[axis];
    }
  }
  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    for (int64_t e = 0; e < frame.count; ++e)
      for (size_t i = 0; i < in.size(); ++i)
        copy_strided(*kernels, at(frame, *in[i], e), at(frame, *out, e) + begins[i], walks[i]);
  }
};

struct PermuteStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  std::vector<size_t> order;
  Walk walk;
  void resize() override {
    walk.clear();
    for (size_t a = 0; a < order.size(); ++a) walk.add(out->shape[a], in->stride(order[a]), out->stride(a));
  }
  void run(const Frame& frame) const override {
    for (int64_t e = 0; e < frame.count; ++e) copy_strided(*kernels, at(frame, *in, e), at(frame, *out, e), walk);
  }
};

struct ConstantStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot* out = nullptr;
  std::vector<int64_t> most;  // the shape of the values: at the greatest length
  std::vector<float> values;
  Walk walk;
  void resize() override {
    walk.clear();
    int64_t step = static_cast<int64_t>(values.size());
    for (size_t a = 0; a < most.size(); ++a) {
      step /= most[a];
      walk.add(out->shape[a], step, out->stride(a));
    }
  }
  void run(const Frame& frame) const override {
    for (int64_t e = 0; e < frame.count; ++e) copy_strided(*kernels, values.data(), at(frame, *out, e), walk);
  }
};

// Where each element of an axis comes from.
using Sources = void (*)(const Node& node, size_t axis, int64_t in, int64_t out, int64_t* from);
constexpr int64_t kFill = -1;

void slice_sources(const Node& node, size_t axis, int64_t in, int64_t out, int64_t* from) {
  const bool mine = axis + 1 == static_cast<size_t>(node.axis);
  const int64_t start = !mine ? 0 : std::clamp<int64_t>(node.start < 0 ? node.start + in : node.start, 0, in);
  for (int64_t i = 0; i < out; ++i) from[i] = start + i * (mine ? node.step : 1);
}
void flip_sources(const Node& node, size_t axis, int64_t in, int64_t out, int64_t* from) {
  const bool mine = std::find(node.list.begin(), node.list.end(), static_cast<int64_t>(axis) + 1) != node.list.end();
  for (int64_t i = 0; i < out; ++i) from[i] = mine ? in - 1 - i : i;
}
void expand_sources(const Node&, size_t, int64_t in, int64_t out, int64_t* from) {
  for (int64_t i = 0; i < out; ++i) from[i] = in == 1 ? 0 : i;
}
void pad_sources(const Node& node, size_t axis, int64_t in, int64_t out, int64_t* from) {
  for (int64_t i = 0; i < out; ++i) {
    const int64_t at = i - node.list[axis];
    if (node.mode == 0)
      from[i] = at >= 0 && at < in ? at : kFill;
    else if (node.mode == 1)
      from[i] = at < 0 ? -at : at >= in ? 2 * (in - 1) - at : at;
    else
      from[i] = std::clamp<int64_t>(at, 0, in - 1);
  }
}
void nearest_sources(const Node& node, size_t axis, int64_t in, int64_t out, int64_t* from) {
  for (int64_t i = 0; i < out; ++i)
    from[i] =
        axis == 0 ? i : std::min<int64_t>(in - 1, static_cast<int64_t>(static_cast<double>(i) * node.scale2[axis - 1]));
}

// Every element of the output from one of the input, axis by axis, or a number.
struct MapStep final : Step {
  const Node* op = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  Sources sources = nullptr;
  std::vector<std::vector<int64_t>> tables;  // by axis of the output: floats into the input, or kFill
  int64_t run_begin = 0, run_end = 0;        // of the inner axis: elements that lie side by side in the input
  size_t inner = 0;

  void resize() override {
    const size_t rank = out->shape.size();
    inner = rank - 1;
    for (size_t a = 0; a < rank; ++a) {
      if (out->planar && out->axes[a].place == Place::column) inner = a;
      sources(*op, a, in->shape[a], out->shape[a], tables[a].data());
    }
    const std::vector<int64_t>& last = tables[inner];
    const int64_t n = out->shape[inner];
    run_begin = 0;
    while (run_begin < n && last[static_cast<size_t>(run_begin)] == kFill) ++run_begin;
    run_end = run_begin + (run_begin < n ? 1 : 0);
    while (run_end < n && last[static_cast<size_t>(run_end)] == last[static_cast<size_t>(run_end) - 1] + 1) ++run_end;
    if (in->stride(inner) != 1 || out->stride(inner) != 1) run_end = run_begin;
  }

  void line(const float* x, float* y) const {
    const int64_t n = out->shape[inner], x_step = in->stride(inner), y_step = out->stride(inner);
    const int64_t* from = tables[inner].data();
    const float fill = static_cast<float>(op->number[0]);
    const auto some = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i * y_step] = from[i] == kFill ? fill : x[from[i] * x_step];
    };
    some(0, run_begin);
    if (run_end > run_begin)
      std::memcpy(y + run_begin, x + from[run_begin], static_cast<size_t>(run_end - run_begin) * sizeof(float));
    some(run_end, n);
  }

  void axes(const float* x, float* y, size_t axis) const {  // x null: all of it is filled
    if (axis == inner) ++axis;
    if (axis >= out->shape.size()) {
      if (x != nullptr) return line(x, y);
      const int64_t y_step = out->stride(inner);
      for (int64_t i = 0; i < out->shape[inner]; ++i) y[i * y_step] = static_cast<float>(op->number[0]);
      return;
    }
    const int64_t x_step = in->stride(axis), y_step = out->stride(axis);
    for (int64_t i = 0; i < out->shape[axis]; ++i) {
      const int64_t from = tables[axis][static_cast<size_t>(i)];
      axes(x == nullptr || from == kFill ? nullptr : x + from * x_step, y + i * y_step, axis + 1);
    }
  }

  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    for (int64_t e = 0; e < frame.count; ++e) axes(at(frame, *in, e), at(frame, *out, e), 0);
  }
};

struct PixelShuffleStep final : Step {
  const Node* op = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    const int64_t fh = op->stride[0], fw = op->stride[1];
    for (int64_t c = 0; c < out->channels; ++c) {
      for (int64_t y = 0; y < out->height; ++y) {
        float* to = at(frame, *out) + c * out->plane + y * out->row;
        for (int64_t j = 0; j < fw; ++j) {
          const int64_t phase = y % fh * fw + j;
          const int64_t from_channel = op->mode == 0 ? c * fh * fw + phase : phase * out->channels + c;
          const float* from = at(frame, *in) + from_channel * in->plane + y / fh * in->row;
          for (int64_t x = 0; x < in->width; ++x) to[x * fw + j] = from[x];
        }
      }
    }
  }
};

struct BilinearStep final : Step {
  const Node* op = nullptr;
  const Slot *in = nullptr, *out = nullptr, *scratch = nullptr;
  struct Between {
    int64_t low = 0, high = 0;
    float share = 0;  // of high
  };
  std::vector<Between> rows, columns;
  void places(std::vector<Between>& list, int64_t from, int64_t to, double scale) const {
    for (int64_t i = 0; i < to; ++i) {
      const double at = op->align_corners ? static_cast<double>(i) * scale
                                          : std::max((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0);
      Between& b = list[static_cast<size_t>(i)];
      b.low = std::min(static_cast<int64_t>(at), from - 1);
      b.high = std::min(b.low + 1, from - 1);
      b.share = static_cast<float>(at - static_cast<double>(b.low));
    }
  }
  void resize() override {
    places(rows, in->height, out->height, op->scale2[0]);
    places(columns, in->width, out->width, op->scale2[1]);
  }
  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    float* line = frame.arena + scratch->offset;
    for (int64_t c = 0; c < out->channels; ++c) {
      for (int64_t y = 0; y < out->height; ++y) {
        const Between& r = rows[static_cast<size_t>(y)];
        const float* low = at(frame, *in) + c * in->plane + r.low * in->row;
        const float* high = at(frame, *in) + c * in->plane + r.high * in->row;
        for (int64_t x = 0; x < in->width; ++x) line[x] = low[x] * (1 - r.share) + high[x] * r.share;
        float* to = at(frame, *out) + c * out->plane + y * out->row;
        for (int64_t x = 0; x < out->width; ++x) {
          const Between& k = columns[static_cast<size_t>(x)];
          to[x] = line[k.low] * (1 - k.share) + line[k.high] * k.share;
        }
      }
    }
  }
};

std::unique_ptr<Step> make_map(const Context& context, const Spec& spec, Sources sources) {
  auto step = std::make_unique<MapStep>();
  step->op = &context.net.nodes[static_cast<size_t>(spec.node)];
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  step->sources = sources;
  for (int64_t size : step->out->shape) {
    context.budget.take(size, 8, "a table of places");
    step->tables.emplace_back(static_cast<size_t>(size));
  }
  step->resize();
  return step;
}

std::unique_ptr<Step> make_concat(const Context& context, const Spec& spec, const Node& node) {
  auto step = std::make_unique<ConcatStep>();
  step->kernels = &context.kernels;
  for (int in : spec.in) step->in.push_back(&context.slot(in));
  step->out = &context.slot(spec.out);
  step->axis = static_cast<size_t>(node.axis) - 1;
  step->walks.resize(step->in.size());
  step->begins.resize(step->in.size());
  step->resize();
  return step;
}

std::unique_ptr<Step> make_permute(const Context& context, const Spec& spec, const Node& node) {
  auto step = std::make_unique<PermuteStep>();
  step->kernels = &context.kernels;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  for (int64_t axis : node.list) step->order.push_back(static_cast<size_t>(axis) - 1);
  step->resize();
  return step;
}

std::unique_ptr<Step> make_constant(const Context& context, const Spec& spec, const Node& node) {
  auto step = std::make_unique<ConstantStep>();
  step->kernels = &context.kernels;
  step->out = &context.slot(spec.out);
  step->most = step->out->shape;
  step->values = optional_vector(context.net, node.weight, context.budget);
  step->resize();
  return step;
}

std::unique_ptr<Step> make_bilinear(const Context& context, const Spec& spec, const Node& node) {
  auto step = std::make_unique<BilinearStep>();
  step->op = &node;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  step->scratch = &context.slot(spec.scratch);
  context.budget.take(step->out->height + step->out->width, sizeof(BilinearStep::Between), "a table of places");
  step->rows.resize(static_cast<size_t>(step->out->height));
  step->columns.resize(static_cast<size_t>(step->out->width));
  step->resize();
  return step;
}

}  // namespace

std::unique_ptr<Step> make_shape(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  info.kernel = "copy";
  info.reason = context.slot(spec.out).planar ? "on padded planes" : "on plain rows";
  std::unique_ptr<Step> step;
  switch (node.op) {
    case Op::concat: step = make_concat(context, spec, node); break;
    case Op::permute: step = make_permute(context, spec, node); break;
    case Op::slice: step = make_map(context, spec, slice_sources); break;
    case Op::flip: step = make_map(context, spec, flip_sources); break;
    case Op::expand: step = make_map(context, spec, expand_sources); break;
    case Op::pad: step = make_map(context, spec, pad_sources); break;
    case Op::constant:
      info.bytes = context.net.weights[static_cast<size_t>(node.weight)].shape[0] * 4;
      weight_bytes += static_cast<size_t>(info.bytes);
      step = make_constant(context, spec, node);
      break;
    case Op::upsample:
      step = node.mode == 0 ? make_map(context, spec, nearest_sources) : make_bilinear(context, spec, node);
      break;
    default: {
      auto shuffle = std::make_unique<PixelShuffleStep>();
      shuffle->op = &node;
      shuffle->in = &context.slot(spec.in[0]);
      shuffle->out = &context.slot(spec.out);
      step = std::move(shuffle);
    }
  }
  step->node = spec.node;
  return step;
}

}  // namespace gossamer
