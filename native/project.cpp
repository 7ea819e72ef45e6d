// Successive shortest paths on one small graph a group (g rows + B residues), incremental in T, and the K bundles
// shared among groups by their marginal gains f(T + 1) - f(T), which fall with T. The slow twin is project_gs_reference
// in src/gossamer/kernels/project.py: same graph, same order among equals, but integers of any length instead of
// doubles.
//
// A cell (row, residue) holds its C / B entries from best to worst; the flow through it is how many of them are kept.
// Residual arcs: row -> residue takes the cell's next entry (cost = minus its worth), residue -> row gives the last one
// back (cost = its worth). The potentials keep reduced costs non-negative; what rounding leaves below zero (about 1e-16
// of a score) counts as zero, so a Dijkstra run always ends with a tree. Every group is solved one bundle ahead of what
// it has been given; only the flow counts are copied to commit.
#include "project.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <queue>
#include <utility>
#include <vector>

namespace {

constexpr int64_t kKeepLevel = int64_t{1} << 32;  // above any sum of infinities of a group

// A score where `keep` or infinities occur: ordered by level, then by value. Levels are exact, so they never swallow a
// value.
struct Levelled {
  int64_t level = 0;
  double value = 0.0;
  Levelled operator+(const Levelled& o) const { return {level + o.level, value + o.value}; }
  Levelled operator-(const Levelled& o) const { return {level - o.level, value - o.value}; }
  Levelled operator-() const { return {-level, -value}; }
  bool operator<(const Levelled& o) const { return level < o.level || (level == o.level && value < o.value); }
};

template <class Cost>
Cost unreached();
template <>
double unreached<double>() {
  return INFINITY;
}
template <>
Levelled unreached<Levelled>() {
  return {INT64_MAX, 0.0};
}

void set(double& worth, double score, bool) { worth = score; }
void set(Levelled& worth, double score, bool keep) {
  worth.level = keep ? kKeepLevel : 0;
  worth.value = std::isinf(score) ? 0.0 : score;
  if (std::isinf(score)) worth.level += score > 0 ? 1 : -1;
}

// Scores near the end of double are scaled down (exactly) before they are subtracted from each other: an infinite cost
// reaches nothing.
constexpr double kHuge = 0x1p+1000, kSmaller = 0x1p-100;

struct Shape {
  int rows, banks, per_row, depth;  // g, B, k, C / B
  double scale;
};

template <class Cost>
class Group {
 public:
  Group(const Shape& shape, const double* scores, const uint8_t* keep) : shape_(shape) {
    const int g = shape.rows, banks = shape.banks, depth = shape.depth, columns = banks * depth;
    worth_.resize(size_t(g) * columns);
    column_.resize(size_t(g) * columns);
    flow_.assign(size_t(g) * banks, 0);
    committed_ = flow_;
    row_potential_.assign(g, Cost{});
    bank_potential_.resize(banks);
    std::vector<std::pair<Cost, int32_t>> cell(depth);
    for (int r = 0; r < g; ++r)
      for (int q = 0; q < banks; ++q) {
        for (int d = 0; d < depth; ++d) {
          const size_t at = size_t(r) * columns + size_t(d) * banks + q;
          set(cell[d].first, scores[at] * shape.scale, keep != nullptr && keep[at] != 0);
          cell[d].second = d * banks + q;
        }
        std::sort(cell.begin(), cell.end(), [](const auto& a, const auto& b) {
          return b.first < a.first || (!(a.first < b.first) && a.second < b.second);
        });
        for (int d = 0; d < depth; ++d) {
          worth_[start(r, q) + d] = cell[d].first;
          column_[start(r, q) + d] = cell[d].second;
        }
      }
    for (int q = 0; q < banks; ++q) {
      Cost best = worth_[start(0, q)];
      for (int r = 1; r < g; ++r) best = std::max(best, worth_[start(r, q)]);
      bank_potential_[q] = -best;
    }
  }

  bool has_next() const { return bundles_ < int64_t{shape_.depth} * shape_.rows; }
  const Cost& next_gain() const { return next_gain_; }

  // Solve for one bundle more than is committed.
  void look_ahead(std::vector<Cost>& distance, std::vector<int>& parent, std::vector<uint8_t>& done,
                  std::vector<uint8_t>& room) {
    if (!has_next()) return;
    room.assign(shape_.banks, 1);
    Cost cost{};
    for (int r = 0; r < shape_.rows; ++r)
      for (int i = 0; i < shape_.per_row; ++i) cost = cost + augment(r, distance, parent, done, room);
    next_gain_ = -cost;
  }

  void commit() {
    committed_ = flow_;
    ++bundles_;
  }

  void write(uint8_t* mask) const {
    const size_t columns = size_t(shape_.banks) * shape_.depth;
    for (int r = 0; r < shape_.rows; ++r)
      for (int q = 0; q < shape_.banks; ++q)
        for (int d = 0; d < committed_[size_t(r) * shape_.banks + q]; ++d)
          mask[r * columns + column_[start(r, q) + d]] = 1;
  }

 private:
  size_t start(int r, int q) const { return (size_t(r) * shape_.banks + q) * shape_.depth; }

