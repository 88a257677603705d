// SPDX-License-Identifier: MIT

// The line of a resource pool.

#include <algorithm>
#include <functional>

#include "penstock/exec/detail/resource_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

ResourceWait::ResourceWait(ResourceCore& core, const ResourceFilter* filter, std::string_view sticky_key)
    : core_(core),
      filter_(filter),
      has_key_(!sticky_key.empty()),
      key_(has_key_ ? std::hash<std::string_view>{}(sticky_key) : 0) {
  if (has_key_) core_.make_sticky_table();
}

ResourceWait::~ResourceWait() {
  if (was_in_line_ || lent_ != nullptr) core_.leave(*this);
}

void ResourceCore::make_sticky_table() {
  {
    ResourceLock lock(mutex_);
    if (sticky_ != nullptr) return;
  }
  auto table = std::make_unique<StickyTable>(options_.sticky_keys);
  ResourceLock lock(mutex_);
  if (sticky_ == nullptr) sticky_.swap(table);
}

bool ResourceCore::must_ask(const ResourceWait& wait) const noexcept {
  return wait.filter_ != nullptr && wait.lent_ == nullptr && wait.asked_ < last_serial_;
}

void ResourceCore::ask(ResourceWait& wait) {
  std::vector<SlotPtr> slots;
  std::uint64_t known = 0;
  for (std::size_t wanted = 16;;) {
    slots.reserve(wanted);
    ResourceLock lock(mutex_);
    if (slots.capacity() < slots_.size()) {
      wanted = slots_.size();
      continue;
    }
    known = last_serial_;
    for (const SlotPtr& slot : slots_) {
      if (slot->serial > wait.asked_) slots.push_back(slot);
    }
    break;
  }
  std::vector<std::uint64_t> accepted;
  accepted.reserve(wait.accepted_.size() + slots.size());
  accepted = wait.accepted_;
  for (const SlotPtr& slot : slots) {
    if (wait.filter_->accepts(*slot)) accepted.push_back(slot->serial);
  }
  std::sort(accepted.begin(), accepted.end());
  ResourceLock lock(mutex_);
  wait.accepted_.swap(accepted);
  wait.asked_ = known;
}

ResourceSlot* ResourceCore::pick(const ResourceWait& wait) noexcept {
  const Acceptance accepts = wait.acceptance();
  if (wait.has_key_) {
    if (const std::uint64_t serial = sticky_->find(wait.key_, now()); serial != 0) {
      ResourceSlot* const bound = find(serial);
      if (bound != nullptr && bound->is_free() && accepts(*bound)) return bound;
    }
  }
  const double random = options_.strategy == ResourceStrategy::kWeightedRandom ? random_.next() : 0;
  const std::size_t at = choose(options_.strategy, slots_, accepts, turn_, random);
  if (at == kNoChoice) return nullptr;
  turn_ = at + 1;
  return slots_[at].get();
}

void ResourceCore::bind(const ResourceWait& wait, const ResourceSlot& slot) noexcept {
  const TimePoint time = now();
  std::uint64_t serial = sticky_->find(wait.key_, time);
  if (serial != slot.serial) {
    const ResourceSlot* const bound = serial == 0 ? nullptr : find(serial);
    if (bound == nullptr || !bound->is_enabled) serial = slot.serial;  // else this is for one time
  }
  sticky_->bind(wait.key_, serial, saturated_add(time, options_.sticky_ttl));
}

void ResourceCore::lend(ResourceSlot& slot, ResourceWait& wait) noexcept {
  ++slot.in_use;
  ++slot.leases_;
  ++counts_.in_use;
  ++counts_.leases;
  if (wait.is_listed_) {
    counts_.lease_wait.record(now() - wait.since_);
    unlist(wait);
  }
  if (wait.has_share_) {
    wait.has_share_ = false;  // it is the lease's now
  } else {
    ++shares_;
  }
  if (wait.has_key_) bind(wait, slot);
  wait.lent_ = &slot;
}

