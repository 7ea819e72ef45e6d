// Manifest -> Network (docs/formats/packed-file.md sections 2 and 3).
#include <map>
#include <set>

#include "check.h"
#include "reader.h"

namespace gossamer {
namespace {

using Type = Json::Type;
constexpr auto graph = Error::Kind::graph;
constexpr int64_t largest_size = (int64_t{1} << 31) - 1;
constexpr size_t most_dimensions = 8;
constexpr size_t most_nodes = 65536;
constexpr int64_t format_version = 1;

bool is_symbol(std::string_view s) {
  if (s.empty() || s[0] < 'a' || s[0] > 'z') return false;
  for (char c : s) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

class NetworkReader {
 public:
  explicit NetworkReader(Network* network) : network_(*network) {}

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
    std::vector<Json::View> f = fields(place, view, {"name", "dims", "inputs", "outputs", "nodes"});
    network_.name = std::string(string_of(place, f[0], "name"));
    read_dims(f[1]);
    list(place, f[2], "inputs", [&](Json::View v) { read_input(v); });
    if (!network_.dims.empty() && !symbol_used_) {
      fail(graph, "network: expected every symbol of 'dims' to be used by an input, got ",
           quoted(network_.dims[0].name), " without use");
    }
    list(place, f[4], "nodes", [&](Json::View v) { read_node(v); });
    list(place, f[3], "outputs", [&](Json::View v) { read_output(v); });
    check_weights_used();
  }

 private:
  template <class F>
  static void list(const Place& place, Json::View view, const char* key, F&& read_one) {
    expect(place, view, Type::array, key);
    if (view.size() == 0) fail(place.kind, place.words, ": expected at least one of '", key, "', got none");
    view.each(read_one);
  }

  void read_dims(Json::View dims) {
    expect({graph, "network"}, dims, Type::object, "dims");
    if (dims.size() > 1) fail(graph, "network: expected at most one symbol in 'dims', got ", dims.size());
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
    network_.inputs.push_back(index);
    expect(place, f[1], Type::array, "shape");
    if (f[1].size() < 1 || f[1].size() > most_dimensions)
      fail(graph, place.words, ": expected 1 to 8 dimensions, got ", f[1].size());
    std::vector<Dim>& shape = network_.values[static_cast<size_t>(index)].shape;
    f[1].each([&](Json::View size) {
      Dim dim;
      if (size.is(Type::string)) {
        if (!shape.empty())
          fail(graph, place.words, ": expected a symbol as the first dimension alone, got ", quoted(size.string()));
        if (network_.dims.empty() || network_.dims[0].name != size.string()) {
          fail(graph, place.words, ": expected a symbol of 'dims', got ", quoted(size.string()));
        }
        dim.symbol = 0;
        symbol_used_ = true;
      } else {
        dim.size = integer_in(place, size, "shape", 1, largest_size);
      }
      shape.push_back(dim);
    });
    std::string_view dtype = string_of(place, f[2], "dtype");
    if (dtype != "float32") fail(graph, place.words, ": expected dtype float32, got ", quoted(dtype));
  }

  static int find_weight(const void* self, std::string_view name) {
    const auto& index = static_cast<const NetworkReader*>(self)->weight_index_;
    auto at = index.find(name);
    return at == index.end() ? -1 : at->second;
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
    read_operator(place, string_of(place, f[0], "op"), f[4], f[5], node.inputs.size(), network_.weights, find_weight,
                  this, &node);
    expect(place, f[3], Type::array, "outputs");
    if (f[3].size() != 1) fail(graph, place.words, ": expected one output, got ", f[3].size());
    f[3].each([&](Json::View v) { node.output = define(place, name_of(place, v, "outputs")); });
    network_.nodes.push_back(std::move(node));
  }

  void read_output(Json::View view) {
    Place place{graph, text("output ", network_.outputs.size())};
    std::vector<Json::View> f = fields(place, view, {"name", "value"});
    std::string name = name_of(place, f[0], "name");
    place.words = text("output ", quoted(name));
    if (!output_names_.insert(name).second)
      fail(graph, place.words, ": expected output names to differ, got this one twice");
    network_.outputs.emplace_back(name, value(place, string_of(place, f[1], "value")));
  }

  void check_weights_used() const {
    std::vector<bool> used(network_.weights.size());
    for (const Node& node : network_.nodes) {
      for (int index : {node.weight, node.bias, node.scale, node.shift}) {
        if (index >= 0) used[static_cast<size_t>(index)] = true;
      }
    }
    for (size_t i = 0; i < used.size(); ++i) {
      if (!used[i])
        fail(graph, "weight ", quoted(network_.weights[i].name),
             ": expected every weight to be used by a node, got one without use");
    }
  }

  Network& network_;
  std::map<std::string_view, int> weight_index_;  // views into the manifest
  std::map<std::string, int, std::less<>> value_index_;
  std::set<std::string> node_names_, output_names_;
  bool symbol_used_ = false;
};

// The free dimension, where there is one, is the first of a value and passes through every operator.
void mark_symbols(Network* network, const std::vector<std::vector<int64_t>>& shapes) {
  for (const Node& node : network->nodes) {
    Value& out = network->values[static_cast<size_t>(node.output)];
    for (int64_t n : shapes[static_cast<size_t>(node.output)]) out.shape.push_back({n, -1});
    for (int input : node.inputs) {
      const Dim& first = network->values[static_cast<size_t>(input)].shape[0];
      if (first.symbol >= 0) out.shape[0] = first;
    }
  }
}

}  // namespace

Network read_manifest(Json::View manifest, Container* container) {
  Place place{graph, "manifest"};
  std::vector<Json::View> f =
      fields(place, manifest, {"format_version", "library", "network", "weights"},
             {"preprocessing", "labels", "recipe", "metrics", "verification", "license", "versions"});
  expect(place, f[0], Type::integer, "format_version");
  if (f[0].integer() != format_version) {
    fail(graph, "manifest: expected format_version ", format_version, ", got ", f[0].integer(),
         f[0].integer() > format_version ? "; a newer Gossamer wrote this file, update this one" : "");
  }
  expect(place, f[1], Type::string, "library");
  static const struct {
    const char* key;
    Type type;
  } optional[] = {{"preprocessing", Type::object}, {"labels", Type::array},        {"recipe", Type::object},
                  {"metrics", Type::object},       {"verification", Type::object}, {"license", Type::string},
                  {"versions", Type::object}};
  for (size_t i = 0; i < std::size(optional); ++i) {
    if (f[4 + i]) expect(place, f[4 + i], optional[i].type, optional[i].key);
  }
  if (f[5]) f[5].each([&](Json::View label) { expect(place, label, Type::string, "labels"); });

  Network network;
  NetworkReader reader(&network);
  reader.read_weights(f[3], container);
  reader.read(f[2]);

  std::vector<int64_t> least, most;
  for (const FreeDim& dim : network.dims) {
    least.push_back(dim.min);
    most.push_back(dim.max);
  }
  std::vector<std::vector<int64_t>> shapes = infer_shapes(network, least);
  infer_shapes(network, most);
  mark_symbols(&network, shapes);
  return network;
}

}  // namespace gossamer
