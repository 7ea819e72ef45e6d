// 1x1 convolutions that run tile by tile behind the convolution that makes their input.
#include "compare_network.h"

using namespace gossamer_test;

namespace {

bool says_behind(Builder& b, int node, int threads = 1) {
  PlanOptions options;
  options.threads = threads;
  return Plan::make(b.file(), options)->layers()[static_cast<size_t>(node)].reason.find("behind") != std::string::npos;
}

// A block of a residual network: c reads b's sum tile by tile, although d stands between them and reads it too.
void pointwise_by_tiles() {
  for (const int threads : {1, 2, 3}) {
    for (const int64_t side : {7, 40}) {
      Builder b(static_cast<uint32_t>(side));
      const int x = b.input({8, side, side});
      const int a = b.conv(x, 16, 3, 1, 1, 0.4), residual = b.conv(x, 32, 1, 1, 0, 0.3);
      const int sum = b.simple(Op::relu, b.add(b.conv(a, 32, 1, 1, 0, 0.2), residual));
      const int d = b.conv(sum, 24, 1, 2, 0, 0.3);
      const int c = b.simple(Op::relu6, b.conv(sum, 12, 1, 1, 0, 0.3));
      b.output(b.add(b.conv(c, 24, 3, 2, 1, 0.3), d));
      b.output(b.conv(b.conv(c, 5, 1, 1, 0, 0.5), 6, 1, 1, 0, 0.5));  // two more in a row
      if (side > 7) check(says_behind(b, 6, threads), "a 1x1 convolution runs behind the one it reads");
      compare(b, "1x1 by tiles", {1, 3}, threads);
    }
  }
}

}  // namespace

int main() {
  pointwise_by_tiles();
  std::printf("%s: %d failures\n", failures ? "FAILED" : "ok", failures);
  return failures != 0;
}
