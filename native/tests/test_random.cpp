// Random networks over all operators with odd shapes, several batches, one and more threads, against float64.
#include "compare_network.h"

using namespace gossamer_test;

namespace {

void random_network(uint32_t seed) {
  Builder b(seed);
  const int64_t side = b.pick(0, 2) ? 17 : 3;  // a third of the images is smaller than the kernels
  std::vector<int> images{b.input({b.pick(1, 9), b.pick(1, side), b.pick(1, side)})};
  if (b.pick(0, 3) == 0) images.push_back(b.input({b.pick(1, 5), b.pick(1, 9), b.pick(1, 9)}));
  if (b.pick(0, 5) == 0) b.output(images[0]);
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
        int64_t groups = grouped ? b.pick(2, std::max<int64_t>(2, s[0])) : 1;
        while (s[0] % groups != 0) --groups;
        std::vector<int64_t> k, st, d, p(4);
        for (size_t a = 0; a < 2; ++a) {
          k.push_back(b.pick(0, 9) ? b.pick(1, 4) : 7);
          st.push_back(b.pick(0, 2) ? 1 : b.pick(2, 5));
          d.push_back(b.pick(0, 2) ? 1 : b.pick(2, 3));
          p[a] = b.pick(0, 3), p[a + 2] = b.pick(0, 2);
          while (s[a + 1] + p[a] + p[a + 2] - d[a] * (k[a] - 1) - 1 < 0) p[a + 2]++;
        }
        x = b.conv(x, groups > 1 ? groups * b.pick(1, 5) : b.pick(1, 20), k, st, p, d, density(), groups,
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
        Node pool;
        const bool highest = b.pick(0, 1);
        std::vector<int64_t> to{s[0]};
        for (size_t a = 0; a < 2; ++a) {
          pool.dilation[a] = highest ? b.pick(1, 2) : 1;
          pool.kernel[a] = b.pick(1, 4);
          pool.stride[a] = b.pick(1, 4);
          const int64_t window = (pool.kernel[a] - 1) * pool.dilation[a] + 1;
          for (size_t edge : {a, a + 2}) pool.padding[edge] = b.pick(0, std::min(window / 2, pool.kernel[a] / 2));
          to.push_back((s[a + 1] + pool.padding[a] + pool.padding[a + 2] - window) / pool.stride[a] + 1);
          if (s[a + 1] + pool.padding[a] + pool.padding[a + 2] < window) to[0] = 0;
        }
        if (to[0] == 0) break;
        Node& n = b.node(highest ? Op::max_pool2d : Op::avg_pool2d, {x}, to);
        for (size_t a = 0; a < 2; ++a)
          n.kernel[a] = pool.kernel[a], n.stride[a] = pool.stride[a], n.dilation[a] = pool.dilation[a];
        for (size_t edge = 0; edge < 4; ++edge) n.padding[edge] = pool.padding[edge];
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
  compare(b, "random " + std::to_string(seed), {1, 3, 2}, b.pick(0, 2) ? 1 : 3);
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
  compare(b, "sequence " + std::to_string(seed), {1, 2, 17, 40, 1}, b.pick(0, 3) ? 1 : 2);
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t count = argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 80;
  for (uint32_t seed = 0; seed < count; ++seed) {
    random_network(seed);
    random_sequence(1000 + seed);
  }
  std::printf("%s: %u random networks, %d failures\n", failures ? "FAILED" : "ok", 2 * count, failures);
  return failures != 0;
}
