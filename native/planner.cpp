// From nodes to steps: what is fused, in which layout every value lives, which copies lie between, which kernel each
// layer gets.
#include "planner.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <map>
#include <numeric>

namespace gossamer {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Examples a round where there are no planes: two vectors of the widest set. A 1024-1024-1024 network at 90 %, batch 64
// (AVX-512): 38 GFLOP/s with 16, 48 with 32, 45 with 64.
constexpr int64_t kChunk = 32;

// What packed files may hold and this planner does not plan.
void check_runs(const Network& net) {
  const auto refuse = [](const std::string& what) {
    throw Error{Error::Kind::plan, what + ": the native engine does not run this yet; load with engine='reference'"};
  };
  if (net.length >= 0) refuse("a free length");
  if (!net.states.empty()) refuse("states");
  for (InputType type : net.input_types)
    if (type != InputType::f32) refuse("an input of integers");
  const auto sizes = [&](int value) {
    std::vector<int64_t> out;
    for (const Dim& dim : net.values[static_cast<size_t>(value)].shape) out.push_back(dim.size);
    return out;
  };
  for (const Node& node : net.nodes) {
    const bool repeats = node.op == Op::add && sizes(node.inputs[0]) != sizes(node.inputs[1]);
    if (node.op > Op::flatten || repeats) refuse("node '" + node.name + "' (" + node.op_name + ")");
  }
}

class Planner {
 public:
  Planner(const Network& net, const KernelTable& kernels, const PlanOptions& options, Budget& budget)
      : net_(net), kernels_(kernels), options_(options), budget_(budget) {}

  Program plan() {
    check_runs(net_);
    find_shapes();
    find_components();
    find_fusions();
    for (size_t c = 0; c < program_.components.size(); ++c) lower(static_cast<int>(c));
    lifetimes();
    plan_rows(net_, program_.slots, specs_, budget_);
    share_residuals(program_.slots, specs_);
    program_.arena_floats = place_slots(program_.slots, budget_);
    make_steps();
    return std::move(program_);
  }

 private:
  struct Chain {  // a convolution or linear layer with what follows it in the same kernel
    int add = -1, activation = -1, residual = -1;
    int last() const { return activation >= 0 ? activation : add; }
  };

  const Node& node(int i) const { return net_.nodes[static_cast<size_t>(i)]; }
  Slot& slot(int i) { return program_.slots[static_cast<size_t>(i)]; }

  void find_shapes() {
    std::vector<int64_t> dims;
    for (const FreeDim& dim : net_.dims) dims.push_back(dim.min);
    shapes_ = infer_shapes(net_, dims);
    for (auto& shape : shapes_) shape.erase(shape.begin());  // of one example
  }

  void find_components() {
    std::vector<int> parent(net_.values.size());
    std::iota(parent.begin(), parent.end(), 0);
    const auto find = [&](int v) {
      while (parent[static_cast<size_t>(v)] != v)
        v = parent[static_cast<size_t>(v)] = parent[static_cast<size_t>(parent[static_cast<size_t>(v)])];
      return v;
    };
    for (const Node& n : net_.nodes)
      for (int in : n.inputs) parent[static_cast<size_t>(find(in))] = find(n.output);
    std::map<int, int> index;
    for (size_t v = 0; v < net_.values.size(); ++v) {
      const int root = find(static_cast<int>(v));
      if (index.emplace(root, static_cast<int>(index.size())).second) {
        Component component;
        component.batch = net_.values[v].shape[0];
        component.chunk = kChunk;
        program_.components.push_back(component);
      }
      component_of_.push_back(index[root]);
    }
    // By component and by value, because 65,536 nodes in as many components must not be searched again for each.
    inputs_of_.resize(program_.components.size());
    nodes_of_.resize(program_.components.size());
    ports_of_.resize(net_.values.size());
    for (size_t i = 0; i < net_.inputs.size(); ++i)
      inputs_of_[static_cast<size_t>(component_of_[static_cast<size_t>(net_.inputs[i])])].push_back(
          static_cast<int>(i));
    for (size_t i = 0; i < net_.nodes.size(); ++i)
      nodes_of_[static_cast<size_t>(component_of_[static_cast<size_t>(node(static_cast<int>(i)).output)])].push_back(
          static_cast<int>(i));
    for (size_t i = 0; i < net_.outputs.size(); ++i)
      ports_of_[static_cast<size_t>(net_.outputs[i].second)].push_back(static_cast<int>(i));
    for (const Node& n : net_.nodes)
      if (is_spatial(n))
        program_.components[static_cast<size_t>(component_of_[static_cast<size_t>(n.output)])].chunk = 1;
    for (Component& component : program_.components) {
      int64_t most = component.batch.size;
      if (component.batch.symbol >= 0) {
        most = net_.dims[static_cast<size_t>(component.batch.symbol)].max;
        if (options_.max_batch > 0) most = std::min(most, options_.max_batch);
      }
      component.chunk = std::max<int64_t>(1, std::min(component.chunk, most));
    }
  }

