// Every kernel of one instruction set (argument: its name; none: all that this CPU has) against a float64 loop, on odd
// shapes.
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "isa.h"

using namespace gossamer;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
std::mt19937 random_bits(7);
int failures = 0;
const char* isa = "";

float uniform() { return std::uniform_real_distribution<float>(-1, 1)(random_bits); }
int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
std::vector<float> randoms(int64_t n) {
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = uniform();
  return v;
}
void check(double got, double want, double scale, const char* what, double tolerance = 1e-6) {
  if (std::isnan(want) ? std::isnan(got) : got == want || std::fabs(got - want) <= tolerance * std::max(1.0, scale))
    return;
  if (++failures < 20) std::printf("FAIL %s %s: expected %.9g, got %.9g\n", isa, what, want, got);
}
double clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

// Sparse and block lanes share the checks: blocks are rows in fours with one column list.
void lanes(const KernelTable& k, bool blocks, int vectors, bool wide) {
  const int64_t rows = pick(1, 11), columns = pick(1, 30), width = vectors * k.lanes, plane = width + pick(0, 9),
                lane = pick(0, 2) * k.lanes;
  const auto x = randoms(columns * plane + lane + width), bias = randoms(rows),
             residual = randoms(rows * plane + lane + width);
  auto y = randoms(rows * plane + lane + width);
  const auto before = y;
  std::vector<uint32_t> mask(static_cast<size_t>(lane + width));
  for (uint32_t& m : mask) m = pick(0, 3) ? ~0u : 0u;
  std::vector<uint32_t> start{0}, wider;
  std::vector<uint16_t> narrow;
  std::vector<float> values;
  std::vector<RowBlock> row_blocks;
  std::vector<std::vector<std::pair<int64_t, float>>> entries(static_cast<size_t>(rows));
  const double density = pick(0, 4) / 4.0;
  for (int64_t r = 0; r < rows; r += blocks ? 4 : 1) {
    RowBlock block;
    block.row = r;
    block.rows = static_cast<int32_t>(std::min<int64_t>(4, rows - r));
    block.offset_start = static_cast<int64_t>(wider.size());
    block.value_start = static_cast<int64_t>(values.size());
    for (int64_t c = 0; c < columns; ++c) {
      if (uniform() > 2 * density - 1) continue;
      wider.push_back(static_cast<uint32_t>(c * plane));
      narrow.push_back(static_cast<uint16_t>(c * plane));
      ++block.count;
      for (int64_t i = 0; i < (blocks ? 4 : 1); ++i) {
        values.push_back(uniform());
        if (i < block.rows) entries[static_cast<size_t>(r + i)].push_back({c * plane, values.back()});
      }
    }
    start.push_back(static_cast<uint32_t>(wider.size()));
    row_blocks.push_back(block);
  }
  const bool first = pick(0, 1), last = pick(0, 1), with_bias = pick(0, 1), with_residual = pick(0, 1),
             with_mask = pick(0, 1), in_place = pick(0, 1), ordered = !blocks && pick(0, 1);
  std::vector<uint32_t> order(static_cast<size_t>(rows));  // entry list i belongs to row order[i]
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<uint32_t>(i);
    if (ordered) std::swap(order[i], order[static_cast<size_t>(pick(0, static_cast<int64_t>(i)))]);
  }
  const float lo = pick(0, 1) ? 0.0f : -kInf, hi = pick(0, 1) ? 0.5f : kInf;
  const auto fill = [&](auto& a) {
    a.x = x.data(), a.y = y.data(), a.lane = lane, a.vectors = vectors, a.wide = wide, a.first = first, a.last = last,
    a.lo = lo, a.hi = hi;
    a.offsets = wide ? static_cast<const void*>(wider.data()) : narrow.data();
    a.values = values.data(), a.y_stride = plane, a.residual_stride = plane;
    a.bias = with_bias ? bias.data() : nullptr,
    a.residual = !with_residual ? nullptr
                 : in_place     ? y.data()
                                : residual.data(),
    a.mask = with_mask ? mask.data() : nullptr;
  };
  if (blocks) {
    BlockArgs a;
    fill(a);
    a.blocks = row_blocks.data(), a.block_end = static_cast<int64_t>(row_blocks.size());
    k.block(&a);
  } else {
    SpmmArgs a;
    fill(a);
    a.row_start = start.data(), a.row_end = rows, a.order = ordered ? order.data() : nullptr;
    k.spmm(&a);
  }
  auto want = std::vector<double>(before.begin(), before.end());
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t r = order[static_cast<size_t>(i)];
    for (int64_t f = lane; f < lane + width; ++f) {
      double t = first ? (with_bias ? bias[static_cast<size_t>(r)] : 0.0) : before[static_cast<size_t>(r * plane + f)];
      if (first && with_residual) t += (in_place ? before : residual)[static_cast<size_t>(r * plane + f)];
      for (const auto& [offset, value] : entries[static_cast<size_t>(i)])
        t += double{value} * x[static_cast<size_t>(offset + f)];
      if (last) {
        t = clamp(t, lo, hi);
        if (with_mask && !mask[static_cast<size_t>(f)]) t = 0;
      }
      want[static_cast<size_t>(r * plane + f)] = t;
    }
  }
  for (size_t i = 0; i < want.size(); ++i)
    check(y[i], want[i], 4, blocks ? "block" : "spmm");  // also that nothing else was written
}