  // Send one unit from row `source` to the nearest residue with room; returns its cost.
  Cost augment(int source, std::vector<Cost>& distance, std::vector<int>& parent, std::vector<uint8_t>& done,
               std::vector<uint8_t>& room) {
    const int g = shape_.rows, banks = shape_.banks, nodes = g + banks;  // nodes: rows, then residues
    distance.assign(nodes, unreached<Cost>());
    done.assign(nodes, 0);
    parent.assign(nodes, -1);
    distance[source] = Cost{};
    int node;
    Cost best;
    for (;;) {
      node = -1;
      best = unreached<Cost>();
      for (int other = 0; other < nodes; ++other)
        if (!done[other] && distance[other] < best) {
          node = other;
          best = distance[other];
        }
      done[node] = 1;  // equal totals of rows and residues: a path exists, so a node was found
      if (node >= g && room[node - g]) break;
      const int first = node < g ? g : 0, last = node < g ? nodes : g;
      for (int other = first; other < last; ++other) {
        if (done[other]) continue;
        const int r = node < g ? node : other, q = node < g ? other - g : node - g;
        const int kept = flow_[size_t(r) * banks + q];
        if (kept == (node < g ? shape_.depth : 0)) continue;  // nothing left to take, or to give back
        Cost arc = node < g ? row_potential_[r] - bank_potential_[q] - worth_[start(r, q) + kept]
                            : bank_potential_[q] - row_potential_[r] + worth_[start(r, q) + kept - 1];
        if (arc < Cost{}) arc = Cost{};
        const Cost length = best + arc;
        if (length < distance[other]) {
          distance[other] = length;
          parent[other] = node;
        }
      }
    }
    for (int other = 0; other < nodes; ++other)
      if (done[other]) {
        Cost& potential = other < g ? row_potential_[other] : bank_potential_[other - g];
        potential = potential + (distance[other] - best);
      }
    room[node - g] = 0;
    Cost cost{};
    while (node != source) {
      const int before = parent[node];
      const int r = before < g ? before : node, q = before < g ? node - g : before - g;
      int32_t& kept = flow_[size_t(r) * banks + q];
      cost = before < g ? cost - worth_[start(r, q) + kept++] : cost + worth_[start(r, q) + --kept];
      node = before;
    }
    return cost;
  }

  Shape shape_;
  std::vector<Cost> worth_;                // [g, B, C / B], each cell from best to worst
  std::vector<int32_t> column_;            // the columns of worth_
  std::vector<int32_t> flow_, committed_;  // [g, B]: entries kept of each cell with one bundle more, and as committed
  std::vector<Cost> row_potential_, bank_potential_;
  int64_t bundles_ = 0;
  Cost next_gain_{};
};

template <class Cost>
void project(const double* scores, const uint8_t* keep, int64_t rows, int64_t columns, const Shape& shape,
             int64_t bundles, uint8_t* mask) {
  const int64_t size = shape.rows * columns;
  std::vector<Group<Cost>> groups;
  groups.reserve(rows / shape.rows);
  for (int64_t i = 0; i < rows / shape.rows; ++i)
    groups.emplace_back(shape, scores + i * size, keep == nullptr ? nullptr : keep + i * size);

  std::vector<Cost> distance;
  std::vector<int> parent;
  std::vector<uint8_t> done, room;
  const auto worse = [&](int64_t a, int64_t b) {
    const Cost &gain_a = groups[a].next_gain(), &gain_b = groups[b].next_gain();
    return gain_a < gain_b || (!(gain_b < gain_a) && b < a);
  };
  std::priority_queue<int64_t, std::vector<int64_t>, decltype(worse)> queue(worse);
  for (size_t i = 0; i < groups.size() && bundles > 0; ++i) {
    groups[i].look_ahead(distance, parent, done, room);
    queue.push(int64_t(i));
  }
  for (int64_t taken = 0; taken < bundles; ++taken) {
    const int64_t best = queue.top();
    queue.pop();
    groups[best].commit();
    if (groups[best].has_next()) {
      groups[best].look_ahead(distance, parent, done, room);
      queue.push(best);
    }
  }
  std::fill(mask, mask + rows * columns, uint8_t{0});
  for (size_t i = 0; i < groups.size(); ++i) groups[i].write(mask + int64_t(i) * size);
}

}  // namespace

extern "C" int gsm_project_gs(const double* scores, const uint8_t* keep, int64_t rows, int64_t columns, int64_t banks,
                              int64_t per_row, int64_t bundles, uint8_t* mask) {
  constexpr int64_t most = INT32_MAX;
  if (rows < 1 || columns < 1 || rows > most || columns > most || rows * columns > most || banks < 1 || per_row < 1 ||
      banks % per_row != 0 || columns % banks != 0 || rows % (banks / per_row) != 0 || bundles < 0 ||
      bundles > rows * columns / banks)
    return GSM_PROJECT_BAD_SHAPE;
  bool levelled = keep != nullptr;
  double largest = 0;
  for (int64_t i = 0; i < rows * columns; ++i) {
    if (std::isnan(scores[i])) return GSM_PROJECT_NAN;
    if (std::isinf(scores[i]))
      levelled = true;
    else
      largest = std::max(largest, std::abs(scores[i]));
  }
  const Shape shape{int(banks / per_row), int(banks), int(per_row), int(columns / banks),
                    largest > kHuge ? kSmaller : 1.0};
  try {
    if (levelled)
      project<Levelled>(scores, keep, rows, columns, shape, bundles, mask);
    else
      project<double>(scores, keep, rows, columns, shape, bundles, mask);
  } catch (const std::bad_alloc&) {
    return GSM_PROJECT_NO_MEMORY;
  }
  return GSM_PROJECT_OK;
}
