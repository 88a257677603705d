// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Runs a swap scheduler: requests for models come in from threads and coroutines, processes are stopped and started
/// through a back end, and each request is told when its model serves it.

#include <coroutine>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/swap/detail/happening.hpp"
#include "penstock/swap/swap_handles.hpp"
#include "penstock/swap/swap_model.hpp"
#include "penstock/swap/swap_runner_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

namespace detail {
class SwapRunnerCore;
struct SwapUnloadState;

[[nodiscard]] Happening& end_of(SwapUnloadState& unload) noexcept;
}  // namespace detail

class SwapAcquireAwaiter;
class SwapUnloadAwaiter;

/// Decides which model runs, for threads and coroutines that want one, and has a back end carry it out.
///
///     SwapRunner runner({.scheduler = {.name = "gpu", .models = {{.name = "llama-8b"}, {.name = "qwen-30b"}}},
///                        .backend = std::make_shared<FunctionBackend>(...)});
///
///     absl::StatusOr<SwapLease> lease = runner.acquire("qwen-30b", ctx);   // brought up first, if need be
///     if (!lease.ok()) return lease.status();
///     forward(request);                                                    // it stays up until the end of the scope
///
/// Events are decided one at a time, in the order in which they came, and what is decided is carried out before the
/// next one is looked at, without a lock; what the back end answers is an event again, even if it answers at once. A
/// grant is one compare-and-swap on the ticket, against its cancellation: who is slow, or has gone, delays nobody, and
/// a grant that nobody took does not count.
///
/// Which thread does what: whoever asks, cancels or ends a lease while nobody else decides, decides that at once, on
/// its own thread, and then what others have left meanwhile, at most 32 events and 32 grants of each. Whoever comes
/// while somebody decides leaves its event there and goes on; nobody waits for anything but the own grant. The runner's
/// own thread does the rest, and is woken for it: what the back end reports, what is due, unloads and the end; and it
/// goes on where a client comes to what may call code of yours: tasks begin, contexts end and coroutines are resumed on
/// it, never on the thread of a client that is about something else. With a planner that is not pairwise, or an
/// observer that is not quick, it decides all.
///
/// A request that is refused gets
///   - NotFound: no such model;
///   - ResourceExhausted: as many are let in as may be (the model's limit, or a bound of the queue); there was no
///   memory
///   - DeadlineExceeded: its deadline has come, or will before it can be served; the end of its context
///   - Unavailable: its model was unloaded, has ended, could not be brought up lately; or the runner is shut down
///   - Internal: the planner threw
///   - FailedPrecondition: in a forked child; or a wait on the runner's own thread, which nobody could end
///   - what the back end said, of a swap that failed
/// with a text that names the runner, the model and the numbers, the `failure_stage` "swap", and `retry_after` where
/// something is known about that.
///
/// A back end that throws, drops a task or answers twice is counted, and its task has failed. One that never answers
/// keeps its models' claims, so what depends on those waits on, each by its own context; the others go on.
///
/// After a fork, the child's copy refuses everything, and can be destroyed; the parent's goes on.
///
/// Threads: any member, from any thread; also from the back end, on the runner's thread, where what would wait is
/// refused. Order: what was done before a request, a lease's end or a report is visible to the back end's tasks that
/// follow from it; what the back end did before it settled, to those who are granted for it.
class SwapRunner {
 public:
  /// Attaches the back end, and starts the thread.
  ///
  /// Throws: std::invalid_argument with the text of `options.validate()` or of the planner; what `attach` throws;
  ///         std::system_error if a thread cannot be made; std::bad_alloc.
  explicit SwapRunner(SwapRunnerOptions options);
  /// Shuts down, waiting for `shutdown_timeout`, and lets go of the back end. Who waits for a ticket gets Unavailable;
  /// tickets, leases and tasks stay good. Not on the runner's thread.
  ///
  /// Blocks: also while the back end holds up the runner's thread.
  ~SwapRunner();
  SwapRunner(const SwapRunner&) = delete;
  SwapRunner& operator=(const SwapRunner&) = delete;

  // Who needs a model.

  /// Asks for `model`, and waits until it is let through. The end of `ctx` takes the request back.
  ///
  /// Blocks:  until the grant, a refusal or the end of `ctx`.
  /// Returns: the lease, or the status of the refusal, as above.
  /// Throws:  as `SwapTicket::wait`; then nothing is held, and nobody waits.
  /// Cost:    if the model is ready and nobody else decides, one allocation and about half a microsecond. If the
  ///          runner's thread has to decide it, two wake-ups: there and back.
  absl::StatusOr<SwapLease> acquire(ModelChoice model, const SwapRequestOptions& options,
                                    const Context& ctx = Context::background());
  absl::StatusOr<SwapLease> acquire(ModelChoice model, const Context& ctx = Context::background()) {
    return acquire(model, SwapRequestOptions{}, ctx);
  }

