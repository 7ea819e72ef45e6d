// Measures the candidates of a layer where the layer will run: on its own slots, in an arena of scratch data, with the
// plan's threads, in turns, minima. As in a run of the network, the layer's input is in cache, and its weights are not
// where those of the other layers have been read since. Choices go to a cache on disk and come from it.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "choice_cache.h"
#include "lane_choice.h"
#include "planner.h"
#include "vector_product.h"

namespace gossamer {

class Tuner {
 public:
  Tuner(const Network& net, const KernelTable& kernels, Team& team, int64_t arena_floats);
  ~Tuner();
  Tuner(const Tuner&) = delete;
  Tuner& operator=(const Tuner&) = delete;

  using Make = std::function<std::unique_ptr<Step>(size_t index, Budget& budget)>;
  struct Pick {
    size_t index = 0;
    std::string words;                 // "measured: sparse 14x36 12.3 µs, dense 6x64 15.0 µs"
    std::vector<double> microseconds;  // of every candidate; empty where the cache knew
  };
  // layer: all that the times depend on. The first of `names` is the default and stays where nothing is faster.
  Pick pick(const std::string& layer, const std::vector<std::string>& names, const Make& make, const Slot& input,
            int64_t examples, const Budget& budget);
  void save() { cache_.save(); }
  const std::vector<std::string>& remarks() const { return cache_.remarks(); }

 private:
  std::vector<double> measure(const std::vector<std::unique_ptr<Step>>& steps, const Slot& input, int64_t examples);
  void forget(const Slot& input, int64_t examples) const;
  Team& team_;
  ChoiceCache cache_;
  int64_t floats_ = 0;
  float* arena_ = nullptr;
  std::vector<float> others_;  // read between two runs, as the weights of the other layers are
};

// The choice of a layer among its candidates: that of least estimate, or, where the plan is tuned, of least time.
struct LanePick {
  LaneChoice choice;
  std::string measured;
};
LanePick pick_lanes(const Context& context, const std::string& what, const LaneLayer& layer, const Weighed& weight,
                    const std::vector<LaneCandidate>& candidates, const Slot& input, int64_t examples, LayerInfo& info,
                    const std::function<std::unique_ptr<Step>(const LaneChoice&, Budget&)>& make);

// The same for a product with one vector; `product` is the default and becomes the one that was picked.
void pick_vector_product(const Context& context, const std::string& what, const Weight& weight, VectorProduct& product,
                         const Slot& input, LayerInfo& info,
                         const std::function<std::unique_ptr<Step>(const VectorProduct&)>& make);

}  // namespace gossamer