void ResourceCore::describe(ResourceWait& wait) const noexcept {
  ResourceWait::View view;
  const Acceptance accepts = wait.acceptance();
  view.in_use = counts_.in_use;
  view.back_in = Duration::max();
  TimePoint back = TimePoint::max();
  for (const SlotPtr& slot : slots_) {
    if (slot->serial == 0) continue;
    ++view.resources;
    if (!accepts(*slot)) continue;
    ++view.passing;
    if (slot->is_enabled) continue;
    ++view.disabled;
    back = std::min(back, slot->disabled_until_);
  }
  using Why = ResourceWait::Why;
  wait.why_ = view.resources == 0             ? Why::kNoResource
              : view.passing == 0             ? Why::kNothingPasses
              : view.disabled == view.passing ? Why::kDisabled
                                              : Why::kBusy;
  if (wait.why_ == Why::kDisabled && back != TimePoint::max()) view.back_in = back - now();
  wait.view_ = view;
}

bool ResourceCore::look(ResourceWait& wait, Effects& effects) noexcept {
  if (wait.lent_ != nullptr) return true;
  if (closed_) {  // then the clock may be gone
    wait.why_ = ResourceWait::Why::kClosed;
    return false;
  }
  end_rests(effects);  // those in line come first, this one among them
  if (wait.lent_ != nullptr) return true;
  if (ResourceSlot* const slot = pick(wait)) {
    lend(*slot, wait);
    return true;
  }
  describe(wait);
  return false;
}

bool ResourceCore::try_acquire(ResourceWait& wait) {
  for (;;) {
    if (wait.filter_ != nullptr) ask(wait);
    Effects effects;
    bool lent = false;
    {
      ResourceLock lock(mutex_);
      if (must_ask(wait)) continue;
      lent = look(wait, effects);
    }
    apply(effects);
    return lent;
  }
}

bool ResourceCore::is_hopeful(ResourceWait& wait, const Context& ctx) noexcept {
  using Why = ResourceWait::Why;
  if (wait.why_ == Why::kDisabled) return wait.view_.back_in < patience(ctx);
  if (wait.why_ != Why::kBusy) return false;
  const OpStatus status = ctx.status();
  if (status != OpStatus::kOk) wait.why_ = status == OpStatus::kTimedOut ? Why::kTimedOut : Why::kCancelled;
  return status == OpStatus::kOk;
}

Duration ResourceCore::patience(const Context& ctx) noexcept {
  if (ctx.status() != OpStatus::kOk) return Duration::zero();
  return ctx.deadline() == TimePoint::max() ? Duration::max() : ctx.deadline() - ctx.clock().now();
}

bool ResourceCore::acquire(ResourceWait& wait, const Context& ctx) {
  if (!is_hopeful(wait, ctx)) return false;
  if (!ctx.can_end()) return wait_in_line<EndlessWaiter>(wait, ctx);
  return wait_in_line<Waiter>(wait, ctx, ctx);
}

template <class Kind, class... Ctx>
bool ResourceCore::wait_in_line(ResourceWait& wait, const Context& ctx, const Ctx&... waiter_ctx) {
  for (;;) {
    Kind waiter(waiter_ctx...);
    WaitNode node(waiter, nullptr);
    const Look seen = look_or_park(wait, node, patience(ctx));
    if (seen != Look::kParked) return seen == Look::kLent;
    if (settle(wait, waiter.wait())) return wait.lent_ != nullptr;
  }
}

ResourceCore::Look ResourceCore::look_or_park(ResourceWait& wait, WaitNode& node, Duration patience) {
  using Why = ResourceWait::Why;
  for (;;) {
    Effects effects;
    Look seen = Look::kRefused;
    bool asks = false;
    {
      ResourceLock lock(mutex_);
      if (must_ask(wait)) {
        asks = true;
      } else if (look(wait, effects)) {
        seen = Look::kLent;
      } else if (wait.why_ == Why::kBusy ||
                 (wait.why_ == Why::kDisabled && wait.view_.back_in < patience && !lacks_timers_)) {
        seen = Look::kParked;
        wait.node_ = &node;
        if (!wait.is_listed_) list(wait);
        want_timer(effects);
      } else if (wait.is_listed_) {
        unlist(wait);
      }
    }
    if (asks) {
      ask(wait);
      continue;
    }
    apply(effects);
    return seen;
  }
}

