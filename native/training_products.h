// Products of training by the native kernels, as plain C functions: float (dtype 0) and double (dtype 1) arrays.
//
// Letters: R x C = the weight matrix, kept entries as CSR (row_start [R + 1], nnz entries by row); N = batch; f = lane.
// `order`: entry i of the structure has the value values[order[i]]; null = values[i]. With the entries by column
// (starts, rows, order) the same functions multiply by the transposed matrix without moving a value.
// Results are codes of products.h.
#pragma once
#include <cstdint>

// Linear layers, batch-major as torch stores them: y [n][rows] = x [n][width] times the transposed matrix.
extern "C" int gsm_linear_product(int dtype, const void* values, int64_t num_values, const uint32_t* order,
                                  const uint32_t* row_start, const uint32_t* columns, int64_t rows, int64_t width,
                                  const void* x, int64_t n, void* y, const char* isa);
// gradient [nnz], of the kept entries only: the sum over n of dy [n][row] * x [n][column]
extern "C" int gsm_linear_sddmm(int dtype, const uint32_t* row_start, const uint32_t* columns, int64_t rows,
                                int64_t width, const void* dy, const void* x, int64_t n, void* gradient,
                                const char* isa);
