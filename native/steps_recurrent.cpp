// LSTM and GRU: the products with x for all steps at once over lanes (a lane is a step of an example), those with h
// step by step. One example: matrix times vector, with the first products in the place of the bias. Several: their
// states interleaved, so that a step reads the weights once for all of them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "column_product.h"
#include "strided.h"
#include "tuner.h"

namespace gossamer {
namespace {

constexpr int64_t kMostTogether = 8;  // examples that step together

// Lanes of a tile of x.
int64_t tile_lanes(int64_t rows, int64_t inputs, int64_t gates) {
  const int64_t fit = kTileFloats / std::max<int64_t>(1, inputs + gates) / kAlign * kAlign;
  return std::min(round_up(rows), std::max<int64_t>(kAlign, fit));
}

// Where the parts of a step's scratch begin.
struct Room {
  int64_t tile = 0, planes = 0, from_x = 0, sums = 0, states = 0, interleaved = 0, end = 0;  // floats
  Room(int64_t inputs, int64_t gates, int64_t hidden, int64_t lanes, int64_t rows, int64_t examples) {
    planes = tile + inputs * lanes;
    from_x = planes + gates * lanes;
    sums = from_x + round_up(rows * gates);
    states = sums + round_up(examples * gates);
    interleaved = states + (examples > 1 ? hidden * kMostTogether : 0);
    end = interleaved + (examples > 1 ? gates * kMostTogether : 0);
  }
};

struct RecurrentStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *x = nullptr, *h = nullptr, *c = nullptr;  // h, c null: zero at first
  const Slot *y = nullptr, *last_h = nullptr, *last_c = nullptr, *scratch = nullptr;
  bool lstm = true, reverse = false;
  int64_t inputs = 0, hidden = 0, gates = 0, lanes = 0;
  PackedRows input;
  int tile_vectors = 1;  // of a pass over the steps
  VectorProduct recurrent;
  ColumnProduct columns;           // the same matrix where that is faster
  std::vector<float> hidden_bias;  // gru: [3H], zero but for n
  Room room{0, 0, 0, 0, 0, 0};

  float* scratch_at(const Frame& frame, int64_t floats) const { return frame.arena + scratch->offset + floats; }

  // [examples][steps][gates] of x, tile by tile.
  const float* input_part(const Frame& frame) const {
    const int64_t rows = x->shape[0] * frame.count;
    float *turned = scratch_at(frame, room.tile), *planes = scratch_at(frame, room.planes),
          *result = scratch_at(frame, room.from_x);
    const int threads = frame.team->size();
    for (int64_t row = 0; row < rows; row += lanes) {
      const int64_t count = std::min(lanes, rows - row);
      const int vectors = static_cast<int>((count + kernels->lanes - 1) / kernels->lanes);
      kernels->transpose(at(frame, *x) + row * inputs, inputs, turned, lanes, count, inputs);
      const bool finite = !input.guarded || surely_finite(*kernels, at(frame, *x) + row * inputs, count * inputs);
      frame.team->run([&](int part) {
        LaneCall call;
        call.x = turned;
        call.y = planes;
        call.y_stride = lanes;
        call.lo = -std::numeric_limits<float>::infinity();
        call.hi = std::numeric_limits<float>::infinity();
        call.part = part;
        call.parts = threads;
        call.finite = finite;
        for (int done = 0; done < vectors; done += tile_vectors) {
          call.lane = int64_t{done} * kernels->lanes;
          call.vectors = std::min(tile_vectors, vectors - done);
          run_lanes(*kernels, input, call);
        }
      });
      kernels->transpose(planes, lanes, result + row * gates, gates, gates, count);
    }
    return result;
  }

  void begin(const Frame& frame, const Slot& to, const Slot* from) const {
    const size_t bytes = static_cast<size_t>(hidden * frame.count) * sizeof(float);
    if (from != nullptr)
      std::memcpy(at(frame, to), at(frame, *from), bytes);
    else
      std::memset(at(frame, to), 0, bytes);
  }

  void cell(const Frame& frame, int64_t example, const float* of_x, const float* sums) const {
    if (lstm)
      kernels->lstm_cell(sums, at(frame, *last_c, example), at(frame, *last_h, example), hidden);
    else
      kernels->gru_cell(of_x, sums, at(frame, *last_h, example), hidden);
  }

  // One example: matrix times vector.
  void alone(const Frame& frame, int64_t example, const float* of_x) const {
    const float *h_now = at(frame, *last_h, example), *add = lstm ? of_x : hidden_bias.data();
    float* sums = scratch_at(frame, room.sums);
    const int threads = frame.team->size();
    // A dropped weight contributes nothing, even against NaN: then by rows. States lie between -1 and 1, so that their
    // sum is finite where they all are.
    if (!columns.empty() && std::isfinite(kernels->fold(kSum, h_now, hidden)))
      frame.team->run([&](int part) { columns.run(h_now, sums, add, part, threads); });
    else
      frame.team->run([&](int part) { recurrent.run(h_now, sums, add, part, threads); });
    cell(frame, example, of_x, sums);
  }

