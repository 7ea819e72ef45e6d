// The manifest's weights and network: structure, names, operators, shapes at the ends of the free dimensions, states
// (docs/formats/packed-file.md sections 3, 4 and 6).
#include <set>

#include "check.h"
#include "reader.h"

namespace gossamer {
namespace {

using Type = Json::Type;
using Shapes = std::vector<std::vector<int64_t>>;
constexpr auto graph = Error::Kind::graph;
constexpr int64_t largest_size = (int64_t{1} << 31) - 1;
constexpr size_t most_dimensions = 8;
constexpr size_t most_nodes = 65536;

bool is_symbol(std::string_view s) {
  if (s.empty() || s[0] < 'a' || s[0] > 'z') return false;
  for (char c : s) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

class NetworkReader {
 public:
  NetworkReader(int version, Network* network) : version_(version), network_(*network) {}

  void read_weights(Json::View weights, Container* container) {
    expect({graph, "manifest"}, weights, Type::object, "weights");
    weights.each_member([&](std::string_view name, Json::View view) {
      network_.weights.push_back(read_weight(name, view, container));
      weight_index_.emplace(name, static_cast<int>(network_.weights.size()) - 1);
    });
    for (const Tensor& tensor : container->tensors) {
      if (!tensor.used)
        fail(Error::Kind::format, "tensor ", quoted(tensor.name),
             ": expected every tensor to be part of a weight, got one that no weight names");
    }
  }

  void read(Json::View view) {
    Place place{graph, "network"};
    std::vector<Json::View> f = version_ == 1
                                    ? fields(place, view, {"name", "dims", "inputs", "outputs", "nodes"})
                                    : fields(place, view, {"name", "dims", "inputs", "outputs", "nodes"}, {"states"});
    network_.name = std::string(string_of(place, f[0], "name"));
    read_dims(f[1]);
    list(place, f[2], "inputs", [&](Json::View v) { read_input(v); });
    for (int i = 0; i < static_cast<int>(network_.dims.size()); ++i) {
      if (i != network_.batch && i != network_.length)
        fail(graph, "network: expected every symbol of 'dims' to be used by an input, got ", quoted(symbol(i)),
             " without use");
    }
    list(place, f[4], "nodes", [&](Json::View v) { read_node(v); });
    list(place, f[3], "outputs", [&](Json::View v) { read_output(v); });
    if (version_ > 1 && f[5]) read_states(f[5]);
    check_weights_used();
  }

 private:
  template <class F>
  static void list(const Place& place, Json::View view, const char* key, F&& read_one) {
    expect(place, view, Type::array, key);
    if (view.size() == 0) fail(place.kind, place.words, ": expected at least one of '", key, "', got none");
    view.each(read_one);
  }

  const std::string& symbol(int dim) const { return network_.dims[static_cast<size_t>(dim)].name; }

  void read_dims(Json::View dims) {
    expect({graph, "network"}, dims, Type::object, "dims");
    if (dims.size() > static_cast<size_t>(version_)) {
      fail(graph, "network: expected at most ", version_, version_ == 1 ? " symbol" : " symbols",
           " in 'dims' of format version ", version_, ", got ", dims.size());
    }
    dims.each_member([&](std::string_view symbol, Json::View range) {
      Place place{graph, text("symbol ", quoted(symbol))};
      if (!is_symbol(symbol)) fail(graph, place.words, ": expected a name of the form [a-z][a-z0-9_]*");
      std::vector<Json::View> f = fields(place, range, {"min", "max"});
      FreeDim dim;
      dim.name = std::string(symbol);
      dim.min = integer_in(place, f[0], "min", 1, 65536);
      dim.max = integer_in(place, f[1], "max", dim.min, 65536);
      network_.dims.push_back(dim);
    });
  }

  int define(const Place& place, const std::string& name) {
    auto index = static_cast<int>(network_.values.size());
    if (!value_index_.emplace(name, index).second)
      fail(graph, place.words, ": expected every value to be defined once, got ", quoted(name), " twice");
    network_.values.push_back({name, {}});
    return index;
  }

  int value(const Place& place, std::string_view name) const {
    auto at = value_index_.find(name);
    if (at == value_index_.end())
      fail(graph, place.words, ": expected a value that an input or an earlier node defines, got ", quoted(name));
    return at->second;
  }

  void read_input(Json::View view) {
    Place place{graph, text("input ", network_.inputs.size())};
    std::vector<Json::View> f = fields(place, view, {"name", "shape", "dtype"});
    std::string name = name_of(place, f[0], "name");
    place.words = text("input ", quoted(name));
    int index = define(place, name);
    input_index_.emplace(name, static_cast<int>(network_.inputs.size()));
    network_.inputs.push_back(index);
    expect(place, f[1], Type::array, "shape");
    if (f[1].size() < 1 || f[1].size() > most_dimensions)
      fail(graph, place.words, ": expected 1 to 8 dimensions, got ", f[1].size());
    std::vector<Dim>& shape = network_.values[static_cast<size_t>(index)].shape;
    f[1].each([&](Json::View size) {
      Dim dim;
      if (size.is(Type::string)) {
        dim.symbol = use_symbol(place, size.string(), shape.empty());
      } else {
        dim.size = integer_in(place, size, "shape", 1, largest_size);
      }
      shape.push_back(dim);
    });
    std::string_view dtype = string_of(place, f[2], "dtype");
    const bool whole = version_ > 1 && dtype == "int64";
    if (dtype != "float32" && !whole) {
      fail(graph, place.words, ": expected dtype float32", version_ > 1 ? " or int64" : "", ", got ", quoted(dtype));
    }
    network_.input_types.push_back(whole ? InputType::i64 : InputType::f32);
  }

  // The symbol of a first dimension is the batch, of any other one the length.
  int use_symbol(const Place& place, std::string_view name, bool first) {
    if (!first && version_ == 1)
      fail(graph, place.words, ": expected a symbol as the first dimension alone, got ", quoted(name));
    for (int i = 0; i < static_cast<int>(network_.dims.size()); ++i) {
      if (symbol(i) != name) continue;
      int& mine = first ? network_.batch : network_.length;
      const int other = first ? network_.length : network_.batch;
      if (i == other || (mine >= 0 && mine != i)) {
        fail(graph, place.words, ": expected one symbol for all first dimensions and another for all others, got ",
             quoted(name), first ? " as a first dimension" : " behind the first dimension");
      }
      return mine = i;
    }
    fail(graph, place.words, ": expected a symbol of 'dims', got ", quoted(name));
  }

  void read_node(Json::View view) {
    Place place{graph, text("node ", network_.nodes.size())};
    if (network_.nodes.size() >= most_nodes) fail(graph, "network: expected at most ", most_nodes, " nodes, got more");
    std::vector<Json::View> f = fields(place, view, {"op", "name", "inputs", "outputs", "attributes", "weights"});
    Node node;
    node.name = name_of(place, f[1], "name");
    place.words = text("node ", quoted(node.name));
    if (!node_names_.insert(node.name).second)
      fail(graph, place.words, ": expected node names to differ, got this one twice");
    expect(place, f[2], Type::array, "inputs");
    f[2].each([&](Json::View v) { node.inputs.push_back(value(place, string_of(place, v, "inputs"))); });
    const std::string_view length =
        network_.length < 0 ? std::string_view() : std::string_view(symbol(network_.length));
    const size_t outputs = read_operator({place, version_, length, network_.weights, weight_index_},
                                         string_of(place, f[0], "op"), f[4], f[5], &node);
    expect(place, f[3], Type::array, "outputs");
    if (f[3].size() != outputs)
      fail(graph, place.words, ": expected ", outputs, outputs == 1 ? " output" : " outputs", ", got ", f[3].size());
    f[3].each([&](Json::View v) {
      const int index = define(place, name_of(place, v, "outputs"));
      if (node.output < 0) {
        node.output = index;
      } else {
        node.more_outputs.push_back(index);
      }
    });
    network_.nodes.push_back(std::move(node));
  }

  void read_output(Json::View view) {
    Place place{graph, text("output ", network_.outputs.size())};
    std::vector<Json::View> f = fields(place, view, {"name", "value"});
    std::string name = name_of(place, f[0], "name");
    place.words = text("output ", quoted(name));
    if (!output_index_.emplace(name, static_cast<int>(network_.outputs.size())).second)
      fail(graph, place.words, ": expected output names to differ, got this one twice");
    network_.outputs.emplace_back(name, value(place, string_of(place, f[1], "value")));
  }

  void read_states(Json::View states) {
    list({graph, "network"}, states, "states", [&](Json::View view) {
      Place place{graph, text("state ", network_.states.size())};
      std::vector<Json::View> f = fields(place, view, {"input", "output"});
      const std::string input = name_of(place, f[0], "input"), output = name_of(place, f[1], "output");
      auto from = output_index_.find(output);
      auto to = input_index_.find(input);
      if (to == input_index_.end()) fail(graph, place.words, ": expected the name of an input, got ", quoted(input));
      if (from == output_index_.end())
        fail(graph, place.words, ": expected the name of an output, got ", quoted(output));
      if (!state_inputs_.insert(to->second).second || !state_outputs_.insert(from->second).second)
        fail(graph, place.words, ": expected each input and each output in one state at most, got ", quoted(input),
             " and ", quoted(output), " again");
      network_.states.push_back({to->second, from->second});
    });
  }

  void check_weights_used() const {
    std::vector<bool> used(network_.weights.size());
    for (const Node& node : network_.nodes) {
      for (int index : {node.weight, node.bias, node.scale, node.shift, node.hidden, node.hidden_bias}) {
        if (index >= 0) used[static_cast<size_t>(index)] = true;
      }
    }
    for (size_t i = 0; i < used.size(); ++i) {
      if (!used[i])
        fail(graph, "weight ", quoted(network_.weights[i].name),
             ": expected every weight to be used by a node, got one without use");
    }
  }

  const int version_;
  Network& network_;
  std::map<std::string_view, int> weight_index_;  // views into the manifest
  std::map<std::string, int, std::less<>> value_index_, input_index_, output_index_;
  std::set<std::string> node_names_;
  std::set<int> state_inputs_, state_outputs_;
};

// Which inputs are states, and what every state must fulfil whatever the shapes are.
void check_states(const Network& network) {
  std::vector<bool> kept(network.inputs.size());
  const auto shape = [&](size_t input) -> const std::vector<Dim>& {
    return network.values[static_cast<size_t>(network.inputs[input])].shape;
  };
  for (const State& state : network.states) {
    const auto input = static_cast<size_t>(state.input);
    const std::string name = quoted(network.values[static_cast<size_t>(network.inputs[input])].name);
    kept[input] = true;
    if (network.input_types[input] != InputType::f32)
      fail(graph, "state ", name, ": expected an input of dtype float32, got int64");
    for (const Dim& dim : shape(input)) {
      if (dim.symbol >= 0 && dim.symbol == network.length)
        fail(graph, "state ", name, ": expected a shape without the length symbol, got one with it");
    }
  }
  bool given = false, batch_given = network.batch < 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i]) continue;
    given = true;
    batch_given |= network.batch >= 0 && shape(i)[0].symbol == network.batch;
  }
  if (!given || !batch_given)
    fail(graph, "network: expected an input that is no state", given ? " and has the batch symbol" : "", ", got none");
}

