// The C interface: null pointers, codes and messages, one session used by several threads.
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "capi.h"
#include "check.h"
#include "packed.h"

namespace {

// x [n, 2] -> linear [[1, 2], [3, 4], [5, 6]] -> y [n, 3], n from 1 to 4
test::Bytes packed() {
  test::Packed file;
  file.network = test::linear_network(2);
  file.weight("w", "dense", "[3, 2]", "float32", "", {{"values", "F32", "[3, 2]", test::floats({1, 2, 3, 4, 5, 6})}});
  return file.build();
}

bool says(const char* part) { return std::strstr(gsm_last_error(), part) != nullptr; }

void refusals() {
  test::Bytes raw = packed();
  gsm_file* file = nullptr;
  gsm_session* session = nullptr;
  CHECK(gsm_open(nullptr, &file) == GSM_ARGUMENT && file == nullptr);
  CHECK(gsm_open("/nonexistent", nullptr) == GSM_ARGUMENT);
  CHECK(gsm_open("/nonexistent", &file) == GSM_IO && says("/nonexistent"));
  CHECK(gsm_open_bytes(nullptr, 4, &file) == GSM_ARGUMENT);
  CHECK(gsm_open_bytes(nullptr, 0, &file) == GSM_FORMAT && says("at least 8 bytes"));
  CHECK(gsm_open_bytes(raw.data(), raw.size() - 1, &file) == GSM_FORMAT && file == nullptr);
  CHECK(gsm_plan(nullptr, 1, 0, nullptr, 0, &session) == GSM_ARGUMENT && session == nullptr);
  gsm_close(nullptr);
  gsm_free(nullptr);
  CHECK(std::string(gsm_manifest(nullptr)).empty() && gsm_num_inputs(nullptr) == 0 && gsm_num_outputs(nullptr) == 0);

  CHECK(gsm_open_bytes(raw.data(), raw.size(), &file) == GSM_OK);
  CHECK(gsm_plan(file, 0, 0, nullptr, 0, &session) == GSM_ARGUMENT && says("expected threads from 1"));
  CHECK(gsm_plan(file, GSM_MAX_THREADS + 1, 0, nullptr, 0, &session) == GSM_ARGUMENT && says("to 256, got 257"));
  CHECK(gsm_plan(file, 1, 5, nullptr, 0, &session) == GSM_ARGUMENT && says("expected max_batch from 1 to 4"));
  CHECK(gsm_plan(file, 1, 0, nullptr, 0, nullptr) == GSM_ARGUMENT);
  CHECK(gsm_plan(file, 1, 0, "", 1, &session) == GSM_MEMORY && session == nullptr);
  gsm_options options = GSM_OPTIONS;
  CHECK(gsm_plan_with(file, nullptr, &session) == GSM_ARGUMENT && says("options"));
  options.size = sizeof options - 1;
  CHECK(gsm_plan_with(file, &options, &session) == GSM_ARGUMENT && says("begin with GSM_OPTIONS"));
  options = {sizeof(gsm_options), 1, 0, nullptr, 0, 0, 0};
  options.threads = 0;
  CHECK(gsm_plan_with(file, &options, &session) == GSM_ARGUMENT && says("expected threads from 1"));
  options = {sizeof(gsm_options), 1, 0, nullptr, 0, 0, 0};
  options.size += 8;  // of a later version
  options.pin = 1;
  CHECK(gsm_plan_with(file, &options, &session) == GSM_OK && session != nullptr);
  gsm_free(session);
  CHECK(gsm_plan(file, 1, 2, "portable", 0, &session) == GSM_OK);
  gsm_close(file);  // the session keeps what it needs

  int64_t shape[8];
  size_t rank = 0;
  CHECK(gsm_input_shape(session, 0, 2, 0, shape, &rank) == GSM_OK && rank == 2 && shape[0] == 2 && shape[1] == 2);
  CHECK(gsm_output_shape(session, 0, 1, 0, shape, &rank) == GSM_OK && rank == 2 && shape[0] == 1 && shape[1] == 3);
  CHECK(gsm_input_shape(session, 1, 1, 0, shape, &rank) == GSM_ARGUMENT && says("expected an input below 1, got 1"));
  CHECK(gsm_output_shape(session, 0, 3, 0, shape, &rank) == GSM_ARGUMENT &&
        says("expected a batch from 1 to 2, got 3"));
  CHECK(gsm_output_shape(session, 0, 1, 0, nullptr, &rank) == GSM_ARGUMENT);
  int64_t least = -1, most = -1;
  CHECK(gsm_batch_range(session, &least, &most) == GSM_OK && least == 1 && most == 2);
  CHECK(gsm_batch_range(nullptr, &least, &most) == GSM_ARGUMENT);
  CHECK(gsm_batch_range(session, nullptr, &most) == GSM_ARGUMENT);
  CHECK(std::string(gsm_input_name(session, 0)) == "x" && gsm_input_name(session, 1) == nullptr);
  CHECK(std::string(gsm_output_name(session, 0)) == "out" && gsm_output_name(session, 1) == nullptr);
  CHECK(gsm_input_name(nullptr, 0) == nullptr && gsm_output_name(nullptr, 0) == nullptr);
  float x[2] = {1, 1}, y[3] = {};
  const void* inputs[] = {x};
  float* outputs[] = {y};
  const void* no_input[] = {nullptr};
  CHECK(gsm_run(session, 1, 0, no_input, outputs) == GSM_ARGUMENT);
  CHECK(gsm_run(session, 1, 0, nullptr, outputs) == GSM_ARGUMENT);
  CHECK(gsm_run(session, 0, 0, inputs, outputs) == GSM_ARGUMENT);
  CHECK(gsm_run(nullptr, 1, 0, inputs, outputs) == GSM_ARGUMENT);
  CHECK(gsm_run(session, 1, 0, inputs, outputs) == GSM_OK && y[0] == 3 && y[1] == 7 && y[2] == 11);
  const char* json = nullptr;
  CHECK(gsm_describe(session, &json) == GSM_OK && std::strstr(json, "\"isa\": \"portable\"") != nullptr);
  CHECK(gsm_describe(session, nullptr) == GSM_ARGUMENT);
  gsm_free(session);
}

void threads() {
  test::Bytes raw = packed();
  gsm_file* file = nullptr;
  gsm_session* session = nullptr;
  CHECK(gsm_open_bytes(raw.data(), raw.size(), &file) == GSM_OK);
  CHECK(gsm_plan(file, 2, 0, nullptr, 0, &session) == GSM_OK);
  std::vector<std::thread> workers;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < wrong.size(); ++t) {
    workers.emplace_back([&, t] {
      auto scale = static_cast<float>(t + 1);
      for (int64_t i = 0; i < 100; ++i) {
        int64_t batch = 1 + i % 4;
        std::vector<float> x(static_cast<size_t>(2 * batch), scale), y(static_cast<size_t>(3 * batch), -1);
        const void* inputs[] = {x.data()};
        float* outputs[] = {y.data()};
        bool ok = gsm_run(session, batch, 0, inputs, outputs) == GSM_OK;
        for (size_t row = 0; row < static_cast<size_t>(batch); ++row) {
          ok = ok && y[3 * row] == 3 * scale && y[3 * row + 1] == 7 * scale && y[3 * row + 2] == 11 * scale;
        }
        gsm_file* none = nullptr;
        std::string path = "/nonexistent/" + std::to_string(t);
        ok = ok && gsm_open(path.c_str(), &none) == GSM_IO && says(path.c_str());  // the message of this thread
        wrong[t] += ok ? 0 : 1;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (int count : wrong) CHECK(count == 0);
  gsm_free(session);
  gsm_close(file);
}

void information() {
  CHECK(std::strlen(gsm_version()) >= 5);
  CHECK(gsm_abi() == GSM_ABI);
  std::string info = gsm_build_info();
  CHECK(info.find("\"portable\"") != std::string::npos && info.find("\"isas_available\"") != std::string::npos);
}

}  // namespace

int main() {
  refusals();
  threads();
  information();
  return test::done();
}
