// The JSON dialect of docs/formats/packed-file.md: what is accepted, with which value, and what is not.
#include <clocale>
#include <locale>

#include "check.h"
#include "crc32.h"
#include "json.h"

namespace {

using gossamer::Json;
using Type = Json::Type;

Json parse(std::string_view text) { return Json::parse(text, gossamer::Error::Kind::graph, "text"); }
bool accepts(std::string_view text) {
  return test::error_of([&] { parse(text); }).empty();
}
std::string nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']');
}

void numbers() {
  CHECK(parse("0").root().integer() == 0);
  CHECK(parse("-0").root().is(Type::integer));
  CHECK(parse(" -12\n").root().integer() == -12);
  CHECK(parse("9007199254740991").root().integer() == 9007199254740991);
  CHECK(parse("-9007199254740991").root().integer() == -9007199254740991);
  CHECK(parse("1.0").root().is(Type::real));
  CHECK(parse("1e2").root().number() == 100.0);
  CHECK(parse("2.5E-1").root().number() == 0.25);
  CHECK(parse("0.1").root().number() == 0.1);
  CHECK(parse("1e-999").root().number() == 0.0);
  CHECK(parse("5e-324").root().number() == 5e-324);
  CHECK(parse("1.7976931348623157e308").root().number() == 1.7976931348623157e308);
  CHECK(parse("1" + std::string(400, '0') + ".5e-400").root().number() > 0.9);
  for (const char* bad : {"9007199254740992",
                          "-9007199254740992",
                          "18446744073709551617",
                          "01",
                          "-",
                          "+1",
                          "1.",
                          ".5",
                          "1e",
                          "1e+",
                          "0x10",
                          "1e999",
                          "-1e999",
                          "1.7976931348623159e308",
                          "NaN",
                          "Infinity",
                          "-Infinity",
                          "1 2",
                          "1_0",
                          "--1",
                          "1,5"}) {
    CHECK(!accepts(bad));
  }
}

void strings() {
  CHECK(parse("\"\"").root().string() == "");
  CHECK(parse(R"("a\"\\\/\b\f\n\r\t")").root().string() == "a\"\\/\b\f\n\r\t");
  CHECK(parse(R"("\u0041\u00e9\u20AC\ud83d\ude00")").root().string() == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  CHECK(parse("\"\xC3\xA9\xF4\x8F\xBF\xBF\"").root().string() == "\xC3\xA9\xF4\x8F\xBF\xBF");
  CHECK(parse(R"("\u0000")").root().string() == std::string_view("\0", 1));
  CHECK(parse("\"\x7F\"").root().string() == "\x7F");
  for (const char* bad : {"\"",
                          "\"a",
                          "\"\\",
                          "\"\\\"",
                          "'a'",
                          "\"\\x41\"",
                          "\"\\u12\"",
                          "\"\\u12g4\"",
                          "\"\n\"",
                          "\"\x01\"",
                          "\"\\ud800\"",
                          "\"\\udc00\"",
                          "\"\\ud800\\u0041\"",
                          "\"\\ud800x\"",
                          "\"\x80\"",
                          "\"\xC0\x80\"",
                          "\"\xC1\xBF\"",
                          "\"\xE0\x80\x80\"",
                          "\"\xED\xA0\x80\"",
                          "\"\xF0\x80\x80\x80\"",
                          "\"\xF4\x90\x80\x80\"",
                          "\"\xF5\x80\x80\x80\"",
                          "\"\xC3\"",
                          "\"\xE2\x82\"",
                          "\"\xE2\x82",
                          "\"\xFF\""}) {
    CHECK(!accepts(bad));
  }
  CHECK(!accepts(std::string_view("\"a\0b\"", 5)));
}

void structure() {
  Json json = parse(R"({"a": [1, {"b": null}, "x"], "": {}, "c": true, "d": false})");
  Json::View root = json.root();
  CHECK(root.size() == 4);
  std::string keys;
  root.each_member(
      [&](std::string_view key, Json::View value) { keys += std::string(key) + ":" + value.type_name() + ";"; });
  CHECK(keys == "a:an array;:an object;c:a boolean;d:a boolean;");
  root.each_member([&](std::string_view key, Json::View value) {
    if (key != "a") return;
    int sum = 0;
    value.each([&](Json::View element) { sum += element.is(Type::integer) ? 1 : element.is(Type::object) ? 10 : 100; });
    CHECK(sum == 111);
  });
  CHECK(accepts("\t\r\n [ ] "));
  CHECK(accepts(nested(32)));
  CHECK(!accepts(nested(33)));
  CHECK(!accepts(std::string(100000, '[')));
  CHECK(!accepts(std::string(100000, '{')));
  for (const char* bad :
       {"",           " ",        "[",       "]",        "[1",         "[1,",   "[1,]",  "[,1]",
        "{",          "{\"a\"",   "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{a:1}", "{1:2}", "{\"a\" 1}",
        "[1 2]",      "nul",      "nulll",   "True",     "tru",        "[]]",   "{}{}",  "\xEF\xBB\xBF{}",
        "\xC2\xA0{}", "// x\n{}", "\x0B[]"}) {
    CHECK(!accepts(bad));
  }
  CHECK(!accepts(std::string_view("[]\0", 3)));
  CHECK_ERROR(parse(R"({"a": 1, "b": 2, "a": 3})"), "expected every key once in an object, got 'a' twice");
  CHECK_ERROR(parse(R"({"a": 1, "\u0061": 3})"), "twice");
  CHECK(accepts(R"([{"a": 1}, {"a": 1}])"));
  CHECK_ERROR(parse("[1, x]"), "text: expected a value at byte 4");
}

struct CommaPoint : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
};

// A program around us may have any locale.
void locales() {
  std::locale before = std::locale::global(std::locale(std::locale::classic(), new CommaPoint));
  CHECK(parse("0.5").root().number() == 0.5);
  CHECK(!accepts("0,5"));
  std::locale::global(before);
}

void checksums() {
  CHECK(gossamer::crc32_hex("123456789", 9) == "cbf43926");  // the check value of the CRC catalogue
  CHECK(gossamer::crc32_hex("", 0) == "00000000");
  std::string long_text(1000, 'a');
  CHECK(gossamer::crc32_hex(long_text.data(), long_text.size()) == "9a38da03");
}

}  // namespace

int main() {
  numbers();
  strings();
  structure();
  locales();
  checksums();
  return test::done();
}
