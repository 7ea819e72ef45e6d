// What a layer may run as: every candidate computes the same, tuning takes one of them and remembers it, a cache that
// cannot be read or written is no error, dropped weights count nothing whatever runs, workers stay where they are
// pinned.
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <new>
#include <thread>

#include "choice_cache.h"
#include "compare_network.h"
#include "threads.h"

static std::atomic<int64_t> allocations{0};
__attribute__((noinline)) void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size ? size : 1);
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

using namespace gossamer_test;

namespace {

namespace fs = std::filesystem;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

struct Folder {  // of a cache, gone at the end
  Folder() : path(fs::temp_directory_path() / ("gossamer-test-" + std::to_string(getpid()))) {
    fs::remove_all(path);
    fs::create_directories(path);
    setenv("GOSSAMER_CACHE_DIR", path.c_str(), 1);
  }
  ~Folder() {
    unsetenv("GOSSAMER_CACHE_DIR");
    fs::remove_all(path);
  }
  int files() const {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(path)) ++count;
    return count;
  }
  fs::path path;
};

// Convolutions, strided and depthwise too, residuals, blocks, tokens, linear layers over one row and several.
void images(Builder& b, double density) {
  const int x = b.input({37, 15, 21});
  int y = b.conv(x, 40, 3, 1, 1, density);
  y = b.simple(Op::relu, b.add(y, b.conv(y, 40, 3, 1, 2, density, 1, 2)));
  y = b.conv(y, 48, {3, 2}, {2, 2}, {0, 1, 1, 0}, {1, 1}, density);
  y = b.conv(y, 48, 3, 1, 1, 1, 48);
  y = b.conv(y, 24, 1, 1, 0, density, 1, 1, 4);
  y = b.conv(y, 7, 1, 1, 0, density);
  b.output(b.linear(b.flatten(y), 5, density));
}
void rows(Builder& b, double density) {
  const int x = b.input({67});
  b.output(b.linear(b.simple(Op::relu, b.linear(x, 33, density)), 9, density, 4));
  const int tokens = b.input({19, 24});
  b.output(b.linear(tokens, 31, density));
}

void candidates_agree() {
  for (const double density : {0.55, 0.7, 0.97}) {
    for (int candidate = 0; candidate < 5; ++candidate) {
      PlanOptions options;
      options.candidate = candidate;
      for (const int threads : {1, 2}) {
        Builder image(7), row(8, 40);
        images(image, density);
        rows(row, density);
        compare(image, "candidate " + std::to_string(candidate), {1, 2}, threads, options);
        compare(row, "candidate " + std::to_string(candidate), {1, 3, 17}, threads, options);
      }
    }
  }
}

void candidates_differ() {
  Builder b(7);
  images(b, 0.6);
  std::vector<std::string> kernels;
  for (int candidate = 0; candidate < 5; ++candidate) {
    PlanOptions options;
    options.candidate = candidate;
    kernels.push_back(Plan::make(b.file(), options)->layers()[1].kernel);
  }
  check(std::count(kernels.begin(), kernels.end(), "spmm") > 0, "some candidate of a layer at 20 % is sparse");
  check(std::count(kernels.begin(), kernels.end(), "dense_conv") > 0, "and some is dense");
}

int told(const Plan& plan, const char* words) {
  int count = 0;
  for (const LayerInfo& layer : plan.layers()) count += layer.reason.find(words) != std::string::npos;
  return count;
}

void tuned_plans() {
  const Folder folder;
  PlanOptions options;
  options.tune = true;
  for (const int threads : {1, 2}) {
    options.threads = threads;
    Builder image(17), row(18, 40);
    images(image, 0.7);
    rows(row, 0.7);
    compare(image, "tuned", {1, 2}, threads, options);
    compare(row, "tuned", {1, 3, 17}, threads, options);
    const auto again = Plan::make(image.file(), options);
    check(told(*again, "measured before (cache): ") >= 4, "a second plan takes what the first measured");
    check(told(*again, " µs") >= 4, "and tells the times");
    check(again->remarks().empty(), "a cache that works needs no remark");
    PlanOptions plain;
    plain.threads = threads;
    check(told(*Plan::make(image.file(), plain), "measured") == 0, "without tune nothing is measured or remembered");
  }
  check(folder.files() == static_cast<int>(2 * available_isas().size()),
        "a file each instruction set and number of threads");
}

