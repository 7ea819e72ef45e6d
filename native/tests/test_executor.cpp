// Whole networks made by hand: odd shapes, values and weights used twice, the planner's choices, refusals, hostile
// sizes, forks.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "compare_network.h"

using namespace gossamer_test;

namespace {

void run(Plan& plan, std::vector<const void*> in, std::vector<float*> out, int64_t batch = 1, int64_t length = 0) {
  plan.run(batch, length, in.data(), out.data(), false);
}

void odd_convolutions() {
  struct Case {
    std::vector<int64_t> in;
    int64_t out;
    std::vector<int64_t> kernel, stride, padding, dilation;
    int64_t groups;
  };
  const Case cases[] = {
      {{3, 1, 1}, 5, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},       // one pixel
      {{3, 1, 1}, 5, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},       // the kernel is larger than the image
      {{2, 1, 1}, 4, {3, 5}, {3, 2}, {1, 2, 5, 9}, {1, 1}, 1},       // and strided, more padding behind
      {{2, 5, 40}, 3, {1, 7}, {1, 1}, {0, 3, 0, 3}, {1, 1}, 1},      // a row
      {{2, 40, 5}, 3, {7, 1}, {1, 1}, {3, 0, 3, 0}, {1, 1}, 1},      // a column
      {{4, 9, 9}, 4, {1, 1}, {3, 4}, {0, 0, 0, 0}, {1, 1}, 1},       // stride > kernel
      {{4, 9, 9}, 4, {2, 2}, {7, 5}, {0, 1, 3, 0}, {1, 1}, 1},       // and padding of one side
      {{4, 9, 11}, 4, {3, 2}, {2, 1}, {2, 0, 1, 4}, {3, 4}, 1},      // strided along one axis, dilated
      {{4, 3, 3}, 4, {2, 2}, {1, 1}, {9, 8, 7, 6}, {5, 4}, 1},       // padding beyond the image
      {{3, 8, 8}, 9, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 3},       // depthwise, three outputs a group
      {{3, 8, 8}, 24, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 3},      // eight outputs a group
      {{12, 6, 6}, 15, {3, 3}, {1, 1}, {1, 1, 1, 1}, {2, 2}, 3},     // five outputs, four inputs a group
      {{6, 6, 6}, 2, {3, 3}, {2, 1}, {1, 1, 1, 1}, {1, 2}, 2},       // one output, three inputs a group
      {{3000, 2, 2}, 6, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},    // many channels: 32-bit offsets or many blocks
      {{700, 5, 5}, 6, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 1},     // the same through phase planes
      {{2, 3, 4000}, 3, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},    // a wide image: many tiles
      {{1, 300, 300}, 2, {2, 2}, {1, 1}, {0, 0, 0, 0}, {90, 90}, 1}  // taps far apart
  };
  int number = 0;
  for (const Case& c : cases) {
    for (const double density : {1.0, 0.25, 0.55}) {
      if (c.groups > 1 && density < 1) continue;
      Builder b(static_cast<uint32_t>(number) + 77);
      const int x = b.input(c.in), y = b.conv(x, c.out, c.kernel, c.stride, c.padding, c.dilation, density, c.groups);
      b.output(b.add(y, b.conv(x, c.out, c.kernel, c.stride, c.padding, c.dilation, density, c.groups, 4)));
      compare(b, "convolution " + std::to_string(number), {1, 2}, number % 2 ? 2 : 1);
    }
    ++number;
  }
}

void odd_pools() {
  struct Case {
    std::vector<int64_t> in, kernel, stride, padding, dilation;
  };
  const Case cases[] = {{{1, 1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
                        {{3, 1, 1}, {2, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
                        {{2, 3, 50}, {1, 7}, {1, 5}, {0, 3, 0, 2}, {1, 1}},
                        {{2, 9, 9}, {2, 2}, {5, 4}, {0, 1, 1, 0}, {1, 1}},
                        {{2, 9, 9}, {3, 2}, {1, 2}, {1, 0, 1, 1}, {2, 3}}};
  for (const Case& c : cases) {
    for (const Op op : {Op::max_pool2d, Op::avg_pool2d}) {
      if (op == Op::avg_pool2d && c.dilation[0] > 1) continue;
      Builder b(31);
      const int x = b.input(c.in);
      std::vector<int64_t> to{c.in[0]};
      for (size_t a = 0; a < 2; ++a)
        to.push_back(
            (c.in[a + 1] + c.padding[a] + c.padding[a + 2] - c.dilation[a] * (c.kernel[a] - 1) - 1) / c.stride[a] + 1);
      Node& n = b.node(op, {x}, to);
      for (size_t a = 0; a < 2; ++a)
        n.kernel[a] = c.kernel[a], n.stride[a] = c.stride[a], n.dilation[a] = c.dilation[a];
      for (size_t edge = 0; edge < 4; ++edge) n.padding[edge] = c.padding[edge];
      b.output(n.output);
      compare(b, "pool", {1, 2});
    }
  }
  Builder b(32);  // adaptive: more outputs than inputs
  const int x = b.input({2, 3, 1});
  Node& n = b.node(Op::adaptive_avg_pool2d, {x}, {2, 7, 4});
  n.out_size[0] = 7, n.out_size[1] = 4;
  b.output(n.output);
  compare(b, "adaptive pool", {1, 3});
}

// An input that is an output, a value under two names, an output that is consumed, a value twice in add and concat, one
// weight in two nodes, a convolution that feeds its own residual's producer.
void shared_values() {
  Builder b(41);
  const int x = b.input({4, 6, 5});
  b.output(x);
  const int y = b.conv(x, 4, 3, 1, 1, 0.4);
  const int weight = b.net().nodes[0].weight, bias = b.net().nodes[0].bias;
  b.output(y);
  b.output(y);
  const int twice = b.add(y, y);
  const int z = b.conv(twice, 4, 3, 1, 1, 0.4);
  b.net().nodes.back().weight = weight;
  b.net().nodes.back().bias = bias;
  const int sum = b.simple(Op::relu, b.add(z, twice));
  Node& joined = b.node(Op::concat, {sum, sum, x}, {12, 6, 5});
  joined.axis = 1;
  const int all = joined.output;
  b.output(all);
  const int u = b.conv(all, 4, 1, 1, 0, 0.5), v = b.conv(u, 4, 3, 1, 1, 0.5);
  b.output(b.add(u, v));  // u is consumed by v and by the add
  b.output(b.add(b.conv(all, 4, 1, 1, 0, 1), b.conv(all, 4, 1, 1, 0, 0.3)));
  const int flat = b.flatten(sum);
  b.output(b.linear(flat, 8, 0.5, 8));
  b.output(b.simple(Op::relu, b.linear(flat, 3, 1)));
  b.simple(Op::gelu, flat);  // nobody reads it
  compare(b, "shared values", {1, 4, 2});
  compare(b, "shared values", {3, 1}, 2);
}

void batches_and_ports() {
  Builder fixed(51);  // no free dimension: two parts with batches of their own
  fixed.net().dims.clear();
  const int a = fixed.input({5}), c = fixed.input({2, 4, 4});
  fixed.output(fixed.linear(a, 3, 0.5));
  fixed.output(fixed.conv(c, 3, 3, 2, 1, 0.5));
  for (Value& v : fixed.net().values) v.shape[0] = {2, -1};
  compare(fixed, "fixed batch", {2});
  Builder many(52, 5);
  const int first = many.input({7}), second = many.input({7});
  many.input({3, 2, 2});  // nobody reads it
  many.output(many.add(many.linear(first, 4, 0.5), many.linear(second, 4, 1)));
  many.output(second);
  compare(many, "two inputs", {5, 1, 4});
}

// Rows enough that operands are copied to aligned tiles: several tiles and K blocks with rests, phase planes,
// residuals.
void copied_operands() {
  Builder b(61);
  const int x = b.input({37, 15, 21});
  int y = b.conv(x, 40, 3, 1, 1, 0.4);
  y = b.simple(Op::relu, b.add(y, b.conv(y, 40, 3, 1, 2, 0.35, 1, 2)));
  b.output(b.conv(y, 48, {3, 2}, {2, 2}, {0, 1, 1, 0}, {1, 1}, 0.5));
  b.output(b.conv(x, 33, {5, 1}, {1, 1}, {2, 0, 2, 0}, {1, 1}, 0.5));
  compare(b, "copied operands", {1, 2});
  compare(b, "copied operands", {2}, 2);
  const auto plan = Plan::make(b.file(), {});
  const std::vector<std::string> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), "avx512") == isas.end()) return;
  int copied = 0;
  for (const auto& layer : plan->layers()) copied += layer.reason.find("copied to aligned tiles") != std::string::npos;
  check(copied == 4, "copied layers: " + std::to_string(copied));
}

void kernel_choices() {
  Builder b(5);
  int x = b.input({16, 12, 12});
  x = b.simple(Op::relu, b.conv(x, 16, 3, 1, 1, 0.1));
  x = b.conv(x, 16, 3, 1, 1, 0.995);
  x = b.conv(x, 16, 3, 2, 1, 0.1, 1, 1, 4);
  x = b.conv(x, 16, 3, 1, 1, 1, 16);
  b.output(b.linear(b.flatten(x), 10, 1));
  const auto plan = Plan::make(b.file(), {});
  const char* expected[] = {"spmm", "fused:node0", "dense_conv", "block_spmm", "depthwise_conv", "view", "dense_gemv"};
  for (size_t i = 0; i < 7; ++i)
    check(plan->layers()[i].kernel == expected[i],
          "kernel of node " + std::to_string(i) + " is " + plan->layers()[i].kernel);
  check(plan->layers()[0].reason.find(" of 2,304 weights kept") != std::string::npos,
        "reason: " + plan->layers()[0].reason);
  check(plan->layers()[0].macs_dense == 2304 * 144, "dense multiply-adds");
}

template <typename F>
void refuses(const char* what, Error::Kind kind, F f) {
  try {
    f();
  } catch (const Error& e) {
    check(e.kind == kind && !e.message.empty(), std::string(what) + ": other error: " + e.message);
    return;
  }
  check(false, std::string(what) + ": no error");
}

void refusals() {
  Builder b(9, 8);
  b.output(b.conv(b.input({3, 8, 8}), 4, 3, 1, 1, 0.5));
  PlanOptions o;
  o.isa = "mmx";
  refuses("unknown instruction set", Error::Kind::plan, [&] { Plan::make(b.file(), o); });
  o = {};
  o.threads = 0;
  refuses("no threads", Error::Kind::plan, [&] { Plan::make(b.file(), o); });
  o = {};
  o.max_bytes = 1000;
  refuses("too little memory", Error::Kind::memory, [&] { Plan::make(b.file(), o); });
  const auto plan = Plan::make(b.file(), {});
  std::vector<float> x(9 * 3 * 64);
  refuses("batch too large", Error::Kind::argument, [&] { run(*plan, {x.data()}, {x.data()}, 9); });
  refuses("no input", Error::Kind::argument, [&] { run(*plan, {nullptr}, {x.data()}); });
  Builder huge(1);
  huge.output(huge.simple(Op::relu, huge.input({int64_t{1} << 30, 1024})));
  refuses("huge value", Error::Kind::memory, [&] { Plan::make(huge.file(), {}); });
}

void relus(Builder& b, int count, bool chained) {
  int x = b.input({1});
  const int first = x;
  for (int i = 0; i < count; ++i) {
    x = b.simple(Op::sigmoid, chained ? x : first);
    b.output(x);
  }
}

// Small files may claim much: each of these ends at once, in a plan or in an error of memory.
void hostile_sizes() {
  for (const bool chained : {false, true}) {
    Builder b(61);
    relus(b, 65536, chained);
    check(Plan::make(b.file(), {})->layers().size() == 65536, "a plan of 65,536 nodes");
  }
  Builder apart(62);
  for (int i = 0; i < 20000; ++i) apart.output(apart.simple(Op::relu, apart.input({1})));
  check(Plan::make(apart.file(), {})->layers().size() == 20000, "a plan of 20,000 parts");
  Builder alive(63);  // all values live until the end
  const int x = alive.input({1});
  std::vector<int> values;
  for (int i = 0; i < 20000; ++i) values.push_back(alive.simple(Op::sigmoid, x));
  for (size_t i = values.size() - 1; i > 0; --i) values[i - 1] = alive.add(values[i], values[i - 1]);
  alive.output(values[0]);
  check(Plan::make(alive.file(), {})->layers().size() == 39999, "a plan of 20,000 live values");

  for (const int64_t stride : {1, 4096}) {  // 16,777,216 taps, of which 8 or so are kept
    Builder b(64);
    const int y = b.conv(b.input({1, 1, 1}), 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 0.5);
    Node& n = b.net().nodes.back();
    n.kernel[0] = n.kernel[1] = 4096;
    n.stride[0] = n.stride[1] = stride;
    n.padding[0] = n.padding[1] = 4095;
    Weight& w = b.net().weights[static_cast<size_t>(n.weight)];
    w.shape = {1, int64_t{4096} * 4096};
    b.output(y);
    PlanOptions options;
    options.max_bytes = size_t{1} << 30;
    try {
      const auto plan = Plan::make(b.file(), options);
      const float one = 1;
      float out = 0;
      run(*plan, {&one}, {&out});
    } catch (const Error& e) {
      check(e.kind == Error::Kind::memory, "a kernel of 4096 by 4096: " + e.message);
    }
  }
  Builder wide(65);  // 1.9 * 10^9 columns, of which one is kept
  const int y = wide.conv(wide.input({int64_t{120}, 1, 1}), 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 0.5);
  Node& n = wide.net().nodes.back();
  n.kernel[0] = n.kernel[1] = 4000;
  n.padding[0] = n.padding[1] = 3999;
  wide.net().weights[static_cast<size_t>(n.weight)].shape = {1, int64_t{120} * 4000 * 4000};
  wide.output(y);
  PlanOptions options;
  options.max_bytes = size_t{1} << 30;
  try {
    check(Plan::make(wide.file(), options) != nullptr, "a plan of 10^9 columns");
  } catch (const Error& e) {
    check(e.kind == Error::Kind::memory, "a plan of 10^9 columns: " + e.message);
  }
  for (const int64_t size : {int64_t{1} << 20, (int64_t{1} << 31) - 1}) {
    Builder b(66, (int64_t{1} << 31) - 1);
    b.output(b.simple(Op::relu, b.conv(b.input({1, 2, size}), 8, 3, 1, 1, 0.5)));
    PlanOptions limited;
    limited.max_bytes = size_t{1} << 24;
    refuses("a huge image", Error::Kind::memory, [&] { Plan::make(b.file(), limited); });
  }
}

// A NaN in one pixel reaches exactly the windows that hold it, not the padding's neighbours, rows that wrap or other
// planes.
void nan_stays_in_its_window() {
  for (const std::string& isa : available_isas()) {
    for (int64_t stride : {1, 2}) {
      Builder b(3);
      b.output(b.simple(Op::relu, b.conv(b.input({2, 6, 5}), 3, 3, stride, 1, stride == 1 ? 1 : 0.999)));
      PlanOptions options;
      options.isa = isa;
      const auto plan = Plan::make(b.file(), options);
      std::vector<float> x(60, 1.0f), y(3 * 6 * 5);
      x[2 * 5 + 4] = std::numeric_limits<float>::quiet_NaN();  // plane 0, row 2, last column
      run(*plan, {x.data()}, {y.data()});
      const int64_t height = (6 - 1) / stride + 1, width = (5 - 1) / stride + 1;
      for (int64_t i = 0; i < 3 * height * width; ++i) {
        const int64_t h = i / width % height * stride, w = i % width * stride;
        const bool inside = std::abs(h - 2) <= 1 && std::abs(w - 4) <= 1;
        check(std::isnan(y[static_cast<size_t>(i)]) == inside,
              isa + ": NaN at output " + std::to_string(i) + " of stride " + std::to_string(stride));
      }
    }
  }
}

[[maybe_unused]] void works_after_fork() {
  Builder b(4);
  b.output(b.conv(b.input({8, 20, 20}), 8, 3, 1, 1, 0.3));
  PlanOptions options;
  options.threads = 3;
  const auto plan = Plan::make(b.file(), options);
  std::vector<float> x(8 * 400, 0.5f), y(8 * 400), z(8 * 400);
  run(*plan, {x.data()}, {y.data()});
  const pid_t child = fork();
  if (child == 0) {
    run(*plan, {x.data()}, {z.data()});
    _exit(y == z ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(status == 0, "a forked process runs the plan with workers of its own");
}

// Where a forked process gets no threads, every call says so (the second once waited for ever), and the next that can,
// runs.
[[maybe_unused]] void no_threads_after_fork() {
  Builder b(4);
  b.output(b.conv(b.input({8, 20, 20}), 8, 3, 1, 1, 0.3));
  PlanOptions options;
  options.threads = 3;
  const auto plan = Plan::make(b.file(), options);
  std::vector<float> x(8 * 400, 0.5f), y(8 * 400);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    for (int i = 1; i < options.threads; ++i)
      std::thread(pause).detach();  // the stacks of the parent's workers go first
    rlimit before{}, none{};
    getrlimit(RLIMIT_AS, &before);
    none.rlim_cur = 1 << 20, none.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_AS, &none);
    int refused = 0;
    for (int i = 0; i < 2; ++i) {
      try {
        run(*plan, {x.data()}, {y.data()});
      } catch (const Error& e) {
        refused += e.kind == Error::Kind::plan;
      } catch (const std::bad_alloc&) {
        ++refused;
      }
    }
    setrlimit(RLIMIT_AS, &before);
    run(*plan, {x.data()}, {y.data()});
    _exit(refused == 2 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(status == 0, "a forked process without threads refuses, and recovers");
}

}  // namespace

int main() {
  odd_convolutions();
  odd_pools();
  shared_values();
  batches_and_ports();
  copied_operands();
  kernel_choices();
  refusals();
  hostile_sizes();
  nan_stays_in_its_window();
#if !defined(__SANITIZE_THREAD__)                     // it ends a process that starts threads after a fork
  if (std::getenv("GOSSAMER_EMULATED") == nullptr) {  // user-mode emulation cannot fork a process with threads either
    works_after_fork();
#if !defined(__SANITIZE_ADDRESS__)  // it ends a process that gets no thread
    no_threads_after_fork();
#endif
  }
#endif
  std::printf("%s: %d failures\n", failures ? "FAILED" : "ok", failures);
  return failures != 0;
}
