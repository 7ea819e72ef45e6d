// Planning and running a checked network. One Plan is made for a file, a thread count and a maximal batch; it owns
// packed weights and the arena, whose size does not depend on the batch. run() allocates nothing.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "network.h"

namespace gossamer {

constexpr int kMostThreads = 256;

struct PlanOptions {
  int threads = 1;
  int64_t max_batch = 0;  // largest batch that run() takes; 0: the network's own
  std::string isa;        // "", "portable", "avx2", "avx512", "neon": "" = best that this CPU has
  size_t max_bytes = 0;   // 0: no limit; else a plan whose arena and packed weights need more throws Error{memory}
  bool tune = false;      // measure the candidates of every layer, or take what a cache says was measured
  bool pin = false;       // every worker thread stays on one CPU of the process's set
  int candidate = 0;      // of each layer, by rising estimate, the last where there are fewer: for tests; not with tune
};

struct CandidateInfo {  // what a layer might have been; microseconds, 0 where nobody knows
  std::string name;
  double estimated = 0, measured = 0;
  std::vector<double> work;  // costs.h
};

struct LayerInfo {                       // one row a node of the network, in order; fused nodes say into which
  std::string name, op, kernel, reason;  // kernel: "spmm", "spmv", "dense_conv", "fused:NAME", ...
  int64_t macs_dense = 0, macs = 0;      // of one example
  int64_t num_kept = 0, num_weights = 0, bytes = 0;  // bytes: packed weight in memory
  double seconds = 0;                                // of the last profiled run, 0 if none
  std::vector<CandidateInfo> candidates;             // of each product, its default first
};

// batch, length: 0 where the network has no such free dimension (any number is taken then).
class Plan {
 public:
  static std::unique_ptr<Plan> make(std::shared_ptr<const File> file, const PlanOptions& options);
  virtual ~Plan() = default;
  // inputs[i]: float32, or int64 where the network says so, row-major; null for a state: what the run before left.
  // outputs[i]: caller's buffer.
  virtual void run(int64_t batch, int64_t length, const void* const* inputs, float* const* outputs, bool profile) = 0;
  virtual void reset() = 0;  // states become zero
  virtual const std::vector<LayerInfo>& layers() const = 0;
  virtual const std::vector<std::string>& remarks() const = 0;
  virtual std::string isa() const = 0;
  virtual size_t arena_bytes() const = 0;
  virtual size_t weight_bytes() const = 0;
};

// The free dimensions: ranges of what run() takes; {0, 0} where there is none.
struct Range {
  int64_t least = 0, most = 0;
};
Range batch_range(const Network& network, int64_t max_batch);
Range length_range(const Network& network);
// Shapes of all values, batch included (resize.cpp). Throws Error{argument} where a length breaks a rule.
std::vector<std::vector<int64_t>> run_shapes(const Network& network, int64_t batch, int64_t length);

std::vector<std::string> available_isas();  // those built in and supported by this CPU, best first
std::vector<std::string> built_isas();

}  // namespace gossamer
