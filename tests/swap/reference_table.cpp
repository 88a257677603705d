// SPDX-License-Identifier: MIT

// The decision table, the walk over the queue, and the order in it.

#include <algorithm>
#include <limits>
#include <utility>

#include "swap/reference_scheduler.hpp"

namespace penstock::testing {
namespace {

template <class T>
bool contains(const std::vector<T>& all, T each) {
  return std::find(all.begin(), all.end(), each) != all.end();
}

bool intersect(const std::vector<ModelId>& a, const std::vector<ModelId>& b, bool by_prefix) {
  if (by_prefix) {
    for (std::size_t i = 0; i != std::min(a.size(), b.size()); ++i) {
      if (a[i] == b[i]) return true;
    }
    return false;
  }
  return std::any_of(a.begin(), a.end(), [&](ModelId each) { return contains(b, each); });
}

std::int64_t saturated_difference(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (!__builtin_sub_overflow(a, b, &result)) return result;
  return b > 0 ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int64_t>::max();
}

std::int64_t saturated_product(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (!__builtin_mul_overflow(a, b, &result)) return result;
  return (a < 0) == (b < 0) ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int64_t>::min();
}

}  // namespace

// --- The table ---

/// What `target` evicts now; or once `comes` runs too.
bool ReferenceScheduler::plan(ModelId target, ModelId comes) {
  running_.clear();
  for (std::size_t i = 0; i != models_.size(); ++i) {
    const auto each = ModelId{static_cast<std::uint32_t>(i)};
    const ModelState state = at(each).state;
    bool runs = is_running(state);
    if (each == target) {
      if (is_cured() && state == ModelState::kStopping) runs = false;
    } else {
      for (const Swap& swap : swaps_) runs = runs || swap.target == each;
      runs = runs || each == comes;
    }
    if (runs) running_.push_back(each);
  }
  planned_.clear();
  try {
    planner_->plan({.target = target, .running = running_, .last_used = last_used_, .start_times = start_times_},
                   planned_);
  } catch (...) {
    return false;
  }
  evict_.clear();
  for (const ModelId each : running_) {
    if (each != target && contains(planned_, each)) evict_.push_back(each);
  }
  return true;
}

bool ReferenceScheduler::collides(ModelId target) const {
  const bool by_prefix = bug_ == PlantedBug::kEvictComparedByPrefix;
  for (const Swap& swap : swaps_) {
    if (swap.target == target) {
      if (swap.is_orphan) return true;
      continue;
    }
    if (contains(evict_, swap.target) || contains(swap.evict, target) || intersect(evict_, swap.evict, by_prefix)) {
      return true;
    }
  }
  return std::any_of(stops_.begin(), stops_.end(), [&](const Stop& stop) {
    return contains(stop.models, target) || intersect(evict_, stop.models, by_prefix);
  });
}

ReferenceScheduler::Row ReferenceScheduler::row_of(TicketId ticket) {
  const Row row = table_row_of(at(ticket).what.model);
  if (!has_claims() || (row != Row::kGrant && row != Row::kStart)) return row;
  const std::vector<ModelId> evict = row == Row::kStart ? evict_ : std::vector<ModelId>();
  if (is_restrained(ticket, row, evict)) return Row::kRestrained;
  evict_ = evict;
  return row;
}

ReferenceScheduler::Row ReferenceScheduler::table_row_of(ModelId model) {
  if (at(model).state == ModelState::kUnknown) return Row::kUnknown;
  if (swap_to_join(model) != nullptr) return Row::kJoin;
  if (!plan(model)) return Row::kPlannerFailed;
  const bool collide = collides(model);
  if (at(model).state == ModelState::kReady && evict_.empty() && !collide) {
    const bool is_full = options_.limit_at == LimitAt::kService && at(model).in_flight >= at(model).limit;
    return is_full ? Row::kFull : Row::kGrant;
  }
  if (collide) return Row::kCollides;
  for (const ModelId each : evict_) {
    if (at(each).in_flight > 0 || at(each).stays_until != TimePoint::min()) return Row::kBusy;
  }
  return Row::kStart;
}

/// Does what the table says; false if the request has to wait in the queue.
bool ReferenceScheduler::try_pass(TicketId ticket, SwapReason start_reason) {
  const ModelId model = at(ticket).what.model;
  switch (row_of(ticket)) {
    case Row::kUnknown:
      reject(ticket, SwapReason::kUnknownModel);
      return true;
    case Row::kPlannerFailed:
      reject(ticket, SwapReason::kPlannerFailed);
      return true;
    case Row::kJoin:
      if (!is_in_queue(ticket) && is_late(ticket, time_until_up(model, now_))) {
        reject(ticket, SwapReason::kTooLate);
        return true;
      }
      if (!is_admitted(ticket)) return true;
      swap_to_join(model)->waiters.push_back(ticket);
      break;
    case Row::kGrant:
      grant(ticket, SwapReason::kReady);
      return true;
    case Row::kStart: {
      if (is_late(ticket, start_times_[static_cast<std::size_t>(model)])) {
        reject(ticket, SwapReason::kTooLate);
        return true;
      }
      const std::vector<ModelId> evict = evict_;  // a guess asks the planner, too
      if (!is_admitted(ticket)) return true;
      const auto swap = SwapId{++swaps_begun_};
      out_->add(StartSwap{.swap = swap, .target = model, .evict = out_->keep(evict), .reason = start_reason});
      swaps_.push_back({.id = swap, .target = model, .evict = evict, .waiters = {ticket}, .began = now_});
      ++stats_.swaps_started;
      ++stats_.swaps_active;
      stats_.evictions += evict.size();
      joins(ticket);
      for (const TicketId each : claimants_of(model)) {  // before others do
        if (!claims_since(each)) break;
        swaps_.back().waiters.push_back(each);
        joins(each);
      }
      return true;
    }
    case Row::kRestrained:
      restrained_at_ = std::max(restrained_at_, now_);
      return false;
    case Row::kFull:
    case Row::kCollides:
    case Row::kBusy:
      return false;
  }
  joins(ticket);
  return true;
}

/// It waits for a swap from now on.
void ReferenceScheduler::joins(TicketId ticket) {
  leave_queue(ticket);
  at(ticket).state = TicketState::kJoined;
  ++stats_.joined;
}

/// Those who are queued for `model`, in the order of the queue.
std::vector<TicketId> ReferenceScheduler::queued_for(ModelId model) const {
  std::vector<TicketId> queued;
  for (const TicketId each : queue_) {
    if (at(each).what.model == model && at(each).state == TicketState::kQueued) queued.push_back(each);
  }
  return queued;
}

/// The same, in the order of their claims, whether these have begun or not.
std::vector<TicketId> ReferenceScheduler::claimants_of(ModelId model) const {
  std::vector<TicketId> claimants = queued_for(model);
  std::sort(claimants.begin(), claimants.end(),
            [&](TicketId a, TicketId b) { return std::pair(claim_of(a), a) < std::pair(claim_of(b), b); });
  return claimants;
}

/// The first of those who are queued for `model`; or, if somebody's claim keeps that one, who has waited the longest:
/// its claim may be older. False if neither can go.
bool ReferenceScheduler::try_pass_first_of(ModelId model, SwapReason start_reason) {
  return try_pass(queued_for(model).front(), start_reason) ||
         (has_claims() && try_pass(claimants_of(model).front(), start_reason));
}

/// Before a new request: those of its model who are in the queue go first, as long as they can.
void ReferenceScheduler::pass_queued_of(ModelId model) {
  while (!queued_for(model).empty() && try_pass_first_of(model, SwapReason::kRequested)) {
  }
  sweep();
}

/// The cure of overtaking in a walk: those of the model of `last` who are in front of it go first, as long as they can.
void ReferenceScheduler::pass_queued_before(TicketId last) {
  for (std::size_t i = 0; i != queue_.size() && queue_[i] != last; ++i) {
    const TicketId each = queue_[i];
    if (at(each).what.model != at(last).what.model || at(each).state != TicketState::kQueued) continue;
    if (!try_pass(each, SwapReason::kDrained)) return;
  }
}

/// Until no claim ends in the walk that may have kept somebody, who was passed by for it.
void ReferenceScheduler::drain() {
  do {
    claim_ended_ = false;
    restrained_at_ = TimePoint::min();
    walk();
  } while (claim_ended_);
}

void ReferenceScheduler::walk() {
  const bool has_holders =
      std::any_of(queue_.begin(), queue_.end(), [&](TicketId each) { return claims_since(each).has_value(); });
  if (options_.batching.by_cost && !has_holders) return drain_by_cost();
  const std::vector<Swap> swaps_before = swaps_;
  for (std::size_t i = 0; i != queue_.size(); ++i) {
    const TicketId each = queue_[i];
    if (at(each).state != TicketState::kQueued) continue;
    if (is_cured() && !planner_->is_monotone()) pass_queued_before(each);
    if (at(each).state != TicketState::kQueued)
      continue;  // it holds a claim, and joined the swap that one of them began
    std::vector<Swap> swaps_now;
    if (bug_ == PlantedBug::kDrainSeesOldState && swap_to_join(at(each).what.model) == nullptr) {
      swaps_now = std::exchange(swaps_, swaps_before);
    }
    const bool has_passed = try_pass(each, SwapReason::kDrained);
    if (!swaps_now.empty()) {
      if (swaps_.size() > swaps_before.size()) swaps_now.push_back(swaps_.back());
      swaps_ = std::move(swaps_now);
    }
    if (!has_passed && bug_ == PlantedBug::kDrainStopsEarly) break;
  }
  sweep();
}

/// Of `model`, one less is in flight.
void ReferenceScheduler::after_leaving(ModelId model) {
  if (at(model).in_flight == 0) return drain();
  if (options_.limit_at != LimitAt::kService) return;
  while (!queued_for(model).empty() && table_row_of(model) == Row::kGrant) {
    if (!try_pass_first_of(model, SwapReason::kNone)) break;
  }
  sweep();
}

// --- The queue ---

/// Drops from the queue whoever is not there any more.
void ReferenceScheduler::sweep() {
  std::erase_if(queue_, [&](TicketId each) { return at(each).state != TicketState::kQueued; });
  stats_.queued = queue_.size();
}

void ReferenceScheduler::enqueue(TicketId ticket) {
  const auto key = [&](TicketId each) {
    auto [major, middle, sequence] = at(each).key;
    if (bug_ == PlantedBug::kUnstablePriority) sequence = ~sequence;
    return Key(major, middle, sequence);
  };
  const auto before =
      std::find_if(queue_.begin(), queue_.end(), [&](TicketId each) { return key(each) > key(ticket); });
  queue_.insert(before, ticket);
  at(ticket).state = TicketState::kQueued;
  stats_.queued = queue_.size();
  stats_.queued_high_water = std::max(stats_.queued_high_water, queue_.size());
}

ReferenceScheduler::Key ReferenceScheduler::key_of(const SwapRequest& request, std::uint64_t sequence) {
  std::int64_t priority = table_[request.model].priority;
  if (bug_ != PlantedBug::kPriorityIgnored) priority += request.priority;
  const std::int64_t step = options_.aging_step.count();
  const std::int64_t major =
      step == 0 ? -priority : saturated_difference(now_.time_since_epoch().count(), saturated_product(priority, step));
  std::int64_t middle = 0;
  if (options_.order == QueueOrder::kDeadline) middle = request.deadline.time_since_epoch().count();
  if (options_.order == QueueOrder::kFairShare) {
    const std::size_t tenant = std::min(static_cast<std::size_t>(request.tenant), options_.tenants.size());
    const std::uint64_t weight = tenant < options_.tenants.size() ? options_.tenants[tenant].weight : 1;
    const std::int64_t start = std::max(virtual_time_, tenant_finish_[tenant]);
    tenant_rest_[tenant] += std::uint64_t{1} << 20;
    tenant_finish_[tenant] = start + static_cast<std::int64_t>(tenant_rest_[tenant] / weight);
    tenant_rest_[tenant] %= weight;
    middle = start;
  }
  return {major, middle, sequence};
}

// --- Answers ---

void ReferenceScheduler::grant(TicketId ticket, SwapReason reason) {
  Request& request = at(ticket);
  Model& model = at(request.what.model);
  if (model.in_flight >= model.limit) {
    if (options_.limit_at == LimitAt::kGrant) return reject(ticket, SwapReason::kConcurrencyLimit);
    if (options_.limit_at == LimitAt::kService) {  // it waited for the swap, and others were faster
      stats_.joined -= request.state == TicketState::kJoined ? 1 : 0;
      return enqueue(ticket);
    }
  }
  stats_.joined -= request.state == TicketState::kJoined ? 1 : 0;
  leave_queue(ticket);
  if (options_.order == QueueOrder::kFairShare) {
    virtual_time_ = std::max(virtual_time_, std::get<1>(request.key));
  }
  request.state = TicketState::kGranted;
  request.granted = now_;
  ++model.in_flight;
  ++stats_.in_flight;
  ++stats_.granted;
  last_used_[static_cast<std::size_t>(request.what.model)] = ++uses_;
  out_->add(GrantTicket{.ticket = ticket, .model = request.what.model, .reason = reason});
}

void ReferenceScheduler::reject(TicketId ticket, SwapReason reason, SwapId swap, Duration retry_after) {
  ++stats_.refused[static_cast<std::size_t>(reason)];
  out_->add(RejectTicket{
      .ticket = ticket, .model = at(ticket).what.model, .reason = reason, .swap = swap, .retry_after = retry_after});
  release(ticket);
}

/// Wherever it is, it is there no more. (The queue itself is swept once the walk is over.)
void ReferenceScheduler::release(TicketId ticket) {
  leave_queue(ticket);
  Request& request = at(ticket);
  const TicketState before = std::exchange(request.state, TicketState::kEnded);
  if (before == TicketState::kEnded) return;  // refused before it was let in
  Model& model = at(request.what.model);
  --model.reserved;
  if (before == TicketState::kGranted) {
    --model.in_flight;
    --stats_.in_flight;
    model.idle_since = now_;
  }
  if (before == TicketState::kJoined) {
    --stats_.joined;
    for (Swap& swap : swaps_) std::erase(swap.waiters, ticket);
  }
}

/// And not on its way there.
bool ReferenceScheduler::is_in_queue(TicketId ticket) const { return contains(queue_, ticket); }

/// About to be queued no more, if it was.
void ReferenceScheduler::leave_queue(TicketId ticket) {
  if (bug_ == PlantedBug::kClaimEndsUnseen) return;
  if (is_in_queue(ticket) && claim_of(ticket) <= restrained_at_) claim_ended_ = true;
}

ReferenceScheduler::Swap* ReferenceScheduler::swap_to_join(ModelId model) {
  for (Swap& swap : swaps_) {
    if (swap.target == model && !swap.is_orphan) return &swap;
  }
  return nullptr;
}

}  // namespace penstock::testing
