// SPDX-License-Identifier: MIT

// Who has the turn of a swap runner: what it is told, what the scheduler makes of it, and who carries that out.

#include "swap_runner_core.hpp"

#include <new>
#include <stdexcept>
#include <utility>
#include <variant>

#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

/// A client decides so many events in a row, its own and those that came meanwhile, and carries out so many actions of
/// one of them: about as long as it takes to wake the thread, which goes on then.
constexpr std::uint32_t kMostOfClient = 32;

struct RunsFor {};

/// The runner whose thread this is.
const SwapRunnerCore*& runner_of_thread() noexcept {
  return world::thread_local_value<RunsFor, const SwapRunnerCore*>();
}

SwapRunnerOptions checked(SwapRunnerOptions options) {
  if (const absl::Status bad = options.validate(); !bad.ok()) throw std::invalid_argument(std::string(text_of(bad)));
  return options;
}

}  // namespace

SwapRunnerCore::SwapRunnerCore(SwapRunnerOptions options)
    : options_(checked(std::move(options))),
      clock_(*options_.clock),
      process_(fork_generation()),
      models_(options_.scheduler.models),
      knows_deadlines_(options_.scheduler.order == QueueOrder::kDeadline || options_.scheduler.reject_late),
      model_mail_(models_.size()),
      scheduler_(options_.scheduler),
      clients_decide_(scheduler_.is_pairwise() && (options_.observer == nullptr || options_.observer->is_quick())),
      model_books_(models_.size()),
      has_waits_(models_.size()),
      backend_(std::move(options_.backend)),
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

// --- the turn ---

void SwapRunnerCore::run() noexcept {
  world::set_thread_name(name());
  runner_of_thread() = this;
  for (;;) {
    go_on();
    do_what_is_due();
    const SwapMailbox::Taken taken = mailbox_.take();
    if (taken.mail != nullptr) {
      open(taken);
    } else if (mailbox_.is_over()) {
      break;  // nothing is left, and nothing comes any more: it keeps the turn
    } else {
      sleeps_until_ = wake_at_;
      mailbox_.wait(clock_, wake_at_);
    }
  }
  runner_of_thread() = nullptr;
}

bool SwapRunnerCore::say(SwapTicketState& ticket, std::uint8_t bit) noexcept {
  if (is_forked()) return false;
  if (!clients_decide_) return mailbox_.post(ticket, bit);
  const SwapMailbox::Posted posted = mailbox_.post_or_take(ticket, bit);
  if (posted.first.mail != nullptr) decide_as_client(posted.first);
  return posted.is_posted;
}

void SwapRunnerCore::decide_as_client(SwapMailbox::Taken first) noexcept {
  using Wish = SwapMailbox::Wish;
  Wish wish = Wish::kMore;
  std::uint32_t decided = 0;
  for (SwapMailbox::Taken taken = first; taken.mail != nullptr; taken = mailbox_.next_of_client(wish)) {
    if (wake_at_ != TimePoint::max() && wake_at_ <= clock_.now()) {
      unopened_ = taken;  // what is due comes first
    } else {
      open(taken);
    }
    wish = has_left_something() ? Wish::kThread : ++decided == kMostOfClient ? Wish::kNoMore : Wish::kMore;
  }
}

bool SwapRunnerCore::has_left_something() const noexcept {
  return !actions_.empty() || lost_ != nullptr || unheard_ != nullptr || undecided_.has_value() ||
         unopened_.mail != nullptr;
}

void SwapRunnerCore::go_on() noexcept {
  if (const std::shared_ptr<SwapTicketState> ticket = std::move(unheard_)) ticket->decided.happen();
  if (undecided_.has_value()) {
    const SwapEvent event = *undecided_;
    undecided_.reset();
    decide(event);
  }
  carry_out();
  if (unopened_.mail == nullptr) return;
  do_what_is_due();
  open(std::exchange(unopened_, {}));
}

void SwapRunnerCore::do_what_is_due() noexcept {
  if (wake_at_ == TimePoint::max() || clock_.now() < wake_at_) return;
  wake_at_ = TimePoint::max();
  handle(TimerEvent{});
}

void SwapRunnerCore::open(const SwapMailbox::Taken& taken) noexcept {
  switch (taken.mail->about) {
    case SwapMail::About::kTicket: {
      auto& ticket = static_cast<SwapTicketState&>(*taken.mail);
      // One that was given up before anybody knew of it brings nothing up.
      if ((taken.said & SwapTicketState::kAsks) != 0 && (taken.said & SwapTicketState::kHasCancelled) != 0) {
        count_withdrawn();
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

std::uint64_t SwapRunnerCore::ask(const SwapEvent& event, SwapTicketState* asking) {
  std::uint64_t result = 0;
  now_ = clock_.now();
  {
    const MutexLock lock(scheduler_mutex_);
    is_deciding_ = true;
    try {
      result = apply(scheduler_, event, now_, actions_);
    } catch (...) {
      is_deciding_ = false;
      throw;
    }
    is_deciding_ = false;
    if (asking != nullptr) {
      asking->id = TicketId{result};
      asking->is_known = true;
    }
  }
  if (options_.observer != nullptr) options_.observer->on_decision(event, now_, result, actions_, 0);
  return result;
}

// An event that finds no memory has not happened, but what was due before it has: that stays among the actions, and is
// carried out with what comes of the next attempt.
std::optional<std::uint64_t> SwapRunnerCore::decide(const SwapEvent& event) noexcept {
  std::optional<std::uint64_t> result;
  if (is_inside()) {
    insist([&] { result = ask(event); });
    return result;
  }
  try {
    result = ask(event);
  } catch (const std::bad_alloc&) {
    count_shortage();
    undecided_ = event;
  }
  return result;
}

void SwapRunnerCore::count_shortage() noexcept {
  const SpinLockGuard lock(books_lock_);
  ++counts_.shortages;
}

void SwapRunnerCore::count_withdrawn() noexcept {
  const SpinLockGuard lock(books_lock_);
  ++counts_.withdrawn;
}

void SwapRunnerCore::handle(const SwapEvent& event) noexcept {
  if (decide(event).has_value()) carry_out();
}

void SwapRunnerCore::carry_out() noexcept {
  // A grant that nobody was there for may let others through, who may not be there either.
  for (std::uint32_t round = 0; carry_out_actions() && lost_ != nullptr; ++round) {
    if (round == kMostOfClient && !is_inside()) return;
    SwapTicketState& ticket = *lost_;
    lost_ = std::exchange(ticket.next_lost, nullptr);
    if (lost_ == nullptr) last_lost_ = &lost_;
    if (!decide(GrantRefusedEvent{ticket.id}).has_value()) return;
  }
}

bool SwapRunnerCore::carry_out_actions() noexcept {
  const bool is_client = !is_inside();
  while (carried_out_ != actions_.size()) {
    const SwapAction& action = actions_[carried_out_];
    if (is_client && (unheard_ != nullptr || carried_out_ == kMostOfClient || is_for_thread(action))) return false;
    ++carried_out_;
    std::visit([this](const auto& each) { perform(each); }, action);
  }
  if (unheard_ != nullptr) return false;
  actions_.clear();
  carried_out_ = 0;
  return true;
}

bool SwapRunnerCore::is_for_thread(const SwapAction& action) const noexcept {
  if (const auto* const wake = std::get_if<WakeAt>(&action)) return wake->when < sleeps_until_;
  return !std::holds_alternative<GrantTicket>(action) && !std::holds_alternative<RejectTicket>(action);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
