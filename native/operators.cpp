// Operators: which attributes and weights each has (docs/formats/operators.md). Rules that need the shapes of values
// are in shapes*.cpp.
#include <algorithm>

#include "attributes.h"
#include "check.h"
#include "reader.h"

namespace gossamer {
namespace {

using Type = Json::Type;

struct Role {
  enum Kind { matrix, vector32, vector } kind;  // vector32: float32 alone
  const char* name;
  bool required;
  int Node::* index;
};

const Role kMatrix{Role::matrix, "weight", true, &Node::weight};
const Role kNormWeight{Role::vector32, "weight", false, &Node::weight};
const Role kBias{Role::vector32, "bias", false, &Node::bias};
const Role kScaleRole{Role::vector32, "scale", true, &Node::scale};
const Role kShiftRole{Role::vector32, "shift", true, &Node::shift};
const Role kValue{Role::vector, "value", true, &Node::weight};
const Role kInputMatrix{Role::matrix, "input", true, &Node::weight};
const Role kHidden{Role::matrix, "hidden", true, &Node::hidden};
const Role kHiddenBias{Role::vector32, "hidden_bias", false, &Node::hidden_bias};

struct OpRow {
  const char* name;
  Op op;
  int since;  // format version
  size_t least_inputs, most_inputs;
  std::vector<const Attribute*> attributes;
  std::vector<const Role*> roles;
  size_t outputs = 1;
};

const std::vector<OpRow>& operators() {
  static const std::vector<OpRow> rows = {
      {"conv2d", Op::conv2d, 1, 1, 1, {&kKernel, &kStride, &kPadding, &kDilation, &kGroups}, {&kMatrix, &kBias}},
      {"linear", Op::linear, 1, 1, 1, {}, {&kMatrix, &kBias}},
      {"channel_affine", Op::channel_affine, 1, 1, 1, {}, {&kScaleRole, &kShiftRole}},
      {"layer_norm", Op::layer_norm, 1, 1, 1, {&kAxisCount, &kEpsilon}, {&kNormWeight, &kBias}},
      {"relu", Op::relu, 1, 1, 1, {}, {}},
      {"relu6", Op::relu6, 1, 1, 1, {}, {}},
      {"silu", Op::silu, 1, 1, 1, {}, {}},
      {"sigmoid", Op::sigmoid, 1, 1, 1, {}, {}},
      {"gelu", Op::gelu, 1, 1, 1, {&kApproximate}, {}},
      {"softmax", Op::softmax, 1, 1, 1, {&kAxis}, {}},
      {"add", Op::add, 1, 2, 2, {}, {}},
      {"concat", Op::concat, 1, 2, 64, {&kAxis}, {}},
      {"max_pool2d", Op::max_pool2d, 1, 1, 1, {&kKernel, &kStride, &kPadding, &kDilation}, {}},
      {"avg_pool2d", Op::avg_pool2d, 1, 1, 1, {&kKernel, &kStride, &kPadding, &kCountPad}, {}},
      {"adaptive_avg_pool2d", Op::adaptive_avg_pool2d, 1, 1, 1, {&kOutput}, {}},
      {"flatten", Op::flatten, 1, 1, 1, {&kFlattenStart}, {}},

      {"tanh", Op::tanh, 2, 1, 1, {}, {}},
      {"exp", Op::exp, 2, 1, 1, {}, {}},
      {"log", Op::log, 2, 1, 1, {}, {}},
      {"sqrt", Op::sqrt, 2, 1, 1, {}, {}},
      {"rsqrt", Op::rsqrt, 2, 1, 1, {}, {}},
      {"abs", Op::abs, 2, 1, 1, {}, {}},
      {"neg", Op::neg, 2, 1, 1, {}, {}},
      {"erf", Op::erf, 2, 1, 1, {}, {}},
      {"sin", Op::sin, 2, 1, 1, {}, {}},
      {"cos", Op::cos, 2, 1, 1, {}, {}},
      {"floor", Op::floor, 2, 1, 1, {}, {}},
      {"sign", Op::sign, 2, 1, 1, {}, {}},
      {"hardswish", Op::hardswish, 2, 1, 1, {}, {}},
      {"hardsigmoid", Op::hardsigmoid, 2, 1, 1, {}, {}},
      {"mish", Op::mish, 2, 1, 1, {}, {}},
      {"leaky_relu", Op::leaky_relu, 2, 1, 1, {&kSlope}, {}},
      {"elu", Op::elu, 2, 1, 1, {&kAlpha}, {}},
      {"softplus", Op::softplus, 2, 1, 1, {&kBeta, &kThreshold}, {}},
      {"clamp", Op::clamp, 2, 1, 1, {&kLow, &kHigh}, {}},
      {"affine", Op::affine, 2, 1, 1, {&kScaleNumber, &kShift}, {}},
      {"power", Op::power, 2, 1, 1, {&kExponent}, {}},

      {"sub", Op::sub, 2, 2, 2, {}, {}},
      {"mul", Op::mul, 2, 2, 2, {}, {}},
      {"div", Op::div, 2, 2, 2, {}, {}},
      {"maximum", Op::maximum, 2, 2, 2, {}, {}},
      {"minimum", Op::minimum, 2, 2, 2, {}, {}},
      {"equal", Op::equal, 2, 2, 2, {}, {}},
      {"not_equal", Op::not_equal, 2, 2, 2, {}, {}},
      {"less", Op::less, 2, 2, 2, {}, {}},
      {"less_equal", Op::less_equal, 2, 2, 2, {}, {}},
      {"where", Op::where, 2, 3, 3, {}, {}},

      {"mean", Op::mean, 2, 1, 1, {&kAxisList, &kKeep}, {}},
      {"sum", Op::sum, 2, 1, 1, {&kAxisList, &kKeep}, {}},
      {"max", Op::max, 2, 1, 1, {&kAxisList, &kKeep}, {}},
      {"min", Op::min, 2, 1, 1, {&kAxisList, &kKeep}, {}},
      {"argmax", Op::argmax, 2, 1, 1, {&kAxis, &kKeep}, {}},
      {"cumsum", Op::cumsum, 2, 1, 1, {&kAxis}, {}},
      {"rms_norm", Op::rms_norm, 2, 1, 1, {&kAxisCount, &kEpsilon}, {&kNormWeight}},
      {"group_norm", Op::group_norm, 2, 1, 1, {&kGroups, &kEpsilon}, {&kNormWeight, &kBias}},

      {"reshape", Op::reshape, 2, 1, 1, {&kShapeWithRest}, {}},
      {"permute", Op::permute, 2, 1, 1, {&kAxisOrder}, {}},
      {"slice", Op::slice, 2, 1, 1, {&kAxis, &kSliceStart, &kStop, &kStep}, {}},
      {"expand", Op::expand, 2, 1, 1, {&kShape}, {}},
      {"pad", Op::pad, 2, 1, 1, {&kBefore, &kAfter, &kPadMode, &kFill}, {}},
      {"flip", Op::flip, 2, 1, 1, {&kAxisList}, {}},
      {"constant", Op::constant, 2, 1, 1, {&kShape}, {&kValue}},
      {"pixel_shuffle", Op::pixel_shuffle, 2, 1, 1, {&kFactor, &kPixelOrder}, {}},
      {"upsample", Op::upsample, 2, 1, 1, {&kOutput, &kSourceScale, &kUpsampleMode, &kAlignCorners}, {}},

      {"matmul", Op::matmul, 2, 2, 2, {&kTransposeB}, {}},
      {"attention", Op::attention, 2, 3, 4, {&kScaleNumber, &kCausal, &kMask}, {}},
      {"embedding", Op::embedding, 2, 1, 1, {}, {&kMatrix}},
      {"lstm", Op::lstm, 2, 1, 3, {&kReverse}, {&kInputMatrix, &kHidden, &kBias}, 3},
      {"gru", Op::gru, 2, 1, 2, {&kReverse}, {&kInputMatrix, &kHidden, &kBias, &kHiddenBias}, 2},
  };
  return rows;
}

class OperatorReader {
 public:
  OperatorReader(const OperatorSite& site, const OpRow& row, Node* node)
      : site_(site), place_(site.place), row_(row), node_(*node) {}

