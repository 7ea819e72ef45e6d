// A strict, small JSON reader for files of strangers: RFC 8259 plus the dialect of docs/formats/packed-file.md section
// 1 (no duplicate keys, nesting at most 32, integers within 2^53 - 1, finite numbers, valid UTF-8 without lone
// surrogates).
//
// The document is one flat array of 16-byte nodes in the order of the text, and one pool with the unescaped strings, so
// that a text of n bytes never costs more than a constant factor of n. An object is a node followed by key, value, key,
// value, ...
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "network.h"

namespace gossamer {

class Json {
 public:
  enum class Type : uint8_t { null, boolean, integer, real, string, array, object };
  class View;

  // Throws Error{kind} whose message begins with `what` ("header of the file") and tells the byte.
  static Json parse(std::string_view text, Error::Kind kind, const char* what);
  View root() const;

 private:
  friend class JsonParser;
  struct Node {
    Type type = Type::null;
    uint32_t end = 0;  // index of the node behind this one and all that it holds
    union {
      int64_t integer;  // also boolean
      double real;
      struct {
        uint32_t offset, length;
      } span;  // string: place in the pool; array, object: length = number of children
    };
    Node() : integer(0) {}
  };
  std::vector<Node> nodes_;
  std::string pool_;
};

// A place in a document. An empty view (operator bool false) stands for "not there".
class Json::View {
 public:
  View() = default;
  View(const Json* json, uint32_t index) : json_(json), index_(index) {}
  explicit operator bool() const { return json_ != nullptr; }
  Type type() const { return node().type; }
  bool is(Type wanted) const { return json_ != nullptr && type() == wanted; }
  int64_t integer() const { return node().integer; }
  bool boolean() const { return node().integer != 0; }
  double number() const { return type() == Type::real ? node().real : static_cast<double>(node().integer); }
  std::string_view string() const {
    return std::string_view(json_->pool_).substr(node().span.offset, node().span.length);
  }
  size_t size() const { return node().span.length; }  // elements of an array, members of an object

  // f(View element)
  template <class F>
  void each(F&& f) const {
    uint32_t at = index_ + 1;
    for (; at < node().end; at = json_->nodes_[at].end) f(View(json_, at));
  }
  // f(std::string_view key, View value)
  template <class F>
  void each_member(F&& f) const {
    uint32_t at = index_ + 1;
    for (; at < node().end; at = json_->nodes_[at + 1].end) f(View(json_, at).string(), View(json_, at + 1));
  }
  const char* type_name() const;  // "an integer", "a string", ...

 private:
  const Node& node() const { return json_->nodes_[index_]; }
  const Json* json_ = nullptr;
  uint32_t index_ = 0;
};

inline Json::View Json::root() const { return View(this, 0); }

}  // namespace gossamer
