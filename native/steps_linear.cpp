// Linear layers. One row of inputs: matrix times vector. More rows: they become the lanes of an interleaved tile
// [inputs][lanes], on which the convolution's kernels run; a weight then costs one vector instead of one gather.
#include <algorithm>

#include "pack_rows.h"

namespace gossamer {
namespace {

// Floats of both interleaved tiles together. 768-3072-768 over 197 rows (AVX-512, 2 MiB of L2 a core; not
// measured with less): a quarter of this
// leaves one vector a tile, 1.7 times slower dense and 1.25 times at 90 %; twice this is equal.
constexpr int64_t kTileFloats = 262144;

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
  PackedRows::Kind kind = PackedRows::Kind::dense;
  PackedRows packed;                // for several rows
  std::vector<float> bias, matrix;  // for one row
  SparseStream stream;
  std::vector<float> eight_values;  // blocks of eight rows
  std::vector<uint32_t> eight_columns, eight_start;
  float lo = 0, hi = 0;

  void one_row(const float* x, float* y, int part, int parts) const {
    const float* b = bias.empty() ? nullptr : bias.data();
    if (!eight_start.empty()) {
      Spmv8Args a;
      a.x = x, a.y = y, a.bias = b, a.lo = lo, a.hi = hi;
      a.block_start = eight_start.data(), a.columns = eight_columns.data(), a.values = eight_values.data();
      a.block_begin = outputs / 8 * part / parts, a.block_end = outputs / 8 * (part + 1) / parts;
      kernels->spmv8(&a);
    } else if (kind != PackedRows::Kind::dense) {
      SpmvArgs a;
      const SparseStream::KBlock& block = stream.k_blocks[0];
      a.x = x + block.x_shift, a.y = y, a.bias = b, a.lo = lo, a.hi = hi;
      a.row_start = block.row_start.data(), a.columns = stream.offsets.data(), a.values = stream.values.data(),
      a.wide = stream.offsets.wide;
      a.row_begin = parts == 1 ? 0 : stream.split[static_cast<size_t>(part)],
      a.row_end = parts == 1 ? outputs : stream.split[static_cast<size_t>(part) + 1];
      kernels->spmv(&a);
    } else {
      GemvArgs a;
      a.x = x, a.y = y, a.bias = b, a.lo = lo, a.hi = hi, a.weight = matrix.data(), a.k = inputs;
      a.row_begin = outputs * part / parts, a.row_end = outputs * (part + 1) / parts;
      kernels->gemv(&a);
    }
  }

  void run(const Frame& frame) const override {
    const float* x = frame.arena + in->offset;
    float* y = frame.arena + out->offset;
    const int64_t rows = in->elements / inputs * frame.count;
    const int threads = frame.team->size();
    if (rows == 1) {
      frame.team->run([&](int part) { one_row(x, y, part, threads); });
      return;
    }
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
        kernels->interleave(x + t * lanes * inputs, turned, count, inputs, lanes);
        const int vectors = static_cast<int>((count + kernels->lanes - 1) / kernels->lanes),
                  most = packed.max_vectors(*kernels);
        for (int done = 0; done < vectors; done += most) {
          call.lane = int64_t{done} * kernels->lanes;
          call.vectors = std::min(most, vectors - done);
          run_lanes(*kernels, packed, call);
        }
        kernels->deinterleave(result, y + t * lanes * outputs, count, outputs, lanes);
      }
    });
  }
};

bool eight_rows(const SparseRows& rows) {  // blocks of eight rows with equal columns
  if (rows.rows % 8 != 0) return false;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const int64_t a = rows.row_start[static_cast<size_t>(r / 8 * 8)], b = rows.row_start[static_cast<size_t>(r)];
    const int64_t n = rows.row_start[static_cast<size_t>(r) + 1] - b;
    if (n != rows.row_start[static_cast<size_t>(r / 8 * 8) + 1] - a) return false;
    if (!std::equal(rows.column.begin() + b, rows.column.begin() + b + n, rows.column.begin() + a)) return false;
  }
  return true;
}

}  // namespace