void turns(const KernelTable& k) {
  const int64_t columns = pick(1, 90);
  const int64_t m = pick(1, 20), stride = m + pick(0, 5);
  const auto rows_in = randoms(m * columns);
  std::vector<float> turned(static_cast<size_t>(columns * stride), 9), back(static_cast<size_t>(m * columns));
  k.interleave(rows_in.data(), turned.data(), m, columns, stride);
  k.deinterleave(turned.data(), back.data(), m, columns, stride);
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = 0; i < stride; ++i)
      check(turned[static_cast<size_t>(j * stride + i)], i < m ? rows_in[static_cast<size_t>(i * columns + j)] : 0, 1,
            "interleave");
  for (size_t i = 0; i < back.size(); ++i) check(back[i], rows_in[i], 1, "deinterleave");
}

void phases(const KernelTable& k) {
  PhaseArgs a;
  a.y_row = pick(1, 40), a.y_rows = pick(1, 9), a.stride[0] = pick(1, 3), a.stride[1] = pick(1, 3);
  a.x_row = a.y_row * a.stride[1] + pick(0, 3);
  const auto x = randoms(a.x_row * a.stride[0] * a.y_rows + 200);
  std::vector<float> y(static_cast<size_t>(a.y_row * a.y_rows) + 1, 5);
  a.x = x.data(), a.y = y.data();
  k.phase_plane(&a);
  for (int64_t i = 0; i < a.y_row * a.y_rows; ++i)
    check(y[static_cast<size_t>(i)],
          x[static_cast<size_t>(i / a.y_row * a.stride[0] * a.x_row + i % a.y_row * a.stride[1])], 1, "phase_plane");
  check(y.back(), 5, 1, "phase_plane behind the end");
}

