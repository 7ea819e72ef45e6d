// Every matrix-times-vector kernel of every instruction set against float64: all orders in memory, precisions and
// widths, odd shapes, empty rows, NaN and infinity. By the gather instruction and by scalar loads the results are equal
// to the last bit.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "isa.h"
#include "weight_memory.h"

using namespace gossamer;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
std::mt19937 random_bits(11);
int failures = 0;
std::string where;

int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
float uniform() { return std::uniform_real_distribution<float>(-1, 1)(random_bits); }
void check(double got, double want, double scale = 1) {
  if (std::isnan(want) ? std::isnan(got)
                       : got == want || std::fabs(got - want) <= 1e-5 * std::max(scale, std::fabs(want)))
    return;
  if (++failures < 20) std::printf("FAIL %s: expected %.9g, got %.9g\n", where.c_str(), want, got);
}

// Values in the precision of the storage, so that the expected value is that of the stored number.
struct Values {
  Stored stored;
  std::vector<float> exact;
  std::vector<uint16_t> halves;
  std::vector<int8_t> bytes;
  explicit Values(Stored s, size_t n) : stored(s) {
    for (size_t i = 0; i < n; ++i) {
      if (s == kF32) {
        exact.push_back(uniform());
      } else if (s == kF16) {  // 11 bits times a power of two, subnormal halves among them
        const int exponent = static_cast<int>(pick(-24, 4));
        const int mantissa = static_cast<int>(exponent == -24 ? pick(0, 1023) : pick(1024, 2047));
        const int sign = static_cast<int>(pick(0, 1));
        exact.push_back(
            std::ldexp(static_cast<float>(sign ? -mantissa : mantissa), exponent == -24 ? -24 : exponent - 11));
        const int biased = exponent == -24 ? 0 : exponent - 1 + 15;
        if (biased <= 0 && exponent != -24) {  // not a normal half: take one that is
          exact.back() = sign ? -1.5f : 1.5f;
          halves.push_back(static_cast<uint16_t>(sign << 15 | 15 << 10 | 512));
        } else {
          halves.push_back(static_cast<uint16_t>(sign << 15 | biased << 10 | (mantissa & 1023)));
        }
      } else {
        bytes.push_back(static_cast<int8_t>(pick(-127, 127)));
        exact.push_back(bytes.back());
      }
    }
    exact.resize(n + 16), halves.resize(n + 16), bytes.resize(n + 16);
  }
  const void* data() const {
    return stored == kF32   ? static_cast<const void*>(exact.data())
           : stored == kF16 ? static_cast<const void*>(halves.data())
                            : bytes.data();
  }
};

struct Entry {
  int64_t row, column;
  double value;
};

// Runs the kernel over two halves of its units and compares every row.
void run(const KernelTable& k, VectorKernel kernel, Stored stored, VectorArgs a, int64_t units, int64_t rows,
         const std::vector<Entry>& entries, const std::vector<float>& x) {
  std::vector<float> bias(static_cast<size_t>(rows)), y(static_cast<size_t>(rows) + 1, 77.0f);
  for (float& b : bias) b = uniform();
  const bool with_bias = pick(0, 1), clamped = pick(0, 1);
  a.x = x.data(), a.y = y.data(), a.bias = with_bias ? bias.data() : nullptr;
  a.lo = clamped ? -0.5f : -kInf, a.hi = clamped ? 0.5f : kInf;
  std::vector<double> want(static_cast<size_t>(rows), 0.0);
  for (const Entry& e : entries) want[static_cast<size_t>(e.row)] += e.value * x[static_cast<size_t>(e.column)];
  const int64_t middle = pick(0, units);
  std::vector<float> before;
  for (int gather = 0; gather <= (k.has_gather ? 1 : 0); ++gather) {
    a.gather = gather;
    a.begin = 0, a.end = middle;
    k.vector[kernel][stored](&a);
    a.begin = middle, a.end = units;
    k.vector[kernel][stored](&a);
    for (int64_t r = 0; r < rows; ++r) {
      double w = want[static_cast<size_t>(r)] + (with_bias ? bias[static_cast<size_t>(r)] : 0.0);
      if (!std::isnan(w)) w = std::min<double>(a.hi, std::max<double>(a.lo, w));
      check(y[static_cast<size_t>(r)], w);
    }
    check(y.back(), 77.0);
    if (gather && std::memcmp(before.data(), y.data(), y.size() * 4) != 0)
      for (size_t r = 0; r < y.size(); ++r)
        if (std::memcmp(&before[r], &y[r], 4) != 0 && !std::isnan(y[r])) {
          ++failures;
          std::printf("FAIL %s: gather and loads differ: %.9g, %.9g\n", where.c_str(), before[r], y[r]);
        }
    before = y;
  }
  a.gather = 0;
  for (int eight = 0; eight < 2; ++eight) {  // interleaved: column c of vector i is x[c] * (i + 1)
    if (!k.narrow[eight][kernel][stored]) continue;
    const size_t width = eight ? 8 : 4;
    std::vector<float> tile(x.size() * width), out(y.size() * width, 77.0f);
    for (size_t c = 0; c < x.size(); ++c)
      for (size_t i = 0; i < width; ++i) tile[c * width + i] = x[c] * static_cast<float>(i + 1);
    a.x = tile.data(), a.y = out.data();
    a.begin = 0, a.end = middle;
    k.narrow[eight][kernel][stored](&a);
    a.begin = middle, a.end = units;
    k.narrow[eight][kernel][stored](&a);
    for (int64_t r = 0; r < rows; ++r)
      for (size_t i = 0; i < width; ++i) {
        double w = want[static_cast<size_t>(r)] * static_cast<double>(i + 1) +
                   (with_bias ? bias[static_cast<size_t>(r)] : 0.0);
        if (!std::isnan(w)) w = std::min<double>(a.hi, std::max<double>(a.lo, w));
        check(out[static_cast<size_t>(r) * width + i], w, 10);
      }
    check(out[static_cast<size_t>(rows) * width], 77.0);
  }
}

