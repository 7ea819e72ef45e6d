// Values as strided arrays: what steps do element by element in whatever layouts their slots have.
#pragma once
#include "planner.h"

namespace gossamer {

constexpr int kMostAxes = 16;  // of a walk

// Loops over elements of up to four arrays at once, the innermost axis last. step[k]: floats of array k.
struct Walk {
  int rank = 0;
  int64_t size[kMostAxes], step[4][kMostAxes];
  void clear() { rank = 0; }
  void add(int64_t axis_size, int64_t s0, int64_t s1 = 0, int64_t s2 = 0, int64_t s3 = 0);  // sizes of 1 are left out
  void order_by(int array);  // descending steps of one array
  void merge();              // axes that lie behind each other in all arrays become one; at least one axis remains
  int64_t inner() const { return size[rank - 1]; }
  int64_t inner_step(int array) const { return step[array][rank - 1]; }

  // f(offsets) at the start of every run of the innermost axis.
  template <typename F>
  void runs(F&& f) const {
    int64_t offset[4] = {0, 0, 0, 0}, at[kMostAxes] = {};
    const int outer = rank - 1;
    for (;;) {
      f(static_cast<const int64_t*>(offset));
      int a = outer - 1;
      for (; a >= 0; --a) {
        for (int k = 0; k < 4; ++k) offset[k] += step[k][a];
        if (++at[a] < size[a]) break;
        for (int k = 0; k < 4; ++k) offset[k] -= size[a] * step[k][a];
        at[a] = 0;
      }
      if (a < 0) return;
    }
  }
};

// y (array 1) = x (array 0), element by element: whole runs, or tiles that are turned.
void copy_strided(const KernelTable& kernels, const float* x, float* y, Walk walk);

// Start of a slot's example in the arena.
inline float* at(const Frame& frame, const Slot& slot, int64_t example = 0) {
  return frame.arena + slot.origin() + example * slot.elements;
}
// Before a planar slot is written lane by lane.
inline void begin_write(const Frame& frame, const Slot& slot) {
  if (!slot.planar) return;
  if (slot.height == 1 || slot.row == slot.width)
    zero_gaps(frame.arena + slot.offset, slot, 0, slot.channels);
  else
    zero_padding(frame.arena + slot.offset, slot);
}

}  // namespace gossamer
