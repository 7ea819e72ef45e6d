// From nodes to specs: in which layout every value lives, which nodes only rename floats, which copies lie between.
#include <algorithm>
#include <limits>

#include "planner.h"

namespace gossamer {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kLeastWidth = 8;  // columns from which a part of a planar value stays planar

class Lowering {
 public:
  Lowering(const Network& net, const KernelTable& kernels, const PlanOptions& options, Budget& budget,
           const Fusions& fusions, Program& program)
      : net_(net),
        kernels_(kernels),
        options_(options),
        budget_(budget),
        fusions_(fusions),
        program_(program),
        homes_(net.values.size()),
        ports_of_(net.values.size()) {
    const FreeDims free = free_dims(net);
    most_ = example_shapes(net, free.length < 0 ? 0 : net.dims[static_cast<size_t>(free.length)].max);
    least_ = example_shapes(net, free.length < 0 ? 0 : net.dims[static_cast<size_t>(free.length)].min);
    for (size_t i = 0; i < net.outputs.size(); ++i)
      ports_of_[static_cast<size_t>(net.outputs[i].second)].push_back(static_cast<int>(i));
  }

  std::vector<Spec> lower() {  // by component: 65,536 nodes in as many must not be searched again for each
    std::vector<std::vector<int>> inputs_of(program_.components.size()), nodes_of(program_.components.size());
    for (size_t i = 0; i < net_.inputs.size(); ++i)
      inputs_of[component_of(net_.inputs[i])].push_back(static_cast<int>(i));
    for (size_t i = 0; i < net_.nodes.size(); ++i)
      nodes_of[component_of(net_.nodes[i].output)].push_back(static_cast<int>(i));
    for (size_t c = 0; c < program_.components.size(); ++c) {
      chunk_ = program_.components[c].chunk;
      program_.components[c].begin = static_cast<int>(specs_.size());
      for (int port : inputs_of[c]) lower_input(port);
      for (int i : nodes_of[c]) {
        const int head = fusions_.head[static_cast<size_t>(i)];
        const int last = fusions_.chains[static_cast<size_t>(head)].last();
        if (i != (last >= 0 ? last : head)) continue;  // a fused chain runs where its last node stands
        lower_node(head, node(i).output);
        emit_outputs(node(i).output);
        for (int value : node(i).more_outputs) emit_outputs(value);
      }
      program_.components[c].end = static_cast<int>(specs_.size());
    }
    return std::move(specs_);
  }

 private:
  const Node& node(int i) const { return net_.nodes[static_cast<size_t>(i)]; }
  const std::vector<int64_t>& shape(int value) const { return most_[static_cast<size_t>(value)]; }
  Sizes sizes(int value) const { return {most_[static_cast<size_t>(value)], least_[static_cast<size_t>(value)]}; }
  Slot& slot(int i) { return program_.slots[static_cast<size_t>(i)]; }
  size_t component_of(int value) const {
    return static_cast<size_t>(program_.component_of[static_cast<size_t>(value)]);
  }
  int home(int value) const { return homes_[static_cast<size_t>(value)].front(); }  // the slot it was made in

  int new_slot(const std::vector<int64_t>& shape, const Axes& axes) {
    Slot s;
    int64_t elements = 1;
    for (int64_t size : shape) elements = budget_.product({elements, size}, "a value");
    s.axes = axes;
    s.planar = !axes.empty();
    s.set_shape(shape.data(), shape.size());
    if (!s.planar) s.floats = budget_.product({elements, chunk_}, "a value");
    program_.slots.push_back(s);
    return static_cast<int>(program_.slots.size()) - 1;
  }
  int define(int value, const Axes& axes) {
    const int s = new_slot(shape(value), axes);
    slot(s).value = value;
    homes_[static_cast<size_t>(value)].push_back(s);
    return s;
  }
  // The value lives in the floats of another slot.
  void define_view(int value, int of, const Axes& axes, int64_t first_channel) {
    const int s = define(value, axes);
    Slot& view = slot(s);
    view.owner = slot(of).owner >= 0 ? slot(of).owner : of;
    view.first_channel = slot(of).first_channel + first_channel;
    view.floats = 0;
  }
  int scratch(int64_t floats) {
    Slot s;
    s.floats = floats;
    program_.slots.push_back(s);
    return static_cast<int>(program_.slots.size()) - 1;
  }

