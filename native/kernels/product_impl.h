// Dense products over lanes, and the softmax between the two products of an attention. The operand with lanes is read
// in whole vectors; the other one is broadcast, at any strides, so that q.k, p.v and a matrix product are one kernel.
#pragma once
#include "elementwise_impl.h"

namespace gossamer {
namespace {

#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_NEON)
constexpr int kProductRows = 8;  // 8 x 3 accumulators, 3 operands, 1 weight of 32 registers
#else
constexpr int kProductRows = 4;  // 4 x 3 accumulators of 16
#endif
constexpr int kProductVectors = 3;

template <int R, int T>
GSM_INLINE void product_block(const ProductArgs& p, int64_t row, int64_t lane) {
  V acc[R][T] = {};
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + lane;
  for (int64_t k = 0; k < p.depth; ++k, a += p.a_depth, b += p.b_depth) {
    V operand[T];
#pragma GCC unroll 3
    for (int t = 0; t < T; ++t) operand[t] = load(b + t * L);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V w = splat(a[r * p.a_row]);
#pragma GCC unroll 3
      for (int t = 0; t < T; ++t) acc[r][t] = fma(w, operand[t], acc[r][t]);
    }
  }
  V scale[T];
  for (int t = 0; t < T; ++t) scale[t] = p.lane_scale ? load(p.lane_scale + lane + t * L) : splat(p.scale);
  const int64_t left = p.lanes - lane;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    float* y = p.y + (row + r) * p.y_row + lane;
#pragma GCC unroll 3
    for (int t = 0; t < T; ++t) {
      const V v = acc[r][t] * scale[t];
      if (left >= (t + 1) * L)
        store(y + t * L, v);
      else if (left > t * L)
        store_part(y + t * L, v, left - t * L);
    }
  }
}

template <int T>
void product_lanes(const ProductArgs& p, int64_t lane) {
  int64_t row = 0;
  for (; row + kProductRows <= p.rows; row += kProductRows) product_block<kProductRows, T>(p, row, lane);
  if (kProductRows > 4 && row + 4 <= p.rows) {
    product_block<4, T>(p, row, lane);
    row += 4;
  }
  for (; row < p.rows; ++row) product_block<1, T>(p, row, lane);
}

void product(const ProductArgs* p) {
  const int64_t vectors = (p->lanes + L - 1) / L, tiles = (vectors + kProductVectors - 1) / kProductVectors;
  for (int64_t t = 0; t < tiles; ++t) {  // tiles of nearly equal width
    const int64_t begin = vectors * t / tiles, count = vectors * (t + 1) / tiles - begin;
    if (count == 3)
      product_lanes<3>(*p, begin * L);
    else if (count == 2)
      product_lanes<2>(*p, begin * L);
    else
      product_lanes<1>(*p, begin * L);
  }
}

// Scores of one vector of queries to weights: exp(score - greatest), and one over their sum (0 for a query without any
// key). What is left out has the score -inf.
GSM_INLINE void attend_vector(const AttendArgs& a, int vector) {
  float* scores = a.scores + vector * L;
  const int64_t first = a.first_query + vector * L, left = a.queries - first;
  const V none = splat(-__builtin_inff());
  I query = {};
  for (int i = 0; i < L; ++i) query[i] = (int32_t)(first + i);
  V high = none;
  for (int64_t s = 0; s < a.keys; ++s) {
    V v = load(scores + s * a.stride);
    if (a.mask) {
      V m = splat(a.mask[s * a.mask_key]);
      if (a.mask_query != 0)
        for (int64_t i = 0; i < L && i < left; ++i) m[i] = a.mask[s * a.mask_key + (first + i) * a.mask_query];
      if (a.keep)
        v = m == 0.0f ? none : v;
      else
        v += m;
    }
    if (a.causal && s > first) v = query < (int32_t)s ? none : v;
    if (a.mask || a.causal) store(scores + s * a.stride, v);
    high = max_nan(high, v);
  }
  high = high == none ? V{} : high;
  V total = {};
  for (int64_t s = 0; s < a.keys; ++s) {
    const V e = exp_v(load(scores + s * a.stride) - high);
    total += e;
    store(scores + s * a.stride, e);
  }
  store(a.inverse + vector * L, total == 0.0f ? V{} : 1.0f / total);
}
void attend(const AttendArgs* a) {
  for (int v = 0; v < a->vectors; ++v) attend_vector(*a, v);
}

}  // namespace
}  // namespace gossamer
