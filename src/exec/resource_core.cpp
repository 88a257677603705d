// SPDX-License-Identifier: MIT

// The resources: who is in the pool, who was lent, and what becomes of it. The line is in resource_line.cpp, texts and
// figures are in resource_report.cpp.

#include "penstock/exec/detail/resource_core.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "penstock/core/detail/world.hpp"
#include "penstock/core/retry_after.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMaxIdBytes = 256;

ResourcePoolOptions checked(ResourcePoolOptions options) {
  if (const absl::Status bad = options.validate(); !bad.ok()) throw std::invalid_argument(std::string(bad.message()));
  if (options.seed == 0) {
    for (int part = 0; part != 4; ++part) options.seed = options.seed << 16U | world::random_below(1U << 16U);
  }
  return options;
}

}  // namespace

ResourceCore* ResourceCore::make(ResourcePoolOptions options) { return new ResourceCore(std::move(options)); }

ResourceCore::ResourceCore(ResourcePoolOptions options)
    : options_(checked(std::move(options))),
      random_(options_.seed),
      timer_([](Timer& timer) noexcept { static_cast<RestTimer&>(timer).self.on_timer(); }, *this) {}

ResourceCore::~ResourceCore() = default;

void ResourceCore::destroy() noexcept {
  close();
  EndlessWaiter waiter;
  WaitNode node(waiter, nullptr);
  bool has_keeper = false;
  bool has_timers = false;
  {
    ResourceLock lock(mutex_);
    has_keeper = has_keeper_;
    has_timers = has_timers_;
    if (has_keeper) destroyer_.push(node);
  }
  // A closed pool wants no timer, so after this keeper there comes no other, and after the callback nothing arms it.
  if (has_keeper) waiter.wait();
  if (has_timers) options_.clock->disarm(timer_);

  std::vector<SlotPtr> free;
  Effects effects;
  {
    ResourceLock lock(mutex_);
    free.swap(slots_);
    for (SlotPtr& slot : free) {
      slot->is_removed_ = true;
      if (slot->in_use == 0) continue;
      ++counts_.leaving;
      ResourceSlot& lent = *slot;
      lent.self_ = std::move(slot);
    }
    drop_share(effects);
  }
  free.clear();
  apply(effects);
}

void ResourceCore::drop_share(Effects& effects) noexcept {
  if (--shares_ == 0) effects.ends_core = true;
}

void ResourceCore::carry_out(Effects& effects) noexcept {
  if (effects.keeps_timer) keep_timer(effects);
  // Whoever is woken, and the destructor of a resource, may destroy the pool: from here on the core is used only by who
  // had the last share.
  effects.wake.wake_all();
  effects.gone.reset();
  if (effects.ends_core) delete this;
}

absl::Status ResourceCore::reserve(const SlotPtr& slot, const ResourceOptions& options) {
  const std::string_view id = slot->id;
  if (id.empty() || id.size() > kMaxIdBytes) {
    return absl::InvalidArgumentError(
        fmt::format("resource pool '{}': an id must be 1 to {} bytes long, got {}", name(), kMaxIdBytes, id.size()));
  }
  if (const absl::Status bad = options.validate(); !bad.ok()) return bad_options(id, bad);
  slot->weight = options.weight;
  slot->max_concurrent = options.max_concurrent;

  std::vector<SlotPtr> larger;  // the room is made, and the old one freed, without the mutex
  for (;;) {
    std::size_t wanted = 0;
    {
      ResourceLock lock(mutex_);
      if (closed_) break;
      const auto same = [id](const SlotPtr& each) { return each->id == id; };
      if (std::any_of(slots_.begin(), slots_.end(), same)) {
        // The text is for later, without the mutex.
      } else if (slots_.size() < slots_.capacity()) {
        slots_.push_back(slot);
        return absl::OkStatus();
      } else if (slots_.size() < larger.capacity()) {
        std::move(slots_.begin(), slots_.end(), std::back_inserter(larger));
        larger.push_back(slot);
        slots_.swap(larger);
        return absl::OkStatus();
      } else {
        wanted = 2 * slots_.size() + 8;
      }
    }
    if (wanted == 0) {
      return absl::AlreadyExistsError(fmt::format("resource pool '{}': there is a resource '{}'", name(), id));
    }
    larger.reserve(wanted);
  }
  return absl::UnavailableError(fmt::format("resource pool '{}': closed", name()));
}

void ResourceCore::publish(ResourceSlot& slot) noexcept {
  Effects effects;
  {
    ResourceLock lock(mutex_);
    slot.serial = ++last_serial_;
    serve(slot, effects);
    for (ResourceWait* wait = first_; wait != nullptr; wait = wait->next_) {
      if (wait->filter_ != nullptr) nudge(*wait, effects);
    }
  }
  apply(effects);
}

void ResourceCore::withdraw(ResourceSlot& slot) noexcept {
  SlotPtr gone;
  ResourceLock lock(mutex_);
  gone = detach(slot);
}

ResourceSlot* ResourceCore::find(std::string_view id) const noexcept {
  for (const SlotPtr& slot : slots_) {
    if (slot->id == id && slot->serial != 0) return slot.get();
  }
  return nullptr;
}

ResourceSlot* ResourceCore::find(std::uint64_t serial) const noexcept {
  for (const SlotPtr& slot : slots_) {
    if (slot->serial == serial) return slot.get();
  }
  return nullptr;
}

SlotPtr ResourceCore::detach(ResourceSlot& slot) noexcept {
  const auto at = std::find_if(slots_.begin(), slots_.end(), [&](const SlotPtr& each) { return each.get() == &slot; });
  const auto index = static_cast<std::size_t>(at - slots_.begin());
  SlotPtr held = std::move(*at);
  slots_.erase(at);
  if (turn_ > index) --turn_;
  slot.is_removed_ = true;
  if (!slot.is_enabled && slot.disabled_until_ != TimePoint::max()) --resting_;
  return held;
}

