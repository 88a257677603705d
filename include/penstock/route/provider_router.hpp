// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One road for each provider: jobs go by the provider's name to a pool of its own, past all that guards it.

#include <concepts>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/detail/provider.hpp"
#include "penstock/route/detail/provider_table.hpp"
#include "penstock/route/detail/routed_call.hpp"
#include "penstock/route/provider_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What an update came to.
struct UpdateReport {
  std::size_t moved = 0;   ///< Jobs that waited in the old queue, and now do in the new one.
  ShutdownReport retired;  ///< What became of those that ran.
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
/// A function is one of nothing, of a `const JobContext&`, or of a `const ProviderCall&`, which has what was leased for
/// it. On its way it passes, in this order,
///
///   where it is submitted   the provider's health, its breaker, its queue
///   in its worker           the interceptors, the lease, the rate limit, the concurrency limit
///
/// and whatever refuses it there answers its job. Breaker and limiter learn the outcome of every function that ran: the
/// status it returned, an exception, or that its time was up. A job whose function never ran (refused, expired in the
/// queue, called off, without a lease, answered by an interceptor) tells them nothing.
///
/// Threads: any member, from any thread, also from jobs; a job that takes its own provider out is not waited for.
class ProviderRouter {
 public:
  /// A list of providers, in the order in which they are to be asked.
  using Names = std::vector<std::string>;

  explicit ProviderRouter(ProviderRouterOptions options = {});
  /// `shutdown` with each pool's `shutdown_timeout`, then waits for the threads. Not called from a job.
  ///
  /// Blocks: while a function runs that ignores its cancellation, also one of a provider that was removed, or a health
  ///         check.
  ~ProviderRouter();
  ProviderRouter(const ProviderRouter&) = delete;
  ProviderRouter& operator=(const ProviderRouter&) = delete;

  // Administration. One of these at a time for each name: another one is refused with FailedPrecondition, or with
  // AlreadyExists where it would add.

  /// Adds a provider; `name` has 1 to 200 bytes. Until it is there its state is kStarting. The clock of one with health
  /// checks or scaling outlives the router.
  ///
  /// Returns: InvalidArgument (no name, bad options), OutOfRange (name too long), AlreadyExists, FailedPrecondition
  ///          (shut down), why the pool could not be made, or what a health check returned that has to pass.
  /// Blocks:  until the pool's workers are there, and for a first health check that is to be waited for.
  absl::Status add(std::string name, ProviderOptions options) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Serves a provider by other options from now on. First a new pool is made; if that fails, all is as it was. Then
  /// new jobs go to that one, what waits in the old queue is moved to the new one, and the old pool finishes what it
  /// runs; what it still runs when `ctx` ends is called off. No job is lost or run twice, and none is refused because
  /// of the update. Breaker, limits and health stay what they are and get other options (`set_options` of each), with
  /// their state, their figures, and all that is out or waits; what had no such part gets a new one. The pool, the
  /// retries and the scaler begin anew. The clock cannot be changed. A job that is moved keeps the parts of the road
  /// that it was admitted on.
  ///
  /// Returns: what was moved, and what became of the rest; NotFound, InvalidArgument, FailedPrecondition (another
  ///          change is under way, or the router was shut down), or why the new pool could not be made.
  /// Blocks:  until the new workers are there, and then until all that the old pool runs has ended, or `ctx` ends.
  absl::StatusOr<UpdateReport> update(std::string_view name, ProviderOptions options,
                                      const Context& ctx = Context::background()) ABSL_LOCKS_EXCLUDED(mutex_);

  /// Ends the intake of a provider, lets what it has accepted finish until `ctx` ends, calls off the rest, and takes
  /// the provider out. Each job that is submitted meanwhile is run, or refused. The name may be used again afterwards,
  /// even if a function still runs; its threads are waited for by the router's destructor at the latest.
  ///
  /// Returns: what the pool's shutdown came to; NotFound; FailedPrecondition (another change is under way, or the
  ///          router was shut down).
  /// Blocks:  until everything has finished, or `ctx` ends.
  absl::StatusOr<ShutdownReport> remove(std::string_view name, const Context& ctx = Context::background())
      ABSL_LOCKS_EXCLUDED(mutex_);

