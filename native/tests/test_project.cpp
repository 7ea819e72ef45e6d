// The gather-scatter projection: optimal among all legal masks of tiny matrices, legal on larger ones, and its
// refusals.
#include "project.h"

#include <cmath>
#include <random>
#include <vector>

#include "check.h"

namespace {

struct Case {
  int64_t rows, columns, banks, per_row;
};

// Number of bundles of a legal mask, -1 if it is not legal: every row of a group k T, every residue T.
int64_t bundles_of(const Case& c, const std::vector<uint8_t>& mask) {
  const int64_t height = c.banks / c.per_row;
  int64_t all = 0;
  for (int64_t top = 0; top < c.rows; top += height) {
    std::vector<int64_t> row(height), residue(c.banks);
    for (int64_t r = 0; r < height; ++r)
      for (int64_t column = 0; column < c.columns; ++column) {
        row[r] += mask[(top + r) * c.columns + column];
        residue[column % c.banks] += mask[(top + r) * c.columns + column];
      }
    for (int64_t sum : row)
      if (sum != c.per_row * residue[0]) return -1;
    for (int64_t sum : residue)
      if (sum != residue[0]) return -1;
    all += residue[0];
  }
  return all;
}

double total(const std::vector<double>& scores, const std::vector<uint8_t>& mask) {
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) sum += mask[i] ? scores[i] : 0.0;
  return sum;
}

int project(const Case& c, const std::vector<double>& scores, const uint8_t* keep, int64_t bundles,
            std::vector<uint8_t>& mask) {
  mask.assign(scores.size(), 7);
  return gsm_project_gs(scores.data(), keep, c.rows, c.columns, c.banks, c.per_row, bundles, mask.data());
}

void optimal() {
  std::mt19937 random(0);
  std::normal_distribution<double> normal;
  for (const Case& c : {Case{2, 6, 2, 1}, Case{4, 4, 2, 1}, Case{4, 4, 4, 2}, Case{4, 4, 4, 1}, Case{3, 4, 2, 2}}) {
    const int64_t size = c.rows * c.columns, most = size / c.banks;
    std::vector<double> scores(size);
    for (double& score : scores) score = normal(random);
    std::vector<double> best(most + 1, -INFINITY), best_kept(most + 1, -INFINITY);
    const uint32_t keep_bits = 1u << (random() % size);
    std::vector<uint8_t> mask(size), keep(size);
    for (int64_t i = 0; i < size; ++i) keep[i] = keep_bits >> i & 1;
    for (uint32_t bits = 0; bits < 1u << size; ++bits) {
      for (int64_t i = 0; i < size; ++i) mask[i] = bits >> i & 1;
      const int64_t bundles = bundles_of(c, mask);
      if (bundles < 0) continue;
      best[bundles] = std::max(best[bundles], total(scores, mask));
      if ((bits & keep_bits) == keep_bits) best_kept[bundles] = std::max(best_kept[bundles], total(scores, mask));
    }
    for (int64_t bundles = 0; bundles <= most; ++bundles) {
      CHECK(project(c, scores, nullptr, bundles, mask) == GSM_PROJECT_OK);
      CHECK(bundles_of(c, mask) == bundles);
      CHECK(std::abs(total(scores, mask) - best[bundles]) < 1e-12);
      CHECK(project(c, scores, keep.data(), bundles, mask) == GSM_PROJECT_OK);
      CHECK(bundles_of(c, mask) == bundles);
      if (bundles > 0) CHECK(std::abs(total(scores, mask) - best_kept[bundles]) < 1e-12);
    }
  }
}

void larger() {
  std::mt19937 random(1);
  for (const Case& c : {Case{64, 256, 8, 1}, Case{16, 96, 8, 4}, Case{32, 128, 32, 1}, Case{5, 40, 8, 8}})
    for (int kind = 0; kind < 3; ++kind) {
      std::vector<double> scores(c.rows * c.columns);
      for (double& score : scores) score = kind == 0 ? 1.0 : std::normal_distribution<double>()(random);
      if (kind == 2)
        for (double& score : scores)
          if (score < 0) score = score < -1 ? -INFINITY : INFINITY;
      std::vector<uint8_t> mask;
      for (int64_t bundles : {int64_t{0}, int64_t{1}, c.rows * c.columns / c.banks / 3, c.rows * c.columns / c.banks}) {
        CHECK(project(c, scores, nullptr, bundles, mask) == GSM_PROJECT_OK);
        CHECK(bundles_of(c, mask) == bundles);
      }
    }
}

// Scores at the end of double give the mask of the same scores divided by 2^1000 (infinite costs once found no path).
void huge() {
  const Case c{4, 16, 4, 2};
  std::mt19937 random(3);
  std::vector<double> scores(c.rows * c.columns), small;
  for (double& score : scores) score = std::uniform_real_distribution<double>(-1, 1)(random) * 1.7e308;
  scores[0] = 1.7976931348623157e308, scores[1] = -1.7976931348623157e308;
  for (double score : scores) small.push_back(score * 0x1p-1000);
  std::vector<uint8_t> mask, expected;
  for (int64_t bundles = 0; bundles <= c.rows * c.columns / c.banks; ++bundles) {
    CHECK(project(c, scores, nullptr, bundles, mask) == GSM_PROJECT_OK);
    CHECK(project(c, small, nullptr, bundles, expected) == GSM_PROJECT_OK);
    CHECK(mask == expected);
  }
}

void refusals() {
  std::vector<double> scores(32, 1.0);
  std::vector<uint8_t> mask;
  for (const Case& c :
       {Case{4, 8, 8, 3}, Case{3, 8, 4, 2}, Case{4, 6, 4, 1}, Case{0, 8, 4, 1}, Case{4, 8, 0, 1}, Case{4, 8, 4, 0}})
    CHECK(project(c, scores, nullptr, 1, mask) == GSM_PROJECT_BAD_SHAPE);
  const Case good{4, 8, 4, 1};
  CHECK(project(good, scores, nullptr, -1, mask) == GSM_PROJECT_BAD_SHAPE);
  CHECK(project(good, scores, nullptr, 9, mask) == GSM_PROJECT_BAD_SHAPE);
  scores[5] = NAN;
  CHECK(project(good, scores, nullptr, 1, mask) == GSM_PROJECT_NAN);
  CHECK(mask[0] == 7);  // untouched
}

}  // namespace

int main() {
  optimal();
  larger();
  huge();
  refusals();
  return test::done();
}