  void read(Json::View attributes, Json::View roles) {
    node_.op = row_.op;
    node_.op_name = row_.name;
    if (row_.since > site_.version) {
      error("expected an operator of format version ", site_.version, ", got '", row_.name, "' of version ",
            row_.since);
    }
    const size_t count = node_.inputs.size();
    if (count < row_.least_inputs || count > row_.most_inputs)
      error("expected ", row_.least_inputs, " to ", row_.most_inputs, " inputs of ", row_.name, ", got ", count);
    read_attributes(attributes);
    read_roles(roles);
    check_together();
  }

 private:
  template <class... T>
  [[noreturn]] void error(const T&... parts) const {
    fail(place_.kind, place_.words, ": ", parts...);
  }

  void read_attributes(Json::View view) {
    expect(place_, view, Type::object, "attributes");
    std::vector<bool> found(row_.attributes.size());
    view.each_member([&](std::string_view key, Json::View value) {
      for (size_t i = 0; i < found.size(); ++i) {
        if (key != row_.attributes[i]->name) continue;
        row_.attributes[i]->read({place_, site_.length}, value, &node_);
        found[i] = true;
        return;
      }
      error("expected only attributes of ", row_.name, ", got ", quoted(key));
    });
    for (size_t i = 0; i < found.size(); ++i) {
      if (!found[i]) error("expected the attribute '", row_.attributes[i]->name, "', got none");
    }
  }