void nothing_is_allocated() {
  const Folder folder;
  Builder b(19);
  images(b, 0.7);
  for (const int threads : {1, 2}) {
    PlanOptions options;
    options.tune = true;
    options.threads = threads;
    const auto plan = Plan::make(b.file(), options);
    std::vector<float> x(37 * 15 * 21, 0.5f), y(5);
    const void* in[] = {x.data()};
    float* out[] = {y.data()};
    plan->run(1, 0, in, out, false);
    x[5] = kNan;
    const int64_t before = allocations;
    plan->run(1, 0, in, out, false);
    plan->run(1, 0, in, out, true);
    const bool none = allocations == before;
    check(none, "a run of a tuned plan allocates nothing");
  }
}

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

void caches() {
  const Folder folder;
  ChoiceCache one("avx2", 1), two("avx2", 1);
  check(one.remarks().empty() && one.find("a") == nullptr, "an empty place");
  one.save();
  check(folder.files() == 0, "nothing to say, nothing written");
  one.put("a", {"sparse", "1 µs"});
  one.save();
  two.put("b", {"dense", "2 µs"});
  two.put("c", {"dense", "3 µs"});
  two.save();
  ChoiceCache third("avx2", 1);
  check(third.find("a") && third.find("a")->name == "sparse" && third.find("a")->times == "1 µs", "what one wrote");
  check(third.find("b") && third.find("c"), "what two wrote meanwhile");
  check(folder.files() == 1, "one file, nothing beside it");
  check(ChoiceCache("avx512", 1).find("a") == nullptr && ChoiceCache("avx2", 2).find("a") == nullptr,
        "other keys, other files");

  const std::string good = content(third.path());
  for (size_t cut : {size_t{0}, size_t{1}, good.size() / 2, good.size() - 1}) {
    write(third.path(), good.substr(0, cut));
    ChoiceCache damaged("avx2", 1);
    check(damaged.find("a") == nullptr && damaged.remarks().size() == 1, "a file that is cut is not believed");
  }
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
  write(third.path(), flipped);
  ChoiceCache damaged("avx2", 1);
  check(damaged.find("a") == nullptr && damaged.remarks().size() == 1 &&
            damaged.remarks()[0].find("damaged") != std::string::npos,
        "nor one with another bit");
  damaged.put("d", {"sparse", ""});
  damaged.save();
  const ChoiceCache mended("avx2", 1);
  check(mended.find("d") && mended.find("a") == nullptr && mended.remarks().empty(), "it is replaced");

  write(mended.path(), good);  // of another place in the same folder: not ours
  fs::rename(mended.path(), ChoiceCache("avx2", 4).path());
  const ChoiceCache foreign("avx2", 4);
  check(foreign.find("a") == nullptr && foreign.remarks().size() == 1, "a file of another kind of plan");
}

void caches_without_a_place() {
  const Folder folder;
  const fs::path file = folder.path / "file";
  write(file, "no folder");
  setenv("GOSSAMER_CACHE_DIR", (file / "below").c_str(), 1);
  Builder b(21);
  rows(b, 0.7);
  PlanOptions options;
  options.tune = true;
  auto plan = Plan::make(b.file(), options);
  check(plan->remarks().size() == 1 && plan->remarks()[0].find("not written") != std::string::npos, "told once");
  check(told(*plan, "measured: ") > 0, "and measured all the same");
  unsetenv("GOSSAMER_CACHE_DIR");
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  unsetenv("HOME");
  setenv("XDG_CACHE_HOME", "relative", 1);
  plan = Plan::make(b.file(), options);
  check(plan->remarks().size() == 1 && plan->remarks()[0].find("no place") != std::string::npos, "nowhere at all");
  setenv("XDG_CACHE_HOME", folder.path.c_str(), 1);
  plan = Plan::make(b.file(), options);
  check(plan->remarks().empty() && fs::is_directory(folder.path / "gossamer"), "where the system wants caches");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", folder.path.c_str(), 1);
  plan = Plan::make(b.file(), options);
  check(fs::is_directory(folder.path / ".cache" / "gossamer"), "or in the home");
  setenv("HOME", home.c_str(), 1);
}