  // `count` examples from `first` on: their states interleaved.
  void together(const Frame& frame, int64_t first, int64_t count, const float* of_x, int64_t x_stride) const {
    const int threads = frame.team->size(), width = count <= 4 ? 4 : 8;
    float *states = scratch_at(frame, room.states), *interleaved = scratch_at(frame, room.interleaved),
          *sums = scratch_at(frame, room.sums);
    kernels->interleave(at(frame, *last_h, first), states, count, hidden, width);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float* add = lstm ? nullptr : hidden_bias.data();
    frame.team->run([&](int part) {
      recurrent.run_interleaved(width, states, interleaved, add, part, threads, -kInfinity, kInfinity);
    });
    kernels->deinterleave(interleaved, sums, count, gates, width);
    for (int64_t e = 0; e < count; ++e) {
      const float* more = of_x + (first + e) * x_stride;
      float* own = sums + e * gates;
      if (lstm) kernels->add(own, more, own, gates, -kInfinity, kInfinity);
      cell(frame, first + e, more, own);
    }
  }

  void run(const Frame& frame) const override {
    const int64_t steps = x->shape[0], x_stride = steps * gates;
    const float* from_x = input_part(frame);
    begin(frame, *last_h, h);
    if (lstm) begin(frame, *last_c, c);
    const int64_t least = columns.empty() ? 1 : 4;  // three examples by columns are as fast as three together
    for (int64_t i = 0; i < steps; ++i) {
      const int64_t s = reverse ? steps - 1 - i : i;
      const float* of_x = from_x + s * gates;
      for (int64_t e = 0, count = 0; e < frame.count; e += count) {
        count = recurrent.together(frame.count - e);
        if (count < least) count = 1;
        if (count == 1)
          alone(frame, e, of_x + e * x_stride);
        else
          together(frame, e, count, of_x, x_stride);
      }
      for (int64_t e = 0; e < frame.count; ++e)
        std::memcpy(at(frame, *y, e) + s * hidden, at(frame, *last_h, e), static_cast<size_t>(hidden) * sizeof(float));
    }
  }
};

}  // namespace

int64_t recurrent_examples() { return kMostTogether; }

int64_t recurrent_scratch(const Network& net, const Node& node, int64_t steps, int64_t examples, const Budget& budget) {
  const Weight& weight = net.weights[static_cast<size_t>(node.weight)];
  const int64_t gates = weight.shape[0], inputs = weight.shape[1],
                hidden = net.weights[static_cast<size_t>(node.hidden)].shape[1];
  const int64_t rows = budget.product({steps, examples}, "steps of a recurrent layer");
  const int64_t lanes = tile_lanes(rows, inputs, gates);
  budget.product({inputs + gates, lanes}, "steps of a recurrent layer");
  budget.product({rows, gates}, "steps of a recurrent layer");
  return Room(inputs, gates, hidden, lanes, rows, examples).end;
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
  const int64_t rows = step->x->shape[0] * context.chunk;
  step->lanes = tile_lanes(rows, step->inputs, step->gates);
  step->room = Room(step->inputs, step->gates, step->hidden, step->lanes, rows, context.chunk);

  step->recurrent = VectorProduct::make(hidden, context.kernels, context.budget);
  step->columns = ColumnProduct::make(hidden, context.kernels, context.budget);
  if (!step->lstm) {
    step->hidden_bias.assign(static_cast<size_t>(step->gates), 0.0f);
    const std::vector<float> last = optional_vector(net, node.hidden_bias, context.budget);
    std::copy(last.begin(), last.end(), step->hidden_bias.end() - static_cast<std::ptrdiff_t>(last.size()));
  }

  const Weighed w = weigh(input, context.budget);
  info.num_kept = w.kept;
  info.num_weights = w.total;
  LaneLayer layer;
  layer.rows = layer.group_rows = step->gates;
  layer.lanes = rows;
  layer.channels = step->inputs;
  layer.channel_stride = layer.stored_lanes = step->lanes;
  const std::vector<float> bias = optional_vector(net, node.bias, context.budget);
  const auto make = [&](const LaneChoice& choice, Budget& budget) {
    auto made = std::make_unique<RecurrentStep>(*step);
    made->tile_vectors = choice.vectors;
    made->input = pack_lanes(context.kernels, w, layer, choice, context.threads, budget);
    made->input.bias = bias;
    return made;
  };
  const std::vector<LaneCandidate> candidates = lane_candidates(context.kernels, w, layer);
  const auto [choice, measured] =
      pick_lanes(context, step->lstm ? "lstm" : "gru", layer, w, candidates, *step->x, context.chunk, info, make);
  step = make(choice, context.budget);
  info.reason = "x: " + lane_reason(w, candidates, choice, measured);
  if (step->columns.empty()) {
    const std::string what = (step->lstm ? "lstm " : "gru ") + std::to_string(step->x->shape[0]);  // its steps
    pick_vector_product(context, what, hidden, step->recurrent, *step->x, info, [&](const VectorProduct& product) {
      auto made = std::make_unique<RecurrentStep>(*step);
      made->recurrent = product;
      return made;
    });
  }

  info.num_kept += step->recurrent.kept();
  info.num_weights += step->gates * step->hidden;
  info.reason += "; h: " + step->recurrent.reason();
  if (!step->columns.empty()) info.reason += "; small enough to run column by column with its zeros";
  if (context.chunk > 1)
    info.reason += step->recurrent.interleaves()
                       ? "; up to " + std::to_string(context.chunk) + " examples step together"
                       : "; example by example";
  info.kernel = (step->lstm ? "lstm:" : "gru:") + (step->columns.empty() ? step->recurrent.kernel() : "dense_columns");
  info.macs = info.num_kept * step->x->shape[0];
  info.macs_dense = info.num_weights * step->x->shape[0];
  const size_t bytes = step->input.bytes() + step->recurrent.bytes() + step->columns.bytes();
  info.bytes = static_cast<int64_t>(bytes);
  weight_bytes += bytes;
  return step;
}

}  // namespace gossamer