  // One job.

  /// Has `function` called once by a worker of `provider`, as `WorkerPool::submit` does.
  ///
  /// Blocks:  as the pool's overflow policy says, for that provider's queue only.
  /// Returns: the job, an `absl::StatusOr<Job<R>>`; or, with `function` untouched: NotFound, Unavailable (starting;
  ///          isolated, for how long says `retry_after(status)`; draining), or what the pool refuses with.
  /// Cost:    that of the pool; a look-up under a lock that few share; with a breaker, two more short locks.
  template <class F>
  auto submit(std::string_view provider, F&& function, SubmitOptions options = {})
      -> absl::StatusOr<Job<detail::RoutedResult<F>>>;

  /// The same with the first of `providers` that takes it: all but the last are asked without waiting for a place.
  ///
  /// Returns: the job; or, if all refuse, the code and the payloads of the last one, and the texts of all.
  template <class F>
  auto submit_with_fallback(const Names& providers, F&& function, const SubmitOptions& options = {})
      -> absl::StatusOr<Job<detail::RoutedResult<F>>>;

  /// `co_await router.async_submit(...)`: `submit` for a coroutine, which is suspended while it waits for a place.
  /// `function` is taken in any case, and destroyed with the task if it was not called. Options have to be in a
  /// variable (see `WorkerPool::async_submit`); they are copied. The router outlives the task.
  template <class F>
  auto async_submit(std::string provider, F&& function) -> Task<absl::StatusOr<Job<detail::RoutedResult<F>>>>;
  template <class F>
  auto async_submit(std::string provider, F&& function, const SubmitOptions& options)
      -> Task<absl::StatusOr<Job<detail::RoutedResult<F>>>>;
  template <class F>
  void async_submit(std::string provider, F&& function, SubmitOptions&& options) = delete;

  // A call: as many jobs as it takes.

  /// Asks the first of `providers`, again as often as its `retry` allows, and then the next ones, until one has
  /// answered, or failed in a way that would be the same elsewhere (`ProviderRouterOptions::falls_back`). Each attempt
  /// is a job of its own with a copy of `function`; between two attempts neither a worker nor a thread waits. The jobs
  /// have a `call_id` in common, and number their attempts from 1 for each provider. Dropped while it is suspended, it
  /// calls off the job that it waits for.
  ///
  /// Returns: the answer; or what the last attempt failed with, after several providers with the texts of all; once
  ///          `options.context` ends, why it did.
  /// Threads: as `async_retry_on`. The router outlives the task. Cost: a few coroutine frames, and the jobs.
  template <class F>
  auto async_call(Names providers, F&& function) -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer>;
  template <class F>
  auto async_call(Names providers, F&& function, const SubmitOptions& options)
      -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer>;
  template <class F>
  void async_call(Names providers, F&& function, SubmitOptions&& options) = delete;

  /// The same for a thread, which waits for the answer. A job that calls its own provider takes a worker away from the
  /// call that it waits for: where there is no other one, that is for ever.
  template <class F>
  auto call(Names providers, F&& function, const SubmitOptions& options = {}) {
    return sync_wait(async_call(std::move(providers), std::forward<F>(function), options));
  }

  /// Lets everybody finish, all providers at once, until `ctx` ends; then calls off what is left. Nothing can be
  /// submitted or added any more; numbers can still be read. Checks and scaling end. May be called again; from a job it
  /// does not wait for that one.
  std::map<std::string, ShutdownReport> shutdown(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);

