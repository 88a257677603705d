// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The road of a provider's calls: what stands between a submission and the provider, and in what order.
///
///   submit --admit()--> CallTicket --the pool starts the job--> Passage --the function ends--> settled with its
///   outcome
///             |             |                                     |
///     phase, health,        | refused by the pool,                | lease, token and slot, then the function; its time
///     breaker               v or never ran:                       v is up: settled with DeadlineExceeded by the next
///                       ignored                                     one who looks, while the function goes on
///
/// A road never changes: `update` makes a new one, which shares with the old one what has a memory (`RoadParts`, life).
/// Calls keep the road they were admitted on, whichever pool runs them in the end.
///
/// The pool answers the caller of an overdue job by itself, and does not tell. But what the breaker thinks matters only
/// when somebody submits or asks, and these look for overdue calls first: a provider that hangs opens its breaker
/// without a timer or a thread of our own.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/concurrency_limiter.hpp"
#include "penstock/route/health_monitor.hpp"
#include "penstock/route/interceptor.hpp"
#include "penstock/route/provider_lease.hpp"
#include "penstock/route/rate_limiter.hpp"

namespace penstock::inline PENSTOCK_ABI {
struct ProviderOptions;
enum class ProviderState : std::uint8_t;
}  // namespace penstock::inline PENSTOCK_ABI

namespace penstock::inline PENSTOCK_ABI::detail {

class Passage;
class ProviderRoad;
class LimiterWait;

/// What a provider is from the time it is added until it is removed, however often it is updated.
class ProviderLife {
 public:
  enum class Phase : std::uint8_t { kStarting, kServing, kDraining, kStopped };

  explicit ProviderLife(Clock& clock) noexcept;
  ProviderLife(const ProviderLife&) = delete;
  ProviderLife& operator=(const ProviderLife&) = delete;

  void set_phase(Phase phase) noexcept { phase_.store(phase, std::memory_order_relaxed); }
  [[nodiscard]] Phase phase() const noexcept { return phase_.load(std::memory_order_relaxed); }

