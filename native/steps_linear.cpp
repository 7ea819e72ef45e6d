// Linear layers. One row of inputs: matrix times vector. More rows: they become the lanes of an interleaved tile
// [inputs][lanes], on which the convolution's kernels run; a weight then costs one vector instead of one gather.
#include <algorithm>

#include "tuner.h"

namespace gossamer {
namespace {

// Lanes of a tile: as many vectors as the rows fill and the kernel holds, within kTileFloats.
int64_t tile_lanes(const KernelTable& kernels, int64_t rows, int64_t inputs, int64_t outputs) {
  const int64_t width = kernels.lanes, wanted = std::min<int64_t>((rows + width - 1) / width, kernels.max_vectors);
  const int64_t fit = std::max<int64_t>(1, kTileFloats / std::max<int64_t>(1, (inputs + outputs) * width));
  return std::max<int64_t>(1, std::min(wanted, fit)) * width;
}

struct LinearStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *in = nullptr, *out = nullptr, *scratch = nullptr;
  int64_t inputs = 0, outputs = 0, lanes = 0;
  PackedRows packed;     // for several rows
  int tile_vectors = 1;  // of a pass over them
  std::vector<float> bias;
  VectorProduct vector;     // for one row; empty where an example has more
  int64_t most_narrow = 0;  // rows that run on the streams of `vector`, interleaved
  float lo = 0, hi = 0;

  // Up to eight rows: every part turns all inputs into a tile of its own and computes its share of the outputs.
  void few_rows(const Frame& frame, const float* x, float* y, int64_t rows) const {
    const int width = rows <= 4 ? 4 : 8, threads = frame.team->size();
    const float* add = bias.empty() ? nullptr : bias.data();
    frame.team->run([&](int part) {
      float* turned = frame.arena + scratch->offset + part * ((inputs + outputs) * lanes + kAlign);
      float* result = turned + inputs * width;
      kernels->interleave(x, turned, rows, inputs, width);
      vector.run_interleaved(width, turned, result, add, part, threads, lo, hi);
      const int64_t end = vector.first_row(part + 1, threads);
      for (int64_t r = vector.first_row(part, threads); r < end; ++r)
        for (int64_t i = 0; i < rows; ++i) y[i * outputs + r] = result[r * width + i];
    });
  }

  void run(const Frame& frame) const override {
    const float* x = frame.arena + in->offset;
    float* y = frame.arena + out->offset;
    const int64_t rows = in->elements / inputs * frame.count;
    const int threads = frame.team->size();
    if (rows == 1 && vector.rows() > 0) {
      const float* add = bias.empty() ? nullptr : bias.data();
      frame.team->run([&](int part) { vector.run(x, y, add, part, threads, lo, hi); });
      return;
    }
    if (rows <= most_narrow) return few_rows(frame, x, y, rows);
    const int64_t tiles = (rows + lanes - 1) / lanes;
    frame.team->run([&](int part) {
      float* turned = frame.arena + scratch->offset + part * ((inputs + outputs) * lanes + kAlign);
      float* result = turned + inputs * lanes;
      LaneCall call;
      call.x = turned;
      call.y = result;
      call.y_stride = lanes;
      call.lo = lo;
      call.hi = hi;
      for (int64_t t = tiles * part / threads; t < tiles * (part + 1) / threads; ++t) {
        const int64_t count = std::min(lanes, rows - t * lanes);
        call.finite = !packed.guarded || surely_finite(*kernels, x + t * lanes * inputs, count * inputs);
        kernels->interleave(x + t * lanes * inputs, turned, count, inputs, lanes);
        const int vectors = static_cast<int>((count + kernels->lanes - 1) / kernels->lanes);
        for (int done = 0; done < vectors; done += tile_vectors) {
          call.lane = int64_t{done} * kernels->lanes;
          call.vectors = std::min(tile_vectors, vectors - done);
          run_lanes(*kernels, packed, call);
        }
        kernels->deinterleave(result, y + t * lanes * outputs, count, outputs, lanes);
      }
    });
  }
};

}  // namespace

