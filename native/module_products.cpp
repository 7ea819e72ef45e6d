// The faces of single products (products.h) in gossamer._native.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <string>

#include "products.h"

namespace nb = nanobind;

namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

constexpr int bad_shape = -1;

bool fits(const Vector<const float>& values, const Vector<const uint32_t>& row_start,
          const Vector<const uint32_t>& columns, size_t rows) {
  return row_start.shape(0) == rows + 1 && values.shape(0) == columns.shape(0) &&
         row_start.data()[rows] == values.shape(0);
}

int spmm(Vector<const float> values, Vector<const uint32_t> row_start, Vector<const uint32_t> columns,
         Matrix<const float> x, Matrix<float> y, const std::string& isa) {
  if (!fits(values, row_start, columns, y.shape(0)) || x.shape(1) != y.shape(1)) return bad_shape;
  nb::gil_scoped_release release;
  return gsm_spmm(values.data(), row_start.data(), columns.data(), static_cast<int64_t>(y.shape(0)),
                  static_cast<int64_t>(x.shape(0)), x.data(), static_cast<int64_t>(x.shape(1)), y.data(), isa.c_str());
}

int spmv(Vector<const float> values, Vector<const uint32_t> row_start, Vector<const uint32_t> columns,
         Vector<const float> x, Vector<float> y, const std::string& isa) {
  if (!fits(values, row_start, columns, y.shape(0))) return bad_shape;
  nb::gil_scoped_release release;
  return gsm_spmv(values.data(), row_start.data(), columns.data(), static_cast<int64_t>(y.shape(0)),
                  static_cast<int64_t>(x.shape(0)), x.data(), y.data(), isa.c_str());
}

}  // namespace

void bind_products(nb::module_& m) {
  m.def("spmm", spmm, nb::arg("values"), nb::arg("row_start"), nb::arg("columns"), nb::arg("x"), nb::arg("y"),
        nb::arg("isa"),
        nb::sig("def spmm(values: NDArray[numpy.float32], row_start: NDArray[numpy.uint32], columns: "
                "NDArray[numpy.uint32], x: NDArray[numpy.float32], "
                "y: NDArray[numpy.float32], isa: str) -> int"),
        "Writes the CSR matrix times x [C, N] into y [R, N]; 0, or the code of a refusal (products.h; -1: shapes).");
  m.def("spmv", spmv, nb::arg("values"), nb::arg("row_start"), nb::arg("columns"), nb::arg("x"), nb::arg("y"),
        nb::arg("isa"),
        nb::sig("def spmv(values: NDArray[numpy.float32], row_start: NDArray[numpy.uint32], columns: "
                "NDArray[numpy.uint32], x: NDArray[numpy.float32], "
                "y: NDArray[numpy.float32], isa: str) -> int"),
        "Writes the CSR matrix times the vector x [C] into y [R]; 0, or the code of a refusal.");
}
