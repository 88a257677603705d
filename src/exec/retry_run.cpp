// SPDX-License-Identifier: MIT

// The retrier, and one call of a driver.

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/random_unit.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/exec/retry.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

RetryOptions checked(RetryOptions options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(status.message()));
  }
  return options;
}

}  // namespace

Retrier::Retrier(RetryOptions options) : options_(checked(std::move(options))), budget_(options_.budget) {}

bool Retrier::begin(std::uint32_t attempt) noexcept {
  if (attempt <= 1) {
    counts_.add(kCalls);
    budget_.deposit();
    return true;
  }
  if (is_breaker_open()) {
    count_stop(RetryStop::kBreaker);
    return false;
  }
  counts_.add(kRetries);
  return true;
}

void Retrier::succeeded(std::uint32_t attempt) noexcept {
  counts_.add(attempt <= 1 ? kSucceededFirst : kSucceededLater);
}

RetryDecision Retrier::after_failure(std::uint32_t attempt, const absl::Status& status, TimePoint now,
                                     TimePoint deadline, RetryScene scene) noexcept {
  RetryFailure failure;
  failure.attempt = attempt;
  failure.verdict = classify(status);
  try {
    failure.retry_after = penstock::retry_after(status);
  } catch (...) {  // out of memory: then the formula decides
  }
  failure.now = now;
  failure.deadline = deadline;
  failure.cancelled = scene.cancelled;
  const bool may_retry = failure.verdict != RetryVerdict::kStop && !scene.cancelled && attempt < options_.max_attempts;
  failure.breaker_open = scene.breaker_open || (may_retry && is_breaker_open());
  failure.unit_random = may_retry ? unit_random() : 0;
  const RetryDecision decision = decide_retry(options_, failure, &budget_);
  if (decision.retries()) {
    backoff_.record(decision.wait);
  } else {
    count_stop(decision.stop);
  }
  return decision;
}

void Retrier::stopped(RetryStop why) noexcept {
  PENSTOCK_CHECK(why != RetryStop::kNone, "a call of a retrier was stopped for no reason");
  count_stop(why);
}

RetryVerdict Retrier::classify(const absl::Status& status) noexcept {
  if (status.ok()) return RetryVerdict::kStop;  // there is nothing to try again
  if (options_.classify) {
    try {
      return options_.classify(status);
    } catch (...) {
      counts_.add(kCaught);
    }
  }
  try {
    return classify_retry(status);
  } catch (...) {  // out of memory, for the stage of a failure
    return RetryVerdict::kStop;
  }
}

bool Retrier::is_breaker_open() noexcept {
  if (!options_.breaker_open) return false;
  try {
    return options_.breaker_open();
  } catch (...) {
    counts_.add(kCaught);
    return false;
  }
}

double Retrier::unit_random() noexcept {
  constexpr std::uint32_t kSteps = 0xFFFF'FFFF;
  if (options_.seed == 0) return static_cast<double>(detail::world::random_below(kSteps)) / double{kSteps};
  return detail::RandomUnit::at(options_.seed, drawn_.fetch_add(1, std::memory_order_relaxed));
}

void Retrier::count_stop(RetryStop why) noexcept { counts_.add(kFirstStop + static_cast<std::size_t>(why)); }

RetryStats Retrier::stats() const noexcept {
  const auto counts = counts_.snapshot();
  RetryStats stats;
  stats.calls = counts[kCalls];
  stats.retries = counts[kRetries];
  stats.attempts = stats.calls + stats.retries;
  stats.succeeded_first = counts[kSucceededFirst];
  stats.succeeded_after_retry = counts[kSucceededLater];
  std::uint64_t ended = stats.succeeded_first + stats.succeeded_after_retry;
  for (std::size_t index = 0; index < kRetryStops; ++index) {
    stats.stops[index] = counts[kFirstStop + index];
    ended += stats.stops[index];
  }
  stats.running = stats.calls - ended;
  stats.caught_exceptions = counts[kCaught];
  stats.backoff_total = backoff_.snapshot().sum();
  return stats;
}

namespace detail {

RetryRun::RetryRun(Retrier& retrier, const Context& ctx) noexcept
    : retrier_(retrier), ctx_(ctx), attempt_{.max_attempts = retrier.options().max_attempts, .context = ctx_} {}

RetryRun::~RetryRun() {
  if (open_) retrier_.stopped(RetryStop::kAbandoned);
}

bool RetryRun::begin() {
  if (ctx_.is_done()) {
    end_with_context();
    return false;
  }
  open_ = retrier_.begin(made_ + 1);
  if (open_) {
    attempt_.number = ++made_;
  } else {
    status_ = std::move(attempt_.previous);
  }
  return open_;
}

void RetryRun::end_with_context() {
  const absl::Status cause = ctx_.cause();
  if (std::exchange(open_, false)) {
    retrier_.stopped(ctx_.status() == OpStatus::kTimedOut ? RetryStop::kDeadline : RetryStop::kCancelled);
  }
  if (made_ == 0) {
    status_ = cause;
    return;
  }
  const auto text = [](const auto& view) { return std::string_view(view.data(), view.size()); };
  status_ = absl::Status(cause.code(),
                         fmt::format("{}{}waiting for attempt {} after: {}", text(cause.message()),
                                     cause.message().empty() ? "" : ", ", made_ + 1, attempt_.previous.ToString()));
  cause.ForEachPayload([this](auto url, const auto& payload) { status_.SetPayload(url, payload); });
}

RetryRun::Next RetryRun::settle(const absl::Status& status) {
  if (status.ok()) {
    open_ = false;
    retrier_.succeeded(made_);
    return Next::kReturn;
  }
  const RetryDecision decision = retrier_.after_failure(made_, status, ctx_.clock().now(), ctx_.deadline(),
                                                        {.cancelled = ctx_.status() == OpStatus::kCancelled});
  if (decision.retries()) {
    at_ = decision.at;
    attempt_.verdict = decision.verdict;
    attempt_.previous = status;
    return Next::kWait;
  }
  open_ = false;
  if (decision.stop != RetryStop::kAttempts) return Next::kReturn;
  status_ = with_attempts(status, made_);
  return Next::kEnd;
}

void RetryRun::stop() noexcept {
  open_ = false;
  retrier_.stopped(RetryStop::kVerdict);
}

void RetryRun::block() const {
  const Context until = wait_context();
  if (until.is_done()) return;
  Waiter waiter(until);
  static_cast<void>(waiter.wait());
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
