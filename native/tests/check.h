// CHECK stays active in every build type; a failed one tells its line, and done() gives the exit status.
#pragma once
#include <cstdio>
#include <string>

#include "network.h"

namespace test {

inline int failures = 0;

inline void report(bool ok, const char* condition, const char* file, int line, const std::string& more = "") {
  if (ok) return;
  ++failures;
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed %s\n", file, line, condition, more.c_str());
}

inline int done() {
  if (failures != 0) std::fprintf(stderr, "%d checks failed\n", failures);
  return failures == 0 ? 0 : 1;
}

// The message of the gossamer::Error that f throws, "" where it throws none; its kind in *kind.
template <class F>
std::string error_of(F&& f, gossamer::Error::Kind* kind = nullptr) {
  try {
    f();
  } catch (const gossamer::Error& error) {
    if (kind != nullptr) *kind = error.kind;
    return error.message;
  }
  return "";
}

}  // namespace test

#define CHECK(condition) test::report((condition), #condition, __FILE__, __LINE__)
// The statement must throw gossamer::Error with `part` in its message.
#define CHECK_ERROR(statement, part)                                                                            \
  do {                                                                                                          \
    std::string message_ = test::error_of([&] { statement; });                                                  \
    test::report(message_.find(part) != std::string::npos && !message_.empty(), #statement, __FILE__, __LINE__, \
                 "expected an error with '" + std::string(part) + "', got '" + message_ + "'");                 \
  } while (false)
