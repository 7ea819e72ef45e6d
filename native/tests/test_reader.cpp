// The reader: every format decoded from bytes worked by hand, and the message of every kind of malformed file.
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "check.h"
#include "network.h"
#include "packed.h"

namespace {

using gossamer::Error;
using test::bytes;
using test::floats;
using test::halves;
using test::Packed;
using Parts = std::vector<test::TensorSpec>;
using Dense = std::vector<std::vector<float>>;

std::shared_ptr<const gossamer::File> open(const Packed& packed) {
  test::Bytes raw = packed.build();
  return gossamer::open_bytes(raw.data(), raw.size());
}

Packed linear(int rows, int columns, const std::string& format, const std::string& parameters, const Parts& parts,
              const std::string& dtype = "float32") {
  Packed packed;
  packed.network = test::linear_network(columns);
  packed.weight("w", format, "[" + std::to_string(rows) + ", " + std::to_string(columns) + "]", dtype, parameters,
                parts);
  return packed;
}

Dense decoded(const Packed& packed) {
  auto file = open(packed);
  const gossamer::Weight& w = file->network.weights[0];
  gossamer::SparseRows rows = gossamer::decode_rows(w);
  Dense out(static_cast<size_t>(rows.rows), std::vector<float>(static_cast<size_t>(rows.columns), 0.0f));
  CHECK(rows.row_start.front() == 0 && rows.row_start.back() == w.num_kept);
  for (size_t r = 0; r < out.size(); ++r) {
    for (auto i = static_cast<size_t>(rows.row_start[r]); i < static_cast<size_t>(rows.row_start[r + 1]); ++i) {
      if (i > static_cast<size_t>(rows.row_start[r])) CHECK(rows.column[i - 1] < rows.column[i]);
      out[r][static_cast<size_t>(rows.column[i])] = rows.value[i];
    }
  }
  return out;
}

void dense() {
  auto file = open(
      linear(2, 2, "dense", "", {{"values", "F16", "[2, 2]", halves({0x3C00, 0xC000, 0x0001, 0x8000})}}, "float16"));
  std::vector<float> values = gossamer::decode_dense(file->network.weights[0]);
  CHECK(values[0] == 1.0f && values[1] == -2.0f && values[2] == std::ldexp(1.0f, -24) && values[3] == 0.0f &&
        std::signbit(values[3]));
  CHECK(file->network.nodes[0].weight == 0 && file->network.nodes[0].bias == -1);
  CHECK(file->network.values[1].shape[0].symbol == 0 && file->network.values[1].shape[1].size == 2);
  auto shapes = gossamer::infer_shapes(file->network, {3});
  CHECK((shapes[0] == std::vector<int64_t>{3, 2} && shapes[1] == std::vector<int64_t>{3, 2}));
  for (int bad : {0x7C00, 0xFC00, 0x7E00}) {
    CHECK_ERROR(open(linear(1, 1, "dense", "", {{"values", "F16", "[1, 1]", halves({bad})}}, "float16")),
                "expected finite values");
  }
  CHECK_ERROR(open(linear(1, 1, "dense", "", {{"values", "F32", "[1, 1]", floats({INFINITY})}})),
              "weight 'w', part 'values': expected finite values");
  CHECK_ERROR(open(linear(1, 1, "dense", "", {{"values", "F32", "[1]", floats({1})}})),
              "expected shape [1, 1], got [1]");
  CHECK_ERROR(open(linear(1, 1, "dense", "", {{"values", "F16", "[1, 1]", halves({1})}})),
              "expected dtype F32, got F16");
}

void unstructured() {
  // 2 x 3, entries at slots 1 and 5: gaps 1, then 5 - 2 = 3.
  auto make = [](const std::vector<int>& gaps, const std::vector<float>& values, int rows = 2, int columns = 3) {
    return linear(rows, columns, "unstructured", "",
                  {{"values", "F32", "[" + std::to_string(values.size()) + "]", floats(values)},
                   {"gaps", "U8", "[" + std::to_string(gaps.size()) + "]", bytes(gaps)}});
  };
  CHECK((decoded(make({1, 3}, {7, 8})) == Dense{{0, 7, 0}, {0, 0, 8}}));
  CHECK((decoded(make({}, {})) == Dense{{0, 0, 0}, {0, 0, 0}}));
  Dense wide = decoded(make({255, 0, 255, 44}, {1, 2}, 1, 600));  // slots 255 and 256 + 255 + 44 = 555
  CHECK(wide[0][255] == 1 && wide[0][555] == 2);
  CHECK_ERROR(open(make({1, 4}, {7, 8})), "part 'gaps': expected slots below 6, got 6");
  CHECK_ERROR(open(make({1}, {7, 8})), "expected 2 slots, as many as 'values' has, got 1");
  CHECK_ERROR(open(make({1, 0, 0}, {7, 8})), "got more");
  CHECK_ERROR(open(make({255}, {})), "expected slots below 6");
  CHECK_ERROR(open(make({}, {}, 1, 255)), "expected the gaps to reach the end (255 slots), got an end at 0");
  CHECK(test::error_of([&] { open(make({255}, {}, 1, 255)); }).empty());
  CHECK(test::error_of([&] { open(make({255}, {}, 1, 509)); }).empty());
  CHECK_ERROR(open(make({255}, {}, 1, 510)), "reach the end");
}

void block() {
  // 4 x 4 in blocks of 2 x 1: block rows 0, 1; slots 2 (block row 0, column 2) and 5 (block row 1, column 1).
  auto make = [](const std::string& parameters) {
    return linear(4, 4, "block", parameters,
                  {{"values", "F32", "[2, 2, 1]", floats({1, 2, 3, 4})}, {"gaps", "U8", "[2]", bytes({2, 2})}});
  };
  CHECK(
      (decoded(make("\"rows\": 2, \"columns\": 1")) == Dense{{0, 0, 1, 0}, {0, 0, 2, 0}, {0, 3, 0, 0}, {0, 4, 0, 0}}));
  CHECK_ERROR(open(make("\"rows\": 3, \"columns\": 1")), "that divide [4, 4], got 3x1");
  CHECK_ERROR(open(make("\"rows\": 1, \"columns\": 1")), "2 or more entries");
  CHECK_ERROR(open(make("\"rows\": 1, \"columns\": 2")), "expected shape [2, 1, 2], got [2, 2, 1]");
  CHECK_ERROR(open(make("\"rows\": 2")), "expected the key 'columns', got none");
  CHECK_ERROR(open(make("\"rows\": 2, \"columns\": 1, \"x\": 1")), "got 'x'");
}

void n_of_m() {
  // 1 x 6, 2 of 3: positions (0, 2) and (1, 2) in 2 bits each, low bits first: 00 10 01 10 -> 10 01 10 00b = 0x98.
  auto make = [](int word) {
    return linear(1, 6, "n_of_m", "\"n\": 2, \"m\": 3",
                  {{"values", "F32", "[4]", floats({1, 2, 3, 4})}, {"positions", "U8", "[1]", bytes({word})}});
  };
  CHECK((decoded(make(0x98)) == Dense{{1, 0, 2, 0, 3, 4}}));
  CHECK_ERROR(open(make(0x58)), "expected increasing positions below 3, got 1 after 1 in group 1");
  CHECK_ERROR(open(make(0xD8)), "got 3 after 1");
}

void gather_scatter() {
  // B = 4, k = 2: groups of 2 rows; 4 x 8, at most 4 bundles a group: 3 bits a count. Group 0: 1 bundle, group 1: 1
  // bundle -> 001 001b = 9. Bundle: lanes 0, 1 row 0 columns 4, 1; lanes 2, 3 row 1 columns 2, 7 (residues 0, 1, 2, 3),
  // 3 bits each: 100 001 010 111. Second bundle: row 2 columns 3, 6; row 3 columns 0, 5. Bits: 4 | 1<<3 | 2<<6 | 7<<9 |
  // 3<<12 | 6<<15 | 0<<18 | 5<<21.
  auto make = [](unsigned word, int counts) {
    return linear(
        4, 8, "gather_scatter", "\"banks\": 4, \"per_row\": 2",
        {{"values", "F32", "[2, 4]", floats({1, 2, 3, 4, 5, 6, 7, 8})},
         {"columns", "U8", "[3]",
          bytes({static_cast<int>(word & 255), static_cast<int>(word >> 8 & 255), static_cast<int>(word >> 16)})},
         {"counts", "U8", "[1]", bytes({counts})}});
  };
  unsigned word = 4u | 1u << 3 | 2u << 6 | 7u << 9 | 3u << 12 | 6u << 15 | 0u << 18 | 5u << 21;
  CHECK(
      (decoded(make(word, 9)) ==
       Dense{{0, 2, 0, 0, 1, 0, 0, 0}, {0, 0, 3, 0, 0, 0, 0, 4}, {0, 0, 0, 5, 0, 0, 6, 0}, {7, 0, 0, 0, 0, 8, 0, 0}}));
  CHECK((decoded(make(word, 2))[1] == std::vector<float>{7, 0, 3, 0, 0, 8, 0, 4}));  // both bundles in group 0
  CHECK_ERROR(open(make(word, 8)), "expected a sum of 2 bundles, got 1");
  CHECK_ERROR(open(make(word, 10)), "expected a sum of 2 bundles, got more at group 1");
  CHECK_ERROR(open(make(word, 9 | 64)), "part 'counts': expected 0 in the unused bits");
  CHECK_ERROR(open(make(word ^ 5u, 9)),
              "expected different residues modulo 4 in a bundle, got 1 twice in group 0");  // columns 1 and 1
  CHECK_ERROR(open(make((word & 0xFFFu) | (word & 0xFFFu) << 12, 2)),
              "expected every entry once, got row 0, column 1 twice");

  // Horizontal, B = k = 2, 1 x 6: column = 2 * index + lane, indices below 3 in 2 bits; 2 bits of count.
  auto horizontal = [](int word8) {
    return linear(1, 6, "gather_scatter", "\"banks\": 2, \"per_row\": 2",
                  {{"values", "F32", "[1, 2]", floats({1, 2})},
                   {"columns", "U8", "[1]", bytes({word8})},
                   {"counts", "U8", "[1]", bytes({1})}});
  };
  CHECK((decoded(horizontal(2 | 0 << 2)) == Dense{{0, 2, 0, 0, 1, 0}}));
  CHECK_ERROR(open(horizontal(3)), "expected columns below 6, got 6");
}

void window() {
  // 8 x 16, two bundles in slot 1 (columns 8..15): lane i in column i, then lane i in column 7 - i.
  unsigned rising = 0, falling = 0;
  for (unsigned i = 0; i < 8; ++i) {
    rising |= i << 3 * i;
    falling |= (7 - i) << 3 * i;
  }
  auto make = [](const std::vector<int>& gaps, unsigned a, unsigned b) {
    std::vector<int> lanes;
    for (unsigned word : {a, b}) {
      for (int shift : {0, 8, 16}) lanes.push_back(static_cast<int>(word >> shift & 255));
    }
    std::vector<float> values;
    for (int i = 1; i <= 16; ++i) values.push_back(static_cast<float>(i));
    return linear(8, 16, "window", "\"width\": 8",
                  {{"values", "F32", "[2, 8]", floats(values)},
                   {"gaps", "U8", "[" + std::to_string(gaps.size()) + "]", bytes(gaps)},
                   {"lanes", "U8", "[6]", bytes(lanes)}});
  };
  Dense out = decoded(make({1, 0}, rising, falling));
  CHECK(out[0][8] == 1 && out[0][15] == 9 && out[7][15] == 8 && out[7][8] == 16 && out[3][11] == 4 && out[3][12] == 12);
  CHECK_ERROR(open(make({1, 0}, rising, rising)), "expected every entry once, got lane 0 of slot 1 twice");
  CHECK(test::error_of([&] { open(make({0, 1}, rising, rising)); }).empty());
  CHECK_ERROR(open(make({1, 1}, rising, falling)), "expected slots below 2, got 2");
}

void container() {
  Packed good = linear(1, 2, "dense", "", {{"values", "F32", "[1, 2]", floats({1, 2})}});
  test::Bytes raw = good.build();
  CHECK(test::error_of([&] { gossamer::open_bytes(raw.data(), raw.size()); }).empty());
  for (size_t size = 0; size < raw.size(); ++size) {  // every truncation is refused
    CHECK(!test::error_of([&] { gossamer::open_bytes(test::Bytes(raw, 0, size).data(), size); }).empty());
  }
  CHECK_ERROR(gossamer::open_bytes((raw + "x").data(), raw.size() + 1), "expected 8 bytes of tensor data, got 9");
  Packed bad = good;
  bad.checksum = "00000000";
  CHECK_ERROR(open(bad), "manifest: expected CRC-32 '00000000'");
  bad = good;
  bad.tensors[0].shape = "[1, 3]";
  CHECK_ERROR(open(bad), "tensor 'w.values': expected 12 bytes for F32 of shape [1, 3], got 8");
  bad.tensors[0].shape = "[4503599627370496, 4503599627370496, 4503599627370496]";
  CHECK_ERROR(open(bad), "expected fewer than 2^62 bytes");
  bad.tensors[0].shape = "[1, 1, 1, 1, 1, 1, 1, 1, 2]";
  CHECK_ERROR(open(bad), "at most 8 integers");
  bad = good;
  bad.tensors[0].data[0] = 'x';
  CHECK_ERROR(open(bad), "weight 'w', part 'values': expected CRC-32");
  bad = good;
  bad.tensors.push_back({"more", "U8", "[1]", bytes({1})});
  CHECK_ERROR(open(bad), "tensor 'more': expected every tensor to be part of a weight");
  bad = good;
  bad.header = "{\"a\": {\"dtype\": \"F32\", \"shape\": [1, 2], \"data_offsets\": [0, 8]}}";
  CHECK_ERROR(open(bad), "is this a packed file");
  CHECK_ERROR(gossamer::open_file("/nonexistent/file"), "expected a readable packed file");
  CHECK_ERROR(gossamer::open_file("/"), "expected a regular file");
  char folder[] = "/tmp/gossamer_reader_XXXXXX";  // a pipe without a writer: an error, not a wait
  CHECK(mkdtemp(folder) != nullptr);
  const std::string pipe = std::string(folder) + "/pipe";
  CHECK(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_ERROR(gossamer::open_file(pipe), "expected a regular file");
  unlink(pipe.c_str());
  rmdir(folder);
  CHECK_ERROR(gossamer::open_bytes("PK\3\4", 4), "expected a packed file");
}

void manifest() {
  Packed good = linear(1, 2, "dense", "", {{"values", "F32", "[1, 2]", floats({1, 2})}});
  Packed bad = good;
  bad.version = "2";
  CHECK(test::error_of([&] { open(bad); }).empty());  // a file of version 2 may use nothing of it
  bad.version = "3";
  CHECK_ERROR(open(bad), "expected format_version 1 to 2, got 3; a newer Gossamer wrote this file");
  bad = good;
  bad.more = ", \"extra\": 1";
  CHECK_ERROR(open(bad), "got 'extra'");
  bad.more = ", \"labels\": [\"a\", 1]";
  CHECK_ERROR(open(bad), "expected 'labels' to be a string, got an integer");
  bad.more = ", \"labels\": [\"a\"], \"license\": \"CC0\", \"metrics\": {\"x\": [1.5, null]}";
  CHECK(test::error_of([&] { open(bad); }).empty());
  auto change = [&](const std::string& from, const std::string& to) {
    Packed changed = good;
    size_t at = changed.network.find(from);
    CHECK(at != std::string::npos);
    changed.network.replace(at, from.size(), to);
    return changed;
  };
  CHECK_ERROR(open(change("\"n\", 2", "\"m\", 2")), "expected a symbol of 'dims', got 'm'");
  CHECK_ERROR(open(change("\"n\", 2", "1, 2")), "expected every symbol of 'dims' to be used");
  CHECK_ERROR(open(change("\"n\", 2", "\"n\", 3")),
              "node 'fc' (linear): expected a weight of 3 columns for the input [1, 3], got shape [1, 2]");
  CHECK_ERROR(open(change("\"min\": 1, \"max\": 4", "\"min\": 5, \"max\": 4")),
              "expected 'max' from 5 to 65536, got 4");
  CHECK_ERROR(open(change("\"inputs\": [\"x\"]", "\"inputs\": [\"y\"]")),
              "expected a value that an input or an earlier node defines, got 'y'");
  CHECK_ERROR(open(change("\"weight\": \"w\"", "\"weight\": \"v\"")), "to name a weight of the manifest, got 'v'");
  CHECK_ERROR(open(change("\"linear\"", "\"gemm\"")), "expected one of the operators conv2d");
  CHECK_ERROR(open(change("\"float32\"", "\"float64\"")), "input 'x': expected dtype float32, got 'float64'");
  Error::Kind kind = Error::Kind::io;
  test::error_of([&] { open(change("\"linear\"", "\"gemm\"")); }, &kind);
  CHECK(kind == Error::Kind::graph);
}

void operators() {
  auto accepts = [](const std::string& op, const std::string& attributes, const std::string& inputs = "\"x\"") {
    Packed packed;
    packed.network = test::one_node(op, attributes, inputs);
    return test::error_of([&] { open(packed); });
  };
  const std::string pool = "\"kernel\": [2, 3], \"stride\": [2, 1], \"padding\": [1, 0, 1, 1]";
  CHECK(accepts("max_pool2d", pool + ", \"dilation\": [1, 1]").empty());
  CHECK(accepts("avg_pool2d", pool + ", \"count_include_pad\": true").empty());
  CHECK(accepts("avg_pool2d", pool + ", \"count_include_pad\": 1").find("to be a boolean") != std::string::npos);
  CHECK(accepts("max_pool2d", pool).find("expected the attribute 'dilation', got none") != std::string::npos);
  CHECK(accepts("max_pool2d", "\"kernel\": [2, 3], \"stride\": [2, 1], \"padding\": [1, 2, 1, 1], \"dilation\": [1, 1]")
            .find("at most half the window of 3") != std::string::npos);
  CHECK(accepts("max_pool2d", "\"kernel\": [7, 3], \"stride\": [1, 1], \"padding\": [0, 0, 0, 0], \"dilation\": [1, 1]")
            .find("window to fit") != std::string::npos);
  CHECK(accepts("concat", "\"axis\": 1", "\"x\", \"x\"").empty());
  CHECK(accepts("concat", "\"axis\": 4", "\"x\", \"x\"").find("'axis' below the rank 4, got 4") != std::string::npos);
  CHECK(accepts("concat", "\"axis\": 0", "\"x\", \"x\"").find("from 1 to") != std::string::npos);
  CHECK(accepts("concat", "\"axis\": 1").find("expected 2 to 64 inputs of concat, got 1") != std::string::npos);
  CHECK(accepts("layer_norm", "\"axes\": 3, \"epsilon\": 1").empty());
  CHECK(accepts("layer_norm", "\"axes\": 3, \"epsilon\": 0").find("greater than 0") != std::string::npos);
  CHECK(accepts("gelu", "\"approximate\": \"erf\"").find("one of none, tanh, got 'erf'") != std::string::npos);
  CHECK(accepts("relu", "\"axis\": 1").find("expected only attributes of relu, got 'axis'") != std::string::npos);
  CHECK(accepts("flatten", "\"start\": 3").empty());
  CHECK(accepts("channel_affine", "").find("expected the weight 'scale', got none") != std::string::npos);
  CHECK(accepts("adaptive_avg_pool2d", "\"output\": [65536, 65536]")
            .empty());  // 2^36 elements at the batch of 4: the planner's affair
  CHECK(accepts("adaptive_avg_pool2d", "\"output\": [65537, 1]").find("from 1 to 65536, got 65537") !=
        std::string::npos);
}

// x [n, s, 3] and more -> nodes; what version 2 adds.
void version_2() {
  auto make = [](const std::string& version, const std::string& nodes, const std::string& inputs = "",
                 const std::string& more = "", const std::string& output = "y") {
    Packed packed;
    packed.version = version;
    packed.network =
        "{\"name\": \"t\", \"dims\": {\"s\": {\"min\": 2, \"max\": 6}, \"n\": {\"min\": 1, \"max\": 4}}, "
        "\"inputs\": [{\"name\": \"x\", \"shape\": [\"n\", \"s\", 3], \"dtype\": \"float32\"}" +
        inputs + "], \"outputs\": [{\"name\": \"out\", \"value\": \"" + output + "\"}], \"nodes\": [" + nodes + "]" +
        more + "}";
    return packed;
  };
  auto node = [](const std::string& op, const std::string& attributes, const std::string& inputs = "\"x\"",
                 const std::string& outputs = "\"y\"", const std::string& weights = "") {
    return "{\"op\": \"" + op + "\", \"name\": \"it\", \"inputs\": [" + inputs + "], \"outputs\": [" + outputs +
           "], \"attributes\": {" + attributes + "}, \"weights\": {" + weights + "}}";
  };
  auto shapes = [&](const std::string& op, const std::string& attributes, const std::string& inputs = "\"x\"") {
    auto file = open(make("2", node(op, attributes, inputs)));
    CHECK(file->network.length == 0 && file->network.batch == 1);
    return gossamer::infer_shapes(file->network, {5, 3}).back();  // s = 5, n = 3
  };
  using Shape = std::vector<int64_t>;
  CHECK((shapes("tanh", "") == Shape{3, 5, 3}));
  CHECK((shapes("mul", "", "\"x\", \"x\"") == Shape{3, 5, 3}));
  CHECK((shapes("mean", "\"axes\": [1], \"keep\": true") == Shape{3, 1, 3}));
  CHECK((shapes("sum", "\"axes\": [1, 2], \"keep\": false") == Shape{3}));
  CHECK((shapes("argmax", "\"axis\": 2, \"keep\": false") == Shape{3, 5}));
  CHECK((shapes("reshape", "\"shape\": [\"s\", 1, -1]") == Shape{3, 5, 1, 3}));
  CHECK((shapes("permute", "\"order\": [2, 1]") == Shape{3, 3, 5}));
  CHECK((shapes("slice", "\"axis\": 1, \"start\": -2, \"stop\": null, \"step\": 1") == Shape{3, 2, 3}));
  CHECK((shapes("slice", "\"axis\": 1, \"start\": 1, \"stop\": 100, \"step\": 3") == Shape{3, 2, 3}));
  CHECK((shapes("pad", "\"before\": [1, 0], \"after\": [1, 2], \"mode\": \"constant\", \"value\": 0.5") ==
         Shape{3, 7, 5}));
  CHECK((shapes("matmul", "\"transpose_b\": true", "\"x\", \"x\"") == Shape{3, 5, 5}));
  CHECK((shapes("attention", "\"scale\": 1, \"causal\": true, \"mask\": \"none\"", "\"x\", \"x\", \"x\"") ==
         Shape{3, 5, 3}));
  auto fails = [&](const std::string& op, const std::string& attributes, const std::string& inputs = "\"x\"") {
    return test::error_of([&] { open(make("2", node(op, attributes, inputs))); });
  };
  auto has = [](const std::string& message, const char* words) { return message.find(words) != std::string::npos; };
  CHECK(has(fails("mean", "\"axes\": [2, 1], \"keep\": true"), "ascending"));
  CHECK(has(fails("mean", "\"axes\": [3], \"keep\": true"), "'axes' below the rank 3, got 3"));
  CHECK(has(fails("reshape", "\"shape\": [4, -1]"), "expected a shape of 6 elements like the input [1, 2, 3]"));
  CHECK(has(fails("reshape", "\"shape\": [-1, -1]"), "at most one -1"));
  CHECK(has(fails("reshape", "\"shape\": [\"n\", -1]"), "to be the length of the network, got 'n'"));
  CHECK(has(fails("permute", "\"order\": [1, 1]"), "each axis from 1 to 2 once"));
  CHECK(has(fails("slice", "\"axis\": 1, \"start\": 2, \"stop\": null, \"step\": 1"), "at least one element"));
  CHECK(has(fails("pad", "\"before\": [0, 3], \"after\": [0, 0], \"mode\": \"reflect\", \"value\": 0"), "reflected"));
  CHECK(has(fails("attention", "\"scale\": 1, \"causal\": true, \"mask\": \"keep\"", "\"x\", \"x\", \"x\""),
            "expected a mask as fourth input"));
  CHECK(has(test::error_of([&] { open(make("1", node("relu", ""))); }), "expected at most 1 symbol"));

  // A state, an input of integers, several outputs.
  const std::string h = ", {\"name\": \"h\", \"shape\": [\"n\", 2], \"dtype\": \"float32\"}";
  auto gru = [&](const std::string& more, const std::string& output) {
    Packed packed = make(
        "2",
        node("gru", "\"reverse\": false", "\"x\", \"h\"", "\"y\", \"last\"", "\"input\": \"u\", \"hidden\": \"v\""), h,
        more, output);
    packed.weight("u", "dense", "[6, 3]", "float32", "", {{"values", "F32", "[6, 3]", floats(std::vector<float>(18))}});
    packed.weight("v", "dense", "[6, 2]", "float32", "", {{"values", "F32", "[6, 2]", floats(std::vector<float>(12))}});
    return packed;
  };
  const std::string states = ", \"states\": [{\"input\": \"h\", \"output\": \"out\"}]";
  auto file = open(gru(states, "last"));
  CHECK(file->network.states.size() == 1 && file->network.states[0].input == 1 && file->network.states[0].output == 0);
  CHECK(file->network.nodes[0].more_outputs.size() == 1 && file->network.nodes[0].hidden == 1);
  CHECK((gossamer::infer_shapes(file->network, {2, 1}).back() == Shape{1, 2}));
  CHECK(file->network.values[static_cast<size_t>(file->network.nodes[0].output)].shape[1].size == 6);
  CHECK_ERROR(open(gru(states, "y")), "state 'h': expected its output 'out' to have its shape [1, 2], got [1, 2, 2]");
  CHECK_ERROR(open(gru(", \"states\": []", "last")), "expected at least one of 'states'");
  CHECK_ERROR(open(gru(", \"states\": [{\"input\": \"x\", \"output\": \"out\"}]", "last")),
              "without the length symbol");
  auto whole = open(make("2", node("relu", ""), ", {\"name\": \"i\", \"shape\": [\"n\"], \"dtype\": \"int64\"}"));
  CHECK(whole->network.input_types[1] == gossamer::InputType::i64);
}

}  // namespace

int main() {
  dense();
  unstructured();
  block();
  n_of_m();
  gather_scatter();
  window();
  container();
  manifest();
  operators();
  version_2();
  return test::done();
}