  // The slot of a value in the layout that is asked for; a copy is planned where it lives in others only.
  int slot_of(int value, const Axes& axes) {
    auto& homes = homes_[static_cast<size_t>(value)];
    for (int s : homes)
      if (slot(s).axes == axes) return s;
    Spec copy;
    copy.what = Do::copy;
    copy.in = {homes.front()};
    copy.out = new_slot(shape(value), axes);
    slot(copy.out).value = value;
    homes.push_back(copy.out);
    specs_.push_back(copy);
    return copy.out;
  }

  void lower_input(int port) {
    const int value = net_.inputs[static_cast<size_t>(port)];
    Spec spec;
    spec.what = Do::input;
    spec.port = port;
    spec.out = define(value, {});
    specs_.push_back(spec);
    emit_outputs(value);
  }

  void emit_outputs(int value) {
    for (int port : ports_of_[static_cast<size_t>(value)]) {
      Spec spec;
      spec.what = Do::output;
      spec.port = port;
      spec.in = {home(value)};
      specs_.push_back(spec);
    }
  }

  bool may_stay_planar(int value) {  // lives planar, and operations lane by lane may keep that
    const Slot& s = slot(home(value));
    return s.planar && s.compact() && steady(s.axes, sizes(value));
  }

  // Value by value, broadcasting: the layout of the first operand of full size that is planar, else plain.
  void lower_elementwise(const Node& n, Spec& spec, int result) {
    Axes axes;
    for (int in : n.inputs)
      if (axes.empty() && shape(in) == shape(result) && may_stay_planar(in)) axes = slot(home(in)).axes;
    for (int in : n.inputs) {
      if (axes.empty() || shape(in) == shape(result)) {
        spec.in.push_back(slot_of(in, axes));
        continue;
      }
      size_t column = axes.size();
      for (size_t a = 0; a < axes.size(); ++a)
        if (axes[a].place == Place::column) column = a;
      const bool one = column == axes.size() || shape(in)[column] == 1;  // a number for all columns lies anywhere
      spec.in.push_back(one ? home(in) : slot_of(in, compact_axes(axes, shape(in))));
    }
    spec.out = define(result, axes);
  }

  // Parts, repeats and orders of elements, axis by axis.
  void lower_mapped(const Node& n, Spec& spec, int result) {
    const int x = n.inputs[0];
    Axes axes;
    if (may_stay_planar(x)) {
      axes = compact_axes(slot(home(x)).axes, shape(result));
      int64_t width = 1;
      for (size_t a = 0; a < axes.size(); ++a)
        if (axes[a].place == Place::column) width = shape(result)[a];
      if (width < kLeastWidth || !steady(axes, sizes(result))) axes = {};
    }
    spec.in = {home(x)};
    spec.out = define(result, axes);
  }

  bool lower_slice(const Node& n, int result) {  // a slice of planes is a view
    const int x = n.inputs[0];
    const Slot& in = slot(home(x));
    const size_t axis = static_cast<size_t>(n.axis) - 1;
    if (!in.planar || in.axes[axis].place != Place::plane) return false;
    const Sizes from = sizes(x);
    if (from.most[axis] != from.least[axis]) return false;
    const int64_t size = from.most[axis], start = n.start < 0 ? std::max<int64_t>(0, n.start + size) : n.start;
    Axes axes = in.axes;
    const int64_t first = start * axes[axis].step;
    axes[axis].step = shape(result)[axis] == 1 ? 0 : axes[axis].step * n.step;
    define_view(result, home(x), axes, first);
    return true;
  }

  // False: nothing to run.
  bool lower_reshape(const Node& n, Spec& spec, int result) {
    const int x = n.inputs[0];
    const Slot& in = slot(home(x));
    if (in.planar) {
      bool regroup = false;
      const Axes axes = reshape_axes(in.axes, sizes(x), sizes(result), regroup);
      if (!axes.empty() && !regroup && steady(axes, sizes(result))) {
        define_view(result, home(x), axes, 0);
        return false;
      }
      if (!axes.empty() && regroup && in.compact()) {
        spec.what = Do::regroup;
        spec.in = {home(x)};
        spec.out = define(result, compact_axes(axes, shape(result)));
        return true;
      }
    }
    define_view(result, slot_of(x, {}), {}, 0);
    return false;
  }

