// SPDX-License-Identifier: MIT

// The slots of a slot queue: how they come, go and end. The line is in slot_line.cpp, starts are in slot_launch.cpp,
// texts and figures in slot_report.cpp.

#include "penstock/exec/detail/slot_core.hpp"

#include <stdexcept>

#include "penstock/core/detail/elapsed.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

SlotSettings checked(SlotSettings settings) {
  if (const absl::Status bad = settings.validate(); !bad.ok()) throw std::invalid_argument(std::string(bad.message()));
  return settings;
}

bool may_look_again(const SlotSettings& settings) {
  if (!settings.has_launch) return false;
  if (const auto* const combined = std::get_if<CombinedLaunch>(&settings.policy)) {
    return combined->patience > Duration::zero() || combined->interval > Duration::zero();
  }
  return std::holds_alternative<CustomLaunch>(settings.policy);
}

}  // namespace

SlotCore::SlotCore(SlotSettings settings)
    : settings_(checked(std::move(settings))),
      has_timeout_(settings_.idle_timeout != Duration::max()),
      looks_again_(may_look_again(settings_)),
      times_leases_(settings_.time_leases || settings_.has_launch),
      idle_timer_([](Timer& timer) noexcept { static_cast<CoreTimer&>(timer).self.on_idle_timer(); }, *this),
      launch_timer_([](Timer& timer) noexcept { static_cast<CoreTimer&>(timer).self.on_launch_timer(); }, *this) {
  if (has_timeout_ || looks_again_) settings_.clock->start_timers();
}

SlotCore::~SlotCore() {
  while (made_ != nullptr) delete std::exchange(made_, made_->made_before_);
}

void SlotCore::destroy() noexcept {
  close();
  EndlessWaiter waiter;
  WaitNode node(waiter, nullptr);
  bool has_to_wait = false;
  {
    const SpinLockGuard lock(lock_);
    // Who destroys it from within a launch is one of the busy ones.
    busy_destroyers_ = is_launching_ && launcher_ == world::this_thread_id() ? 1 : 0;
    has_to_wait = busy_ != busy_destroyers_;
    if (has_to_wait) destroyer_.push(node);
  }
  // In a closed queue nobody comes to be busy any more, so after this nothing is armed.
  if (has_to_wait) waiter.wait();
  if (has_timeout_) settings_.clock->disarm(idle_timer_);
  if (looks_again_) settings_.clock->disarm(launch_timer_);
  unshare();
}

void SlotCore::share() noexcept {
  const SpinLockGuard lock(lock_);
  ++shares_;
}

void SlotCore::unshare() noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    drop_share(effects);
  }
  apply(effects);
}

void SlotCore::carry_out(Effects& effects) noexcept {
  // Whoever is woken may destroy the queue, here and now. What comes after that has a share.
  effects.wake.wake_all();
  if ((effects.arms || effects.evaluates) && begin_busy()) {
    if (effects.arms) arm(effects);
    if (effects.evaluates) evaluate();
    end_busy();
  }
  end_slots(effects.leaving);
  if (effects.has_share) {
    const SpinLockGuard lock(lock_);
    drop_share(effects);
  }
  if (effects.ends_core) delete this;
}

bool SlotCore::begin_busy() noexcept {
  const SpinLockGuard lock(lock_);
  if (closed_) return false;
  ++busy_;
  return true;
}

void SlotCore::end_busy() noexcept {
  WaitNode* destroyer = nullptr;
  {
    const SpinLockGuard lock(lock_);
    if (--busy_ == busy_destroyers_) destroyer = destroyer_.claim_first();
  }
  if (destroyer != nullptr) destroyer->waiter->wake();
}

void SlotCore::end_slots(SlotNode* first) noexcept {
  while (first != nullptr) {
    SlotNode& node = *std::exchange(first, first->below_);
    bool threw = false;
    try {
      end_slot(node, node.end_);
    } catch (...) {
      threw = true;
    }
    const SpinLockGuard lock(lock_);
    if (threw) ++counts_.caught_exceptions;
    set_free(node);
  }
}

