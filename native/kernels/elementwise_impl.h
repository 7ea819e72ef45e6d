// Functions of one, two and three values with steps of 0 or 1, sums and extremes of rows. What networks use in their
// inner layers is vectorised; log, sin, cos and general powers call the C library lane by lane.
#pragma once
#include "pointwise_impl.h"

namespace gossamer {
namespace {

template <typename F>
GSM_INLINE V by_lane(V x, F f) {
  V y = {};
  for (int i = 0; i < L; ++i) y[i] = f(x[i]);
  return y;
}

GSM_INLINE V sqrt_v(V x) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_sqrt_ps(x);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_sqrt_ps(x);
#else
  return by_lane(x, [](float v) { return __builtin_sqrtf(v); });
#endif
}
GSM_INLINE V floor_v(V x) {
#if defined(GSM_UNIT_AVX512)
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined(GSM_UNIT_AVX2)
  return _mm256_floor_ps(x);
#else
  return by_lane(x, [](float v) { return __builtin_floorf(v); });
#endif
}

// Odd polynomial below 0.625 (Cephes), 1 - 2 / (e^2x + 1) above: relative error about 1e-7 everywhere.
GSM_INLINE V tanh_small_v(V x) {
  const V z = x * x;
  V p = splat(-5.70498872745e-3f);
  p = fma(p, z, splat(2.06390887954e-2f));
  p = fma(p, z, splat(-5.37397155531e-2f));
  p = fma(p, z, splat(1.33314422036e-1f));
  p = fma(p, z, splat(-3.33332819422e-1f));
  return fma(p * z, x, x);
}
GSM_INLINE V tanh_v(V x) {
  const V small = tanh_small_v(x), a = reinterpret_cast<V>(reinterpret_cast<I>(x) & 0x7FFFFFFF);
  const V large = 1.0f - 2.0f / (exp_v(a + a) + 1.0f);
  return a < 0.625f ? small : (x < 0.0f ? -large : large);  // NaN: large is NaN
}

template <int A>
GSM_INLINE V unary_v(V x, const float* p) {
  if constexpr (A <= kGeluTanh) return activate_v<A>(x);
  if constexpr (A == kTanh) return tanh_v(x);
  if constexpr (A == kExp) return exp_v(x);
  if constexpr (A == kLog) return by_lane(x, [](float v) { return __builtin_logf(v); });
  if constexpr (A == kSqrt) return sqrt_v(x);
  if constexpr (A == kRsqrt) return 1.0f / sqrt_v(x);
  if constexpr (A == kAbs) return reinterpret_cast<V>(reinterpret_cast<I>(x) & 0x7FFFFFFF);
  if constexpr (A == kNeg) return -x;
  if constexpr (A == kErf) return by_lane(x, [](float v) { return __builtin_erff(v); });
  if constexpr (A == kSin) return by_lane(x, [](float v) { return __builtin_sinf(v); });
  if constexpr (A == kCos) return by_lane(x, [](float v) { return __builtin_cosf(v); });
  if constexpr (A == kFloor) return floor_v(x);
  if constexpr (A == kSign) return x > 0.0f ? splat(1.0f) : (x < 0.0f ? splat(-1.0f) : V{});
  if constexpr (A == kHardswish) return x * at_most(splat(6.0f), at_least(V{}, x + 3.0f)) * (1.0f / 6.0f);
  if constexpr (A == kHardsigmoid) return at_most(splat(6.0f), at_least(V{}, x + 3.0f)) * (1.0f / 6.0f);
  if constexpr (A == kMish) {  // tanh(ln(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2); 1 beyond 20
    const V e = exp_v(at_most(splat(20.0f), x)), w = e * (e + 2.0f);
    return x * (w / (w + 2.0f));
  }
  if constexpr (A == kLeakyRelu) return x >= 0.0f ? x : x * p[0];
  if constexpr (A == kElu) {
    const float alpha = p[0];
    return by_lane(x, [alpha](float v) { return v > 0.0f ? v : alpha * __builtin_expm1f(v); });
  }
  if constexpr (A == kSoftplus) {
    const float beta = p[0], threshold = p[1];
    return by_lane(x, [beta, threshold](float v) {
      return beta * v > threshold ? v : __builtin_log1pf(__builtin_expf(beta * v)) / beta;
    });
  }
  if constexpr (A == kClamp) return at_most(splat(p[1]), at_least(splat(p[0]), x));
  if constexpr (A == kAffine) return fma(x, splat(p[0]), splat(p[1]));
  const float exponent = p[0];
  if (exponent == 2.0f) return x * x;
  if (exponent == 3.0f) return x * x * x;
  if (exponent == 1.0f) return x;
  return by_lane(x, [exponent](float v) { return __builtin_powf(v, exponent); });
}

template <int A>
void unary_all(const float* x, float* y, int64_t n, const float* p) {
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, unary_v<A>(load(x + i), p));
  if (i < n) store_part(y + i, unary_v<A>(load_part(x + i, n - i), p), n - i);
}

