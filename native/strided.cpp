#include "strided.h"

#include <algorithm>
#include <cstring>

namespace gossamer {

void Walk::add(int64_t axis_size, int64_t s0, int64_t s1, int64_t s2, int64_t s3) {
  if (axis_size == 1) return;
  size[rank] = axis_size;
  step[0][rank] = s0, step[1][rank] = s1, step[2][rank] = s2, step[3][rank] = s3;
  ++rank;
}

void Walk::order_by(int array) {
  for (int i = 1; i < rank; ++i) {
    for (int j = i; j > 0 && step[array][j] > step[array][j - 1]; --j) {
      std::swap(size[j], size[j - 1]);
      for (auto& steps : step) std::swap(steps[j], steps[j - 1]);
    }
  }
}

void Walk::merge() {
  int to = 0;
  for (int i = 1; i < rank; ++i) {
    bool behind = true;
    for (const auto& steps : step) behind = behind && steps[to] == steps[i] * size[i];
    if (behind) {
      size[to] *= size[i];
    } else {
      ++to;
      size[to] = size[i];
    }
    for (auto& steps : step) steps[to] = steps[i];
  }
  if (rank > 0) {
    rank = to + 1;
    return;
  }
  rank = 1;
  size[0] = 1;
  for (auto& steps : step) steps[0] = 1;
}

void copy_strided(const KernelTable& kernels, const float* x, float* y, Walk walk) {
  walk.order_by(1);
  walk.merge();
  const int last = walk.rank - 1;
  if (walk.step[0][last] == 1 && walk.step[1][last] == 1) {
    const size_t bytes = static_cast<size_t>(walk.inner()) * sizeof(float);
    return walk.runs([&](const int64_t* o) { std::memcpy(y + o[1], x + o[0], bytes); });
  }
  int turned = -1;  // the axis along which x lies side by side
  for (int a = 0; a < last; ++a)
    if (walk.step[0][a] == 1) turned = a;
  if (turned >= 0 && walk.step[1][last] == 1) {
    std::swap(walk.size[turned], walk.size[last - 1]);
    for (auto& steps : walk.step) std::swap(steps[turned], steps[last - 1]);
    const int64_t rows = walk.size[last], columns = walk.size[last - 1];
    const int64_t x_stride = walk.step[0][last], y_stride = walk.step[1][last - 1];
    --walk.rank;  // the runs of the axis that is turned start at every element of the others
    return walk.runs(
        [&](const int64_t* o) { kernels.transpose(x + o[0], x_stride, y + o[1], y_stride, rows, columns); });
  }
  const int64_t n = walk.inner(), x_step = walk.inner_step(0), y_step = walk.inner_step(1);
  walk.runs([&](const int64_t* o) {
    for (int64_t i = 0; i < n; ++i) y[o[1] + i * y_step] = x[o[0] + i * x_step];
  });
}

}  // namespace gossamer
