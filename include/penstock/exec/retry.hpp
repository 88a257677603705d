// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Trying again what failed: when it makes sense, after how long, and not when everybody else is trying again, too.
///
/// Three layers, each usable without the ones below it:
///
///   decide_retry   the decision: a failure and a time go in; "again in 420 ms" or "no, because" comes out. It knows
///                  no clock and no thread, and waits for nothing.
///   Retrier        the policy of one provider: the decision, a budget and figures, shared by all its calls. For code
///                  that has its own way to wait.
///   async_retry    makes the attempts of a coroutine and frees its thread between them; `retry` blocks a thread. Where
///                  an attempt is a job of a worker pool, `async_retry_on` (pool_retry.hpp) frees the worker, too.
///
/// How often an attempt is made again has three limits: `max_attempts` for one call, the deadline of its context, and
/// the budget for all calls together. The budget is what keeps a provider in trouble from getting three times the load.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/result_status.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/retry_after.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/detail/retry_wait.hpp"
#include "penstock/exec/retry_budget.hpp"
#include "penstock/metrics/counter.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// What a failure says about another attempt. A resource is what attempts can do with another one of: a key, a
/// connection, a host.
enum class RetryVerdict : std::uint8_t {
  kStop,                ///< None: it would fail again, or must not be made.
  kRetry,               ///< It may work, with the same resource.
  kRetryOtherResource,  ///< This resource has reached a limit: another one may work now, this one later.
  kRetryResourceDead,   ///< This resource is of no more use to the call; only another one may work.
};

/// Why there will be no other attempt.
enum class RetryStop : std::uint8_t {
  kNone,        ///< There will be one.
  kVerdict,     ///< The verdict was kStop.
  kAttempts,    ///< `max_attempts` were made.
  kNoResource,  ///< The verdict was kRetryResourceDead, and attempts have no other resource.
  kBreaker,     ///< The circuit breaker is open.
  kRetryAfter,  ///< The other side wants a longer wait than `max_retry_after`.
  kDeadline,    ///< The deadline comes before the next attempt, or came.
  kBudget,      ///< Too many calls were retried lately.
  kCancelled,   ///< The call was cancelled.
  kAbandoned,   ///< An attempt threw, or the coroutine was destroyed.
};
inline constexpr std::size_t kRetryStops = 10;

/// The names of these in lower case with underscores, such as "other_resource" and "no_resource".
std::string_view to_string(RetryVerdict verdict) noexcept;
std::string_view to_string(RetryStop stop) noexcept;

/// The verdict on a failure where nothing else is known:
///
///   Unavailable, Aborted                         kRetry
///   ResourceExhausted                            kRetryOtherResource
///   Unauthenticated, PermissionDenied            kRetryResourceDead
///   all others                                   kStop; DeadlineExceeded, too: the caller's time ran out
///
/// Where a pool refuses or gives up, it says how far things had come (`failure_stage`). Of these only a
/// DeadlineExceeded of the stage "run" is kRetry, and what says when to come again (`retry_after`), such as a pool of
/// resources that all rest; a full queue, say, is kStop, for it is our own overload and not the provider's.
RetryVerdict classify_retry(const absl::Status& status);

struct RetryOptions {
  std::string name = "unnamed";  ///< For messages and metrics; at most 256 bytes.

  std::uint32_t max_attempts = 3;                     ///< The first one counts; 1 never retries. [1, 1000000]
  Duration initial = std::chrono::milliseconds(500);  ///< Before the second attempt; 0 does not wait. [0, max]
  Duration max = std::chrono::seconds(5);             ///< Before any attempt.
  double multiplier = 2.0;                            ///< From each wait to the next. [1, inf)
  double jitter = 0.2;                                ///< The random part of a wait: 0.2 is 20 % less to more. [0, 1]

