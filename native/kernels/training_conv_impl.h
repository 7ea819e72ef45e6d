// Convolutions in training, float and double: products of kept entries with rectangles of padded planes in which up to
// 16 images stand side by side, the gradients of the entries, and the turns between tensors and such planes.
//
// A rectangle of up to four rows of up to eight vectors is held in registers while the entries of a matrix row pass, so
// that an entry's operands are few separate lines of the first-level cache and its value is broadcast once.
#pragma once
#include "training_linear_impl.h"
#include "transpose_impl.h"

namespace gossamer {
namespace {

template <typename T>
GSM_INLINE const T* in_register(const T* p) {
#if defined(__GNUC__)
  asm("" : "+r"(p));
#endif
  return p;
}

#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_NEON)
constexpr int kConvProduct = 28, kConvSddmm = 24;  // vectors of a rectangle; 32 registers
#else
constexpr int kConvProduct = 12, kConvSddmm = 8;  // 16 registers
#endif

// ------------------------------------------------------------------------------------------------------------ product
template <typename T, int kRows, int kColumns>
GSM_INLINE void conv_entry(typename Wide<T>::type (&acc)[kRows][kColumns], T value, const T* x, int64_t x_row) {
  const typename Wide<T>::type w = splat_wide(value);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r, x += x_row) {
    const T* p = in_register(x);
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) acc[r][c] = fma(w, load_wide(p + c * kWide<T>), acc[r][c]);
  }
}

template <typename T, int kRows, int kColumns>
void conv_product_tile(const ConvTileArgs& a) {
  typedef typename Wide<T>::type W;
  const T* const x = static_cast<const T*>(a.x);
  const T* const values = static_cast<const T*>(a.values);
  for (const ConvSegment *s = a.segments, *end = s + a.num_segments; s != end; ++s) {
    T* const y = static_cast<T*>(a.y) + s->row * a.y_plane;
    W acc[kRows][kColumns] = {};
    if (s->add) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c) acc[r][c] = load_wide(y + r * a.y_row + c * kWide<T>);
    }
    uint32_t i = s->begin;
    if constexpr (kRows * kColumns <= 4) {  // too few sums to cover the latency of the multiply-add
      W odd[kRows][kColumns] = {};
      for (; i + 1 < s->end; i += 2) {
        conv_entry<T, kRows, kColumns>(acc, values[i], x + a.offsets[i], a.x_row);
        conv_entry<T, kRows, kColumns>(odd, values[i + 1], x + a.offsets[i + 1], a.x_row);
      }
      for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kColumns; ++c) acc[r][c] += odd[r][c];
    }
    for (; i < s->end; ++i) conv_entry<T, kRows, kColumns>(acc, values[i], x + a.offsets[i], a.x_row);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) store_wide<T>(y + r * a.y_row + c * kWide<T>, acc[r][c]);
  }
}

// -------------------------------------------------------------------------------------------------------------- sddmm
template <typename T, int kRows, int kColumns>
void conv_sddmm_tile(const ConvTileArgs& a) {
  typedef typename Wide<T>::type W;
  const T* const x = static_cast<const T*>(a.x);
  T* const g = static_cast<T*>(a.gradient);
  for (const ConvSegment *s = a.segments, *end = s + a.num_segments; s != end; ++s) {
    const T* const y = static_cast<const T*>(a.y) + s->row * a.y_plane;
    W held[kRows][kColumns];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) held[r][c] = load_wide(y + r * a.y_row + c * kWide<T>);
    uint32_t i = s->begin;
    for (; i + 4 <= s->end; i += 4) {
      W acc[4] = {};
      const T* p[4];
      for (int j = 0; j < 4; ++j) p[j] = x + a.offsets[i + j];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) p[j] = in_register(p[j]);
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c)
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) acc[j] = fma(held[r][c], load_wide(p[j] + c * kWide<T>), acc[j]);
        for (int j = 0; j < 4; ++j) p[j] += a.x_row;
      }
      sum4(acc, g + i);
    }
    for (; i < s->end; ++i) {
      W acc = {};
      const T* p = x + a.offsets[i];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r, p += a.x_row)
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c) acc = fma(held[r][c], load_wide(p + c * kWide<T>), acc);
      g[i] += sum_wide<T>(acc);
    }
  }
}

typedef void (*ConvTile)(const ConvTileArgs&);
template <typename T, bool kGradient, int kRows, int kColumns>
constexpr ConvTile conv_tile() {
  if constexpr (kRows * kColumns > (kGradient ? kConvSddmm : kConvProduct))
    return nullptr;
  else if constexpr (kGradient)
    return conv_sddmm_tile<T, kRows, kColumns>;
  else
    return conv_product_tile<T, kRows, kColumns>;
}
#define GSM_CONV_ROW(R)                                                                               \
  {conv_tile<T, kGradient, R, 1>(), conv_tile<T, kGradient, R, 2>(), conv_tile<T, kGradient, R, 3>(), \
   conv_tile<T, kGradient, R, 4>(), conv_tile<T, kGradient, R, 5>(), conv_tile<T, kGradient, R, 6>(), \
   conv_tile<T, kGradient, R, 7>(), conv_tile<T, kGradient, R, 8>()}
