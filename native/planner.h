// What the planner makes of a network, and what the executor runs: slots (pieces of the arena) and steps over them.
//
// Two layouts. *plain*: [examples][...] row-major. *planar* (one example): planes of height x row floats, `row` >=
// width; the columns width..row-1 are zero and serve as right padding of one row and left padding of the next; between
// two planes lies a zero gap that serves as bottom padding of one and top padding of the next. Every tap of a
// convolution with stride 1 is then one constant offset. Which axis of the value lies where is told by `axes`: an image
// [C, H, W] has its channels as planes; tokens [T, K] have their features as planes and T as the columns of a single
// row, so that a linear layer is a 1x1 convolution and attention has its queries side by side.
//
// A slot may be a view of another one: permuted axes, a slice of planes, another shape over the same floats.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executor.h"
#include "kernels/kernels.h"
#include "network.h"
#include "threads.h"

namespace gossamer {

constexpr int64_t kAlign = 16;  // floats: the widest vector; slots, planes and tiles are multiples of it
inline int64_t round_up(int64_t n, int64_t to = kAlign) { return (n + to - 1) / to * to; }

// Counts bytes before they are allocated; a network that claims more than the limit ends here.
class Budget {
 public:
  explicit Budget(size_t limit) : limit_(limit) {}
  void take(int64_t count, int64_t size, const char* what);
  int64_t product(std::initializer_list<int64_t> factors,
                  const char* what) const;  // throws Error{memory} beyond the limit
  size_t used() const { return used_; }

 private:
  size_t limit_, used_ = 0;
};

enum class Place : int8_t { plane, row, column };
struct Axis {  // where an axis of a planar value lies; step: planes between two of its elements
  Place place = Place::plane;
  int64_t step = 0;
  bool operator==(const Axis& other) const { return place == other.place && step == other.step; }
};
using Axes = std::vector<Axis>;  // of one example; empty: plain

struct Slot {
  std::vector<int64_t> shape;  // of one example, at the present length
  int64_t elements = 0;        // of one example
  int value = -1;              // of the network; -1: scratch
  Axes axes;
  bool planar = false;
  int64_t channels = 0, height = 0, width = 0;         // planar only, as all below
  int64_t row = 0, plane = 0, lead = 0, tail = 0;      // floats: a row, a plane, before the first plane, after the last
  int64_t pad_rows = 0, pad_columns = 0, min_row = 0;  // what the readers ask for
  int64_t reach = 0;                                   // furthest lane that a reader touches, from a plane's start
  int64_t floats = 0, offset = -1;                     // size and place in the arena
  int place = -1;                                      // slot whose memory this one takes over; -1: its own
  std::vector<int64_t> most;                           // shape as planned: the greatest
  int first = -1, last = -1;                           // steps
  int owner = -1;                                      // of a view: the slot whose floats it shares
  int64_t first_channel = 0;                           // of a view: its first plane in the owner
  int64_t lanes() const { return (height - 1) * row + width; }
  int64_t origin() const { return offset + lead; }
  void set_shape(const int64_t* sizes, size_t rank);  // and all that follows from it; allocates nothing for equal ranks
  int64_t stride(size_t axis) const;                  // floats between two elements along an axis
  bool compact() const;                               // its planes are its own, without holes
};

enum class Do { input, output, copy, regroup, node };

// A step before memory is known. `nodes`: the node and those fused into it, in order.
struct Spec {
  Do what = Do::node;
  int node = -1;
  std::vector<int> in;        // slots
  std::vector<int> more_out;  // further outputs of lstm and gru
  int out = -1, residual = -1, scratch = -1;
  int port = -1;         // input or output of the network
  float lo = 0, hi = 0;  // clamp of the epilogue
  bool strided = false;  // convolution through phase planes
  bool led = false;      // 1x1 convolution of what the spec before makes, that may run behind it
};

struct Frame {
  float* arena = nullptr;
  const void* const* inputs = nullptr;  // float32, or int64 as network.h says
  float* const* outputs = nullptr;
  int64_t example = 0, count = 1;  // examples of this round
  Team* team = nullptr;
  std::vector<LayerInfo>* timed = nullptr;  // of the nodes, while they are timed; else null
};

// A step refers to slots of its program, whose sizes change with the length; what it derives from them it derives in
// run() or in resize().
struct Step {
  virtual ~Step() = default;
  virtual void run(const Frame& frame) const = 0;
  virtual void resize() {}  // after the sizes of the slots changed; allocates nothing
  int node = -1;            // whose time it is; -1: nobody's
};

// Examples are independent, and so are parts of a network that share no value: each part has its own batch.
struct Component {
  Dim batch;
  int64_t chunk = 1;       // examples a round: 1 where planes are involved
  int begin = 0, end = 0;  // steps
};

struct Program {
  Program() = default;
  Program(Program&&) = default;  // moving keeps slots where they are
  Program& operator=(Program&&) = default;
  // All sizes for another length, within those of the plan. Allocates only at a length's first use.
  void resize(const Network& net, int64_t length);

  std::vector<Slot> slots;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<Component> components;
  std::vector<int> component_of;  // of a value
  std::vector<LayerInfo> layers;
  std::vector<std::string> remarks;  // about the plan as a whole
  int64_t arena_floats = 0;
  size_t weight_bytes = 0;
  int64_t length = 0;  // present one; 0: the network has none

