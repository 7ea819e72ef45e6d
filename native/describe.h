// The JSON texts of the C interface: about the library, and about a plan.
#pragma once
#include <string>

#include "executor.h"

namespace gossamer {

std::string build_info();
std::string describe_plan(const Plan& plan, int threads);

}  // namespace gossamer
