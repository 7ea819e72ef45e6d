// Copies between the caller's arrays and the arena, and between layouts.
#include <cmath>
#include <cstring>

#include "strided.h"

namespace gossamer {
namespace {

constexpr int64_t kMostWhole = int64_t{1} << 24;  // integers that float32 holds exactly

struct CopyStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr;
  Walk walk;
  void resize() override {
    walk.clear();
    for (size_t a = 0; a < in->shape.size(); ++a) walk.add(in->shape[a], in->stride(a), out->stride(a));
  }
  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    for (int64_t e = 0; e < frame.count; ++e) copy_strided(*kernels, at(frame, *in, e), at(frame, *out, e), walk);
  }
};

struct InputStep final : Step {
  const Slot* out = nullptr;
  int port = 0;
  InputType type = InputType::f32;
  std::string name;
  void run(const Frame& frame) const override {
    const int64_t begin = frame.example * out->elements, count = out->elements * frame.count;
    float* to = frame.arena + out->offset;
    if (type == InputType::f32) {
      std::memcpy(to, static_cast<const float*>(frame.inputs[port]) + begin,
                  static_cast<size_t>(count) * sizeof(float));
      return;
    }
    const int64_t* from = static_cast<const int64_t*>(frame.inputs[port]) + begin;
    for (int64_t i = 0; i < count; ++i) {
      if (from[i] > kMostWhole || from[i] < -kMostWhole)
        throw Error{Error::Kind::argument, "input '" + name + "': expected integers of magnitude at most 2^24, got " +
                                               std::to_string(from[i])};
      to[i] = static_cast<float>(from[i]);
    }
  }
};

struct OutputStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot* in = nullptr;
  int port = 0;
  Walk walk;
  void resize() override {
    walk.clear();
    int64_t step = in->elements;
    for (size_t a = 0; a < in->shape.size(); ++a) {
      step /= in->shape[a];
      walk.add(in->shape[a], in->stride(a), step);
    }
  }
  void run(const Frame& frame) const override {
    float* to = frame.outputs[port] + frame.example * in->elements;
    for (int64_t e = 0; e < frame.count; ++e, to += in->elements) copy_strided(*kernels, at(frame, *in, e), to, walk);
  }
};

// The same planes with their lanes in other rows.
struct RegroupStep final : Step {
  const Slot *in = nullptr, *out = nullptr;
  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    const int64_t lanes = in->height * in->width;
    for (int64_t c = 0; c < in->channels; ++c) {
      const float* from = at(frame, *in) + c * in->plane;
      float* to = at(frame, *out) + c * out->plane;
      for (int64_t done = 0; done < lanes;) {
        const int64_t x = done % in->width, y = done % out->width, n = std::min(in->width - x, out->width - y);
        std::memcpy(to + done / out->width * out->row + y, from + done / in->width * in->row + x,
                    static_cast<size_t>(n) * sizeof(float));
        done += n;
      }
    }
  }
};

}  // namespace

std::unique_ptr<Step> make_copy(const Context& context, const Spec& spec) {
  switch (spec.what) {
    case Do::input: {
      auto step = std::make_unique<InputStep>();
      step->out = &context.slot(spec.out);
      step->port = spec.port;
      const size_t port = static_cast<size_t>(spec.port);
      if (port < context.net.input_types.size()) step->type = context.net.input_types[port];
      step->name = context.net.values[static_cast<size_t>(context.net.inputs[port])].name;
      return step;
    }
    case Do::output: {
      auto step = std::make_unique<OutputStep>();
      step->kernels = &context.kernels;
      step->in = &context.slot(spec.in[0]);
      step->port = spec.port;
      step->resize();
      return step;
    }
    case Do::regroup: {
      auto step = std::make_unique<RegroupStep>();
      step->node = spec.node;
      step->in = &context.slot(spec.in[0]);
      step->out = &context.slot(spec.out);
      return step;
    }
    default: {
      auto step = std::make_unique<CopyStep>();
      step->kernels = &context.kernels;
      step->in = &context.slot(spec.in[0]);
      step->out = &context.slot(spec.out);
      step->resize();
      return step;
    }
  }
}

}  // namespace gossamer