  void read_roles(Json::View view) {
    expect(place_, view, Type::object, "weights");
    view.each_member([&](std::string_view key, Json::View value) {
      for (const Role* role : row_.roles) {
        if (key == role->name) return read_role(*role, value);
      }
      error("expected only weights of ", row_.name, ", got the role ", quoted(key));
    });
    for (const Role* role : row_.roles) {
      if (role->required && node_.*(role->index) < 0) error("expected the weight '", role->name, "', got none");
    }
  }

  void read_role(const Role& role, Json::View value) {
    std::string_view name = string_of(place_, value, role.name);
    auto at = site_.weight_index.find(name);
    if (at == site_.weight_index.end())
      error("expected '", role.name, "' to name a weight of the manifest, got ", quoted(name));
    node_.*(role.index) = at->second;
    const Weight& w = weight(at->second);
    const bool fits = role.kind == Role::matrix
                          ? w.shape.size() == 2
                          : w.shape.size() == 1 && (role.kind == Role::vector || w.dtype == DType::f32);
    static const char* const kinds[] = {"matrix", "float32 vector", "vector"};
    if (!fits) {
      error("expected a ", kinds[role.kind], " as '", role.name, "', got weight ", quoted(w.name), " of shape ",
            listed(w.shape), w.dtype == DType::f16 ? ", float16" : ", float32");
    }
  }

  const Weight& weight(int index) const { return site_.weights[static_cast<size_t>(index)]; }

  // Rules between attributes, weights and the number of inputs.
  void check_together() const {
    const size_t inputs = node_.inputs.size();
    switch (node_.op) {
      case Op::conv2d:
        if (node_.groups > 1 && weight(node_.weight).format != Format::dense)
          error("expected a weight of format dense for groups > 1, got another; pack this layer dense");
        break;
      case Op::max_pool2d:
      case Op::avg_pool2d: check_pool_padding(); break;
      case Op::pad:
        if (node_.list2.size() != node_.list.size())
          error("expected as many numbers in 'after' as in 'before', got ", node_.list2.size(), " and ",
                node_.list.size());
        if (node_.mode != 0 && node_.number[0] != 0)
          error("expected the value 0 where 'mode' is not constant, got ", node_.number[0]);
        break;
      case Op::attention:
        if ((inputs == 4) != (node_.mode != 0))
          error("expected a mask as fourth input just where 'mask' is not none, got ", inputs, " inputs");
        break;
      case Op::lstm:
        if (inputs == 2) error("expected both states h and c or none, got 2 inputs");
        break;
      default: break;
    }
  }

  // No window of a pool may lie in the padding alone (undilated): padding <= window / 2 on every side.
  void check_pool_padding() const {
    for (int side = 0; side < 4; ++side) {
      int axis = side % 2;  // padding is top, left, bottom, right
      int64_t window = (node_.kernel[axis] - 1) * node_.dilation[axis] + 1;
      if (node_.padding[side] > window / 2)
        error("expected padding of at most half the window of ", window, ", got ", node_.padding[side]);
    }
  }

  const OperatorSite& site_;
  const Place& place_;
  const OpRow& row_;
  Node& node_;
};

}  // namespace

size_t read_operator(const OperatorSite& site, std::string_view op, Json::View attributes, Json::View roles,
                     Node* node) {
  const std::vector<OpRow>& rows = operators();
  auto row = std::find_if(rows.begin(), rows.end(), [&](const OpRow& r) { return op == r.name; });
  if (row == rows.end()) {
    std::string known;
    for (const OpRow& r : rows) {
      if (r.since <= site.version) known += std::string(known.empty() ? "" : ", ") + r.name;
    }
    fail(site.place.kind, site.place.words, ": expected one of the operators ", known, ", got ", quoted(op));
  }
  OperatorReader(site, *row, node).read(attributes, roles);
  return row->outputs;
}

}  // namespace gossamer
