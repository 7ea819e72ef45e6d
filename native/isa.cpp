#include "isa.h"

#include "network.h"

#if defined(GOSSAMER_ISA_AVX2) || defined(GOSSAMER_ISA_AVX512)
#include <cpuid.h>
#endif

namespace gossamer {
namespace {

struct Unit {
  const char* name;
  const KernelTable* (*table)();
  bool (*supported)();
};

bool always() { return true; }
// __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the wide registers.
#if defined(GOSSAMER_ISA_AVX2) || defined(GOSSAMER_ISA_AVX512)
bool has_f16c() {  // not every compiler's __builtin_cpu_supports knows it
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif
#if defined(GOSSAMER_ISA_AVX2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
#endif
#if defined(GOSSAMER_ISA_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2") &&
         __builtin_cpu_supports("fma") && has_f16c();
}
#endif

constexpr Unit kUnits[] = {
#if defined(GOSSAMER_ISA_AVX512)
    {"avx512", gossamer_kernels_avx512, has_avx512},
#endif
#if defined(GOSSAMER_ISA_AVX2)
    {"avx2", gossamer_kernels_avx2, has_avx2},
#endif
#if defined(GOSSAMER_ISA_NEON)
    {"neon", gossamer_kernels_neon, always},
#endif
    {"portable", gossamer_kernels_portable, always},
};

}  // namespace

std::vector<std::string> built_isas() {
  std::vector<std::string> names;
  for (const Unit& unit : kUnits) names.emplace_back(unit.name);
  return names;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Unit& unit : kUnits)
    if (unit.supported()) names.emplace_back(unit.name);
  return names;
}

const KernelTable* find_kernels(const std::string& isa) {
  std::string choices;
  for (const Unit& unit : kUnits) {
    if (!unit.supported()) continue;
    if (isa.empty() || isa == unit.name) return unit.table();
    choices += (choices.empty() ? "" : ", ") + std::string(unit.name);
  }
  throw Error{Error::Kind::plan,
              "expected an instruction set that this CPU and this build have (" + choices + "), got '" + isa + "'"};
}

}  // namespace gossamer
