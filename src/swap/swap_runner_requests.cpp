// SPDX-License-Identifier: MIT

// What a swap runner makes of requests: their tickets, and how these end.

#include <algorithm>
#include <new>
#include <utility>
#include <variant>

#include "penstock/core/detail/elapsed.hpp"
#include "swap_runner_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

using Phase = SwapTicketState::Phase;

std::size_t place_of(TicketId id) noexcept { return static_cast<std::uint32_t>(static_cast<std::uint64_t>(id)); }

}  // namespace

SwapTicketState* SwapRunnerCore::find(TicketId id) const noexcept {
  if (place_of(id) >= tickets_.size()) return nullptr;
  SwapTicketState* const ticket = tickets_[place_of(id)].get();
  return ticket != nullptr && ticket->id == id ? ticket : nullptr;
}

void SwapRunnerCore::forget(TicketId id) noexcept { tickets_[place_of(id)].reset(); }

void SwapRunnerCore::keep_stray(std::shared_ptr<SwapTicketState> ticket) noexcept {
  SwapTicketState& stray = *ticket;
  stray.is_stray = true;
  stray.next_stray = strays_;
  if (strays_ != nullptr) strays_->previous_stray = &stray;
  strays_ = &stray;
  stray.self = std::move(ticket);
}

void SwapRunnerCore::drop_stray(SwapTicketState& ticket) noexcept {
  (ticket.previous_stray == nullptr ? strays_ : ticket.previous_stray->next_stray) = ticket.next_stray;
  if (ticket.next_stray != nullptr) ticket.next_stray->previous_stray = ticket.previous_stray;
  const std::shared_ptr<SwapTicketState> share = std::move(ticket.self);  // it may go with this
}

void SwapRunnerCore::begin_request(SwapTicketState& ticket) noexcept {
  std::shared_ptr<SwapTicketState> share = std::move(ticket.self);
  if (ticket.seen() == Phase::kCancelled) {  // mail that says so is on its way
    count_withdrawn();
    return keep_stray(std::move(share));
  }
  try {
    // The scheduler takes no place but those it has used, and the next one.
    if (tickets_.size() == places_) tickets_.emplace_back();
    ask(RequestEvent{ticket.request}, &ticket);
  } catch (const std::bad_alloc&) {
    if (!refuse(share, SwapReason::kNone, Duration::zero())) keep_stray(share);
    if (!actions_.empty()) handle(TimerEvent{});  // what was due before it has been decided
    return;
  }
  const std::size_t place = place_of(ticket.id);
  places_ = std::max(places_, place + 1);
  if (tickets_[place] != nullptr) answer_before(tickets_[place]->id);
  tickets_[place] = std::move(share);
  carry_out();
}

/// A request that was due has been refused within the event of one that has got its place: it is answered first.
void SwapRunnerCore::answer_before(TicketId ended) noexcept {
  for (const SwapAction& action : actions_) {
    const auto* const reject = std::get_if<RejectTicket>(&action);
    if (reject != nullptr && reject->ticket == ended) return perform(*reject);
  }
}

void SwapRunnerCore::end_request(SwapTicketState& ticket, std::uint8_t said) noexcept {
  if (ticket.is_stray) return drop_stray(ticket);
  const TicketId id = ticket.id;
  forget(id);  // it may be gone
  if ((said & SwapTicketState::kIsServed) != 0) {
    handle(ServeDoneEvent{id});
  } else if ((said & SwapTicketState::kHasNotTaken) != 0) {
    {
      const SpinLockGuard lock(books_lock_);
      ++counts_.untaken_grants;
    }
    handle(GrantRefusedEvent{id});
  } else {
    handle(CancelEvent{id});
  }
}

void SwapRunnerCore::perform(const GrantTicket& grant) noexcept {
  SwapTicketState* const found = find(grant.ticket);
  if (found == nullptr) return;
  SwapTicketState& ticket = *found;
  ticket.reason = grant.reason;
  ticket.waited = elapsed(ticket.since, now_);
  if (!ticket.change(Phase::kPending, Phase::kGranted)) {
    {
      const SpinLockGuard lock(books_lock_);
      ++counts_.lost_grants;
    }
    *last_lost_ = &ticket;
    last_lost_ = &ticket.next_lost;
    return keep_stray(std::move(tickets_[place_of(grant.ticket)]));
  }
  note_grant(ticket);
  wake(tickets_[place_of(grant.ticket)]);
}

void SwapRunnerCore::note_grant(const SwapTicketState& ticket) noexcept {
  std::unique_ptr<LatencyHistogram::Snapshot> first;
  const auto model = static_cast<std::size_t>(ticket.request.model);
  if (!has_waits_[model]) {
    first.reset(new (std::nothrow) LatencyHistogram::Snapshot);  // without memory, this wait is not counted
    has_waits_[model] = first != nullptr;
  }
  const SpinLockGuard lock(books_lock_);
  SwapModelBooks& books = model_books_[model];
  if (first != nullptr) books.wait = std::move(first);
  ++books.granted;
  if (books.wait != nullptr) books.wait->record(ticket.waited);
}

void SwapRunnerCore::perform(const RejectTicket& reject) noexcept {
  SwapTicketState* const ticket = find(reject.ticket);
  if (ticket == nullptr) return;
  if (reject.reason == SwapReason::kSwapFailed) ticket->error = error_;
  std::shared_ptr<SwapTicketState>& share = tickets_[place_of(reject.ticket)];
  if (!refuse(share, reject.reason, reject.retry_after)) return keep_stray(std::move(share));
  share = nullptr;
}

bool SwapRunnerCore::refuse(const std::shared_ptr<SwapTicketState>& ticket, SwapReason reason,
                            Duration retry_after) noexcept {
  ticket->reason = reason;
  ticket->retry_after = retry_after;
  ticket->waited = elapsed(ticket->since, now_);
  if (!ticket->change(Phase::kPending, Phase::kRefused)) return false;
  {
    const SpinLockGuard lock(books_lock_);
    ++model_books_[static_cast<std::size_t>(ticket->request.model)].refused;
  }
  wake(ticket);
  return true;
}

void SwapRunnerCore::wake(const std::shared_ptr<SwapTicketState>& ticket) noexcept {
  if (is_inside()) return ticket->decided.happen();
  if (!ticket->decided.happen_to_threads()) unheard_ = ticket;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