  bool lower_permute(const Node& n, Spec& spec, int result) {
    const int x = n.inputs[0];
    const Slot& in = slot(home(x));
    if (in.planar) {
      Axes axes;
      for (int64_t axis : n.list) axes.push_back(in.axes[static_cast<size_t>(axis) - 1]);
      define_view(result, home(x), axes, 0);
      return false;
    }
    spec.in = {home(x)};
    spec.out = define(result, {});
    return true;
  }

  // Joined along one axis in the layout of the first planar input.
  void lower_concat(const Node& n, Spec& spec, int result) {
    Axes axes;
    for (int in : n.inputs)
      if (axes.empty() && may_stay_planar(in)) axes = compact_axes(slot(home(in)).axes, shape(result));
    if (!axes.empty() && !steady(axes, sizes(result))) axes = {};
    for (int in : n.inputs) spec.in.push_back(home(in));
    spec.out = define(result, axes);
  }

  void lower_norm(const Node& n, Spec& spec, int result) {
    const int x = n.inputs[0];
    const Axes& lives = slot(home(x)).axes;
    const size_t rank = shape(x).size();
    bool planar = may_stay_planar(x);
    if (n.op == Op::group_norm || n.op == Op::channel_affine) {  // the first axis alone as planes
      for (size_t a = 0; planar && a < rank; ++a) planar = (lives[a].place == Place::plane) == (a == 0);
    } else {
      planar = planar && n.axes == 1 && rank >= 2 && rank <= 3 && lives == token_axes(rank);
    }
    const Axes axes = planar ? lives : Axes{};
    spec.in = {slot_of(x, axes)};
    spec.out = define(result, axes);
  }

  // Queries as columns, features of a head as planes that lie behind each other, heads anywhere.
  int attention_operand(int value) {
    const std::vector<int64_t>& s = shape(value);
    const size_t rank = s.size();
    for (int h : homes_[static_cast<size_t>(value)]) {
      const Slot& lives = slot(h);
      if (!lives.planar || lives.axes[rank - 2].place != Place::column) continue;
      bool fits = lives.axes[rank - 1].place == Place::plane && (lives.axes[rank - 1].step == 1 || s[rank - 1] == 1);
      for (size_t a = 0; a + 2 < rank; ++a) fits = fits && lives.axes[a].place == Place::plane;
      if (fits) return h;
    }
    return slot_of(value, attention_axes(value));
  }
  Axes attention_axes(int value) {
    Axes like(shape(value).size(), Axis{Place::plane, 0});
    const size_t rank = like.size();
    for (size_t a = 0; a < rank; ++a) like[a].step = static_cast<int64_t>(rank - a);
    like[rank - 2] = {Place::column, 0};
    return compact_axes(like, shape(value));
  }

