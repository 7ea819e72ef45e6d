#include "weight_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gossamer {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kMappings = false;  // pieces of a mapping would hide reads behind an end
#elif defined(__linux__)
constexpr bool kMappings = true;
#else
constexpr bool kMappings = false;
#endif
constexpr size_t kHuge = size_t{1} << 21, kMapping = size_t{1} << 25;  // only pages that are written become resident
constexpr size_t kSmall = size_t{1} << 15;                             // less than this comes from the heap

#if defined(__linux__)
struct Mapping {
  uint8_t *begin = nullptr, *at = nullptr, *end = nullptr;
  size_t whole = 0;
  uint8_t* map = nullptr;
  explicit Mapping(size_t size) : whole(size + kHuge) {
    void* p = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    map = static_cast<uint8_t*>(p);
    begin = at = map + (kHuge - reinterpret_cast<uintptr_t>(map) % kHuge) % kHuge;
    end = begin + size;
    (void)madvise(begin, size, MADV_HUGEPAGE);  // a wish: without huge pages everything works as well
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { munmap(map, whole); }
};
thread_local std::weak_ptr<Mapping> last;
#endif

}  // namespace

WeightBytes::WeightBytes(size_t size) : size_(size) {
  const size_t need = (size + 127) / 64 * 64;
#if defined(__linux__)
  if (kMappings && need >= kSmall) {
    std::shared_ptr<Mapping> mapping = last.lock();
    if (!mapping || static_cast<size_t>(mapping->end - mapping->at) < need) {
      mapping = std::make_shared<Mapping>(std::max(kMapping, (need + kHuge - 1) / kHuge * kHuge));
      last = mapping;
    }
    data_ = mapping->at;
    mapping->at += need;
    owner_ = mapping;
    return;
  }
#endif
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, need) != 0) throw std::bad_alloc();
  std::memset(memory, 0, need);
  data_ = static_cast<uint8_t*>(memory);
  owner_ = std::shared_ptr<void>(memory, std::free);
}

#if defined(__linux__)
WeightsApart::WeightsApart() : before_(last.lock()) { last.reset(); }
WeightsApart::~WeightsApart() { last = std::static_pointer_cast<Mapping>(before_); }
#else
WeightsApart::WeightsApart() = default;
WeightsApart::~WeightsApart() = default;
#endif

}  // namespace gossamer
