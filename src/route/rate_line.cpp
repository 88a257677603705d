// SPDX-License-Identifier: MIT

// The line of a rate limiter, and its timer.

#include <algorithm>
#include <utility>

#include "penstock/route/detail/rate_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void RateCore::serve(Ticks now, Effects& effects) noexcept {
  while (WaitNode* const node = line_.front()) {
    const auto& wait = *static_cast<RateWait*>(node->slot);
    const std::uint64_t n = wait.n;
    if (now < machine_.due(static_cast<double>(n))) return;
    const TimePoint since = wait.since;
    unlist(*node);
    if (!node->waiter->claim(node->served)) continue;  // it is about to take itself out
    machine_.take_due(now, n);
    wait_.record(std::max(time_of(epoch_, now) - since, Duration::zero()));
    count(n);
    effects.wake.push(*node);
  }
}

void RateCore::unlist(WaitNode& node) noexcept {
  if (!node.listed) return;
  line_.remove(node);
  --waiting_;
  queued_ -= static_cast<double>(static_cast<RateWait*>(node.slot)->n);
}

Ticks RateCore::timer_due() const noexcept {
  const WaitNode* const first = line_.front();
  return first == nullptr ? kNotArmed : machine_.due(static_cast<double>(static_cast<RateWait*>(first->slot)->n));
}

void RateCore::want_timer(Effects& effects) noexcept {
  if (timer_taken_ || timer_due() >= armed_for_) return;
  timer_taken_ = true;
  effects.keeps_timer = true;
}

void RateCore::keep_timer(Effects& effects) noexcept {
  for (;;) {
    const Ticks time = read_clock();
    Ticks due = 0;
    bool is_done = false;
    WaitNode* destroyer = nullptr;
    {
      const Shut shut(*this);
      if (std::exchange(timer_fired_, false)) {
        armed_for_ = kNotArmed;
        serve(pass(time), effects);
      }
      due = timer_due();
      is_done = due >= armed_for_;
      if (is_done) {
        timer_taken_ = false;
        destroyer = destroyer_.claim_first();
      } else {
        armed_for_ = due;
      }
    }
    if (is_done) {
      if (destroyer != nullptr) destroyer->waiter->wake();
      return;
    }
    clock_.disarm(timer_);  // a callback that is running finds the timer taken, and leaves
    if (!clock_.arm(timer_, time_of(epoch_, due))) {
      const Shut shut(*this);
      timer_fired_ = true;
    }
  }
}

void RateCore::on_timer() noexcept {
  Effects effects;
  {
    const Shut shut(*this);
    timer_fired_ = true;
    if (timer_taken_) return;
    timer_taken_ = true;
  }
  keep_timer(effects);
  effects.wake.wake_all();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
