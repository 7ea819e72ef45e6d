// Functions of one, two and three values, broadcasting, in whatever layouts they lie.
#include <algorithm>
#include <limits>

#include "strided.h"

namespace gossamer {
namespace {

constexpr int64_t kLeastShared = 32768;  // elements from which on threads share a step; waking one costs microseconds
constexpr float kInfinity = std::numeric_limits<float>::infinity();

int unary_code(const Node& node) {
  switch (node.op) {
    case Op::relu: return kRelu;
    case Op::relu6: return kRelu6;
    case Op::silu: return kSilu;
    case Op::sigmoid: return kSigmoid;
    case Op::gelu: return node.gelu_tanh ? static_cast<int>(kGeluTanh) : static_cast<int>(kGelu);
    case Op::tanh: return kTanh;
    case Op::exp: return kExp;
    case Op::log: return kLog;
    case Op::sqrt: return kSqrt;
    case Op::rsqrt: return kRsqrt;
    case Op::abs: return kAbs;
    case Op::neg: return kNeg;
    case Op::erf: return kErf;
    case Op::sin: return kSin;
    case Op::cos: return kCos;
    case Op::floor: return kFloor;
    case Op::sign: return kSign;
    case Op::hardswish: return kHardswish;
    case Op::hardsigmoid: return kHardsigmoid;
    case Op::mish: return kMish;
    case Op::leaky_relu: return kLeakyRelu;
    case Op::elu: return kElu;
    case Op::softplus: return kSoftplus;
    case Op::clamp: return kClamp;
    case Op::affine: return kAffine;
    default: return kPower;
  }
}

int binary_code(Op op) {
  switch (op) {
    case Op::add: return kAdd;
    case Op::sub: return kSub;
    case Op::mul: return kMul;
    case Op::div: return kDiv;
    case Op::maximum: return kMaximum;
    case Op::minimum: return kMinimum;
    case Op::equal: return kEqual;
    case Op::not_equal: return kNotEqual;
    case Op::less: return kLess;
    default: return kLessEqual;
  }
}

struct ElementwiseStep final : Step {
  const KernelTable* kernels = nullptr;
  std::vector<const Slot*> in;
  const Slot* out = nullptr;
  int code = 0;
  float numbers[2] = {0, 0}, lo = -kInfinity, hi = kInfinity;
  Walk walk;  // array 0: out; then the operands

  void resize() override {
    walk.clear();
    for (size_t a = 0; a < out->shape.size(); ++a) {
      int64_t step[3] = {0, 0, 0};
      for (size_t k = 0; k < in.size(); ++k) step[k] = in[k]->shape[a] == 1 ? 0 : in[k]->stride(a);
      walk.add(out->shape[a], out->stride(a), step[0], step[1], step[2]);
    }
    walk.order_by(0);
    walk.merge();
    bool runs = walk.inner_step(0) == 1;
    for (int k = 1; k < 4; ++k) runs = runs && (walk.inner_step(k) == 0 || walk.inner_step(k) == 1);
    if (runs) return;
    walk.size[walk.rank] = 1;  // runs of one where elements lie apart (single columns)
    for (auto& steps : walk.step) steps[walk.rank] = 1;
    ++walk.rank;
  }

  // f(offsets, n) at every run of elements, shared among the threads: by the outermost axis where it has enough, else
  // by whole vectors of the innermost one.
  template <typename F>
  void each_run(const Frame& frame, F f) const {
    const int threads = frame.team->size();
    if (threads == 1 || out->elements < kLeastShared) return walk.runs([&](const int64_t* o) { f(o, walk.inner()); });
    const bool outer = walk.rank > 1 && walk.size[0] >= threads;
    const int axis = outer ? 0 : walk.rank - 1;
    const int64_t unit = outer ? 1 : kAlign, pieces = (walk.size[axis] + unit - 1) / unit;
    frame.team->run([&](int part) {
      const int64_t begin = pieces * part / threads * unit,
                    end = std::min(walk.size[axis], pieces * (part + 1) / threads * unit);
      if (begin >= end) return;
      Walk own = walk;
      own.size[axis] = end - begin;
      own.runs([&](const int64_t* o) {
        int64_t from[4];
        for (int k = 0; k < 4; ++k) from[k] = o[k] + begin * walk.step[k][axis];
        f(from, own.inner());
      });
    });
  }

  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    for (int64_t e = 0; e < frame.count; ++e) {
      float* y = at(frame, *out, e);
      const float* a = at(frame, *in[0], e);
      const int a_step = static_cast<int>(walk.inner_step(1));
      if (in.size() == 1) {
        each_run(frame, [&](const int64_t* o, int64_t n) { kernels->unary(code, a + o[1], y + o[0], n, numbers); });
        continue;
      }
      const float* b = at(frame, *in[1], e);
      const int b_step = static_cast<int>(walk.inner_step(2));
      if (in.size() == 3) {
        const float* c = at(frame, *in[2], e);
        const int c_step = static_cast<int>(walk.inner_step(3));
        each_run(frame, [&](const int64_t* o, int64_t n) {
          kernels->select(a + o[1], a_step, b + o[2], b_step, c + o[3], c_step, y + o[0], n);
        });
      } else if (code == kAdd && a_step == 1 && b_step == 1) {
        each_run(frame, [&](const int64_t* o, int64_t n) { kernels->add(a + o[1], b + o[2], y + o[0], n, lo, hi); });
      } else {
        each_run(frame, [&](const int64_t* o, int64_t n) {
          kernels->binary(code, a + o[1], a_step, b + o[2], b_step, y + o[0], n);
        });
      }
    }
  }
};

}  // namespace

std::unique_ptr<Step> make_elementwise(const Context& context, const Spec& spec, LayerInfo& info) {
  auto step = std::make_unique<ElementwiseStep>();
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  step->node = spec.node;
  step->kernels = &context.kernels;
  for (int in : spec.in) step->in.push_back(&context.slot(in));
  step->out = &context.slot(spec.out);
  step->lo = spec.lo;
  step->hi = spec.hi;
  for (int i = 0; i < 2; ++i) step->numbers[i] = static_cast<float>(node.number[i]);
  step->code = step->in.size() == 1 ? unary_code(node) : binary_code(node.op);
  step->resize();
  info.kernel = "pointwise";
  info.reason = step->out->planar ? "on padded planes" : "on plain rows";
  return step;
}

}  // namespace gossamer
