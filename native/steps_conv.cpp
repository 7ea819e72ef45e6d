// Convolutions: what each might run as, the choice, and its weights packed for it.
#include <limits>

#include "conv_step.h"
#include "tuner.h"

namespace gossamer {
namespace {

// Of an image's operands, one a tap, which four rows at a time read again: L1. The stem of ResNet-50 with aligned
// operands (plane_a_column): 1.05 times faster with 4 vectors than unaligned with 6; 3, 5 and 6 vectors: 1.01 to 1.04.
constexpr int64_t kImageTile = 9728;
constexpr int kLeastImageVectors = 3;

// Depthwise: the rows of a weight over all channels instead of those of their group, which are few.
SparseRows rows_over_all(const Weighed& weight, const Node& node, const Slot& in, const Slot& out, Budget& budget) {
  const int64_t taps = node.kernel[0] * node.kernel[1], group_inputs = in.channels / node.groups,
                group_outputs = out.channels / node.groups;
  SparseRows wide;
  wide.rows = out.channels;
  wide.columns = taps * in.channels;
  if (wide.columns > std::numeric_limits<int32_t>::max())
    throw Error{Error::Kind::plan, "expected fewer than 2^31 taps of a grouped convolution, got more"};
  budget.take(static_cast<int64_t>(weight.matrix.size()), 8, "packed weights");
  wide.row_start.push_back(0);
  for (int64_t o = 0; o < out.channels; ++o) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t c = 0; c < group_inputs; ++c) {
        const float value = weight.matrix[static_cast<size_t>((o * taps + tap) * group_inputs + c)];
        if (is_absent(value)) continue;
        wide.column.push_back(static_cast<int32_t>(tap * in.channels + o / group_outputs * group_inputs + c));
        wide.value.push_back(value);
      }
    }
    wide.row_start.push_back(static_cast<int64_t>(wide.column.size()));
  }
  return wide;
}

}  // namespace

std::unique_ptr<Step> make_conv(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  auto step = std::make_unique<ConvStep>();
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  const Weight& weight = context.net.weights[static_cast<size_t>(node.weight)];
  step->kernels = &context.kernels;
  step->op = &node;
  step->node = spec.node;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  const Slot &in = *step->in, &out = *step->out;
  step->strided = spec.strided;
  if (spec.strided) step->scratch = &context.slot(spec.scratch);
  if (spec.residual >= 0) step->residual = &context.slot(spec.residual);
  step->lo = spec.lo;
  step->hi = spec.hi;
  step->mask = lane_mask(out, context.budget);

  Weighed w = weigh(weight, context.budget);
  LaneLayer layer;
  layer.rows = out.channels;
  layer.lanes = out.lanes();
  layer.channels = in.channels / node.groups;
  layer.group_rows = out.channels / node.groups;
  layer.channel_stride = in.plane;
  layer.reach = (node.kernel[0] - 1) * node.dilation[0] * in.row + (node.kernel[1] - 1) * node.dilation[1];
  context.budget.take(node.kernel[0] * node.kernel[1], 8, "an offset table");
  layer.overhang = layer.reach;
  layer.chained = true;
  if (spec.strided) {
    const Phases& phases = step->phases = find_phases(node, in, out);
    layer.channel_stride = layer.reach = step->phase_floats();
    layer.pieces = layer.channel_stride / phases.plane;
    layer.overhang = (node.kernel[0] - 1) * node.dilation[0] / node.stride[0] * out.row + node.kernel[1];
    layer.aligned = phases.plane_a_column;
    const int64_t fit = kImageTile / (node.kernel[0] * node.kernel[1] * layer.channels * context.kernels.lanes);
    if (phases.plane_a_column && fit >= kLeastImageVectors) layer.most_vectors = static_cast<int>(fit);
  }
  layer.taps = spec.strided ? phase_taps(node, out, step->phases) : plane_taps(node, in);
  step->by_group = layer.by_rows =
      node.groups > 1 && layer.group_rows < 4;  // each output reads its own planes; four rows share nothing
  if (layer.by_rows) {
    w.rows = rows_over_all(w, node, in, out, context.budget);
    layer.channels = in.channels;
  }
  const std::vector<float> bias = optional_vector(context.net, node.bias, context.budget);
  const auto make = [&](const LaneChoice& choice, Budget& budget) {
    auto made = std::make_unique<ConvStep>(*step);
    made->tiles = split_tiles(out.lanes(), context.kernels.lanes, choice.vectors, context.threads);
    made->packed = pack_lanes(context.kernels, w, layer, choice, context.threads, budget);
    made->packed.bias = bias;
    return made;
  };
  const std::vector<LaneCandidate> candidates = lane_candidates(context.kernels, w, layer);
  const std::string what = std::string(spec.strided ? "strided" : "conv") + (step->residual ? " residual" : "");
  const auto [choice, measured] = pick_lanes(context, what, layer, w, candidates, in, 1, info, make);
  step = make(choice, context.budget);

  info.kernel = layer.by_rows ? "depthwise_conv" : lane_kernel(choice, "dense_conv");
  info.reason = (layer.by_rows ? "few outputs a group: each row reads its own planes, " : "") +
                lane_reason(w, candidates, choice, measured);
  if (spec.strided) info.reason += "; stride through phase planes";
  if (choice.block < layer.channels)
    info.reason += "; " + std::to_string((layer.channels + choice.block - 1) / choice.block) + " channel blocks";
  info.num_kept = w.kept;
  info.num_weights = w.total;
  info.macs = w.kept * out.height * out.width;
  info.macs_dense = w.total * out.height * out.width;
  info.bytes = static_cast<int64_t>(step->packed.bytes());
  weight_bytes += step->packed.bytes();
  return step;
}

}  // namespace gossamer
