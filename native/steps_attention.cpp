// Products of two values, attention, and rows of a table.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "pack_rows.h"
#include "strided.h"

namespace gossamer {
namespace {

constexpr int kTileVectors = 3;  // of queries: their scores stay in the first or second cache

// Offset of matrix `index` of all the leading axes of `like`, in a slot whose sizes there are equal or 1.
int64_t leading_offset(const Slot& slot, const Slot& like, int64_t index) {
  int64_t offset = 0;
  for (size_t a = like.shape.size() - 2; a-- > 0; index /= like.shape[a])
    if (slot.shape[a] != 1) offset += index % like.shape[a] * slot.stride(a);
  return offset;
}

int64_t leading_count(const Slot& slot) {
  int64_t count = 1;
  for (size_t a = 0; a + 2 < slot.shape.size(); ++a) count *= slot.shape[a];
  return count;
}

struct AttentionStep final : Step {
  const KernelTable* kernels = nullptr;
  const Node* op = nullptr;
  const Slot *q = nullptr, *k = nullptr, *v = nullptr, *mask = nullptr, *out = nullptr, *scratch = nullptr;
  int64_t most_keys = 0;

  void tile(const Frame& frame, int64_t head, int64_t lane, int vectors, float* scores, float* inverse) const {
    const size_t row = out->shape.size() - 2, feature = row + 1;
    const int64_t stride = int64_t{kTileVectors} * kernels->lanes, queries = q->shape[row];
    const int64_t all = k->shape[row];
    const int64_t keys = op->causal ? std::min(all, lane + int64_t{vectors} * kernels->lanes) : all;
    ProductArgs p;
    p.a = at(frame, *k) + leading_offset(*k, *out, head);
    p.a_row = 1, p.a_depth = k->plane;
    p.b = at(frame, *q) + leading_offset(*q, *out, head) + lane;
    p.b_depth = q->plane;
    p.y = scores, p.y_row = stride;
    p.rows = keys, p.depth = q->shape[feature], p.lanes = int64_t{vectors} * kernels->lanes;
    p.scale = static_cast<float>(op->number[0]);
    kernels->product(&p);
    AttendArgs a;
    a.scores = scores, a.inverse = inverse, a.stride = stride, a.keys = keys, a.vectors = vectors;
    a.first_query = lane, a.queries = queries;
    a.causal = op->causal, a.keep = op->mode == 2;
    if (mask != nullptr) {
      a.mask = at(frame, *mask) + leading_offset(*mask, *out, head);
      a.mask_query = mask->shape[row] == 1 ? 0 : mask->stride(row);
      a.mask_key = mask->shape[feature] == 1 ? 0 : mask->stride(feature);
    }
    kernels->attend(&a);
    ProductArgs w;
    w.a = at(frame, *v) + leading_offset(*v, *out, head);
    w.a_row = v->plane, w.a_depth = 1;
    w.b = scores, w.b_depth = stride;
    w.y = at(frame, *out) + leading_offset(*out, *out, head) + lane, w.y_row = out->plane;
    w.rows = v->shape[feature], w.depth = keys, w.lanes = std::min(p.lanes, queries - lane);
    w.lane_scale = inverse;
    kernels->product(&w);
  }

