// SPDX-License-Identifier: MIT

// What clients do with a swap runner: ask for models, wait, take and cancel, and have models stopped.

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/failure_stage.hpp"
#include "swap_runner_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace detail {
namespace {

using Phase = SwapTicketState::Phase;

absl::Status no_request_error() {
  return with_failure_stage(absl::FailedPreconditionError("swap ticket: there is no request"), "swap");
}

}  // namespace

Happening& decision_of(SwapTicketState& ticket) noexcept { return ticket.decided; }
Happening& end_of(SwapUnloadState& unload) noexcept { return unload.ended; }

absl::StatusOr<std::shared_ptr<SwapTicketState>> SwapRunnerCore::submit(ModelChoice model,
                                                                        const SwapRequestOptions& options,
                                                                        const Context* ctx) {
  if (is_forked()) return forked_error();
  const ModelId id = model.in(models_);
  if (id == kNoModel) {
    {
      const SpinLockGuard lock(books_lock_);
      ++counts_.unknown_models;
    }
    return with_failure_stage(absl::NotFoundError(fmt::format("{}: there is no model {}", subject(), model.text())),
                              "swap");
  }
  SwapRequest request{
      .model = id, .priority = options.priority, .tenant = options.tenant, .deadline = options.deadline};
  if (knows_deadlines_ && ctx != nullptr && &ctx->clock() == &clock_) {
    request.deadline = std::min(request.deadline, ctx->deadline());
  }
  auto ticket = std::make_shared<SwapTicketState>(shared_from_this(), request, clock_.now());
  ticket->self = ticket;
  if (!say(*ticket, SwapTicketState::kAsks)) {
    ticket->self = nullptr;
    return shut_down_error();
  }
  return ticket;
}

absl::StatusOr<SwapLease> SwapTicketState::wait_and_take(std::shared_ptr<SwapTicketState> state, const Context& ctx) {
  try {
    return take_or_cancel(std::move(state), state->decided.wait(ctx));
  } catch (...) {
    state->cancel();
    throw;
  }
}

absl::StatusOr<SwapLease> SwapTicketState::take(std::shared_ptr<SwapTicketState>&& state, Waiter::Outcome outcome) {
  switch (state->seen()) {
    case Phase::kGranted:
      if (state->change(Phase::kGranted, Phase::kTaken)) return SwapLease(std::move(state));
      break;  // another thread was first
    case Phase::kRefused:
      return state->refusal();
    case Phase::kPending:
      return state->ended_wait(outcome);
    case Phase::kTaken:
    case Phase::kCancelled:
      break;
  }
  const std::string subject = state->core->subject(state->request.model);
  if (state->seen() == Phase::kTaken) {
    return with_failure_stage(absl::FailedPreconditionError(subject + ": the lease was taken before"), "swap");
  }
  return with_failure_stage(absl::CancelledError(subject + ": the request was cancelled"), "swap");
}

absl::StatusOr<SwapLease> SwapTicketState::take_or_cancel(std::shared_ptr<SwapTicketState>&& state,
                                                          Waiter::Outcome outcome) {
  if (outcome < Waiter::kServed && state->seen() == Phase::kPending) {
    absl::Status why = state->ended_wait(outcome);  // before: it says where it stood
    if (state->change(Phase::kPending, Phase::kCancelled)) {
      state->core->say(*state, kHasCancelled);
      return why;
    }
  }
  return take(std::move(state), outcome);
}

bool SwapTicketState::cancel() noexcept {
  if (core->is_forked()) return false;
  const std::uint8_t what = change(Phase::kPending, Phase::kCancelled)   ? kHasCancelled
                            : change(Phase::kGranted, Phase::kCancelled) ? kHasNotTaken
                                                                         : std::uint8_t{0};
  if (what == 0) return false;
  decided.happen();
  core->say(*this, what);
  return true;
}

void SwapTicketState::end_lease() noexcept {
  if (!core->is_forked()) core->say(*this, kIsServed);
}