  static bool is_spatial(const Node& n) {
    return n.op == Op::conv2d || n.op == Op::max_pool2d || n.op == Op::avg_pool2d || n.op == Op::adaptive_avg_pool2d;
  }

  void find_fusions() {
    const size_t count = net_.nodes.size();
    consumers_.resize(net_.values.size());
    for (size_t i = 0; i < count; ++i)
      for (int in : net_.nodes[i].inputs) consumers_[static_cast<size_t>(in)].push_back(static_cast<int>(i));
    std::vector<bool> is_output(net_.values.size(), false);
    for (const auto& output : net_.outputs) is_output[static_cast<size_t>(output.second)] = true;
    std::vector<int> made_by(net_.values.size(), -1);
    for (size_t i = 0; i < count; ++i) made_by[static_cast<size_t>(net_.nodes[i].output)] = static_cast<int>(i);
    chains_.resize(count);
    head_.resize(count);
    std::iota(head_.begin(), head_.end(), 0);
    // From the last node to the first: of two convolutions that meet in an add the later one takes it, and runs where
    // it stands.
    for (size_t at = count; at-- > 0;) {
      const Node& n = net_.nodes[at];
      if (n.op != Op::conv2d && n.op != Op::linear && n.op != Op::add) continue;
      if (head_[at] != static_cast<int>(at)) continue;
      Chain& chain = chains_[at];
      const auto follower = [&](int value) {
        const auto& list = consumers_[static_cast<size_t>(value)];
        return list.size() == 1 && !is_output[static_cast<size_t>(value)] ? list[0] : -1;
      };
      int next = follower(n.output);
      if (n.op == Op::conv2d && next >= 0 && node(next).op == Op::add && head_[static_cast<size_t>(next)] == next &&
          node(next).inputs[0] != node(next).inputs[1]) {
        chain.add = next;
        chain.residual = node(next).inputs[0] == n.output ? node(next).inputs[1] : node(next).inputs[0];
        head_[static_cast<size_t>(next)] = static_cast<int>(at);
        chain.activation = chains_[static_cast<size_t>(next)].activation;  // the add had its own
        if (chain.activation >= 0) head_[static_cast<size_t>(chain.activation)] = static_cast<int>(at);
        continue;
      }
      if (next >= 0 && (node(next).op == Op::relu || node(next).op == Op::relu6)) {
        chain.activation = next;
        head_[static_cast<size_t>(next)] = static_cast<int>(at);
      }
    }
  }

  int new_slot(const std::vector<int64_t>& shape, bool planar) {
    Slot s;
    s.shape = shape;
    s.elements = 1;
    for (int64_t size : shape) s.elements = budget_.product({s.elements, size}, "a value");
    s.planar = planar;
    if (planar) {
      s.channels = shape[0];
      s.height = shape[1];
      s.width = shape[2];
    } else {
      s.floats = budget_.product({s.elements, program_.components[static_cast<size_t>(component_)].chunk}, "a value");
    }
    program_.slots.push_back(s);
    return static_cast<int>(program_.slots.size()) - 1;
  }

