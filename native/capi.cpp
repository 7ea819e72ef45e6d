// The C door: argument checks, exceptions -> codes, one lock a session.
#include "capi.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <new>

#include "check.h"
#include "describe.h"
#include "executor.h"
#include "network.h"

struct gsm_file {
  std::shared_ptr<const gossamer::File> file;
};

struct gsm_session {
  std::shared_ptr<const gossamer::File> file;
  std::unique_ptr<gossamer::Plan> plan;
  int threads = 1;
  gossamer::Range batch, length;
  std::mutex mutex;  // guards plan and description
  std::string description;
};

namespace gossamer {
namespace {

constexpr auto argument = Error::Kind::argument;
static_assert(GSM_MAX_THREADS == kMostThreads);

// The message of the last failure of this thread. A fixed array: storing a message cannot fail for want of memory.
thread_local char last_error[4096] = "";

void remember(const char* message) {
  size_t length = 0;
  while (message[length] != 0 && length + 1 < sizeof last_error) ++length;
  bool cut = message[length] != 0;
  while (cut && length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0) == 0x80)
    --length;  // whole UTF-8 characters
  std::copy(message, message + length, last_error);
  last_error[length] = 0;
}

gsm_status status_of(Error::Kind kind) {
  switch (kind) {
    case Error::Kind::io: return GSM_IO;
    case Error::Kind::format: return GSM_FORMAT;
    case Error::Kind::graph: return GSM_GRAPH;
    case Error::Kind::plan: return GSM_PLAN;
    case Error::Kind::argument: return GSM_ARGUMENT;
    case Error::Kind::memory: return GSM_MEMORY;
  }
  return GSM_PLAN;
}

// Runs f; no exception leaves it.
template <class F>
gsm_status guarded(F&& f) noexcept {
  try {
    f();
    return GSM_OK;
  } catch (const Error& error) {
    remember(error.message.c_str());
    return status_of(error.kind);
  } catch (const std::bad_alloc&) {
    remember("expected enough memory, got none; choose a smaller batch or free memory");
    return GSM_MEMORY;
  } catch (const std::length_error&) {
    remember("expected enough memory, got a request beyond all memory; choose a smaller batch");
    return GSM_MEMORY;
  } catch (const std::exception& error) {
    remember(error.what());
    return GSM_PLAN;
  } catch (...) {
    remember("unknown failure inside the native runtime");
    return GSM_PLAN;
  }
}

void expect_pointer(const void* pointer, const char* name) {
  if (pointer == nullptr) fail(argument, "expected '", name, "', got a null pointer");
}

void check_size(const char* what, int64_t size, const Range& range) {
  if (range.most != 0 && (size < range.least || size > range.most))
    fail(argument, "expected ", what, " from ", range.least, " to ", range.most, ", got ", size);
}

// The shape of a value; of an input without asking for those of all nodes.
void give_shape(const gsm_session* session, int value, int64_t batch, int64_t length, bool input, int64_t* shape,
                size_t* rank) {
  expect_pointer(shape, "shape");
  expect_pointer(rank, "rank");
  check_size("a batch", batch, session->batch);
  check_size("a length", length, session->length);
  const Network& network = session->file->network;
  std::vector<int64_t> sizes;
  if (input) {
    for (const Dim& dim : network.values[static_cast<size_t>(value)].shape)
      sizes.push_back(dim.symbol < 0 ? dim.size : dim.symbol == network.length ? length : batch);
  } else {
    sizes = run_shapes(network, batch, length)[static_cast<size_t>(value)];
  }
  std::copy(sizes.begin(), sizes.end(), shape);
  *rank = sizes.size();
}

void check_index(size_t index, size_t count, const char* what) {
  if (index >= count) fail(argument, "expected ", what, " below ", count, ", got ", index);
}

gsm_status run(gsm_session* session, int64_t batch, int64_t length, const void* const* inputs, float* const* outputs,
               bool profile) {
  return guarded([&] {
    expect_pointer(session, "session");
    expect_pointer(inputs, "inputs");
    expect_pointer(outputs, "outputs");
    for (size_t i = 0; i < session->file->network.outputs.size(); ++i) expect_pointer(outputs[i], "outputs[i]");
    std::lock_guard<std::mutex> lock(session->mutex);
    session->plan->run(batch, length, inputs, outputs, profile);
  });
}

gsm_status open(gsm_file** out, std::shared_ptr<const File> (*open_one)(const void*, size_t), const void* data,
                size_t size, bool empty) {
  return guarded([&] {
    expect_pointer(out, "out");
    *out = nullptr;
    if (!empty) expect_pointer(data, "path or data");
    auto file = std::make_unique<gsm_file>();
    file->file = open_one(data, size);
    *out = file.release();
  });
}

}  // namespace
}  // namespace gossamer