absl::StatusOr<std::shared_ptr<SwapUnloadState>> SwapRunnerCore::unload(std::vector<ModelId> models, Duration timeout) {
  if (is_forked()) return forked_error();
  for (const ModelId model : models) {
    if (models_.contains(model)) continue;
    return with_failure_stage(
        absl::NotFoundError(fmt::format("{}: there is no {}", subject(), ModelChoice(model).text())), "swap");
  }
  auto unload = std::make_shared<SwapUnloadState>(std::move(models), timeout);
  unload->subject = subject();
  unload->self = unload;
  if (!mailbox_.post(*unload, 1)) {
    unload->self = nullptr;
    return shut_down_error();
  }
  return unload;
}

}  // namespace detail

// --- tickets ---

SwapTicket& SwapTicket::operator=(SwapTicket&& other) noexcept {
  SwapTicket taken(std::move(other));
  state_.swap(taken.state_);
  return *this;
}

absl::StatusOr<SwapLease> SwapTicket::wait(const Context& ctx) {
  if (state_ == nullptr) return detail::no_request_error();
  if (state_->core->is_forked()) return state_->core->forked_error();
  if (state_->core->is_inside() && !state_->decided.has_happened()) return state_->core->inside_error("wait");
  return detail::SwapTicketState::take(std::shared_ptr(state_), state_->decided.wait(ctx));
}

SwapTicketAwaiter SwapTicket::async_wait(Context ctx) { return SwapTicketAwaiter(state_, std::move(ctx)); }

absl::StatusOr<SwapLease> SwapTicketAwaiter::await_resume() {
  if (state_ == nullptr) return detail::no_request_error();
  return detail::SwapTicketState::take(std::shared_ptr(state_), wait_.finish());
}

absl::StatusOr<SwapLease> SwapAcquireAwaiter::await_resume() {
  if (state_ == nullptr) return ticket_.status();
  return detail::SwapTicketState::take_or_cancel(std::shared_ptr(state_), wait_.finish());
}

bool SwapTicket::cancel() noexcept {
  const std::shared_ptr<detail::SwapTicketState> state = state_;  // who is resumed may drop this ticket, and the runner
  return state != nullptr && state->cancel();
}
bool SwapTicket::is_decided() const noexcept {
  return state_ != nullptr && !state_->core->is_forked() && state_->decided.has_happened();
}
ModelId SwapTicket::model() const noexcept { return state_ == nullptr ? kNoModel : state_->request.model; }
TicketId SwapTicket::id() const noexcept { return state_ == nullptr ? TicketId{} : state_->core->id_of(*state_); }
TicketState SwapTicket::state() const noexcept {
  return state_ == nullptr ? TicketState::kEnded : state_->core->state_of(*state_);
}
std::optional<std::size_t> SwapTicket::position() const noexcept {
  return state_ == nullptr ? std::nullopt : state_->core->position_of(*state_);
}
SwapExplanation SwapTicket::explain() const {
  return state_ == nullptr ? SwapExplanation{} : state_->core->explain(*state_);
}
std::optional<Duration> SwapTicket::eta() const {
  return state_ == nullptr ? std::nullopt : state_->core->eta_of(*state_);
}

// --- leases ---

SwapLease& SwapLease::operator=(SwapLease&& other) noexcept {
  SwapLease taken(std::move(other));
  state_.swap(taken.state_);
  return *this;
}

void SwapLease::reset() noexcept {
  if (const std::shared_ptr<detail::SwapTicketState> state = std::move(state_)) state->end_lease();
}

ModelId SwapLease::model() const noexcept { return state_ == nullptr ? kNoModel : state_->request.model; }
const std::string& SwapLease::model_name() const noexcept {
  static const std::string kUnknown = "(unknown)";
  return state_ == nullptr ? kUnknown : state_->core->models()[state_->request.model].name;
}
Duration SwapLease::waited() const noexcept { return state_ == nullptr ? Duration::zero() : state_->waited; }

}  // namespace penstock::inline PENSTOCK_ABI
