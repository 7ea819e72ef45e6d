// Single products by the native kernels, as plain C functions over row-major arrays: for tests, micro-benchmarks and
// compact training. The matrix is CSR: values[i] of row r stand at columns[i], row_start[r] <= i < row_start[r + 1].
// isa: "" = best.
#pragma once
#include <cstdint>

enum gsm_product_status {
  GSM_PRODUCT_OK = 0,
  GSM_PRODUCT_BAD_ISA = 1,
  GSM_PRODUCT_BAD_INDEX = 2,
  GSM_PRODUCT_NO_MEMORY = 3,
  GSM_PRODUCT_NO_THREADS = 4
};

// y [rows][n] = matrix times x [columns][n]
extern "C" int gsm_spmm(const float* values, const uint32_t* row_start, const uint32_t* columns, int64_t rows,
                        int64_t width, const float* x, int64_t n, float* y, const char* isa);
// y [rows] = matrix times x [width]
extern "C" int gsm_spmv(const float* values, const uint32_t* row_start, const uint32_t* columns, int64_t rows,
                        int64_t width, const float* x, float* y, const char* isa);