bool ResourceCore::settle(ResourceWait& wait, Waiter::Outcome outcome) noexcept {
  using Why = ResourceWait::Why;
  if (outcome == Waiter::kServed) return true;
  if (outcome == ResourceWait::kNudged) return false;
  wait.why_ = outcome == Waiter::kTimedOut ? Why::kTimedOut
              : outcome == Waiter::kClosed ? Why::kClosed
                                           : Why::kCancelled;
  ResourceLock lock(mutex_);
  if (!closed_) wait.view_.waited = now() - wait.since_;  // else the clock may be gone
  if (wait.is_listed_) unlist(wait);
  return true;
}

void ResourceCore::list(ResourceWait& wait) noexcept {
  wait.is_listed_ = true;
  wait.next_ = nullptr;
  wait.previous_ = last_;
  (last_ == nullptr ? first_ : last_->next_) = &wait;
  last_ = &wait;
  wait.was_in_line_ = true;
  wait.has_share_ = true;
  ++shares_;
  ++counts_.waiting;
  ++counts_.waits;
  wait.since_ = now();
}

void ResourceCore::unlist(ResourceWait& wait) noexcept {
  (wait.previous_ == nullptr ? first_ : wait.previous_->next_) = wait.next_;
  (wait.next_ == nullptr ? last_ : wait.next_->previous_) = wait.previous_;
  wait.is_listed_ = false;
  wait.node_ = nullptr;
  --counts_.waiting;
}

void ResourceCore::leave(ResourceWait& wait) noexcept {
  Effects effects;
  ResourceSlot* lent = nullptr;
  {
    ResourceLock lock(mutex_);
    if (wait.is_listed_) unlist(wait);
    lent = std::exchange(wait.lent_, nullptr);
    if (std::exchange(wait.has_share_, false)) drop_share(effects);
  }
  apply(effects);
  if (lent != nullptr) give_back(*lent, false);
}

void ResourceCore::serve(ResourceSlot& slot, Effects& effects) noexcept {
  for (ResourceWait* wait = first_; wait != nullptr && slot.is_free();) {
    ResourceWait& each = *std::exchange(wait, wait->next_);
    if (!each.acceptance()(slot)) continue;
    if (each.node_ != nullptr) {
      // One that its context has claimed takes itself out.
      if (!each.node_->waiter->claim(Waiter::kServed)) continue;
      effects.wake.push(*each.node_);
    }
    lend(slot, each);
  }
}

void ResourceCore::nudge(ResourceWait& wait, Effects& effects) noexcept {
  if (wait.node_ == nullptr || !wait.node_->waiter->claim(ResourceWait::kNudged)) return;
  effects.wake.push(*std::exchange(wait.node_, nullptr));
}

void ResourceCore::nudge_hopeless(Effects& effects) noexcept {
  if (first_ == nullptr) return;
  const auto has_enabled = [this](const Acceptance& accepts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::any_of(slots_.begin(), slots_.end(),
                       [&](const SlotPtr& slot) { return slot->is_enabled && accepts(*slot); });
  };
  const bool any_enabled = has_enabled(Acceptance());
  for (ResourceWait* wait = first_; wait != nullptr; wait = wait->next_) {
    if (any_enabled && (wait->filter_ == nullptr || has_enabled(wait->acceptance()))) continue;
    nudge(*wait, effects);
  }
}

bool ResourceCore::close() noexcept {
  Effects effects;
  {
    ResourceLock lock(mutex_);
    if (std::exchange(closed_, true)) return false;
    while (ResourceWait* const wait = first_) {
      if (wait->node_ != nullptr && wait->node_->waiter->claim(Waiter::kClosed)) effects.wake.push(*wait->node_);
      unlist(*wait);
    }
  }
  apply(effects);
  return true;
}

bool ResourceCore::is_closed() const noexcept {
  ResourceLock lock(mutex_);
  return closed_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
