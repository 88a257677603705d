// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One provider: its pool, its breaker, and the permits of its jobs on their way from the one to the other.
///
/// A permit is settled once, by whoever comes first:
///
///   submit --admit()--> CallTicket --the job starts--> TrackedCall --the function ends--> settled with its outcome
///                          |                              |
///                          | refused, or never ran:       | its time is up: settled with DeadlineExceeded by the next
///                          v                              v one who looks, while the function goes on
///                       ignored                        notice_overdue()
///
/// The pool answers the caller of an overdue job by itself, and does not tell. But what the breaker thinks matters only
/// when somebody submits or asks, and these look for overdue calls first: a provider that hangs opens its breaker
/// without a timer or a thread of our own.

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/route/circuit_breaker.hpp"

namespace penstock::inline PENSTOCK_ABI {
enum class ProviderState : std::uint8_t;
struct ProviderStats;
}  // namespace penstock::inline PENSTOCK_ABI

namespace penstock::inline PENSTOCK_ABI::detail {

class Provider;

/// The permit of a job that has not started. Destroyed before that, it tells the breaker to ignore the job: a job that
/// never ran says nothing about the provider.
class CallTicket {
 public:
  CallTicket() noexcept = default;  // of a provider without a breaker
  CallTicket(CallTicket&&) noexcept = default;
  CallTicket& operator=(CallTicket&&) = delete;
  ~CallTicket() {
    if (permit_ && permit_->is_pending()) permit_->ignore();
  }

 private:
  friend class Provider;
  friend class TrackedCall;

  Provider* provider_ = nullptr;
  std::optional<CircuitBreaker::Permit> permit_;
  Duration processing_timeout_{};
  TimePoint deadline_ = TimePoint::max();  // the caller's, if it is on the pool's clock
};

/// A function that runs. Lives in the frame of the thread that calls it.
class TrackedCall {
 public:
  /// Takes over the permit of `ticket`. `job` may be null.
  TrackedCall(CallTicket& ticket, const JobContext* job) noexcept;
  TrackedCall(const TrackedCall&) = delete;
  TrackedCall& operator=(const TrackedCall&) = delete;
  ~TrackedCall() { end(absl::CancelledError()); }

  /// The function ended with `status`. Only the first call counts.
  void end(const absl::Status& status) noexcept;

 private:
  friend class Provider;

  Provider* provider_;  // null: no breaker, or ended
  TimePoint started_{};
  TimePoint due_{};
  std::optional<CircuitBreaker::Permit> permit_;  // guarded by the provider's calls_mutex_, with the rest below
  TrackedCall* next_ = nullptr;
  TrackedCall* previous_ = nullptr;
};

/// Threads: any member, from any thread.
class Provider {
 public:
  enum class Phase : std::uint8_t { kServing, kDraining, kStopped };

  /// `breaker` may be null.
  Provider(const WorkerPoolOptions& options, std::unique_ptr<WorkerPool> pool, std::shared_ptr<CircuitBreaker> breaker);
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return pool_->name(); }
  [[nodiscard]] WorkerPool& pool() const noexcept { return *pool_; }
  [[nodiscard]] const std::shared_ptr<CircuitBreaker>& breaker() const noexcept { return breaker_; }
  [[nodiscard]] Context until_shutdown_timeout() const;
  /// Whether its threads do nothing.
  [[nodiscard]] bool is_idle() const { return pool_->stats().busy == 0; }

  /// Lets one job through, or says why not: Unavailable.
  absl::Status admit(const SubmitOptions& options, CallTicket& ticket);

  /// Tells the breaker about calls whose time is up.
  void notice_overdue() noexcept ABSL_LOCKS_EXCLUDED(calls_mutex_);

  void set_phase(Phase phase) noexcept { phase_.store(phase, std::memory_order_relaxed); }
  [[nodiscard]] Phase phase() const noexcept { return phase_.load(std::memory_order_relaxed); }

  // These notice overdue calls first.
  [[nodiscard]] ProviderState state() noexcept;
  [[nodiscard]] ProviderStats stats();

 private:
  friend class TrackedCall;

  void enter(TrackedCall& call) noexcept ABSL_LOCKS_EXCLUDED(calls_mutex_);
  std::optional<CircuitBreaker::Permit> leave(TrackedCall& call) noexcept ABSL_LOCKS_EXCLUDED(calls_mutex_);

  Clock& clock_;
  const Duration processing_timeout_;
  const Duration shutdown_timeout_;
  const std::shared_ptr<CircuitBreaker> breaker_;  // outlives the pool, whose jobs have its permits

  Mutex calls_mutex_;  // leaf
  TrackedCall* calls_ ABSL_GUARDED_BY(calls_mutex_) = nullptr;
  // Nanoseconds on clock_: no call is due earlier. Written under calls_mutex_; read without it, to look only when there
  // may be something to see. Orders nothing; after a stale read a call is noticed by the next one who looks.
  world::Atomic<Duration::rep> next_due_;

  // Written by the router; orders nothing. A stale kServing lets a job come to the pool, which refuses it.
  world::Atomic<Phase> phase_{Phase::kServing};

  const std::unique_ptr<WorkerPool> pool_;  // last: its end waits for all functions
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
