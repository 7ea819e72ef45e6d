// The native side of gossamer.kernels.TrainingMatrix: places of a sparse weight and the products with them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "isa.h"
#include "network.h"
#include "products.h"
#include "training_linear.h"

namespace nb = nanobind;
using namespace gossamer;

namespace {

template <typename T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Strided = nb::ndarray<T, nb::ndim<2>, nb::device::cpu>;

template <typename T>
Lanes<T> lanes_of(const Strided<T>& array) {
  return {array.data(), array.stride(0), array.stride(1)};
}

using Starts = Vector<const uint32_t>;

template <typename Index>
void make(TrainingMatrix* matrix, int64_t rows, int64_t cols, int64_t block_rows, int64_t block_cols, Starts row_start,
          Vector<const Index> columns) {
  new (matrix) TrainingMatrix();
  matrix->rows = rows, matrix->cols = cols, matrix->block_rows = block_rows, matrix->block_cols = block_cols;
  matrix->row_start.assign(row_start.data(), row_start.data() + row_start.size());
  if constexpr (sizeof(Index) == 2)
    matrix->columns16.assign(columns.data(), columns.data() + columns.size());
  else
    matrix->columns32.assign(columns.data(), columns.data() + columns.size());
  const std::string refusal = matrix->refusal();
  if (refusal.empty()) return;
  matrix->~TrainingMatrix();
  throw std::invalid_argument(refusal);
}

// call(kernels) without the GIL; exceptions as codes of products.h
template <typename Call>
int guarded(const std::string& isa, const Call& call) {
  nb::gil_scoped_release release;
  try {
    call(*find_kernels(isa));
    return GSM_PRODUCT_OK;
  } catch (const Error&) {
    return GSM_PRODUCT_BAD_ISA;
  } catch (const std::exception&) {
    return GSM_PRODUCT_NO_MEMORY;
  }
}

// The Python class has checked shapes, types and the number of values.
template <typename T>
int linear(const TrainingMatrix& matrix, Vector<const T> values, std::optional<Vector<const T>> bias,
           Strided<const T> x, Strided<T> y, int threads, const std::string& isa) {
  return guarded(isa, [&](const KernelTable& kernels) {
    linear_forward<T>(matrix, kernels, values.data(), bias ? bias->data() : nullptr, lanes_of(x), lanes_of(y),
                      static_cast<int64_t>(x.shape(0)), threads);
  });
}

template <typename T>
int backward(const TrainingMatrix& matrix, Vector<const T> values, Strided<const T> x, Strided<const T> dy,
             std::optional<Strided<T>> dx, Vector<T> gradient, int threads, const std::string& isa) {
  return guarded(isa, [&](const KernelTable& kernels) {
    linear_backward<T>(matrix, kernels, values.data(), lanes_of(x), lanes_of(dy), dx ? lanes_of(*dx) : Lanes<T>{},
                       gradient.data(), static_cast<int64_t>(x.shape(0)), threads);
  });
}

template <typename T>
nb::object view(const std::vector<T>& data, nb::handle owner) {
  return nb::ndarray<nb::numpy, const T, nb::ndim<1>>(data.data(), {data.size()}, owner).cast();
}

template <typename T>
void bind_products_of(nb::class_<TrainingMatrix>& c) {
  c.def("linear", linear<T>, nb::arg("values"), nb::arg("bias").none(), nb::arg("x"), nb::arg("y"), nb::arg("threads"),
        nb::arg("isa"));
  c.def("linear_backward", backward<T>, nb::arg("values"), nb::arg("x"), nb::arg("dy"), nb::arg("dx").none(),
        nb::arg("gradient"), nb::arg("threads"), nb::arg("isa"));
}

}  // namespace

void bind_training(nb::module_& m) {
  nb::class_<TrainingMatrix> c(m, "TrainingMatrix",
                               "Places of a sparse weight, prepared for the products of training.");
  c.def("__init__", make<uint16_t>, nb::arg("rows"), nb::arg("cols"), nb::arg("block_rows"), nb::arg("block_cols"),
        nb::arg("row_start"), nb::arg("columns").noconvert());
  c.def("__init__", make<uint32_t>, nb::arg("rows"), nb::arg("cols"), nb::arg("block_rows"), nb::arg("block_cols"),
        nb::arg("row_start"), nb::arg("columns").noconvert());
  c.def_prop_ro("nbytes", &TrainingMatrix::nbytes);
  c.def_prop_ro("row_start",
                [](nb::handle self) { return view(nb::cast<const TrainingMatrix&>(self).row_start, self); });
  c.def_prop_ro("columns", [](nb::handle self) {
    const TrainingMatrix& matrix = nb::cast<const TrainingMatrix&>(self);
    return matrix.columns32.empty() ? view(matrix.columns16, self) : view(matrix.columns32, self);
  });
  bind_products_of<float>(c);
  bind_products_of<double>(c);
}
