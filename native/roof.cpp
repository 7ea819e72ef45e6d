// Loops that do nothing but multiply-add, or nothing but load. Twelve accumulators cover four cycles of latency on two
// units with room to spare; eight partial sums do the same for additions behind loads.
#include "roof.h"

#include <chrono>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gossamer {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 200000, kAccumulators = 12, kStreams = 8;
volatile float sink;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One pair of functions a vector type: V, WIDTH lanes, FMA(a, b, c) = a * b + c, ADD, LOAD, SET1 (all lanes), FIRST
// (one lane). A macro, because a function inherits no target from the template that calls it.
#define GOSSAMER_ROOF(NAME, TARGET, V, WIDTH, FMA, ADD, LOAD, SET1, FIRST)                  \
  TARGET double flops_##NAME() {                                                            \
    V sum[kAccumulators];                                                                   \
    for (int i = 0; i < kAccumulators; ++i) sum[i] = SET1(static_cast<float>(i));           \
    V scale = SET1(0.999f), shift = SET1(0.001f);                                           \
    const auto start = Clock::now();                                                        \
    for (int round = 0; round < kRounds; ++round)                                           \
      for (int i = 0; i < kAccumulators; ++i) sum[i] = FMA(sum[i], scale, shift);           \
    const double seconds = seconds_since(start);                                            \
    for (int i = 1; i < kAccumulators; ++i) sum[0] = ADD(sum[0], sum[i]);                   \
    sink = FIRST(sum[0]);                                                                   \
    return 2.0 * WIDTH * kAccumulators * kRounds / seconds;                                 \
  }                                                                                         \
  TARGET double reads_##NAME(const float* data, size_t count) {                             \
    V sum[kStreams];                                                                        \
    for (int i = 0; i < kStreams; ++i) sum[i] = SET1(0.0f);                                 \
    const auto start = Clock::now();                                                        \
    size_t at = 0;                                                                          \
    for (; at + WIDTH * kStreams <= count; at += WIDTH * kStreams)                          \
      for (int i = 0; i < kStreams; ++i) sum[i] = ADD(sum[i], LOAD(data + at + WIDTH * i)); \
    const double seconds = seconds_since(start);                                            \
    for (int i = 1; i < kStreams; ++i) sum[0] = ADD(sum[0], sum[i]);                        \
    sink = FIRST(sum[0]);                                                                   \
    return static_cast<double>(at) * sizeof(float) / seconds;                               \
  }

typedef float Vec4 __attribute__((vector_size(16)));
inline Vec4 fma4(Vec4 a, Vec4 b, Vec4 c) { return a * b + c; }
inline Vec4 add4(Vec4 a, Vec4 b) { return a + b; }
inline Vec4 load4(const float* p) {
  Vec4 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline Vec4 set4(float x) { return Vec4{x, x, x, x}; }
inline float first4(Vec4 v) { return v[0]; }
GOSSAMER_ROOF(portable, , Vec4, 4, fma4, add4, load4, set4, first4)
#if defined(__aarch64__)
inline Vec4 fused4(Vec4 a, Vec4 b, Vec4 c) {
  asm("fmla %0.4s, %1.4s, %2.4s" : "+w"(c) : "w"(a), "w"(b));
  return c;
}
GOSSAMER_ROOF(neon, , Vec4, 4, fused4, add4, load4, set4, first4)
#elif defined(__x86_64__)
GOSSAMER_ROOF(avx2, __attribute__((target("avx2,fma"))), __m256, 8, _mm256_fmadd_ps, _mm256_add_ps, _mm256_loadu_ps,
              _mm256_set1_ps, _mm256_cvtss_f32)
GOSSAMER_ROOF(avx512, __attribute__((target("avx512f"))), __m512, 16, _mm512_fmadd_ps, _mm512_add_ps, _mm512_loadu_ps,
              _mm512_set1_ps, _mm512_cvtss_f32)
#endif
#undef GOSSAMER_ROOF

}  // namespace

double peak_flops(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return flops_avx512();
  if (isa == "avx2") return flops_avx2();
#elif defined(__aarch64__)
  if (isa == "neon") return flops_neon();
#endif
  (void)isa;
  return flops_portable();
}

double read_rate(const float* data, size_t count, const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return reads_avx512(data, count);
  if (isa == "avx2") return reads_avx2(data, count);
#elif defined(__aarch64__)
  if (isa == "neon") return reads_neon(data, count);
#endif
  (void)isa;
  return reads_portable(data, count);
}

}  // namespace gossamer
