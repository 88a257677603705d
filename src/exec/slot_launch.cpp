// SPDX-License-Identifier: MIT

// The starts of a slot queue: when to launch one, and how it ends; and the phases that its policy knows of.
//
// One thread launches at a time. Others that see a reason to look leave it to that one, so a launch that settles its
// ticket at once, and so gives a reason, does not come back in here.

#include <algorithm>
#include <chrono>
#include <memory>

#include "penstock/core/detail/elapsed.hpp"
#include "penstock/exec/detail/slot_core.hpp"
#include "penstock/exec/slot_handles.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void SlotCore::want_launch(Effects& effects) noexcept {
  if (!settings_.has_launch || closed_ || effects.evaluates) return;
  if (waiters() == 0) return;
  hold(effects);
  effects.evaluates = true;
}

std::size_t SlotCore::waiters() const noexcept { return counts_.waiting + phase(SlotPhase::kWaiter).entered_now; }

LaunchSample SlotCore::sample() noexcept {
  const auto milliseconds = [this](SlotPhase which)
                                ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) { return phase(which).document_ms.value(); };
  LaunchSample sample;
  sample.waiters = waiters();
  sample.starters = counts_.starting + phase(SlotPhase::kStarter).entered_now;
  sample.runners = std::max(counts_.idle + counts_.leased, phase(SlotPhase::kRunner).entered_now);
  sample.idle = counts_.idle;
  sample.wait_ms = milliseconds(SlotPhase::kWaiter);
  sample.start_ms = milliseconds(SlotPhase::kStarter);
  sample.run_ms = milliseconds(SlotPhase::kRunner);
  SlotWait* const first = first_in_line();
  Phase& entered = phase(SlotPhase::kWaiter);
  const bool launched = last_launch_ != TimePoint::min();
  if (sample.waiters == 0 && !launched) return sample;
  // What lies ahead, as the clock has stepped back, is from now on: else nobody would launch until it has caught up.
  const TimePoint time = now();
  const auto look_at = [&](TimePoint& since) {
    since = std::min(since, time);
    sample.oldest_wait = std::max(sample.oldest_wait, elapsed(since, time));
  };
  if (first != nullptr) look_at(first->since_);
  if (entered.entered_now != 0) look_at(entered.since);
  if (launched) {
    last_launch_ = std::min(last_launch_, time);
    sample.since_last_launch = elapsed(last_launch_, time);
  }
  return sample;
}

LaunchDecision SlotCore::decide_now(const LaunchSample& sample) noexcept {
  try {
    return penstock::decide(settings_.policy, sample);
  } catch (...) {
    const SpinLockGuard lock(lock_);
    ++counts_.caught_exceptions;
    return {};
  }
}

bool SlotCore::needs_slot() noexcept {
  LaunchSample seen;
  {
    const SpinLockGuard lock(lock_);
    if (closed_) return false;
    seen = sample();
  }
  return decide_now(seen).launches != 0;
}

void SlotCore::evaluate() noexcept {
  {
    const SpinLockGuard lock(lock_);
    ++looks_due_;
    if (std::exchange(is_launching_, true)) return;
    launcher_ = world::this_thread_id();
  }
  for (;;) {
    LaunchSample seen;
    {
      const SpinLockGuard lock(lock_);
      if (looks_due_ == 0 || closed_) {
        is_launching_ = false;
        return;
      }
      --looks_due_;
      seen = sample();
    }
    if (seen.waiters == 0) continue;
    const LaunchDecision decision = decide_now(seen);
    if (decision.look_again_in != Duration::max()) look_again(decision.look_again_in);
    for (std::size_t left = std::min(decision.launches, seen.waiters); left != 0; --left) {
      if (!launch_one()) break;
    }
  }
}

bool SlotCore::launch_one() noexcept {
  auto* const start = new (std::nothrow) SlotStart(*this);
  if (start == nullptr) {
    run_short();
    return false;
  }
  bool is_late = false;
  {
    const SpinLockGuard lock(lock_);
    is_late = closed_ || waiters() == 0;  // all may have been served, or gone, by what was launched before
    if (!is_late) {
      last_launch_ = now();
      start->since = last_launch_;
      if (SlotWait* const asker = first_lacking_) {
        unlist_lacking(*asker);
        asker->start_ = start;
        start->asker = asker;
      }
      ++counts_.launches;
      ++counts_.starting;
      ++phase(SlotPhase::kStarter).entered;
      ++shares_;  // the ticket's
    }
  }
  if (is_late) {
    delete start;
    return false;
  }
  try {
    call_launch(*start);
  } catch (...) {
    const SpinLockGuard lock(lock_);
    ++counts_.caught_exceptions;
  }
  return true;
}

void SlotCore::run_short() noexcept {
  // There may be no other event that would have it tried again. So the one whom the start would have been for is told;
  // its leaving is an event for the next one.
  absl::Status error(absl::StatusCode::kResourceExhausted, "");  // allocates nothing
  try {
    error = shortage_error();
  } catch (...) {
  }
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    ++counts_.launch_shortages;
    if (first_lacking_ != nullptr) static_cast<void>(tell(*first_lacking_, std::move(error), effects));
  }
  apply(effects);
}