int64_t linear_scratch(const KernelTable& kernels, int64_t rows, int64_t inputs, int64_t outputs, int threads,
                       const Budget& budget) {
  if (rows <= 1) return 0;
  return budget.product(
      {budget.product({inputs + outputs, tile_lanes(kernels, rows, inputs, outputs)}, "a tile") + kAlign, threads},
      "a tile");
}

namespace {
// Several rows: `step` without and then with their weights. Returns what was measured, in words.
std::string add_lanes(LinearStep& step, const Context& context, const Weight& weight, int64_t rows, LayerInfo& info) {
  const Weighed w = weigh(weight, context.budget);
  LaneLayer layer;
  layer.rows = layer.group_rows = step.outputs;
  layer.lanes = rows;
  layer.channels = step.inputs;
  layer.channel_stride = layer.stored_lanes = step.lanes;
  const auto make = [&](const LaneChoice& choice, Budget& budget) {
    auto made = std::make_unique<LinearStep>(step);
    made->tile_vectors = choice.vectors;
    made->most_narrow = 0;
    made->packed = pack_lanes(context.kernels, w, layer, choice, 1, budget);
    made->packed.bias = step.bias;
    return made;
  };
  const std::vector<LaneCandidate> candidates = lane_candidates(context.kernels, w, layer);
  const auto [choice, measured] =
      pick_lanes(context, "linear", layer, w, candidates, *step.in, context.chunk, info, make);
  auto made = make(choice, context.budget);
  step.packed = std::move(made->packed);
  step.tile_vectors = made->tile_vectors;
  info.kernel = lane_kernel(choice, "dense_gemm");
  info.reason = lane_reason(w, candidates, choice, measured);
  return measured;
}
}  // namespace

std::unique_ptr<Step> make_linear(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  auto step = std::make_unique<LinearStep>();
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  const Weight& weight = context.net.weights[static_cast<size_t>(node.weight)];
  step->kernels = &context.kernels;
  step->node = spec.node;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  step->outputs = weight.shape[0];
  step->inputs = weight.shape[1];
  const int64_t rows_per_example = step->in->elements / step->inputs;
  step->lo = spec.lo;
  step->hi = spec.hi;
  step->bias = optional_vector(context.net, node.bias, context.budget);
  const int64_t most_rows = context.budget.product({rows_per_example, context.chunk}, "rows of a linear layer");
  if (most_rows > 1) {
    step->scratch = &context.slot(spec.scratch);
    step->lanes = tile_lanes(context.kernels, most_rows, step->inputs, step->outputs);
  }
  if (rows_per_example == 1) {
    step->vector = VectorProduct::make(weight, context.kernels, context.budget);
    pick_vector_product(context, "linear", weight, step->vector, *step->in, info, [&](const VectorProduct& product) {
      auto made = std::make_unique<LinearStep>(*step);
      made->vector = product;
      return made;
    });
    if (step->vector.interleaves()) step->most_narrow = std::min<int64_t>({8, step->lanes, most_rows});
  }
  std::string measured;
  if (most_rows > std::max<int64_t>(1, step->most_narrow))
    measured = add_lanes(*step, context, weight, most_rows, info);
  if (rows_per_example == 1) {
    std::string batches;
    if (step->most_narrow > 1)
      batches = "; batches of 2 to " + std::to_string(step->most_narrow) + " interleave on the same weights";
    if (!info.kernel.empty()) batches += "; larger batches interleave on " + info.kernel;
    if (!measured.empty()) batches += " (" + measured + ")";
    info.reason = step->vector.reason() + batches;
    info.kernel = step->vector.kernel();
  }
  info.num_kept = weight.num_kept;
  info.num_weights = step->outputs * step->inputs;
  info.macs = info.num_kept * rows_per_example;
  info.macs_dense = info.num_weights * rows_per_example;
  const size_t bytes = step->packed.bytes() + step->vector.bytes() + step->bias.size() * 4;
  info.bytes = static_cast<int64_t>(bytes);
  weight_bytes += bytes;
  return step;
}

}  // namespace gossamer
