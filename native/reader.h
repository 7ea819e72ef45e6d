// The steps of the reader between container and network; each throws Error with the name of what is wrong.
#pragma once
#include <string_view>

#include "container.h"
#include "fields.h"
#include "json.h"
#include "network.h"

namespace gossamer {

// manifest.cpp
Network read_manifest(Json::View manifest, Container* container);

// weights.cpp: one entry of the manifest's weights; marks its tensors as used, checks checksums and every rule of its
// format.
Weight read_weight(std::string_view name, Json::View view, Container* container);

// operators.cpp: operator, attributes and roles of a node; `find_weight` of a name is an index into `weights` or -1.
using WeightIndex = int (*)(const void* context, std::string_view name);
void read_operator(const Place& place, std::string_view op, Json::View attributes, Json::View roles, size_t num_inputs,
                   const std::vector<Weight>& weights, WeightIndex find_weight, const void* context, Node* node);

}  // namespace gossamer