using gossamer::guarded;

const char* gsm_last_error(void) { return gossamer::last_error; }
int gsm_abi(void) { return GSM_ABI; }
const char* gsm_version(void) { return GOSSAMER_VERSION; }

const char* gsm_build_info(void) {
  static const std::string info = [] {
    std::string text;
    guarded([&] { text = gossamer::build_info(); });
    return text;
  }();
  return info.c_str();
}

gsm_status gsm_open(const char* path, gsm_file** out) {
  return gossamer::open(
      out, [](const void* p, size_t) { return gossamer::open_file(static_cast<const char*>(p)); }, path, 0, false);
}

gsm_status gsm_open_bytes(const void* data, size_t size, gsm_file** out) {
  // No bytes at all: a malformed file like others.
  return gossamer::open(out, gossamer::open_bytes, data, size, size == 0);
}

void gsm_close(gsm_file* file) { delete file; }

const char* gsm_manifest(const gsm_file* file) { return file == nullptr ? "" : file->file->manifest.c_str(); }

gsm_status gsm_plan(const gsm_file* file, int threads, int64_t max_batch, const char* isa, size_t max_bytes,
                    gsm_session** out) {
  gsm_options options = GSM_OPTIONS;
  options.threads = threads;
  options.max_batch = max_batch;
  options.isa = isa;
  options.max_bytes = max_bytes;
  return gsm_plan_with(file, &options, out);
}

gsm_status gsm_plan_with(const gsm_file* file, const gsm_options* asked, gsm_session** out) {
  return guarded([&] {
    using gossamer::argument;
    using gossamer::fail;
    gossamer::expect_pointer(out, "out");
    *out = nullptr;
    gossamer::expect_pointer(file, "file");
    gossamer::expect_pointer(asked, "options");
    if (asked->size < sizeof(gsm_options))
      fail(argument, "expected options of at least ", sizeof(gsm_options), " bytes, got ", asked->size,
           "; begin with GSM_OPTIONS");
    const int threads = asked->threads;
    if (threads < 1 || threads > GSM_MAX_THREADS)
      fail(argument, "expected threads from 1 to ", GSM_MAX_THREADS, ", got ", threads);
    const int64_t max_batch = asked->max_batch;
    if (max_batch < 0) fail(argument, "expected max_batch >= 0 (0: the network's own), got ", max_batch);
    auto session = std::make_unique<gsm_session>();
    session->file = file->file;
    session->threads = threads;
    gossamer::PlanOptions options;
    const gossamer::Network& network = file->file->network;
    session->batch = gossamer::batch_range(network, 0);
    session->length = gossamer::length_range(network);
    if (max_batch != 0 && session->batch.most != 0) {
      const gossamer::Range range = session->batch;
      if (max_batch < range.least || max_batch > range.most) {
        fail(argument, "expected max_batch from ", range.least, " to ", range.most,
             " (the range of this network), got ", max_batch);
      }
      session->batch.most = options.max_batch = max_batch;
    }
    options.threads = threads;
    options.isa = asked->isa == nullptr ? "" : asked->isa;
    options.max_bytes = asked->max_bytes;
    options.tune = asked->tune != 0;
    options.pin = asked->pin != 0;
    session->plan = gossamer::Plan::make(file->file, options);
    *out = session.release();
  });
}