  // Parts of a provider, for operators and listeners; null if there is none. They may outlive the provider, and belong
  // to it: it changes their options.
  [[nodiscard]] std::shared_ptr<CircuitBreaker> breaker(std::string_view provider) const;
  [[nodiscard]] std::shared_ptr<ConcurrencyLimiter> limiter(std::string_view provider) const;
  [[nodiscard]] std::shared_ptr<RateLimiter> rate_limit(std::string_view provider) const;
  [[nodiscard]] std::shared_ptr<HealthWatch> health(std::string_view provider) const;

  // Observers. They tell the breakers about calls whose time is up, and so may run listeners.
  [[nodiscard]] absl::StatusOr<ProviderState> state(std::string_view provider) const;
  [[nodiscard]] std::map<std::string, ProviderStats> stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// All names, sorted.
  [[nodiscard]] std::vector<std::string> providers() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// Writes the metrics of all parts of all providers, and `penstock_provider_...`, with the label `provider`; those of
  /// health checks have the label `watch` in its place.
  void collect(MetricSink& sink) const ABSL_LOCKS_EXCLUDED(mutex_);
  /// The whole picture: the states and main numbers of all providers as one JSON object.
  [[nodiscard]] std::string state_json() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Claim;
  struct Upkeep;
  using ProviderPtr = std::shared_ptr<detail::Provider>;
  using Providers = std::vector<ProviderPtr>;
  using Retired = std::list<ProviderPtr>;

  /// `F`: as a forwarding reference is deduced.
  template <class F>
  auto submit_to(detail::Provider& provider, std::remove_reference_t<F>& function, const SubmitOptions& options)
      -> absl::StatusOr<Job<detail::RoutedResult<F>>>;
  template <class F>
  auto submit_later(std::string provider, F function, SubmitOptions options)
      -> Task<absl::StatusOr<Job<detail::RoutedResult<F>>>>;
  template <class F>
  auto attempt(const std::string& provider, F function, SubmitOptions options, std::uint64_t& call_id)
      -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer>;
  template <class F>
  auto call_all(Names providers, F function, SubmitOptions options)
      -> Task<typename detail::JobTraits<detail::RoutedResult<F>>::Answer>;

  absl::Status make_parts(const ProviderOptions& options, detail::RoadParts& parts);
  static absl::Status change_parts(const ProviderOptions& options, const detail::RoadParts& former,
                                   const detail::RoadParts& parts);
  absl::StatusOr<ProviderPtr> make_provider(const ProviderOptions& options, std::shared_ptr<detail::ProviderLife> life,
                                            const detail::RoadParts* former);
  Upkeep& upkeep(Clock& clock) ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] absl::Status unknown(std::string_view name) const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool falls_back(const absl::Status& failure) const noexcept;
  [[nodiscard]] Providers all() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::shared_ptr<const detail::ProviderTable::Map> publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<const detail::ProviderTable::Map> put(const ProviderPtr& provider)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void take_out(std::string_view name) ABSL_LOCKS_EXCLUDED(mutex_);
  void reap_soon() ABSL_LOCKS_EXCLUDED(mutex_);
  void reap() ABSL_LOCKS_EXCLUDED(mutex_);

  const ProviderRouterOptions options_;
  detail::ProviderTable table_;

  // Of those who add, remove and observe; before the locks of table_. Never held while a pool is made, waited for or
  // freed.
  mutable Mutex mutex_;
  // What checks and scales, for each clock; made when it is first needed. Outlives the providers.
  std::map<Clock*, std::unique_ptr<Upkeep>> upkeep_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, ProviderPtr, std::less<>> providers_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> claimed_ ABSL_GUARDED_BY(mutex_);  // names whose provider is being made, changed or taken out
  // Removed providers, and those that were replaced by an update. A submission may still hold one, or a function run;
  // they are freed by a thread of the router's, so that nobody comes to wait for another provider's threads.
  Retired retired_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<PeriodicTask> reaper_ ABSL_GUARDED_BY(mutex_);  // null until there is something to free
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace penstock::inline PENSTOCK_ABI

#include "penstock/route/detail/router_bodies.hpp"  // IWYU pragma: keep
