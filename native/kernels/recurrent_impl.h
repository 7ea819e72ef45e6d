// What an LSTM or GRU step does after its products.
#pragma once
#include "elementwise_impl.h"

namespace gossamer {
namespace {

// The gates' functions without division; beyond 80 the exponential would overflow, and they are 0 or 1 long before.
GSM_INLINE V gate_v(V x) { return inverse_v(1.0f + exp_v(at_most(splat(80.0f), -x))); }
GSM_INLINE V bounded_v(V x) {  // tanh
  const V small = tanh_small_v(x), a = reinterpret_cast<V>(reinterpret_cast<I>(x) & 0x7FFFFFFF);
  const V large = 1.0f - 2.0f * inverse_v(exp_v(at_most(splat(80.0f), a + a)) + 1.0f);
  return a < 0.625f ? small : (x < 0.0f ? -large : large);  // NaN: large is NaN
}

// gates: i, f, g, o, each of n.
template <typename Load, typename Store>
GSM_INLINE void lstm_lanes(const float* gates, float* c, float* h, int64_t n, Load get, Store put) {
  const V i = gate_v(get(gates)), f = gate_v(get(gates + n)), g = bounded_v(get(gates + 2 * n)),
          o = gate_v(get(gates + 3 * n));
  const V cell = fma(f, get(c), i * g);
  put(c, cell);
  put(h, o * bounded_v(cell));
}
void lstm_cell(const float* gates, float* c, float* h, int64_t n) {
  int64_t i = 0;
  for (; i + L <= n; i += L)
    lstm_lanes(gates + i, c + i, h + i, n, [](const float* p) { return load(p); }, [](float* p, V v) { store(p, v); });
  const int64_t rest = n - i;
  if (rest > 0)
    lstm_lanes(
        gates + i, c + i, h + i, n, [rest](const float* p) { return load_part(p, rest); },
        [rest](float* p, V v) { store_part(p, v, rest); });
}

// input: r, z, n of x with its bias; hidden: the same of h, with the hidden bias in n.
template <typename Load, typename Store>
GSM_INLINE void gru_lanes(const float* input, const float* hidden, float* h, int64_t n, Load get, Store put) {
  const V r = gate_v(get(input) + get(hidden)), z = gate_v(get(input + n) + get(hidden + n)),
          fresh = bounded_v(fma(r, get(hidden + 2 * n), get(input + 2 * n)));
  put(h, fma(z, get(h), (1.0f - z) * fresh));
}
void gru_cell(const float* input, const float* hidden, float* h, int64_t n) {
  int64_t i = 0;
  for (; i + L <= n; i += L)
    gru_lanes(
        input + i, hidden + i, h + i, n, [](const float* p) { return load(p); }, [](float* p, V v) { store(p, v); });
  const int64_t rest = n - i;
  if (rest > 0)
    gru_lanes(
        input + i, hidden + i, h + i, n, [rest](const float* p) { return load_part(p, rest); },
        [rest](float* p, V v) { store_part(p, v, rest); });
}

}  // namespace
}  // namespace gossamer
