// LSTM and GRU: the products with x for all steps at once over lanes (a lane is a step), those with h step by step as
// matrix times vector, with the first ones in the place of the bias.
#include <algorithm>
#include <cstring>
#include <limits>

#include "pack_rows.h"
#include "strided.h"
#include "vector_product.h"

namespace gossamer {
namespace {

struct RecurrentStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *x = nullptr, *h = nullptr, *c = nullptr;  // h, c null: zero at first
  const Slot *y = nullptr, *last_h = nullptr, *last_c = nullptr, *scratch = nullptr;
  bool lstm = true, reverse = false;
  int64_t inputs = 0, hidden = 0, gates = 0, stride = 0;  // stride: lanes of the greatest number of steps
  PackedRows input;
  VectorProduct recurrent;
  std::vector<float> hidden_bias;  // gru: [3H], zero but for n

  // [steps][gates] of x.
  const float* input_part(const Frame& frame) const {
    const int64_t steps = x->shape[0];
    float* turned = frame.arena + scratch->offset;
    float* planes = turned + inputs * stride;
    float* result = planes + gates * stride;
    const int threads = frame.team->size();
    kernels->transpose(at(frame, *x), inputs, turned, stride, steps, inputs);
    const int vectors = static_cast<int>((steps + kernels->lanes - 1) / kernels->lanes),
              most = input.max_vectors(*kernels);
    frame.team->run([&](int part) {
      LaneCall call;
      call.x = turned;
      call.y = planes;
      call.y_stride = stride;
      call.lo = -std::numeric_limits<float>::infinity();
      call.hi = std::numeric_limits<float>::infinity();
      call.part = part;
      call.parts = threads;
      for (int done = 0; done < vectors; done += most) {
        call.lane = int64_t{done} * kernels->lanes;
        call.vectors = std::min(most, vectors - done);
        run_lanes(*kernels, input, call);
      }
    });
    kernels->transpose(planes, stride, result, gates, gates, steps);
    return result;
  }

  void run(const Frame& frame) const override {
    const int64_t steps = x->shape[0];
    const float* from_x = input_part(frame);
    float* sums = frame.arena + scratch->offset + (inputs + gates) * stride + steps_floats();
    float* h_now = at(frame, *last_h);
    const size_t bytes = static_cast<size_t>(hidden) * sizeof(float);
    const auto begin = [&](float* to, const Slot* from) {
      if (from != nullptr)
        std::memcpy(to, at(frame, *from), bytes);
      else
        std::memset(to, 0, bytes);
    };
    begin(h_now, h);
    if (lstm) begin(at(frame, *last_c), c);
    const int threads = frame.team->size();
    for (int64_t i = 0; i < steps; ++i) {
      const int64_t s = reverse ? steps - 1 - i : i;
      const float* of_x = from_x + s * gates;
      frame.team->run([&](int part) { recurrent.run(h_now, sums, lstm ? of_x : hidden_bias.data(), part, threads); });
      if (lstm)
        kernels->lstm_cell(sums, at(frame, *last_c), h_now, hidden);
      else
        kernels->gru_cell(of_x, sums, h_now, hidden);
      std::memcpy(at(frame, *y) + s * hidden, h_now, bytes);
    }
  }
  int64_t steps_floats() const { return round_up(stride * gates); }
};

}  // namespace

int64_t recurrent_scratch(const KernelTable&, const Network& net, const Node& node, int64_t steps,
                          const Budget& budget) {
  const Weight& weight = net.weights[static_cast<size_t>(node.weight)];
  const int64_t gates = weight.shape[0], stride = round_up(steps);
  return budget.product({weight.shape[1] + gates, stride}, "steps of a recurrent layer") +
         round_up(budget.product({stride, gates}, "steps of a recurrent layer")) + round_up(gates);
}

std::unique_ptr<Step> make_recurrent(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  auto step = std::make_unique<RecurrentStep>();
  const Network& net = context.net;
  const Node& node = net.nodes[static_cast<size_t>(spec.node)];
  const Weight &input = net.weights[static_cast<size_t>(node.weight)],
               &hidden = net.weights[static_cast<size_t>(node.hidden)];
  step->node = spec.node;
  step->kernels = &context.kernels;
  step->lstm = node.op == Op::lstm;
  step->reverse = node.reverse;
  step->inputs = input.shape[1];
  step->hidden = hidden.shape[1];
  step->gates = input.shape[0];
  step->x = &context.slot(spec.in[0]);
  if (spec.in.size() > 1) step->h = &context.slot(spec.in[1]);
  if (spec.in.size() > 2) step->c = &context.slot(spec.in[2]);
  step->y = &context.slot(spec.out);
  step->last_h = &context.slot(spec.more_out[0]);
  if (step->lstm) step->last_c = &context.slot(spec.more_out[1]);
  step->scratch = &context.slot(spec.scratch);
  step->stride = round_up(step->x->shape[0]);

  Weighed w = weigh(input, context.budget);
  info.num_kept = w.kept;
  info.num_weights = w.total;
  info.reason = "x: " + w.reason;
  ColumnMap map;
  map.channels = step->inputs;
  map.channel_stride = step->stride;
  const int64_t most = std::max<int64_t>(1, kNarrowSpan / step->stride), blocks = (step->inputs + most - 1) / most;
  map.block = (step->inputs + blocks - 1) / blocks;
  PackedRows& packed = step->input;
  packed.kind = w.kind;
  packed.rows = step->gates;
  packed.bias = optional_vector(net, node.bias, context.budget);
  switch (w.kind) {
    case PackedRows::Kind::sparse: packed.stream = pack_sparse(w.rows, map, context.threads, context.budget); break;
    case PackedRows::Kind::blocks: packed.blocks = pack_blocks(w.rows, map, context.budget); break;
    case PackedRows::Kind::dense:
      packed.blocks = pack_dense(w.matrix, step->gates, map, step->gates, 0, context.budget);
  }

  step->recurrent = VectorProduct::make(hidden, context.kernels, context.budget);
  info.num_kept += step->recurrent.kept();
  info.num_weights += step->gates * step->hidden;
  info.reason += "; h: " + step->recurrent.reason();
  if (!step->lstm) {
    step->hidden_bias.assign(static_cast<size_t>(step->gates), 0.0f);
    const std::vector<float> last = optional_vector(net, node.hidden_bias, context.budget);
    std::copy(last.begin(), last.end(), step->hidden_bias.end() - static_cast<std::ptrdiff_t>(last.size()));
  }
  info.kernel = (step->lstm ? "lstm:" : "gru:") + step->recurrent.kernel();
  info.macs = info.num_kept * step->x->shape[0];
  info.macs_dense = info.num_weights * step->x->shape[0];
  const size_t bytes = packed.bytes() + step->recurrent.bytes();
  info.bytes = static_cast<int64_t>(bytes);
  weight_bytes += bytes;
  return step;
}

}  // namespace gossamer
