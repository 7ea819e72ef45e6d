// Functions of single values, softmax and layer norm. The exponential is 2^n times a polynomial (relative error about
// 1e-7), erf a rational function on [-4, 4] (absolute error about 3e-7): the whole stays within 1e-6 of float64 for
// what networks feed it.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace gossamer {
namespace {

GSM_INLINE V exp_v(V x) {
  const V original = x;
  x = at_most(splat(88.7f), at_least(splat(-87.3f), x));
  const V magic = splat(12582912.0f);  // 1.5 * 2^23: the sum holds the rounded integer in its low bits
  const V biased = fma(x, splat(1.44269504088896341f), magic);
  const V n = biased - magic;
  V r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  V p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r + 1.0f);
  const I exponent = reinterpret_cast<I>(biased)
                     << 23;  // the integer's low bits; the magic's own bits fall out at the top
  const V y = reinterpret_cast<V>(reinterpret_cast<I>(p) + exponent);
  const V overflow = original > splat(88.7f) ? splat(__builtin_inff()) : y;
  const V underflow = original < splat(-87.3f) ? V{} : overflow;
  return original != original ? original : underflow;
}

// 1 / x for finite x of ordinary size, to 1e-7: a division of 16 lanes costs as much as 30 multiply-adds.
GSM_INLINE V inverse_v(V x) {
#if defined(GSM_UNIT_AVX512)
  const V first = _mm512_rcp14_ps(x);
  return first * fma(-x, first, splat(2.0f));
#else
  return 1.0f / x;
#endif
}

GSM_INLINE V erf_v(V x) {
  x = at_most(splat(4.0f), at_least(splat(-4.0f), x));
  const V x2 = x * x;
  V p = splat(-2.72614225801306e-10f);
  p = fma(p, x2, splat(2.77068142495902e-08f));
  p = fma(p, x2, splat(-2.10102402082508e-06f));
  p = fma(p, x2, splat(-5.69250639462346e-05f));
  p = fma(p, x2, splat(-7.34990630326855e-04f));
  p = fma(p, x2, splat(-2.95459980854025e-03f));
  p = fma(p, x2, splat(-1.60960333262415e-02f));
  V q = splat(-1.45660718464996e-05f);
  q = fma(q, x2, splat(-2.13374055278905e-04f));
  q = fma(q, x2, splat(-1.68282697438203e-03f));
  q = fma(q, x2, splat(-7.37332916720468e-03f));
  q = fma(q, x2, splat(-1.42647390514189e-02f));
  return x * p * inverse_v(q);
}

GSM_INLINE V sigmoid_v(V x) { return 1.0f / (1.0f + exp_v(-x)); }

template <int A>
GSM_INLINE V activate_v(V x) {
  if constexpr (A == kRelu) return at_least(V{}, x);
  if constexpr (A == kRelu6) return at_most(splat(6.0f), at_least(V{}, x));
  if constexpr (A == kSigmoid) return sigmoid_v(x);
  if constexpr (A == kSilu) return x / (1.0f + exp_v(-x));
  if constexpr (A == kGelu) return 0.5f * x * (1.0f + erf_v(x * 0.70710678118654752f));
  // 0.5 (1 + tanh u) = sigmoid(2u)
  return x * sigmoid_v(1.5957691216057308f * fma(x * x * x, splat(0.044715f), x));
}

template <int A>
void activate_all(const float* x, float* y, int64_t n, const uint32_t* mask) {
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    V v = activate_v<A>(load(x + i));
    if (mask) v = keep(v, load_mask(mask + i));
    store(y + i, v);
  }
  if (i < n) {
    V v = activate_v<A>(load_part(x + i, n - i));
    if (mask) v = keep(v, load_mask_part(mask + i, n - i));
    store_part(y + i, v, n - i);
  }
}

void activate(int activation, const float* x, float* y, int64_t n, const uint32_t* mask) {
  switch (activation) {
    case kRelu: return activate_all<kRelu>(x, y, n, mask);
    case kRelu6: return activate_all<kRelu6>(x, y, n, mask);
    case kSilu: return activate_all<kSilu>(x, y, n, mask);
    case kSigmoid: return activate_all<kSigmoid>(x, y, n, mask);
    case kGelu: return activate_all<kGelu>(x, y, n, mask);
    default: return activate_all<kGeluTanh>(x, y, n, mask);
  }
}

