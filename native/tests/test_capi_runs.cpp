// The C interface, what a run is given: lengths, states, integers, pointers.
#include <cstring>
#include <string>
#include <vector>

#include "capi.h"
#include "check.h"
#include "packed.h"

namespace {

bool says(const char* part) { return std::strstr(gsm_last_error(), part) != nullptr; }

std::string input(const char* name, const char* shape, const char* dtype = "float32") {
  return std::string("{\"name\": \"") + name + "\", \"shape\": " + shape + ", \"dtype\": \"" + dtype + "\"}";
}
std::string output(const char* name, const char* value) {
  return std::string("{\"name\": \"") + name + "\", \"value\": \"" + value + "\"}";
}
std::string node(const char* op, const char* inputs, const char* result, const char* attributes,
                 const char* weights = "") {
  return std::string("{\"op\": \"") + op + "\", \"name\": \"" + result + "\", \"inputs\": [" + inputs +
         "], \"outputs\": [\"" + result + "\"], \"attributes\": {" + attributes + "}, \"weights\": {" + weights + "}}";
}

// Free: n from 1 to 3, s from 2 to 6. `more`: further members of the network, beginning with a comma.
test::Packed file_of(const std::string& dims, const std::string& inputs, const std::string& outputs,
                     const std::string& nodes, const std::string& more = "") {
  test::Packed file;
  file.version = "2";
  file.network = "{\"name\": \"t\", \"dims\": {" + dims + "}, \"inputs\": [" + inputs + "], \"outputs\": [" + outputs +
                 "], \"nodes\": [" + nodes + "]" + more + "}";
  return file;
}
const char* const kBatch = "\"n\": {\"min\": 1, \"max\": 3}";
const char* const kBoth = "\"s\": {\"min\": 2, \"max\": 6}, \"n\": {\"min\": 1, \"max\": 3}";

struct Session {
  explicit Session(const test::Packed& packed, const char* isa = nullptr, int threads = 1) {
    const test::Bytes raw = packed.build();
    gsm_file* file = nullptr;
    const bool made =
        gsm_open_bytes(raw.data(), raw.size(), &file) == GSM_OK && gsm_plan(file, threads, 0, isa, 0, &it) == GSM_OK;
    test::report(made, "made", __FILE__, __LINE__, made ? "" : gsm_last_error());
    gsm_close(file);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { gsm_free(it); }
  gsm_status run(int64_t batch, int64_t length, std::vector<const void*> in, std::vector<float*> out) {
    return gsm_run(it, batch, length, in.data(), out.data());
  }
  gsm_session* it = nullptr;
};

// x [n, s, 2] -> sums along s -> y [n, s, 2] and, by way of [n, s / 2, 4], z [n, 2, s]: an odd length breaks a rule.
test::Packed sums() {
  return file_of(kBoth, input("x", "[\"n\", \"s\", 2]"), output("y", "y") + ", " + output("z", "z"),
                 node("cumsum", "\"x\"", "y", "\"axis\": 1") + ", " +
                     node("reshape", "\"y\"", "h", "\"shape\": [-1, 4]") + ", " +
                     node("reshape", "\"h\"", "z", "\"shape\": [2, \"s\"]"));
}

void lengths() {
  Session session(sums(), "", 2);
  int64_t least = -1, most = -1, shape[GSM_MAX_RANK] = {};
  size_t rank = 0;
  CHECK(gsm_length_range(session.it, &least, &most) == GSM_OK && least == 2 && most == 6);
  CHECK(gsm_batch_range(session.it, &least, &most) == GSM_OK && least == 1 && most == 3);
  CHECK(gsm_length_range(session.it, nullptr, &most) == GSM_ARGUMENT);
  CHECK(gsm_length_range(nullptr, &least, &most) == GSM_ARGUMENT);
  CHECK(gsm_input_shape(session.it, 0, 3, 4, shape, &rank) == GSM_OK && rank == 3);
  CHECK(shape[0] == 3 && shape[1] == 4 && shape[2] == 2);
  CHECK(gsm_output_shape(session.it, 1, 2, 6, shape, &rank) == GSM_OK && rank == 3);
  CHECK(shape[0] == 2 && shape[1] == 2 && shape[2] == 6);
  for (int64_t length : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{-4}, INT64_MAX, INT64_MIN}) {
    const std::string message = "expected a length from 2 to 6, got " + std::to_string(length);
    CHECK(gsm_input_shape(session.it, 0, 1, length, shape, &rank) == GSM_ARGUMENT && says(message.c_str()));
    CHECK(gsm_output_shape(session.it, 0, 1, length, shape, &rank) == GSM_ARGUMENT && says(message.c_str()));
  }
  CHECK(gsm_output_shape(session.it, 1, 1, 3, shape, &rank) == GSM_ARGUMENT && says("length 3: "));

