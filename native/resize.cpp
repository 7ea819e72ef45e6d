// The free dimensions, and the sizes of a program at another length.
#include <algorithm>
#include <functional>

#include "executor.h"
#include "planner.h"

namespace gossamer {

namespace {
constexpr size_t kLengthsKept = 64;  // shapes of as many lengths are remembered
}

FreeDims free_dims(const Network& net) {
  FreeDims free;
  free.length = net.length;
  for (int input : net.inputs) {
    const int symbol = net.values[static_cast<size_t>(input)].shape[0].symbol;
    if (symbol >= 0) free.batch = symbol;
  }
  return free;
}

std::vector<std::vector<int64_t>> run_shapes(const Network& net, int64_t batch, int64_t length) {
  const FreeDims free = free_dims(net);
  std::vector<int64_t> dims;
  for (size_t i = 0; i < net.dims.size(); ++i)
    dims.push_back(static_cast<int>(i) == free.length ? length : static_cast<int>(i) == free.batch ? batch : 1);
  try {
    return infer_shapes(net, dims);
  } catch (const Error& error) {  // between the ends that the reader checked a length may break a rule
    if (free.length < 0 || error.kind != Error::Kind::graph) throw;
    throw Error{Error::Kind::argument, "length " + std::to_string(length) + ": " + error.message};
  }
}

std::vector<std::vector<int64_t>> example_shapes(const Network& net, int64_t length) {
  const int batch = free_dims(net).batch;
  auto shapes = run_shapes(net, batch < 0 ? 1 : net.dims[static_cast<size_t>(batch)].min, length);
  for (auto& shape : shapes) shape.erase(shape.begin());
  return shapes;
}

void Program::resize(const Network& net, int64_t to) {
  if (to == length) return;
  auto known = shapes_.find(to);
  if (known == shapes_.end()) {
    const auto values = example_shapes(net, to);
    std::vector<std::vector<int64_t>> sizes(slots.size());
    for (size_t i = 0; i < slots.size(); ++i)
      if (slots[i].value >= 0) sizes[i] = values[static_cast<size_t>(slots[i].value)];
    if (shapes_.size() >= kLengthsKept) shapes_.erase(shapes_.begin());
    known = shapes_.emplace(to, std::move(sizes)).first;
  }
  length = 0;  // of none, should a size not fit
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = slots[i];
    if (slot.value < 0) continue;
    const std::vector<int64_t>& sizes = known->second[i];
    slot.set_shape(sizes.data(), sizes.size());
    if (std::equal(sizes.begin(), sizes.end(), slot.most.begin(), std::less_equal<>())) continue;
    const auto words = [](const std::vector<int64_t>& shape) {
      std::string text;
      for (int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
      return "[" + text + "]";
    };
    throw Error{Error::Kind::argument, net.dims[static_cast<size_t>(net.length)].name + " = " + std::to_string(to) +
                                           ": expected sizes of '" + net.values[static_cast<size_t>(slot.value)].name +
                                           "' behind the batch up to " + words(slot.most) +
                                           ", those of the greatest length, got " + words(sizes)};
  }
  for (const auto& step : steps) step->resize();
  length = to;
}

}  // namespace gossamer
