// What runs in the epilogue of a convolution, a linear layer or an addition.
#include <numeric>

#include "planner.h"

namespace gossamer {

namespace {

using Shapes = std::vector<std::vector<int64_t>>;

class Finder {
 public:
  Finder(const Network& net, const Shapes& most, const Shapes& least) : net_(net), most_(most), least_(least) {
    consumers_.resize(net.values.size());
    for (size_t i = 0; i < net.nodes.size(); ++i)
      for (int in : net.nodes[i].inputs) consumers_[static_cast<size_t>(in)].push_back(static_cast<int>(i));
    is_output_.assign(net.values.size(), false);
    for (const auto& output : net.outputs) is_output_[static_cast<size_t>(output.second)] = true;
    found_.chains.resize(net.nodes.size());
    found_.head.resize(net.nodes.size());
    std::iota(found_.head.begin(), found_.head.end(), 0);
  }

  // From the last node to the first: of two convolutions that meet in an add the later one takes it, and runs where it
  // stands.
  Fusions find() {
    for (size_t at = net_.nodes.size(); at-- > 0;) {
      const Node& n = net_.nodes[at];
      const bool lanes =
          n.op == Op::conv2d || (n.op == Op::linear && on_lanes(net_, n, most_[static_cast<size_t>(n.inputs[0])]));
      if (!lanes && n.op != Op::linear && !(n.op == Op::add && even(n))) continue;
      if (head(at) != static_cast<int>(at)) continue;
      Chain& chain = found_.chains[at];
      const int next = follower(n.output);
      if (next < 0) continue;
      const Node& after = net_.nodes[static_cast<size_t>(next)];
      if (lanes && after.op == Op::add && even(after) && head(static_cast<size_t>(next)) == next &&
          after.inputs[0] != after.inputs[1]) {
        chain.add = next;
        chain.residual = after.inputs[0] == n.output ? after.inputs[1] : after.inputs[0];
        head(static_cast<size_t>(next)) = static_cast<int>(at);
        chain.activation = found_.chains[static_cast<size_t>(next)].activation;  // the add had its own
        if (chain.activation >= 0) head(static_cast<size_t>(chain.activation)) = static_cast<int>(at);
      } else if (after.op == Op::relu || after.op == Op::relu6) {
        chain.activation = next;
        head(static_cast<size_t>(next)) = static_cast<int>(at);
      }
    }
    return std::move(found_);
  }

 private:
  int& head(size_t node) { return found_.head[node]; }
  bool even(const Node& n) const {  // nothing is repeated, at either end of the length
    const auto a = static_cast<size_t>(n.inputs[0]), b = static_cast<size_t>(n.inputs[1]);
    return most_[a] == most_[b] && least_[a] == least_[b];
  }
  int follower(int value) const {  // the one node that reads it, if nobody else does
    const auto& list = consumers_[static_cast<size_t>(value)];
    return list.size() == 1 && !is_output_[static_cast<size_t>(value)] ? list[0] : -1;
  }

  const Network& net_;
  const Shapes &most_, &least_;
  std::vector<std::vector<int>> consumers_;
  std::vector<bool> is_output_;
  Fusions found_;
};

}  // namespace

Fusions find_fusions(const Network& net, const Shapes& most, const Shapes& least) {
  return Finder(net, most, least).find();
}

}  // namespace gossamer