template <int A>
void unary_dispatch(int op, const float* x, float* y, int64_t n, const float* p) {
  if (op == A) return unary_all<A>(x, y, n, p);
  if constexpr (A > 0) unary_dispatch<A - 1>(op, x, y, n, p);
}
void unary(int op, const float* x, float* y, int64_t n, const float* p) { unary_dispatch<kPower>(op, x, y, n, p); }

template <int B>
GSM_INLINE V binary_v(V a, V b) {
  if constexpr (B == kAdd) return a + b;
  if constexpr (B == kSub) return a - b;
  if constexpr (B == kMul) return a * b;
  if constexpr (B == kDiv) return a / b;
  if constexpr (B == kMaximum) return max_nan(a, b);
  if constexpr (B == kMinimum) return ((b < a) | (b != b)) ? b : a;
  const V one = splat(1.0f), zero = {};
  if constexpr (B == kEqual) return a == b ? one : zero;
  if constexpr (B == kNotEqual) return a != b ? one : zero;
  if constexpr (B == kLess) return a < b ? one : zero;
  return a <= b ? one : zero;
}

template <int B>
void binary_all(const float* a, int a_step, const float* b, int b_step, float* y, int64_t n) {
  int64_t i = 0;
  const V first = splat(a[0]), second = splat(b[0]);
  for (; i + L <= n; i += L) store(y + i, binary_v<B>(a_step ? load(a + i) : first, b_step ? load(b + i) : second));
  if (i < n)
    store_part(y + i, binary_v<B>(a_step ? load_part(a + i, n - i) : first, b_step ? load_part(b + i, n - i) : second),
               n - i);
}
template <int B>
void binary_dispatch(int op, const float* a, int a_step, const float* b, int b_step, float* y, int64_t n) {
  if (op == B) return binary_all<B>(a, a_step, b, b_step, y, n);
  if constexpr (B > 0) binary_dispatch<B - 1>(op, a, a_step, b, b_step, y, n);
}
void binary(int op, const float* a, int a_step, const float* b, int b_step, float* y, int64_t n) {
  binary_dispatch<kLessEqual>(op, a, a_step, b, b_step, y, n);
}

void select(const float* c, int c_step, const float* a, int a_step, const float* b, int b_step, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = c[c_step * i] != 0.0f ? a[a_step * i] : b[b_step * i];
}

template <int R>
GSM_INLINE V combine_v(V total, V x) {
  if constexpr (R == kSum) return total + x;
  if constexpr (R == kMax) return max_nan(total, x);
  return ((x < total) | (x != x)) ? x : total;
}
template <int R>
float fold_all(const float* x, int64_t n) {
  const float rest = R == kSum ? 0.0f : R == kMax ? -__builtin_inff() : __builtin_inff();
  V total = splat(rest);
  int64_t i = 0;
  for (; i + L <= n; i += L) total = combine_v<R>(total, load(x + i));
  if (i < n) total = combine_v<R>(total, load_part(x + i, n - i, rest));
  if constexpr (R == kSum) return sum(total);
  V turned = total;
  for (int lane = 1; lane < L; ++lane) turned = combine_v<R>(turned, splat(total[lane]));
  return turned[0];
}
// One number of a row; and a row into running numbers, lane by lane.
float fold(int op, const float* x, int64_t n) {
  return op == kSum ? fold_all<kSum>(x, n) : op == kMax ? fold_all<kMax>(x, n) : fold_all<kMin>(x, n);
}
template <int R>
void combine_all(const float* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, combine_v<R>(load(y + i), load(x + i)));
  if (i < n) store_part(y + i, combine_v<R>(load_part(y + i, n - i), load_part(x + i, n - i)), n - i);
}
void combine(int op, const float* x, float* y, int64_t n) {
  op == kSum ? combine_all<kSum>(x, y, n) : op == kMax ? combine_all<kMax>(x, y, n) : combine_all<kMin>(x, y, n);
}

}  // namespace
}  // namespace gossamer
