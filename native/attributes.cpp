#include "attributes.h"

#include <cmath>
#include <limits>

#include "check.h"

namespace gossamer {
namespace {

using Type = Json::Type;
constexpr int64_t any_integer = (int64_t{1} << 53) - 1;
constexpr int64_t largest_size = (int64_t{1} << 31) - 1;
constexpr size_t most_axes = 7;  // of a value, without the batch

template <class... T>
[[noreturn]] void error(const AttributeSite& at, const T&... parts) {
  fail(at.place.kind, at.place.words, ": ", parts...);
}

void integers(const AttributeSite& at, Json::View view, const char* key, size_t count, int64_t low, int64_t high,
              int64_t* out) {
  expect(at.place, view, Type::array, key);
  if (view.size() != count) error(at, "expected '", key, "' to have ", count, " integers, got ", view.size());
  view.each([&](Json::View n) { *out++ = integer_in(at.place, n, key, low, high); });
}

bool boolean(const AttributeSite& at, Json::View view, const char* key) {
  expect(at.place, view, Type::boolean, key);
  return view.boolean();
}

double number(const AttributeSite& at, Json::View view, const char* key) {
  if (!view.is(Type::integer)) expect(at.place, view, Type::real, key);
  return view.number();
}

double positive(const AttributeSite& at, Json::View view, const char* key) {
  const double n = number(at, view, key);
  if (!(n > 0)) error(at, "expected '", key, "' greater than 0, got ", n);
  return n;
}

double number_or_null(const AttributeSite& at, Json::View view, const char* key, double none) {
  return view.is(Type::null) ? none : number(at, view, key);
}

// At most seven integers, as many as there are axes behind the batch.
void axis_integers(const AttributeSite& at, Json::View view, const char* key, int64_t low, int64_t high,
                   std::vector<int64_t>* out) {
  expect(at.place, view, Type::array, key);
  if (view.size() < 1 || view.size() > most_axes)
    error(at, "expected '", key, "' to have 1 to ", most_axes, " integers, got ", view.size());
  view.each([&](Json::View n) { out->push_back(integer_in(at.place, n, key, low, high)); });
}

int choice(const AttributeSite& at, Json::View view, const char* key, std::initializer_list<const char*> choices) {
  std::string_view found = string_of(at.place, view, key);
  std::string known;
  int index = 0;
  for (const char* one : choices) {
    if (found == one) return index;
    known += std::string(index++ ? ", " : "") + one;
  }
  error(at, "expected '", key, "' to be one of ", known, ", got ", quoted(found));
}

void shape(const AttributeSite& at, Json::View view, bool rest_allowed, Node* n) {
  expect(at.place, view, Type::array, "shape");
  if (view.size() > most_axes) error(at, "expected 'shape' to have at most ", most_axes, " sizes, got ", view.size());
  bool rest_found = false;
  view.each([&](Json::View size) {
    if (size.is(Type::string)) {
      if (at.length.empty() || size.string() != at.length)
        error(at, "expected a symbol in 'shape' to be the length of the network, got ", quoted(size.string()));
      n->list.push_back(kLength);
    } else if (rest_allowed && size.is(Type::integer) && size.integer() == -1) {
      if (rest_found) error(at, "expected at most one -1 in 'shape', got two");
      rest_found = true;
      n->list.push_back(kRest);
    } else {
      n->list.push_back(integer_in(at.place, size, "shape", 1, largest_size));
    }
  });
}

using At = const AttributeSite&;
using View = Json::View;

}  // namespace

// ---- windows
const Attribute kKernel{"kernel", [](At at, View v, Node* n) { integers(at, v, "kernel", 2, 1, 4096, n->kernel); }};
const Attribute kStride{"stride", [](At at, View v, Node* n) { integers(at, v, "stride", 2, 1, 4096, n->stride); }};
const Attribute kPadding{"padding", [](At at, View v, Node* n) { integers(at, v, "padding", 4, 0, 4095, n->padding); }};
const Attribute kDilation{"dilation",
                          [](At at, View v, Node* n) { integers(at, v, "dilation", 2, 1, 4096, n->dilation); }};
const Attribute kGroups{"groups",
                        [](At at, View v, Node* n) { n->groups = integer_in(at.place, v, "groups", 1, any_integer); }};
const Attribute kOutput{"output", [](At at, View v, Node* n) { integers(at, v, "output", 2, 1, 65536, n->out_size); }};
const Attribute kCountPad{"count_include_pad",
                          [](At at, View v, Node* n) { n->count_include_pad = boolean(at, v, "count_include_pad"); }};

// ---- along axes
const Attribute kAxis{"axis",
                      [](At at, View v, Node* n) { n->axis = integer_in(at.place, v, "axis", 1, any_integer); }};
const Attribute kAxisCount{"axes",
                           [](At at, View v, Node* n) { n->axes = integer_in(at.place, v, "axes", 1, any_integer); }};
const Attribute kAxisList{"axes", [](At at, View v, Node* n) {
                            axis_integers(at, v, "axes", 1, most_axes, &n->list);
                            for (size_t i = 1; i < n->list.size(); ++i) {
                              if (n->list[i - 1] >= n->list[i])
                                error(at, "expected ascending, distinct 'axes', got ", listed(n->list));
                            }
                          }};
const Attribute kKeep{"keep", [](At at, View v, Node* n) { n->keep = boolean(at, v, "keep"); }};
const Attribute kEpsilon{"epsilon", [](At at, View v, Node* n) { n->epsilon = positive(at, v, "epsilon"); }};

// ---- numbers
const Attribute kApproximate{
    "approximate", [](At at, View v, Node* n) { n->gelu_tanh = choice(at, v, "approximate", {"none", "tanh"}) == 1; }};
const Attribute kSlope{"slope", [](At at, View v, Node* n) { n->number[0] = number(at, v, "slope"); }};
const Attribute kAlpha{"alpha", [](At at, View v, Node* n) { n->number[0] = number(at, v, "alpha"); }};
const Attribute kBeta{"beta", [](At at, View v, Node* n) { n->number[0] = positive(at, v, "beta"); }};
const Attribute kThreshold{"threshold", [](At at, View v, Node* n) { n->number[1] = number(at, v, "threshold"); }};
const Attribute kLow{"low", [](At at, View v, Node* n) {
                       n->number[0] = number_or_null(at, v, "low", -std::numeric_limits<double>::infinity());
                     }};
const Attribute kHigh{"high", [](At at, View v, Node* n) {
                        n->number[1] = number_or_null(at, v, "high", std::numeric_limits<double>::infinity());
                      }};
const Attribute kScaleNumber{"scale", [](At at, View v, Node* n) { n->number[0] = number(at, v, "scale"); }};
const Attribute kShift{"shift", [](At at, View v, Node* n) { n->number[1] = number(at, v, "shift"); }};
const Attribute kExponent{"exponent", [](At at, View v, Node* n) { n->number[0] = number(at, v, "exponent"); }};

// ---- places along an axis
const Attribute kFlattenStart{
    "start", [](At at, View v, Node* n) { n->start = integer_in(at.place, v, "start", 1, any_integer); }};
const Attribute kSliceStart{
    "start", [](At at, View v, Node* n) { n->start = integer_in(at.place, v, "start", -any_integer, any_integer); }};
const Attribute kStop{"stop", [](At at, View v, Node* n) {
                        n->stop =
                            v.is(Type::null) ? kToEnd : integer_in(at.place, v, "stop", -any_integer, any_integer);
                      }};
const Attribute kStep{"step",
                      [](At at, View v, Node* n) { n->step = integer_in(at.place, v, "step", 1, any_integer); }};

// ---- shapes
const Attribute kShapeWithRest{"shape", [](At at, View v, Node* n) { shape(at, v, true, n); }};
const Attribute kShape{"shape", [](At at, View v, Node* n) { shape(at, v, false, n); }};
const Attribute kAxisOrder{"order", [](At at, View v, Node* n) {
                             axis_integers(at, v, "order", 1, most_axes, &n->list);
                             std::vector<bool> seen(n->list.size() + 1);
                             for (int64_t axis : n->list) {
                               const auto i = static_cast<size_t>(axis);
                               if (i >= seen.size() || seen[i])
                                 error(at, "expected each axis from 1 to ", n->list.size(), " once in 'order', got ",
                                       listed(n->list));
                               seen[i] = true;
                             }
                           }};
const Attribute kBefore{"before",
                        [](At at, View v, Node* n) { axis_integers(at, v, "before", 0, largest_size, &n->list); }};
const Attribute kAfter{"after",
                       [](At at, View v, Node* n) { axis_integers(at, v, "after", 0, largest_size, &n->list2); }};
const Attribute kFill{"value", [](At at, View v, Node* n) { n->number[0] = number(at, v, "value"); }};

// ---- choices
const Attribute kPadMode{
    "mode", [](At at, View v, Node* n) { n->mode = choice(at, v, "mode", {"constant", "reflect", "replicate"}); }};
const Attribute kUpsampleMode{"mode",
                              [](At at, View v, Node* n) { n->mode = choice(at, v, "mode", {"nearest", "bilinear"}); }};
const Attribute kMask{"mask", [](At at, View v, Node* n) { n->mode = choice(at, v, "mask", {"none", "add", "keep"}); }};
const Attribute kPixelOrder{
    "order", [](At at, View v, Node* n) { n->mode = choice(at, v, "order", {"channel_major", "phase_major"}); }};

// ---- the rest
const Attribute kFactor{"factor", [](At at, View v, Node* n) { integers(at, v, "factor", 2, 1, 4096, n->stride); }};
const Attribute kSourceScale{"scale", [](At at, View v, Node* n) {
                               expect(at.place, v, Type::array, "scale");
                               if (v.size() != 2) error(at, "expected 'scale' to have 2 numbers, got ", v.size());
                               double* out = n->scale2;
                               v.each([&](View one) {
                                 *out = positive(at, one, "scale");
                                 if (*out++ > 65536) error(at, "expected 'scale' of at most 65536, got more");
                               });
                             }};
const Attribute kAlignCorners{"align_corners",
                              [](At at, View v, Node* n) { n->align_corners = boolean(at, v, "align_corners"); }};
const Attribute kTransposeB{"transpose_b",
                            [](At at, View v, Node* n) { n->transpose_b = boolean(at, v, "transpose_b"); }};
const Attribute kCausal{"causal", [](At at, View v, Node* n) { n->causal = boolean(at, v, "causal"); }};
const Attribute kReverse{"reverse", [](At at, View v, Node* n) { n->reverse = boolean(at, v, "reverse"); }};

}  // namespace gossamer