void SlotCore::set_free(SlotNode& node) noexcept {
  node.place_ = Place::kFree;
  node.below_ = std::exchange(free_, &node);
}

void SlotCore::recycle(SlotNode& node) noexcept {
  const SpinLockGuard lock(lock_);
  if (node.place_ == Place::kMaking) --reserved_;
  set_free(node);
}

// --- coming ---

SlotNode* SlotCore::reserve() {
  {
    const SpinLockGuard lock(lock_);
    if (closed_) return nullptr;
    if (free_ != nullptr) [[likely]] {
      SlotNode& node = *std::exchange(free_, free_->below_);
      node.place_ = Place::kMaking;
      ++reserved_;
      return &node;
    }
  }
  SlotNode* const node = make_node();
  const SpinLockGuard lock(lock_);
  node->made_before_ = std::exchange(made_, node);
  node->place_ = Place::kMaking;
  ++reserved_;
  return node;
}

std::uint64_t SlotCore::publish(SlotNode& node, SlotStart* start) noexcept {
  Effects effects;
  std::uint64_t id = 0;
  {
    const SpinLockGuard lock(lock_);
    --reserved_;
    id = next_id_++;
    node.id_ = id;
    node.retires_ = false;
    ++counts_.offered;
    ++shares_;  // the token's
    if (start != nullptr) {
      end_start(*start);
      ++counts_.started;
    }
    place(node, effects);
    if (start != nullptr) {
      want_launch(effects);
      drop_share(effects);  // never the last one
    }
  }
  apply(effects);
  return id;
}

void SlotCore::place(SlotNode& node, Effects& effects) noexcept {
  if (closed_) return begin_end(node, SlotEnd::kClosed, effects);
  if (!line_.empty() && serve(node, effects)) return;
  push(node);
  if (has_timeout_) want_timer(effects);
}

void SlotCore::push(SlotNode& node) noexcept {
  node.place_ = Place::kIdle;
  node.since_ = soon();
  node.above_ = nullptr;
  node.below_ = top_;
  (top_ == nullptr ? bottom_ : top_->above_) = &node;
  top_ = &node;
  ++counts_.idle;
}

void SlotCore::unlink(SlotNode& node) noexcept {
  (node.above_ == nullptr ? top_ : node.above_->below_) = node.below_;
  (node.below_ == nullptr ? bottom_ : node.below_->above_) = node.above_;
  --counts_.idle;
}

// --- going ---

void SlotCore::begin_end(SlotNode& node, SlotEnd end, Effects& effects) noexcept {
  node.place_ = Place::kLeaving;
  node.end_ = end;
  node.below_ = nullptr;
  (effects.leaving == nullptr ? effects.leaving : effects.last_leaving->below_) = &node;
  effects.last_leaving = &node;
  ++(end == SlotEnd::kRetired ? counts_.retired : end == SlotEnd::kExpired ? counts_.expired : counts_.closed);
  hold(effects);
}

bool SlotCore::eject(SlotNode& node, std::uint64_t id, EjectRefusal& why) noexcept {
  const SpinLockGuard lock(lock_);
  if (node.id_ == id && node.place_ == Place::kIdle) {
    unlink(node);
    node.place_ = Place::kLeaving;
    ++counts_.ejected;
    why = EjectRefusal::kNone;
    return true;
  }
  ++counts_.eject_misses;
  why = is_here(node, id) ? EjectRefusal::kLeased : EjectRefusal::kGone;
  return false;
}

SlotNode* SlotCore::eject_oldest() noexcept {
  const SpinLockGuard lock(lock_);
  SlotNode* const node = bottom_;
  if (node == nullptr) return nullptr;
  unlink(*node);
  node->place_ = Place::kLeaving;
  ++counts_.ejected;
  return node;
}

