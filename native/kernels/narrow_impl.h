// Small batches: the matrix times 2 to 8 interleaved vectors, x [columns][W] and y [rows][W] with W = 4 or 8. A weight
// costs one broadcast and one multiply-add with a load, no gather: about what it costs at batch 1. The streams are
// those of the matrix-times-vector kernels.
#pragma once
#include "stored_impl.h"

namespace gossamer {
namespace {

typedef float Four __attribute__((vector_size(16)));
typedef float FourU __attribute__((vector_size(16), aligned(4), may_alias));

GSM_INLINE void narrow_fma(Four& acc, float value, const float* x) {
  const Four operand = *reinterpret_cast<const FourU*>(x), weight = Four{value, value, value, value};
#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_AVX2)
  acc = _mm_fmadd_ps(weight, operand, acc);
#elif defined(GSM_UNIT_NEON)
  acc = (Four)vfmaq_f32((float32x4_t)acc, (float32x4_t)weight, (float32x4_t)operand);
#else
  acc = weight * operand + acc;
#endif
}
GSM_INLINE void narrow_fma(Eight& acc, float value, const float* x) { fma8(acc, splat8(value), load8(x)); }
GSM_INLINE Four narrow_add(Four a, Four b) { return a + b; }
GSM_INLINE Eight narrow_add(const Eight& a, const Eight& b) { return add8(a, b); }

GSM_INLINE void narrow_store(const VectorArgs& a, int64_t row, Four total) {
  const float bias = a.bias ? a.bias[row] : 0.0f;
  const Four lo = {a.lo, a.lo, a.lo, a.lo}, hi = {a.hi, a.hi, a.hi, a.hi};
  total = Four{bias, bias, bias, bias} + total;
  total = total < lo ? lo : total;
  *reinterpret_cast<FourU*>(a.y + row * 4) = total > hi ? hi : total;
}
GSM_INLINE void narrow_store(const VectorArgs& a, int64_t row, const Eight& total) {
  VectorArgs wide = a;
  const float bias = a.bias ? a.bias[row] : 0.0f;
  wide.bias = nullptr;
  finish8(wide, row * 8, add8(splat8(bias), total));
}

// Eight values as floats; one half a time would cost a conversion each.
GSM_INLINE const float* widen(const float* v, float*) { return v; }
GSM_INLINE const float* widen(const Half* v, float* room) {
  store8(room, load8(v));
  return room;
}

template <typename N>
constexpr int64_t kNarrow = sizeof(N) / 4;

// ------------------------------------------------------------------------------------------------------------- rows
template <typename T, typename Index, typename N>
void narrow_rows_loop(const VectorArgs& a) {
  const Index* columns = static_cast<const Index*>(a.columns);
  const T* values = values_of<T>(a);
  for (int64_t row = a.begin; row < a.end; ++row) {
    N acc[4] = {};
    int64_t i = a.start[row];
    const int64_t end = a.start[row + 1];
    for (; i + 8 <= end; i += 8) {
      ahead(values + i);
      ahead(columns + i);
      float room[8];
      const float* v = widen(values + i, room);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) narrow_fma(acc[j % 4], v[j], a.x + int64_t{columns[i + j]} * kNarrow<N>);
    }
    for (; i < end; ++i) narrow_fma(acc[0], value_of(values[i]), a.x + int64_t{columns[i]} * kNarrow<N>);
    narrow_store(a, row, narrow_add(narrow_add(acc[0], acc[1]), narrow_add(acc[2], acc[3])));
  }
}

// ------------------------------------------------------------------------------- bundles, windows, blocks of eight
// rows Lane i of every bundle has its own accumulator; column(j, i) is its column in bundle j.
template <typename T, typename N, typename Column>
GSM_INLINE void narrow_lanes(const VectorArgs& a, Column column) {
  for (int64_t unit = a.begin; unit < a.end; ++unit) {
    N acc[8] = {};
    for (int64_t j = a.start[unit]; j < a.start[unit + 1]; ++j) {
      ahead(values_of<T>(a) + 8 * j);
      float room[8];
      const float* v = widen(values_of<T>(a) + 8 * j, room);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) narrow_fma(acc[i], v[i], a.x + column(j, i) * kNarrow<N>);
    }
    for (int per_row = 1; per_row < a.per_row; per_row *= 2)
      for (int i = 0; i < 8; i += 2 * per_row) acc[i] = narrow_add(acc[i], acc[i + per_row]);
    for (int i = 0; i < 8; i += a.per_row) narrow_store(a, (unit * 8 + i) / a.per_row, acc[i]);
  }
}

template <VectorKernel kKernel, typename T, typename N>
void narrow(const VectorArgs* args) {
  const VectorArgs& a = *args;
  const uint16_t* narrow_columns = static_cast<const uint16_t*>(a.columns);
  const uint32_t* wide_columns = static_cast<const uint32_t*>(a.columns);
  const uint8_t* quotients = static_cast<const uint8_t*>(a.columns);
  if constexpr (kKernel == kRows) {
    return a.wide ? narrow_rows_loop<T, uint32_t, N>(a) : narrow_rows_loop<T, uint16_t, N>(a);
  } else if constexpr (kKernel == kBundles) {
    if (a.wide == 2)
      return narrow_lanes<T, N>(a, [=](int64_t j, int i) { return int64_t{quotients[8 * j + i]} * 8 + i; });
    if (a.wide) return narrow_lanes<T, N>(a, [=](int64_t j, int i) { return int64_t{wide_columns[8 * j + i]}; });
    return narrow_lanes<T, N>(a, [=](int64_t j, int i) { return int64_t{narrow_columns[8 * j + i]}; });
  } else if constexpr (kKernel == kWindow8) {
    if (a.wide)
      return narrow_lanes<T, N>(a, [=](int64_t j, int i) {
        return int64_t{wide_columns[2 * j + 1]} * 8 + ((wide_columns[2 * j] >> (3 * i)) & 7);
      });
    return narrow_lanes<T, N>(
        a, [=](int64_t j, int i) { return int64_t{wide_columns[j] >> 24} * 8 + ((wide_columns[j] >> (3 * i)) & 7); });
  } else {
    static_assert(kKernel == kBlock8);
    if (a.wide) return narrow_lanes<T, N>(a, [=](int64_t j, int) { return int64_t{wide_columns[j]}; });
    return narrow_lanes<T, N>(a, [=](int64_t j, int) { return int64_t{narrow_columns[j]}; });
  }
}

}  // namespace
}  // namespace gossamer
