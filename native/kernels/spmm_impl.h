// Sparse times dense over lanes: one broadcast weight, one load and one fused multiply-add a vector, T accumulators in
// registers.
//
// Why this shape: the X tile stays in L1 while all rows pass over it; per entry the index and the broadcast cost two
// loads, so T >= 8 amortizes them. A loop left to the auto-vectoriser spills its accumulators and reaches 12 % of this
// (g++ 12). Machine code generated per matrix was tried in a study and lost: 45 to 81 bytes an entry instead of 6 leave
// the cache first.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace gossamer {
namespace {

// What a row's sums begin with in the first K block. The residual is read here and not at the end, because y may be the
// residual and holds the partial sums then.
template <int T>
GSM_INLINE void begin(V (&acc)[T], float bias, const float* residual) {
  const V start = splat(bias);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = start;
  if (residual) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] += load(residual + t * L);
  }
}

template <int T>
GSM_INLINE void finish(V (&acc)[T], float* y, const uint32_t* mask, V lo, V hi) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = at_most(hi, at_least(lo, acc[t]));
  if (mask) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = keep(acc[t], load_mask(mask + t * L));
  }
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) store(y + t * L, acc[t]);
}

// The stream is fetched so many entries ahead: most of it comes from beyond L2. With weights in huge pages and four
// offsets a load, ResNet-50 at 90 % ran 1.03 times faster than without (7x7 layers 1.04), at 80 % 1.06 times.
// Lost: the next tile's residual fetched to L2 (no gain over the next row's to L1, without which sums run 1.25 times
// slower), and operands across cache lines put together from two aligned reads by a shuffle (1.1 times slower).
constexpr int64_t kEntriesAhead = 512;

template <int T>
GSM_INLINE void add_entry(V (&acc)[T], float value, const float* x) {
  const V w = splat(value);
  const float* p = in_register(x);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = fma(w, load(p + t * L), acc[t]);
}

template <int T, typename Offset>
void spmm_tile(const SpmmArgs& a) {
  const Offset* offsets = static_cast<const Offset*>(a.offsets);
  const float* values = a.values;
  const float* x = a.x + a.lane;
  const V lo = splat(a.lo), hi = splat(a.hi);
  const uint32_t* mask = a.mask ? a.mask + a.lane : nullptr;
  const float* fetch = a.fetch;
  const float* const fetch_end = a.fetch + a.fetch_channels * a.fetch_stride;
  const int64_t rows = a.row_end - a.row_begin,
                channels_a_row = a.fetch && rows > 0 ? (a.fetch_channels + rows - 1) / rows : 0;
  for (int64_t at = a.row_begin; at < a.row_end; ++at) {
    for (int64_t c = 0; c < channels_a_row && fetch < fetch_end; ++c, fetch += a.fetch_stride)
      for (int64_t line = 0; line < a.fetch_lines; ++line) __builtin_prefetch(fetch + line * 16, 0, 2);
    const int64_t row = a.order ? a.order[at] : at;
    uint32_t i = a.row_start[at];
    const uint32_t end = a.row_start[at + 1];
    float* y = a.y + row * a.y_stride + a.lane;
    // In order of length the rows jump about in memory, where the hardware foresees nothing. Fetching what will be
    // written gained nothing, and one row ahead is too late for short tiles, four too early for long ones.
    constexpr int kAhead = T >= 8 ? 1 : 4;
    if (a.order && at + kAhead < a.row_end) {
      const int64_t next = a.order[at + kAhead];
      if (a.first && a.residual) {
        const float* p = a.residual + next * a.residual_stride + a.lane;
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) __builtin_prefetch(p + t * L, 0);
      }
      if (!a.first) {
        const float* p = a.y + next * a.y_stride + a.lane;
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) __builtin_prefetch(p + t * L, 1);
      }
    }
    V acc[T];
    if (a.first) {
      begin<T>(acc, a.bias ? a.bias[row] : 0.0f, a.residual ? a.residual + row * a.residual_stride + a.lane : nullptr);
    } else {
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) acc[t] = load(y + t * L);
    }
    for (uint32_t ahead = i; ahead < end; ahead += 16) {
      __builtin_prefetch(values + ahead + kEntriesAhead);
      __builtin_prefetch(offsets + ahead + kEntriesAhead);
    }
    constexpr bool kTwoChains = T <= 4;  // few accumulators do not cover the latency of the multiply-add
    V second[T] = {};
    V(&odd)[T] = kTwoChains ? second : acc;
    if constexpr (sizeof(Offset) == 2) {
      uint64_t four;  // offsets in one load: loads are what bounds; two wide ones gained nothing
      for (; i + 3 < end; i += 4) {
        __builtin_memcpy(&four, offsets + i, sizeof four);
        add_entry<T>(acc, values[i], x + (four & 0xFFFF));
        add_entry<T>(odd, values[i + 1], x + (four >> 16 & 0xFFFF));
        add_entry<T>(acc, values[i + 2], x + (four >> 32 & 0xFFFF));
        add_entry<T>(odd, values[i + 3], x + (four >> 48));
      }
    } else {
      for (; i + 1 < end; i += 2) {
        add_entry<T>(acc, values[i], x + offsets[i]);
        add_entry<T>(odd, values[i + 1], x + offsets[i + 1]);
      }
    }
    for (; i < end; ++i) add_entry<T>(acc, values[i], x + offsets[i]);
    if constexpr (kTwoChains) {
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) acc[t] += second[t];
    }
    if (a.last) {
      finish<T>(acc, y, mask, lo, hi);
    } else {
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) store(y + t * L, acc[t]);
    }
  }
}

