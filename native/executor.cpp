// Runs a program: component by component, chunk by chunk, step by step, in one arena. run() allocates nothing.
#include "executor.h"

#include <sys/mman.h>
#include <unistd.h>

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
      : file_(std::move(file)), options_(options), kernels_(kernels), team_(options.threads) {
    Budget budget(memory_limit(options.max_bytes));
    program_ = plan_network(file_->network, *kernels_, options_, budget);
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
  }

  std::vector<std::vector<int64_t>> output_shapes(const std::vector<std::vector<int64_t>>& input_shapes) override {
    std::vector<int64_t> dims;
    for (size_t i = 0; i < file_->network.dims.size(); ++i) dims.push_back(free_dim(static_cast<int>(i), input_shapes));
    check_shapes(input_shapes);
    const auto shapes = infer_shapes(file_->network, dims);
    std::vector<std::vector<int64_t>> out;
    for (const auto& output : file_->network.outputs) out.push_back(shapes[static_cast<size_t>(output.second)]);
    return out;
  }

  void run(const std::vector<const float*>& inputs, const std::vector<std::vector<int64_t>>& input_shapes,
           const std::vector<float*>& outputs, bool profile) override {
    const Network& net = file_->network;
    if (inputs.size() != net.inputs.size() || outputs.size() != net.outputs.size())
      fail("expected " + std::to_string(net.inputs.size()) + " inputs and " + std::to_string(net.outputs.size()) +
           " outputs, got " + std::to_string(inputs.size()) + " and " + std::to_string(outputs.size()));
    check_shapes(input_shapes);
    if (profile)
      for (LayerInfo& layer : program_.layers) layer.seconds = 0;
    Frame frame;
    frame.arena = arena_.get();
    frame.inputs = inputs.data();
    frame.outputs = outputs.data();
    frame.team = &team_;
    for (const Component& component : program_.components) {
      const int64_t batch =
          component.batch.symbol >= 0 ? free_dim(component.batch.symbol, input_shapes) : component.batch.size;
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
  }

  const std::vector<LayerInfo>& layers() const override { return program_.layers; }
  std::string isa() const override { return kernels_->name; }
  size_t arena_bytes() const override { return static_cast<size_t>(program_.arena_floats) * sizeof(float); }
  size_t weight_bytes() const override { return program_.weight_bytes; }

 private:
  [[noreturn]] static void fail(const std::string& message) { throw Error{Error::Kind::argument, message}; }

  int64_t free_dim(int symbol, const std::vector<std::vector<int64_t>>& shapes) const {
    const Network& net = file_->network;
    const FreeDim& dim = net.dims[static_cast<size_t>(symbol)];
    for (size_t i = 0; i < net.inputs.size() && i < shapes.size(); ++i) {
      const Value& value = net.values[static_cast<size_t>(net.inputs[i])];
      if (value.shape[0].symbol != symbol || shapes[i].empty()) continue;
      const int64_t most = options_.max_batch > 0 && options_.max_batch < dim.max ? options_.max_batch : dim.max;
      if (shapes[i][0] < dim.min || shapes[i][0] > most)
        fail("expected '" + dim.name + "' (first size of input '" + value.name + "') between " +
             std::to_string(dim.min) + " and " + std::to_string(most) + ", got " + std::to_string(shapes[i][0]));
      return shapes[i][0];
    }
    return dim.min;
  }

  void check_shapes(const std::vector<std::vector<int64_t>>& shapes) const {
    const Network& net = file_->network;
    if (shapes.size() != net.inputs.size())
      fail("expected " + std::to_string(net.inputs.size()) + " input shapes, got " + std::to_string(shapes.size()));
    for (size_t i = 0; i < shapes.size(); ++i) {
      const Value& value = net.values[static_cast<size_t>(net.inputs[i])];
      bool right = shapes[i].size() == value.shape.size();
      for (size_t d = 0; right && d < shapes[i].size(); ++d)
        right = shapes[i][d] ==
                (value.shape[d].symbol >= 0 ? free_dim(value.shape[d].symbol, shapes) : value.shape[d].size);
      if (right) continue;
      std::string expected, got;
      for (const Dim& d : value.shape)
        expected += (expected.empty() ? "" : ", ") +
                    (d.symbol >= 0 ? net.dims[static_cast<size_t>(d.symbol)].name : std::to_string(d.size));
      for (int64_t d : shapes[i]) got += (got.empty() ? "" : ", ") + std::to_string(d);
      fail("expected shape [" + expected + "] for input '" + value.name + "', got [" + got + "]");
    }
  }

  std::shared_ptr<const File> file_;
  PlanOptions options_;
  const KernelTable* kernels_;
  Team team_;
  Program program_;
  std::unique_ptr<float, Release> arena_;
};

}  // namespace

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