// x with a NaN or infinity at a column: kept weights pass it on, dropped ones do not.
std::vector<float> operand(int64_t width) {
  std::vector<float> x(static_cast<size_t>(width));
  for (float& v : x) v = uniform();
  const int64_t kind = pick(0, 3);
  if (kind == 1) x[static_cast<size_t>(pick(0, width - 1))] = kNan;
  if (kind == 2) x[static_cast<size_t>(pick(0, width - 1))] = kInf;
  return x;
}

struct Columns {  // in all widths that the kernels read
  std::vector<uint16_t> narrow;
  std::vector<uint32_t> wide;
  void push(int64_t c) {
    narrow.push_back(static_cast<uint16_t>(c));
    wide.push_back(static_cast<uint32_t>(c));
  }
  const void* data(int is_wide) const { return is_wide ? static_cast<const void*>(wide.data()) : narrow.data(); }
};

void rows_and_bitmaps(const KernelTable& k, Stored stored) {
  const int64_t rows = pick(1, 12), width = pick(1, 120);
  const double density = static_cast<double>(pick(0, 4)) / 4;
  std::vector<uint32_t> start{0};
  std::vector<uint16_t> masks(static_cast<size_t>(rows * ((width + 15) / 16)), 0);
  Columns columns;
  std::vector<Entry> entries;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      if ((uniform() + 1) / 2 >= density) continue;
      columns.push(c);
      entries.push_back({r, c, 0});
      uint16_t& mask = masks[static_cast<size_t>(r * ((width + 15) / 16) + c / 16)];
      mask = static_cast<uint16_t>(mask | 1 << (c % 16));
    }
    start.push_back(static_cast<uint32_t>(entries.size()));
  }
  const Values values(stored, entries.size());
  for (size_t i = 0; i < entries.size(); ++i) entries[i].value = values.exact[i];
  const auto x = operand(width);
  VectorArgs a;
  a.values = values.data(), a.start = start.data(), a.width = width;
  for (int wide = 0; wide < 2; ++wide) {
    a.wide = wide, a.columns = columns.data(wide);
    run(k, kRows, stored, a, rows, rows, entries, x);
  }
  a.wide = 0, a.columns = masks.data();
  run(k, kBitmap, stored, a, rows, rows, entries, x);
}

void dense(const KernelTable& k, Stored stored) {
  const int64_t rows = pick(1, 13), width = pick(1, 90);
  const Values values(stored, static_cast<size_t>(rows * width));
  std::vector<Entry> entries;
  for (int64_t i = 0; i < rows * width; ++i)
    entries.push_back({i / width, i % width, values.exact[static_cast<size_t>(i)]});
  VectorArgs a;
  a.values = values.data(), a.width = width;
  run(k, kDense, stored, a, rows, rows, entries, operand(width));
}

