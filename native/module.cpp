// The Python module gossamer._native: a thin skin over capi.h, and the faces of single native operations (kernels/).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "capi.h"
#include "project.h"

namespace nb = nanobind;

namespace {

using Input = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Integers = nb::ndarray<const int64_t, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::numpy, float, nb::c_contig>;
using Shape = std::vector<int64_t>;

// Carries a failure of the C interface to Python, where it becomes gossamer._native.Error(kind, message).
struct Failure {
  int kind;
  std::string message;
};

void check(gsm_status status) {
  if (status != GSM_OK) throw Failure{status, gsm_last_error()};
}

[[noreturn]] void refuse(const std::string& message) { throw Failure{GSM_ARGUMENT, message}; }

nb::object decode(const char* text) {
  PyObject* string =
      PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::char_traits<char>::length(text)), "replace");
  if (string == nullptr) throw nb::python_error();
  return nb::steal(string);
}

std::string words(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

class File {
 public:
  explicit File(nb::object source) {
    gsm_file* file = nullptr;
    if (PyObject_CheckBuffer(source.ptr())) {
      Py_buffer view;
      if (PyObject_GetBuffer(source.ptr(), &view, PyBUF_SIMPLE) != 0) throw nb::python_error();
      gsm_status status;
      {
        nb::gil_scoped_release release;
        status = gsm_open_bytes(view.buf, static_cast<size_t>(view.len), &file);
      }
      PyBuffer_Release(&view);
      check(status);
    } else {
      PyObject* encoded = nullptr;  // str or os.PathLike -> bytes; refuses NUL characters
      if (PyUnicode_FSConverter(source.ptr(), &encoded) == 0) throw nb::python_error();
      nb::object keep = nb::steal(encoded);
      const char* path = PyBytes_AsString(encoded);
      gsm_status status;
      {
        nb::gil_scoped_release release;
        status = gsm_open(path, &file);
      }
      check(status);
    }
    file_.reset(file, gsm_close);
  }
  nb::object manifest() const { return decode(gsm_manifest(file_.get())); }
  gsm_file* get() const { return file_.get(); }

 private:
  std::shared_ptr<gsm_file> file_;
};

class Session {
 public:
  Session(const File& file, int threads, int64_t max_batch, const std::string& isa, size_t max_bytes, bool tune,
          bool pin) {
    gsm_options options = GSM_OPTIONS;
    options.threads = threads;
    options.max_batch = max_batch;
    options.isa = isa.c_str();
    options.max_bytes = max_bytes;
    options.tune = tune;
    options.pin = pin;
    gsm_session* session = nullptr;
    gsm_status status;
    {
      nb::gil_scoped_release release;
      status = gsm_plan_with(file.get(), &options, &session);
    }
    check(status);
    session_.reset(session);
  }

  std::vector<Shape> input_shapes(int64_t batch, int64_t length) const {
    return shapes(gsm_num_inputs(session_.get()), gsm_input_shape, batch, length);
  }
  std::vector<Shape> output_shapes(int64_t batch, int64_t length) const {
    return shapes(gsm_num_outputs(session_.get()), gsm_output_shape, batch, length);
  }
  nb::list run(nb::sequence inputs, int64_t batch, int64_t length) { return call(gsm_run, inputs, batch, length); }
  nb::list profile(nb::sequence inputs, int64_t batch, int64_t length) {
    return call(gsm_profile, inputs, batch, length);
  }
  void reset() { check(gsm_reset(session_.get())); }

  nb::object describe() const {
    const char* json = nullptr;
    check(gsm_describe(session_.get(), &json));
    return decode(json);  // copied while the GIL is held: no other describe can replace it
  }

 private:
  struct Free {
    void operator()(gsm_session* session) const { gsm_free(session); }
  };

  using ShapeOf = gsm_status (*)(const gsm_session*, size_t, int64_t, int64_t, int64_t*, size_t*);
  std::vector<Shape> shapes(size_t count, ShapeOf shape_of, int64_t batch, int64_t length) const {
    std::vector<Shape> out;
    for (size_t i = 0; i < count; ++i) {
      int64_t sizes[GSM_MAX_RANK];
      size_t rank = 0;
      check(shape_of(session_.get(), i, batch, length, sizes, &rank));
      out.emplace_back(sizes, sizes + rank);
    }
    return out;
  }

  // Shapes of the sizes of the last call: most calls are like the one before.
  void prepare(int64_t batch, int64_t length) {
    if (batch == batch_ && length == length_) return;
    batch_ = -1;
    expected_ = input_shapes(batch, length);
    given_ = output_shapes(batch, length);
    batch_ = batch;
    length_ = length;
  }

  template <typename T>
  const void* checked(const nb::ndarray<const T, nb::c_contig, nb::device::cpu>& array, size_t index) const {
    const Shape& want = expected_[index];
    bool fits = array.ndim() == want.size();
    for (size_t d = 0; fits && d < want.size(); ++d) fits = static_cast<int64_t>(array.shape(d)) == want[d];
    if (fits) return array.data();
    Shape shape;
    for (size_t d = 0; d < array.ndim(); ++d) shape.push_back(static_cast<int64_t>(array.shape(d)));
    refuse("input " + std::to_string(index) + ": expected shape " + words(want) + ", got " + words(shape));
  }

  nb::list call(gsm_status (*function)(gsm_session*, int64_t, int64_t, const void* const*, float* const*),
                const nb::sequence& inputs, int64_t batch, int64_t length) {
    prepare(batch, length);
    const std::vector<Shape> outputs = given_;  // another thread may ask for others while the GIL is away
    std::vector<Input> floats;                  // keep the inputs alive while the GIL is away
    std::vector<Integers> integers;
    std::vector<const void*> in;
    if (nb::len(inputs) != expected_.size())
      refuse("expected " + std::to_string(expected_.size()) + " inputs, got " + std::to_string(nb::len(inputs)));
    for (nb::handle item : inputs) {
      const size_t index = in.size();
      Input array;
      Integers whole;
      if (item.is_none()) {  // a state; the library refuses others
        in.push_back(nullptr);
      } else if (gsm_input_dtype(session_.get(), index) == GSM_INT64) {
        if (!nb::try_cast<Integers>(item, whole, /* convert */ false)) wrong_array(index, "int64");
        in.push_back(checked<int64_t>(whole, index));
        integers.push_back(std::move(whole));
      } else {
        if (!nb::try_cast<Input>(item, array, /* convert */ false)) wrong_array(index, "float32");
        in.push_back(checked<float>(array, index));
        floats.push_back(std::move(array));
      }
    }
    nb::list results;
    std::vector<float*> out;
    for (const Shape& shape : outputs) {
      size_t elements = 1, sizes[GSM_MAX_RANK];
      for (size_t d = 0; d < shape.size(); ++d) elements *= sizes[d] = static_cast<size_t>(shape[d]);
      std::unique_ptr<float[]> buffer(new (std::nothrow) float[elements]);  // not zeroed: the run writes every element
      float* data = buffer.get();
      if (data == nullptr)
        throw Failure{GSM_MEMORY,
                      "expected memory for an output of shape " + words(shape) + ", got none; choose a smaller batch"};
      nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
      static_cast<void>(buffer.release());  // the capsule owns it now
      results.append(Output(data, shape.size(), sizes, owner).cast());
      out.push_back(data);
    }
    gsm_status status;
    {
      nb::gil_scoped_release release;
      status = function(session_.get(), batch, length, in.data(), out.data());
    }
    check(status);
    return results;
  }

  [[noreturn]] static void wrong_array(size_t index, const std::string& dtype) {
    refuse("input " + std::to_string(index) + ": expected a C-contiguous " + dtype +
           " array, got something else; use numpy.ascontiguousarray(x, dtype=numpy." + dtype + ")");
  }

  std::vector<Shape> expected_, given_;
  int64_t batch_ = -1, length_ = -1;
  std::unique_ptr<gsm_session, Free> session_;
};

using Scores = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Mask = nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// The exact projection onto gather-scatter masks (project.h); writes mask, returns 0 or the code of a refusal.
int project_gs(Scores scores, std::optional<Bytes> keep, int64_t banks, int64_t per_row, int64_t bundles, Mask mask) {
  auto same = [&](const auto& other) { return other.shape(0) == scores.shape(0) && other.shape(1) == scores.shape(1); };
  if (!same(mask) || (keep && !same(*keep))) refuse("expected keep and mask of the shape of scores, got others");
  const uint8_t* kept = keep ? keep->data() : nullptr;
  nb::gil_scoped_release release;
  return gsm_project_gs(scores.data(), kept, static_cast<int64_t>(scores.shape(0)),
                        static_cast<int64_t>(scores.shape(1)), banks, per_row, bundles, mask.data());
}

void translate(const std::exception_ptr& pointer, void* type) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Failure& failure) {
    nb::object message = decode(failure.message.c_str());
    nb::object error = nb::handle(static_cast<PyObject*>(type))(message);
    error.attr("kind") = failure.kind;
    error.attr("message") = message;
    PyErr_SetObject(static_cast<PyObject*>(type), error.ptr());
  }
}

}  // namespace

