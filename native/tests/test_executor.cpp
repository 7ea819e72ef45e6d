// Whole networks on every instruction set of this CPU against a float64 executor: random networks over all operators
// with odd shapes, several batches, one and three threads, repeated runs bit-equal; refusals of the planner and the
// executor.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "build_network.h"
#include "executor.h"

using namespace gossamer_test;

namespace {

int failures = 0;

void check(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::printf("FAIL %s\n", what.c_str());
}

void compare(Builder& b, const std::string& what, const std::vector<int64_t>& batches, int threads = 1) {
  const Network& net = b.net();
  for (const std::string& isa : available_isas()) {
    PlanOptions options;
    options.isa = isa;
    options.threads = threads;
    std::unique_ptr<Plan> plan;
    try {
      plan = Plan::make(b.file(), options);
    } catch (const Error& e) {
      check(false, what + " plan: " + e.message);
      return;
    }
    for (int64_t batch : batches) {
      std::vector<std::vector<float>> data;
      std::vector<const float*> in;
      std::vector<std::vector<int64_t>> shapes;
      for (int v : net.inputs) {
        auto s = b.shape(v);
        int64_t n = 1;
        for (int64_t k : s) n *= k;
        std::vector<float> x;
        for (int64_t i = 0; i < n * batch; ++i) x.push_back(static_cast<float>(2 * b.uniform()));
        data.push_back(x);
        s.insert(s.begin(), batch);
        shapes.push_back(s);
      }
      for (const auto& x : data) in.push_back(x.data());
      std::vector<std::vector<float>> first, second;
      std::vector<float*> out, again;
      for (const auto& s : plan->output_shapes(shapes)) {
        size_t n = 1;
        for (int64_t k : s) n *= static_cast<size_t>(k);
        first.emplace_back(n, -77.0f);
        second.emplace_back(n, -78.0f);
      }
      for (size_t i = 0; i < first.size(); ++i) out.push_back(first[i].data()), again.push_back(second[i].data());
      plan->run(in, shapes, out, false);
      plan->run(in, shapes, again, true);
      for (int64_t e = 0; e < batch; ++e) {
        std::vector<Array> one;
        for (const auto& x : data) {
          const size_t n = x.size() / static_cast<size_t>(batch);
          one.emplace_back(x.begin() + static_cast<long>(n * static_cast<size_t>(e)),
                           x.begin() + static_cast<long>(n * static_cast<size_t>(e + 1)));
        }
        const auto expected = reference(net, one);
        for (size_t o = 0; o < first.size(); ++o) {
          const Array& want = expected[static_cast<size_t>(net.outputs[o].second)];
          double error = 0, scale = 0.1;
          for (size_t i = 0; i < want.size(); ++i) {
            const double got = first[o][static_cast<size_t>(e) * want.size() + i];
            const double difference = want[i] == got ? 0 : std::fabs(want[i] - got);
            error = !(difference <= error) ? difference : error;
            if (std::isfinite(want[i])) scale = std::max(scale, std::fabs(want[i]));
          }
          if (!(error / scale < 1e-5)) {
            char text[200];
            std::snprintf(text, sizeof text, "%s isa %s batch %ld threads %d output %zu: relative error %.3g",
                          what.c_str(), isa.c_str(), static_cast<long>(batch), threads, o, error / scale);
            check(false, text);
            return;
          }
        }
      }
      for (size_t o = 0; o < first.size(); ++o)
        check(std::memcmp(first[o].data(), second[o].data(), first[o].size() * 4) == 0,
              what + " " + isa + ": repeated runs differ");
    }
  }
}

void random_network(uint32_t seed) {
  Builder b(seed);
  std::vector<int> images{b.input({b.pick(1, 9), b.pick(1, 17), b.pick(1, 17)})};
  const auto density = [&] { return b.pick(0, 3) == 0 ? 1.0 : b.pick(1, 8) / 10.0; };
  const int nodes = static_cast<int>(b.pick(3, 14));
  for (int i = 0; i < nodes; ++i) {
    int x = images[static_cast<size_t>(
        b.pick(b.pick(0, 1) ? static_cast<int64_t>(images.size()) - 1 : 0, static_cast<int64_t>(images.size()) - 1))];
    const auto s = b.shape(x);
    switch (b.pick(0, 9)) {
      case 0:
      case 1:
      case 2: {
        const bool grouped = b.pick(0, 4) == 0;
        const int64_t groups = grouped ? s[0] : 1;
        std::vector<int64_t> k, st, d, p(4);
        for (size_t a = 0; a < 2; ++a) {
          k.push_back(b.pick(1, 4));
          st.push_back(b.pick(0, 2) ? 1 : b.pick(2, 3));
          d.push_back(b.pick(0, 2) ? 1 : 2);
          p[a] = b.pick(0, 3), p[a + 2] = b.pick(0, 2);
          while (s[a + 1] + p[a] + p[a + 2] - d[a] * (k[a] - 1) - 1 < 0) p[a + 2]++;
        }
        x = b.conv(x, grouped ? s[0] * b.pick(1, 5) : b.pick(1, 20), k, st, p, d, density(), groups,
                   b.pick(0, 2) ? 1 : 4);
        break;
      }
      case 3: {  // residual block
        const double d = density();
        int y = b.conv(x, s[0], 3, 1, 1, d);
        if (b.pick(0, 1)) y = b.simple(Op::relu, y);
        x = b.pick(0, 1) ? b.add(x, y) : b.add(b.conv(x, s[0], 1, 1, 0, d), y);
        if (b.pick(0, 1)) x = b.simple(b.pick(0, 1) ? Op::relu : Op::relu6, x);
        break;
      }
      case 4: {
        const int y = b.conv(x, b.pick(1, 5), 1, 1, 0, density());
        const auto t = b.shape(y);
        Node& n = b.node(Op::concat, {x, y, x}, {2 * s[0] + t[0], s[1], s[2]});
        n.axis = 1;
        x = n.output;
        break;
      }
      case 5: {
        static const Op ops[] = {Op::relu, Op::relu6, Op::silu, Op::sigmoid, Op::gelu};
        Node& n = b.node(ops[b.pick(0, 4)], {x}, s);
        n.gelu_tanh = b.pick(0, 1);
        x = n.output;
        break;
      }
      case 6: {
        const int scale = b.vector(s[0]), shift = b.vector(s[0]);
        Node& n = b.node(Op::channel_affine, {x}, s);
        n.scale = scale;
        n.shift = shift;
        x = n.output;
        break;
      }
      case 7: {
        const int64_t k = b.pick(1, 3), st = b.pick(1, 3), p = b.pick(0, k / 2);
        if (s[1] + 2 * p < k || s[2] + 2 * p < k) break;
        Node& n = b.node(b.pick(0, 1) ? Op::max_pool2d : Op::avg_pool2d, {x},
                         {s[0], (s[1] + 2 * p - k) / st + 1, (s[2] + 2 * p - k) / st + 1});
        n.kernel[0] = n.kernel[1] = k;
        n.stride[0] = n.stride[1] = st;
        for (auto& q : n.padding) q = p;
        n.count_include_pad = b.pick(0, 1);
        x = n.output;
        break;
      }
      case 8: x = b.linear(x, b.pick(1, 19), density()); break;
      default: {
        Node& n = b.node(Op::adaptive_avg_pool2d, {x}, {s[0], b.pick(1, 5), b.pick(1, 5)});
        n.out_size[0] = b.shape(n.output)[1];
        n.out_size[1] = b.shape(n.output)[2];
        x = n.output;
      }
    }
    images.push_back(x);
    if (b.pick(0, 5) == 0) b.output(x);
  }
  const int flat = b.flatten(images.back());
  b.output(b.linear(flat, b.pick(1, 30), density()));
  compare(b, "random " + std::to_string(seed), {1, 3}, b.pick(0, 2) ? 1 : 3);
}

void random_sequence(uint32_t seed) {  // no planes: chunks, interleaved tiles, rank 2 and 3
  Builder b(seed);
  const bool tokens = b.pick(0, 1);
  int x = tokens ? b.input({b.pick(1, 21), b.pick(1, 40)}) : b.input({b.pick(1, 200)});
  for (int64_t i = b.pick(1, 6); i > 0; --i) {
    const int64_t shared = int64_t{1} << b.pick(0, 3);
    x = b.linear(x, shared * b.pick(1, 12), b.pick(0, 2) ? b.pick(1, 7) / 10.0 : 1.0, shared);
    const auto s = b.shape(x);
    switch (b.pick(0, 5)) {
      case 0: x = b.simple(Op::relu, x); break;
      case 1: x = b.simple(Op::gelu, x); break;
      case 2: {
        Node& n = b.node(Op::softmax, {x}, s);
        n.axis = tokens ? b.pick(1, 2) : 1;
        x = n.output;
        break;
      }
      case 3: {
        const int g = b.vector(s.back(), 0.5), h = b.vector(s.back());
        if (s.back() < 4) break;  // the variance of one number is zero
        Node& n = b.node(Op::layer_norm, {x}, s);
        n.axes = 1;
        n.epsilon = 1e-2;
        n.weight = g;
        n.bias = h;
        x = n.output;
        break;
      }
      case 4: {
        const int y = b.simple(Op::silu, x);
        auto t = s;
        t.back() *= 2;
        Node& n = b.node(Op::concat, {x, y}, t);
        n.axis = static_cast<int64_t>(s.size());
        x = n.output;
        break;
      }
      default: x = b.add(x, b.simple(Op::sigmoid, x));
    }
  }
  b.output(x);
  compare(b, "sequence " + std::to_string(seed), {1, 2, 17, 40}, b.pick(0, 3) ? 1 : 2);
}

void kernel_choices() {
  Builder b(5);
  int x = b.input({16, 12, 12});
  x = b.simple(Op::relu, b.conv(x, 16, 3, 1, 1, 0.1));
  x = b.conv(x, 16, 3, 1, 1, 0.8);
  x = b.conv(x, 16, 3, 2, 1, 0.1, 1, 1, 4);
  x = b.conv(x, 16, 3, 1, 1, 1, 16);
  b.output(b.linear(b.flatten(x), 10, 1));
  const auto plan = Plan::make(b.file(), {});
  const char* expected[] = {"spmm", "fused:node0", "dense_conv", "block_spmm", "depthwise_conv", "copy", "dense_gemv"};
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
  refuses("batch too large", Error::Kind::argument, [&] { plan->output_shapes({{9, 3, 8, 8}}); });
  refuses("wrong shape", Error::Kind::argument, [&] { plan->run({x.data()}, {{1, 3, 8, 9}}, {x.data()}, false); });
  refuses("wrong number", Error::Kind::argument, [&] { plan->run({}, {}, {x.data()}, false); });
  Builder huge(1);
  huge.output(huge.simple(Op::relu, huge.input({int64_t{1} << 30, 1024})));
  refuses("huge value", Error::Kind::memory, [&] { Plan::make(huge.file(), {}); });
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
      plan->run({x.data()}, {{1, 2, 6, 5}}, {y.data()}, false);
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

void works_after_fork() {
  Builder b(4);
  b.output(b.conv(b.input({8, 20, 20}), 8, 3, 1, 1, 0.3));
  PlanOptions options;
  options.threads = 3;
  const auto plan = Plan::make(b.file(), options);
  std::vector<float> x(8 * 400, 0.5f), y(8 * 400), z(8 * 400);
  plan->run({x.data()}, {{1, 8, 20, 20}}, {y.data()}, false);
  const pid_t child = fork();
  if (child == 0) {
    plan->run({x.data()}, {{1, 8, 20, 20}}, {z.data()}, false);
    _exit(y == z ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(status == 0, "a forked process runs the plan with workers of its own");
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t count = argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 60;
  kernel_choices();
  refusals();
  nan_stays_in_its_window();
  if (available_isas().size() > 1)
    works_after_fork();  // user-mode emulation (of a CPU without AVX) cannot fork a process with threads
  for (uint32_t seed = 0; seed < count; ++seed) {
    random_network(seed);
    random_sequence(1000 + seed);
  }
  std::printf("%s: %u random networks, %d failures\n", failures ? "FAILED" : "ok", 2 * count, failures);
  return failures != 0;
}
