#include "tuner.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "weight_memory.h"

namespace gossamer {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kBurst = 100e-6, kWhole = 4e-3;  // seconds of a candidate: in a row, and in all at least
constexpr int kLeastRounds = 5, kMostRounds = 40, kColdRounds = 12;
// Weights of a network that stay in the cache of a core from run to run; and what is read to drive a layer's out: twice
// the L2 of large cores. ResNet-50 (AVX-512, a busy machine), tuned so, over the choice by estimate: 1.09 times faster
// at 65 % kept, equal within 1.5 % at 50 to 10 %. Tuned with weights in the cache: 0.98 at 10 to 20 %.
constexpr int64_t kHotFloats = 131072, kOtherFloats = 1048576;
constexpr double kGain = 0.97;  // what another candidate must reach of the default's time: less is noise

std::string microseconds(double time) {
  char text[32];
  std::snprintf(text, sizeof text, time < 100 ? "%.1f" : "%.0f", time);
  return std::string(text) + " µs";
}

std::string lane_key(const Context& context, const std::string& what, const LaneLayer& layer, const Weighed& weight,
                     int64_t examples) {
  std::string key = what;
  for (const int64_t number : {layer.rows, layer.channels, static_cast<int64_t>(layer.taps.size()), layer.lanes,
                               layer.group_rows, layer.channel_stride, layer.reach, layer.stored_lanes, weight.kept,
                               int64_t{weight.dense}, int64_t{weight.shared}, examples, context.chunk})
    key += " " + std::to_string(number);
  return key;
}

}  // namespace

Tuner::Tuner(const Network& net, const KernelTable& kernels, Team& team, int64_t arena_floats)
    : team_(team), cache_(kernels.name, team.size()), floats_(arena_floats + kAlign) {
  int64_t weights = 0;
  for (const Weight& weight : net.weights) weights += weight.num_kept;
  if (weights > kHotFloats) others_.assign(static_cast<size_t>(std::min(2 * weights, kOtherFloats)), 1.0f);
  void* memory = nullptr;  // last: nothing after it may throw
  if (posix_memalign(&memory, size_t{1} << 21, static_cast<size_t>(floats_) * sizeof(float)) != 0)
    throw std::bad_alloc();
  arena_ = static_cast<float*>(memory);
}

Tuner::~Tuner() { std::free(arena_); }

// Every thread reads other data, then its share of the layer's input.
void Tuner::forget(const Slot& input, int64_t examples) const {
  if (others_.empty()) return;
  const float* x = arena_ + (input.planar ? input.origin() : input.offset);
  const int64_t floats = input.planar ? input.channels * input.plane : input.elements * examples;
  team_.run([&](int part) {
    volatile float sink = 0;
    const auto touch = [&](const float* from, int64_t count) {
      for (int64_t i = 0; i < count; i += kAlign) sink = sink + from[i];
    };
    touch(others_.data(), static_cast<int64_t>(others_.size()));
    const int64_t begin = floats * part / team_.size(), end = floats * (part + 1) / team_.size();
    touch(x + begin, end - begin);
  });
}

std::vector<double> Tuner::measure(const std::vector<std::unique_ptr<Step>>& steps, const Slot& input,
                                   int64_t examples) {
  std::fill(arena_, arena_ + floats_, 1.0f);  // neither slow numbers (denormal) nor such as grow
  Frame frame;
  frame.arena = arena_;
  frame.count = examples;
  frame.team = &team_;
  const auto seconds = [&](const Step& step, int repeats) {
    const auto begin = Clock::now();
    for (int i = 0; i < repeats; ++i) step.run(frame);
    return std::chrono::duration<double>(Clock::now() - begin).count() / repeats;
  };
  std::vector<double> best;
  std::vector<int> repeats;
  for (const auto& step : steps) {
    if (step) seconds(*step, 1);  // its weights come to the caches
    best.push_back(step ? seconds(*step, 1) : 1e9);
    const double burst = std::clamp(kBurst / std::max(best.back(), 1e-7), 1.0, 1000.0);
    repeats.push_back(others_.empty() ? static_cast<int>(burst) : 1);
  }
  double spent = 0;  // of the one that took least
  const int most = others_.empty() ? kMostRounds : kColdRounds;
  for (int round = 0; round < most && (round < kLeastRounds || spent < kWhole); ++round) {
    double least = 1e9;
    for (size_t i = 0; i < steps.size(); ++i) {
      if (!steps[i]) continue;
      forget(input, examples);
      const double one = seconds(*steps[i], repeats[i]);
      best[i] = std::min(best[i], one);
      least = std::min(least, one * repeats[i]);
    }
    spent += least;
  }
  for (double& time : best) time *= 1e6;
  return best;
}

