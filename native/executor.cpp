// Runs a program: component by component, chunk by chunk, step by step, in one arena. run() allocates nothing.
#include "executor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "isa.h"
#include "planner.h"
#include "threads.h"

namespace gossamer {

namespace {

struct Release {
  void operator()(float* p) const { std::free(p); }
};

// The limit that was asked for; without one the machine's memory, or the container's where that is smaller.
size_t memory_limit(size_t asked) {
  size_t limit = static_cast<size_t>(std::numeric_limits<int64_t>::max());
  const auto lower = [&](size_t bytes) { limit = bytes > 0 && bytes < limit ? bytes : limit; };
#if defined(_SC_PHYS_PAGES)
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) lower(static_cast<size_t>(pages) * static_cast<size_t>(page));
#endif
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (std::FILE* file = std::fopen(path, "r")) {  // a number, or "max"
      unsigned long long bytes = 0;
      if (std::fscanf(file, "%llu", &bytes) == 1) lower(static_cast<size_t>(bytes));
      std::fclose(file);
    }
  }
  lower(asked);
  return limit;
}

class RunningPlan final : public Plan {
 public:
  RunningPlan(std::shared_ptr<const File> file, const PlanOptions& options, const KernelTable* kernels)
      : file_(std::move(file)), options_(options), kernels_(kernels), team_(options.threads, options.pin) {
    Budget budget(memory_limit(options.max_bytes));
    batch_ = batch_range(net(), options.max_batch);
    length_ = length_range(net());
    program_ = plan_network(net(), *kernels_, options_, team_, budget);
    const size_t floats = static_cast<size_t>(program_.arena_floats + kAlign);
    void* memory = nullptr;
    // Whole huge pages from 1 MiB on: channels of an image lie kilobytes apart, so that every row of a kernel touches
    // another small page.
    const size_t bytes = floats * sizeof(float), huge = size_t{1} << 21;
    if (posix_memalign(&memory, bytes >= huge / 2 ? huge : 64, bytes) != 0) throw std::bad_alloc();
    arena_.reset(static_cast<float*>(memory));
#if defined(MADV_HUGEPAGE)
    if (bytes >= huge / 2) (void)madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: small pages work too
#endif
    std::memset(memory, 0, floats * sizeof(float));
    inputs_.resize(net().inputs.size());
    for (const State& state : net().states) {
      const std::vector<Dim>& shape =
          net().values[static_cast<size_t>(net().inputs[static_cast<size_t>(state.input)])].shape;
      Kept kept;
      kept.state = state;
      kept.elements = 1;
      for (size_t a = 1; a < shape.size(); ++a)
        kept.elements = budget.product({kept.elements, shape[a].size}, "a state");
      kept.batch = shape[0].symbol >= 0 ? 0 : shape[0].size;
      const int64_t most = kept.batch > 0 ? kept.batch : batch_.most;
      budget.take(budget.product({kept.elements, most}, "a state"), 4, "a state");
      kept.values.assign(static_cast<size_t>(kept.elements * most), 0.0f);
      kept_.push_back(std::move(kept));
    }
  }

  void run(int64_t batch, int64_t length, const void* const* inputs, float* const* outputs, bool profile) override {
    check_range("a batch", batch, batch_);
    check_range("a length", length, length_);
    std::copy(inputs, inputs + inputs_.size(), inputs_.begin());
    for (const Kept& kept : kept_) give(kept, batch);
    for (const void* input : inputs_)
      if (input == nullptr) fail("expected an array for every input that is no state, got a null pointer");
    if (length_.most > 0) program_.resize(net(), length);
    if (profile)
      for (LayerInfo& layer : program_.layers) layer.seconds = 0;
    Frame frame;
    frame.arena = arena_.get();
    frame.inputs = inputs_.data();
    frame.outputs = outputs;
    frame.team = &team_;
    frame.timed = profile ? &program_.layers : nullptr;
    for (const Component& component : program_.components)
      run_component(component, component.batch.symbol >= 0 ? batch : component.batch.size, frame, profile);
    for (Kept& kept : kept_) {
      const int64_t count = kept.elements * (kept.batch > 0 ? kept.batch : batch);
      std::memcpy(kept.values.data(), outputs[kept.state.output], static_cast<size_t>(count) * sizeof(float));
    }
    kept_batch_ = batch;
  }