void pools(const KernelTable& k) {
  PoolArgs a;
  a.planes = pick(1, 3), a.height = pick(1, 20), a.width = pick(1, 40);
  for (int i = 0; i < 2; ++i) a.kernel[i] = pick(1, 4), a.stride[i] = pick(1, 3), a.dilation[i] = pick(1, 2);
  a.top = pick(0, a.kernel[0] / 2), a.left = pick(0, a.kernel[1] / 2);
  a.out_height = (a.height + 2 * a.top - a.dilation[0] * (a.kernel[0] - 1) - 1) / a.stride[0] + 1;
  a.out_width = (a.width + 2 * a.left - a.dilation[1] * (a.kernel[1] - 1) - 1) / a.stride[1] + 1;
  if (a.height + 2 * a.top < a.dilation[0] * (a.kernel[0] - 1) + 1 ||
      a.width + 2 * a.left < a.dilation[1] * (a.kernel[1] - 1) + 1)
    return;
  a.include_pad = pick(0, 1);
  a.x_row = a.width + pick(0, 3), a.x_plane = a.x_row * a.height + pick(0, 5), a.y_row = a.out_width + 1,
  a.y_plane = a.y_row * a.out_height + 2;
  auto x = randoms(a.planes * a.x_plane);
  if (pick(0, 3) == 0) x[0] = kNan;
  std::vector<float> high(static_cast<size_t>(a.planes * a.y_plane)), mean = high;
  a.span = std::max(a.left + a.width, (a.out_width - 1) * a.stride[1] + (a.kernel[1] - 1) * a.dilation[1] + 1) + 16;
  std::vector<float> scratch(static_cast<size_t>(2 * a.span));
  a.x = x.data(), a.scratch = scratch.data();
  a.y = high.data();
  k.max_pool(&a);
  a.y = mean.data();
  k.avg_pool(&a);
  for (int64_t c = 0; c < a.planes; ++c)
    for (int64_t p = 0; p < a.out_height; ++p)
      for (int64_t q = 0; q < a.out_width; ++q) {
        double most = -kInf, sum = 0;
        int64_t inside = 0;
        for (int64_t r = 0; r < a.kernel[0]; ++r)
          for (int64_t s = 0; s < a.kernel[1]; ++s) {
            const int64_t h = p * a.stride[0] + r * a.dilation[0] - a.top,
                          w = q * a.stride[1] + s * a.dilation[1] - a.left;
            if (h < 0 || h >= a.height || w < 0 || w >= a.width) continue;
            const double v = x[static_cast<size_t>(c * a.x_plane + h * a.x_row + w)];
            most = std::isnan(v) || v > most ? v : most;
            sum += v;
            ++inside;
          }
        const size_t at = static_cast<size_t>(c * a.y_plane + p * a.y_row + q);
        check(high[at], most, 1, "max_pool");
        check(mean[at],
              sum / static_cast<double>(a.include_pad ? a.kernel[0] * a.kernel[1] : std::max<int64_t>(inside, 1)), 1,
              "avg_pool");
      }
  a.out_height = pick(1, 5), a.out_width = pick(1, 45), a.y_row = a.out_width, a.y_plane = a.y_row * a.out_height;
  std::vector<float> y(static_cast<size_t>(a.planes * a.y_plane));
  a.y = y.data();
  k.adaptive_avg_pool(&a);
  for (int64_t i = 0; i < a.planes * a.y_plane; ++i) {
    const int64_t c = i / a.y_plane, p = i % a.y_plane / a.y_row, q = i % a.y_row;
    const int64_t h0 = p * a.height / a.out_height, h1 = ((p + 1) * a.height + a.out_height - 1) / a.out_height;
    const int64_t w0 = q * a.width / a.out_width, w1 = ((q + 1) * a.width + a.out_width - 1) / a.out_width;
    double sum = 0;
    for (int64_t h = h0; h < h1; ++h)
      for (int64_t w = w0; w < w1; ++w) sum += x[static_cast<size_t>(c * a.x_plane + h * a.x_row + w)];
    check(y[static_cast<size_t>(i)], sum / static_cast<double>((h1 - h0) * (w1 - w0)), 1, "adaptive_avg_pool");
  }
}

void pointwise(const KernelTable& k) {
  const int64_t n = pick(1, 70);
  auto x = randoms(n);
  const float reach = pick(0, 1) ? 4.0f : 30.0f;
  for (float& v : x) v *= reach;
  std::vector<float> y(static_cast<size_t>(n) + 1);
  std::vector<uint32_t> mask(static_cast<size_t>(n));
  for (uint32_t& m : mask) m = pick(0, 3) ? ~0u : 0u;
  const auto run = [&](int activation, const char* name, auto f) {
    const bool masked = pick(0, 1);
    y.back() = 5;
    k.activate(activation, x.data(), y.data(), n, masked ? mask.data() : nullptr);
    for (int64_t i = 0; i < n; ++i) {
      const double want = masked && !mask[static_cast<size_t>(i)] ? 0.0 : f(double{x[static_cast<size_t>(i)]});
      check(y[static_cast<size_t>(i)], want, std::fabs(want), name);
    }
    check(y.back(), 5, 1, name);
  };
  if (pick(0, 2) == 0) x[static_cast<size_t>(pick(0, n - 1))] = kNan;
  run(kRelu, "relu", [](double v) { return v < 0 ? 0 : v; });
  run(kRelu6, "relu6", [](double v) { return v < 0 ? 0 : v > 6 ? 6 : v; });
  run(kSigmoid, "sigmoid", [](double v) { return 1 / (1 + std::exp(-v)); });
  run(kSilu, "silu", [](double v) { return v / (1 + std::exp(-v)); });
  run(kGelu, "gelu", [](double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); });
  run(kGeluTanh, "gelu_tanh", [](double v) {
    return 0.5 * v * (1 + std::tanh(std::sqrt(2 / 3.141592653589793) * (v + 0.044715 * v * v * v)));
  });
  k.affine(x.data(), y.data(), n, 1.5f, -0.25f, mask.data());
  for (size_t i = 0; i < x.size(); ++i) check(y[i], mask[i] ? 1.5 * x[i] - 0.25 : 0, reach, "affine");
  const auto b = randoms(n);
  k.add(x.data(), b.data(), y.data(), n, 0, 6);
  for (size_t i = 0; i < x.size(); ++i) check(y[i], clamp(double{x[i]} + b[i], 0, 6), 1, "add");
}