  // The slot of a value in the layout that is asked for; a copy is planned where it lives in the other.
  int slot_of(int value, bool planar) {
    int& home = slots_of_[planar ? 1 : 0][value];
    if (home > 0) return home - 1;
    const int other = slots_of_[planar ? 0 : 1][value] - 1;
    Spec copy;
    copy.what = planar ? Do::to_planar : Do::to_plain;
    copy.in = {other};
    copy.out = new_slot(shapes_[static_cast<size_t>(value)], planar);
    home = copy.out + 1;
    specs_.push_back(copy);
    return copy.out;
  }
  bool lives_planar(int value) { return slots_of_[1].count(value) != 0 && slots_of_[1][value] > 0; }
  int define(int value, bool planar) {
    const int s = new_slot(shapes_[static_cast<size_t>(value)], planar);
    slots_of_[planar ? 1 : 0][value] = s + 1;
    return s;
  }

  void emit_outputs(int value) {
    for (int port : ports_of_[static_cast<size_t>(value)]) {
      Spec spec;
      spec.what = Do::output;
      spec.port = port;
      spec.in = {lives_planar(value) ? slot_of(value, true) : slot_of(value, false)};
      specs_.push_back(spec);
    }
  }

  void lower(int component) {
    component_ = component;
    Component& c = program_.components[static_cast<size_t>(component)];
    c.begin = static_cast<int>(specs_.size());
    for (int port : inputs_of_[static_cast<size_t>(component)]) {
      const int value = net_.inputs[static_cast<size_t>(port)];
      Spec spec;
      spec.what = Do::input;
      spec.port = port;
      spec.out = define(value, false);
      specs_.push_back(spec);
      emit_outputs(value);
    }
    for (int i : nodes_of_[static_cast<size_t>(component)]) {
      const int head = head_[static_cast<size_t>(i)];
      const int last = chains_[static_cast<size_t>(head)].last();
      if (i != (last >= 0 ? last : head)) continue;  // a fused chain runs where its last node stands
      lower_node(head, node(i).output);
      emit_outputs(node(i).output);
    }
    c.end = static_cast<int>(specs_.size());
  }

  void lower_node(int index, int result) {
    const Node& n = node(index);
    const Chain& chain = chains_[static_cast<size_t>(index)];
    Spec spec;
    spec.node = index;
    spec.lo = chain.activation >= 0 ? 0.0f : -kInfinity;
    spec.hi = chain.activation >= 0 && node(chain.activation).op == Op::relu6 ? 6.0f : kInfinity;
    const auto take = [&](bool planar) {
      for (int in : n.inputs) spec.in.push_back(slot_of(in, planar));
    };
    const auto scratch = [&](int64_t floats) {
      Slot s;
      s.floats = floats;
      program_.slots.push_back(s);
      spec.scratch = static_cast<int>(program_.slots.size()) - 1;
    };
    switch (n.op) {
      case Op::conv2d:
        take(true);
        if (chain.residual >= 0) spec.residual = slot_of(chain.residual, true);
        spec.strided = n.stride[0] > 1 || n.stride[1] > 1;
        spec.out = define(result, true);
        if (spec.strided) scratch(0);  // sized once the row strides are known
        break;
      case Op::max_pool2d:
      case Op::avg_pool2d:
      case Op::adaptive_avg_pool2d:
        take(true);
        spec.out = define(result, true);
        scratch(2 * pool_span(n, slot(spec.in[0]).width, slot(spec.out).width));
        break;
      case Op::linear: {
        take(false);
        spec.out = define(result, false);
        const int64_t inputs = shapes_[static_cast<size_t>(n.inputs[0])].back(),
                      outputs = shapes_[static_cast<size_t>(result)].back();
        const int64_t chunk = program_.components[static_cast<size_t>(component_)].chunk;
        const int64_t rows = budget_.product({slot(spec.in[0]).elements / inputs, chunk}, "rows of a linear layer");
        scratch(linear_scratch(kernels_, rows, inputs, outputs, options_.threads, budget_));
        break;
      }
      case Op::softmax:
      case Op::layer_norm:
        take(false);
        spec.out = define(result, false);
        break;
      case Op::flatten:
        take(lives_planar(n.inputs[0]));
        spec.what = Do::to_plain;
        spec.out = define(result, false);
        break;
      default: {  // lane by lane: the layout of the inputs
        bool planar = std::any_of(n.inputs.begin(), n.inputs.end(), [&](int in) { return lives_planar(in); });
        if (n.op == Op::concat && n.axis != 1) planar = false;
        take(planar);
        spec.out = define(result, planar);
      }
    }
    specs_.push_back(spec);
  }