  /// A failure may say how long to wait (`with_retry_after`), which wins over the times above. Calls that would have to
  /// wait longer than this end instead.
  Duration max_retry_after = std::chrono::minutes(1);
  /// Attempts can take another resource, as the verdicts tell them to. Then what a failure wants to be waited for holds
  /// for its resource, not for the next attempt with another one. Otherwise a dead resource ends the call.
  bool rotates_resources = false;

  RetryBudgetOptions budget = {};

  /// `classify_retry` if empty, or if it throws. By many threads at once.
  std::function<RetryVerdict(const absl::Status&)> classify = {};
  /// Whether a circuit breaker refuses calls now: asked when a retry is decided on, and after its wait, by calls that
  /// were promised a retry then; so it is not the place to count calls. By many threads at once. One that throws has
  /// said no.
  std::function<bool()> breaker_open = {};
  /// 0: the waits differ from run to run. Otherwise they follow from it, for tests.
  std::uint64_t seed = 0;

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

/// min(initial * multiplier^retry, max), times a number from 1 - jitter (unit_random = 0) to 1 + jitter (1), and again
/// at most max: the wait before the second attempt for retry = 0, before the third for 1. For valid options it is never
/// negative, however large `retry`; `unit_random` is held in [0, 1].
Duration backoff_for(const RetryOptions& options, std::uint32_t retry, double unit_random) noexcept;

/// `status` with " (after 3 attempts)" at the end of its message; its payloads stay. With one attempt, unchanged.
absl::Status with_attempts(const absl::Status& status, std::uint32_t attempts);

/// A failed attempt, as far as it matters.
struct RetryFailure {
  std::uint32_t attempt = 1;  ///< From 1.
  RetryVerdict verdict = RetryVerdict::kStop;
  std::optional<Duration> retry_after = {};  ///< What the failure asks for.
  TimePoint now{};
  TimePoint deadline = TimePoint::max();
  bool cancelled = false;
  bool breaker_open = false;
  double unit_random = 0.5;  ///< [0, 1]
};

struct RetryDecision {
  RetryStop stop = RetryStop::kNone;
  RetryVerdict verdict = RetryVerdict::kStop;
  Duration wait{};  ///< Until the next attempt; of a stop by kRetryAfter, kDeadline, kBudget, what it would have been.
  TimePoint at{};   ///< now + wait
  std::optional<Duration> retry_after = {};  ///< What the failure asked for: how long to let its resource rest.

  [[nodiscard]] bool retries() const noexcept { return stop == RetryStop::kNone; }
};

/// What to do after `failure`. Of the reasons to stop the first one in this order counts: kCancelled, kVerdict,
/// kAttempts, kNoResource, kBreaker, kRetryAfter, kDeadline, kBudget. A token is withdrawn from `budget`, which may be
/// null, only if there is no other reason. `options` must be valid.
RetryDecision decide_retry(const RetryOptions& options, const RetryFailure& failure, RetryBudget* budget) noexcept;

/// What a retrier has seen since it was made.
///
///   calls    = running + succeeded_first + succeeded_after_retry + all of stops
///   attempts = calls + retries
struct RetryStats {
  std::uint64_t calls = 0;
  std::uint64_t retries = 0;
  std::uint64_t attempts = 0;
  std::uint64_t running = 0;  ///< Calls that have not ended.
  std::uint64_t succeeded_first = 0;
  std::uint64_t succeeded_after_retry = 0;
  std::array<std::uint64_t, kRetryStops> stops{};
  std::uint64_t caught_exceptions = 0;  ///< Of `classify` and `breaker_open`.
  Duration backoff_total{};             ///< All waits that were decided on, whether or not they were waited out.