// Whether a dropped weight meets the number at (channel, row, column) of the input or a kept one: what torch would give
// if the dropped weight were not there.
void dropped_weights_count_nothing() {
  for (const std::string& isa : available_isas()) {
    for (const int threads : {1, 2}) {
      for (const int64_t stride : {1, 2}) {
        for (int candidate = 0; candidate < 4; ++candidate) {
          for (const float bad : {kNan, kInf, -kInf}) {
            Builder b(3);
            const int64_t outputs = 10, channels = 3, height = 6, width = 5;
            const int x = b.input({channels, height, width});
            const int y = b.conv(x, outputs, 3, stride, 1, 0.9);
            b.output(b.simple(Op::relu6, y));
            PlanOptions options;
            options.isa = isa;
            options.threads = threads;
            options.candidate = candidate;
            const auto plan = Plan::make(b.file(), options);
            std::vector<float> in(static_cast<size_t>(channels * height * width), 1.0f), out(outputs * height * width);
            const int64_t bad_row = 2, bad_column = 4, bad_channel = 1;
            in[static_cast<size_t>((bad_channel * height + bad_row) * width + bad_column)] = bad;
            const void* inputs[] = {in.data()};
            float* results[] = {out.data()};
            plan->run(1, 0, inputs, results, false);
            const Weight& weight = b.net().weights[static_cast<size_t>(b.net().nodes[0].weight)];
            const SparseRows rows = decode_rows(weight);
            const std::vector<float> bias = decode_dense(b.net().weights[static_cast<size_t>(b.net().nodes[0].bias)]);
            const int64_t out_height = (height - 1) / stride + 1, out_width = (width - 1) / stride + 1;
            for (int64_t o = 0; o < outputs; ++o)
              for (int64_t h = 0; h < out_height; ++h)
                for (int64_t w = 0; w < out_width; ++w) {
                  double sum = bias[static_cast<size_t>(o)];
                  for (int64_t i = rows.row_start[static_cast<size_t>(o)];
                       i < rows.row_start[static_cast<size_t>(o + 1)]; ++i) {
                    const int64_t column = rows.column[static_cast<size_t>(i)], c = column % channels,
                                  r = h * stride + column / channels / 3 - 1,
                                  s = w * stride + column / channels % 3 - 1;
                    if (r < 0 || s < 0 || r >= height || s >= width) continue;
                    sum += rows.value[static_cast<size_t>(i)] * in[static_cast<size_t>((c * height + r) * width + s)];
                  }
                  const double want = std::isnan(sum) ? sum : std::min(6.0, std::max(0.0, sum));
                  const double got = out[static_cast<size_t>((o * out_height + h) * out_width + w)];
                  check(std::isnan(want) ? std::isnan(got) : std::fabs(got - want) < 1e-4,
                        isa + ": output " + std::to_string(got) + ", expected " + std::to_string(want) + ", stride " +
                            std::to_string(stride) + ", candidate " + std::to_string(candidate) + ", " +
                            plan->layers()[0].kernel);
                }
          }
        }
      }
    }
  }
}

