// SPDX-License-Identifier: MIT

// The events of the reference, one after the other, as the table of events has them.

#include "swap/reference_scheduler.hpp"

#include <algorithm>

namespace penstock::testing {
namespace {

constexpr std::size_t kDefaultLimit = 10;

template <class T>
bool contains(const std::vector<T>& all, T each) {
  return std::find(all.begin(), all.end(), each) != all.end();
}

}  // namespace

ReferenceScheduler::ReferenceScheduler(SwapSchedulerOptions options, PlantedBug bug)
    : options_(std::move(options)),
      table_(options_.models),
      planner_(options_.planner(table_)),
      bug_(bug),
      requests_(1),  // no ticket is 0
      models_(table_.size()),
      last_used_(table_.size()),
      has_started_(table_.size()),
      tenant_finish_(options_.tenants.size() + 1),
      tenant_rest_(options_.tenants.size() + 1) {
  for (const SwapModel& each : table_.all()) start_times_.push_back(each.start_time);
  for (std::size_t i = 0; i != models_.size(); ++i) {
    const std::int32_t limit = table_.all()[i].concurrency_limit;
    models_[i].limit = limit > 0 ? static_cast<std::size_t>(limit) : kDefaultLimit;
    if (bug_ == PlantedBug::kLimitOffByOne) ++models_[i].limit;
  }
}

TicketId ReferenceScheduler::on_request(const SwapRequest& request, TimePoint now, SwapActions& out) {
  begin(now, out);
  const auto ticket = TicketId{requests_.size()};
  requests_.push_back({.what = request, .key = {}, .arrived = now});
  ++stats_.arrived;
  if (const std::optional<SwapReason> reason = refusal_of(request)) {
    const bool backs_off = *reason == SwapReason::kBackingOff;
    reject(ticket, *reason, SwapId{}, backs_off ? at(request.model).backs_off_until - now : Duration::zero());
  } else {
    at(ticket).key = key_of(request, stats_.arrived);
    at(ticket).state = TicketState::kQueued;  // on its way there, if nothing else
    ++at(request.model).reserved;
    if (request.deadline != TimePoint::max()) has_deadlines_ = true;
    if (is_cured()) pass_queued_of(request.model);
    if (!try_pass(ticket, SwapReason::kRequested) && is_admitted(ticket)) {
      if (is_late(ticket, wait_of(request.model, at(ticket).key, now))) {
        reject(ticket, SwapReason::kTooLate);
      } else {
        enqueue(ticket);
      }
    }
    if (state(ticket) == TicketState::kGranted) ++stats_.granted_at_once;
  }
  end();
  return ticket;
}

bool ReferenceScheduler::on_cancel(TicketId ticket, TimePoint now, SwapActions& out) {
  begin(now, out);
  const TicketState before = state(ticket);
  const bool waits = before == TicketState::kQueued || before == TicketState::kJoined;
  if (waits) {
    ++stats_.cancelled;
    const ModelId model = at(ticket).what.model;
    release(ticket);
    if (bug_ == PlantedBug::kCancelKeepsPlace) ++at(model).reserved;
  } else {
    ++stats_.ignored;
  }
  end();
  return waits;
}

bool ReferenceScheduler::on_grant_refused(TicketId ticket, TimePoint now, SwapActions& out) {
  begin(now, out);
  const bool is_granted = state(ticket) == TicketState::kGranted;
  if (is_granted) {
    ++stats_.grants_refused;
    const ModelId model = at(ticket).what.model;
    release(ticket);
    if (bug_ == PlantedBug::kRefusedGrantCounts) {
      ++at(model).in_flight;
    } else {
      after_leaving(model);
    }
  } else {
    ++stats_.ignored;
  }
  end();
  return is_granted;
}

bool ReferenceScheduler::on_serve_done(TicketId ticket, TimePoint now, SwapActions& out) {
  begin(now, out);
  const bool is_granted = state(ticket) == TicketState::kGranted;
  if (is_granted) {
    ++stats_.served;
    const ModelId model = at(ticket).what.model;
    const Duration taken = now - at(ticket).granted;
    Duration& known = at(model).serve_time;
    known = known == Duration::zero() ? taken : known + (taken - known) / 8;
    release(ticket);
    after_leaving(model);
  } else {
    ++stats_.ignored;
    if (bug_ == PlantedBug::kStaleServeDone && is_known(ticket) && table_.contains(at(ticket).what.model)) {
      Model& model = at(at(ticket).what.model);
      if (model.in_flight > 0) --model.in_flight;
      if (model.in_flight == 0) drain();
    }
  }
  end();
  return is_granted;
}

bool ReferenceScheduler::on_swap_done(SwapId id, bool succeeded, TimePoint now, SwapActions& out) {
  begin(now, out);
  auto found = std::find_if(swaps_.begin(), swaps_.end(), [&](const Swap& each) { return each.id == id; });
  if (bug_ == PlantedBug::kStaleSwapAccepted && found == swaps_.end() && !swaps_.empty()) found = swaps_.begin();
  const bool is_active = found != swaps_.end();
  if (is_active) {
    Swap swap = std::move(*found);
    swaps_.erase(found);
    --stats_.swaps_active;
    if (bug_ == PlantedBug::kWaitersReversed) std::reverse(swap.waiters.begin(), swap.waiters.end());
    if (!swap.is_orphan) {
      const bool has_ended = is_cured() && at(swap.target).state != ModelState::kReady;
      if (succeeded && (!has_ended || bug_ == PlantedBug::kReadinessUnchecked)) {
        ++stats_.swaps_succeeded;
        took(swap.target, now - swap.began);
        at(swap.target).failures = 0;
        for (const TicketId waiter : swap.waiters) grant(waiter, SwapReason::kSwapped);
      } else {
        ++stats_.swaps_failed;
        const SwapReason reason = succeeded ? SwapReason::kNotReady : SwapReason::kSwapFailed;
        for (const TicketId waiter : swap.waiters) reject(waiter, reason, swap.id);
        failed(swap.target);
      }
    } else {
      ++stats_.swaps_cancelled;
    }
    drain();
  } else {
    ++stats_.ignored;
  }
  end();
  return is_active;
}

bool ReferenceScheduler::on_model_state(ModelId id, ModelState state, TimePoint now, SwapActions& out) {
  begin(now, out);
  const bool is_known = table_.contains(id);
  if (!is_known) {
    ++stats_.ignored;
  } else if (Model& model = at(id); model.state != state) {
    model.state = state;
    const bool was_resident = std::exchange(model.stays_until, TimePoint::min()) != TimePoint::min();
    if (state == ModelState::kReady) {
      model.failures = 0;
      model.idle_since = now;
      const Duration stays = options_.batching.min_residency;
      if (stays > Duration::zero()) model.stays_until = saturated_add(now, stays);
      model.backs_off_until = TimePoint::min();
      last_used_[static_cast<std::size_t>(id)] = ++uses_;
    }
    if ((is_cured() && bug_ != PlantedBug::kCrashDoesNotDrain) || was_resident) drain();
  }
  end();
  return is_known;
}

std::optional<StopId> ReferenceScheduler::on_unload(std::span<const ModelId> models, Duration timeout, TimePoint now,
                                                    SwapActions& out) {
  begin(now, out);
  std::vector<ModelId> targets;
  for (const ModelId each : models) {
    if (table_.contains(each) && !contains(targets, each)) targets.push_back(each);
  }
  std::optional<StopId> id;
  if (!targets.empty()) {
    for (const ModelId target : targets) {
      Swap* const swap = swap_to_join(target);
      if (swap == nullptr) continue;
      swap->is_orphan = true;
      const std::vector<TicketId> waiters = std::exchange(swap->waiters, {});
      for (const TicketId waiter : waiters) reject(waiter, SwapReason::kUnloaded);
      out.add(CancelSwap{.swap = swap->id, .target = target, .reason = SwapReason::kUnloaded});
      if (bug_ == PlantedBug::kOrphanForgotten) swap->evict.clear();
    }
    if (bug_ != PlantedBug::kUnloadSkipsQueue) {
      for (const TicketId each : queue_) {
        if (contains(targets, at(each).what.model)) reject(each, SwapReason::kUnloaded);
      }
    }
    id = StopId{++stops_begun_};
    stats_.unloads += targets.size();
    ++stats_.stops_active;
    out.add(StopModels{.stop = *id, .models = out.keep(targets), .timeout = timeout, .reason = SwapReason::kUnloaded});
    if (bug_ == PlantedBug::kStopForgotten) targets.clear();
    stops_.push_back({.id = *id, .models = std::move(targets)});
    if (bug_ != PlantedBug::kUnloadDoesNotDrain) drain();
  }
  end();
  return id;
}

bool ReferenceScheduler::on_stopped(StopId id, TimePoint now, SwapActions& out) {
  begin(now, out);
  const bool is_active = std::erase_if(stops_, [&](const Stop& each) { return each.id == id; }) != 0;
  if (is_active) {
    --stats_.stops_active;
    drain();
  } else {
    ++stats_.ignored;
  }
  end();
  return is_active;
}

void ReferenceScheduler::on_timer(TimePoint now, SwapActions& out) {
  begin(now, out);
  end();
}

void ReferenceScheduler::on_shutdown(TimePoint now, SwapActions& out) {
  begin(now, out);
  if (bug_ == PlantedBug::kDoubleShutdown && shut_down_) {
    for (std::size_t i = 1; i != requests_.size(); ++i) {
      if (requests_[i].state == TicketState::kEnded) out.add(RejectTicket{.ticket = TicketId{i}});
    }
  }
  shut_down_ = true;
  for (Swap& swap : swaps_) {
    for (const TicketId waiter : std::exchange(swap.waiters, {})) reject(waiter, SwapReason::kShutdown);
  }
  for (const TicketId each : queue_) reject(each, SwapReason::kShutdown);
  end();
}

TicketState ReferenceScheduler::state(TicketId ticket) const noexcept {
  return is_known(ticket) ? at(ticket).state : TicketState::kEnded;
}

std::optional<std::size_t> ReferenceScheduler::position(TicketId ticket) const noexcept {
  for (std::size_t i = 0; state(ticket) == TicketState::kQueued && i != queue_.size(); ++i) {
    if (queue_[i] == ticket) return i + (bug_ == PlantedBug::kPositionOffByOne ? 0 : 1);
  }
  return std::nullopt;
}

ModelState ReferenceScheduler::model_state(ModelId model) const noexcept {
  return table_.contains(model) ? at(model).state : ModelState::kUnknown;
}

ModelLoad ReferenceScheduler::model_load(ModelId model) const noexcept {
  ModelLoad load;
  if (!table_.contains(model)) return load;
  load.in_flight = at(model).in_flight;
  load.swap_time = start_times_[static_cast<std::size_t>(model)];
  load.serve_time = at(model).serve_time;
  for (const TicketId each : queue_) load.queued += at(each).what.model == model ? 1U : 0U;
  for (const Swap& swap : swaps_) {
    if (swap.target != model || swap.is_orphan) continue;
    load.joined += swap.waiters.size();
    load.swap = swap.id;
  }
  return load;
}

}  // namespace penstock::testing
