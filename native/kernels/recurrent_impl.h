// What an LSTM or GRU step does after its products.
#pragma once
#include "elementwise_impl.h"

namespace gossamer {
namespace {

// gates: i, f, g, o, each of n.
template <typename Load, typename Store>
GSM_INLINE void lstm_lanes(const float* gates, float* c, float* h, int64_t n, Load get, Store put) {
  const V i = sigmoid_v(get(gates)), f = sigmoid_v(get(gates + n)), g = tanh_v(get(gates + 2 * n)),
          o = sigmoid_v(get(gates + 3 * n));
  const V cell = fma(f, get(c), i * g);
  put(c, cell);
  put(h, o * tanh_v(cell));
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
  const V r = sigmoid_v(get(input) + get(hidden)), z = sigmoid_v(get(input + n) + get(hidden + n)),
          fresh = tanh_v(fma(r, get(hidden + 2 * n), get(input + 2 * n)));
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
