// SPDX-License-Identifier: MIT

// The events, one after the other.

#include <algorithm>
#include <new>
#include <utility>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void SwapCore::begin(TimePoint now, SwapActions& out) {
  now_ = now;
  out_ = &out;
  room(0);
  expire();
  if (must_drain_ || claim_ended_) drain();
  if (idle_.has_room() && !shut_down_) unload_idle();
  if (residents_.has_room()) {
    end_residencies();
    lift_residencies();
  }
  if (must_drain_) drain();
}

void SwapCore::finish() noexcept {
  if (claim_ended_ && !must_drain_) drain();
  try {
    if (!unwanted_.empty()) call_off_unwanted();
  } catch (const std::bad_alloc&) {
    // With the next event, then.
  }
  if (const TimePoint due = next_due(); due != told_ || must_drain_) {
    told_ = due;
    out_->add(WakeAt{.when = due});
  }
  out_ = nullptr;
}

bool SwapCore::ignore() noexcept {
  ++stats_.ignored;
  finish();
  return false;
}

TicketId SwapCore::on_request(const SwapRequest& request, TimePoint now, SwapActions& out) {
  begin(now, out);
  room(1);
  tickets_.reserve_one();
  line_.reserve_one();
  if (deadlines_.size() == deadlines_.capacity()) deadlines_.reserve(std::max<std::size_t>(16, 2 * deadlines_.size()));
  const std::uint32_t at = tickets_.take();
  const TicketId id = tickets_.id(at);
  ++stats_.arrived;
  if (const std::optional<SwapReason> reason = refusal_of(request)) {
    ++stats_.refused[static_cast<std::size_t>(*reason)];
    Duration retry_after{};
    if (*reason == SwapReason::kBackingOff) retry_after = time_between(now, record(request.model).backs_off_until);
    out.add(RejectTicket{.ticket = id, .model = request.model, .reason = *reason, .retry_after = retry_after});
    tickets_.give(at);
    finish();
    return id;
  }
  Ticket& ticket = tickets_[at];
  ticket.key = key_of(request);
  ticket.since = now;
  ticket.model = static_cast<std::uint32_t>(request.model);
  ticket.tenant = tenant_of(request);
  ticket.is_urgent =
      options().claim_priority != kNoClaimPriority && priority_of(request) >= std::int64_t{options().claim_priority};
  ModelRecord& model = record(request.model);
  ++model.reserved;
  if (request.deadline != TimePoint::max()) watch_deadline(at, request.deadline);
  try {
    const bool may_pass = !is_cured() || pass_queued_of(ticket.model);
    if (may_pass && pass(at, SwapReason::kRequested)) {
      if (ticket.state == TicketState::kGranted) {
        ++stats_.granted_at_once;
      } else if (index_ && has_swap_to_join(model) && !model.queue.empty()) {
        leave_behind(static_cast<std::uint32_t>(request.model));
      }
    } else if (is_admitted(at)) {
      if (options().reject_late && is_late(at, wait_of(ticket.model, ticket.key, now))) {
        refuse(at, SwapReason::kTooLate);
      } else {
        enqueue(at);
      }
    }
  } catch (const std::bad_alloc&) {
    --stats_.arrived;
    end_ticket(at);
    throw;
  }
  finish();
  return id;
}

bool SwapCore::on_cancel(TicketId id, TimePoint now, SwapActions& out) {
  begin(now, out);
  const std::uint32_t at = tickets_.find(id);
  if (at == kNoIndex || tickets_[at].state == TicketState::kGranted) return ignore();
  ++stats_.cancelled;
  fetch_around(at);
  end_ticket(at);
  finish();
  return true;
}

bool SwapCore::on_grant_refused(TicketId id, TimePoint now, SwapActions& out) {
  begin(now, out);
  return leave_service(id, stats_.grants_refused);
}

bool SwapCore::on_serve_done(TicketId id, TimePoint now, SwapActions& out) {
  begin(now, out);
  return leave_service(id, stats_.served);
}

bool SwapCore::leave_service(TicketId id, std::uint64_t& counter) {
  const std::uint32_t at = tickets_.find(id);
  if (at == kNoIndex || tickets_[at].state != TicketState::kGranted) return ignore();
  const std::uint32_t model = tickets_[at].model;
  if (&counter == &stats_.served) has_served(at);
  ++counter;
  end_ticket(at);
  if (models_[model].in_flight == 0) {
    drain();
  } else if (options().limit_at == LimitAt::kService) {
    grant_next_of(model);
  }
  finish();
  return true;
}

bool SwapCore::on_swap_done(SwapId id, bool succeeded, TimePoint now, SwapActions& out) {
  begin(now, out);
  const auto found = swaps_.find(id);
  if (found == swaps_.end()) return ignore();
  const auto number = static_cast<std::uint32_t>(found->second.target);
  ModelRecord& model = models_[number];
  const bool is_wanted = !model.called_off;
  const bool is_up = succeeded && (!is_cured() || model.state == ModelState::kReady);
  room(std::size_t{model.joined.size()} + model.queue.size());
  if (is_wanted && is_up && options().limit_at == LimitAt::kService) queue_surplus_of(model);
  const Swap swap = std::move(found->second);
  swaps_.erase(found);
  --stats_.swaps_active;
  model.swap = SwapId{};
  model.called_off = false;
  give_up(swap.evict);
  refresh(number);
  if (!is_wanted) {
    ++stats_.swaps_cancelled;
  } else if (is_up) {
    ++stats_.swaps_succeeded;
    model.pause = Duration::zero();
    has_come(number, swap.began);
    while (!model.joined.empty()) grant(model.joined.first(), SwapReason::kSwapped);
  } else {
    ++stats_.swaps_failed;
    const SwapReason reason = succeeded ? SwapReason::kNotReady : SwapReason::kSwapFailed;
    while (!model.joined.empty()) refuse(model.joined.first(), reason, id);
    failed(number);
  }
  drain();
  finish();
  return true;
}

/// Those of its waiters who are too many to be served go back to their places in the queue.
void SwapCore::queue_surplus_of(ModelRecord& model) {
  const std::uint32_t free = model.limit - std::min(model.limit, model.in_flight);
  while (model.joined.size() > free) {
    line_.reserve_one();
    const std::uint32_t at = model.joined.last();
    leave_behind(tickets_[at].model);  // should the memory end before the last one, this is what they are
    take_out(at);
    enqueue(at);
  }
}

bool SwapCore::on_model_state(ModelId id, ModelState state, TimePoint now, SwapActions& out) {
  begin(now, out);
  if (!setup_->table.contains(id)) return ignore();
  ModelRecord& model = record(id);
  if (model.state != state) {
    model.state = state;
    model.is_parked = false;
    const auto number = static_cast<std::uint32_t>(id);
    // Whom nothing but its residency has kept waits for the end of that, which does not come any more.
    const bool was_resident = residents_.has_room() && residents_.contains(number);
    if (was_resident) residents_.erase(number);
    if (state == ModelState::kReady) became_ready(number);
    refresh(number);
    if (is_cured() || was_resident) drain();
  }
  finish();
  return true;
}

void SwapCore::on_timer(TimePoint now, SwapActions& out) {
  begin(now, out);
  finish();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
