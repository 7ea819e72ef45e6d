// Which kernel tables this library holds and this CPU (and its operating system) can run.
#pragma once
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace gossamer {

std::vector<std::string> built_isas();      // best first
std::vector<std::string> available_isas();  // of these, what runs here
const KernelTable* find_kernels(
    const std::string& isa);  // "" = best; throws Error{plan} for an unknown or unsupported one

}  // namespace gossamer
