#include "json.h"

#include <algorithm>
#include <locale>
#include <sstream>

#include "check.h"

namespace gossamer {

namespace {
constexpr int deepest = 32;
constexpr int64_t largest_integer = (int64_t{1} << 53) - 1;
constexpr size_t longest_text = 0x7FFFFFFF;  // indices and offsets are 32 bits wide
}  // namespace

class JsonParser {
 public:
  JsonParser(std::string_view text, Error::Kind kind, const char* what, Json* out)
      : text_(text), kind_(kind), what_(what), out_(*out) {}

  void parse() {
    if (text_.size() > longest_text) error("expected at most 2 GiB of JSON");
    skip_space();
    value(1);
    skip_space();
    if (at_ != text_.size()) error("expected the end of the text after the value");
  }

 private:
  using Type = Json::Type;

  [[noreturn]] void error(const std::string& message) const { fail(kind_, what_, ": ", message, " at byte ", at_); }
  bool done() const { return at_ >= text_.size(); }
  // The next byte, or 0 at the end (a NUL byte is legal nowhere outside escapes, so 0 always ends in an error).
  unsigned char peek() const { return done() ? 0 : static_cast<unsigned char>(text_[at_]); }

  void skip_space() {
    while (!done() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }

  size_t add(Type type) {
    out_.nodes_.emplace_back();
    out_.nodes_.back().type = type;
    out_.nodes_.back().end = static_cast<uint32_t>(out_.nodes_.size());
    return out_.nodes_.size() - 1;
  }

  void close(size_t index, size_t children) {
    out_.nodes_[index].span.offset = 0;
    out_.nodes_[index].span.length = static_cast<uint32_t>(children);
    out_.nodes_[index].end = static_cast<uint32_t>(out_.nodes_.size());
  }

  void value(int depth) {
    switch (peek()) {
      case '{': return object(depth);
      case '[': return array(depth);
      case '"': string(); return;
      case 't': return word("true", Type::boolean, 1);
      case 'f': return word("false", Type::boolean, 0);
      case 'n': return word("null", Type::null, 0);
      default: return number();
    }
  }

  void word(std::string_view expected, Type type, int64_t number) {
    if (text_.substr(at_, expected.size()) != expected) error("expected a value");
    at_ += expected.size();
    out_.nodes_[add(type)].integer = number;
  }

  void array(int depth) {
    if (depth > deepest) error("expected nesting of at most 32");
    size_t index = add(Type::array), children = 0;
    ++at_;
    skip_space();
    if (peek() == ']') {
      ++at_;
      return close(index, 0);
    }
    for (;;) {
      value(depth + 1);
      ++children;
      skip_space();
      if (peek() == ']') break;
      if (peek() != ',') error("expected ',' or ']'");
      ++at_;
      skip_space();
    }
    ++at_;
    close(index, children);
  }

  void object(int depth) {
    if (depth > deepest) error("expected nesting of at most 32");
    size_t index = add(Type::object), children = 0;
    ++at_;
    skip_space();
    if (peek() == '}') {
      ++at_;
      return close(index, 0);
    }
    for (;;) {
      if (peek() != '"') error("expected a key in double quotes");
      string();
      skip_space();
      if (peek() != ':') error("expected ':'");
      ++at_;
      skip_space();
      value(depth + 1);
      ++children;
      skip_space();
      if (peek() == '}') break;
      if (peek() != ',') error("expected ',' or '}'");
      ++at_;
      skip_space();
    }
    ++at_;
    close(index, children);
    if (children > 1) check_keys(index, children);
  }

  void check_keys(size_t index, size_t children) const {
    std::vector<std::string_view> keys;
    keys.reserve(children);
    Json::View(&out_, static_cast<uint32_t>(index)).each_member([&](std::string_view key, Json::View) {
      keys.push_back(key);
    });
    std::sort(keys.begin(), keys.end());
    auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) error(text("expected every key once in an object, got ", quoted(*twice), " twice"));
  }

