// A network on every instruction set of this CPU beside the float64 executor of build_network.h.
#pragma once
#include <cstdio>
#include <cstdlib>

#include "build_network.h"
#include "executor.h"

namespace gossamer_test {

inline int failures = 0;

inline void check(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::printf("FAIL %s\n", what.c_str());
}

// Every instruction set of this CPU against the float64 executor, each batch twice (bit-equal) on one plan.
inline void compare(Builder& b, const std::string& what, const std::vector<int64_t>& batches, int threads = 1,
                    const PlanOptions& base = {}) {
  const Network& net = b.net();
  for (const std::string& isa : available_isas()) {
    PlanOptions options = base;
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
      std::vector<const void*> in;
      for (int v : net.inputs) {
        int64_t n = 1;
        for (int64_t k : b.shape(v)) n *= k;
        std::vector<float> x;
        for (int64_t i = 0; i < n * batch; ++i) x.push_back(static_cast<float>(2 * b.uniform()));
        data.push_back(x);
      }
      for (const auto& x : data) in.push_back(x.data());
      std::vector<std::vector<float>> first, second;
      std::vector<float*> out, again;
      for (const auto& output : net.outputs) {
        int64_t n = batch;
        for (int64_t k : b.shape(output.second)) n *= k;
        first.emplace_back(n, -77.0f);
        second.emplace_back(n, -78.0f);
      }
      for (size_t i = 0; i < first.size(); ++i) out.push_back(first[i].data()), again.push_back(second[i].data());
      plan->run(batch, 0, in.data(), out.data(), false);
      plan->run(batch, 0, in.data(), again.data(), true);
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

}  // namespace gossamer_test