// Blocks of eight and four rows, windows, gather-scatter bundles: `height` rows a unit, some units empty.
void groups(const KernelTable& k, VectorKernel kernel, Stored stored, int64_t height, int per_row = 1) {
  const int64_t units = pick(1, 5), width = 8 * pick(1, 12), lanes = kernel == kBlock4 ? 4 : 8;
  std::vector<uint32_t> start{0}, words, wide_words;
  std::vector<uint8_t> quotients;
  Columns columns;
  std::vector<Entry> entries;
  for (int64_t u = 0; u < units; ++u) {
    for (int64_t n = pick(0, 1) ? pick(0, 19) : 0; n > 0; --n) {
      if (kernel == kBlock8 || kernel == kBlock4) {
        columns.push(pick(0, width - 1));
        for (int64_t i = 0; i < lanes; ++i) entries.push_back({u * height + i, columns.wide.back(), 0});
      } else if (kernel == kWindow8) {
        const int64_t window = pick(0, width / 8 - 1);
        uint32_t word = 0;
        for (int64_t i = 0; i < 8; ++i) {
          const int64_t lane = pick(0, 7);
          word |= static_cast<uint32_t>(lane << (3 * i));
          entries.push_back({u * 8 + i, window * 8 + lane, 0});
        }
        words.push_back(word | static_cast<uint32_t>(window << 24));
        wide_words.insert(wide_words.end(), {word, static_cast<uint32_t>(window)});
      } else {
        for (int64_t i = 0; i < 8; ++i) {
          quotients.push_back(static_cast<uint8_t>(pick(0, width / 8 - 1)));
          columns.push(quotients.back() * 8 + i);
          entries.push_back({u * height + i / per_row, columns.wide.back(), 0});
        }
      }
    }
    start.push_back(static_cast<uint32_t>(entries.size() / static_cast<size_t>(lanes)));
  }
  const Values values(stored, entries.size());
  std::vector<float> scale;
  for (int64_t r = 0; r < units * height; ++r)
    scale.push_back(stored == kI8 ? 0.01f * static_cast<float>(r + 1) : 1.0f);
  for (size_t i = 0; i < entries.size(); ++i)
    entries[i].value = double{values.exact[i]} * scale[static_cast<size_t>(entries[i].row)];
  const auto x = operand(width);
  VectorArgs a;
  a.values = values.data(), a.start = start.data(), a.scale = scale.data(), a.per_row = per_row;
  for (int wide = 0; wide < (per_row == 8 ? 3 : 2); ++wide) {
    a.wide = wide;
    a.columns = wide == 2 ? quotients.data() : columns.data(wide);
    if (kernel == kWindow8) a.columns = wide ? wide_words.data() : words.data();
    run(k, kernel, stored, a, units, units * height, entries, x);
  }
}

void weight_memory() {
  where = "weight memory";
  std::vector<WeightBytes> pieces;
  for (size_t size :
       {size_t{0}, size_t{1}, size_t{100}, size_t{70000}, size_t{5000001}, size_t{40000000}, size_t{70001}})
    pieces.emplace_back(size);
  for (size_t i = 0; i < pieces.size(); ++i) {
    uint8_t* p = pieces[i].as<uint8_t>();
    check(static_cast<double>(reinterpret_cast<uintptr_t>(p) % 64), 0);
    check(std::count(p, p + pieces[i].size() + 64, 0), static_cast<double>(pieces[i].size() + 64));
    std::fill(p, p + pieces[i].size(), static_cast<uint8_t>(i + 1));
  }
  std::vector<WeightBytes> moved;
  for (WeightBytes& piece : pieces) moved.push_back(std::move(piece));
  pieces.clear();
  for (size_t i = 0; i < moved.size(); ++i)
    check(std::count(moved[i].as<uint8_t>(), moved[i].as<uint8_t>() + moved[i].size(), static_cast<int>(i + 1)),
          static_cast<double>(moved[i].size()));
}

}  // namespace

int main() {
  weight_memory();
  for (const std::string& isa : available_isas()) {
    const KernelTable& k = *find_kernels(isa);
    for (int round = 0; round < 60; ++round) {
      for (int stored = 0; stored < kStoredKinds; ++stored) {
        const Stored s = static_cast<Stored>(stored);
        const auto named = [&](const char* name) {
          where = isa + " " + name + (s == kF32 ? " float" : s == kF16 ? " half" : " int8");
        };
        const auto has = [&](VectorKernel kernel) { return k.vector[kernel][s] != nullptr; };
        named("rows or bitmap");
        if (has(kRows)) rows_and_bitmaps(k, s);
        named("dense");
        if (has(kDense)) dense(k, s);
        named("block8");
        if (has(kBlock8)) groups(k, kBlock8, s, 8);
        named("block4");
        if (has(kBlock4)) groups(k, kBlock4, s, 4);
        named("window8");
        if (has(kWindow8)) groups(k, kWindow8, s, 8);
        named("bundles");
        for (int per_row : {1, 2, 4, 8})
          if (has(kBundles)) groups(k, kBundles, s, 8 / per_row, per_row);
      }
    }
    std::printf("%s: %d failures\n", isa.c_str(), failures);
  }
  return failures != 0;
}