template <int T, typename Offset>
void block_tile(const BlockArgs& a) {
  const Offset* all_offsets = static_cast<const Offset*>(a.offsets);
  const V lo = splat(a.lo), hi = splat(a.hi);
  const uint32_t* mask = a.mask ? a.mask + a.lane : nullptr;
  for (int64_t b = a.block_begin; b < a.block_end; ++b) {
    const RowBlock& block = a.blocks[b];
    const float* x = a.x + block.x_shift + a.lane;
    const Offset* offsets = all_offsets + block.offset_start;
    const float* w = a.values + block.value_start;
    float* y = a.y + block.row * a.y_stride + a.lane;
    V acc[4][T];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const bool stored = r < block.rows;
      if (a.first || !stored) {
        const float* residual =
            a.residual && stored ? a.residual + (block.row + r) * a.residual_stride + a.lane : nullptr;
        begin<T>(acc[r], a.bias && stored ? a.bias[block.row + r] : 0.0f, residual);
      } else {
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) acc[r][t] = load(y + r * a.y_stride + t * L);
      }
    }
    for (int32_t k = 0; k < block.count; ++k, w += 4) {
      const float* p = in_register(x + offsets[k]);
      V operand[T];
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) operand[t] = load(p + t * L);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const V weight = splat(w[r]);
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) acc[r][t] = fma(weight, operand[t], acc[r][t]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      if (r >= block.rows) continue;
      if (a.last) {
        finish<T>(acc[r], y + r * a.y_stride, mask, lo, hi);
      } else {
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) store(y + r * a.y_stride + t * L, acc[r][t]);
      }
    }
  }
}

#if defined(GSM_UNIT_AVX512) || defined(GSM_UNIT_NEON)
constexpr int kMaxVectors = 14, kMaxBlockVectors = 6;  // 32 registers
#else
constexpr int kMaxVectors = 8, kMaxBlockVectors = 3;  // 16 registers: 4 x 3 accumulators, 3 operands, 1 weight
#endif

template <typename Offset, int T>
void spmm_dispatch(const SpmmArgs& a) {
  if constexpr (T > 1) {
    if (a.vectors < T) return spmm_dispatch<Offset, T - 1>(a);
  }
  spmm_tile<T, Offset>(a);
}
template <typename Offset, int T>
void block_dispatch(const BlockArgs& a) {
  if constexpr (T > 1) {
    if (a.vectors < T) return block_dispatch<Offset, T - 1>(a);
  }
  block_tile<T, Offset>(a);
}

void spmm(const SpmmArgs* a) {
  if (a->wide)
    spmm_dispatch<uint32_t, kMaxVectors>(*a);
  else
    spmm_dispatch<uint16_t, kMaxVectors>(*a);
}
void block(const BlockArgs* a) {
  if (a->wide)
    block_dispatch<uint32_t, kMaxBlockVectors>(*a);
  else
    block_dispatch<uint16_t, kMaxBlockVectors>(*a);
}

}  // namespace
}  // namespace gossamer
