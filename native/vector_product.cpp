#include "vector_product.h"

#include <algorithm>

#include "pack_rows.h"

namespace gossamer {
namespace {

// Above this share kept an unstructured row is a bitmap, where vectors can be spread by a mask. 4096x1024 (avx512, hot,
// microseconds, rows against bitmap): 20 % kept 190 / 240, 30 % 300 / 270, 50 % 560 / 350. Elsewhere rows win at all
// shares: 512x1024 at 50 % 54 / 70 (avx2), 61 / 312 (portable).
constexpr double kBitmapAbove = 0.25;

VectorKernel for_unstructured(const Weight& weight, const KernelTable& kernels) {
  const double all = static_cast<double>(weight.shape[0]) * static_cast<double>(weight.shape[1]);
  return kernels.has_expand && static_cast<double>(weight.num_kept) > kBitmapAbove * all ? kBitmap : kRows;
}

// What a unit costs beside its entries, in entries: the sum over its lanes and the store.
constexpr int64_t kUnitCost = 4;

const char* name_of(VectorKernel kernel) {
  switch (kernel) {
    case kRows: return "spmv";
    case kBundles: return "gs_spmv";
    case kWindow8: return "window_spmv";
    case kBlock8: return "block8_spmv";
    case kBlock4: return "block4_spmv";
    case kBitmap: return "bitmap_spmv";
    default: return "dense_gemv";
  }
}

}  // namespace

std::string VectorChoice::name() const { return name_of(kernel) + std::string(gather ? " with gather" : ""); }

std::vector<VectorChoice> VectorProduct::choices() const {
  std::vector<VectorChoice> list = {{packed_.kernel, gather_}};
  const auto add = [&](VectorKernel kernel, int gather) {
    if (kernel != packed_.kernel || gather != gather_) list.push_back({kernel, gather});
  };
  const bool rows = packed_.kernel == kRows || packed_.kernel == kBitmap;
  if (rows) add(kBitmap, 0);
  if (rows || packed_.kernel == kBundles) {
    add(rows ? kRows : kBundles, 0);
    if (kernels_->has_gather) add(rows ? kRows : kBundles, 1);
  }
  return list;
}

VectorProduct VectorProduct::make(const Weight& weight, const KernelTable& kernels, Budget& budget,
                                  const VectorChoice* choice) {
  VectorProduct out;
  out.kernels_ = &kernels;
  out.kept_ = weight.num_kept;
  out.packed_ = pack_vector(weight, budget, choice == nullptr ? for_unstructured(weight, kernels) : choice->kernel);
  const PackedVector& packed = out.packed_;
  out.kernel_ = name_of(packed.kernel);
  out.reason_ = weight.format == Format::dense && weight.full()
                    ? "stored dense, " + grouped(weight.num_kept) + " weights"
                    : kept_share(weight) + ": " + packed.why;
  if (packed.stored == kF16) out.reason_ += "; half precision in memory";
  if ((packed.kernel == kRows || packed.kernel == kBundles) && kernels.has_gather) {
    out.gather_ = choice == nullptr ? gather_wins(kernels) : choice->gather;
    out.reason_ += out.gather_ ? "; by the gather instruction" : "; by scalar loads";
    if (choice == nullptr) out.reason_ += " (probed)";
  }
  return out;
}

int64_t VectorProduct::begin_of(int part, int parts) const {
  if (part == 0 || part == parts || packed_.start.empty()) return packed_.units * part / parts;
  const auto work = [&](int64_t unit) {
    return static_cast<int64_t>(packed_.start[static_cast<size_t>(unit)]) + kUnitCost * unit;
  };
  const int64_t wanted = work(packed_.units) * part / parts;
  int64_t low = 0, high = packed_.units;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (work(middle) < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

VectorArgs VectorProduct::arguments(const float* x, float* y, const float* add, int part, int parts, float lo,
                                    float hi) const {
  VectorArgs a;
  a.x = x;
  a.y = y;
  a.bias = add;
  a.scale = packed_.scale.data();
  a.values = packed_.values.as<void>();
  a.columns = packed_.columns.as<void>();
  a.start = packed_.start.data();
  a.begin = begin_of(part, parts);
  a.end = begin_of(part + 1, parts);
  a.width = packed_.width;
  a.per_row = packed_.per_row;
  a.wide = packed_.wide;
  a.gather = gather_;
  a.lo = lo;
  a.hi = hi;
  return a;
}

void VectorProduct::run(const float* x, float* y, const float* add, int part, int parts, float lo, float hi) const {
  const VectorArgs a = arguments(x, y, add, part, parts, lo, hi);
  kernels_->vector[packed_.kernel][packed_.stored](&a);
}

int64_t VectorProduct::together(int64_t count) const {
  const bool eight = packed_.kernel == kWindow8 || packed_.kernel == kBlock8;
  const int64_t least_of_4 = eight ? 4 : 3, least_of_8 = eight ? 7 : 5;
  if (!interleaves() || count < least_of_4) return 1;
  return std::min<int64_t>(count, count >= least_of_8 ? 8 : 4);
}

void VectorProduct::run_interleaved(int width, const float* x, float* y, const float* add, int part, int parts,
                                    float lo, float hi) const {
  const VectorArgs a = arguments(x, y, add, part, parts, lo, hi);
  kernels_->narrow[width == 8][packed_.kernel][packed_.stored](&a);
}

}  // namespace gossamer