 private:
  std::map<int64_t, std::vector<std::vector<int64_t>>> shapes_;  // of lengths used before: of every slot
};

// The free dimensions of a network as indices into dims, -1 where it has none.
struct FreeDims {
  int batch = -1, length = -1;
};
FreeDims free_dims(const Network& net);
// Shapes of all values of one example; errors as those of run_shapes (executor.h).
std::vector<std::vector<int64_t>> example_shapes(const Network& net, int64_t length);

class Tuner;      // tuner.h
struct Context {  // what the makers of steps need
  const Network& net;
  const KernelTable& kernels;
  const std::vector<Slot>& slots;
  Budget& budget;
  int threads = 1;
  int64_t chunk = 1;                                                               // of the component
  Tuner* tuner = nullptr;                                                          // null: choices are estimated
  int candidate = 0;                                                               // PlanOptions
  const Slot& slot(int index) const { return slots[static_cast<size_t>(index)]; }  // stays where it is
};

Program plan_network(const Network& net, const KernelTable& kernels, const PlanOptions& options, Team& team,
                     Budget& budget);

// fusions.cpp
struct Chain {  // a convolution, linear layer or add with what follows it in the same kernel
  int add = -1, activation = -1, residual = -1;
  int last() const { return activation >= 0 ? activation : add; }
};
struct Fusions {
  std::vector<Chain> chains;  // of a node
  std::vector<int> head;      // of a node: the one it is fused into, or itself
};
Fusions find_fusions(const Network& net, const std::vector<std::vector<int64_t>>& most,
                     const std::vector<std::vector<int64_t>>& least);  // shapes at the ends of the length

// views.cpp: layouts of values and of what only renames their elements.
bool on_lanes(const Network& net, const Node& node, const std::vector<int64_t>& in);  // linear layers that run planar
Axes image_axes();                                                                    // [C, H, W]
Axes token_axes(size_t rank);  // [..., K]: the last axis as planes; rank 2 or 3
Axes compact_axes(const Axes& like, const std::vector<int64_t>& shape);  // the same order, without holes
struct Sizes {  // of one example at the largest and the smallest length
  std::vector<int64_t> most, least;
};
bool steady(const Axes& axes, const Sizes& sizes);  // planes do not move with the length
// Axes of the same floats under another shape; empty: there are none. regroup: rows and columns must be put anew.
Axes reshape_axes(const Axes& axes, const Sizes& from, const Sizes& to, bool& regroup);

// lower.cpp: specs in the order in which they run, and the slots they need.
std::vector<Spec> lower(const Network& net, const KernelTable& kernels, const PlanOptions& options, Budget& budget,
                        const Fusions& fusions, Program& program);

void find_led(const Network& net, const Program& program, std::vector<Spec>& specs);  // behind.cpp

// layout.cpp
void plan_rows(const Network& net, std::vector<Slot>& slots, std::vector<Spec>& specs,
               Budget& budget);                                                  // row strides, planes
void share_residuals(std::vector<Slot>& slots, const std::vector<Spec>& specs);  // sums over what they are added to
int64_t place_slots(std::vector<Slot>& slots, Budget& budget);                   // arena offsets; total floats

// steps_*.cpp
std::unique_ptr<Step> make_conv(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
bool run_behind(Step& first, Step& second);  // where Spec::led says that it may; false: it runs on its own
std::unique_ptr<Step> make_linear(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_pool(const Context& context, const Spec& spec, LayerInfo& info);
std::unique_ptr<Step> make_elementwise(const Context& context, const Spec& spec, LayerInfo& info);
std::unique_ptr<Step> make_norm(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_reduction(const Context& context, const Spec& spec, LayerInfo& info);
std::unique_ptr<Step> make_shape(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_matmul(const Context& context, const Spec& spec, LayerInfo& info);
std::unique_ptr<Step> make_attention(const Context& context, const Spec& spec, LayerInfo& info);
std::unique_ptr<Step> make_embedding(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_recurrent(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_copy(const Context& context, const Spec& spec);
int64_t linear_scratch(const KernelTable& kernels, int64_t rows, int64_t inputs, int64_t outputs, int threads,
                       const Budget& budget);
int64_t attention_scratch(const KernelTable& kernels, int64_t keys, int threads, const Budget& budget);
int64_t recurrent_scratch(const Network& net, const Node& node, int64_t steps, int64_t examples, const Budget& budget);
int64_t recurrent_examples();                                           // that an LSTM or GRU takes in a round at most
int64_t pool_span(const Node& node, int64_t width, int64_t out_width);  // floats of one line of a pool's scratch
// A strided convolution of an image has a phase plane for every column tap, so that with rows of whole vectors every
// operand is aligned.
bool plane_a_column(const Node& node, int64_t channels);
int64_t conv_phase_floats(const Node& node, const Slot& in, const Slot& out, const Budget& budget);

// Shared by the steps of planar slots.
// Everything of planes begin .. end - 1 that is not a lane, and what lies before the first and behind the last. No lane
// below `own` is touched.
void zero_gaps(float* base, const Slot& slot, int64_t begin, int64_t end, int64_t own = 0);
void zero_padding(float* base, const Slot& slot);  // of all planes, after the lanes were written, exactly
// ~0 on image columns, 0 on padding; as long as the slot's largest sizes need.
std::vector<uint32_t> lane_mask(const Slot& slot, Budget& budget);
void fill_mask(std::vector<uint32_t>& mask, const Slot& slot);  // anew, for the slot's present sizes

}  // namespace gossamer
