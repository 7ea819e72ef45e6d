// The products of a sparse linear layer in training on every instruction set against loops in double, on odd shapes, by
// every layout of the operands; the blocks by column against the blocks by row.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "isa.h"
#include "training_linear.h"

using namespace gossamer;

namespace {

std::mt19937 random_bits(7);
int failures = 0;

int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
template <typename T>
std::vector<T> randoms(int64_t n) {
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) x = static_cast<T>(std::uniform_real_distribution<double>(-1, 1)(random_bits));
  return v;
}
template <typename T>
void check(T got, double want, int64_t terms, const char* isa, const char* what) {
  const double tolerance = (sizeof(T) == 8 ? 1e-14 : 2e-6) * static_cast<double>(terms + 1);
  if (std::fabs(static_cast<double>(got) - want) <= tolerance) return;
  if (++failures < 20) std::printf("FAIL %s %s: expected %.9g, got %.9g\n", isa, what, want, static_cast<double>(got));
}

struct Filled : TrainingMatrix {
  std::vector<uint16_t> narrow;
  std::vector<uint32_t> wide;
};

void fill(Filled& m, double density) {
  m.block_rows = pick(0, 1) ? 1 : pick(1, 6), m.block_cols = pick(0, 1) ? 1 : pick(1, 4);
  m.rows = m.block_rows * pick(1, 40), m.cols = m.block_cols * pick(1, 40);
  const bool wide = pick(0, 1);
  m.row_start = {0};
  for (int64_t r = 0; r < m.num_block_rows(); ++r) {
    for (int64_t c = 0; c < m.num_block_cols(); ++c) {
      if (std::uniform_real_distribution<double>(0, 1)(random_bits) >= density) continue;
      if (wide)
        m.wide.push_back(static_cast<uint32_t>(c));
      else
        m.narrow.push_back(static_cast<uint16_t>(c));
    }
    m.row_start.push_back(static_cast<uint32_t>(m.narrow.size() + m.wide.size()));
  }
  m.columns16 = {m.narrow.data(), m.narrow.size()};
  m.columns32 = {m.wide.data(), m.wide.size()};
}

// Every block stands in its column once, rows ascending, whatever the bands.
void by_columns(const TrainingMatrix& m) {
  const ByColumn found = by_column(m, pick(1, m.rows));
  std::vector<int> seen(static_cast<size_t>(m.num_blocks()));
  for (int64_t b = 0; b < found.bands; ++b)
    for (int64_t c = 0; c < m.num_block_cols(); ++c) {
      const uint32_t* start = found.start.data() + b * (m.num_block_cols() + 1) + c;
      int64_t before = -1;
      for (uint32_t i = start[0]; i < start[1]; ++i) {
        const uint64_t place = found.places[i];
        const int64_t row = static_cast<int64_t>(place >> found.shift) + b * found.band_rows;
        const auto block =
            static_cast<int64_t>(place & ((uint64_t{1} << found.shift) - 1)) + found.first[static_cast<size_t>(b)];
        const bool inside =
            block >= m.row_start[static_cast<size_t>(row)] && block < m.row_start[static_cast<size_t>(row) + 1];
        if (row <= before || !inside || m.column(block) != c) ++failures, std::printf("FAIL by_column\n");
        before = row;
        if (inside) ++seen[static_cast<size_t>(block)];
      }
    }
  for (const int times : seen)
    if (times != 1) ++failures, std::printf("FAIL by_column: a block stands %d times\n", times);
}

template <typename T>
void products(const KernelTable& kernels, const char* isa) {
  Filled m;
  fill(m, pick(0, 3) ? 0.3 : 1.0);
  if (!m.refusal().empty()) ++failures, std::printf("FAIL refusal: %s\n", m.refusal().c_str());
  by_columns(m);
  const int64_t n = pick(1, 300), threads = pick(1, 3);
  const auto values = randoms<T>(m.num_kept()), bias = randoms<T>(m.rows);
  const auto x = randoms<T>(n * m.cols), dy = randoms<T>(n * m.rows);
  std::vector<T> y(static_cast<size_t>(n * m.rows)), dx(static_cast<size_t>(n * m.cols)),
      gradient(static_cast<size_t>(m.num_kept())), alone = gradient;
  const auto lanes = [&](auto* data, int64_t features, bool feature_major) {
    using Data = std::remove_pointer_t<decltype(data)>;
    return feature_major ? Lanes<Data>{data, 1, n} : Lanes<Data>{data, features, 1};
  };
  const auto in = lanes(x.data(), m.cols, pick(0, 1)), back = lanes(dy.data(), m.rows, pick(0, 1));
  const auto out = lanes(y.data(), m.rows, pick(0, 1)), out_dx = lanes(dx.data(), m.cols, pick(0, 1));
  const bool with_bias = pick(0, 1);
  linear_forward<T>(m, kernels, values.data(), with_bias ? bias.data() : nullptr, in, out, n,
                    static_cast<int>(threads));
  linear_backward<T>(m, kernels, values.data(), in, back, out_dx, gradient.data(), n, static_cast<int>(threads));
  linear_backward<T>(m, kernels, values.data(), in, back, {}, alone.data(), n, static_cast<int>(threads));

  std::vector<double> want_y(y.size()), want_dx(dx.size());
  const auto at = [](const auto& array, int64_t example, int64_t feature) {
    return static_cast<double>(array.data[example * array.example + feature * array.feature]);
  };
  int64_t entry = 0;
  for (int64_t r = 0; r < m.num_block_rows(); ++r)
    for (int64_t b = m.row_start[static_cast<size_t>(r)]; b < m.row_start[static_cast<size_t>(r) + 1]; ++b)
      for (int64_t i = 0; i < m.block_rows; ++i)
        for (int64_t j = 0; j < m.block_cols; ++j, ++entry) {
          const int64_t row = r * m.block_rows + i, column = m.column(b) * m.block_cols + j;
          const double w = values[static_cast<size_t>(entry)];
          double sum = 0;
          for (int64_t f = 0; f < n; ++f) {
            want_y[static_cast<size_t>(f * m.rows + row)] += w * at(in, f, column);
            want_dx[static_cast<size_t>(f * m.cols + column)] += w * at(back, f, row);
            sum += at(back, f, row) * at(in, f, column);
          }
          check(gradient[static_cast<size_t>(entry)], sum, n, isa, "gradient");
          check(alone[static_cast<size_t>(entry)], sum, n, isa, "gradient alone");
        }
  for (int64_t f = 0; f < n; ++f) {
    for (int64_t r = 0; r < m.rows; ++r)
      check(static_cast<T>(at(out, f, r)),
            want_y[static_cast<size_t>(f * m.rows + r)] + (with_bias ? double{bias[static_cast<size_t>(r)]} : 0),
            m.cols, isa, "y");
    for (int64_t c = 0; c < m.cols; ++c)
      check(static_cast<T>(at(out_dx, f, c)), want_dx[static_cast<size_t>(f * m.cols + c)], m.rows, isa, "dx");
  }
}

}  // namespace

int main() {
  for (const std::string& name : available_isas()) {
    const int rounds = std::getenv("GOSSAMER_EMULATED") ? 10 : 60;
    for (int round = 0; round < rounds; ++round) {
      products<float>(*find_kernels(name), name.c_str());
      products<double>(*find_kernels(name), name.c_str());
    }
    std::printf("%s: %d failures\n", name.c_str(), failures);
  }
  return failures != 0;
}
