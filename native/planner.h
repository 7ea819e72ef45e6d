// What the planner makes of a network, and what the executor runs: slots (pieces of the arena) and steps over them.
//
// Two layouts. *plain*: [examples][...] row-major. *planar* (rank 4, one example): planes of height x row floats, `row`
// >= width; the columns width..row-1 are zero and serve as right padding of one row and left padding of the next;
// between two planes lies a zero gap that serves as bottom padding of one and top padding of the next. Every tap of a
// convolution with stride 1 is then one constant offset.
#pragma once
#include <cstdint>
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

struct Slot {
  std::vector<int64_t> shape;  // of one example
  int64_t elements = 0;        // of one example
  bool planar = false;
  int64_t channels = 0, height = 0, width = 0;         // planar only, as all below
  int64_t row = 0, plane = 0, lead = 0, tail = 0;      // floats: a row, a plane, before the first plane, after the last
  int64_t pad_rows = 0, pad_columns = 0, min_row = 0;  // what the readers ask for
  int64_t reach = 0;                                   // furthest lane that a reader touches, from a plane's start
  int64_t floats = 0, offset = -1;                     // size and place in the arena
  int place = -1;                                      // slot whose memory this one takes over; -1: its own
  int first = -1, last = -1;                           // steps
  int64_t lanes() const { return height * row; }
  int64_t origin() const { return offset + lead; }
};

enum class Do { input, output, to_planar, to_plain, node };

// A step before memory is known. `nodes`: the node and those fused into it, in order.
struct Spec {
  Do what = Do::node;
  int node = -1;
  std::vector<int> in;  // slots
  int out = -1, residual = -1, scratch = -1;
  int port = -1;         // input or output of the network
  float lo = 0, hi = 0;  // clamp of the epilogue
  bool strided = false;  // convolution through phase planes
};

struct Frame {
  float* arena = nullptr;
  const float* const* inputs = nullptr;
  float* const* outputs = nullptr;
  int64_t example = 0, count = 1;  // examples of this round
  Team* team = nullptr;
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
  std::vector<Slot> slots;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<Component> components;
  std::vector<LayerInfo> layers;
  int64_t arena_floats = 0;
  size_t weight_bytes = 0;
};

struct Context {  // what the makers of steps need
  const Network& net;
  const KernelTable& kernels;
  const std::vector<Slot>& slots;
  Budget& budget;
  int threads = 1;
  int64_t chunk = 1;                                                               // of the component
  const Slot& slot(int index) const { return slots[static_cast<size_t>(index)]; }  // stays where it is
};

Program plan_network(const Network& net, const KernelTable& kernels, const PlanOptions& options, Budget& budget);

// layout.cpp
void plan_rows(const Network& net, std::vector<Slot>& slots, std::vector<Spec>& specs,
               Budget& budget);                                                  // row strides, planes
void share_residuals(std::vector<Slot>& slots, const std::vector<Spec>& specs);  // sums over what they are added to
int64_t place_slots(std::vector<Slot>& slots, Budget& budget);                   // arena offsets; total floats

// steps_*.cpp
std::unique_ptr<Step> make_conv(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_linear(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_pool(const Context& context, const Spec& spec, LayerInfo& info);
std::unique_ptr<Step> make_pointwise(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes);
std::unique_ptr<Step> make_copy(const Context& context, const Spec& spec);
int64_t linear_scratch(const KernelTable& kernels, int64_t rows, int64_t inputs, int64_t outputs, int threads,
                       const Budget& budget);
int64_t pool_span(const Node& node, int64_t width, int64_t out_width);  // floats of one line of a pool's scratch
int64_t conv_phase_floats(const Node& node, const Slot& in, const Slot& out, const Budget& budget);

// Shared by the steps of planar slots.
void zero_gaps(float* base, const Slot& slot);  // everything of the slot that is not a lane
// ~0 on image columns, 0 on padding; as long as the slot's largest sizes need.
std::vector<uint32_t> lane_mask(const Slot& slot, Budget& budget);
void fill_mask(std::vector<uint32_t>& mask, const Slot& slot);  // anew, for the slot's present sizes

}  // namespace gossamer
