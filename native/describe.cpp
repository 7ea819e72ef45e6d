#include "describe.h"

#include <locale>
#include <sstream>
#include <string_view>

namespace gossamer {
namespace {

void write_string(std::ostream& out, std::string_view s) {
  static const char digits[] = "0123456789abcdef";
  out << '"';
  for (char c : s) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out << '\\' << c;
    } else if (byte < 0x20) {
      out << "\\u00" << digits[byte >> 4] << digits[byte & 15];
    } else {
      out << c;
    }
  }
  out << '"';
}

void write_strings(std::ostream& out, const std::vector<std::string>& list) {
  out << '[';
  for (size_t i = 0; i < list.size(); ++i) {
    if (i != 0) out << ", ";
    write_string(out, list[i]);
  }
  out << ']';
}

std::ostringstream json_stream() {
  std::ostringstream out;
  out.imbue(std::locale::classic());  // '.' in numbers whatever the program's locale is
  out.precision(9);
  return out;
}

void write_candidates(std::ostream& out, const std::vector<CandidateInfo>& candidates) {
  out << '[';
  for (const CandidateInfo& one : candidates) {
    out << (&one == &candidates.front() ? "" : ", ") << "{\"name\": ";
    write_string(out, one.name);
    out << ", \"estimated_us\": " << one.estimated << ", \"measured_us\": " << one.measured << ", \"work\": [";
    for (const double& count : one.work) out << (&count == &one.work.front() ? "" : ", ") << count;
    out << "]}";
  }
  out << ']';
}

}  // namespace

std::string build_info() {
  std::vector<std::string> available = available_isas();
  std::ostringstream out = json_stream();
  out << "{\"version\": ";
  write_string(out, GOSSAMER_VERSION);
  out << ", \"compiler\": ";
  write_string(out, __VERSION__);
  out << ", \"isas_built\": ";
  write_strings(out, built_isas());
  out << ", \"isas_available\": ";
  write_strings(out, available);
  out << ", \"isa\": ";
  write_string(out, available.empty() ? "" : available.front());
  out << "}";
  return out.str();
}

std::string describe_plan(const Plan& plan, int threads) {
  std::ostringstream out = json_stream();
  out << "{\"isa\": ";
  write_string(out, plan.isa());
  out << ", \"threads\": " << threads << ", \"arena_bytes\": " << plan.arena_bytes()
      << ", \"weight_bytes\": " << plan.weight_bytes() << ", \"remarks\": ";
  write_strings(out, plan.remarks());
  out << ", \"layers\": [";
  bool first = true;
  for (const LayerInfo& layer : plan.layers()) {
    out << (first ? "" : ", ") << "{\"name\": ";
    first = false;
    write_string(out, layer.name);
    out << ", \"op\": ";
    write_string(out, layer.op);
    out << ", \"kernel\": ";
    write_string(out, layer.kernel);
    out << ", \"reason\": ";
    write_string(out, layer.reason);
    out << ", \"macs\": " << layer.macs << ", \"macs_dense\": " << layer.macs_dense
        << ", \"num_kept\": " << layer.num_kept << ", \"num_weights\": " << layer.num_weights
        << ", \"bytes\": " << layer.bytes << ", \"seconds\": " << layer.seconds << ", \"candidates\": ";
    write_candidates(out, layer.candidates);
    out << "}";
  }
  out << "]}";
  return out.str();
}

}  // namespace gossamer
