// Memory of packed weights: pieces of large mappings for which huge pages are asked. A stream of weights that comes
// from memory crosses a 4 KiB page every 0.3 us; on a Xeon (Sapphire Rapids, virtual machine) 8x1 blocks of halves
// came at 8.3 GB/s from ordinary pages, at 14.3 from huge ones, at 16.6 with prefetches 2 KiB ahead as well.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace gossamer {

// Zero at first; at a multiple of 64, with 64 more readable bytes behind the end. Pieces of one thread's plans share
// mappings, which go when their last piece goes.
class WeightBytes {
 public:
  WeightBytes() = default;
  explicit WeightBytes(size_t size);  // throws std::bad_alloc
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  size_t size() const { return size_; }

 private:
  std::shared_ptr<void> owner_;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// While it lives, pieces of this thread come from mappings of their own: what is tried and thrown away would else keep
// its share of the mapping of what stays.
class WeightsApart {
 public:
  WeightsApart();
  ~WeightsApart();
  WeightsApart(const WeightsApart&) = delete;
  WeightsApart& operator=(const WeightsApart&) = delete;

 private:
  std::shared_ptr<void> before_;
};

}  // namespace gossamer
