// Reading JSON objects with a fixed set of keys, and typed values out of them. All errors name the place.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "json.h"
#include "network.h"

namespace gossamer {

struct Place {  // where we are: the kind of its errors and the words that name it
  Error::Kind kind;
  std::string words;
};

// The values of `required` and then `optional`, in that order; an absent optional one is an empty view.
std::vector<Json::View> fields(const Place& place, Json::View object, std::initializer_list<const char*> required,
                               std::initializer_list<const char*> optional = {});
void expect(const Place& place, Json::View view, Json::Type type, const char* key);
int64_t integer_in(const Place& place, Json::View view, const char* key, int64_t low, int64_t high);
std::string_view string_of(const Place& place, Json::View view, const char* key);
std::string name_of(const Place& place, Json::View view, const char* key);  // non-empty, at most 256 bytes
void check_name(const Place& place, std::string_view name, const char* key);

}  // namespace gossamer
