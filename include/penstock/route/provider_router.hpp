// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One road for each provider: jobs go by the provider's name to a pool of its own, past a circuit breaker of its own.

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/detail/provider.hpp"
#include "penstock/route/detail/provider_table.hpp"
#include "penstock/route/detail/routed_call.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// How one provider is served.
struct ProviderOptions {
  WorkerPoolOptions pool;  ///< Its name is the provider's.
  /// Without one the provider is never isolated. Its name is the provider's, its clock the pool's.
  std::optional<CircuitBreakerOptions> breaker = std::nullopt;

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// What a job meets that is submitted now.
enum class ProviderState : std::uint8_t {
  kReady,     ///< It is let through.
  kDegraded,  ///< The breaker lets only probes through.
  kIsolated,  ///< The breaker is open: it is refused.
  kDraining,  ///< The provider is being removed, or the router shut down: it is refused while the others finish.
  kStopped,   ///< The same, and nothing runs any more.
};

/// The name of `state` in lower case, such as "ready".
std::string_view to_string(ProviderState state) noexcept;

struct ProviderStats {
  ProviderState state = ProviderState::kReady;
  WorkerPoolStats pool;
  std::optional<CircuitBreakerStats> breaker;
};

/// Sends jobs to providers, each of which has queue, workers, breaker and counts of its own. A provider that hangs
/// fills its own queue and keeps its own workers; jobs for the others do not notice.
///
///     ProviderRouter router;
///     absl::Status added = router.add("openai", {.pool = {.workers = 10}, .breaker = CircuitBreakerOptions{}});
///     auto job = router.submit("openai", [&](const JobContext& job) { return call(job.context); });
///     if (!job.ok()) return job.status();  // unknown, isolated or full: at once, and the text says which
///     auto response = job->get(ctx);
///
/// The breaker of a provider learns the outcome of every job that ran: the status it returned, an exception, or that
/// its time was up. A job that never ran (refused, expired in the queue, called off) tells it nothing.
///
/// Threads: any member, from any thread, also from jobs; a job that takes its own provider out is not waited for.
class ProviderRouter {
 public:
  ProviderRouter();
  /// `shutdown` with each pool's `shutdown_timeout`, then waits for the threads. Not called from a job.
  ///
  /// Blocks: while a function runs that ignores its cancellation, also one of a provider that was removed.
  ~ProviderRouter();
  ProviderRouter(const ProviderRouter&) = delete;
  ProviderRouter& operator=(const ProviderRouter&) = delete;

  /// Adds a provider; `name` has 1 to 256 bytes.
  ///
  /// Returns: InvalidArgument (no name, bad options), OutOfRange (name too long), AlreadyExists, FailedPrecondition
  ///          (shut down), or why the pool could not be made.
  /// Blocks:  until the pool's workers are there.
  absl::Status add(std::string name, ProviderOptions options) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Ends the intake of a provider, lets what it has accepted finish until `ctx` ends, calls off the rest, and takes
  /// the provider out. Each job that is submitted meanwhile is run, or refused. The name may be used again afterwards,
  /// even if a function still runs; its threads are waited for by the router's destructor at the latest.
  ///
  /// Returns: what the pool's shutdown came to; NotFound; FailedPrecondition (being removed, or the router was shut
  /// down). Blocks:  until everything has finished, or `ctx` ends.
  absl::StatusOr<ShutdownReport> remove(std::string_view name, const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Has `function()` or `function(const JobContext&)` called once by a worker of `provider`, as `WorkerPool::submit`
  /// does.
  ///
  /// Blocks:  as the pool's overflow policy says, for that provider's queue only.
  /// Returns: the job, an `absl::StatusOr<Job<R>>`; or, with `function` untouched: NotFound, Unavailable (isolated, for
  ///          how long says `retry_after(status)`; draining), or what the pool refuses with.
  /// Cost:    that of the pool; a look-up under a lock that few share; with a breaker, three more short locks.
  template <class F>
  auto submit(std::string_view provider, F&& function, SubmitOptions options = {})
      -> absl::StatusOr<Job<typename detail::RoutedCall<F>::Result>>;

  /// Lets everybody finish, all providers at once, until `ctx` ends; then calls off what is left. Nothing can be
  /// submitted or added any more; numbers can still be read. May be called again.
  std::map<std::string, ShutdownReport> shutdown(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);

  /// The breaker of a provider, for operators and listeners; null if there is none. It may outlive its provider.
  [[nodiscard]] std::shared_ptr<CircuitBreaker> breaker(std::string_view provider) const;

  // Observers. They tell the breakers about calls whose time is up, and so may run listeners.
  [[nodiscard]] absl::StatusOr<ProviderState> state(std::string_view provider) const;
  [[nodiscard]] std::map<std::string, ProviderStats> stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// All names, sorted.
  [[nodiscard]] std::vector<std::string> providers() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// Writes the metrics of all pools and breakers, and `penstock_provider_state`, with the label `provider`.
  void collect(MetricSink& sink) const ABSL_LOCKS_EXCLUDED(mutex_);
  /// The states and main numbers of all providers as one JSON object.
  [[nodiscard]] std::string state_json() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Claim;
  using Providers = std::vector<std::shared_ptr<detail::Provider>>;
  using Retired = std::list<std::shared_ptr<detail::Provider>>;

  [[nodiscard]] absl::Status unknown(std::string_view name) const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] Providers all() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::shared_ptr<const detail::ProviderTable::Map> publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void free_retired() ABSL_LOCKS_EXCLUDED(mutex_);

  detail::ProviderTable table_;

  // Of those who add, remove and observe; before the locks of table_. Never held while a pool is made, waited for or
  // freed.
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<detail::Provider>, std::less<>> providers_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> claimed_ ABSL_GUARDED_BY(mutex_);  // names whose provider is being made or taken out
  // Removed providers. A submission may still hold one, or a function run; they are freed by who adds or removes later,
  // so that a submitter never comes to wait for another provider's threads.
  Retired retired_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// --- implementation ---

template <class F>
auto ProviderRouter::submit(std::string_view provider, F&& function, SubmitOptions options)
    -> absl::StatusOr<Job<typename detail::RoutedCall<F>::Result>> {
  const std::shared_ptr<detail::Provider> found = table_.find(provider);
  if (found == nullptr) return unknown(provider);
  detail::CallTicket ticket;
  if (absl::Status refusal = found->admit(options, ticket); !refusal.ok()) return refusal;
  return found->pool().submit(detail::RoutedCall<F>(function, std::move(ticket)), std::move(options));
}

}  // namespace penstock::inline PENSTOCK_ABI
