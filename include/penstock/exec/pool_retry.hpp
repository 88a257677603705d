// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Trying again on a pool: each attempt is a job, and between two of them neither a worker nor another thread waits.
///
///     absl::StatusOr<Answer> answer = co_await async_retry_on(
///         pool, retrier, [question](const RetryAttempt& attempt) { return ask(question, attempt.context); }, options);
///
/// `retry` in a job would keep its worker for all of the waits, and with a provider in trouble all workers would soon
/// be in such waits. Here the call is a coroutine: it submits an attempt, is suspended until that is answered, and then
/// until the next one is due. Later attempts go in front of the jobs that are queued by then: their call has waited
/// before.
///
/// Where an attempt needs something else that has to be waited for, say one of several API keys, the same is said with
/// the parts, and the wait for the key takes no worker either:
///
///     Task<absl::StatusOr<Answer>> attempt(const RetryAttempt& attempt) {
///       const AcquireOptions<Key> another{.filter = ...};               // by attempt.verdict
///       auto key = co_await keys.async_acquire(another, attempt.context);
///       const SubmitOptions options{.context = attempt.context, .front = attempt.number > 1};
///       auto job = co_await pool.async_submit([...](const JobContext& job) { ... }, options);
///       if (!job.ok()) co_return job.status();
///       co_return co_await *job;
///     }
///
///     auto answer = co_await async_retry(retrier, attempt, ctx);

#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/result_status.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/exec/worker_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Has `function(attempt)` called as a job of `pool`, and again after a wait for as long as it fails and `retrier`
/// allows it. `function` returns an `absl::Status` or an `absl::StatusOr<T>`, and is copied for each attempt: one that
/// has outrun its time may still run beside the next. `attempt.context` is the job's own: it ends with
/// `options.context`, when the time of the attempt is up, and when the pool stops waiting for it at shutdown.
///
/// Each attempt is a job with an id of its own; they have in common the `call_id`, which is the id of the first one
/// unless `options` say another. All are submitted with `options`, those after the first with `front`.
/// What the pool answers in the place of `function` is a failure like others: unless `RetryOptions::classify` says
/// otherwise, an attempt that has run for too long is made again, and a full queue, too long a wait in it or an
/// exception ends the call. A pool that is shut down always does. Waits are on the clock of `options.context`, or on
/// the pool's if that context never ends; only a deadline on that clock keeps the retrier from a wait that would
/// outlast it.
///
/// Returns: what the last attempt did, with "(after 3 attempts)" if these were all, and the same if the circuit breaker
///          opens before the next one; once `options.context` ends between two attempts, why it ended, with the last
///          failure in the message. While an attempt runs, its answer is waited for also if the context has ended:
///          `function` should look at `attempt.context`.
/// Threads: one runs it at a time, as for any coroutine: it may run on `pool`. For a thread that can wait,
///          `sync_wait(async_retry_on(...))` does; in a job of the same pool that could be for ever. `pool`, `retrier`
///          and the clock outlive it. It may be destroyed where it is suspended: then its job is called off, too.
/// Throws:  what copying or moving `function` throws; std::bad_alloc or std::system_error if the clock needs a timer
///          thread and cannot start it.
/// Cost:    one allocation, of its frame, and those of a job with a context for each attempt; a wait takes none.
template <class F>
Task<detail::RetryResult<F>> async_retry_on(WorkerPool& pool, Retrier& retrier, F function);
template <class F>
Task<detail::RetryResult<F>> async_retry_on(WorkerPool& pool, Retrier& retrier, F function,
                                            const SubmitOptions& options);
/// As for `async_submit`, options have to be in a variable.
template <class F>
void async_retry_on(WorkerPool& pool, Retrier& retrier, F function, SubmitOptions&& options) = delete;

// --- implementation ---

namespace detail {

/// The job that an attempt is.
template <class F>
class PoolAttempt {
 public:
  PoolAttempt(const F& function, const RetryAttempt& attempt)
      : function_(function),
        number_(attempt.number),
        max_attempts_(attempt.max_attempts),
        verdict_(attempt.verdict),
        previous_(attempt.previous) {}

  RetryResult<F> operator()(const JobContext& job) {
    const RetryAttempt attempt{number_, max_attempts_, verdict_, std::move(previous_), job.context};
    return std::invoke(function_, attempt);
  }

 private:
  F function_;
  std::uint32_t number_;
  std::uint32_t max_attempts_;
  RetryVerdict verdict_;
  absl::Status previous_;
};

/// Calls off a job that nobody waits for any more.
template <class R>
class CalledOff {
 public:
  explicit CalledOff(Job<R>& job) noexcept : job_(job) {}
  CalledOff(const CalledOff&) = delete;
  CalledOff& operator=(const CalledOff&) = delete;
  ~CalledOff() {
    if (!job_.is_done()) job_.cancel();
  }

 private:
  Job<R>& job_;
};

template <class F>
Task<RetryResult<F>> retry_on_pool(WorkerPool& pool, Retrier& retrier, F function, SubmitOptions options) {
  if (is_empty_function(function)) co_return absl::InvalidArgumentError("async_retry_on: there is no function to call");
  if (!options.context.can_end()) options.context = Context(pool.clock());
  const Context ctx = options.context;
  RetryRun run(retrier, ctx);
  while (run.begin()) {
    PoolAttempt<F> attempt(function, run.attempt());
    options.attempt = run.attempt().number;
    auto job = co_await pool.async_submit(std::move(attempt), options);
    options.front = true;
    if (!job.ok()) {
      const absl::Status refusal = job.status();
      if (absl::IsUnavailable(refusal)) {  // for good: the pool is shut down
        run.stop();
        co_return refusal;
      }
      const RetryRun::Next next = run.settle(refusal);
      if (next == RetryRun::Next::kReturn) co_return refusal;
      if (next == RetryRun::Next::kEnd) break;
    } else {
      if (options.call_id == 0) options.call_id = job->id();
      const CalledOff<RetryResult<F>> called_off(*job);
      RetryResult<F> result = co_await *job;
      const RetryRun::Next next = run.settle(status_of(result));
      if (next == RetryRun::Next::kReturn) co_return std::move(result);
      if (next == RetryRun::Next::kEnd) break;
    }
    co_await RetryWait(run.wait_context());
  }
  co_return run.take_status();
}

}  // namespace detail

template <class F>
Task<detail::RetryResult<F>> async_retry_on(WorkerPool& pool, Retrier& retrier, F function) {
  return detail::retry_on_pool(pool, retrier, std::move(function), SubmitOptions());
}

template <class F>
Task<detail::RetryResult<F>> async_retry_on(WorkerPool& pool, Retrier& retrier, F function,
                                            const SubmitOptions& options) {
  return detail::retry_on_pool(pool, retrier, std::move(function), options);
}

}  // namespace penstock::inline PENSTOCK_ABI