  void lifetimes() {
    for (size_t i = 0; i < specs_.size(); ++i) {
      const auto touch = [&](int s) {
        if (s < 0) return;
        if (slot(s).first < 0) slot(s).first = static_cast<int>(i);
        slot(s).last = static_cast<int>(i);
      };
      for (int in : specs_[i].in) touch(in);
      touch(specs_[i].residual);
      touch(specs_[i].scratch);
      touch(specs_[i].out);
    }
  }

  void make_steps() {
    for (const Node& n : net_.nodes) {
      LayerInfo info;
      info.name = n.name;
      info.op = n.op_name;
      program_.layers.push_back(info);
    }
    for (const Component& component : program_.components) {
      for (int i = component.begin; i < component.end; ++i) {
        const Spec& spec = specs_[static_cast<size_t>(i)];
        Context context{net_, kernels_, program_.slots, budget_};
        context.threads = options_.threads;
        context.chunk = component.chunk;
        program_.steps.push_back(make_step(context, spec));
      }
    }
    for (size_t i = 0; i < head_.size(); ++i) {
      if (head_[i] == static_cast<int>(i)) continue;
      const std::string& name = node(head_[i]).name;
      program_.layers[i].kernel = "fused:" + name;
      program_.layers[i].reason = "runs in the epilogue of " + name;
    }
  }

  std::unique_ptr<Step> make_step(const Context& context, const Spec& spec) {
    if (spec.node < 0) return make_copy(context, spec);
    LayerInfo& info = program_.layers[static_cast<size_t>(spec.node)];
    switch (node(spec.node).op) {
      case Op::conv2d: return make_conv(context, spec, info, program_.weight_bytes);
      case Op::linear: return make_linear(context, spec, info, program_.weight_bytes);
      case Op::max_pool2d:
      case Op::avg_pool2d:
      case Op::adaptive_avg_pool2d: return make_pool(context, spec, info);
      case Op::flatten:
        info.kernel = "copy";
        info.reason = "padding is dropped";
        return make_copy(context, spec);
      default: return make_pointwise(context, spec, info, program_.weight_bytes);
    }
  }

  const Network& net_;
  const KernelTable& kernels_;
  const PlanOptions& options_;
  Budget& budget_;
  Program program_;
  std::vector<Spec> specs_;
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<int> component_of_, head_;
  std::vector<std::vector<int>> consumers_;                        // of a value: nodes
  std::vector<std::vector<int>> inputs_of_, nodes_of_, ports_of_;  // of a component: inputs, nodes; of a value: outputs
  std::vector<Chain> chains_;
  std::map<int, int> slots_of_[2];  // value -> slot + 1: plain, planar
  int component_ = 0;
};

}  // namespace

Program plan_network(const Network& net, const KernelTable& kernels, const PlanOptions& options, Budget& budget) {
  assert(kAlign % kernels.lanes == 0);  // whole vectors stay inside of slots and planes
  return Planner(net, kernels, options, budget).plan();
}

}  // namespace gossamer