  void run(const Frame& frame) const override {
    begin_write(frame, *out);
    const int64_t lanes = out->shape[out->shape.size() - 2], heads = leading_count(*out);
    const int64_t vectors = (lanes + kernels->lanes - 1) / kernels->lanes;
    const int64_t tiles = (vectors + kTileVectors - 1) / kTileVectors, pieces = heads * tiles;
    const int threads = frame.team->size();
    const int64_t stride = int64_t{kTileVectors} * kernels->lanes;
    frame.team->run([&](int part) {
      float* scores = frame.arena + scratch->offset + part * (most_keys + 1) * stride;
      for (int64_t piece = pieces * part / threads; piece < pieces * (part + 1) / threads; ++piece) {
        const int64_t t = piece % tiles, begin = vectors * t / tiles, end = vectors * (t + 1) / tiles;
        tile(frame, piece / tiles, begin * kernels->lanes, static_cast<int>(end - begin), scores,
             scores + most_keys * stride);
      }
    });
  }
};

struct MatmulStep final : Step {
  const KernelTable* kernels = nullptr;
  const Slot *a = nullptr, *b = nullptr, *out = nullptr, *scratch = nullptr;
  bool transpose_b = false;
  void run(const Frame& frame) const override {
    const size_t row = out->shape.size() - 2;
    const int64_t depth = a->shape[row + 1], columns = out->shape[row + 1];
    float* turned = frame.arena + scratch->offset;
    for (int64_t e = 0; e < frame.count; ++e) {
      for (int64_t i = 0; i < leading_count(*out); ++i) {
        ProductArgs p;
        p.a = at(frame, *a, e) + leading_offset(*a, *out, i);
        p.a_row = depth, p.a_depth = 1;
        p.b = at(frame, *b, e) + leading_offset(*b, *out, i);
        p.b_depth = columns;
        if (transpose_b) {
          kernels->transpose(p.b, depth, turned, columns, columns, depth);
          p.b = turned;
        }
        p.y = at(frame, *out, e) + leading_offset(*out, *out, i);
        p.y_row = columns;
        p.rows = out->shape[row], p.depth = depth, p.lanes = columns;
        kernels->product(&p);
      }
    }
  }
};

// A table that the file holds dense is read there, row by row, in the precision that it has.
struct EmbeddingStep final : Step {
  const Slot *in = nullptr, *out = nullptr;
  const Weight* weight = nullptr;
  std::string name;
  std::vector<float> table;  // of a sparse format
  int64_t rows = 0, width = 0;
  void run(const Frame& frame) const override {
    const float* x = at(frame, *in);
    float* y = at(frame, *out);
    for (int64_t i = 0; i < in->elements * frame.count; ++i, y += width) {
      if (!(x[i] >= 0 && x[i] < static_cast<float>(rows)) || x[i] != std::floor(x[i]))
        throw Error{Error::Kind::argument, "node '" + name + "' (embedding): expected whole numbers from 0 to " +
                                               std::to_string(rows - 1) + ", got " + std::to_string(x[i])};
      const int64_t row = static_cast<int64_t>(x[i]);
      if (table.empty())
        decode_dense_row(*weight, row, y);
      else
        std::memcpy(y, table.data() + row * width, static_cast<size_t>(width) * sizeof(float));
    }
  }
};

}  // namespace

int64_t attention_scratch(const KernelTable& kernels, int64_t keys, int threads, const Budget& budget) {
  return budget.product({keys + 1, int64_t{kTileVectors} * kernels.lanes, threads}, "scores of an attention");
}

std::unique_ptr<Step> make_attention(const Context& context, const Spec& spec, LayerInfo& info) {
  auto step = std::make_unique<AttentionStep>();
  step->node = spec.node;
  step->kernels = &context.kernels;
  step->op = &context.net.nodes[static_cast<size_t>(spec.node)];
  step->q = &context.slot(spec.in[0]);
  step->k = &context.slot(spec.in[1]);
  step->v = &context.slot(spec.in[2]);
  if (spec.in.size() > 3) step->mask = &context.slot(spec.in[3]);
  step->out = &context.slot(spec.out);
  step->scratch = &context.slot(spec.scratch);
  const size_t row = step->q->shape.size() - 2;
  step->most_keys = step->k->shape[row];
  info.kernel = "attention";
  info.reason = "dense products with queries side by side";
  info.macs_dense = info.macs = leading_count(*step->out) * step->q->shape[row] * step->k->shape[row] *
                                (step->q->shape[row + 1] + step->v->shape[row + 1]);
  return step;
}

std::unique_ptr<Step> make_matmul(const Context& context, const Spec& spec, LayerInfo& info) {
  auto step = std::make_unique<MatmulStep>();
  step->node = spec.node;
  step->kernels = &context.kernels;
  step->a = &context.slot(spec.in[0]);
  step->b = &context.slot(spec.in[1]);
  step->out = &context.slot(spec.out);
  step->scratch = &context.slot(spec.scratch);
  step->transpose_b = context.net.nodes[static_cast<size_t>(spec.node)].transpose_b;
  info.kernel = "dense_gemm";
  info.reason = "a product of two values";
  info.macs_dense = info.macs = step->out->elements * step->a->shape.back();
  return step;
}

std::unique_ptr<Step> make_embedding(const Context& context, const Spec& spec, LayerInfo& info, size_t& weight_bytes) {
  auto step = std::make_unique<EmbeddingStep>();
  const Node& node = context.net.nodes[static_cast<size_t>(spec.node)];
  const Weight& weight = context.net.weights[static_cast<size_t>(node.weight)];
  step->node = spec.node;
  step->name = node.name;
  step->in = &context.slot(spec.in[0]);
  step->out = &context.slot(spec.out);
  step->rows = weight.shape[0];
  step->width = weight.shape[1];
  step->weight = &weight;
  if (weight.format != Format::dense) {
    context.budget.take(weight.num_kept + step->rows, 12, "decoded weights");
    step->table = densify(decode_rows(weight), context.budget);
  }
  info.kernel = "gather";
  info.reason = step->table.empty() ? "rows of a table, read in the file's bytes" : "rows of a table, made dense";
  info.num_kept = weight.num_kept;
  info.num_weights = step->rows * step->width;
  info.bytes = static_cast<int64_t>(step->table.size() * 4);
  weight_bytes += step->table.size() * 4;
  return step;
}

}  // namespace gossamer
