// SPDX-License-Identifier: MIT

// What the reference has by time and by guess: how long somebody still waits, who may stay for a while, which model
// most has been waited for; and whether what is said about somebody who waits is so.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <set>

#include "swap/reference_scheduler.hpp"

namespace penstock::testing {
namespace {

bool is_in(ModelId each, const std::vector<ModelId>& all) {
  return std::find(all.begin(), all.end(), each) != all.end();
}

Duration plus(Duration a, Duration b) { return saturated_add(TimePoint(a), b).time_since_epoch(); }

}  // namespace

bool ReferenceScheduler::is_late(TicketId ticket, Duration wait) const {
  const TimePoint deadline = at(ticket).what.deadline;
  return options_.reject_late && deadline != TimePoint::max() && deadline < saturated_add(now_, wait);
}

/// How long a swap to `model` still takes, also one that was called off.
Duration ReferenceScheduler::time_until_up(ModelId model, TimePoint now) const {
  for (const Swap& swap : swaps_) {
    if (swap.target != model) continue;
    const TimePoint end = saturated_add(swap.began, start_times_[static_cast<std::size_t>(model)]);
    return std::max(end - now, Duration::zero());
  }
  return Duration::zero();
}

/// Whether it must not be stopped now, should somebody want its place.
bool ReferenceScheduler::is_held(ModelId model) const {
  if (at(model).in_flight > 0 || at(model).stays_until != TimePoint::min()) return true;
  return std::any_of(swaps_.begin(), swaps_.end(),
                     [&](const Swap& each) { return each.target == model || is_in(model, each.evict); }) ||
         std::any_of(stops_.begin(), stops_.end(), [&](const Stop& each) { return is_in(model, each.models); });
}

/// What is in the way now, then the models whose turn comes before and that take its place, then its own start.
Duration ReferenceScheduler::wait_of(ModelId model, const Key& key, TimePoint now) {
  const auto start_time = [&](ModelId each) { return start_times_[static_cast<std::size_t>(each)]; };
  if (swap_to_join(model) != nullptr) return time_until_up(model, now);
  Duration wait = time_until_up(model, now);
  if (!plan(model)) evict_.clear();
  for (const ModelId each : evict_) {
    if (is_held(each)) wait = std::max(wait, plus(time_until_up(each, now), at(each).serve_time));
  }
  std::set<ModelId> before;
  std::size_t own = 0;
  for (const TicketId each : queue_) {
    const ModelId other = at(each).what.model;
    if (other == model) {
      ++own;
    } else if (at(each).key < key) {
      before.insert(other);
    }
  }
  const PairwiseEviction* const pairwise = planner_->pairwise();
  const auto evicts = [&](ModelId a, ModelId b) {
    return pairwise->evicts(pairwise->class_of(a), pairwise->class_of(b));
  };
  Duration turns = Duration::zero();
  for (const ModelId each : before) {
    if (pairwise != nullptr && !evicts(model, each) && !evicts(each, model)) continue;
    turns = plus(turns, plus(start_time(each), at(each).serve_time));
  }
  wait = plus(wait, turns);
  if (at(model).state != ModelState::kReady) return plus(wait, start_time(model));
  if (options_.limit_at != LimitAt::kService || at(model).in_flight < at(model).limit) return wait;
  return plus(wait, at(model).serve_time * static_cast<Duration::rep>(own / at(model).limit + 1));
}

std::optional<Duration> ReferenceScheduler::eta(TicketId ticket, TimePoint now) {
  switch (state(ticket)) {
    case TicketState::kEnded:
      return std::nullopt;
    case TicketState::kGranted:
      return Duration::zero();
    case TicketState::kJoined:
      return time_until_up(at(ticket).what.model, now);
    case TicketState::kQueued:
      break;
  }
  const ModelId model = at(ticket).what.model;
  const auto first =
      std::find_if(queue_.begin(), queue_.end(), [&](TicketId each) { return at(each).what.model == model; });
  return wait_of(model, at(*first).key, now);
}

/// Models whose time to stay is over, or that must go for who has waited for too long.
void ReferenceScheduler::end_residencies() {
  bool has_changed = false;
  const auto end = [&](ModelId model) {
    has_changed = has_changed || at(model).stays_until != TimePoint::min();
    at(model).stays_until = TimePoint::min();
  };
  for (std::uint32_t i = 0; i != models_.size(); ++i) {
    if (models_[i].stays_until <= now_) end(ModelId{i});
  }
  for (const TicketId each : queue_) {
    if (saturated_add(at(each).arrived, options_.max_wait) > now_ || !plan(at(each).what.model)) continue;
    const std::vector<ModelId> evict = evict_;
    std::for_each(evict.begin(), evict.end(), end);
  }
  if (has_changed) drain();
}

/// When that is next.
TimePoint ReferenceScheduler::residencies_end() const {
  TimePoint due = TimePoint::max();
  bool has_any = false;
  for (const Model& each : models_) {
    if (each.stays_until == TimePoint::min()) continue;
    due = std::min(due, each.stays_until);
    has_any = true;
  }
  if (!has_any) return due;
  // The first of a model who has waited for too long does for all who come later.
  const auto overdue = [&](TicketId each) { return saturated_add(at(each).arrived, options_.max_wait); };
  std::set<ModelId> held;
  for (const TicketId each : queue_) {
    if (overdue(each) <= now_) held.insert(at(each).what.model);
  }
  for (const TicketId each : queue_) {
    if (!held.contains(at(each).what.model)) due = std::min(due, overdue(each));
  }
  return due;
}

/// Who needs no swap goes in the order of the queue; then the model that most has been waited for is brought up; and so
/// on.
void ReferenceScheduler::drain_by_cost() {
  const auto ticks = [](TimePoint when) { return when.time_since_epoch().count() >> 16; };
  const auto cost_of = [&](ModelId model) {
    std::int64_t waited = 0;
    for (const TicketId each : queue_) {
      if (at(each).what.model != model || at(each).state != TicketState::kQueued) continue;
      const auto tenant = static_cast<std::size_t>(at(each).what.tenant);
      const std::int64_t weight = tenant < options_.tenants.size() ? options_.tenants[tenant].weight : 1;
      waited += weight * (ticks(now_) - ticks(at(each).arrived));
    }
    const Duration start = std::max(start_times_[static_cast<std::size_t>(model)], Duration(1));
    return static_cast<double>(waited) / static_cast<double>(start.count());
  };
  for (;;) {
    for (const TicketId each : queue_) {
      if (at(each).state == TicketState::kQueued && swap_to_join(at(each).what.model) != nullptr)
        (void)try_pass(each, SwapReason::kDrained);
    }
    std::set<ModelId> settled;
    TicketId dearest{};
    double most = 0;
    for (std::size_t i = 0; i != queue_.size(); ++i) {
      const TicketId each = queue_[i];
      const ModelId model = at(each).what.model;
      if (at(each).state != TicketState::kQueued || settled.contains(model)) continue;
      const bool starts = row_of(each) == Row::kStart && !is_late(each, start_times_[static_cast<std::size_t>(model)]);
      if (!starts && try_pass(each, SwapReason::kDrained)) continue;
      settled.insert(model);
      if (!starts) continue;
      if (const double cost = cost_of(model); dearest == TicketId{} || cost > most) {
        dearest = each;
        most = cost;
      }
    }
    if (dearest == TicketId{}) break;
    (void)try_pass(dearest, SwapReason::kDrained);
  }
  sweep();
}

/// Whether what `explanation` says about `ticket` is so. That nothing is in its way may be so only until the next
/// event.
bool ReferenceScheduler::is_so(const SwapExplanation& explanation, TicketId ticket) {
  const ModelId own = at(ticket).what.model;
  const ModelId other = explanation.model;
  const bool waits = state(ticket) == TicketState::kQueued || state(ticket) == TicketState::kJoined;
  const auto would_go = [&] { return plan(own) && is_in(other, evict_); };
  const auto any_swap = [&](auto is_it) { return std::any_of(swaps_.begin(), swaps_.end(), is_it); };
  switch (explanation.obstacle) {
    case SwapObstacle::kNothing:
      return !waits || !table_.contains(own) || swap_to_join(own) == nullptr;
    case SwapObstacle::kOwnSwap:
      return waits && any_swap([&](const Swap& each) { return each.target == own; });
    case SwapObstacle::kBusyModel:
      return would_go() && at(other).in_flight != 0 && at(other).in_flight == explanation.in_flight;
    case SwapObstacle::kSwapTarget:
      return would_go() && any_swap([&](const Swap& each) { return each.target == other; });
    case SwapObstacle::kEvicted:
      return any_swap([&](const Swap& each) { return each.target == other && is_in(own, each.evict); });
    case SwapObstacle::kSharedVictim:
      return would_go() && any_swap([&](const Swap& each) { return is_in(other, each.evict); });
    case SwapObstacle::kStopping:
      return (other == own || would_go()) &&
             std::any_of(stops_.begin(), stops_.end(), [&](const Stop& each) { return is_in(other, each.models); });
    case SwapObstacle::kLimit:
      return other == own && at(own).in_flight >= at(own).limit && at(own).in_flight == explanation.in_flight;
    case SwapObstacle::kClaim:
      if (other == own && options_.limit_at != LimitAt::kService && at(own).state == ModelState::kReady &&
          (!plan(own) || evict_.empty())) {
        return false;  // they need not take turns
      }
      return std::any_of(queue_.begin(), queue_.end(), [&](TicketId each) {
        return each != ticket && at(each).what.model == other && claims_since(each).has_value();
      });
    case SwapObstacle::kResidency:
      return would_go() && at(other).stays_until == explanation.until;
  }
  return false;
}

}  // namespace penstock::testing
