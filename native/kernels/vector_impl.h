// Matrix times one vector (batch 1), and the turn between [m][k] and interleaved [k][m] that serves larger batches.
//
// Sparse rows gather their operands. Four u16 columns are read as one 64-bit word and taken apart by shifts: on Zen 3
// that was measured 1.7 to 1.85 times faster than vgatherdps. The AVX-512 unit uses the hardware gather: 0.30 against
// 0.32 ns an entry for the software one (Xeon, 4096x1024 at 90 %). Blocks of 8 rows need no gather.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace gossamer {
namespace {

template <typename Index>
float gathered_dot(const float* x, const Index* columns, const float* values, uint32_t i, uint32_t end) {
  float total = 0.0f;
#if defined(GSM_UNIT_AVX512)
  if (end - i >= 16) {
    __m512 acc = _mm512_setzero_ps();
    for (; i + 16 <= end; i += 16) {
      __m512i index;
      if constexpr (sizeof(Index) == 2)
        index = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns + i)));
      else
        index = _mm512_loadu_si512(columns + i);
      acc = _mm512_fmadd_ps(_mm512_loadu_ps(values + i), _mm512_i32gather_ps(index, x, 4), acc);
    }
    total = sum((V)acc);
  }
#else
  float a0 = 0.0f, a1 = 0.0f, a2 = 0.0f, a3 = 0.0f;
#if defined(GSM_UNIT_AVX2)
  if constexpr (sizeof(Index) == 2) {
    V acc = {};
    for (; i + 8 <= end; i += 8) {
      uint64_t low, high;
      __builtin_memcpy(&low, columns + i, 8);
      __builtin_memcpy(&high, columns + i + 4, 8);
      const V operand = {x[low & 0xFFFF],  x[(low >> 16) & 0xFFFF],  x[(low >> 32) & 0xFFFF],  x[low >> 48],
                         x[high & 0xFFFF], x[(high >> 16) & 0xFFFF], x[(high >> 32) & 0xFFFF], x[high >> 48]};
      acc = fma(load(values + i), operand, acc);
    }
    total = sum(acc);
  }
#endif
  for (; i + 4 <= end; i += 4) {
    a0 += values[i] * x[columns[i]];
    a1 += values[i + 1] * x[columns[i + 1]];
    a2 += values[i + 2] * x[columns[i + 2]];
    a3 += values[i + 3] * x[columns[i + 3]];
  }
  total += (a0 + a1) + (a2 + a3);
#endif
  for (; i < end; ++i) total += values[i] * x[columns[i]];
  return total;
}

template <typename Index>
void spmv_rows(const SpmvArgs& a) {
  const Index* columns = static_cast<const Index*>(a.columns);
  for (int64_t row = a.row_begin; row < a.row_end; ++row) {
    const float dot = gathered_dot<Index>(a.x, columns, a.values, a.row_start[row], a.row_start[row + 1]);
    a.y[row] = clamp((a.bias ? a.bias[row] : 0.0f) + dot, a.lo, a.hi);
  }
}
void spmv(const SpmvArgs* a) {
  if (a->wide)
    spmv_rows<uint32_t>(*a);
  else
    spmv_rows<uint16_t>(*a);
}

// Eight rows as one vector of 32 bytes or two of 16; four chains, because one multiply-add waits for the one before.
// From the second-level cache on, reading the values bounds it (4096x1024 at 90 %: 28 GB/s): two chains of 16-byte
// halves were as fast there.
constexpr int kEightBytes = kBytes >= 32 ? 32 : 16, kParts = 32 / kEightBytes, kPart = kEightBytes / 4;
typedef float E __attribute__((vector_size(kEightBytes)));
typedef float EU __attribute__((vector_size(kEightBytes), aligned(4), may_alias));

GSM_INLINE E fma_eight(E a, E b, E c) {
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  return _mm256_fmadd_ps(a, b, c);
#else
  return fma(a, b, c);
#endif
}

void spmv8(const Spmv8Args* a) {
  for (int64_t b = a->block_begin; b < a->block_end; ++b) {
    E acc[4][kParts] = {};
    uint32_t j = a->block_start[b];
    const uint32_t end = a->block_start[b + 1];
    const float* v = a->values + int64_t{j} * 8;
    for (; j + 4 <= end; j += 4, v += 32) {
#pragma GCC unroll 4
      for (int chain = 0; chain < 4; ++chain) {
        const E x = E{} + a->x[a->columns[j + chain]];
#pragma GCC unroll 2
        for (int p = 0; p < kParts; ++p)
          acc[chain][p] = fma_eight(*reinterpret_cast<const EU*>(v + chain * 8 + p * kPart), x, acc[chain][p]);
      }
    }
    for (; j < end; ++j, v += 8) {
      const E x = E{} + a->x[a->columns[j]];
#pragma GCC unroll 2
      for (int p = 0; p < kParts; ++p) acc[0][p] = fma_eight(*reinterpret_cast<const EU*>(v + p * kPart), x, acc[0][p]);
    }
    for (int p = 0; p < kParts; ++p) {
      const E total = (acc[0][p] + acc[1][p]) + (acc[2][p] + acc[3][p]);
      for (int i = 0; i < kPart; ++i) {
        const int64_t row = b * 8 + p * kPart + i;
        a->y[row] = clamp((a->bias ? a->bias[row] : 0.0f) + total[i], a->lo, a->hi);
      }
    }
  }
}

void gemv(const GemvArgs* a) {
  const int64_t whole = a->k / L * L;
  for (int64_t row = a->row_begin; row < a->row_end; row += 4) {
    const int64_t rows = a->row_end - row < 4 ? a->row_end - row : 4;
    const float* w[4];
    for (int64_t r = 0; r < 4; ++r) w[r] = a->weight + (row + (r < rows ? r : 0)) * a->k;
    V acc[4] = {};
    for (int64_t k = 0; k < whole; k += L) {
      const V x = load(a->x + k);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) acc[r] = fma(load(w[r] + k), x, acc[r]);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float dot = sum(acc[r]);
      for (int64_t k = whole; k < a->k; ++k) dot += w[r][k] * a->x[k];
      a->y[row + r] = clamp((a->bias ? a->bias[row + r] : 0.0f) + dot, a->lo, a->hi);
    }
  }
}

void interleave(const float* x, float* y, int64_t m, int64_t k, int64_t stride) {
  for (int64_t j = 0; j < k; ++j) {
    float* out = y + j * stride;
    for (int64_t i = 0; i < m; ++i) out[i] = x[i * k + j];
    for (int64_t i = m; i < stride; ++i) out[i] = 0.0f;
  }
}
void deinterleave(const float* y, float* x, int64_t m, int64_t k, int64_t stride) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < k; ++j) x[i * k + j] = y[j * stride + i];
}
}  // namespace
}  // namespace gossamer
