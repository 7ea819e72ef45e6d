// From a network to a program: the passes in their order.
#include "planner.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <numeric>
#include <optional>

#include "tuner.h"

namespace gossamer {
namespace {

// Examples a round where there are no planes: two vectors of the widest set. A 1024-1024-1024 network at 90 %, batch 64
// (AVX-512): 38 GFLOP/s with 16, 48 with 32, 45 with 64.
constexpr int64_t kChunk = 32;

class Planner {
 public:
  Planner(const Network& net, const KernelTable& kernels, const PlanOptions& options, Team& team, Budget& budget)
      : net_(net), kernels_(kernels), options_(options), team_(team), budget_(budget) {}

  Program plan() {
    const FreeDims free = free_dims(net_);
    program_.length = free.length < 0 ? 0 : net_.dims[static_cast<size_t>(free.length)].max;
    const int64_t least = free.length < 0 ? 0 : net_.dims[static_cast<size_t>(free.length)].min;
    shapes_ = example_shapes(net_, program_.length);
    find_components();
    describe_nodes();
    const Fusions fusions = find_fusions(net_, shapes_, example_shapes(net_, least));
    specs_ = lower(net_, kernels_, options_, budget_, fusions, program_);
    find_led(net_, program_, specs_);
    lifetimes();
    plan_rows(net_, program_.slots, specs_, budget_);
    share_residuals(program_.slots, specs_);
    program_.arena_floats = place_slots(program_.slots, budget_);
    make_steps(fusions);
    return std::move(program_);
  }

 private:
  const Node& node(int i) const { return net_.nodes[static_cast<size_t>(i)]; }
  Slot& slot(int i) { return program_.slots[static_cast<size_t>(i)]; }

  void find_components() {
    std::vector<int> parent(net_.values.size());
    std::iota(parent.begin(), parent.end(), 0);
    const auto find = [&](int v) {
      while (parent[static_cast<size_t>(v)] != v)
        v = parent[static_cast<size_t>(v)] = parent[static_cast<size_t>(parent[static_cast<size_t>(v)])];
      return v;
    };
    for (const Node& n : net_.nodes) {
      for (int in : n.inputs) parent[static_cast<size_t>(find(in))] = find(n.output);
      for (int out : n.more_outputs) parent[static_cast<size_t>(find(out))] = find(n.output);
    }
    std::map<int, int> index;
    for (size_t v = 0; v < net_.values.size(); ++v) {
      const int root = find(static_cast<int>(v));
      if (index.emplace(root, static_cast<int>(index.size())).second) {
        Component component;
        component.chunk = kChunk;
        program_.components.push_back(component);
      }
      program_.component_of.push_back(index[root]);
    }
    for (int input : net_.inputs)  // every part has an input, whose first size is its batch
      component(input).batch = net_.values[static_cast<size_t>(input)].shape[0];
    for (const Node& n : net_.nodes) {
      int64_t& chunk = component(n.output).chunk;
      if (n.op == Op::lstm || n.op == Op::gru) chunk = std::min(chunk, recurrent_examples());
      if (one_by_one(n)) chunk = 1;
    }
    for (Component& c : program_.components) {
      int64_t most = c.batch.size;
      if (c.batch.symbol >= 0) {
        most = net_.dims[static_cast<size_t>(c.batch.symbol)].max;
        if (options_.max_batch > 0) most = std::min(most, options_.max_batch);
      }
      c.chunk = std::max<int64_t>(1, std::min(c.chunk, most));
    }
  }
  Component& component(int value) {
    return program_.components[static_cast<size_t>(program_.component_of[static_cast<size_t>(value)])];
  }

  bool one_by_one(const Node& n) const {  // planes hold one example
    switch (n.op) {
      case Op::conv2d:
      case Op::max_pool2d:
      case Op::avg_pool2d:
      case Op::adaptive_avg_pool2d:
      case Op::pixel_shuffle:
      case Op::upsample:
      case Op::attention: return true;
      default: return on_lanes(net_, n, shapes_[static_cast<size_t>(n.inputs[0])]);
    }
  }

  void describe_nodes() {
    for (const Node& n : net_.nodes) {
      LayerInfo info;
      info.name = n.name;
      info.op = n.op_name;
      program_.layers.push_back(info);
    }
  }