void rows(const KernelTable& k) {
  const int64_t outer = pick(1, 4), n = pick(1, 50), inner = pick(0, 1) ? 1 : pick(1, 20);
  auto x = randoms(outer * n * inner);
  for (float& v : x) v *= 10;
  std::vector<float> y(x.size());
  k.softmax(x.data(), y.data(), outer, n, inner);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      double high = -kInf, sum = 0;
      const auto at = [&](int64_t j) { return static_cast<size_t>((o * n + j) * inner + i); };
      for (int64_t j = 0; j < n; ++j) high = std::max(high, double{x[at(j)]});
      for (int64_t j = 0; j < n; ++j) sum += std::exp(x[at(j)] - high);
      for (int64_t j = 0; j < n; ++j) check(y[at(j)], std::exp(x[at(j)] - high) / sum, 1, "softmax");
    }
  const auto weight = randoms(n), bias = randoms(n);
  k.layer_norm(x.data(), y.data(), outer, n, weight.data(), pick(0, 1) ? bias.data() : nullptr, 1e-1f);
  std::vector<float> plain(x.size());
  k.layer_norm(x.data(), plain.data(), outer, n, nullptr, bias.data(), 1e-1f);
  for (int64_t o = 0; o < outer; ++o) {
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; ++i) mean += double{x[static_cast<size_t>(o * n + i)]} / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i)
      var += std::pow(x[static_cast<size_t>(o * n + i)] - mean, 2) / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) {
      const double v = (x[static_cast<size_t>(o * n + i)] - mean) / std::sqrt(var + 0.1f);
      check(plain[static_cast<size_t>(o * n + i)], v + bias[static_cast<size_t>(i)], 4, "layer_norm");
    }
  }
}

void values_by_hand(const KernelTable& k) {  // infinities, the ends of the exponential, NaN in a softmax row
  const std::vector<float> x{kInf, -kInf, 100, -100, 0, kNan};
  std::vector<float> y(6);
  k.activate(kSigmoid, x.data(), y.data(), 6, nullptr);
  const double sigmoid[] = {1, 0, 1, 0, 0.5, kNan};
  for (size_t i = 0; i < 6; ++i) check(y[i], sigmoid[i], 1, "sigmoid at the ends");
  k.activate(kRelu, x.data(), y.data(), 6, nullptr);
  const double relu[] = {kInf, 0, 100, 0, 0, kNan};
  for (size_t i = 0; i < 6; ++i) check(y[i], relu[i], 1, "relu at the ends");
  k.softmax(x.data() + 2, y.data(), 1, 4, 1);
  for (size_t i = 0; i < 4; ++i) check(y[i], kNan, 1, "softmax with NaN");
  k.softmax(x.data() + 1, y.data(), 1, 4, 1);
  const double softmax[] = {0, 1, 0, 0};
  for (size_t i = 0; i < 4; ++i) check(y[i], softmax[i], 1, "softmax with -inf");
}

}  // namespace

int main(int argc, char** argv) {
  for (const std::string& name : argc > 1 ? std::vector<std::string>{argv[1]} : available_isas()) {
    isa = name.c_str();
    const KernelTable* table = nullptr;
    for (const std::string& known : available_isas())
      if (known == name) table = find_kernels(name);
    if (!table) {
      std::printf("this CPU or build lacks %s\n", isa);
      return 2;
    }
    for (int round = 0; round < 6; ++round) {
      for (int v = 1; v <= table->max_vectors; ++v) lanes(*table, false, v, round % 2);
      for (int v = 1; v <= table->max_block_vectors; ++v) lanes(*table, true, v, round % 2);
    }
    for (int round = 0; round < 60; ++round) {
      turns(*table);
      phases(*table);
      pools(*table);
      pointwise(*table);
      rows(*table);
    }
    values_by_hand(*table);
    std::printf("%s: %d failures\n", isa, failures);
  }
  return failures != 0;
}
