// The contract of the compute kernels: plain structs of pointers and numbers, and one table of functions per
// instruction set. Nothing here knows a vector type, so this header may be included anywhere. Each isa_*.cpp fills one
// table; the units share no linkable template or inline function (a portable unit linked against an AVX copy of a
// template dies with SIGILL).
//
// Letters: a *lane* is one position of a flat padded plane (or one column of an interleaved tile); f counts lanes.
#pragma once
#include <cstdint>

namespace gossamer {

enum Activation : int { kRelu = 0, kRelu6, kSilu, kSigmoid, kGelu, kGeluTanh };
// Functions of one value beyond those; with up to two numbers (network.h Node::number).
enum Unary : int {
  kTanh = kGeluTanh + 1,
  kExp,
  kLog,
  kSqrt,
  kRsqrt,
  kAbs,
  kNeg,
  kErf,
  kSin,
  kCos,
  kFloor,
  kSign,
  kHardswish,
  kHardsigmoid,
  kMish,
  kLeakyRelu,
  kElu,
  kSoftplus,
  kClamp,
  kAffine,
  kPower
};
enum Binary : int { kAdd = 0, kSub, kMul, kDiv, kMaximum, kMinimum, kEqual, kNotEqual, kLess, kLessEqual };
enum Fold : int { kSum = 0, kMax, kMin };

// What the two lane kernels share: y[row][f] = epilogue(bias[row] + sum of weights times x[.. + f]) for `vectors`
// vectors of lanes. A convolution is this with an offset table over padded planes; a linear layer with one over an
// interleaved tile. Lanes up to the next whole vector are read and written: buffers carry that slack.
struct LaneArgs {
  const float* x = nullptr;         // + lane
  float* y = nullptr;               // row r at y + r * y_stride
  const float* residual = nullptr;  // added in the first K block; null = none; y itself is allowed
  const uint32_t* mask = nullptr;   // a word a lane: 0 writes +0.0, ~0 keeps; null = keep all
  const float* bias = nullptr;      // [rows], null = zero
  const void* offsets = nullptr;    // uint16_t, or uint32_t where wide
  const float* values = nullptr;
  int64_t y_stride = 0, residual_stride = 0;
  int64_t lane = 0;  // first lane
  int vectors = 0;   // 1 .. KernelTable::max_vectors, max_block_vectors
  int wide = 0;
  int first = 1, last = 1;  // of the K blocks: first starts from bias and residual, others from y; last clamps, masks
  float lo = 0, hi = 0;     // clamp; -inf, +inf = none. NaN passes.
};

// Row by row: sum_i values[i] * x[offsets[i] + f] over the entries i of the row.
struct SpmmArgs : LaneArgs {
  const uint32_t* row_start = nullptr;  // [rows + 1] entries of a row, in the order of the stream
  const uint32_t* order = nullptr;      // [rows] which row of y, bias and residual that is; null: ascending
  int64_t row_begin = 0, row_end = 0;   // in the order of the stream
  const float* fetch = nullptr;         // of the next K block: the operands of its first channel; null: do not
  int64_t fetch_stride = 0, fetch_channels = 0, fetch_lines = 0;  // cache lines of a channel
};

// Four rows at a time that share their columns: dense weights, or r x 1 blocks with 4 | r. values: [count][4] of a
// block.
struct RowBlock {
  int64_t row = 0;      // first row; rows of them are stored (1..4), the others are computed and dropped
  int64_t x_shift = 0;  // added to x (start of a convolution's group)
  int64_t offset_start = 0, value_start = 0;
  int32_t rows = 4, count = 0;  // count: columns
};

struct BlockArgs : LaneArgs {
  const RowBlock* blocks = nullptr;
  int64_t block_begin = 0, block_end = 0;
};

// Matrix times one vector: y[r] = clamp(bias[r] + sum of weights times x). One struct serves every order in memory; a
// *unit* is what a thread's share counts: start[u] .. start[u + 1] are its entries, blocks or bundles.
enum VectorKernel : int {
  kRows,     // unit: a row; an entry has a value and a column
  kBundles,  // unit: 8 / per_row rows (gather-scatter); a bundle has 8 values and columns, per_row neighbours of a row
  kWindow8,  // unit: 8 rows; a bundle has 8 values and a word: their columns inside of one window of 8
  kBlock8,   // unit: 8 rows; a block has 8 values and a column
  kBlock4,   // unit: 4 rows; a block has 4 values and a column
  kBitmap,   // unit: a row; a mask of 16 bits for 16 columns, start counts values; 16 more may be read behind the last
  kDense,    // unit: a row of `width` values; no start
  kVectorKernels
};
enum Stored : int { kF32, kF16, kI8, kStoredKinds };  // float, half bits in uint16_t, int8_t times scale[row]

struct VectorArgs {
  const float* x = nullptr;
  float* y = nullptr;
  const float* bias = nullptr;   // [rows], null = zero
  const float* scale = nullptr;  // [rows], kI8 only
  const void* values = nullptr;
  const void* columns = nullptr;  // uint16_t; wide = 1: uint32_t; kBundles, wide = 2: uint8_t column / 8 (per_row = 8)
                                  // kWindow8: uint32_t words, one a bundle, wide: two
  const uint32_t* start = nullptr;
  int64_t begin = 0, end = 0;  // units
  int64_t width = 0;           // columns; kBitmap, kDense only
  int per_row = 1, wide = 0;
  int gather = 0;  // kRows, kBundles: by the gather instruction, where the unit has one; equal to the last bit
  float lo = 0, hi = 0;
};

// y[r] = bias[r] + sum of values[r / kColumnRows][k][r % kColumnRows] * x[k], for blocks of rows begin .. end.
constexpr int64_t kColumnRows = 64;
struct ColumnsArgs {
  const float* x = nullptr;
  float* y = nullptr;
  const float* bias = nullptr;  // null = zero
  const float* values = nullptr;
  int64_t begin = 0, end = 0, rows = 0, width = 0;
};

// Products of a sparse linear layer in training over feature-major lanes; float or double, whole vectors of lanes.
// forward and gradient: block rows begin .. end, whose share of the columns are the blocks start[r] .. stop[r] - 1.
// forward: y = bias + W x (add: y += W x); gradient [values] = y . x at kept entries (add: +=).
// backward: columns begin .. end of one band (training_matrix.h), from y = dy, values and gradient of the band's
// first block on: dx = W^T dy (add: +=) and gradient = dy . x (add_gradient: +=).
struct TrainingArgs {
  const void* values = nullptr;
  void* gradient = nullptr;
  const void* columns = nullptr;  // uint16_t; wide: uint32_t
  const uint32_t *start = nullptr, *stop = nullptr;
  const uint32_t* places = nullptr;
  const void* x = nullptr;
  void *y = nullptr, *dx = nullptr;
  const void* bias = nullptr;  // [R]; null: zero
  int64_t begin = 0, end = 0, block_rows = 1, block_cols = 1;
  int64_t x_stride = 0, y_stride = 0, dx_stride = 0, lanes = 0;
  int shift = 0, wide = 0, add = 0, add_gradient = 0;
};

// Products of convolutions in training with one rectangle of positions: `rows` x `vectors` vectors, rows x_row and
// y_row elements apart. Product: y of segment.row = (segment.add: plus) the sum of values[i] * x[offsets[i] ..];
// gradient: gradient[i] += the sum of y of segment.row times x[offsets[i] ..].
struct ConvSegment {
  uint32_t begin, end;  // entries
  int32_t row, add;
};
struct ConvTileArgs {
  const void* x = nullptr;
  void* y = nullptr;
  const void* values = nullptr;
  void* gradient = nullptr;
  const uint32_t* offsets = nullptr;
  const ConvSegment* segments = nullptr;
  int64_t num_segments = 0, x_row = 0, y_row = 0, y_plane = 0;
  int rows = 1, vectors = 1;
};

// Between a tensor and planes where images are lanes: planes[outer_place[o] + place[c] + image] and
// tensor[o * outer_step + image * image_step + c]. Into planes, lanes behind the images become zero.
struct TurnArgs {
  void* tensor = nullptr;
  void* planes = nullptr;
  int64_t outer = 0, outer_step = 0, columns = 0, images = 0, image_step = 0, lanes = 0;
  const int32_t *outer_place = nullptr, *place = nullptr;
};

// Windows over one padded plane set. Positions outside the image do not exist (max) or count only where include_pad
// (average).
struct PoolArgs {
  const float* x = nullptr;  // element (0, 0) of plane 0
  float* y = nullptr;
  float* scratch = nullptr;  // [2 * span]
  int64_t span = 0;          // max(left + width, (out_width - 1) * stride + extent of the kernel) + 16
  int64_t x_plane = 0, x_row = 0, y_plane = 0, y_row = 0;
  int64_t planes = 0, height = 0, width = 0, out_height = 0, out_width = 0;
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, top = 0, left = 0;
  int include_pad = 0;
};

// One phase plane of a strided convolution: y[q][p] = x[q * stride[0] * x_row + p * stride[1]]. Image edges need no
// care: x lies in a plane whose padding is zero. Reads up to two vectors behind a row's last element; y is dense and
// written exactly.
struct PhaseArgs {
  const float* x = nullptr;
  float* y = nullptr;
  int64_t x_row = 0, y_row = 0, y_rows = 0;
  int64_t stride[2] = {1, 1};
};

// y[r][f] = scale * sum over k < depth of a[r * a_row + k * a_depth] * b[k * b_depth + f]. b is read in whole vectors,
// y written exactly.
struct ProductArgs {
  const float* a = nullptr;
  const float* b = nullptr;
  float* y = nullptr;
  const float* lane_scale = nullptr;  // [lanes], whole vectors; null: scale
  int64_t a_row = 0, a_depth = 0, b_depth = 0, y_row = 0;
  int64_t rows = 0, depth = 0, lanes = 0;
  float scale = 1;
};

// Scores [keys][stride] of `vectors` vectors of queries become weights exp(score - greatest), inverse[query] one over
// their sum. mask: a number a pair, added, or (keep) 0 where the pair is left out. causal: so are keys > query.
struct AttendArgs {
  float* scores = nullptr;
  float* inverse = nullptr;
  const float* mask = nullptr;
  int64_t stride = 0, keys = 0, first_query = 0, queries = 0, mask_query = 0, mask_key = 0;
  int vectors = 0, keep = 0, causal = 0;
};

struct KernelTable {
  const char* name;
  int lanes;  // floats a vector
  int max_vectors, max_block_vectors;
  void (*spmm)(const SpmmArgs*);
  void (*block)(const BlockArgs*);
  bool has_gather, has_expand;  // instructions: of operands by index, of stored values by a mask
  void (*vector[kVectorKernels][kStoredKinds])(const VectorArgs*);  // null: not stored so
  // the same for 4 and 8 interleaved vectors, x [columns][4 or 8] and y [rows][4 or 8]; null: none
  void (*narrow[2][kVectorKernels][kStoredKinds])(const VectorArgs*);
  void (*max_pool)(const PoolArgs*);
  void (*avg_pool)(const PoolArgs*);
  void (*adaptive_avg_pool)(const PoolArgs*);
  void (*activate)(int activation, const float* x, float* y, int64_t n, const uint32_t* mask);
  void (*affine)(const float* x, float* y, int64_t n, float scale, float shift, const uint32_t* mask);
  void (*add)(const float* a, const float* b, float* y, int64_t n, float lo, float hi);
  void (*softmax)(const float* x, float* y, int64_t outer, int64_t n, int64_t inner);
  void (*layer_norm)(const float* x, float* y, int64_t rows, int64_t n, const float* weight, const float* bias,
                     float epsilon);
  void (*phase_plane)(const PhaseArgs*);
  // x [m][k] -> y [k][stride], m <= stride, the rest of each row zero; and back from y [k][stride] to x [m][k]
  void (*interleave)(const float* x, float* y, int64_t m, int64_t k, int64_t stride);
  void (*deinterleave)(const float* y, float* x, int64_t m, int64_t k, int64_t stride);
  void (*training_forward[2])(const TrainingArgs*);
  void (*training_gradient[2])(const TrainingArgs*);
  void (*training_backward[2])(const TrainingArgs*);
  int conv_vectors[2];  // of a rectangle: product, gradient
  void (*conv_product[2])(const ConvTileArgs*);
  void (*conv_sddmm[2])(const ConvTileArgs*);
  void (*conv_turn_in[2])(const TurnArgs*);
  void (*conv_turn_out[2])(const TurnArgs*);
  // Of one, two, three values; steps of operands are 0 (one number) or 1.
  void (*unary)(int op, const float* x, float* y, int64_t n, const float* numbers);
  void (*binary)(int op, const float* a, int a_step, const float* b, int b_step, float* y, int64_t n);
  void (*select)(const float* c, int c_step, const float* a, int a_step, const float* b, int b_step, float* y,
                 int64_t n);
  float (*fold)(int op, const float* x, int64_t n);              // one number of a row
  void (*combine)(int op, const float* x, float* y, int64_t n);  // y = y op x
  // Norm of every lane over planes; whole vectors of x and y are read and written. rms: without the mean.
  void (*norm_lanes)(const float* x, int64_t x_plane, float* y, int64_t y_plane, int64_t planes, int64_t n,
                     const float* weight, const float* bias, float epsilon, int rms);
  void (*rms_norm)(const float* x, float* y, int64_t rows, int64_t n, const float* weight, float epsilon);
  float (*squares)(const float* x, int64_t n, float mean);  // sum of (x - mean)^2
  void (*product)(const ProductArgs*);
  void (*attend)(const AttendArgs*);
  // One step of a cell: gates [4n] or [3n] and [3n], before their functions.
  void (*lstm_cell)(const float* gates, float* c, float* h, int64_t n);
  void (*gru_cell)(const float* input, const float* hidden, float* h, int64_t n);
  void (*columns)(const ColumnsArgs*);
  // x [rows][x_stride] -> y [columns][y_stride]
  void (*transpose)(const float* x, int64_t x_stride, float* y, int64_t y_stride, int64_t rows, int64_t columns);
};

}  // namespace gossamer

// One per built unit; which exist is told by the definitions GOSSAMER_ISA_AVX2, GOSSAMER_ISA_AVX512, GOSSAMER_ISA_NEON.
extern "C" const gossamer::KernelTable* gossamer_kernels_portable();
extern "C" const gossamer::KernelTable* gossamer_kernels_avx2();
extern "C" const gossamer::KernelTable* gossamer_kernels_avx512();
extern "C" const gossamer::KernelTable* gossamer_kernels_neon();
