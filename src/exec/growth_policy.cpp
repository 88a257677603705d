// SPDX-License-Identifier: MIT
#include "penstock/exec/growth_policy.hpp"

#include <algorithm>

namespace penstock::inline PENSTOCK_ABI {
namespace {

// To be woken for a task costs its submitter some microseconds: so who looks goes on for a while.
constexpr std::uint32_t kEmptyLooks = 8;
// After a worker could not be made.
constexpr Duration kShortestRest = std::chrono::milliseconds(1);
constexpr Duration kLongestRest = std::chrono::milliseconds(100);

}  // namespace

GrowthMachine::GrowthMachine(const GrowthPolicy& policy, std::size_t processors) noexcept
    : policy_(policy), at_once_(policy.at_once == 0 ? processors : policy.at_once), every_(policy.look_every) {}

bool GrowthMachine::queued(const GrowthSample& sample) const noexcept {
  if (sample.live >= sample.most || sample.queued <= sample.starting) return false;
  return sample.live < at_once_;
}

GrowthDecision GrowthMachine::look(const GrowthSample& sample) noexcept {
  if (looking_ && sample.now < due_) return {0, due_};
  if (sample.queued == 0) {
    step_ = 1;
    every_ = policy_.look_every;
    rest_ = Duration::zero();
    if (!looking_ || ++empty_looks_ > kEmptyLooks) {
      looking_ = false;
      return {};
    }
    seen_ = sample.progress;
    return look_again(sample.now);
  }
  empty_looks_ = 0;
  const bool first = !looking_;
  looking_ = true;
  if (sample.live == 0 && rest_ == Duration::zero()) {
    // Nobody could make any progress.
    seen_ = sample.progress;
    return {std::min(sample.most, std::size_t{1}), look_again(sample.now).next};
  }
  if (sample.live >= sample.most) {  // who comes back takes the next one, and nothing else helps
    looking_ = false;
    return {};
  }
  if (first || sample.starting > 0 || sample.waking > 0 || sample.progress != seen_) {
    if (sample.progress != seen_ && !first) {
      step_ = 1;
      every_ = std::min(every_ * 2, std::max(policy_.look_at_most, policy_.look_every));
    }
    if (!first) rest_ = Duration::zero();
    seen_ = sample.progress;
    return look_again(sample.now);
  }
  every_ = policy_.look_every;
  const std::size_t create = std::min({step_, sample.queued, sample.most - sample.live});
  step_ = std::min(step_ * 2, policy_.most_at_a_look);
  return {create, look_again(sample.now).next};
}

void GrowthMachine::failed(TimePoint now) noexcept {
  step_ = 1;
  rest_ = std::clamp(rest_ * 2, kShortestRest, kLongestRest);
  due_ = saturated_add(now, rest_);
}

GrowthDecision GrowthMachine::look_again(TimePoint now) noexcept {
  due_ = saturated_add(now, every_);
  return {0, due_};
}

}  // namespace penstock::inline PENSTOCK_ABI
