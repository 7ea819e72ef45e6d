// Networks made by hand for the tests, and a slow float64 executor to compare with.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "network.h"

namespace gossamer_test {

using namespace gossamer;
using Array = std::vector<double>;

class Builder {
 public:
  explicit Builder(uint32_t seed, int64_t max_batch = 64) : random(seed), file_(std::make_shared<File>()) {
    net().name = "test";
    net().dims.push_back({"n", 1, max_batch});
  }
  std::mt19937 random;
  Network& net() { return file_->network; }
  double uniform() { return std::uniform_real_distribution<double>(-1, 1)(random); }
  int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); }

  int value(const std::vector<int64_t>& shape_of_one) {
    Value v;
    v.name = "v" + std::to_string(net().values.size());
    v.shape.push_back({0, 0});
    for (int64_t s : shape_of_one) v.shape.push_back({s, -1});
    net().values.push_back(v);
    return static_cast<int>(net().values.size()) - 1;
  }
  int input(const std::vector<int64_t>& shape_of_one) {
    const int v = value(shape_of_one);
    net().inputs.push_back(v);
    return v;
  }
  void output(int v) { net().outputs.push_back({"out" + std::to_string(net().outputs.size()), v}); }
  std::vector<int64_t> shape(int v) const {
    std::vector<int64_t> s;
    for (size_t i = 1; i < file_->network.values[static_cast<size_t>(v)].shape.size(); ++i)
      s.push_back(file_->network.values[static_cast<size_t>(v)].shape[i].size);
    return s;
  }

  int vector(int64_t n, double low = -1) {
    std::vector<float> v;
    for (int64_t i = 0; i < n; ++i) v.push_back(static_cast<float>(low + (1 - low) * (uniform() + 1) / 2));
    return weight(Format::dense, {n}, v, {}, n);
  }
  // Rows of `rows_shared` share their columns.
  int matrix(int64_t rows, int64_t columns, double density, int64_t rows_shared = 1) {
    const float scale = static_cast<float>(1.7 / std::sqrt(std::max(1.0, columns * std::min(density, 1.0))));
    std::vector<float> v;
    if (density >= 1) {
      for (int64_t i = 0; i < rows * columns; ++i) v.push_back(scale * static_cast<float>(uniform()));
      return weight(Format::dense, {rows, columns}, v, {}, rows * columns);
    }
    std::vector<bool> kept(static_cast<size_t>(rows * columns));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        kept[static_cast<size_t>(r * columns + c)] =
            r % rows_shared == 0 ? uniform() < 2 * density - 1 : bool(kept[static_cast<size_t>((r - 1) * columns + c)]);
    std::vector<uint8_t> gaps;
    int64_t gap = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      if (kept[i]) {
        gaps.push_back(static_cast<uint8_t>(gap));
        v.push_back(scale * static_cast<float>(uniform()));
        gap = 0;
      } else if (++gap == 255) {
        gaps.push_back(255);
        gap = 0;
      }
    }
    return weight(Format::unstructured, {rows, columns}, v, gaps, static_cast<int64_t>(v.size()));
  }

  Node& node(Op op, std::vector<int> inputs, const std::vector<int64_t>& shape_of_one) {
    static const char* names[] = {"conv2d", "linear", "channel_affine", "layer_norm", "relu",
                                  "relu6",  "silu",   "sigmoid",        "gelu",       "softmax",
                                  "add",    "concat", "max_pool2d",     "avg_pool2d", "adaptive_avg_pool2d",
                                  "flatten"};
    Node n;
    n.op = op;
    n.op_name = names[static_cast<int>(op)];
    n.name = "node" + std::to_string(net().nodes.size());
    n.inputs = std::move(inputs);
    n.output = value(shape_of_one);
    net().nodes.push_back(n);
    return net().nodes.back();
  }
  int conv(int x, int64_t outputs, int64_t k, int64_t stride, int64_t pad, double density, int64_t groups = 1,
           int64_t dilation = 1, int64_t rows_shared = 1) {
    return conv(x, outputs, {k, k}, {stride, stride}, {pad, pad, pad, pad}, {dilation, dilation}, density, groups,
                rows_shared);
  }
  int conv(int x, int64_t outputs, std::vector<int64_t> k, std::vector<int64_t> stride, std::vector<int64_t> pad,
           std::vector<int64_t> dilation, double density, int64_t groups = 1, int64_t rows_shared = 1) {
    const auto s = shape(x);
    const int64_t h = (s[1] + pad[0] + pad[2] - dilation[0] * (k[0] - 1) - 1) / stride[0] + 1;
    const int64_t w = (s[2] + pad[1] + pad[3] - dilation[1] * (k[1] - 1) - 1) / stride[1] + 1;
    const int m = matrix(outputs, k[0] * k[1] * s[0] / groups, groups > 1 ? 1 : density, rows_shared),
              b = vector(outputs);
    Node& n = node(Op::conv2d, {x}, {outputs, h, w});
    n.weight = m;
    n.bias = b;
    n.groups = groups;
    for (size_t i = 0; i < 2; ++i) n.kernel[i] = k[i], n.stride[i] = stride[i], n.dilation[i] = dilation[i];
    for (size_t i = 0; i < 4; ++i) n.padding[i] = pad[i];
    return n.output;
  }
  int linear(int x, int64_t outputs, double density, int64_t rows_shared = 1) {
    auto s = shape(x);
    const int m = matrix(outputs, s.back(), density, rows_shared), b = vector(outputs);
    s.back() = outputs;
    Node& n = node(Op::linear, {x}, s);
    n.weight = m;
    n.bias = b;
    return n.output;
  }
  int simple(Op op, int x) { return node(op, {x}, shape(x)).output; }
  int add(int a, int b) { return node(Op::add, {a, b}, shape(a)).output; }
  int flatten(int x) {
    int64_t n = 1;
    for (int64_t s : shape(x)) n *= s;
    Node& f = node(Op::flatten, {x}, {n});
    f.start = 1;
    return f.output;
  }
  int global_pool(int x) { return node(Op::adaptive_avg_pool2d, {x}, {shape(x)[0], 1, 1}).output; }
  std::shared_ptr<const File> file() { return file_; }

 private:
  int weight(Format format, std::vector<int64_t> shape, const std::vector<float>& values,
             const std::vector<uint8_t>& gaps, int64_t kept) {
    Weight w;
    w.name = "w" + std::to_string(net().weights.size());
    w.format = format;
    w.shape = shape;
    w.num_kept = kept;
    w.parts["values"] =
        store(values.data(), values.size() * 4,
              format == Format::dense ? shape : std::vector<int64_t>{static_cast<int64_t>(values.size())});
    if (format != Format::dense) w.parts["gaps"] = store(gaps.data(), gaps.size(), {static_cast<int64_t>(gaps.size())});
    net().weights.push_back(w);
    return static_cast<int>(net().weights.size()) - 1;
  }
  Part store(const void* data, size_t bytes, std::vector<int64_t> shape) {
    auto copy = std::shared_ptr<uint8_t>(new uint8_t[bytes + 1], std::default_delete<uint8_t[]>());
    if (bytes) std::memcpy(copy.get(), data, bytes);
    auto both = std::make_shared<std::pair<std::shared_ptr<uint8_t>, std::shared_ptr<const void>>>(copy, file_->bytes);
    file_->bytes = both;
    Part p;
    p.data = copy.get();
    p.bytes = bytes;
    p.shape = std::move(shape);
    return p;
  }
  std::shared_ptr<File> file_;
};

