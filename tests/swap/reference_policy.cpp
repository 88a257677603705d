// SPDX-License-Identifier: MIT

// What the reference has beyond the published table: who is refused at once, what is due, what is called off.

#include <algorithm>
#include <limits>

#include "swap/reference_scheduler.hpp"

namespace penstock::testing {

void ReferenceScheduler::begin(TimePoint now, SwapActions& out) {
  now_ = now;
  out_ = &out;
  expire();
  unload_idle();
  end_residencies();
}

void ReferenceScheduler::end() {
  sweep();
  if (claim_ended_) drain();
  call_off_unwanted();
  if (const TimePoint due = next_due(); due != told_) {
    told_ = due;
    out_->add(WakeAt{.when = due});
  }
  out_ = nullptr;
}

/// Why a request is refused whatever the table says.
std::optional<SwapReason> ReferenceScheduler::refusal_of(const SwapRequest& request) const {
  if (shut_down_) return SwapReason::kShutdown;
  if (model_state(request.model) == ModelState::kUnknown) return SwapReason::kUnknownModel;
  if (request.deadline <= now_) return SwapReason::kExpired;
  const Model& model = at(request.model);
  if (options_.limit_at == LimitAt::kArrival && model.reserved >= model.limit) return SwapReason::kConcurrencyLimit;
  const bool is_coming_up = std::any_of(
      swaps_.begin(), swaps_.end(), [&](const Swap& each) { return each.target == request.model && !each.is_orphan; });
  if (now_ < model.backs_off_until && !is_coming_up && model.state != ModelState::kReady) {
    return SwapReason::kBackingOff;
  }
  return std::nullopt;
}

/// Why it is refused if it would have to wait.
std::optional<SwapReason> ReferenceScheduler::bound_of(const SwapRequest& request) const {
  std::vector<SwapRequest> waiting;
  for (const TicketId each : queue_) waiting.push_back(at(each).what);
  for (const Swap& swap : swaps_) {
    for (const TicketId each : swap.waiters) waiting.push_back(at(each).what);
  }
  const auto count = [&](auto is_counted) {
    return static_cast<std::size_t>(std::count_if(waiting.begin(), waiting.end(), is_counted));
  };
  const auto tenant_of = [&](const SwapRequest& each) {
    return std::min(static_cast<std::size_t>(each.tenant), options_.tenants.size());
  };
  if (waiting.size() >= options_.max_queued) return SwapReason::kQueueFull;
  if (count([&](const SwapRequest& each) { return each.model == request.model; }) >= options_.max_queued_per_model) {
    return SwapReason::kModelQueueFull;
  }
  if (count([&](const SwapRequest& each) { return tenant_of(each) == tenant_of(request); }) >=
      options_.max_queued_per_tenant) {
    return SwapReason::kTenantQueueFull;
  }
  return std::nullopt;
}

/// Whether who would have to wait may, as who does already; else it is refused.
bool ReferenceScheduler::is_admitted(TicketId ticket) {
  if (is_in_queue(ticket)) return true;
  const SwapRequest& what = at(ticket).what;
  const std::optional<SwapReason> full = bound_of(what);
  if (full) reject(ticket, *full, SwapId{}, wait_of(what.model, at(ticket).key, now_));
  return !full;
}

/// Ends whoever has waited until its deadline.
void ReferenceScheduler::expire() {
  if (!has_deadlines_) return;
  std::vector<std::pair<TimePoint, TicketId>> due;
  const auto look_at = [&](TicketId each) {
    const TimePoint deadline = at(each).what.deadline;
    const TimePoint latest = bug_ == PlantedBug::kExpiresLate ? now_ - Duration(1) : now_;
    if (deadline != TimePoint::max() && deadline <= latest) due.emplace_back(deadline, each);
  };
  std::for_each(queue_.begin(), queue_.end(), look_at);
  for (const Swap& swap : swaps_) std::for_each(swap.waiters.begin(), swap.waiters.end(), look_at);
  std::sort(due.begin(), due.end());
  for (const auto& [deadline, ticket] : due) reject(ticket, SwapReason::kExpired);
  sweep();
  if (claim_ended_) drain();
}

bool ReferenceScheduler::has_claims() const noexcept {
  return options_.max_wait != Duration::max() || options_.claim_priority != std::numeric_limits<std::int32_t>::max();
}

bool ReferenceScheduler::is_urgent(TicketId ticket) const {
  const SwapRequest& what = at(ticket).what;
  return options_.claim_priority != std::numeric_limits<std::int32_t>::max() &&
         std::int64_t{table_[what.model].priority} + what.priority >= options_.claim_priority;
}

/// From when on a request goes before others, as long as it is queued; max(): never.
TimePoint ReferenceScheduler::claim_of(TicketId ticket) const {
  const TimePoint arrived = at(ticket).arrived;
  return is_urgent(ticket) ? arrived : saturated_add(arrived, options_.max_wait);
}

/// From when on it has gone before others, if it does now.
std::optional<TimePoint> ReferenceScheduler::claims_since(TicketId ticket) const {
  if (at(ticket).state != TicketState::kQueued) return std::nullopt;
  const TimePoint since = claim_of(ticket);
  if (since > now_ || since == TimePoint::max()) return std::nullopt;
  return since;
}

/// Whether what the table allows has to wait for somebody with a claim. `evict` is what it would evict.
bool ReferenceScheduler::is_restrained(TicketId ticket, Row row, const std::vector<ModelId>& evict) {
  const auto is_in = [](ModelId each, const std::vector<ModelId>& all) {
    return std::find(all.begin(), all.end(), each) != all.end();
  };
  const ModelId model = at(ticket).what.model;
  const std::optional<TimePoint> own = claims_since(ticket);
  for (const TicketId holder : queue_) {
    const std::optional<TimePoint> since = claims_since(holder);
    if (holder == ticket || !since) continue;
    if (own && std::pair(*own, ticket) < std::pair(*since, holder)) continue;
    if (at(holder).what.model == model) {
      if (bug_ == PlantedBug::kNoTurns) continue;
      if (row == Row::kStart || options_.limit_at == LimitAt::kService) return true;  // its turn comes first
      continue;
    }
    if (row == Row::kGrant && at(model).stays_until != TimePoint::min()) continue;
    const ModelId needed = at(holder).what.model;
    if (!plan(needed)) continue;
    const std::vector<ModelId> needs = evict_;
    if (is_in(model, needs)) return true;
    if (row != Row::kStart) continue;
    if (is_in(needed, evict)) return true;
    if (std::any_of(evict.begin(), evict.end(), [&](ModelId each) { return is_in(each, needs); })) return true;
    if (plan(needed, model) && !std::includes(needs.begin(), needs.end(), evict_.begin(), evict_.end())) return true;
  }
  return false;
}

/// When a model has been idle for long enough, if nothing else is the matter with it.
std::optional<TimePoint> ReferenceScheduler::idle_end(ModelId id) const {
  const Model& model = at(id);
  const Duration most = table_[id].idle_unload;
  if (most == Duration::max() || model.state != ModelState::kReady || model.in_flight != 0 || shut_down_) {
    return std::nullopt;
  }
  const auto is_in = [&](const std::vector<ModelId>& all) {
    return std::find(all.begin(), all.end(), id) != all.end();
  };
  for (const Swap& swap : swaps_) {
    if (swap.target == id || is_in(swap.evict)) return std::nullopt;
  }
  for (const Stop& stop : stops_) {
    if (is_in(stop.models)) return std::nullopt;
  }
  for (const TicketId each : queue_) {
    if (at(each).what.model == id) return std::nullopt;
  }
  return saturated_add(model.idle_since, most);
}

void ReferenceScheduler::unload_idle() {
  std::vector<std::pair<TimePoint, ModelId>> due;
  for (std::uint32_t i = 0; i != models_.size(); ++i) {
    if (const std::optional<TimePoint> end = idle_end(ModelId{i}); end && *end <= now_)
      due.emplace_back(*end, ModelId{i});
  }
  std::sort(due.begin(), due.end());
  for (const auto& [end, model] : due) {
    const auto id = StopId{++stops_begun_};
    ++stats_.idle_unloads;
    ++stats_.stops_active;
    out_->add(StopModels{.stop = id, .models = out_->keep({&model, 1}), .timeout = {}, .reason = SwapReason::kIdle});
    stops_.push_back({.id = id, .models = {model}});
  }
}

/// Bringing `model` up took so long; that is what it is expected to take, averaged with what it took before.
void ReferenceScheduler::took(ModelId model, Duration time) {
  const auto at = static_cast<std::size_t>(model);
  start_times_[at] = has_started_[at] ? start_times_[at] + (time - start_times_[at]) / 2 : time;
  has_started_[at] = true;
}

/// `model` could not be brought up: it is left alone for a while.
void ReferenceScheduler::failed(ModelId model) {
  const SwapBackOff& back_off = options_.back_off;
  if (back_off.first == Duration::zero()) return;
  Duration pause = std::min(back_off.first, back_off.longest);
  for (int i = 0; i != at(model).failures; ++i) {
    const double longer = static_cast<double>(pause.count()) * back_off.factor;
    pause = longer < static_cast<double>(back_off.longest.count()) ? Duration(static_cast<std::int64_t>(longer))
                                                                   : back_off.longest;
  }
  ++at(model).failures;
  at(model).backs_off_until = saturated_add(now_, pause);
  for (const TicketId each : queue_) {
    if (at(each).what.model == model) reject(each, SwapReason::kBackingOff, SwapId{}, pause);
  }
  sweep();
}

void ReferenceScheduler::call_off_unwanted() {
  if (!options_.cancel_unwanted || queue_.empty()) return;
  for (Swap& swap : swaps_) {
    if (swap.is_orphan || !swap.waiters.empty()) continue;
    swap.is_orphan = true;
    out_->add(CancelSwap{.swap = swap.id, .target = swap.target, .reason = SwapReason::kUnwanted});
  }
}

TimePoint ReferenceScheduler::next_due() const {
  if (shut_down_) return TimePoint::max();
  TimePoint due = residencies_end();
  for (std::uint32_t i = 0; i != models_.size(); ++i) due = std::min(due, idle_end(ModelId{i}).value_or(due));
  if (!has_deadlines_) return due;
  for (const TicketId each : queue_) due = std::min(due, at(each).what.deadline);
  for (const Swap& swap : swaps_) {
    for (const TicketId each : swap.waiters) due = std::min(due, at(each).what.deadline);
  }
  return due;
}

}  // namespace penstock::testing
