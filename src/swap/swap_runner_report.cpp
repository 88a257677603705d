// SPDX-License-Identifier: MIT

// What a swap runner says: of its options, of requests and refusals, and of itself.

#include <algorithm>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/elapsed.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/core/retry_after.hpp"
#include "swap_runner_look.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
/// What a client is told that asks for too much at once, where the scheduler can tell nothing.
constexpr Duration kUsualRetry = std::chrono::seconds(1);

}  // namespace

absl::Status SwapRunnerOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(backend != nullptr, "backend", "a back end", "null");
  violations.require(task_timeout > Duration::zero(), "task_timeout", "positive", detail::duration_text(task_timeout));
  violations.require(shutdown_timeout >= Duration::zero(), "shutdown_timeout", "at least 0 s",
                     detail::duration_text(shutdown_timeout));
  violations.require(clock != nullptr, "clock", "a clock", "null");
  const absl::Status bad = scheduler.validate();
  if (bad.ok() && violations.empty()) return absl::OkStatus();
  const std::string runner = fmt::format("swap runner '{}'", detail::shortened(scheduler.name, kMaxNameBytes));
  if (bad.ok()) return violations.status(runner);
  return absl::InvalidArgumentError(fmt::format("{}: {}{}scheduler: {}", runner, violations.text(),
                                                violations.empty() ? "" : "; ", detail::text_of(bad)));
}

ModelId ModelChoice::in(const ModelTable& models) const noexcept {
  if (is_named_) return models.find(name_).value_or(kNoModel);
  return models.contains(id_) ? id_ : kNoModel;
}

std::string ModelChoice::text() const {
  return is_named_ ? fmt::format("'{}'", detail::shortened(name_, kMaxNameBytes))
                   : fmt::format("{}", static_cast<std::uint32_t>(id_));
}

