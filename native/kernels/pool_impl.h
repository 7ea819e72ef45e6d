// Pooling over padded planes. Each output row first folds the window's input rows into one line, then folds that line
// over the columns at every position, both with vectors, and picks each stride-th: the work thrown away at stride 2
// costs far less than kw scalar steps an output with edge tests did (3x3/2 at 112x112, 64 channels, AVX-512: 1.8 ms).
#pragma once
#include "kernels.h"
#include "phase_impl.h"
#include "simd.h"

namespace gossamer {
namespace {

template <bool Max>
void fold_rows(const PoolArgs& a, const float* plane, int64_t first, int64_t step, int64_t count, float* out) {
  int64_t w = 0;
  for (; w + L <= a.width; w += L) {
    V v = splat(Max ? -__builtin_inff() : 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const V x = load(plane + (first + i * step) * a.x_row + w);
      v = Max ? max_nan(v, x) : v + x;
    }
    store(out + w, v);
  }
  if (const int64_t rest = a.width - w; rest > 0) {  // one by one, the 7x7 pool of ResNet-50 took 1.25 times as long
    V v = splat(Max ? -__builtin_inff() : 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const V x = load_part(plane + (first + i * step) * a.x_row + w, rest);
      v = Max ? max_nan(v, x) : v + x;
    }
    store_part(out + w, v, rest);
  }
}

// The taps t with 0 <= start + t * step < size: the first, and how many.
GSM_INLINE int64_t taps_inside(int64_t start, int64_t step, int64_t taps, int64_t size, int64_t* first) {
  int64_t begin = start < 0 ? (-start + step - 1) / step : 0;
  int64_t end = start >= size ? 0 : (size - 1 - start) / step + 1;
  if (end > taps) end = taps;
  *first = start + begin * step;
  return end > begin ? end - begin : 0;
}

template <bool Max>
void pool(const PoolArgs& a) {
  constexpr float neutral = Max ? -__builtin_inff() : 0.0f;
  float* line = a.scratch;  // the image's row at `left`, neutral padding around it
  float* folded = a.scratch + a.span;
  for (int64_t i = 0; i < a.span; ++i) line[i] = neutral;
  const int64_t positions = (a.out_width - 1) * a.stride[1] + 1;
  for (int64_t c = 0; c < a.planes; ++c) {
    const float* plane = a.x + c * a.x_plane;
    for (int64_t oh = 0; oh < a.out_height; ++oh) {
      float* out = a.y + c * a.y_plane + oh * a.y_row;
      int64_t row;
      const int64_t rows = taps_inside(oh * a.stride[0] - a.top, a.dilation[0], a.kernel[0], a.height, &row);
      fold_rows<Max>(a, plane, row, a.dilation[0], rows, line + a.left);
      for (int64_t w = 0; w < positions; w += L) {
        V v = load(line + w);
        for (int64_t s = 1; s < a.kernel[1]; ++s) {
          const V x = load(line + w + s * a.dilation[1]);
          v = Max ? max_nan(v, x) : v + x;
        }
        store(folded + w, v);
      }
      const int64_t step = a.stride[1];
      if (Max) {
        for (int64_t ow = step == 2 ? even_lanes(folded, out, a.out_width) : 0; ow < a.out_width; ++ow)
          out[ow] = folded[ow * step];
      } else if (a.include_pad) {
        const float count = (float)(a.kernel[0] * a.kernel[1]);
        for (int64_t ow = 0; ow < a.out_width; ++ow) out[ow] = folded[ow * step] / count;
      } else {
        for (int64_t ow = 0; ow < a.out_width; ++ow) {
          int64_t first;
          const int64_t inside = rows * taps_inside(ow * step - a.left, a.dilation[1], a.kernel[1], a.width, &first);
          out[ow] = folded[ow * step] / (float)(inside > 0 ? inside : 1);
        }
      }
    }
  }
}
void max_pool(const PoolArgs* a) { pool<true>(*a); }
void avg_pool(const PoolArgs* a) { pool<false>(*a); }

void adaptive_avg_pool(const PoolArgs* a) {
  for (int64_t c = 0; c < a->planes; ++c) {
    for (int64_t oh = 0; oh < a->out_height; ++oh) {
      const int64_t h0 = oh * a->height / a->out_height;
      const int64_t h1 = ((oh + 1) * a->height + a->out_height - 1) / a->out_height;
      fold_rows<false>(*a, a->x + c * a->x_plane, h0, 1, h1 - h0, a->scratch);
      for (int64_t ow = 0; ow < a->out_width; ++ow) {
        const int64_t w0 = ow * a->width / a->out_width;
        const int64_t w1 = ((ow + 1) * a->width + a->out_width - 1) / a->out_width;
        float v = 0.0f;
        for (int64_t w = w0; w < w1; ++w) v += a->scratch[w];
        a->y[c * a->y_plane + oh * a->y_row + ow] = v / (float)((h1 - h0) * (w1 - w0));
      }
    }
  }
}

}  // namespace
}  // namespace gossamer