void SlotCore::look_again(Duration in) noexcept {
  // Only who launches comes here, and the callback of the timer, which waits for nobody.
  TimePoint due{};
  bool is_armed = false;
  {
    const SpinLockGuard lock(lock_);
    if (closed_) return;  // the policy may have destroyed the queue
    due = saturated_add(now(), std::max(in, Duration(1)));
    if (launch_timer_at_ <= due) return;
    is_armed = launch_timer_at_ != TimePoint::max();
  }
  if (is_armed) settings_.clock->disarm(launch_timer_);
  {
    const SpinLockGuard lock(lock_);
    launch_timer_at_ = due;
  }
  if (settings_.clock->arm(launch_timer_, due)) return;
  const SpinLockGuard lock(lock_);
  launch_timer_at_ = TimePoint::max();
  ++looks_due_;
}

void SlotCore::on_launch_timer() noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    launch_timer_at_ = TimePoint::max();
    want_launch(effects);
  }
  apply(effects);
}

// --- those in line who have asked for no start ---

void SlotCore::list_lacking(SlotWait& wait, bool in_front) noexcept {
  wait.lacks_start_ = true;
  wait.next_ = in_front ? first_lacking_ : nullptr;
  wait.previous_ = in_front ? nullptr : last_lacking_;
  (wait.previous_ == nullptr ? first_lacking_ : wait.previous_->next_) = &wait;
  (wait.next_ == nullptr ? last_lacking_ : wait.next_->previous_) = &wait;
}

void SlotCore::unlist_lacking(SlotWait& wait) noexcept {
  wait.lacks_start_ = false;
  (wait.previous_ == nullptr ? first_lacking_ : wait.previous_->next_) = wait.next_;
  (wait.next_ == nullptr ? last_lacking_ : wait.next_->previous_) = wait.previous_;
}

// --- how a start ends ---

void SlotCore::end_start(SlotStart& start) noexcept {
  --counts_.starting;
  if (!closed_) add_latency(SlotPhase::kStarter, elapsed(start.since, now()));
  if (start.asker == nullptr) return;
  // It has asked for a start that went well, and may not get its slot: then it may ask again, before all others.
  SlotWait& asker = *std::exchange(start.asker, nullptr);
  asker.start_ = nullptr;
  list_lacking(asker, true);
}

bool SlotCore::tell(SlotWait& asker, absl::Status error, Effects& effects) noexcept {
  WaitNode& node = *asker.node_;
  // One that its context has claimed is on its way out.
  const bool reached = node.listed && node.waiter->claim(SlotWait::kStartFailed);
  line_.remove(node);
  take_off(asker);
  if (reached) {
    asker.error_ = std::move(error);
    effects.wake.push(node);
  }
  return reached;
}

bool SlotCore::fail(SlotStart& start, absl::Status error) noexcept {
  Effects effects;
  bool reached = false;
  {
    const SpinLockGuard lock(lock_);
    SlotWait* const asker = start.asker;
    end_start(start);
    ++counts_.start_failures;
    if (asker != nullptr) reached = tell(*asker, std::move(error), effects);
    if (!reached) ++counts_.errors_dropped;
    // With nobody who could ask for it there is no other start now: one that fails at once would be tried for ever.
    if (first_lacking_ != nullptr) want_launch(effects);
    drop_share(effects);
  }
  apply(effects);
  return reached;
}

void SlotCore::drop(SlotStart& start) noexcept {
  absl::Status error(absl::StatusCode::kUnavailable, "");  // allocates nothing
  try {
    error = dropped_error();
  } catch (...) {
  }
  static_cast<void>(fail(start, std::move(error)));
}

// --- phases ---

void SlotCore::add_latency(SlotPhase which, Duration latency) noexcept {
  Phase& of = phase(which);
  latency = std::max(latency, Duration::zero());
  of.document_ms.add(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(latency).count()));
  of.mean_ns.add(static_cast<double>(latency.count()));
}

Duration SlotCore::expected_wait() const noexcept {
  const SpinLockGuard lock(lock_);
  if (counts_.idle != 0) return Duration::zero();
  const auto mean = [this](SlotPhase which)
                        ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) -> const Ewma& { return phase(which).mean_ns; };
  const Ewma& run = mean(SlotPhase::kRunner);
  const Ewma& start = mean(SlotPhase::kStarter);
  const auto place = static_cast<double>(counts_.waiting + 1);
  const auto sources = static_cast<double>(counts_.leased + counts_.starting);
  if (sources == 0) return Duration::max();
  // Each slot that is out, or will be, serves one after another: so many places pass in the time of a lease.
  if (run.count() != 0) return saturated(std::chrono::duration<double, std::nano>(run.value() * place / sources));
  if (start.count() != 0 && counts_.starting != 0) {
    return saturated(std::chrono::duration<double, std::nano>(start.value()));
  }
  return Duration::max();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail

namespace penstock::inline PENSTOCK_ABI {

void PhaseUse::stop() noexcept {
  if (core_ == nullptr) return;
  const Duration latency = detail::elapsed(since_, core_->settings().clock->now());
  leave(&latency);
}

void PhaseUse::cancel() noexcept {
  if (core_ != nullptr) leave(nullptr);
}

void PhaseUse::leave(const Duration* latency) noexcept {
  try {
    static_cast<void>(std::exchange(core_, nullptr)->leave(phase_, latency));
  } catch (...) {  // no memory for the text that somebody else has left in its place: that is counted
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