inline std::vector<double> dense_matrix(const Weight& w) {
  std::vector<double> m(static_cast<size_t>(w.shape[0] * w.shape[1]), 0.0);
  if (w.format == Format::dense) {
    const auto v = decode_dense(w);
    m.assign(v.begin(), v.end());
    return m;
  }
  const SparseRows s = decode_rows(w);
  for (int64_t r = 0; r < s.rows; ++r)
    for (int64_t i = s.row_start[static_cast<size_t>(r)]; i < s.row_start[static_cast<size_t>(r) + 1]; ++i)
      m[static_cast<size_t>(r * s.columns + s.column[static_cast<size_t>(i)])] = s.value[static_cast<size_t>(i)];
  return m;
}

// One example through the whole network in float64; values of all network values.
inline std::vector<Array> reference(const Network& net, const std::vector<Array>& inputs) {
  std::vector<Array> v(net.values.size());
  const auto size = [&](int value, size_t axis) { return net.values[static_cast<size_t>(value)].shape[axis + 1].size; };
  const auto vec = [&](int w) {
    return w >= 0 ? decode_dense(net.weights[static_cast<size_t>(w)]) : std::vector<float>{};
  };
  for (size_t i = 0; i < inputs.size(); ++i) v[static_cast<size_t>(net.inputs[i])] = inputs[i];
  for (const Node& n : net.nodes) {
    const Array& x = v[static_cast<size_t>(n.inputs[0])];
    int64_t total = 1;
    for (size_t a = 1; a < net.values[static_cast<size_t>(n.output)].shape.size(); ++a)
      total *= net.values[static_cast<size_t>(n.output)].shape[a].size;
    Array y(static_cast<size_t>(total));
    const int in = n.inputs[0], out = n.output;
    const auto each = [&](auto f) {
      for (size_t i = 0; i < x.size(); ++i) y[i] = f(x[i]);
    };
    switch (n.op) {
      case Op::conv2d: {
        const auto m = dense_matrix(net.weights[static_cast<size_t>(n.weight)]);
        const auto b = vec(n.bias);
        const int64_t I = size(in, 0), H = size(in, 1), W = size(in, 2), O = size(out, 0), Ho = size(out, 1),
                      Wo = size(out, 2), gi = I / n.groups, go = O / n.groups;
        for (int64_t o = 0; o < O; ++o)
          for (int64_t p = 0; p < Ho; ++p)
            for (int64_t q = 0; q < Wo; ++q) {
              double t = b.empty() ? 0 : b[static_cast<size_t>(o)];
              for (int64_t r = 0; r < n.kernel[0]; ++r)
                for (int64_t s = 0; s < n.kernel[1]; ++s) {
                  const int64_t h = p * n.stride[0] + r * n.dilation[0] - n.padding[0],
                                w = q * n.stride[1] + s * n.dilation[1] - n.padding[1];
                  if (h < 0 || h >= H || w < 0 || w >= W) continue;
                  for (int64_t c = 0; c < gi; ++c)
                    t += m[static_cast<size_t>(((o * n.kernel[0] + r) * n.kernel[1] + s) * gi + c)] *
                         x[static_cast<size_t>(((o / go * gi + c) * H + h) * W + w)];
                }
              y[static_cast<size_t>((o * Ho + p) * Wo + q)] = t;
            }
        break;
      }
      case Op::linear: {
        const Weight& weight = net.weights[static_cast<size_t>(n.weight)];
        const auto m = dense_matrix(weight);
        const auto b = vec(n.bias);
        const size_t O = static_cast<size_t>(weight.shape[0]), K = static_cast<size_t>(weight.shape[1]);
        for (size_t r = 0; r < x.size() / K; ++r)
          for (size_t o = 0; o < O; ++o) {
            double t = b.empty() ? 0 : b[o];
            for (size_t k = 0; k < K; ++k) t += m[o * K + k] * x[r * K + k];
            y[r * O + o] = t;
          }
        break;
      }
      case Op::channel_affine: {
        const auto s = vec(n.scale), b = vec(n.shift);
        const size_t inner = x.size() / s.size();
        for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * s[i / inner] + b[i / inner];
        break;
      }
      case Op::layer_norm: {
        const auto g = vec(n.weight), b = vec(n.bias);
        size_t width = 1;
        const auto& shape = net.values[static_cast<size_t>(in)].shape;
        for (size_t a = shape.size() - static_cast<size_t>(n.axes); a < shape.size(); ++a)
          width *= static_cast<size_t>(shape[a].size);
        for (size_t r = 0; r < x.size(); r += width) {
          double mean = 0, var = 0;
          for (size_t i = 0; i < width; ++i) mean += x[r + i] / static_cast<double>(width);
          for (size_t i = 0; i < width; ++i) var += (x[r + i] - mean) * (x[r + i] - mean) / static_cast<double>(width);
          for (size_t i = 0; i < width; ++i)
            y[r + i] = (x[r + i] - mean) / std::sqrt(var + n.epsilon) * (g.empty() ? 1 : g[i]) + (b.empty() ? 0 : b[i]);
        }
        break;
      }
      case Op::relu: each([](double a) { return a < 0 ? 0 : a; }); break;
      case Op::relu6: each([](double a) { return a < 0 ? 0 : a > 6 ? 6 : a; }); break;
      case Op::silu: each([](double a) { return a / (1 + std::exp(-a)); }); break;
      case Op::sigmoid: each([](double a) { return 1 / (1 + std::exp(-a)); }); break;
      case Op::gelu:
        if (n.gelu_tanh)
          each([](double a) {
            return 0.5 * a * (1 + std::tanh(std::sqrt(2 / 3.141592653589793) * (a + 0.044715 * a * a * a)));
          });
        else
          each([](double a) { return 0.5 * a * (1 + std::erf(a / std::sqrt(2.0))); });
        break;
      case Op::softmax: {
        const auto& shape = net.values[static_cast<size_t>(in)].shape;
        size_t inner = 1;
        const size_t width = static_cast<size_t>(shape[static_cast<size_t>(n.axis)].size);
        for (size_t a = static_cast<size_t>(n.axis) + 1; a < shape.size(); ++a)
          inner *= static_cast<size_t>(shape[a].size);
        for (size_t o = 0; o < x.size() / (inner * width); ++o)
          for (size_t i = 0; i < inner; ++i) {
            double high = -1e300, sum = 0;
            for (size_t k = 0; k < width; ++k) high = std::max(high, x[(o * width + k) * inner + i]);
            for (size_t k = 0; k < width; ++k) sum += std::exp(x[(o * width + k) * inner + i] - high);
            for (size_t k = 0; k < width; ++k)
              y[(o * width + k) * inner + i] = std::exp(x[(o * width + k) * inner + i] - high) / sum;
          }
        break;
      }
      case Op::add:
        for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] + v[static_cast<size_t>(n.inputs[1])][i];
        break;
      case Op::concat: {
        const auto& shape = net.values[static_cast<size_t>(out)].shape;
        size_t inner = 1, outer = 1, at = 0;
        for (size_t a = 1; a < static_cast<size_t>(n.axis); ++a) outer *= static_cast<size_t>(shape[a].size);
        for (size_t a = static_cast<size_t>(n.axis) + 1; a < shape.size(); ++a)
          inner *= static_cast<size_t>(shape[a].size);
        for (size_t o = 0; o < outer; ++o)
          for (int source : n.inputs) {
            const size_t width =
                static_cast<size_t>(net.values[static_cast<size_t>(source)].shape[static_cast<size_t>(n.axis)].size) *
                inner;
            std::copy_n(v[static_cast<size_t>(source)].begin() + static_cast<long>(o * width), width,
                        y.begin() + static_cast<long>(at));
            at += width;
          }
        break;
      }
      case Op::max_pool2d:
      case Op::avg_pool2d: {
        const int64_t C = size(in, 0), H = size(in, 1), W = size(in, 2), Ho = size(out, 1), Wo = size(out, 2);
        for (int64_t c = 0; c < C; ++c)
          for (int64_t p = 0; p < Ho; ++p)
            for (int64_t q = 0; q < Wo; ++q) {
              double high = -std::numeric_limits<double>::infinity(), sum = 0;
              int inside = 0;
              for (int64_t r = 0; r < n.kernel[0]; ++r)
                for (int64_t s = 0; s < n.kernel[1]; ++s) {
                  const int64_t h = p * n.stride[0] + r * n.dilation[0] - n.padding[0],
                                w = q * n.stride[1] + s * n.dilation[1] - n.padding[1];
                  if (h < 0 || h >= H || w < 0 || w >= W) continue;
                  const double t = x[static_cast<size_t>((c * H + h) * W + w)];
                  high = std::max(high, t);
                  sum += t;
                  ++inside;
                }
              y[static_cast<size_t>((c * Ho + p) * Wo + q)] =
                  n.op == Op::max_pool2d
                      ? high
                      : sum / static_cast<double>(n.count_include_pad ? n.kernel[0] * n.kernel[1] : inside);
            }
        break;
      }
      case Op::adaptive_avg_pool2d: {
        const int64_t C = size(in, 0), H = size(in, 1), W = size(in, 2), Ho = size(out, 1), Wo = size(out, 2);
        for (int64_t c = 0; c < C; ++c)
          for (int64_t p = 0; p < Ho; ++p)
            for (int64_t q = 0; q < Wo; ++q) {
              const int64_t h0 = p * H / Ho, h1 = ((p + 1) * H + Ho - 1) / Ho, w0 = q * W / Wo,
                            w1 = ((q + 1) * W + Wo - 1) / Wo;
              double sum = 0;
              for (int64_t h = h0; h < h1; ++h)
                for (int64_t w = w0; w < w1; ++w) sum += x[static_cast<size_t>((c * H + h) * W + w)];
              y[static_cast<size_t>((c * Ho + p) * Wo + q)] = sum / static_cast<double>((h1 - h0) * (w1 - w0));
            }
        break;
      }
      case Op::flatten: y = x; break;
      default: throw Error{Error::Kind::argument, "no reference of " + n.op_name};
    }
    v[static_cast<size_t>(out)] = std::move(y);
  }
  return v;
}

}  // namespace gossamer_test