void check_state_shapes(const Network& network, const Shapes& shapes) {
  for (const State& state : network.states) {
    const int input = network.inputs[static_cast<size_t>(state.input)];
    const auto& output = network.outputs[static_cast<size_t>(state.output)];
    const auto &want = shapes[static_cast<size_t>(input)], &got = shapes[static_cast<size_t>(output.second)];
    if (want != got) {
      fail(graph, "state ", quoted(network.values[static_cast<size_t>(input)].name), ": expected its output ",
           quoted(output.first), " to have its shape ", listed(want), ", got ", listed(got));
    }
  }
}

// Version 1 adds equal shapes alone.
void check_add(const Network& network, const Shapes& shapes) {
  for (const Node& node : network.nodes) {
    if (node.op != Op::add) continue;
    const auto &a = shapes[static_cast<size_t>(node.inputs[0])], &b = shapes[static_cast<size_t>(node.inputs[1])];
    if (a != b) {
      fail(graph, "node ", quoted(node.name), " (add): expected two inputs of equal shape in format version 1, got ",
           listed(a), " and ", listed(b));
    }
  }
}

// Between its ends the length must not make anything larger than at its maximum; what the ends can tell of it.
void check_growth(const Network& network, const Shapes& least, const Shapes& most) {
  for (size_t v = 0; v < least.size(); ++v) {
    for (size_t i = 0; i < least[v].size(); ++i) {
      if (least[v][i] > most[v][i]) {
        fail(graph, "value ", quoted(network.values[v].name),
             ": expected no size to shrink while the length grows, got ", listed(least[v]), " at its minimum and ",
             listed(most[v]), " at its maximum");
      }
    }
  }
}