Tuner::Pick Tuner::pick(const std::string& layer, const std::vector<std::string>& names, const Make& make,
                        const Slot& input, int64_t examples, const Budget& budget) {
  Pick out;
  if (const ChoiceCache::Choice* known = cache_.find(layer)) {
    const auto found = std::find(names.begin(), names.end(), known->name);
    if (found != names.end()) {
      out.index = static_cast<size_t>(found - names.begin());
      out.words = "measured before (cache): " + known->times;
      return out;
    }
  }
  const WeightsApart apart;
  std::vector<std::unique_ptr<Step>> steps;
  Budget trial = budget;  // all candidates at once, until one is chosen
  for (size_t i = 0; i < names.size(); ++i) {
    try {
      steps.push_back(make(i, trial));
    } catch (const Error& error) {
      if (error.kind != Error::Kind::memory || i == 0) throw;
      steps.push_back(nullptr);  // this one does not fit
    }
  }
  out.microseconds = measure(steps, input, examples);
  for (size_t i = 1; i < names.size(); ++i)
    if (out.microseconds[i] < out.microseconds[out.index] * (out.index == 0 ? kGain : 1)) out.index = i;
  std::string times;
  for (size_t i = 0; i < names.size(); ++i)
    if (steps[i]) times += (i ? ", " : "") + names[i] + " " + microseconds(out.microseconds[i]);
  out.words = "measured: " + times;
  cache_.put(layer, {names[out.index], times});
  return out;
}

LanePick pick_lanes(const Context& context, const std::string& what, const LaneLayer& layer, const Weighed& weight,
                    const std::vector<LaneCandidate>& candidates, const Slot& input, int64_t examples, LayerInfo& info,
                    const std::function<std::unique_ptr<Step>(const LaneChoice&, Budget&)>& make) {
  for (const LaneCandidate& candidate : candidates)
    info.candidates.push_back(
        {candidate.choice.name(), candidate.nanoseconds / 1e3, 0, {candidate.work.begin(), candidate.work.end()}});
  const size_t forced = static_cast<size_t>(context.candidate);
  if (context.tuner == nullptr || candidates.size() == 1)
    return {candidates[std::min(forced, candidates.size() - 1)].choice, ""};
  std::vector<std::string> names;
  for (const LaneCandidate& candidate : candidates) names.push_back(candidate.choice.name());
  const Tuner::Pick pick = context.tuner->pick(
      lane_key(context, what, layer, weight, examples), names,
      [&](size_t index, Budget& budget) { return make(candidates[index].choice, budget); }, input, examples,
      context.budget);
  for (size_t i = 0; i < pick.microseconds.size(); ++i)
    info.candidates[info.candidates.size() - candidates.size() + i].measured = pick.microseconds[i];
  return {candidates[pick.index].choice, pick.words};
}

void pick_vector_product(const Context& context, const std::string& what, const Weight& weight, VectorProduct& product,
                         const Slot& input, LayerInfo& info,
                         const std::function<std::unique_ptr<Step>(const VectorProduct&)>& make) {
  const std::vector<VectorChoice> choices = product.choices();
  if (choices.size() == 1) return;
  std::vector<std::string> names;
  for (const VectorChoice& choice : choices) names.push_back(choice.name());
  size_t index = std::min(static_cast<size_t>(context.candidate), choices.size() - 1);
  std::string words;
  if (context.tuner != nullptr) {
    const std::string key = "vector " + what + " " + std::to_string(weight.shape[0]) + " " +
                            std::to_string(weight.shape[1]) + " " + std::to_string(weight.num_kept) + " " +
                            std::to_string(static_cast<int>(weight.format)) + " " +
                            std::to_string(static_cast<int>(weight.dtype)) + " " + std::to_string(weight.p0) + " " +
                            std::to_string(weight.p1);
    const Tuner::Pick pick = context.tuner->pick(
        key, names,
        [&](size_t i, Budget& budget) {
          return make(VectorProduct::make(weight, context.kernels, budget, &choices[i]));
        },
        input, 1, context.budget);
    index = pick.index;
    words = pick.words;
    for (size_t i = 0; i < names.size(); ++i)
      info.candidates.push_back({names[i], 0, pick.microseconds.empty() ? 0 : pick.microseconds[i], {}});
  }
  if (index > 0) {
    try {
      product = VectorProduct::make(weight, context.kernels, context.budget, &choices[index]);
    } catch (const Error& error) {
      if (error.kind != Error::Kind::memory || context.tuner == nullptr) throw;
      words += "; " + names[index] + " does not fit";
    }
  }
  if (!words.empty()) product.remark(words);
}

}  // namespace gossamer