namespace detail {

// --- texts ---

std::string SwapRunnerCore::subject() const { return fmt::format("swap runner '{}'", name()); }

std::string SwapRunnerCore::subject(ModelId model) const {
  return model == kNoModel ? subject() : fmt::format("{}: model '{}'", subject(), models_.name(model));
}

absl::Status SwapRunnerCore::inside_error(std::string_view what) const {
  return with_failure_stage(
      absl::FailedPreconditionError(fmt::format("{}: {} on the runner's own thread would never end", subject(), what)),
      "swap");
}

absl::Status SwapRunnerCore::forked_error() const {
  return with_failure_stage(
      absl::FailedPreconditionError(subject() + ": used in a forked child, which has none of its threads"), "swap");
}

absl::Status SwapRunnerCore::shut_down_error() const {
  return with_failure_stage(absl::UnavailableError(subject() + ": shut down"), "swap");
}

absl::Status SwapTicketState::ended_wait(Waiter::Outcome outcome) const {
  const bool is_late = outcome == Waiter::kTimedOut;
  const std::string text = fmt::format("{}: {} (waited {}; {})", core->subject(request.model),
                                       is_late ? "not granted in time" : "cancelled while waiting for it",
                                       duration_text(elapsed(since, core->clock().now())), core->standing_of(*this));
  return with_failure_stage(is_late ? absl::DeadlineExceededError(text) : absl::CancelledError(text), "swap");
}

absl::Status SwapTicketState::refusal() const {
  const std::string subject = core->subject(request.model);
  const auto with_time = [this](absl::Status status, Duration usual) {
    const Duration after = retry_after > Duration::zero() ? retry_after : usual;
    return after > Duration::zero() ? with_retry_after(std::move(status), after) : status;
  };
  if (reason == SwapReason::kSwapFailed && error != nullptr) {
    absl::Status status(error->code(), fmt::format("{}: could not be brought up (waited {}): {}", subject,
                                                   duration_text(waited), text_of(*error)));
    error->ForEachPayload([&](auto type, const auto& payload) { status.SetPayload(type, payload); });
    if (!penstock::retry_after(status).has_value()) status = with_time(std::move(status), Duration::zero());
    return failure_stage(status).has_value() ? status : with_failure_stage(std::move(status), "swap");
  }
  const SwapSchedulerOptions& limits = core->scheduler_options();
  const auto describe = [&]() -> absl::Status {
    switch (reason) {
      case SwapReason::kNone:
        return absl::ResourceExhaustedError(subject + ": no memory for the request");
      case SwapReason::kUnknownModel:
        return absl::NotFoundError(subject + ": not configured any more");
      case SwapReason::kConcurrencyLimit: {
        const std::int32_t limit = core->models()[request.model].concurrency_limit;
        return absl::ResourceExhaustedError(
            fmt::format("{}: concurrency limit reached (limit {})", subject, limit == 0 ? 10 : limit));
      }
      case SwapReason::kQueueFull:
        return absl::ResourceExhaustedError(
            fmt::format("{}: queue full (at most {} wait)", subject, limits.max_queued));
      case SwapReason::kModelQueueFull:
        return absl::ResourceExhaustedError(
            fmt::format("{}: queue of the model full (at most {} wait)", subject, limits.max_queued_per_model));
      case SwapReason::kTenantQueueFull:
        return absl::ResourceExhaustedError(
            fmt::format("{}: queue of the tenant full (at most {} wait)", subject, limits.max_queued_per_tenant));
      case SwapReason::kExpired:
        return absl::DeadlineExceededError(
            fmt::format("{}: its deadline has come (waited {})", subject, duration_text(waited)));
      case SwapReason::kTooLate:
        return absl::DeadlineExceededError(
            fmt::format("{}: cannot be served before its deadline (waited {})", subject, duration_text(waited)));
      case SwapReason::kNotReady:
        return absl::UnavailableError(
            fmt::format("{}: was brought up, and had ended again (waited {})", subject, duration_text(waited)));
      case SwapReason::kBackingOff:
        return absl::UnavailableError(subject + ": could not be brought up lately, and is not tried again yet");
      case SwapReason::kUnloaded:
        return absl::UnavailableError(fmt::format("{}: unloaded (waited {})", subject, duration_text(waited)));
      case SwapReason::kPlannerFailed:
        return absl::InternalError(subject + ": the planner threw");
      case SwapReason::kShutdown:
        return absl::UnavailableError(
            fmt::format("{}: the runner is shut down (waited {})", subject, duration_text(waited)));
      default:
        return absl::UnavailableError(fmt::format("{}: refused ({})", subject, penstock::to_string(reason)));
    }
  };
  absl::Status status = describe();
  const Duration usual = absl::IsResourceExhausted(status) ? kUsualRetry : Duration::zero();
  return with_failure_stage(with_time(std::move(status), usual), "swap");
}

// --- what the scheduler says ---

TicketState SwapRunnerCore::state_of(const SwapTicketState& ticket) const noexcept {
  const Look look(*this);
  if (look.scheduler == nullptr) return TicketState::kEnded;
  // Until it is told of it, it waits with all others.
  return ticket.is_known ? look.scheduler->state(ticket.id) : TicketState::kQueued;
}

TicketId SwapRunnerCore::id_of(const SwapTicketState& ticket) const noexcept {
  const Look look(*this);
  return look.scheduler == nullptr ? TicketId{} : ticket.id;
}

std::optional<std::size_t> SwapRunnerCore::position_of(const SwapTicketState& ticket) const noexcept {
  const Look look(*this);
  if (look.scheduler == nullptr || !ticket.is_known) return std::nullopt;
  return look.scheduler->position(ticket.id);
}

SwapExplanation SwapRunnerCore::explain(const SwapTicketState& ticket) const {
  const TimePoint now = clock_.now();
  const Look look(*this);
  if (look.scheduler == nullptr || !ticket.is_known) return {};
  return look.scheduler->explain(ticket.id, now);
}

std::optional<Duration> SwapRunnerCore::eta_of(const SwapTicketState& ticket) const {
  const TimePoint now = clock_.now();
  const Look look(*this);
  if (look.scheduler == nullptr || !ticket.is_known) return std::nullopt;
  return look.scheduler->eta(ticket.id, now);
}

std::string SwapRunnerCore::standing_of(const SwapTicketState& ticket) const {
  const TimePoint now = clock_.now();
  SwapExplanation explanation;
  std::optional<std::size_t> position;
  std::size_t queued = 0;
  {
    const Look look(*this);
    if (look.scheduler == nullptr || !ticket.is_known) return "not looked at yet";
    explanation = look.scheduler->explain(ticket.id, now);
    position = look.scheduler->position(ticket.id);
    queued = look.scheduler->queued();
  }
  const std::string obstacle = to_text(explanation, models_);
  return position.has_value() ? fmt::format("place {} of {}; {}", *position, queued, obstacle) : obstacle;
}

ModelState SwapRunnerCore::model_state(ModelId model) const noexcept {
  const Look look(*this);
  if (look.scheduler == nullptr || !models_.contains(model)) return ModelState::kUnknown;
  return look.scheduler->model_state(model);
}

bool SwapRunnerCore::is_idle() const noexcept {
  if (is_forked()) return true;
  {
    const Look look(*this);
    if (look.scheduler == nullptr) return false;
    const SwapStats& stats = look.scheduler->stats();
    if (stats.queued + stats.joined + stats.in_flight != 0) return false;
  }
  {
    const SpinLockGuard lock(books_lock_);
    if (counts_.tasks != 0) return false;
  }
  return mailbox_.is_at_rest();
}

SwapRunnerStats SwapRunnerCore::stats() const {
  SwapRunnerStats stats;
  if (is_forked()) return stats;
  const TimePoint now = clock_.now();
  {
    const SpinLockGuard lock(books_lock_);
    stats = counts_;
    for (const SwapTaskState* task = first_task_; task != nullptr; task = task->next_task) {
      if (task->life.context.deadline() <= now || task->life.context.is_done()) ++stats.tasks_overdue;
    }
  }
  // A model at a time: whoever is granted something meanwhile waits for one of them, not for thousands.
  for (std::size_t model = 0; model != models_.size(); ++model) {
    const SpinLockGuard lock(books_lock_);
    const SwapModelBooks& books = model_books_[model];
    if (books.wait != nullptr) stats.wait.merge(*books.wait);
  }
  const Look look(*this);
  if (look.scheduler != nullptr) stats.scheduler = look.scheduler->stats();
  return stats;
}

SwapModelStats SwapRunnerCore::model_stats(ModelId model) const {
  SwapModelStats stats;
  if (!models_.contains(model) || is_forked()) return stats;
  {
    const SpinLockGuard lock(books_lock_);
    const SwapModelBooks& books = model_books_[static_cast<std::size_t>(model)];
    stats.granted = books.granted;
    stats.refused = books.refused;
    stats.swaps_succeeded = books.swaps_succeeded;
    stats.swaps_failed = books.swaps_failed;
    if (books.wait != nullptr) stats.wait = *books.wait;
  }
  const Look look(*this);
  if (look.scheduler == nullptr) return stats;
  stats.state = look.scheduler->model_state(model);
  stats.load = look.scheduler->model_load(model);
  return stats;
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