  [[nodiscard]] std::uint64_t stopped(RetryStop why) const noexcept { return stops[static_cast<std::size_t>(why)]; }
  [[nodiscard]] std::uint64_t exhausted() const noexcept { return stopped(RetryStop::kAttempts); }
  [[nodiscard]] std::uint64_t budget_denied() const noexcept { return stopped(RetryStop::kBudget); }
};

/// What the caller of `Retrier::after_failure` knows beside the failure.
struct RetryScene {
  bool cancelled = false;
  bool breaker_open = false;  ///< `RetryOptions::breaker_open` is asked as well.
};

/// The retry policy of one provider. It never waits and reads no clock; who uses it directly keeps to this:
///
///     if (!retrier.begin(n)) return last;                    // before attempt n, from 1; false: the call has ended
///     ...
///     retrier.succeeded(n);                                  // it succeeded: the call has ended
///
///     const RetryDecision next = retrier.after_failure(n, status, now, deadline);     // it failed
///     if (next.retries()) return again_at(next.at, n + 1);   // wait; then from the top
///     if (next.stop == RetryStop::kAttempts) status = with_attempts(status, n);       // the call has ended
///
///     retrier.stopped(RetryStop::kCancelled);                // it has ended while it waited for the next attempt
///
/// Threads: any member, from any thread.
class Retrier {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`.
  explicit Retrier(RetryOptions options = {});
  Retrier(const Retrier&) = delete;
  Retrier& operator=(const Retrier&) = delete;

  /// An attempt begins; the first one of a call is 1, and pays into the budget. False if it must not, since the circuit
  /// breaker has opened while the call waited for it: then the call has ended, by kBreaker. The first attempt always
  /// begins. Calls `options.breaker_open`. Cost: a few ns besides; no lock.
  [[nodiscard]] bool begin(std::uint32_t attempt = 1) noexcept;
  /// The attempt succeeded, and the call has ended.
  void succeeded(std::uint32_t attempt) noexcept;
  /// The attempt failed with `status`: whether there is to be another one, and when. If not, the call has ended. Calls
  /// `options.classify` and `options.breaker_open`.
  RetryDecision after_failure(std::uint32_t attempt, const absl::Status& status, TimePoint now,
                              TimePoint deadline = TimePoint::max(), RetryScene scene = {}) noexcept;
  /// The call has ended while no attempt was running, or without an answer. `why` is not kNone.
  void stopped(RetryStop why) noexcept;

  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  [[nodiscard]] const RetryOptions& options() const noexcept { return options_; }
  [[nodiscard]] const RetryBudget& budget() const noexcept { return budget_; }
  /// Exact once nobody uses the retrier; before, no snapshot shows more ends than beginnings.
  [[nodiscard]] RetryStats stats() const noexcept;
  /// Writes the metrics `penstock_retry_...`, with the label retry = name().
  void collect(MetricSink& sink) const;

 private:
  // In the order in which a call counts them. The stops follow, in the order of RetryStop.
  enum Count : std::size_t { kCalls, kRetries, kCaught, kSucceededFirst, kSucceededLater, kFirstStop };

  [[nodiscard]] RetryVerdict classify(const absl::Status& status) noexcept;
  [[nodiscard]] bool is_breaker_open() noexcept;
  [[nodiscard]] double unit_random() noexcept;
  void count_stop(RetryStop why) noexcept;

  const RetryOptions options_;
  RetryBudget budget_;
  Counters<kFirstStop + kRetryStops> counts_;
  LatencyHistogram backoff_;
  // How many random numbers were drawn, if there is a seed. Orders nothing: each value is drawn once.
  detail::world::Atomic<std::uint64_t> drawn_{0};
};

/// One attempt, as its function sees it. It lives until the attempt has ended.
struct RetryAttempt {
  std::uint32_t number = 1;  ///< From 1.
  std::uint32_t max_attempts = 1;
  RetryVerdict verdict = RetryVerdict::kRetry;  ///< On the attempt before.
  absl::Status previous = {};                   ///< What that one ended with; OK if this is the first.
  const Context& context;                       ///< The call's.

  [[nodiscard]] bool is_last() const noexcept { return number >= max_attempts; }
};

namespace detail {

/// One call. Its end is reported to the retrier on every path: one that is destroyed before is abandoned.
///
///   begin -> the attempt -> settle -> kReturn | kEnd | the wait -> begin ...
class RetryRun {
 public:
  enum class Next : std::uint8_t {
    kReturn,  ///< The attempt's result is that of the call.
    kEnd,     ///< `take_status` is.
    kWait,    ///< For the end of `wait_context`.
  };

  /// Both outlive it.
  RetryRun(Retrier& retrier, const Context& ctx) noexcept;
  ~RetryRun();
  RetryRun(const RetryRun&) = delete;
  RetryRun& operator=(const RetryRun&) = delete;

  /// False if the call has ended while it waited: then `take_status` is the result.
  [[nodiscard]] bool begin();
  [[nodiscard]] const RetryAttempt& attempt() const noexcept { return attempt_; }
  [[nodiscard]] Next settle(const absl::Status& status);
  /// In place of `settle`: whatever the verdict would be, there is no other attempt.
  void stop() noexcept;

  /// The call's context, which ends when the next attempt is due.
  [[nodiscard]] Context wait_context() const { return ctx_.with_deadline(at_); }
  /// Waits for that on the calling thread.
  void block() const;

  [[nodiscard]] absl::Status take_status() noexcept { return std::move(status_); }

 private:
  void end_with_context();

  Retrier& retrier_;
  const Context& ctx_;
  RetryAttempt attempt_;
  std::uint32_t made_ = 0;  // attempts
  bool open_ = false;       // begun, and its end not reported
  TimePoint at_{};
  absl::Status status_;
};

}  // namespace detail

/// Awaits `function(attempt)`, and again after a wait for as long as it fails and `retrier` allows it. `function` takes
/// a `const RetryAttempt&`, which lives until its task has ended, and returns a `Task<absl::Status>` or a
/// `Task<absl::StatusOr<T>>`. Between two attempts the coroutine is suspended, and no thread waits.
///
///     absl::StatusOr<Answer> answer = co_await async_retry(
///         retrier, [&](const RetryAttempt& attempt) { return ask(question, attempt.context); }, ctx);
///
/// Returns: what the last attempt did, with "(after 3 attempts)" if these were all, and the same if the circuit breaker
///          opens before the next one; once `ctx` ends between two attempts, why it ended, with the last failure in the
///          message. Throws: what `function` or its task throws;
///          std::bad_alloc or std::system_error if the clock of `ctx` needs a timer thread and cannot start it.
/// Threads: one runs it at a time, as for any coroutine. `retrier` and the clock of `ctx` outlive it. It may be
///          destroyed where it is suspended. Cost: one allocation, of its frame; a wait takes none.
template <class F>
detail::RetryTask<F> async_retry(Retrier& retrier, F function, Context ctx = Context::background());

/// The same on the calling thread, for code that has a thread of its own: `function` returns an `absl::Status` or an
/// `absl::StatusOr<T>`. In a worker of a pool it takes that worker away from all others: see `async_retry_on`.
///
/// Blocks: in the attempts, and between them, until their time has come or `ctx` ends.
template <class F>
detail::RetryResult<F> retry(Retrier& retrier, F&& function, const Context& ctx = Context::background());

// --- implementation ---

template <class F>
detail::RetryTask<F> async_retry(Retrier& retrier, F function, Context ctx) {
  using Next = detail::RetryRun::Next;
  detail::RetryRun run(retrier, ctx);
  while (run.begin()) {
    auto result = co_await function(run.attempt());
    const Next next = run.settle(detail::status_of(result));
    if (next == Next::kReturn) co_return std::move(result);
    if (next == Next::kEnd) break;
    co_await detail::RetryWait(run.wait_context());
  }
  co_return run.take_status();
}

template <class F>
detail::RetryResult<F> retry(Retrier& retrier, F&& function, const Context& ctx) {
  using Next = detail::RetryRun::Next;
  detail::RetryRun run(retrier, ctx);
  while (run.begin()) {
    detail::RetryResult<F> result = function(run.attempt());
    const Next next = run.settle(detail::status_of(result));
    if (next == Next::kReturn) return result;
    if (next == Next::kEnd) break;
    run.block();
  }
  return run.take_status();
}

}  // namespace penstock::inline PENSTOCK_ABI
