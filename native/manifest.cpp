// Manifest -> Network (docs/formats/packed-file.md section 2).
#include "check.h"
#include "reader.h"

namespace gossamer {

using Type = Json::Type;

Network read_manifest(Json::View manifest, Container* container) {
  Place place{Error::Kind::graph, "manifest"};
  std::vector<Json::View> f =
      fields(place, manifest, {"format_version", "library", "network", "weights"},
             {"preprocessing", "labels", "recipe", "metrics", "verification", "license", "versions"});
  expect(place, f[0], Type::integer, "format_version");
  const int64_t version = f[0].integer();
  if (version < kOldestVersion || version > kNewestVersion) {
    fail(place.kind, "manifest: expected format_version ", kOldestVersion, " to ", kNewestVersion, ", got ", version,
         version > kNewestVersion ? "; a newer Gossamer wrote this file, update this one" : "");
  }
  expect(place, f[1], Type::string, "library");
  static const struct {
    const char* key;
    Type type;
  } optional[] = {{"preprocessing", Type::object}, {"labels", Type::array},        {"recipe", Type::object},
                  {"metrics", Type::object},       {"verification", Type::object}, {"license", Type::string},
                  {"versions", Type::object}};
  for (size_t i = 0; i < std::size(optional); ++i) {
    if (f[4 + i]) expect(place, f[4 + i], optional[i].type, optional[i].key);
  }
  if (f[5]) f[5].each([&](Json::View label) { expect(place, label, Type::string, "labels"); });
  return read_network(static_cast<int>(version), f[2], f[3], container);
}

}  // namespace gossamer