// Shapes of the nodes' outputs, with the batch symbol where it passes through: the first dimension always does.
void mark_shapes(Network* network, const Shapes& shapes) {
  for (const Node& node : network->nodes) {
    std::vector<int> outputs = node.more_outputs;
    outputs.push_back(node.output);
    for (int index : outputs) {
      Value& out = network->values[static_cast<size_t>(index)];
      for (int64_t n : shapes[static_cast<size_t>(index)]) out.shape.push_back({n, -1});
      for (int input : node.inputs) {
        const Dim& first = network->values[static_cast<size_t>(input)].shape[0];
        if (first.symbol >= 0) out.shape[0] = first;
      }
    }
  }
}

}  // namespace

Network read_network(int version, Json::View view, Json::View weights, Container* container) {
  Network network;
  NetworkReader reader(version, &network);
  reader.read_weights(weights, container);
  reader.read(view);
  check_states(network);

  std::vector<Shapes> ends;  // bit 0: the batch at its maximum, bit 1: the length
  const int free = (network.batch >= 0 ? 1 : 0) | (network.length >= 0 ? 2 : 0);
  for (int end = 0; end < 4; ++end) {
    if ((end & ~free) != 0) {
      ends.push_back(ends[static_cast<size_t>(end & free)]);
      continue;
    }
    std::vector<int64_t> sizes;
    for (int i = 0; i < static_cast<int>(network.dims.size()); ++i) {
      const FreeDim& dim = network.dims[static_cast<size_t>(i)];
      sizes.push_back((end & (i == network.batch ? 1 : 2)) != 0 ? dim.max : dim.min);
    }
    ends.push_back(infer_shapes(network, sizes));
    if (version == 1) check_add(network, ends.back());
    check_state_shapes(network, ends.back());
  }
  check_growth(network, ends[0], ends[2]);
  mark_shapes(&network, ends[2]);
  return network;
}

}  // namespace gossamer