  void number() {
    size_t begin = at_;
    bool negative = peek() == '-', whole = true;
    if (negative) ++at_;
    if (!is_digit(peek())) error("expected a value");
    if (peek() == '0') {
      ++at_;
    } else {
      digits();
    }
    if (peek() == '.') {
      whole = false;
      ++at_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    std::string_view spelled = text_.substr(begin, at_ - begin);
    if (whole) {
      int64_t magnitude = 0;
      for (char c : spelled.substr(negative ? 1 : 0)) {
        magnitude = magnitude * 10 + (c - '0');
        if (magnitude > largest_integer) error("expected an integer of magnitude at most 2^53 - 1");
      }
      out_.nodes_[add(Type::integer)].integer = negative ? -magnitude : magnitude;
      return;
    }
    std::istringstream in{std::string(spelled)};  // of the classic locale: the decimal point is '.' in every program
    in.imbue(std::locale::classic());
    double real = 0;
    in >> real;
    if (in.fail()) error("expected a number that is finite as float64");
    out_.nodes_[add(Type::real)].real = real;
  }

  static bool is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
  void digits() {
    if (!is_digit(peek())) error("expected a digit");
    while (is_digit(peek())) ++at_;
  }

  void string() {
    size_t index = add(Type::string);
    size_t begin = out_.pool_.size();
    ++at_;
    for (;;) {
      if (done()) error("expected '\"' at the end of a string");
      unsigned char c = peek();
      if (c == '"') break;
      if (c < 0x20) error("expected control characters to be escaped in a string");
      if (c == '\\') {
        escape();
      } else if (c < 0x80) {
        out_.pool_ += static_cast<char>(c);
        ++at_;
      } else {
        multi_byte(c);
      }
    }
    ++at_;
    out_.nodes_[index].span.offset = static_cast<uint32_t>(begin);
    out_.nodes_[index].span.length = static_cast<uint32_t>(out_.pool_.size() - begin);
  }

  // One character of two to four bytes: shortest form, no surrogates, at most U+10FFFF.
  void multi_byte(unsigned char lead) {
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text_.size() - at_ < length) error("expected valid UTF-8");
    auto second = static_cast<unsigned char>(text_[at_ + 1]);
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high) error("expected valid UTF-8");
    for (size_t i = 2; i < length; ++i) {
      if ((static_cast<unsigned char>(text_[at_ + i]) & 0xC0) != 0x80) error("expected valid UTF-8");
    }
    out_.pool_.append(text_.substr(at_, length));
    at_ += length;
  }

  void escape() {
    ++at_;
    unsigned char c = peek();
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    for (size_t i = 0; i < 8; ++i) {
      if (c == static_cast<unsigned char>(from[i])) {
        out_.pool_ += to[i];
        ++at_;
        return;
      }
    }
    if (c != 'u') error("expected one of \" \\ / b f n r t u after '\\'");
    ++at_;
    uint32_t unit = four_hex();
    if (unit >= 0xDC00 && unit <= 0xDFFF) error("expected no lone surrogate");
    if (unit >= 0xD800 && unit <= 0xDBFF) {
      if (text_.substr(at_, 2) != "\\u") error("expected no lone surrogate");
      at_ += 2;
      uint32_t second = four_hex();
      if (second < 0xDC00 || second > 0xDFFF) error("expected no lone surrogate");
      unit = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
    }
    put_utf8(unit);
  }

  uint32_t four_hex() {
    uint32_t unit = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      unsigned char c = peek();
      uint32_t digit = 0;
      if (is_digit(c)) {
        digit = c - '0';
      } else if (c >= 'a' && c <= 'f') {
        digit = c - 'a' + 10;
      } else if (c >= 'A' && c <= 'F') {
        digit = c - 'A' + 10;
      } else {
        error("expected four hexadecimal digits after '\\u'");
      }
      unit = unit * 16 + digit;
    }
    return unit;
  }

  void put_utf8(uint32_t point) {
    auto put = [&](uint32_t byte) { out_.pool_ += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (point < 0x80) {
      put(point);
    } else if (point < 0x800) {
      put(0xC0 | point >> 6);
      put(0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
      put(0xE0 | point >> 12);
      put(0x80 | ((point >> 6) & 0x3F));
      put(0x80 | (point & 0x3F));
    } else {
      put(0xF0 | point >> 18);
      put(0x80 | ((point >> 12) & 0x3F));
      put(0x80 | ((point >> 6) & 0x3F));
      put(0x80 | (point & 0x3F));
    }
  }

  std::string_view text_;
  Error::Kind kind_;
  const char* what_;
  Json& out_;
  size_t at_ = 0;
};

Json Json::parse(std::string_view text, Error::Kind kind, const char* what) {
  Json json;
  JsonParser(text, kind, what, &json).parse();
  return json;
}

const char* Json::View::type_name() const {
  static const char* const names[] = {"null",     "a boolean", "an integer", "a number",
                                      "a string", "an array",  "an object"};
  return json_ == nullptr ? "nothing" : names[static_cast<size_t>(type())];
}

}  // namespace gossamer