  float x[3 * 6 * 2], y[3 * 6 * 2 + 1], z[3 * 6 * 2 + 1];
  for (int i = 0; i < 36; ++i) x[i] = static_cast<float>(i % 7 - 3);
  const struct {
    int64_t batch, length;
    gsm_status status;
  } runs[] = {{2, 6, GSM_OK}, {3, 2, GSM_OK},       {1, 4, GSM_OK}, {1, 7, GSM_ARGUMENT}, {1, 4, GSM_OK},
              {3, 6, GSM_OK}, {2, 3, GSM_ARGUMENT}, {3, 6, GSM_OK}, {3, 0, GSM_ARGUMENT}, {2, 2, GSM_OK}};
  for (const auto& run : runs) {
    const int64_t row = 2 * run.length, total = run.status == GSM_OK ? run.batch * row : 0;
    std::fill(std::begin(y), std::end(y), -99.0f);
    std::fill(std::begin(z), std::end(z), -99.0f);
    CHECK(session.run(run.batch, run.length, {x}, {y, z}) == run.status);
    if (run.status != GSM_OK) continue;
    for (int64_t i = 0; i < total; ++i) {
      const float want = x[i] + (i % row < 2 ? 0 : y[i - 2]);
      CHECK(y[i] == want && z[i] == want);  // z: the same numbers in another shape
    }
    CHECK(y[total] == -99 && z[total] == -99);  // nothing behind the end
  }
}

// y = x + h and d = 2 y with the states h <- y and g <- d
test::Packed memory() {
  return file_of(kBatch, input("x", "[\"n\", 2]") + ", " + input("h", "[\"n\", 2]") + ", " + input("g", "[\"n\", 2]"),
                 output("y", "y") + ", " + output("d", "d"),
                 node("add", "\"x\", \"h\"", "y", "") + ", " + node("add", "\"y\", \"g\"", "d", ""),
                 ", \"states\": [{\"input\": \"h\", \"output\": \"y\"}, {\"input\": \"g\", \"output\": \"d\"}]");
}

void states() {
  Session session(memory());
  float y[6] = {}, d[6] = {};
  const float x[] = {1, 2, 3, 4, 5, 6}, other[] = {10, 20, 30, 40, 50, 60};
  const auto run = [&](int64_t batch, const void* h, const void* g) {
    return session.run(batch, 0, {x, h, g}, {y, d});
  };
  CHECK(run(2, nullptr, nullptr) == GSM_OK && y[0] == 1 && y[3] == 4 && d[0] == 1 && d[3] == 4);  // zero at first
  CHECK(run(2, nullptr, nullptr) == GSM_OK && y[0] == 2 && y[3] == 8 && d[0] == 3 && d[3] == 12);
  CHECK(run(2, other, nullptr) == GSM_OK && y[0] == 11 && y[3] == 44 && d[0] == 14 && d[3] == 56);  // one given
  CHECK(run(2, nullptr, nullptr) == GSM_OK && y[0] == 12 && d[0] == 26);                            // it is kept on
  y[0] = d[0] = -99;
  CHECK(run(3, nullptr, nullptr) == GSM_ARGUMENT && says("expected a batch of 2") && says("reset the session"));
  CHECK(run(1, other, nullptr) == GSM_ARGUMENT && says("state 'g'") && y[0] == -99 && d[0] == -99);
  CHECK(session.run(2, 0, {nullptr, other, other}, {y, d}) == GSM_ARGUMENT && says("null pointer"));  // x is no state
  CHECK(run(2, nullptr, nullptr) == GSM_OK && y[0] == 13 && d[0] == 39);  // refused runs changed nothing
  CHECK(run(3, other, other) == GSM_OK && y[5] == 66 && d[5] == 126);     // another batch, all states given
  CHECK(run(3, nullptr, nullptr) == GSM_OK && y[5] == 72 && d[5] == 198);
  CHECK(gsm_reset(session.it) == GSM_OK && gsm_reset(nullptr) == GSM_ARGUMENT);
  CHECK(run(1, nullptr, nullptr) == GSM_OK && y[0] == 1 && d[0] == 1);
  int64_t least = -1, most = -1;
  CHECK(gsm_length_range(session.it, &least, &most) == GSM_OK && least == 0 && most == 0);
  CHECK(session.run(1, 12345, {x, other, other}, {y, d}) == GSM_OK && y[0] == 11);  // no length: any number
  const void* in[] = {x, nullptr, nullptr};
  float* out[] = {y, d};
  CHECK(gsm_profile(session.it, 1, 0, in, out) == GSM_OK && y[0] == 12 && d[0] == 33);  // a run like others
}

// ids [n, s] -> rows of [[0, 1], [10, 11], [20, 21]] -> y [n, s, 2]; numbers [n, s] -> negated -> z
void integers() {
  test::Packed packed = file_of(kBoth,
                                input("ids", "[\"n\", \"s\"]", "int64") + ", " +
                                    input("numbers", "[\"n\", \"s\"]", "int64") + ", " + input("x", "[\"n\", 1]"),
                                output("y", "y") + ", " + output("z", "z") + ", " + output("x", "w"),
                                node("embedding", "\"ids\"", "y", "", "\"weight\": \"table\"") + ", " +
                                    node("neg", "\"numbers\"", "z", "") + ", " + node("neg", "\"x\"", "w", ""));
  packed.weight("table", "dense", "[3, 2]", "float32", "",
                {{"values", "F32", "[3, 2]", test::floats({0, 1, 10, 11, 20, 21})}});
  Session session(packed);
  CHECK(gsm_input_dtype(session.it, 0) == GSM_INT64 && gsm_input_dtype(session.it, 1) == GSM_INT64);
  CHECK(gsm_input_dtype(session.it, 2) == GSM_FLOAT32 && gsm_input_dtype(session.it, 3) == -1);
  CHECK(gsm_input_dtype(nullptr, 0) == -1);
  const int64_t edge = int64_t{1} << 24;
  float y[8], z[4], w[1];
  const float x[] = {3};
  const auto run = [&](std::vector<int64_t> ids, std::vector<int64_t> numbers) {
    std::fill(std::begin(y), std::end(y), -99.0f);
    return session.run(1, static_cast<int64_t>(ids.size()), {ids.data(), numbers.data(), x}, {y, z, w});
  };
  const auto works = [&] {
    CHECK(run({2, 0, 1}, {5, edge, -edge}) == GSM_OK && w[0] == -3);
    CHECK(y[0] == 20 && y[1] == 21 && y[2] == 0 && y[3] == 1 && y[4] == 10 && y[5] == 11);
    CHECK(z[0] == -5 && z[1] == -16777216.0f && z[2] == 16777216.0f);
  };
  works();
  for (int64_t wrong : {edge + 1, -edge - 1, INT64_MAX, INT64_MIN}) {
    CHECK(run({0, 1}, {0, wrong}) == GSM_ARGUMENT && says("numbers") && says(std::to_string(wrong).c_str()));
    works();
  }
  for (int64_t wrong : {int64_t{3}, int64_t{-1}, edge, INT64_MIN}) {
    CHECK(run({0, wrong}, {0, 0}) == GSM_ARGUMENT && says(std::to_string(wrong).c_str()));
    works();
  }
}

void pointers() {
  Session session(memory());
  float y[2] = {}, d[2] = {};
  const float x[] = {1, 2};
  const void* in[] = {x, nullptr, nullptr};
  float* out[] = {y, d};
  CHECK(gsm_run(nullptr, 1, 0, in, out) == GSM_ARGUMENT);
  CHECK(gsm_run(session.it, 1, 0, nullptr, out) == GSM_ARGUMENT && says("'inputs'"));
  CHECK(gsm_run(session.it, 1, 0, in, nullptr) == GSM_ARGUMENT && says("'outputs'"));
  CHECK(gsm_profile(session.it, 1, 0, in, nullptr) == GSM_ARGUMENT);
  CHECK(session.run(1, 0, {x, nullptr, nullptr}, {y, nullptr}) == GSM_ARGUMENT && says("'outputs[i]'"));
  // Overlapping outputs are forbidden and not looked for: what stands there is undefined, all else stays right.
  float both[4] = {-99, 0, 0, -99};
  CHECK(session.run(1, 0, {x, x, x}, {both + 1, both + 1}) == GSM_OK && both[0] == -99 && both[3] == -99);
  CHECK(gsm_reset(session.it) == GSM_OK);
  CHECK(session.run(1, 0, {x, nullptr, nullptr}, {y, d}) == GSM_OK && y[0] == 1 && d[1] == 2);
}

}  // namespace

int main() {
  lengths();
  states();
  integers();
  pointers();
  return test::done();
}
