// The face of roof.h in gossamer._native.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <string>

#include "isa.h"
#include "network.h"
#include "roof.h"

namespace nb = nanobind;

namespace {

void check_isa(const std::string& isa) {
  try {
    gossamer::find_kernels(isa);
  } catch (const gossamer::Error& error) {
    throw nb::value_error(error.message.c_str());
  }
}

double peak_flops(const std::string& isa) {
  check_isa(isa);
  nb::gil_scoped_release release;
  return gossamer::peak_flops(isa);
}

double read_rate(nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu> data, const std::string& isa) {
  check_isa(isa);
  nb::gil_scoped_release release;
  return gossamer::read_rate(data.data(), data.shape(0), isa);
}

}  // namespace

void bind_roof(nb::module_& m) {
  m.def("peak_flops", peak_flops, nb::arg("isa"),
        "Floating-point operations a second of fused multiply-adds on registers, one thread.");
  m.def("read_rate", read_rate, nb::arg("data"), nb::arg("isa"),
        nb::sig("def read_rate(data: NDArray[numpy.float32], isa: str) -> float"),
        "Bytes a second of reading an array once, one thread.");
}
