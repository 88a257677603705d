// SPDX-License-Identifier: MIT
#include "penstock/route/detail/provider.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include <fmt/format.h>

#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr Duration::rep kNever = TimePoint::max().time_since_epoch().count();

}  // namespace

// --- TrackedCall ---

TrackedCall::TrackedCall(CallTicket& ticket, const JobContext* job) noexcept
    : provider_(std::exchange(ticket.provider_, nullptr)) {
  if (provider_ == nullptr) return;
  permit_ = std::move(ticket.permit_);
  started_ = provider_->clock_.now();
  due_ = job != nullptr ? job->context.deadline()
                        : std::min(ticket.deadline_, saturated_add(started_, ticket.processing_timeout_));
  provider_->enter(*this);
}

void TrackedCall::end(const absl::Status& status) noexcept {
  Provider* const provider = std::exchange(provider_, nullptr);
  if (provider == nullptr) return;
  std::optional<CircuitBreaker::Permit> permit = provider->leave(*this);
  if (permit) permit->settle(status, provider->clock_.now() - started_);
}

// --- Provider ---

Provider::Provider(const WorkerPoolOptions& options, std::unique_ptr<WorkerPool> pool,
                   std::shared_ptr<CircuitBreaker> breaker)
    : clock_(*options.clock),
      processing_timeout_(options.processing_timeout),
      shutdown_timeout_(options.shutdown_timeout),
      breaker_(std::move(breaker)),
      next_due_(kNever),
      pool_(std::move(pool)) {}

Context Provider::until_shutdown_timeout() const { return Context(clock_).with_timeout(shutdown_timeout_); }

absl::Status Provider::admit(const SubmitOptions& options, CallTicket& ticket) {
  if (phase() != Phase::kServing) {
    return absl::UnavailableError(
        fmt::format("provider '{}': {}", name(), phase() == Phase::kDraining ? "draining" : "stopped"));
  }
  if (breaker_ == nullptr) return absl::OkStatus();
  notice_overdue();
  BreakerRefusal why;
  ticket.permit_ = breaker_->try_acquire(why);
  if (!ticket.permit_) return to_status(why, breaker_->name());
  ticket.provider_ = this;
  ticket.processing_timeout_ = options.processing_timeout.value_or(processing_timeout_);
  if (&options.context.clock() == &clock_) ticket.deadline_ = options.context.deadline();
  return absl::OkStatus();
}

void Provider::notice_overdue() noexcept {
  const Duration::rep next_due = next_due_.load(std::memory_order_relaxed);
  if (next_due == kNever) return;
  const TimePoint now = clock_.now();
  if (now.time_since_epoch().count() < next_due) return;

  struct Overdue {
    std::optional<CircuitBreaker::Permit> permit;
    Duration took{};
  };
  std::array<Overdue, 16> overdue;
  std::size_t size = overdue.size();
  while (size == overdue.size()) {
    size = 0;
    {
      const MutexLock lock(calls_mutex_);
      TimePoint next = TimePoint::max();
      for (TrackedCall* call = calls_; call != nullptr; call = call->next_) {
        if (!call->permit_) continue;
        if (call->due_ <= now && size < overdue.size()) {
          overdue[size].permit.emplace(*std::exchange(call->permit_, std::nullopt));
          overdue[size].took = call->due_ - call->started_;
          ++size;
        } else {
          next = std::min(next, call->due_);
        }
      }
      next_due_.store(next.time_since_epoch().count(), std::memory_order_relaxed);
    }
    for (std::size_t call = 0; call < size; ++call) {
      overdue[call].permit->settle(absl::DeadlineExceededError("the function has not returned in time"),
                                   overdue[call].took);
      overdue[call].permit.reset();
    }
  }
}

void Provider::enter(TrackedCall& call) noexcept {
  const MutexLock lock(calls_mutex_);
  call.next_ = calls_;
  if (calls_ != nullptr) calls_->previous_ = &call;
  calls_ = &call;
  const Duration::rep due = call.due_.time_since_epoch().count();
  if (due < next_due_.load(std::memory_order_relaxed)) next_due_.store(due, std::memory_order_relaxed);
}

std::optional<CircuitBreaker::Permit> Provider::leave(TrackedCall& call) noexcept {
  const MutexLock lock(calls_mutex_);
  (call.previous_ == nullptr ? calls_ : call.previous_->next_) = call.next_;
  if (call.next_ != nullptr) call.next_->previous_ = call.previous_;
  return std::move(call.permit_);
}

ProviderState Provider::state() noexcept {
  notice_overdue();
  if (phase() != Phase::kServing) {
    return phase() == Phase::kDraining ? ProviderState::kDraining : ProviderState::kStopped;
  }
  if (breaker_ == nullptr) return ProviderState::kReady;
  switch (breaker_->state()) {
    case BreakerState::kHalfOpen:
      return ProviderState::kDegraded;
    case BreakerState::kOpen:
      // Once the wait is over the next job is a probe.
      return breaker_->retry_after() > Duration::zero() ? ProviderState::kIsolated : ProviderState::kDegraded;
    case BreakerState::kForcedOpen:
      return ProviderState::kIsolated;
    case BreakerState::kClosed:
    case BreakerState::kDisabled:
    case BreakerState::kMetricsOnly:
      break;
  }
  return ProviderState::kReady;
}

ProviderStats Provider::stats() {
  ProviderStats stats;
  stats.state = state();
  stats.pool = pool_->stats();
  if (breaker_ != nullptr) stats.breaker = breaker_->stats();
  return stats;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