void ResourceCore::remove(ResourceSlot& slot, Effects& effects) noexcept {
  SlotPtr held = detach(slot);
  if (slot.in_use == 0) {
    effects.gone = std::move(held);
  } else {
    ++counts_.leaving;
    slot.self_ = std::move(held);
  }
  nudge_hopeless(effects);
}

absl::StatusOr<std::size_t> ResourceCore::remove(std::string_view id) {
  Effects effects;
  bool found = false;
  std::size_t out = 0;
  {
    ResourceLock lock(mutex_);
    if (ResourceSlot* const slot = find(id)) {
      found = true;
      out = slot->in_use;
      remove(*slot, effects);
    }
  }
  apply(effects);
  if (!found) return not_found(id);
  return out;
}

absl::Status ResourceCore::disable(std::string_view id, Duration how_long) {
  if (how_long <= Duration::zero()) {
    return bad_options(id, absl::InvalidArgumentError(fmt::format("the time to disable it for must be positive, got {}",
                                                                  duration_text(how_long))));
  }
  Effects effects;
  bool found = false;
  {
    ResourceLock lock(mutex_);
    if (ResourceSlot* const slot = find(id)) {
      found = true;
      disable(*slot, how_long == Duration::max() ? TimePoint::max() : saturated_add(now(), how_long), effects);
    }
  }
  apply(effects);
  return found ? absl::OkStatus() : not_found(id);
}

void ResourceCore::disable(ResourceSlot& slot, TimePoint until, Effects& effects) noexcept {
  if (!slot.is_enabled && slot.disabled_until_ != TimePoint::max()) --resting_;
  slot.is_enabled = false;
  slot.disabled_until_ = until;
  if (until != TimePoint::max()) {
    rest_ends_ = resting_ == 0 ? until : std::min(rest_ends_, until);
    ++resting_;
  }
  nudge_hopeless(effects);
  lacks_timers_ = false;
  want_timer(effects);
}

absl::Status ResourceCore::enable(std::string_view id) {
  Effects effects;
  bool found = false;
  {
    ResourceLock lock(mutex_);
    if (ResourceSlot* const slot = find(id)) {
      found = true;
      if (!slot->is_enabled && slot->disabled_until_ != TimePoint::max()) --resting_;
      slot->is_enabled = true;
      slot->consecutive_failures_ = 0;
      serve(*slot, effects);
    }
  }
  apply(effects);
  return found ? absl::OkStatus() : not_found(id);
}

absl::Status ResourceCore::update(std::string_view id, const ResourceOptions& options) {
  if (const absl::Status bad = options.validate(); !bad.ok()) return bad_options(id, bad);
  Effects effects;
  bool found = false;
  {
    ResourceLock lock(mutex_);
    if (ResourceSlot* const slot = find(id)) {
      found = true;
      slot->weight = options.weight;
      slot->max_concurrent = options.max_concurrent;
      serve(*slot, effects);
    }
  }
  apply(effects);
  return found ? absl::OkStatus() : not_found(id);
}

void ResourceCore::give_back(ResourceSlot& slot, bool discard) noexcept {
  Effects effects;
  {
    ResourceLock lock(mutex_);
    --slot.in_use;
    --counts_.in_use;
    ++counts_.returns;
    if (slot.is_removed_ || closed_) ++counts_.late_returns;
    if (discard) ++counts_.discarded;
    if (!slot.is_removed_) {
      if (discard) {
        remove(slot, effects);
      } else if (first_ != nullptr) {
        serve(slot, effects);
      }
    }
    if (slot.self_ != nullptr && slot.in_use == 0) {
      effects.gone = std::move(slot.self_);
      --counts_.leaving;
    }
    drop_share(effects);
  }
  apply(effects);
}

ResourceVerdict ResourceCore::verdict_on(const absl::Status& status) noexcept {
  if (!options_.classify) return classify_resource(status);
  try {
    return options_.classify(status);
  } catch (...) {
    ResourceLock lock(mutex_);
    ++counts_.caught_exceptions;
  }
  return classify_resource(status);
}

void ResourceCore::report(ResourceSlot& slot, const absl::Status& status, const Duration* retry_after) noexcept {
  const ResourceVerdict verdict = verdict_on(status);
  Duration rest = options_.rest_for;
  if (verdict == ResourceVerdict::kRest) {
    try {
      rest = retry_after != nullptr ? *retry_after : penstock::retry_after(status).value_or(rest);
    } catch (...) {  // no memory to read the payload
    }
  }

  Effects effects;
  {
    ResourceLock lock(mutex_);
    const bool is_late = slot.is_removed_ || closed_;
    if (is_late) ++counts_.late_reports;
    if (verdict == ResourceVerdict::kGood) slot.consecutive_failures_ = 0;
    if (verdict == ResourceVerdict::kGood || verdict == ResourceVerdict::kIgnored) return;
    ++slot.errors_;
    ++slot.consecutive_failures_;
    ++counts_.errors;
    if (is_late || verdict == ResourceVerdict::kFailed) return;
    const bool is_dead = !slot.is_enabled && slot.disabled_until_ == TimePoint::max();
    if (is_dead) return;
    if (verdict == ResourceVerdict::kDead) {
      ++counts_.deaths;
      disable(slot, TimePoint::max(), effects);
    } else if (rest > Duration::zero()) {
      const TimePoint until = saturated_add(now(), rest);
      if (slot.is_enabled || slot.disabled_until_ < until) {
        ++counts_.rests;
        disable(slot, until, effects);
      }
    }
  }
  apply(effects);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