  void reset() override {
    for (Kept& kept : kept_) std::fill(kept.values.begin(), kept.values.end(), 0.0f);
    kept_batch_ = 0;
  }

  const std::vector<LayerInfo>& layers() const override { return program_.layers; }
  const std::vector<std::string>& remarks() const override { return program_.remarks; }
  std::string isa() const override { return kernels_->name; }
  size_t arena_bytes() const override { return static_cast<size_t>(program_.arena_floats) * sizeof(float); }
  size_t weight_bytes() const override { return program_.weight_bytes; }

 private:
  struct Kept {  // what a state has between runs
    State state;
    int64_t elements = 0, batch = 0;  // of one example; a fixed batch, or 0
    std::vector<float> values;
  };

  const Network& net() const { return file_->network; }
  [[noreturn]] static void fail(const std::string& message) { throw Error{Error::Kind::argument, message}; }

  static void check_range(const char* what, int64_t size, const Range& range) {
    if (range.most > 0 && (size < range.least || size > range.most))
      fail("expected " + std::string(what) + " from " + std::to_string(range.least) + " to " +
           std::to_string(range.most) + ", got " + std::to_string(size));
  }

  void give(const Kept& kept, int64_t batch) {
    const void*& input = inputs_[static_cast<size_t>(kept.state.input)];
    if (input != nullptr) return;
    if (kept.batch == 0 && kept_batch_ != 0 && kept_batch_ != batch)
      fail("state '" + net().values[static_cast<size_t>(net().inputs[static_cast<size_t>(kept.state.input)])].name +
           "': expected a batch of " + std::to_string(kept_batch_) + " like that of the runs before, got " +
           std::to_string(batch) + "; reset the session or give the state");
    input = kept.values.data();
  }

  void run_component(const Component& component, int64_t batch, Frame& frame, bool profile) {
    for (int64_t example = 0; example < batch; example += component.chunk) {
      frame.example = example;
      frame.count = batch - example < component.chunk ? batch - example : component.chunk;
      for (int i = component.begin; i < component.end; ++i) {
        const Step& step = *program_.steps[static_cast<size_t>(i)];
        if (!profile || step.node < 0) {
          step.run(frame);
          continue;
        }
        const auto begin = std::chrono::steady_clock::now();
        step.run(frame);
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
        program_.layers[static_cast<size_t>(step.node)].seconds += passed.count();
      }
    }
  }

  std::shared_ptr<const File> file_;
  PlanOptions options_;
  const KernelTable* kernels_;
  Team team_;
  Program program_;
  Range batch_, length_;
  std::unique_ptr<float, Release> arena_;
  std::vector<const void*> inputs_;
  std::vector<Kept> kept_;
  int64_t kept_batch_ = 0;  // of the run that left the states; 0: they are zero
};

}  // namespace

Range batch_range(const Network& network, int64_t max_batch) {
  const int symbol = free_dims(network).batch;
  if (symbol < 0) return {};
  const FreeDim& dim = network.dims[static_cast<size_t>(symbol)];
  return {dim.min, max_batch > 0 ? std::min(max_batch, dim.max) : dim.max};
}

Range length_range(const Network& network) {
  const int symbol = free_dims(network).length;
  if (symbol < 0) return {};
  const FreeDim& dim = network.dims[static_cast<size_t>(symbol)];
  return {dim.min, dim.max};
}

std::unique_ptr<Plan> Plan::make(std::shared_ptr<const File> file, const PlanOptions& options) {
  if (options.threads < 1 || options.threads > kMostThreads)
    throw Error{Error::Kind::plan,
                "expected 1 to " + std::to_string(kMostThreads) + " threads, got " + std::to_string(options.threads)};
  if (options.max_batch < 0)
    throw Error{Error::Kind::plan, "expected a maximal batch of at least 1 (0: the network's own), got " +
                                       std::to_string(options.max_batch)};
  const KernelTable* kernels = find_kernels(options.isa);
  try {
    return std::make_unique<RunningPlan>(std::move(file), options, kernels);
  } catch (const std::bad_alloc&) {
    throw Error{Error::Kind::memory, "expected memory for the plan, got none: allocation failed"};
  }
}

}  // namespace gossamer
