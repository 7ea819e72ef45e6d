// Operators: which attributes and weights each has (docs/formats/operators.md). Rules that need the shapes of values
// are in shapes.cpp.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "reader.h"

namespace gossamer {
namespace {

using Type = Json::Type;
constexpr int64_t any_integer = (int64_t{1} << 53) - 1;

enum Attribute : unsigned {
  KERNEL = 1,
  STRIDE = 2,
  PADDING = 4,
  DILATION = 8,
  GROUPS = 16,
  AXIS = 32,
  AXES = 64,
  EPSILON = 128,
  START = 256,
  OUTPUT = 512,
  COUNT_PAD = 1024,
  APPROXIMATE = 2048
};
enum Role : unsigned { MATRIX = 1, WEIGHT = 2, BIAS = 4, SCALE = 8, SHIFT = 16 };

struct OpRow {
  const char* name;
  Op op;
  size_t least_inputs, most_inputs;
  unsigned attributes;
  unsigned required, optional;  // roles
};

constexpr OpRow operators[] = {
    {"conv2d", Op::conv2d, 1, 1, KERNEL | STRIDE | PADDING | DILATION | GROUPS, MATRIX, BIAS},
    {"linear", Op::linear, 1, 1, 0, MATRIX, BIAS},
    {"channel_affine", Op::channel_affine, 1, 1, 0, SCALE | SHIFT, 0},
    {"layer_norm", Op::layer_norm, 1, 1, AXES | EPSILON, 0, WEIGHT | BIAS},
    {"relu", Op::relu, 1, 1, 0, 0, 0},
    {"relu6", Op::relu6, 1, 1, 0, 0, 0},
    {"silu", Op::silu, 1, 1, 0, 0, 0},
    {"sigmoid", Op::sigmoid, 1, 1, 0, 0, 0},
    {"gelu", Op::gelu, 1, 1, APPROXIMATE, 0, 0},
    {"softmax", Op::softmax, 1, 1, AXIS, 0, 0},
    {"add", Op::add, 2, 2, 0, 0, 0},
    {"concat", Op::concat, 2, 64, AXIS, 0, 0},
    {"max_pool2d", Op::max_pool2d, 1, 1, KERNEL | STRIDE | PADDING | DILATION, 0, 0},
    {"avg_pool2d", Op::avg_pool2d, 1, 1, KERNEL | STRIDE | PADDING | COUNT_PAD, 0, 0},
    {"adaptive_avg_pool2d", Op::adaptive_avg_pool2d, 1, 1, OUTPUT, 0, 0},
    {"flatten", Op::flatten, 1, 1, START, 0, 0},
};

void integers(const Place& place, Json::View view, const char* key, size_t count, int64_t low, int64_t high,
              int64_t* out) {
  expect(place, view, Type::array, key);
  if (view.size() != count)
    fail(place.kind, place.words, ": expected '", key, "' to have ", count, " integers, got ", view.size());
  view.each([&](Json::View n) { *out++ = integer_in(place, n, key, low, high); });
}

void read_kernel(const Place& p, Json::View v, Node* n) { integers(p, v, "kernel", 2, 1, 4096, n->kernel); }
void read_stride(const Place& p, Json::View v, Node* n) { integers(p, v, "stride", 2, 1, 4096, n->stride); }
void read_padding(const Place& p, Json::View v, Node* n) { integers(p, v, "padding", 4, 0, 4095, n->padding); }
void read_dilation(const Place& p, Json::View v, Node* n) { integers(p, v, "dilation", 2, 1, 4096, n->dilation); }
void read_output(const Place& p, Json::View v, Node* n) { integers(p, v, "output", 2, 1, 65536, n->out_size); }
void read_groups(const Place& p, Json::View v, Node* n) { n->groups = integer_in(p, v, "groups", 1, any_integer); }
void read_axis(const Place& p, Json::View v, Node* n) { n->axis = integer_in(p, v, "axis", 1, any_integer); }
void read_axes(const Place& p, Json::View v, Node* n) { n->axes = integer_in(p, v, "axes", 1, any_integer); }
void read_start(const Place& p, Json::View v, Node* n) { n->start = integer_in(p, v, "start", 1, any_integer); }
void read_epsilon(const Place& p, Json::View v, Node* n) {
  if (!v.is(Type::integer)) expect(p, v, Type::real, "epsilon");
  n->epsilon = v.number();
  if (!(n->epsilon > 0)) fail(p.kind, p.words, ": expected 'epsilon' greater than 0, got ", n->epsilon);
}
void read_count_pad(const Place& p, Json::View v, Node* n) {
  expect(p, v, Type::boolean, "count_include_pad");
  n->count_include_pad = v.boolean();
}
void read_approximate(const Place& p, Json::View v, Node* n) {
  std::string_view how = string_of(p, v, "approximate");
  if (how != "none" && how != "tanh") fail(p.kind, p.words, ": expected 'approximate' none or tanh, got ", quoted(how));
  n->gelu_tanh = how == "tanh";
}

struct AttributeRow {
  Attribute bit;
  const char* name;
  void (*read)(const Place&, Json::View, Node*);
};
constexpr AttributeRow attribute_rows[] = {{KERNEL, "kernel", read_kernel},
                                           {STRIDE, "stride", read_stride},
                                           {PADDING, "padding", read_padding},
                                           {DILATION, "dilation", read_dilation},
                                           {GROUPS, "groups", read_groups},
                                           {AXIS, "axis", read_axis},
                                           {AXES, "axes", read_axes},
                                           {EPSILON, "epsilon", read_epsilon},
                                           {START, "start", read_start},
                                           {OUTPUT, "output", read_output},
                                           {COUNT_PAD, "count_include_pad", read_count_pad},
                                           {APPROXIMATE, "approximate", read_approximate}};

void read_attributes(const Place& place, Json::View view, const OpRow& row, Node* node) {
  expect(place, view, Type::object, "attributes");
  unsigned found = 0;
  view.each_member([&](std::string_view key, Json::View value) {
    for (const AttributeRow& attribute : attribute_rows) {
      if ((row.attributes & attribute.bit) == 0 || key != attribute.name) continue;
      attribute.read(place, value, node);
      found |= attribute.bit;
      return;
    }
    fail(place.kind, place.words, ": expected only attributes of ", row.name, ", got ", quoted(key));
  });
  for (const AttributeRow& attribute : attribute_rows) {
    if ((row.attributes & ~found) & attribute.bit)
      fail(place.kind, place.words, ": expected the attribute '", attribute.name, "', got none");
  }
}

// No window of a pool may lie in the padding alone (undilated): padding <= window / 2 on every side.
void check_pool_padding(const Place& place, const Node& node) {
  for (int side = 0; side < 4; ++side) {
    int axis = side % 2;  // padding is top, left, bottom, right
    int64_t window = (node.kernel[axis] - 1) * node.dilation[axis] + 1;
    if (node.padding[side] > window / 2) {
      fail(place.kind, place.words, ": expected padding of at most half the window of ", window, ", got ",
           node.padding[side]);
    }
  }
}

void check_vector(const Place& place, const Weight& w, const char* role) {
  if (w.shape.size() != 1 || w.dtype != DType::f32) {
    fail(place.kind, place.words, ": expected a float32 vector as '", role, "', got weight ", quoted(w.name),
         " of shape ", listed(w.shape), w.dtype == DType::f16 ? ", float16" : ", float32");
  }
}

}  // namespace

void read_operator(const Place& place, std::string_view op, Json::View attributes, Json::View roles, size_t num_inputs,
                   const std::vector<Weight>& weights, WeightIndex find_weight, const void* context, Node* node) {
  const OpRow* row =
      std::find_if(std::begin(operators), std::end(operators), [&](const OpRow& r) { return op == r.name; });
  if (row == std::end(operators)) {
    std::string known;
    for (const OpRow& r : operators) known += std::string(known.empty() ? "" : ", ") + r.name;
    fail(place.kind, place.words, ": expected one of the operators ", known, ", got ", quoted(op));
  }
  node->op = row->op;
  node->op_name = row->name;
  if (num_inputs < row->least_inputs || num_inputs > row->most_inputs) {
    fail(place.kind, place.words, ": expected ", row->least_inputs, " to ", row->most_inputs, " inputs of ", row->name,
         ", got ", num_inputs);
  }
  read_attributes(place, attributes, *row, node);
  if (row->op == Op::max_pool2d || row->op == Op::avg_pool2d) check_pool_padding(place, *node);

  expect(place, roles, Type::object, "weights");
  unsigned found = 0;
  roles.each_member([&](std::string_view role, Json::View value) {
    struct RoleRow {
      unsigned bit;
      const char* name;
      int* index;
    } const rows[] = {{MATRIX, "weight", &node->weight},
                      {WEIGHT, "weight", &node->weight},
                      {BIAS, "bias", &node->bias},
                      {SCALE, "scale", &node->scale},
                      {SHIFT, "shift", &node->shift}};
    for (const RoleRow& r : rows) {
      if (((row->required | row->optional) & r.bit) == 0 || role != r.name) continue;
      std::string_view name = string_of(place, value, r.name);
      *r.index = find_weight(context, name);
      if (*r.index < 0)
        fail(place.kind, place.words, ": expected '", r.name, "' to name a weight of the manifest, got ", quoted(name));
      const Weight& w = weights[static_cast<size_t>(*r.index)];
      if (r.bit != MATRIX) {
        check_vector(place, w, r.name);
      } else if (w.shape.size() != 2) {
        fail(place.kind, place.words, ": expected a matrix as 'weight', got weight ", quoted(w.name), " of shape ",
             listed(w.shape));
      }
      found |= r.bit;
      return;
    }
    fail(place.kind, place.words, ": expected only weights of ", row->name, ", got the role ", quoted(role));
  });
  if (row->required & ~found) {
    fail(place.kind, place.words, ": expected ",
         (row->required & MATRIX) ? "the weight 'weight'" : "the weights 'scale' and 'shift'", ", got none");
  }
  if (node->groups > 1 && weights[static_cast<size_t>(node->weight)].format != Format::dense) {
    fail(place.kind, place.words,
         ": expected a weight of format dense for groups > 1, got another; pack this layer dense");
  }
}

}  // namespace gossamer