  /// `co_await runner.async_acquire(...)`: the same for a coroutine. The request is made by this call. The coroutine
  /// may be destroyed while it waits here, which takes the request back.
  [[nodiscard]] SwapAcquireAwaiter async_acquire(ModelChoice model, const SwapRequestOptions& options,
                                                 Context ctx = Context::background());
  [[nodiscard]] SwapAcquireAwaiter async_acquire(ModelChoice model, Context ctx = Context::background());

  /// Asks for `model`, and does not wait.
  ///
  /// Returns: the ticket; NotFound, Unavailable (the runner is being destroyed) or FailedPrecondition (a forked child).
  ///          All other refusals are told to who waits with the ticket.
  /// Throws:  std::bad_alloc. Cost: one allocation, and the decision, or a short lock if somebody else decides.
  absl::StatusOr<SwapTicket> submit(ModelChoice model, const SwapRequestOptions& options = {});

  // Who has models stopped.

  /// Stops `models`, and waits until they have: who waits for them is refused, swaps that bring them up are called off,
  /// and what is being served by them ends with them. `timeout` is for the back end, 0: as each model is set up.
  ///
  /// Blocks:  until the back end has settled, the runner goes, or `ctx` ends; the models are stopped nevertheless.
  /// Returns: OK, also if none of them ran; what the back end said; NotFound, with nothing done, if one is none of the
  ///          table; DeadlineExceeded, Cancelled, Unavailable, FailedPrecondition, as above.
  absl::Status unload(std::span<const ModelId> models, Duration timeout = Duration::zero(),
                      const Context& ctx = Context::background());
  absl::Status unload(ModelChoice model, Duration timeout = Duration::zero(),
                      const Context& ctx = Context::background());
  absl::Status unload_all(Duration timeout = Duration::zero(), const Context& ctx = Context::background());
  /// The same for a coroutine. The models are asked to stop by this call, whether or not it is awaited.
  [[nodiscard]] SwapUnloadAwaiter async_unload(std::span<const ModelId> models, Duration timeout = Duration::zero(),
                                               Context ctx = Context::background());

  /// Ends it for good: refuses all who wait or come, calls the swaps off, has all models stopped, and waits for the
  /// tasks of the back end. May be called again, and by several at once. Leases are not waited for.
  ///
  /// Blocks: until no task is left, or `ctx` ends. On the runner's thread it does not wait.
  SwapShutdownReport shutdown(const Context& ctx = Context::background());

  // What it says.

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] const ModelTable& models() const noexcept;
  [[nodiscard]] Clock& clock() const noexcept;
  /// Whether it has been shut down.
  [[nodiscard]] bool is_closed() const noexcept;
  /// Nobody waits or is served, no task is out, there is no mail, and nobody decides.
  [[nodiscard]] bool is_idle() const noexcept;
  /// What the back end has reported last, as far as the runner has come to it. Cost: one lock.
  [[nodiscard]] ModelState model_state(ModelChoice model) const noexcept;
  [[nodiscard]] SwapRunnerStats stats() const;
  /// Zeros if there is no such model.
  [[nodiscard]] SwapModelStats model_stats(ModelChoice model) const;
  /// Writes the metrics `penstock_swap_...`, with the label runner = name() and, of models that somebody has asked for,
  /// model = its name.
  void collect(MetricSink& sink) const;

 private:
  std::shared_ptr<detail::SwapRunnerCore> core_;
};

/// What `SwapRunner::async_acquire` returns, for `co_await`.
class [[nodiscard]] SwapAcquireAwaiter {
 public:
  /// For the runner: what has become of the submit.
  SwapAcquireAwaiter(absl::StatusOr<SwapTicket> ticket, std::shared_ptr<detail::SwapTicketState> state, Context ctx)
      : ticket_(std::move(ticket)), state_(std::move(state)), wait_(std::move(ctx)) {}

  bool await_ready() noexcept { return state_ == nullptr || wait_.ready(detail::decision_of(*state_)); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(detail::decision_of(*state_), coroutine);
  }
  absl::StatusOr<SwapLease> await_resume();

 private:
  absl::StatusOr<SwapTicket> ticket_;               // cancels it, if the coroutine goes
  std::shared_ptr<detail::SwapTicketState> state_;  // null: it was refused at once
  detail::HappeningWait wait_;
};

/// What `SwapRunner::async_unload` returns, for `co_await`.
class [[nodiscard]] SwapUnloadAwaiter {
 public:
  /// For the runner.
  SwapUnloadAwaiter(absl::StatusOr<std::shared_ptr<detail::SwapUnloadState>> unload, Context ctx)
      : unload_(std::move(unload)), wait_(std::move(ctx)) {}

  bool await_ready() noexcept { return !unload_.ok() || wait_.ready(detail::end_of(**unload_)); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_.suspend(detail::end_of(**unload_), coroutine);
  }
  absl::Status await_resume();

 private:
  absl::StatusOr<std::shared_ptr<detail::SwapUnloadState>> unload_;
  detail::HappeningWait wait_;
};

}  // namespace penstock::inline PENSTOCK_ABI