int64_t linear_scratch(const KernelTable& kernels, int64_t rows, int64_t inputs, int64_t outputs, int threads,
                       const Budget& budget) {
  if (rows <= 1) return 0;
  return budget.product(
      {budget.product({inputs + outputs, tile_lanes(kernels, rows, inputs, outputs)}, "a tile") + kAlign, threads},
      "a tile");
}

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
  Weighed w = weigh(weight, context.budget);
  step->kind = w.kind;
  const int64_t most_rows = context.budget.product({rows_per_example, context.chunk}, "rows of a linear layer");
  const bool one = rows_per_example == 1, several = most_rows > 1;
  ColumnMap map;
  map.channels = step->inputs;
  if (several) {
    step->scratch = &context.slot(spec.scratch);
    step->lanes = tile_lanes(context.kernels, most_rows, step->inputs, step->outputs);
    const int64_t most = std::max<int64_t>(1, kNarrowSpan / step->lanes);
    const int64_t blocks = (step->inputs + most - 1) / most;
    map.block = (step->inputs + blocks - 1) / blocks;
    map.channel_stride = step->lanes;
    PackedRows& packed = step->packed;
    packed.kind = w.kind;
    packed.rows = step->outputs;
    packed.bias = step->bias;
    if (w.kind == PackedRows::Kind::sparse)
      packed.stream = pack_sparse(w.rows, map, 1, context.budget);
    else if (w.kind == PackedRows::Kind::blocks)
      packed.blocks = pack_blocks(w.rows, map, context.budget);
    else
      packed.blocks = pack_dense(w.matrix, step->outputs, map, step->outputs, 0, context.budget);
  }
  const bool eight = one && w.kind == PackedRows::Kind::blocks && eight_rows(w.rows);
  if (one && w.kind == PackedRows::Kind::dense) {
    step->matrix = std::move(w.matrix);
  } else if (eight) {
    context.budget.take(w.kept, 8, "packed weights");
    step->eight_start.push_back(0);
    for (int64_t r = 0; r < w.rows.rows; r += 8) {
      const int64_t begin = w.rows.row_start[static_cast<size_t>(r)],
                    end = w.rows.row_start[static_cast<size_t>(r) + 1];
      for (int64_t i = begin; i < end; ++i) {
        step->eight_columns.push_back(static_cast<uint32_t>(w.rows.column[static_cast<size_t>(i)]));
        for (int64_t lane = 0; lane < 8; ++lane)
          step->eight_values.push_back(
              w.rows.value[static_cast<size_t>(w.rows.row_start[static_cast<size_t>(r + lane)] + i - begin)]);
      }
      step->eight_start.push_back(static_cast<uint32_t>(step->eight_columns.size()));
    }
  } else if (one) {
    map.channel_stride = 1;
    map.block = step->inputs;
    step->stream = pack_sparse(w.rows, map, context.threads, context.budget);
  }
  const std::string vector_kernel = eight ? "block_spmv" : w.kind == PackedRows::Kind::dense ? "dense_gemv" : "spmv";
  const std::string lane_kernel = w.kind == PackedRows::Kind::sparse   ? "spmm"
                                  : w.kind == PackedRows::Kind::blocks ? "block_spmm"
                                                                       : "dense_gemm";
  info.kernel = one ? vector_kernel : lane_kernel;
  info.reason = w.reason + (one && several ? "; batches of two and more run interleaved on " + lane_kernel : "");
  info.num_kept = w.kept;
  info.num_weights = w.total;
  info.macs = w.kept * rows_per_example;
  info.macs_dense = w.total * rows_per_example;
  const size_t bytes = step->packed.bytes() + step->stream.bytes() +
                       (step->matrix.size() + step->eight_values.size() + step->bias.size()) * 4 +
                       (step->eight_columns.size() + step->eight_start.size()) * 4;
  info.bytes = static_cast<int64_t>(bytes);
  weight_bytes += bytes;
  return step;
}

}  // namespace gossamer