  void lower_node(int index, int result) {
    const Node& n = node(index);
    const Chain& chain = fusions_.chains[static_cast<size_t>(index)];
    Spec spec;
    spec.node = index;
    spec.lo = chain.activation >= 0 ? 0.0f : -kInfinity;
    spec.hi = chain.activation >= 0 && node(chain.activation).op == Op::relu6 ? 6.0f : kInfinity;
    const auto take = [&](const Axes& axes) {
      for (int in : n.inputs) spec.in.push_back(slot_of(in, axes));
    };
    const std::vector<int64_t>& x = shape(n.inputs[0]);
    bool runs = true;
    switch (n.op) {
      case Op::conv2d:
        take(image_axes());
        if (chain.residual >= 0) spec.residual = slot_of(chain.residual, image_axes());
        spec.strided = n.stride[0] > 1 || n.stride[1] > 1;
        spec.out = define(result, image_axes());
        if (spec.strided) spec.scratch = scratch(0);  // sized once the row strides are known
        break;
      case Op::max_pool2d:
      case Op::avg_pool2d:
      case Op::adaptive_avg_pool2d:
        take(image_axes());
        spec.out = define(result, image_axes());
        spec.scratch = scratch(budget_.product(
            {2 * pool_span(n, slot(spec.in[0]).width, slot(spec.out).width), options_.threads}, "lines of a pool"));
        break;
      case Op::pixel_shuffle:
      case Op::upsample:
        take(image_axes());
        spec.out = define(result, image_axes());
        if (n.op == Op::upsample) spec.scratch = scratch(round_up(slot(spec.in[0]).width));
        break;
      case Op::linear: {
        if (on_lanes(net_, n, x)) {
          const Axes axes = token_axes(x.size());
          take(axes);
          if (chain.residual >= 0) spec.residual = slot_of(chain.residual, axes);
          spec.out = define(result, axes);
          break;
        }
        take({});
        spec.out = define(result, {});
        const int64_t inputs = x.back(), outputs = shape(result).back();
        const int64_t rows = budget_.product({slot(spec.in[0]).elements / inputs, chunk_}, "rows of a linear layer");
        spec.scratch = scratch(linear_scratch(kernels_, rows, inputs, outputs, options_.threads, budget_));
        break;
      }
      case Op::channel_affine:
      case Op::layer_norm:
      case Op::rms_norm:
      case Op::group_norm: lower_norm(n, spec, result); break;
      case Op::softmax:
      case Op::argmax:
      case Op::cumsum:
      case Op::embedding:
        take({});
        spec.out = define(result, {});
        break;
      case Op::constant: spec.out = define(result, {}); break;  // of the input it takes the batch alone
      case Op::matmul: {
        take({});
        spec.out = define(result, {});
        const int64_t columns = shape(result).back();  // of a turned b
        spec.scratch = scratch(n.transpose_b ? budget_.product({x.back(), columns}, "a matrix") : 0);
        break;
      }
      case Op::mean:
      case Op::sum:
      case Op::max:
      case Op::min:
        spec.in = {home(n.inputs[0])};
        spec.out = define(result, {});
        break;
      case Op::concat: lower_concat(n, spec, result); break;
      case Op::slice:
        runs = !lower_slice(n, result);
        if (runs) lower_mapped(n, spec, result);
        break;
      case Op::expand:
      case Op::pad:
      case Op::flip: lower_mapped(n, spec, result); break;
      case Op::flatten:
      case Op::reshape: runs = lower_reshape(n, spec, result); break;
      case Op::permute: runs = lower_permute(n, spec, result); break;
      case Op::attention: {
        for (size_t i = 0; i < 3; ++i) spec.in.push_back(attention_operand(n.inputs[i]));
        if (n.inputs.size() > 3) spec.in.push_back(slot_of(n.inputs[3], {}));
        spec.out = define(result, attention_axes(result));
        const auto& keys = shape(n.inputs[1]);
        spec.scratch = scratch(attention_scratch(kernels_, keys[keys.size() - 2], options_.threads, budget_));
        break;
      }
      case Op::lstm:
      case Op::gru:
        take({});
        spec.out = define(result, {});
        for (int value : n.more_outputs) spec.more_out.push_back(define(value, {}));
        spec.scratch = scratch(recurrent_scratch(net_, n, x[0], chunk_, budget_));
        break;
      default: lower_elementwise(n, spec, result);
    }
    if (runs) return specs_.push_back(spec);
    LayerInfo& info = program_.layers[static_cast<size_t>(index)];
    info.kernel = "view";
    info.reason = "the same floats under other axes";
  }

  const Network& net_;
  const KernelTable& kernels_;
  const PlanOptions& options_;
  Budget& budget_;
  const Fusions& fusions_;
  Program& program_;
  int64_t chunk_ = 1;
  std::vector<std::vector<int64_t>> most_, least_;  // shapes of values at the largest and smallest length
  std::vector<std::vector<int>> homes_, ports_of_;  // of a value: slots; outputs of the network
  std::vector<Spec> specs_;
};

}  // namespace

std::vector<Spec> lower(const Network& net, const KernelTable& kernels, const PlanOptions& options, Budget& budget,
                        const Fusions& fusions, Program& program) {
  return Lowering(net, kernels, options, budget, fusions, program).lower();
}

}  // namespace gossamer
