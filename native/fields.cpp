#include "fields.h"

#include "check.h"

namespace gossamer {

constexpr size_t longest_name = 256;

std::vector<Json::View> fields(const Place& place, Json::View object, std::initializer_list<const char*> required,
                               std::initializer_list<const char*> optional) {
  if (!object.is(Json::Type::object)) fail(place.kind, place.words, ": expected an object, got ", object.type_name());
  std::vector<const char*> keys(required);
  keys.insert(keys.end(), optional);
  std::vector<Json::View> out(keys.size());
  object.each_member([&](std::string_view key, Json::View value) {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (key == keys[i]) {
        out[i] = value;
        return;
      }
    }
    std::string known;
    for (const char* k : keys) known += std::string(known.empty() ? "" : ", ") + k;
    fail(place.kind, place.words, ": expected ", known.empty() ? "no keys" : "the keys " + known, ", got ",
         quoted(key));
  });
  for (size_t i = 0; i < required.size(); ++i) {
    if (!out[i]) fail(place.kind, place.words, ": expected the key '", keys[i], "', got none");
  }
  return out;
}

void expect(const Place& place, Json::View view, Json::Type type, const char* key) {
  static const char* const names[] = {"null",     "a boolean", "an integer", "a number",
                                      "a string", "an array",  "an object"};
  if (!view.is(type))
    fail(place.kind, place.words, ": expected '", key, "' to be ", names[static_cast<size_t>(type)], ", got ",
         view.type_name());
}

int64_t integer_in(const Place& place, Json::View view, const char* key, int64_t low, int64_t high) {
  expect(place, view, Json::Type::integer, key);
  int64_t n = view.integer();
  if (n < low || n > high)
    fail(place.kind, place.words, ": expected '", key, "' from ", low, " to ", high, ", got ", n);
  return n;
}

std::string_view string_of(const Place& place, Json::View view, const char* key) {
  expect(place, view, Json::Type::string, key);
  return view.string();
}

void check_name(const Place& place, std::string_view name, const char* key) {
  if (name.empty() || name.size() > longest_name) {
    fail(place.kind, place.words, ": expected '", key, "' to be a name of 1 to 256 bytes, got ", name.size(), " bytes");
  }
}

std::string name_of(const Place& place, Json::View view, const char* key) {
  std::string_view name = string_of(place, view, key);
  check_name(place, name, key);
  return std::string(name);
}

}  // namespace gossamer
