// Shapes of products, of recurrent layers, and of what broadcasts.
#include "shape_rules.h"

namespace gossamer {
namespace {

// The size that a and b repeat to (one of them 1, or both equal), or 0.
int64_t common(int64_t a, int64_t b) { return a == b || b == 1 ? a : a == 1 ? b : 0; }

// Dimensions from `begin` to `end` of two shapes of one rank, repeated to one another.
void broadcast(const ShapeSite& site, const Shape& a, const Shape& b, size_t begin, size_t end, Shape* out) {
  for (size_t i = begin; i < end; ++i) {
    (*out)[i] = common(a[i], b[i]);
    if ((*out)[i] == 0) {
      site.error("expected sizes along axis ", i, " that are equal or 1, got ", listed(a), " and ", listed(b));
    }
  }
}

void same_rank_and_batch(const ShapeSite& site, const Shape& a, const Shape& b) {
  if (a.size() != b.size() || a[0] != b[0])
    site.error("expected inputs of equal rank and batch, got ", listed(a), " and ", listed(b));
}

}  // namespace

Shape linear_shape(const ShapeSite& site) {
  site.rank_at_least(2);
  const Shape& x = site.x();
  const Weight& w = site.weight(site.node.weight);
  if (x.back() != w.shape[1]) {
    site.error("expected a weight of ", x.back(), " columns for the input ", listed(x), ", got shape ",
               listed(w.shape));
  }
  site.vector("bias", site.node.bias, w.shape[0]);
  Shape out = x;
  out.back() = w.shape[0];
  return out;
}

Shape broadcast_shape(const ShapeSite& site) {
  Shape out = site.x();
  for (size_t i = 1; i < site.in.size(); ++i) {
    const Shape& other = *site.in[i];
    same_rank_and_batch(site, out, other);
    broadcast(site, Shape(out), other, 1, out.size(), &out);
  }
  return out;
}

Shape matmul_shape(const ShapeSite& site) {
  site.rank_at_least(3);
  const Shape &a = site.x(), &b = *site.in[1];
  same_rank_and_batch(site, a, b);
  const size_t rank = a.size();
  Shape out = a;
  broadcast(site, a, b, 1, rank - 2, &out);
  const size_t inner = site.node.transpose_b ? rank - 1 : rank - 2, outer = site.node.transpose_b ? rank - 2 : rank - 1;
  if (b[inner] != a[rank - 1])
    site.error("expected ", a[rank - 1], " terms of each sum in both inputs, got ", listed(a), " and ", listed(b));
  out[rank - 1] = b[outer];
  return out;
}

Shape attention_shape(const ShapeSite& site) {
  site.rank_at_least(3);
  const Shape &q = site.x(), &k = *site.in[1], &v = *site.in[2];
  const size_t rank = q.size();
  Shape keys = q, values = k;
  if (k.size() == rank) keys[rank - 2] = k[rank - 2];
  if (v.size() == rank && k.size() == rank) values[rank - 1] = v[rank - 1];
  if (keys != k || values != v) {
    site.error("expected q [N, ..., T, D], k [N, ..., S, D], v [N, ..., S, E], got ", listed(q), ", ", listed(k),
               " and ", listed(v));
  }
  Shape scores = q;
  scores[rank - 1] = k[rank - 2];
  if (site.in.size() == 4) {
    const Shape& mask = *site.in[3];
    same_rank_and_batch(site, q, mask);
    for (size_t i = 1; i < rank; ++i) {
      if (mask[i] != 1 && mask[i] != scores[i])
        site.error("expected a mask that can be repeated to ", listed(scores), ", got ", listed(mask));
    }
  }
  site.product(scores);
  Shape out = q;
  out[rank - 1] = v[rank - 1];
  return out;
}

Shape embedding_shape(const ShapeSite& site) {
  Shape out = site.x();
  if (out.size() >= 8) site.error("expected an input of at most 7 dimensions, got ", listed(out));
  out.push_back(site.weight(site.node.weight).shape[1]);
  return out;
}

Shape recurrent_shape(const ShapeSite& site) {
  const Node& node = site.node;
  const Shape& x = site.x();
  const int64_t gates = node.op == Op::lstm ? 4 : 3;
  const Weight &input = site.weight(node.weight), &hidden = site.weight(node.hidden);
  const int64_t size = hidden.shape[1];
  if (x.size() != 3) site.error("expected an input [N, S, I], got ", listed(x));
  if (hidden.shape[0] != gates * size) site.error("expected 'hidden' of [", gates, "H, H], got ", listed(hidden.shape));
  if (input.shape[0] != gates * size || input.shape[1] != x[2]) {
    site.error("expected 'input' of ", listed({gates * size, x[2]}), ", got ", listed(input.shape));
  }
  site.vector("bias", node.bias, gates * size);
  site.vector("hidden_bias", node.hidden_bias, size);
  for (size_t i = 1; i < site.in.size(); ++i) {
    if (*site.in[i] != Shape{x[0], size})
      site.error("expected a state of ", listed({x[0], size}), ", got ", listed(*site.in[i]));
  }
  return {x[0], x[1], size};
}

Shape recurrent_last_shape(const ShapeSite& site) { return {site.x()[0], site.weight(site.node.hidden).shape[1]}; }

}  // namespace gossamer
