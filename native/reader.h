// The steps of the reader between container and network; each throws Error with the name of what is wrong.
#pragma once
#include <map>
#include <string_view>

#include "container.h"
#include "fields.h"
#include "json.h"
#include "network.h"

namespace gossamer {

constexpr int64_t kOldestVersion = 1, kNewestVersion = 2;  // of the format, that are read

// manifest.cpp
Network read_manifest(Json::View manifest, Container* container);

// read_network.cpp: the manifest's weights and network, structure and shapes.
Network read_network(int version, Json::View network, Json::View weights, Container* container);

// weights.cpp: one entry of the manifest's weights; marks its tensors as used, checks checksums and every rule of its
// format.
Weight read_weight(std::string_view name, Json::View view, Container* container);

// operators.cpp: operator, attributes and roles of a node whose name and inputs are known. Returns how many outputs the
// operator has.
struct OperatorSite {
  const Place& place;
  int version;              // of the file
  std::string_view length;  // the length symbol, empty where there is none
  const std::vector<Weight>& weights;
  const std::map<std::string_view, int>& weight_index;
};
size_t read_operator(const OperatorSite& site, std::string_view op, Json::View attributes, Json::View roles,
                     Node* node);

}  // namespace gossamer
