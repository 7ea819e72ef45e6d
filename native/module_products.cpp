// The faces of single products (products.h) in gossamer._native.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "products.h"
#include "training_products.h"

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

// Products of training come in float and double: one template a product, bound twice under one name.
template <typename T>
using Optional = std::optional<T>;
template <typename T>
constexpr int dtype_of = sizeof(T) == 8;

const uint32_t* data_of(const Optional<Vector<const uint32_t>>& order) { return order ? order->data() : nullptr; }
bool entries_fit(const Vector<const uint32_t>& row_start, const Vector<const uint32_t>& entries, size_t rows) {
  return row_start.shape(0) == rows + 1 && row_start.data()[rows] == entries.shape(0);
}

template <typename T>
int linear_product(Vector<const T> values, Optional<Vector<const uint32_t>> order, Vector<const uint32_t> row_start,
                   Vector<const uint32_t> columns, Matrix<const T> x, Matrix<T> y, const std::string& isa) {
  if (!entries_fit(row_start, columns, y.shape(1)) || x.shape(0) != y.shape(0) ||
      (order && order->shape(0) != columns.shape(0)))
    return bad_shape;
  nb::gil_scoped_release release;
  return gsm_linear_product(dtype_of<T>, values.data(), static_cast<int64_t>(values.shape(0)), data_of(order),
                            row_start.data(), columns.data(), static_cast<int64_t>(y.shape(1)),
                            static_cast<int64_t>(x.shape(1)), x.data(), static_cast<int64_t>(x.shape(0)), y.data(),
                            isa.c_str());
}

template <typename T>
int linear_sddmm(Vector<const uint32_t> row_start, Vector<const uint32_t> columns, Matrix<const T> dy,
                 Matrix<const T> x, Vector<T> gradient, const std::string& isa) {
  if (!entries_fit(row_start, columns, dy.shape(1)) || x.shape(0) != dy.shape(0) ||
      gradient.shape(0) != columns.shape(0))
    return bad_shape;
  nb::gil_scoped_release release;
  return gsm_linear_sddmm(dtype_of<T>, row_start.data(), columns.data(), static_cast<int64_t>(dy.shape(1)),
                          static_cast<int64_t>(x.shape(1)), dy.data(), x.data(), static_cast<int64_t>(x.shape(0)),
                          gradient.data(), isa.c_str());
}

template <typename T>
void bind_training(nb::module_& m) {
  m.def("linear_product", linear_product<T>, nb::arg("values"), nb::arg("order").none(), nb::arg("row_start"),
        nb::arg("columns"), nb::arg("x"), nb::arg("y"), nb::arg("isa"),
        "Writes x [N, C] times the transposed matrix into y [N, R]; 0, or the code of a refusal.");
  m.def("linear_sddmm", linear_sddmm<T>, nb::arg("row_start"), nb::arg("columns"), nb::arg("dy"), nb::arg("x"),
        nb::arg("gradient"), nb::arg("isa"),
        "Writes the gradient of the kept entries for dy [N, R] and x [N, C]; 0, or the code of a refusal.");
}

}  // namespace

void bind_products(nb::module_& m) {
  bind_training<float>(m);
  bind_training<double>(m);
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