void gsm_free(gsm_session* session) { delete session; }

size_t gsm_num_inputs(const gsm_session* session) {
  return session == nullptr ? 0 : session->file->network.inputs.size();
}
size_t gsm_num_outputs(const gsm_session* session) {
  return session == nullptr ? 0 : session->file->network.outputs.size();
}

const char* gsm_input_name(const gsm_session* session, size_t index) {
  if (index >= gsm_num_inputs(session)) return nullptr;
  const gossamer::Network& network = session->file->network;
  return network.values[static_cast<size_t>(network.inputs[index])].name.c_str();
}
const char* gsm_output_name(const gsm_session* session, size_t index) {
  return index < gsm_num_outputs(session) ? session->file->network.outputs[index].first.c_str() : nullptr;
}

int gsm_input_dtype(const gsm_session* session, size_t index) {
  if (index >= gsm_num_inputs(session)) return -1;
  const auto& types = session->file->network.input_types;
  return index < types.size() && types[index] == gossamer::InputType::i64 ? GSM_INT64 : GSM_FLOAT32;
}

static gsm_status give_range(const gsm_session* session, gossamer::Range gsm_session::* range, int64_t* least,
                             int64_t* most) {
  return guarded([&] {
    gossamer::expect_pointer(session, "session");
    gossamer::expect_pointer(least, "least");
    gossamer::expect_pointer(most, "most");
    *least = (session->*range).least;
    *most = (session->*range).most;
  });
}

gsm_status gsm_batch_range(const gsm_session* session, int64_t* least, int64_t* most) {
  return give_range(session, &gsm_session::batch, least, most);
}

gsm_status gsm_length_range(const gsm_session* session, int64_t* least, int64_t* most) {
  return give_range(session, &gsm_session::length, least, most);
}

gsm_status gsm_input_shape(const gsm_session* session, size_t index, int64_t batch, int64_t length, int64_t* shape,
                           size_t* rank) {
  return guarded([&] {
    gossamer::expect_pointer(session, "session");
    const gossamer::Network& network = session->file->network;
    gossamer::check_index(index, network.inputs.size(), "an input");
    gossamer::give_shape(session, network.inputs[index], batch, length, true, shape, rank);
  });
}

gsm_status gsm_output_shape(const gsm_session* session, size_t index, int64_t batch, int64_t length, int64_t* shape,
                            size_t* rank) {
  return guarded([&] {
    gossamer::expect_pointer(session, "session");
    const gossamer::Network& network = session->file->network;
    gossamer::check_index(index, network.outputs.size(), "an output");
    gossamer::give_shape(session, network.outputs[index].second, batch, length, false, shape, rank);
  });
}

gsm_status gsm_run(gsm_session* session, int64_t batch, int64_t length, const void* const* inputs,
                   float* const* outputs) {
  return gossamer::run(session, batch, length, inputs, outputs, false);
}

gsm_status gsm_profile(gsm_session* session, int64_t batch, int64_t length, const void* const* inputs,
                       float* const* outputs) {
  return gossamer::run(session, batch, length, inputs, outputs, true);
}

gsm_status gsm_reset(gsm_session* session) {
  return guarded([&] {
    gossamer::expect_pointer(session, "session");
    std::lock_guard<std::mutex> lock(session->mutex);
    session->plan->reset();
  });
}

gsm_status gsm_describe(gsm_session* session, const char** json) {
  return guarded([&] {
    gossamer::expect_pointer(session, "session");
    gossamer::expect_pointer(json, "json");
    std::lock_guard<std::mutex> lock(session->mutex);
    session->description = gossamer::describe_plan(*session->plan, session->threads);
    *json = session->description.c_str();
  });
}