template <typename T, bool kGradient>
void conv_rectangle(const ConvTileArgs* a) {
  static constexpr ConvTile tiles[4][8] = {GSM_CONV_ROW(1), GSM_CONV_ROW(2), GSM_CONV_ROW(3), GSM_CONV_ROW(4)};
  tiles[a->rows - 1][a->vectors - 1](*a);
}
#undef GSM_CONV_ROW

// -------------------------------------------------------------------------------------------------------------- turns
// Rows of lanes become columns, whole tiles of L x L in registers; double goes element by element.
// So many elements ahead the images' lines are fetched, into the second-level cache: 16 images lie in few sets of the
// first. All convolutions of a step of ResNet-20 (batch 128, channels last, 90 %, Xeon with AVX-512, ms): 50 to 53;
// into the first-level cache 55, without 62. Stores past the caches were as fast, and leave the next layer a cold
// operand.
constexpr int64_t kTurnAhead = 128;
template <typename T>
void conv_turn_in(const TurnArgs* args) {
  const TurnArgs& a = *args;
  for (int64_t o = 0; o < a.outer; ++o) {
    const T* const x = static_cast<const T*>(a.tensor) + o * a.outer_step;
    T* const y = static_cast<T*>(a.planes) + a.outer_place[o];
    for (int64_t first = 0; first < a.lanes; first += L) {
      const int64_t wide = a.lanes - first < L ? a.lanes - first : L;  // lanes to write
      const int64_t high = a.images - first < wide ? (a.images > first ? a.images - first : 0) : wide;
      for (int64_t c = 0; c < a.columns; c += L) {
        const int64_t count = a.columns - c < L ? a.columns - c : L;
        const T* const p = x + first * a.image_step + c;
        T* const q = y + first;
        if constexpr (sizeof(T) == 4) {
          V v[L];
          if (count == L) {
#pragma GCC unroll 16
            for (int i = 0; i < L; ++i) v[i] = i < high ? load(p + i * a.image_step) : V{};
            if (high == L) {
#pragma GCC unroll 16
              for (int i = 0; i < L; ++i) __builtin_prefetch(p + i * a.image_step + kTurnAhead, 0, 2);
            }
          } else {
#pragma GCC unroll 16
            for (int i = 0; i < L; ++i) v[i] = i < high ? load_part(p + i * a.image_step, count) : V{};
          }
          exchange<L / 2>(v);
          if (wide == L && count == L) {
#pragma GCC unroll 16
            for (int64_t i = 0; i < L; ++i) store(q + a.place[c + i], v[i]);
          } else if (wide == L) {
            for (int64_t i = 0; i < count; ++i) store(q + a.place[c + i], v[i]);
          } else {
            for (int64_t i = 0; i < count; ++i) store_part(q + a.place[c + i], v[i], wide);
          }
        } else {
          for (int64_t i = 0; i < count; ++i)
            for (int64_t f = 0; f < wide; ++f) q[a.place[c + i] + f] = f < high ? p[f * a.image_step + i] : T{0};
        }
      }
    }
  }
}

template <typename T>
void conv_turn_out(const TurnArgs* args) {
  const TurnArgs& a = *args;
  for (int64_t o = 0; o < a.outer; ++o) {
    T* const x = static_cast<T*>(a.tensor) + o * a.outer_step;
    const T* const y = static_cast<const T*>(a.planes) + a.outer_place[o];
    for (int64_t first = 0; first < a.images; first += L) {
      const int64_t high = a.images - first < L ? a.images - first : L;
      for (int64_t c = 0; c < a.columns; c += L) {
        const int64_t count = a.columns - c < L ? a.columns - c : L;
        T* const p = x + first * a.image_step + c;
        const T* const q = y + first;
        if constexpr (sizeof(T) == 4) {
          V v[L];
          if (high == L && count == L) {
#pragma GCC unroll 16
            for (int i = 0; i < L; ++i) v[i] = load(q + a.place[c + i]);
#pragma GCC unroll 16
            for (int i = 0; i < L; ++i) __builtin_prefetch(p + i * a.image_step + kTurnAhead, 0, 2);
            exchange<L / 2>(v);
#pragma GCC unroll 16
            for (int i = 0; i < L; ++i) store(p + i * a.image_step, v[i]);
          } else {
            for (int i = 0; i < L; ++i) v[i] = i < count ? load_part(q + a.place[c + i], high) : V{};
            exchange<L / 2>(v);
            if (count == L) {
              for (int64_t i = 0; i < high; ++i) store(p + i * a.image_step, v[i]);
            } else {
              for (int64_t i = 0; i < high; ++i) store_part(p + i * a.image_step, v[i], count);
            }
          }
        } else {
          for (int64_t f = 0; f < high; ++f)
            for (int64_t i = 0; i < count; ++i) p[f * a.image_step + i] = q[a.place[c + i] + f];
        }
      }
    }
  }
}

}  // namespace
}  // namespace gossamer