void SlotCore::count_foreign_token() noexcept {
  const SpinLockGuard lock(lock_);
  ++counts_.foreign_tokens;
}

SlotState SlotCore::state(const SlotNode& node, std::uint64_t id) const noexcept {
  const SpinLockGuard lock(lock_);
  if (!is_here(node, id)) return SlotState::kGone;
  return node.place_ == Place::kIdle ? SlotState::kIdle : SlotState::kLeased;
}

SlotState SlotCore::retire(SlotNode& node, std::uint64_t id) noexcept {
  Effects effects;
  SlotState was = SlotState::kGone;
  {
    const SpinLockGuard lock(lock_);
    if (!is_here(node, id)) return was;
    if (node.place_ == Place::kIdle) {
      was = SlotState::kIdle;
      unlink(node);
      begin_end(node, SlotEnd::kRetired, effects);
    } else {
      was = SlotState::kLeased;
      node.retires_ = true;
    }
  }
  apply(effects);
  return was;
}

void SlotCore::end_lease(const SlotNode& node) noexcept {
  --counts_.leased;
  // In a closed queue the clock may be gone.
  if (times_leases_ && !closed_) add_latency(SlotPhase::kRunner, elapsed(node.since_, settings_.clock->recent()));
}

void SlotCore::give_back(SlotNode& node, bool retires) noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    end_lease(node);
    if (retires || node.retires_) {
      begin_end(node, SlotEnd::kRetired, effects);
    } else {
      if (!closed_) ++counts_.returned;
      place(node, effects);
    }
    want_launch(effects);
    drop_share(effects);
  }
  apply(effects);
}

void SlotCore::take_out(SlotNode& node) noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    end_lease(node);
    ++counts_.taken;
    node.place_ = Place::kLeaving;
    want_launch(effects);
  }
  apply(effects);
}

void SlotCore::end_take_out(SlotNode& node) noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    set_free(node);
    drop_share(effects);
  }
  apply(effects);
}

bool SlotCore::close() noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    if (std::exchange(closed_, true)) return false;
    line_.claim_all(Waiter::kClosed, effects.wake);
    while (SlotNode* const node = bottom_) {
      unlink(*node);
      begin_end(*node, SlotEnd::kClosed, effects);
    }
  }
  apply(effects);
  return true;
}

bool SlotCore::is_closed() const noexcept {
  const SpinLockGuard lock(lock_);
  return closed_;
}

// --- idle slots ---

void SlotCore::want_timer(Effects& effects) noexcept {
  if (is_armed_ || closed_ || counts_.idle <= settings_.min_idle) return;
  is_armed_ = true;
  hold(effects);
  effects.arms = true;
}

void SlotCore::arm(Effects& effects) noexcept {
  for (TimePoint due{};;) {
    {
      const SpinLockGuard lock(lock_);
      expire(effects);
      if (closed_ || counts_.idle <= settings_.min_idle) {
        is_armed_ = false;
        return;
      }
      // Whatever is at the bottom by now: it is due later than what was there before.
      due = saturated_add(bottom_->since_, settings_.idle_timeout);
    }
    if (settings_.clock->arm(idle_timer_, due)) return;
  }
}

void SlotCore::expire(Effects& effects) noexcept {
  const TimePoint time = now();
  while (bottom_ != nullptr && counts_.idle > settings_.min_idle &&
         saturated_add(bottom_->since_, settings_.idle_timeout) <= time) {
    SlotNode& node = *bottom_;
    unlink(node);
    begin_end(node, SlotEnd::kExpired, effects);
  }
}

void SlotCore::on_idle_timer() noexcept {
  Effects effects;
  {
    const SpinLockGuard lock(lock_);
    is_armed_ = false;
    if (closed_) return;  // the clock may be gone soon
    expire(effects);
    want_timer(effects);
  }
  apply(effects);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