  void lifetimes() {
    for (size_t i = 0; i < specs_.size(); ++i) {
      const int begin = static_cast<int>(i) - (specs_[i].led ? 1 : 0);  // it runs while the one before does
      const auto touch = [&](int s) {
        if (s < 0) return;
        Slot& owner = slot(slot(s).owner >= 0 ? slot(s).owner : s);
        if (owner.first < 0) owner.first = begin;
        owner.last = static_cast<int>(i);
      };
      for (int in : specs_[i].in) touch(in);
      touch(specs_[i].residual);
      touch(specs_[i].scratch);
      touch(specs_[i].out);
      for (int out : specs_[i].more_out) touch(out);
    }
  }

  void make_steps(const Fusions& fusions) {
    std::optional<Tuner> tuner;
    if (options_.tune) tuner.emplace(net_, kernels_, team_, program_.arena_floats);
    for (const Component& component : program_.components) {
      for (int i = component.begin; i < component.end; ++i) {
        const Spec& spec = specs_[static_cast<size_t>(i)];
        Context context{net_, kernels_, program_.slots, budget_};
        context.threads = options_.threads;
        context.chunk = component.chunk;
        context.tuner = tuner ? &*tuner : nullptr;
        context.candidate = options_.candidate;
        program_.steps.push_back(make_step(context, spec));
        if (!spec.led) continue;
        const auto& steps = program_.steps;
        if (run_behind(*steps[steps.size() - 2], *steps.back()))
          program_.layers[static_cast<size_t>(spec.node)].reason +=
              "; tile by tile behind " + node(specs_[static_cast<size_t>(i) - 1].node).name;
      }
    }
    if (tuner) {
      tuner->save();
      program_.remarks = tuner->remarks();
    }
    for (size_t i = 0; i < fusions.head.size(); ++i) {
      if (fusions.head[i] == static_cast<int>(i)) continue;
      const std::string& name = node(fusions.head[i]).name;
      program_.layers[i].kernel = "fused:" + name;
      program_.layers[i].reason = "runs in the epilogue of " + name;
    }
  }

  std::unique_ptr<Step> make_step(const Context& context, const Spec& spec) {
    if (spec.node < 0) return make_copy(context, spec);
    LayerInfo& info = program_.layers[static_cast<size_t>(spec.node)];
    size_t& bytes = program_.weight_bytes;
    if (spec.what == Do::regroup) {
      info.kernel = "copy";
      info.reason = "rows and columns of every plane put anew";
      return make_copy(context, spec);
    }
    switch (node(spec.node).op) {
      case Op::conv2d: return make_conv(context, spec, info, bytes);
      case Op::linear:
        return context.slot(spec.out).planar ? make_conv(context, spec, info, bytes)
                                             : make_linear(context, spec, info, bytes);
      case Op::max_pool2d:
      case Op::avg_pool2d:
      case Op::adaptive_avg_pool2d: return make_pool(context, spec, info);
      case Op::channel_affine:
      case Op::layer_norm:
      case Op::rms_norm:
      case Op::group_norm:
      case Op::softmax: return make_norm(context, spec, info, bytes);
      case Op::mean:
      case Op::sum:
      case Op::max:
      case Op::min:
      case Op::argmax:
      case Op::cumsum: return make_reduction(context, spec, info);
      case Op::concat:
      case Op::slice:
      case Op::expand:
      case Op::pad:
      case Op::flip:
      case Op::permute:
      case Op::constant:
      case Op::pixel_shuffle:
      case Op::upsample: return make_shape(context, spec, info, bytes);
      case Op::matmul: return make_matmul(context, spec, info);
      case Op::attention: return make_attention(context, spec, info);
      case Op::embedding: return make_embedding(context, spec, info, bytes);
      case Op::lstm:
      case Op::gru: return make_recurrent(context, spec, info, bytes);
      default: return make_elementwise(context, spec, info);
    }
  }

  const Network& net_;
  const KernelTable& kernels_;
  const PlanOptions& options_;
  Team& team_;
  Budget& budget_;
  Program program_;
  std::vector<Spec> specs_;
  std::vector<std::vector<int64_t>> shapes_;
};

}  // namespace

Program plan_network(const Network& net, const KernelTable& kernels, const PlanOptions& options, Team& team,
                     Budget& budget) {
  assert(kAlign % kernels.lanes == 0);  // whole vectors stay inside of slots and planes
  return Planner(net, kernels, options, team, budget).plan();
}

}  // namespace gossamer