  /// Settles the calls whose time is up.
  void notice_overdue() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  void count_interceptor_exception() noexcept { interceptor_exceptions_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t interceptor_exceptions() const noexcept {
    return interceptor_exceptions_.load(std::memory_order_relaxed);
  }
  void count_update() noexcept { updates_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t updates() const noexcept { return updates_.load(std::memory_order_relaxed); }

 private:
  friend class Passage;
  friend class LimiterWait;

  void enter(Passage& passage) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void wake_slot_waits() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Whether the passage was still to be settled.
  bool leave(Passage& passage) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  Clock& clock_;

  // Written by the router; orders nothing. A stale kServing lets a job come to the pool, which refuses it.
  world::Atomic<Phase> phase_{Phase::kStarting};

  Mutex mutex_;  // leaf
  Passage* passages_ ABSL_GUARDED_BY(mutex_) = nullptr;
  LimiterWait* slot_waits_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // Nanoseconds on clock_: no call is due earlier. Written under mutex_; read without it, to look only when there may
  // be something to see. Orders nothing; after a stale read a call is noticed by the next one who looks.
  world::Atomic<Duration::rep> next_due_;

  world::Atomic<std::uint64_t> interceptor_exceptions_{0};  // counts: they order nothing
  world::Atomic<std::uint64_t> updates_{0};
};

/// The permit of a job that has not started. Destroyed before that, it tells the breaker to ignore the job: a job that
/// never ran says nothing about the provider.
class CallTicket {
 public:
  CallTicket() noexcept = default;
  CallTicket(CallTicket&&) noexcept = default;
  CallTicket& operator=(CallTicket&&) = delete;
  ~CallTicket() {
    if (permit_ && permit_->is_pending()) permit_->ignore();
  }

  [[nodiscard]] const ProviderRoad& road() const noexcept { return *road_; }
  [[nodiscard]] const std::shared_ptr<const ProviderRoad>& shared_road() const noexcept { return road_; }

 private:
  friend class Passage;
  friend class ProviderRoad;

  std::shared_ptr<const ProviderRoad> road_;
  std::optional<CircuitBreaker::Permit> permit_;
  Duration processing_timeout_{};
  TimePoint deadline_ = TimePoint::max();   // the caller's, if it is on the pool's clock
  std::unique_ptr<const std::string> tag_;  // if a part of the road looks at it
};

/// What has a memory, and so goes from one road to the next. Each may be null.
struct RoadParts {
  std::shared_ptr<CircuitBreaker> breaker;
  std::shared_ptr<HealthWatch> health;
  std::shared_ptr<RateLimiter> rate_limit;
  std::shared_ptr<ConcurrencyLimiter> limiter;

  /// What health and breaker make of a provider that serves: kReady, kDegraded or kIsolated.
  [[nodiscard]] ProviderState state() const noexcept;
};

/// Threads: any member, from any thread.
class ProviderRoad {
 public:
  ProviderRoad(const ProviderOptions& options, std::vector<std::shared_ptr<Interceptor>> interceptors,
               std::shared_ptr<ProviderLife> life, RoadParts parts);
  ProviderRoad(const ProviderRoad&) = delete;
  ProviderRoad& operator=(const ProviderRoad&) = delete;

  /// Lets one job through, or says why not: Unavailable. `self` is this road.
  absl::Status admit(const std::shared_ptr<const ProviderRoad>& self, const SubmitOptions& options,
                     CallTicket& ticket) const;

  /// Whether a call needs a context of its own, to wait with or to show.
  [[nodiscard]] bool needs_context() const noexcept {
    return lease_ != nullptr || parts_.rate_limit != nullptr || parts_.limiter != nullptr || !interceptors_.empty();
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] Clock& clock() const noexcept { return clock_; }
  [[nodiscard]] ProviderLife& life() const noexcept { return *life_; }
  [[nodiscard]] const std::shared_ptr<ProviderLife>& shared_life() const noexcept { return life_; }
  [[nodiscard]] const RoadParts& parts() const noexcept { return parts_; }
  [[nodiscard]] CircuitBreaker* breaker() const noexcept { return parts_.breaker.get(); }
  [[nodiscard]] bool is_healthy() const noexcept { return parts_.health == nullptr || parts_.health->is_healthy(); }
  [[nodiscard]] const std::shared_ptr<Retrier>& retrier() const noexcept { return retrier_; }
  [[nodiscard]] const ProviderLease& lease() const noexcept { return lease_; }
  [[nodiscard]] InterceptorChain interceptors() const noexcept { return interceptors_; }
  [[nodiscard]] Duration slot_timeout() const noexcept { return slot_timeout_; }

 private:
  const std::string name_;
  Clock& clock_;
  const Duration processing_timeout_;
  const std::vector<std::shared_ptr<Interceptor>> interceptors_;
  const std::shared_ptr<ProviderLife> life_;
  const RoadParts parts_;
  const std::shared_ptr<Retrier> retrier_;  // null: calls are not tried again
  const ProviderLease lease_;               // null: none
  const Duration health_interval_;
  const Duration slot_timeout_;
};

/// A worker that waits for a slot. A call that hangs gives its slot back when its time is up, but only once somebody
/// looks: so who waits wakes when the first call is due, and is woken when another one comes that is due earlier.
class LimiterWait {
 public:
  LimiterWait(ProviderLife& life, CancelSource source) noexcept ABSL_LOCKS_EXCLUDED(life.mutex_);
  LimiterWait(const LimiterWait&) = delete;
  LimiterWait& operator=(const LimiterWait&) = delete;
  ~LimiterWait() { end(); }

  /// When the first call is due, of those there were when this was made; until then whoever comes wakes it.
  [[nodiscard]] TimePoint due() const noexcept { return due_; }
  /// Whether it was woken. It is woken no more.
  bool end() noexcept ABSL_LOCKS_EXCLUDED(life_.mutex_);

 private:
  friend class ProviderLife;

  ProviderLife& life_;
  CancelSource source_;
  TimePoint due_{};
  bool listed_ = true;  // guarded by the life's mutex, with the rest
  bool woken_ = false;
  LimiterWait* next_ = nullptr;
  LimiterWait* previous_ = nullptr;
};

/// A function that is about to be called, or runs. Lives in the frame of the thread that calls it.
class Passage {
 public:
  /// Takes over the permit of `ticket`, and waits for what the function needs. `job` may be null where the road needs
  /// no context.
  Passage(CallTicket& ticket, const JobContext* job);
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;
  ~Passage() { end(absl::CancelledError()); }

  /// Why the function must not be called; OK if it may.
  [[nodiscard]] const absl::Status& refusal() const noexcept { return refusal_; }
  [[nodiscard]] HeldLease* lease() const noexcept { return lease_.get(); }

  /// The function ended with `status`. Only the first call counts.
  void end(const absl::Status& status) noexcept;
  /// How long the function took, once it has ended.
  [[nodiscard]] Duration took() const noexcept { return took_; }

 private:
  friend class ProviderLife;

  struct Overdue;

  /// What breaker and limiter are told, once.
  struct Settlement {
    std::optional<CircuitBreaker::Permit> permit;
    std::optional<ConcurrencyLimiter::Slot> slot;
    [[nodiscard]] bool is_open() const noexcept { return permit.has_value() || slot.has_value(); }
    void settle(const absl::Status& status, Duration took) noexcept;
  };

  absl::Status take_what_it_needs(const CallTicket& ticket, const JobContext& job);
  absl::Status take_slot(ConcurrencyLimiter& limiter, const std::string& tag, const Context& ctx);

  const std::shared_ptr<const ProviderRoad>& shared_road_;  // the ticket's, which outlives it
  const ProviderRoad& road_;
  absl::Status refusal_;
  std::unique_ptr<HeldLease> lease_;
  bool running_ = false;
  bool timed_ = false;
  bool listed_ = false;
  TimePoint started_{};
  TimePoint due_{};
  Duration took_{};
  Settlement settlement_;  // while listed: guarded by the life's mutex, with the rest below
  Passage* next_ = nullptr;
  Passage* previous_ = nullptr;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