void affine(const float* x, float* y, int64_t n, float scale, float shift, const uint32_t* mask) {
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    V v = fma(load(x + i), splat(scale), splat(shift));
    if (mask) v = keep(v, load_mask(mask + i));
    store(y + i, v);
  }
  if (i < n) {
    V v = fma(load_part(x + i, n - i), splat(scale), splat(shift));
    if (mask) v = keep(v, load_mask_part(mask + i, n - i));
    store_part(y + i, v, n - i);
  }
}

void add(const float* a, const float* b, float* y, int64_t n, float lo, float hi) {
  const V low = splat(lo), high = splat(hi);
  int64_t i = 0;
  for (; i + L <= n; i += L) store(y + i, at_most(high, at_least(low, load(a + i) + load(b + i))));
  for (; i < n; ++i) y[i] = clamp(a[i] + b[i], lo, hi);
}

// exp(x - m). Subtracting an infinite maximum gives NaN as in torch (a row of -inf alone, or +inf).
void softmax_columns(const float* x, float* y, int64_t n, int64_t inner, int64_t lanes) {
  const bool part = lanes < L;
  V m = splat(-__builtin_inff());
  for (int64_t i = 0; i < n; ++i) m = max_nan(m, part ? load_part(x + i * inner, lanes) : load(x + i * inner));
  V total = {};
  for (int64_t i = 0; i < n; ++i) {
    const V e = exp_v((part ? load_part(x + i * inner, lanes) : load(x + i * inner)) - m);
    total += e;
    if (part)
      store_part(y + i * inner, e, lanes);
    else
      store(y + i * inner, e);
  }
  const V scale = 1.0f / total;
  for (int64_t i = 0; i < n; ++i) {
    if (part)
      store_part(y + i * inner, load_part(y + i * inner, lanes) * scale, lanes);
    else
      store(y + i * inner, load(y + i * inner) * scale);
  }
}

void softmax_row(const float* x, float* y, int64_t n) {
  V high = splat(-__builtin_inff());
  int64_t i = 0;
  for (; i + L <= n; i += L) high = max_nan(high, load(x + i));
  if (i < n) high = max_nan(high, load_part(x + i, n - i, -__builtin_inff()));
  float m = high[0];
  for (int lane = 1; lane < L; ++lane) m = max_nan(m, high[lane]);
  V total = {};
  for (i = 0; i + L <= n; i += L) {
    const V e = exp_v(load(x + i) - m);
    total += e;
    store(y + i, e);
  }
  float s = sum(total);
  if (i < n) {
    const V e = exp_v(load_part(x + i, n - i) - m);
    for (int64_t lane = 0; lane < n - i; ++lane) s += e[lane];
    store_part(y + i, e, n - i);
  }
  const float scale = 1.0f / s;
  for (i = 0; i + L <= n; i += L) store(y + i, load(y + i) * scale);
  for (; i < n; ++i) y[i] *= scale;
}

void softmax(const float* x, float* y, int64_t outer, int64_t n, int64_t inner) {
  for (int64_t o = 0; o < outer; ++o) {
    const float* from = x + o * n * inner;
    float* to = y + o * n * inner;
    if (inner == 1) {
      softmax_row(from, to, n);
      continue;
    }
    for (int64_t i = 0; i < inner; i += L) softmax_columns(from + i, to + i, n, inner, inner - i < L ? inner - i : L);
  }
}

void layer_norm(const float* x, float* y, int64_t rows, int64_t n, const float* weight, const float* bias,
                float epsilon) {
  const int64_t whole = n / L * L;
  for (int64_t row = 0; row < rows; ++row, x += n, y += n) {
    V total = {};
    for (int64_t i = 0; i < whole; i += L) total += load(x + i);
    float s = sum(total);
    for (int64_t i = whole; i < n; ++i) s += x[i];
    const float mean = s / (float)n;
    V square = {};
    for (int64_t i = 0; i < whole; i += L) {
      const V d = load(x + i) - mean;
      square = fma(d, d, square);
    }
    s = sum(square);
    for (int64_t i = whole; i < n; ++i) s += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / __builtin_sqrtf(s / (float)n + epsilon);
    for (int64_t i = 0; i < whole; i += L) {
      V v = (load(x + i) - mean) * scale;
      if (weight) v *= load(weight + i);
      if (bias) v += load(bias + i);
      store(y + i, v);
    }
    for (int64_t i = whole; i < n; ++i) {
      const float v = (x[i] - mean) * scale * (weight ? weight[i] : 1.0f);
      y[i] = bias ? v + bias[i] : v;
    }
  }
}

}  // namespace
}  // namespace gossamer