// The same over rows: one, a few, many; tokens.
void dropped_weights_of_rows() {
  const int64_t inputs = 37, outputs = 21, tokens = 33;
  for (const std::string& isa : available_isas()) {
    for (const int threads : {1, 2}) {
      for (int candidate = 0; candidate < 4; ++candidate) {
        Builder b(5, 40);
        const int x = b.input({inputs}), t = b.input({tokens, inputs});
        b.output(b.linear(x, outputs, 0.93));
        b.output(b.linear(t, outputs, 0.93));
        PlanOptions options;
        options.isa = isa;
        options.threads = threads;
        options.candidate = candidate;
        const auto plan = Plan::make(b.file(), options);
        for (const int64_t batch : {1, 3, 40}) {
          std::vector<float> one(static_cast<size_t>(batch * inputs), 0.5f),
              many(static_cast<size_t>(batch * tokens * inputs), 0.5f), y(static_cast<size_t>(batch * outputs)),
              z(static_cast<size_t>(batch * tokens * outputs));
          for (size_t i = 0; i < one.size(); i += 41) one[i] = i % 2 ? kNan : kInf;
          for (size_t i = 0; i < many.size(); i += 97) many[i] = i % 2 ? kNan : -kInf;
          const void* in[] = {one.data(), many.data()};
          float* out[] = {y.data(), z.data()};
          plan->run(batch, 0, in, out, false);
          const auto agree = [&](size_t node, const std::vector<float>& from, const std::vector<float>& to) {
            const SparseRows rows = decode_rows(b.net().weights[static_cast<size_t>(b.net().nodes[node].weight)]);
            const std::vector<float> bias =
                decode_dense(b.net().weights[static_cast<size_t>(b.net().nodes[node].bias)]);
            for (size_t r = 0; r < to.size(); ++r) {
              const size_t row = r % static_cast<size_t>(outputs), from_row = r / static_cast<size_t>(outputs);
              double sum = bias[row];
              for (int64_t i = rows.row_start[row]; i < rows.row_start[row + 1]; ++i)
                sum +=
                    rows.value[static_cast<size_t>(i)] * from[from_row * static_cast<size_t>(inputs) +
                                                              static_cast<size_t>(rows.column[static_cast<size_t>(i)])];
              const double got = to[r];
              const bool same = std::isfinite(sum) ? std::fabs(got - sum) < 1e-4
                                : std::isnan(sum)  ? std::isnan(got)
                                                   : got == sum;
              if (!same) {
                check(false, isa + ": row gives " + std::to_string(got) + ", expected " + std::to_string(sum) + ", " +
                                 plan->layers()[node].kernel + ", batch " + std::to_string(batch) + ", candidate " +
                                 std::to_string(candidate));
                return;
              }
            }
          };
          agree(0, one, y);
          agree(1, many, z);
        }
      }
    }
  }
}

[[maybe_unused]] void pinned_workers() {
  cpu_set_t before;
  CPU_ZERO(&before);
  sched_getaffinity(0, sizeof before, &before);
  std::vector<int> mine;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &before)) mine.push_back(cpu);
  for (const size_t allowed : {mine.size(), size_t{1}}) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t i = 0; i < allowed; ++i) CPU_SET(mine[i], &set);
    sched_setaffinity(0, sizeof set, &set);
    Team loose(3), pinned(3, true);
    for (const auto& cpus : loose.places()) check(cpus.size() == allowed, "nobody is pinned unasked");
    const auto places = pinned.places();
    check(places.size() == 2, "the caller is no worker");
    for (size_t i = 0; i < places.size(); ++i)
      check(places[i] == std::vector<int>{mine[(i + 1) % allowed]}, "worker " + std::to_string(i) + " is pinned");
    cpu_set_t after;
    CPU_ZERO(&after);
    sched_getaffinity(0, sizeof after, &after);
    check(CPU_EQUAL(&after, &set), "the caller stays free");
  }
  sched_setaffinity(0, sizeof before, &before);
}

}  // namespace

int main() {
  candidates_agree();
  candidates_differ();
  tuned_plans();
  nothing_is_allocated();
  caches();
  caches_without_a_place();
  dropped_weights_count_nothing();
  dropped_weights_of_rows();
  if (std::getenv("GOSSAMER_EMULATED") == nullptr) pinned_workers();
  std::printf("%s: %d failures\n", failures ? "FAILED" : "ok", failures);
  return failures != 0;
}
