// SPDX-License-Identifier: MIT

// What goes beyond the decision table: who is refused at once, the order of the queue, what is due, and what is called
// off.

#include <algorithm>
#include <cstdint>
#include <limits>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// The service of one request of weight 1: so small that its times do not overflow within 2^43 requests, and what
// weights leave over is carried on.
constexpr std::uint64_t kShare = std::uint64_t{1} << 20;

using Limits = std::numeric_limits<std::int64_t>;

std::int64_t saturated_difference(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t result = 0;
  if (!__builtin_sub_overflow(a, b, &result)) return result;
  return b > 0 ? Limits::min() : Limits::max();
}

std::int64_t saturated_product(std::int64_t a, std::int64_t b) noexcept {
  std::int64_t result = 0;
  if (!__builtin_mul_overflow(a, b, &result)) return result;
  return (a < 0) == (b < 0) ? Limits::max() : Limits::min();
}

}  // namespace

std::uint16_t SwapCore::tenant_of(const SwapRequest& request) const noexcept {
  return static_cast<std::uint16_t>(std::min(static_cast<std::size_t>(request.tenant), options().tenants.size()));
}

/// Why a request is refused whatever the table says.
std::optional<SwapReason> SwapCore::refusal_of(const SwapRequest& request) const noexcept {
  if (shut_down_) return SwapReason::kShutdown;
  if (model_state(request.model) == ModelState::kUnknown) return SwapReason::kUnknownModel;
  if (request.deadline <= now_) return SwapReason::kExpired;
  const ModelRecord& model = models_[static_cast<std::size_t>(request.model)];
  if (options().limit_at == LimitAt::kArrival && model.reserved >= model.limit) return SwapReason::kConcurrencyLimit;
  if (now_ < model.backs_off_until && !has_swap_to_join(model) && model.state != ModelState::kReady) {
    return SwapReason::kBackingOff;
  }
  return std::nullopt;
}

/// Why it is refused if it would have to wait.
std::optional<SwapReason> SwapCore::bound_of(const Ticket& ticket) const noexcept {
  const ModelRecord& model = models_[ticket.model];
  if (stats_.queued + stats_.joined >= options().max_queued) return SwapReason::kQueueFull;
  if (std::size_t{model.queue.size()} + model.joined.size() >= options().max_queued_per_model) {
    return SwapReason::kModelQueueFull;
  }
  if (tenants_[ticket.tenant].waiting >= options().max_queued_per_tenant) return SwapReason::kTenantQueueFull;
  return std::nullopt;
}

/// Whether who would have to wait may, as who does already; else it is refused.
bool SwapCore::is_admitted(std::uint32_t at) {
  const Ticket& ticket = tickets_[at];
  if (ticket.state == TicketState::kQueued) return true;
  const std::optional<SwapReason> full = bound_of(ticket);
  if (full) refuse(at, *full, SwapId{}, wait_of(ticket.model, ticket.key, now_));
  return !full;
}

/// Fixed when the request comes. Aging, too: what gains as much as all others with each moment never overtakes any of
/// them, so only when it came, and what its priority is worth in time, matter.
OrderKey SwapCore::key_of(const SwapRequest& request) noexcept {
  OrderKey key{.sequence = stats_.arrived};
  const std::int64_t priority = priority_of(request);
  const std::int64_t step = options().aging_step.count();
  key.major =
      step == 0 ? -priority : saturated_difference(now_.time_since_epoch().count(), saturated_product(priority, step));
  if (options().order == QueueOrder::kDeadline) {
    key.middle = request.deadline.time_since_epoch().count();
  } else if (options().order == QueueOrder::kFairShare) {
    // Start-time fair queuing: a tenant's next request starts, in the time of its service, where its last one ends.
    TenantShare& tenant = tenants_[tenant_of(request)];
    const std::uint64_t weight = weight_of(tenant_of(request));
    const std::int64_t start = std::max(virtual_time_, tenant.finish);
    tenant.rest += kShare;
    tenant.finish = start + static_cast<std::int64_t>(tenant.rest / weight);
    tenant.rest %= weight;
    key.middle = start;
  }
  return key;
}

/// `model` could not be brought up: it is left alone for a while. `room` is taken for all who are queued for it.
void SwapCore::failed(std::uint32_t number) noexcept {
  const SwapBackOff& back_off = options().back_off;
  if (back_off.first == Duration::zero()) return;
  ModelRecord& model = models_[number];
  const double longer = static_cast<double>(model.pause.count()) * back_off.factor;
  if (model.pause == Duration::zero()) {
    model.pause = std::min(back_off.first, back_off.longest);
  } else if (longer < static_cast<double>(back_off.longest.count())) {
    model.pause = Duration(static_cast<std::int64_t>(longer));
  } else {
    model.pause = back_off.longest;
  }
  model.backs_off_until = saturated_add(now_, model.pause);
  const ModelId id{number};
  refuse_queued_of({&id, 1}, SwapReason::kBackingOff, model.pause);
}

/// There is room for it.
void SwapCore::watch_deadline(std::uint32_t at, TimePoint deadline) noexcept {
  deadlines_.push_back({.key = {deadline, tickets_[at].key.sequence}, .item = at});
  sift(
      std::span(deadlines_),
      deadlines_.size() - 1, [this](std::uint32_t item) -> auto& { return tickets_[item].due_at; });
}

/// Whether its deadline comes before it could be served after `wait`.
bool SwapCore::is_late(std::uint32_t at, Duration wait) const noexcept {
  const std::uint32_t place = tickets_[at].due_at;
  return options().reject_late && place != kNoIndex && deadlines_[place].key.first < saturated_add(now_, wait);
}

void SwapCore::forget_deadline(std::uint32_t at) noexcept {
  const std::uint32_t place = std::exchange(tickets_[at].due_at, kNoIndex);
  if (place == kNoIndex) return;
  deadlines_[place] = deadlines_.back();
  deadlines_.pop_back();
  if (place == deadlines_.size()) return;
  sift(
      std::span(deadlines_), place, [this](std::uint32_t item) -> auto& { return tickets_[item].due_at; });
}

/// Ends whoever has waited until its deadline.
void SwapCore::expire() {
  while (!deadlines_.empty() && deadlines_.front().key.first <= now_) {
    refuse(deadlines_.front().item, SwapReason::kExpired);
  }
}

void SwapCore::call_off_unwanted() {
  if (stats_.queued == 0) return;
  room(unwanted_.size());
  std::sort(unwanted_.begin(), unwanted_.end(),
            [this](std::uint32_t a, std::uint32_t b) { return models_[a].swap < models_[b].swap; });
  for (const std::uint32_t each : unwanted_) {
    ModelRecord& model = models_[each];
    model.is_listed_unwanted = false;
    if (!has_swap_to_join(model) || !model.joined.empty()) continue;
    model.called_off = true;
    out_->add(CancelSwap{.swap = model.swap, .target = ModelId{each}, .reason = SwapReason::kUnwanted});
  }
  unwanted_.clear();
}

TimePoint SwapCore::next_due() const noexcept {
  if (shut_down_) return TimePoint::max();
  if (must_drain_) return now_;
  TimePoint due = deadlines_.empty() ? TimePoint::max() : deadlines_.front().key.first;
  if (idle_.has_room() && !idle_.empty(0)) due = std::min(due, idle_.first(0).key.first);
  if (residents_.has_room() && !residents_.empty(0)) {
    due = std::min(due, residents_.first(0).key.first);
    if (maturing_.has_room() && !maturing_.empty(0)) due = std::min(due, maturing_.first(0).key.first);
  }
  return due;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