void bind_products(nb::module_& m);  // module_products.cpp
void bind_roof(nb::module_& m);      // module_roof.cpp
void bind_training(nb::module_& m);  // module_training.cpp

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // a graph of autograd alive at exit holds places
  m.doc() = "Gossamer's native runtime: reads, checks, plans and runs packed files.";

  PyObject* error = PyErr_NewExceptionWithDoc("gossamer._native.Error",
                                              "A failure of the native runtime: .kind (a code of capi.h), .message.",
                                              nullptr, nullptr);
  if (error == nullptr) throw nb::python_error();
  m.attr("Error") = nb::steal(error);  // the module keeps it alive as long as the translator may run
  nb::register_exception_translator(translate, error);
  nb::dict kinds;
  kinds["io"] = static_cast<int>(GSM_IO);
  kinds["format"] = static_cast<int>(GSM_FORMAT);
  kinds["graph"] = static_cast<int>(GSM_GRAPH);
  kinds["plan"] = static_cast<int>(GSM_PLAN);
  kinds["argument"] = static_cast<int>(GSM_ARGUMENT);
  kinds["memory"] = static_cast<int>(GSM_MEMORY);
  m.attr("KINDS") = kinds;

  nb::class_<File>(m, "File", "A checked packed file; may be shared by sessions and threads.")
      .def(nb::init<nb::object>(), nb::arg("source"), "Read and check a file, given by its path or as bytes.")
      .def_prop_ro("manifest", &File::manifest, nb::sig("def manifest(self) -> str"), "The manifest, a JSON text.");

  nb::class_<Session>(m, "Session",
                      "A plan of a file with its memory; calls from several threads run one after the other.")
      .def(nb::init<const File&, int, int64_t, const std::string&, size_t, bool, bool>(), nb::arg("file"),
           nb::arg("threads") = 1, nb::arg("max_batch") = 0, nb::arg("isa") = "", nb::arg("max_bytes") = 0,
           nb::arg("tune") = false, nb::arg("pin") = false,
           "0 stands for: the network's own range, the machine's memory; an empty isa for the best one.")
      .def("input_shapes", &Session::input_shapes, nb::arg("batch"), nb::arg("length") = 0)
      .def("output_shapes", &Session::output_shapes, nb::arg("batch"), nb::arg("length") = 0)
      .def("run", &Session::run, nb::arg("inputs"), nb::arg("batch"), nb::arg("length") = 0,
           nb::sig("def run(self, inputs: collections.abc.Sequence[NDArray[numpy.float32] | NDArray[numpy.int64] | "
                   "None], batch: int, length: int = 0) -> list[NDArray[numpy.float32]]"),
           "Outputs of one call; the GIL is released. None for a state: what the call before left.")
      .def("profile", &Session::profile, nb::arg("inputs"), nb::arg("batch"), nb::arg("length") = 0,
           nb::sig("def profile(self, inputs: collections.abc.Sequence[NDArray[numpy.float32] | NDArray[numpy.int64] "
                   "| None], batch: int, length: int = 0) -> list[NDArray[numpy.float32]]"),
           "The same; afterwards describe() holds the seconds of every layer.")
      .def("reset", &Session::reset, "States become zero.")
      .def("describe", &Session::describe, nb::sig("def describe(self) -> str"),
           "JSON text: instruction set, memory, one row a layer.");

  m.def(
      "build_info", [] { return decode(gsm_build_info()); }, nb::sig("def build_info() -> str"),
      "JSON text: version, compiler, instruction sets built and available.");
  m.def("project_gs", project_gs, nb::arg("scores"), nb::arg("keep").none(), nb::arg("banks"), nb::arg("per_row"),
        nb::arg("bundles"), nb::arg("mask"),
        nb::sig("def project_gs(scores: NDArray[numpy.float64], keep: NDArray[numpy.uint8] | None, banks: int, "
                "per_row: int, bundles: int, mask: NDArray[numpy.uint8]) -> int"),
        "Writes the best gather-scatter mask of `bundles` bundles into mask; 0, or the code of a refusal.");
  bind_products(m);
  bind_roof(m);
  bind_training(m);
}
