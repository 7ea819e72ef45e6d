// Driver of scripts/fuzz.py: files come in on stdin, each behind its length (32 bits, little-endian); one line a file
// goes out:
//   reject KIND MESSAGE            the reader refused it
//   accept refused KIND MESSAGE    read, but not planned or not run (too large for this test, ...)
//   accept ran HEX [HEX ...]       outputs at the smallest batch, float32 little-endian, for the input sample(i) below
//   accept large                   read and planned, too much work to run here
// Built with sanitizers, the driver dies of the first wrong access, and the script tells the file.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "capi.h"
#include "network.h"

namespace {

constexpr size_t most_bytes = size_t{64} << 20;  // of a plan
constexpr double most_work = 2e7;                // multiplications or so
constexpr size_t most_printed = 1 << 14;         // output elements

// Input element i: a fixed sequence in [-0.5, 0.5); scripts/fuzz.py makes the same.
float sample(uint32_t i) { return static_cast<float>((i * 2654435761u) >> 8) / 16777216.0f - 0.5f; }

double elements(const std::vector<int64_t>& shape) {
  double n = 1;
  for (int64_t size : shape) n *= static_cast<double>(size);
  return n;
}

// Rough number of operations of one run at the smallest batch.
double work(const gossamer::Network& network, const std::vector<std::vector<int64_t>>& shapes) {
  double total = 0;
  for (const auto& shape : shapes) total += elements(shape);
  for (const gossamer::Node& node : network.nodes) {
    double out = elements(shapes[static_cast<size_t>(node.output)]);
    bool matrix = node.op == gossamer::Op::conv2d || node.op == gossamer::Op::linear;
    double each = matrix ? static_cast<double>(network.weights[static_cast<size_t>(node.weight)].shape[1])
                         : static_cast<double>(node.kernel[0] * node.kernel[1]);
    double in = elements(shapes[static_cast<size_t>(node.inputs[0])]);
    total += out * each + (node.op == gossamer::Op::adaptive_avg_pool2d ? in + out : 0);
  }
  return total;
}

std::string one_line(const char* message) {
  std::string out = message;
  for (char& c : out) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return out;
}

std::string hex(const std::vector<float>& values) {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (float value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    for (int byte = 0; byte < 4; ++byte, bits >>= 8) {
      out += digits[(bits >> 4) & 15];
      out += digits[bits & 15];
    }
  }
  return out;
}

std::string failure(const char* words, gsm_status status) {
  return words + std::to_string(status) + " " + one_line(gsm_last_error());
}

// One run with all sizes of the free dimensions given.
std::string run_once(gsm_session* session, const gossamer::Network& network, const std::vector<int64_t>& dims) {
  std::vector<std::vector<int64_t>> shapes;
  try {
    shapes = gossamer::infer_shapes(network, dims);
  } catch (const gossamer::Error& error) {  // a length between the ends may break a rule
    return "accept refused 6 " + one_line(error.message.c_str());
  }
  if (work(network, shapes) > most_work) return "accept large";
  const int64_t batch = network.batch < 0 ? 0 : dims[static_cast<size_t>(network.batch)],
                length = network.length < 0 ? 0 : dims[static_cast<size_t>(network.length)];
  std::vector<std::vector<float>> inputs, outputs;
  std::vector<std::vector<int64_t>> integers(network.inputs.size());
  std::vector<const void*> in;
  std::vector<float*> out;
  size_t printed = 0;
  for (size_t k = 0; k < network.inputs.size(); ++k) {
    const size_t count = static_cast<size_t>(elements(shapes[static_cast<size_t>(network.inputs[k])]));
    inputs.emplace_back(count);
    for (size_t i = 0; i < count; ++i) inputs.back()[i] = sample(static_cast<uint32_t>(i));
    if (network.input_types[k] == gossamer::InputType::i64)
      for (size_t i = 0; i < count; ++i) integers[k].push_back(static_cast<int64_t>(i % 3));
  }
  for (const auto& output : network.outputs) {
    outputs.emplace_back(static_cast<size_t>(elements(shapes[static_cast<size_t>(output.second)])));
    printed += outputs.back().size();
  }
  for (size_t k = 0; k < inputs.size(); ++k)
    in.push_back(integers[k].empty() ? static_cast<const void*>(inputs[k].data()) : integers[k].data());
  for (auto& output : outputs) out.push_back(output.data());
  const gsm_status status = gsm_run(session, batch, length, in.data(), out.data());
  if (status != GSM_OK) return failure("accept refused ", status);
  if (printed > most_printed) return "accept large";
  std::string answer = "accept ran";
  for (const auto& output : outputs) answer += " " + hex(output);
  return answer;
}

// The answer is that of the smallest sizes; runs at greater lengths come first, and must leave no trace in it.
std::string plan_and_run(gsm_file* file, const gossamer::Network& network) {
  std::vector<int64_t> dims;
  for (const gossamer::FreeDim& dim : network.dims) dims.push_back(dim.min);
  gsm_session* session = nullptr;
  gsm_status status = gsm_plan(file, 1, 0, nullptr, most_bytes, &session);
  if (status != GSM_OK) return failure("accept refused ", status);
  if (network.length >= 0) {
    const gossamer::FreeDim& range = network.dims[static_cast<size_t>(network.length)];
    for (int64_t length : {range.max, (range.min + range.max) / 2}) {
      std::vector<int64_t> longer = dims;
      longer[static_cast<size_t>(network.length)] = length;
      run_once(session, network, longer);
    }
  }
  gsm_reset(session);
  const std::string answer = run_once(session, network, dims);
  gsm_free(session);
  return answer;
}

std::string judge(const std::vector<uint8_t>& bytes) {
  gsm_file* file = nullptr;
  gsm_status status = gsm_open_bytes(bytes.data(), bytes.size(), &file);
  if (status != GSM_OK) return failure("reject ", status);
  std::string answer = plan_and_run(file, gossamer::open_bytes(bytes.data(), bytes.size())->network);
  gsm_close(file);
  return answer;
}

}  // namespace

int main() {
  uint8_t head[4];
  while (std::fread(head, 1, sizeof head, stdin) == sizeof head) {
    size_t size = size_t{head[0]} | size_t{head[1]} << 8 | size_t{head[2]} << 16 | size_t{head[3]} << 24;
    std::vector<uint8_t> bytes(size);
    bytes.shrink_to_fit();  // the sanitizer watches the exact end
    if (std::fread(bytes.data(), 1, size, stdin) != size) return 2;
    std::printf("%s\n", judge(bytes).c_str());
    std::fflush(stdout);
  }
  return 0;
}
