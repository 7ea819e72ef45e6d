// The native side of gossamer.kernels.TrainingMatrix: places of a sparse weight and the products with them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <array>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "isa.h"
#include "network.h"
#include "products.h"
#include "training_conv.h"
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
    matrix->columns16 = {columns.data(), columns.size()};
  else
    matrix->columns32 = {columns.data(), columns.size()};
  const std::string refusal = matrix->refusal();
  if (refusal.empty()) return;
  matrix->~TrainingMatrix();
  throw std::invalid_argument(refusal);
}

// call(kernels) without the GIL; exceptions as codes of products.h
template <typename Call>
int guarded(const std::string& isa, const Call& call) {
  nb::gil_scoped_release release;
  const KernelTable* kernels = nullptr;
  try {
    kernels = find_kernels(isa);
  } catch (const Error&) {
    return GSM_PRODUCT_BAD_ISA;
  }
  try {
    call(*kernels);
    return GSM_PRODUCT_OK;
  } catch (const Error&) {
    return GSM_PRODUCT_NO_THREADS;
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
using Tensor = nb::ndarray<T, nb::ndim<4>, nb::device::cpu>;  // [N, C, H, W] or, channels last, [N, H, W, C] in memory

// Where both layouts are one (one channel, or one pixel), either reads it right.
template <typename T>
Images<T> images_of(const Tensor<T>& tensor) {
  return {tensor.data(), tensor.shape(1) > 1 && tensor.shape(2) * tensor.shape(3) > 1 && tensor.stride(1) == 1};
}
// geometry: kernel, stride, padding, dilation, of the height and the width each
ConvShape shape_of(size_t n, size_t channels, size_t height, size_t width, const std::array<int64_t, 8>& geometry,
                   int64_t groups) {
  ConvShape shape;
  shape.n = static_cast<int64_t>(n), shape.channels = static_cast<int64_t>(channels), shape.groups = groups;
  shape.height = {static_cast<int64_t>(height), geometry[0], geometry[2], geometry[4], geometry[6]};
  shape.width = {static_cast<int64_t>(width), geometry[1], geometry[3], geometry[5], geometry[7]};
  return shape;
}

template <typename T>
int conv(const TrainingMatrix& matrix, Vector<const T> values, const std::array<int64_t, 8>& geometry, int64_t groups,
         Tensor<const T> x, Tensor<T> y, int threads, const std::string& isa) {
  return guarded(isa, [&](const KernelTable& kernels) {
    const ConvShape shape = shape_of(x.shape(0), x.shape(1), x.shape(2), x.shape(3), geometry, groups);
    conv_forward<T>(matrix, kernels, shape, values.data(), images_of(x), images_of(y), threads);
  });
}

template <typename T>
int conv_back(const TrainingMatrix& matrix, Vector<const T> values, const std::array<int64_t, 8>& geometry,
              int64_t groups, Tensor<const T> x, Tensor<const T> dy, std::optional<Tensor<T>> dx, Vector<T> gradient,
              int threads, const std::string& isa) {
  return guarded(isa, [&](const KernelTable& kernels) {
    const ConvShape shape = shape_of(x.shape(0), x.shape(1), x.shape(2), x.shape(3), geometry, groups);
    conv_backward<T>(matrix, kernels, shape, values.data(), images_of(x), images_of(dy),
                     dx ? images_of(*dx) : Images<T>{}, gradient.data(), threads);
  });
}

template <typename List>
nb::object view(const List& list, nb::handle owner) {
  using T = std::remove_reference_t<decltype(*list.data())>;
  return nb::ndarray<nb::numpy, T, nb::ndim<1>>(list.data(), {list.size()}, owner).cast();
}

template <typename T>
void bind_products_of(nb::class_<TrainingMatrix>& c) {
  c.def("linear", linear<T>, nb::arg("values"), nb::arg("bias").none(), nb::arg("x"), nb::arg("y"), nb::arg("threads"),
        nb::arg("isa"));
  c.def("linear_backward", backward<T>, nb::arg("values"), nb::arg("x"), nb::arg("dy"), nb::arg("dx").none(),
        nb::arg("gradient"), nb::arg("threads"), nb::arg("isa"));
  c.def("conv", conv<T>, nb::arg("values"), nb::arg("geometry"), nb::arg("groups"), nb::arg("x"), nb::arg("y"),
        nb::arg("threads"), nb::arg("isa"));
  c.def("conv_backward", conv_back<T>, nb::arg("values"), nb::arg("geometry"), nb::arg("groups"), nb::arg("x"),
        nb::arg("dy"), nb::arg("dx").none(), nb::arg("gradient"), nb::arg("threads"), nb::arg("isa"));
}

}  // namespace

void bind_training(nb::module_& m) {
  nb::class_<TrainingMatrix> c(m, "TrainingMatrix",
                               "Places of a sparse weight, prepared for the products of training.");
  c.def("__init__", make<uint16_t>, nb::arg("rows"), nb::arg("cols"), nb::arg("block_rows"), nb::arg("block_cols"),
        nb::arg("row_start"), nb::arg("columns").noconvert(), nb::keep_alive<1, 7>());
  c.def("__init__", make<uint32_t>, nb::arg("rows"), nb::arg("cols"), nb::arg("block_rows"), nb::arg("block_cols"),
        nb::arg("row_start"), nb::arg("columns").noconvert(), nb::keep_alive<1, 7>());
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
