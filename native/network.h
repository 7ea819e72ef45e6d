// The checked network: what the reader makes of a packed file (docs/formats/packed-file.md) and all that the planner
// sees. Plain data, no behaviour. Letters: R, C = rows, columns of a weight matrix; N = batch.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace gossamer {

enum class DType { f32, f16 };
enum class Format { dense, unstructured, block, n_of_m, gather_scatter, window };

// Raw bytes of one component tensor inside the file, at any alignment; valid as long as the File lives.
struct Part {
  const uint8_t* data = nullptr;
  size_t bytes = 0;
  std::vector<int64_t> shape;
};

struct Weight {
  std::string name;
  Format format = Format::dense;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // [n] or [R, C]
  int64_t p0 = 0, p1 = 0;      // block: rows, columns; n_of_m: n, m; gather_scatter: banks, per_row; window: width, 0
  std::map<std::string, Part> parts;
  int64_t num_kept = 0;  // stored values; of a dense matrix those that are not -0
  bool full() const;     // nothing is absent
};

// Rows of a sparse matrix, decoded from any format: entries of a row sorted by column, explicit zeros kept.
struct SparseRows {
  int64_t rows = 0, columns = 0;
  std::vector<int64_t> row_start;  // rows + 1
  std::vector<int32_t> column;
  std::vector<float> value;
};

struct Dim {
  int64_t size = 0;  // the number, where symbol < 0
  int symbol = -1;   // index into Network::dims
};

struct FreeDim {
  std::string name;
  int64_t min = 1, max = 1;
};

struct Value {
  std::string name;
  // Of an input: as written. Of a node's output: the batch symbol in the first place where it passes through, else
  // numbers, with the length at its maximum (infer_shapes gives those of another length).
  std::vector<Dim> shape;
};

enum class Op {
  // version 1
  conv2d,
  linear,
  channel_affine,
  layer_norm,
  relu,
  relu6,
  silu,
  sigmoid,
  gelu,
  softmax,
  add,
  concat,
  max_pool2d,
  avg_pool2d,
  adaptive_avg_pool2d,
  flatten,
  // version 2: one input, lane by lane
  tanh,
  exp,
  log,
  sqrt,
  rsqrt,
  abs,
  neg,
  erf,
  sin,
  cos,
  floor,
  sign,
  hardswish,
  hardsigmoid,
  mish,
  leaky_relu,
  elu,
  softplus,
  clamp,
  affine,
  power,
  // several inputs, broadcasting
  sub,
  mul,
  div,
  maximum,
  minimum,
  equal,
  not_equal,
  less,
  less_equal,
  where,
  // along axes
  mean,
  sum,
  max,
  min,
  argmax,
  cumsum,
  rms_norm,
  group_norm,
  // shapes
  reshape,
  permute,
  slice,
  expand,
  pad,
  flip,
  constant,
  pixel_shuffle,
  upsample,
  // products
  matmul,
  attention,
  embedding,
  lstm,
  gru
};

// A size of a `shape` attribute: a number, the length symbol (kLength), or what is left (kRest).
constexpr int64_t kRest = -1, kLength = -2;

struct Node {
  Op op = Op::relu;
  std::string op_name, name;
  std::vector<int> inputs;        // indices into Network::values
  int output = -1;                // the first output
  std::vector<int> more_outputs;  // lstm: h, c; gru: h
  // attributes (only those of the operator are meaningful)
  // stride: also the factor of pixel_shuffle
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, padding[4] = {0, 0, 0, 0}, dilation[2] = {1, 1};
  int64_t groups = 1, axis = 0, axes = 0, start = 0, out_size[2] = {1, 1};
  double epsilon = 0;
  bool count_include_pad = false, gelu_tanh = false;
  // of version 2
  double number[2] = {0, 0};  // slope | alpha | beta, threshold | low, high (infinite: none) | scale, shift | exponent
                              // | value of pad | scale of attention
  std::vector<int64_t> list, list2;  // axes of a reduction or flip, shape, order, before; after
  int64_t stop = 0, step = 1;        // slice; stop = kToEnd: null
  double scale2[2] = {1, 1};         // upsample
  bool keep = false, reverse = false, causal = false, transpose_b = false, align_corners = false;
  int mode = 0;  // pad: 0 constant, 1 reflect, 2 replicate; upsample: 0 nearest, 1 bilinear; attention's mask: 0 none,
                 // 1 add, 2 keep; pixel_shuffle: 0 channel_major, 1 phase_major
  // weights: indices into Network::weights, -1 = absent
  int weight = -1, bias = -1, scale = -1, shift = -1;
  int hidden = -1, hidden_bias = -1;  // lstm, gru (their `input` is `weight`); constant: `value` is `weight`
};
constexpr int64_t kToEnd = INT64_MAX;

struct State {  // indices into Network::inputs and Network::outputs
  int input = -1, output = -1;
};

enum class InputType { f32, i64 };

struct Network {
  std::string name;
  std::vector<FreeDim> dims;
  std::vector<Value> values;
  std::vector<Node> nodes;  // in an order that can be executed
  std::vector<Weight> weights;
  std::vector<int> inputs;                           // value indices
  std::vector<InputType> input_types;                // of each input
  std::vector<std::pair<std::string, int>> outputs;  // output name, value index
  std::vector<State> states;
  int batch = -1, length = -1;  // the free dimensions that are the batch and the length: indices into dims
};

// Owns the bytes of a packed file (a copy, never a mapping: reader.cpp tells why) and the network checked from them.
struct File {
  std::string manifest;  // the JSON text, as stored
  Network network;
  std::shared_ptr<const void> bytes;  // keeps Part::data alive
  size_t size = 0;
};

struct Error {  // thrown inside, turned into a code and a message at capi.h
  enum class Kind { io, format, graph, plan, argument, memory } kind;
  std::string message;
};

// reader.cpp. Throw Error.
std::shared_ptr<const File> open_file(const std::string& path);
std::shared_ptr<const File> open_bytes(const void* data, size_t size);  // copies

// shapes.cpp: concrete shapes of all values with the free dimensions given (same order as network.dims). Throws
// Error{graph}. The reader has checked the ends of the free dimensions alone: between them a length may break a rule
// (Error{graph} here, an error of the run) or make a size larger than at the maximum (the caller must compare with what
// it planned).
std::vector<std::vector<int64_t>> infer_shapes(const Network& network, const std::vector<int64_t>& dims);

// decode.cpp
bool is_absent(float value);                            // -0: what a dense matrix holds at a dropped weight
SparseRows decode_rows(const Weight& weight);           // of a matrix
std::vector<float> decode_dense(const Weight& weight);  // dense matrix or vector, fp16 widened, absent: -0
void decode_dense_row(const Weight& weight, int64_t row, float* out);  // of a dense matrix, fp16 widened
std::vector<float> decode_values(const Weight& weight);  // stored values of any format in the file's order, widened

}  // namespace gossamer
