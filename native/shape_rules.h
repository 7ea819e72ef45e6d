// The rules of docs/formats/operators.md that need shapes, one function an operator or family, in shapes_*.cpp: each
// gives the shape of the node's first output and throws Error{graph} where a rule is broken. Inside the library alone.
#pragma once
#include <cstdint>
#include <vector>

#include "check.h"
#include "network.h"

namespace gossamer {

using Shape = std::vector<int64_t>;
constexpr int64_t most_elements = int64_t{1} << 40;

struct ShapeSite {  // a node where it stands
  const Network& network;
  const Node& node;
  const std::vector<const Shape*>& in;
  int64_t length, longest;  // the length symbol's size and its maximum, 1 where there is none

  const Shape& x() const { return *in[0]; }
  const Weight& weight(int index) const { return network.weights[static_cast<size_t>(index)]; }

  template <class... T>
  [[noreturn]] void error(const T&... parts) const {
    fail(Error::Kind::graph, "node ", quoted(node.name), " (", node.op_name, "): ", parts...);
  }
  void rank_at_least(size_t rank) const {
    if (x().size() < rank) error("expected an input of at least ", rank, " dimensions, got ", listed(x()));
  }
  void image() const {
    if (x().size() != 4) error("expected an input [N, C, H, W], got ", listed(x()));
  }
  void axis_below_rank(const char* name, int64_t axis) const {
    if (axis >= static_cast<int64_t>(x().size()))
      error("expected '", name, "' below the rank ", x().size(), ", got ", axis);
  }
  void vector(const char* role, int index, int64_t size) const {
    if (index < 0) return;
    const Weight& w = weight(index);
    if (w.shape[0] != size)
      error("expected '", role, "' of ", size, " values, got ", w.shape[0], " in weight ", quoted(w.name));
  }
  // Product of sizes; an error where it exceeds what a value may have.
  int64_t product(const Shape& sizes) const {
    int64_t elements = 1;
    for (int64_t n : sizes) {
      if (!product_within(elements, n, most_elements, &elements))
        error("expected at most 2^40 elements, got ", listed(sizes));
    }
    return elements;
  }
};

// shapes_image.cpp
Shape conv2d_shape(const ShapeSite& site);
Shape pool_shape(const ShapeSite& site);
Shape resized_shape(const ShapeSite& site);  // adaptive_avg_pool2d, upsample
Shape pixel_shuffle_shape(const ShapeSite& site);

// shapes_axes.cpp: along axes
Shape channel_affine_shape(const ShapeSite& site);
Shape last_axes_norm_shape(const ShapeSite& site);
Shape group_norm_shape(const ShapeSite& site);
Shape one_axis_shape(const ShapeSite& site);  // softmax, cumsum
Shape reduced_shape(const ShapeSite& site);   // mean, sum, max, min
Shape argmax_shape(const ShapeSite& site);
Shape concat_shape(const ShapeSite& site);

// shapes_move.cpp: elements are moved, repeated or left out
Shape flatten_shape(const ShapeSite& site);
Shape reshape_shape(const ShapeSite& site);
Shape permute_shape(const ShapeSite& site);
Shape slice_shape(const ShapeSite& site);
Shape expand_shape(const ShapeSite& site);
Shape pad_shape(const ShapeSite& site);
Shape flip_shape(const ShapeSite& site);
Shape constant_shape(const ShapeSite& site);

// shapes_products.cpp
Shape linear_shape(const ShapeSite& site);
Shape broadcast_shape(const ShapeSite& site);  // elementwise operators of several inputs
Shape matmul_shape(const ShapeSite& site);
Shape attention_shape(const ShapeSite& site);
Shape embedding_shape(const ShapeSite& site);
Shape recurrent_shape(const ShapeSite& site);       // lstm, gru: all steps
Shape recurrent_last_shape(const ShapeSite& site);  // and each state after the last step

}  // namespace gossamer
