// SPDX-License-Identifier: MIT

// The thread of a swap runner: what it is told, what the scheduler makes of it, and who hears of that.

#include "swap_runner_core.hpp"

#include <new>
#include <stdexcept>
#include <variant>

#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

using Phase = SwapTicketState::Phase;

struct RunsFor {};

/// The runner whose thread this is.
const SwapRunnerCore*& runner_of_thread() noexcept {
  return world::thread_local_value<RunsFor, const SwapRunnerCore*>();
}

SwapRunnerOptions checked(SwapRunnerOptions options) {
  if (const absl::Status bad = options.validate(); !bad.ok()) throw std::invalid_argument(std::string(text_of(bad)));
  return options;
}

std::size_t place_of(TicketId id) noexcept { return static_cast<std::uint32_t>(static_cast<std::uint64_t>(id)); }

}  // namespace

SwapRunnerCore::SwapRunnerCore(SwapRunnerOptions options)
    : options_(checked(std::move(options))),
      clock_(*options_.clock),
      process_(fork_generation()),
      models_(options_.scheduler.models),
      knows_deadlines_(options_.scheduler.order == QueueOrder::kDeadline || options_.scheduler.reject_late),
      model_mail_(models_.size()),
      scheduler_(options_.scheduler),
      model_books_(models_.size()),
      backend_(std::move(options_.backend)),
      has_waits_(models_.size()),
      stops_tried_(models_.size()) {}

bool SwapRunnerCore::is_inside() const noexcept { return runner_of_thread() == this; }

bool SwapRunnerCore::hands_over(const SwapTaskState& task) const noexcept {
  return is_inside() && handing_over_ == &task;
}

void SwapRunnerCore::report_state(ModelId model, ModelState state) noexcept {
  if (!models_.contains(model) || is_forked()) return;
  mailbox_.post(model_mail_[static_cast<std::size_t>(model)], 1, static_cast<std::uint8_t>(state));
}

void SwapRunnerCore::count_late_answer() noexcept {
  if (is_forked()) return;
  const SpinLockGuard lock(books_lock_);
  ++counts_.late_answers;
}

// --- the loop ---

void SwapRunnerCore::run() noexcept {
  world::set_thread_name(name());
  runner_of_thread() = this;
  for (;;) {
    if (wake_at_ != TimePoint::max() && wake_at_ <= clock_.now()) {
      wake_at_ = TimePoint::max();
      handle(TimerEvent{});
    }
    const SwapMailbox::Taken taken = mailbox_.take();
    if (taken.mail != nullptr) {
      open(taken);
    } else if (mailbox_.is_closed()) {
      break;  // and nothing comes any more
    } else {
      mailbox_.wait(clock_, wake_at_);
    }
  }
  runner_of_thread() = nullptr;
}

void SwapRunnerCore::open(const SwapMailbox::Taken& taken) noexcept {
  switch (taken.mail->about) {
    case SwapMail::About::kTicket: {
      auto& ticket = static_cast<SwapTicketState&>(*taken.mail);
      // One that was given up before anybody knew of it brings nothing up.
      if ((taken.said & SwapTicketState::kAsks) != 0 && (taken.said & SwapTicketState::kHasCancelled) != 0) {
        {
          const SpinLockGuard lock(books_lock_);
          ++counts_.withdrawn;
        }
        ticket.self.reset();
      } else if ((taken.said & SwapTicketState::kAsks) != 0) {
        begin_request(ticket);
      } else {
        end_request(ticket, taken.said);
      }
      return;
    }
    case SwapMail::About::kTask:
      return end_task(static_cast<SwapTaskState&>(*taken.mail));
    case SwapMail::About::kModel: {
      const auto at = static_cast<ModelMail*>(taken.mail) - model_mail_.data();
      handle(ModelStateEvent{.model = static_cast<ModelId>(at), .state = static_cast<ModelState>(taken.value)});
      if (is_closing_) stop_the_rest();
      return;
    }
    case SwapMail::About::kUnload:
      return begin_unload(static_cast<SwapUnloadState&>(*taken.mail));
    case SwapMail::About::kShutdown:
      return begin_shutdown();
  }
}

std::uint64_t SwapRunnerCore::decide(const SwapEvent& event) noexcept {
  std::uint64_t result = 0;
  insist([&] {
    actions_.clear();
    now_ = clock_.now();
    const MutexLock lock(scheduler_mutex_);
    is_deciding_ = true;
    try {
      result = apply(scheduler_, event, now_, actions_);
    } catch (...) {
      is_deciding_ = false;
      throw;
    }
    is_deciding_ = false;
  });
  tell(event, result);
  return result;
}

void SwapRunnerCore::tell(const SwapEvent& event, std::uint64_t result) noexcept {
  if (options_.observer != nullptr) options_.observer->on_decision(event, now_, result, actions_, 0);
}

std::uint64_t SwapRunnerCore::handle(const SwapEvent& event) noexcept {
  const std::uint64_t result = decide(event);
  carry_out();
  return result;
}

void SwapRunnerCore::carry_out() noexcept {
  carry_out_actions();
  // A grant that nobody was there for may let others through, who may not be there either.
  while (lost_ != nullptr) {
    SwapTicketState& ticket = *lost_;
    lost_ = std::exchange(ticket.next_lost, nullptr);
    if (lost_ == nullptr) last_lost_ = &lost_;
    decide(GrantRefusedEvent{ticket.id});
    carry_out_actions();
  }
}

void SwapRunnerCore::carry_out_actions() noexcept {
  for (const SwapAction& action : actions_) {
    std::visit([this](const auto& each) { perform(each); }, action);
  }
}

// --- requests ---

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
  const std::shared_ptr<SwapTicketState> share = std::move(ticket.self);
  const SwapEvent event = RequestEvent{ticket.request};
  std::uint64_t id = 0;
  try {
    actions_.clear();
    now_ = clock_.now();
    const MutexLock lock(scheduler_mutex_);
    is_deciding_ = true;
    id = apply(scheduler_, event, now_, actions_);
    ticket.id = TicketId{id};
    ticket.is_known = true;
    is_deciding_ = false;
  } catch (const std::bad_alloc&) {
    is_deciding_ = false;
    if (refuse(ticket, SwapReason::kNone, Duration::zero())) return;
    return keep_stray(share);
  }
  insist([&] {
    if (place_of(ticket.id) >= tickets_.size()) tickets_.resize(place_of(ticket.id) + 1);
  });
  tickets_[place_of(ticket.id)] = share;
  tell(event, id);
  carry_out();
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
  ticket.decided.happen();
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
  if (refuse(*ticket, reject.reason, reject.retry_after)) {
    forget(reject.ticket);
  } else {
    keep_stray(std::move(tickets_[place_of(reject.ticket)]));
  }
}

bool SwapRunnerCore::refuse(SwapTicketState& ticket, SwapReason reason, Duration retry_after) noexcept {
  ticket.reason = reason;
  ticket.retry_after = retry_after;
  ticket.waited = elapsed(ticket.since, now_);
  if (!ticket.change(Phase::kPending, Phase::kRefused)) return false;
  {
    const SpinLockGuard lock(books_lock_);
    ++model_books_[static_cast<std::size_t>(ticket.request.model)].refused;
  }
  ticket.decided.happen();
  return true;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
