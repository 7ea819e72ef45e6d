// Weights in the order in which the matrix-times-vector kernels read them. The order follows the format of the file
// (bundles, windows, blocks), and so does the precision: what the file stores in halves stays in halves, exactly.
#pragma once
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "network.h"
#include "planner.h"

namespace gossamer {

// Bytes at a multiple of 64, so that no vector of a block splits a cache line.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(size_t size) : size_(size) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, size + 64) != 0) throw std::bad_alloc();  // vectors may be read behind the end
    data_.reset(static_cast<uint8_t*>(memory));
    std::fill(data_.get(), data_.get() + size + 64, uint8_t{0});
  }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  std::unique_ptr<uint8_t, Free> data_;
  size_t size_ = 0;
};

struct PackedVector {
  VectorKernel kernel = kRows;
  Stored stored = kF32;
  int per_row = 1, wide = 0;
  int64_t rows = 0, width = 0, units = 0, unit_rows = 1;
  AlignedBytes values, columns;
  std::vector<uint32_t> start;
  std::vector<float> scale;
  std::string why;  // the order in words
  size_t bytes() const { return values.size() + columns.size() + start.size() * 4 + scale.size() * 4; }
};

// Above this share kept an unstructured row is a bitmap. 4096x1024 (avx512, hot, us, rows against bitmap): 20 % kept
// 190 / 240, 30 % 300 / 270, 50 % 560 / 350.
constexpr double kBitmapAbove = 0.25;

PackedVector pack_vector(const Weight& weight, Budget& budget);

}  // namespace gossamer
