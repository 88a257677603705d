// SPDX-License-Identifier: MIT

// Coroutines in line for places of a worker pool, under every schedule: a place that is freed is never lost, whatever
// becomes of the coroutine that it is given to, and the books are exact.

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "model/owned.hpp"
#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using penstock::checker::must_pass_with_pool;
using penstock::checker::Owned;
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

/// A pool of one worker without a queue.
std::unique_ptr<WorkerPool> make_pool(Clock& clock = Clock::steady(), Duration enqueue_timeout = Duration::max()) {
  WorkerPoolOptions options;
  options.name = "p";
  options.workers = 1;
  options.queue_capacity = 0;
  options.measure = false;
  options.clock = &clock;
  options.enqueue_timeout = enqueue_timeout;
  options.queue_wait_limit = options.processing_timeout = options.shutdown_timeout = Duration::max();
  const checker::Calm calm;
  auto pool = WorkerPool::create(std::move(options));
  MODEL_ASSERT(pool.ok());
  return *std::move(pool);
}

void check_rest(WorkerPool& pool) {
  const WorkerPoolStats s = pool.stats();
  MODEL_ASSERT(s.submitting == 0);
  MODEL_ASSERT(s.submitted == s.accepted + s.rejected + s.enqueue_timeouts + s.enqueue_cancelled + s.refused_closed +
                                  s.enqueue_failures);
  MODEL_ASSERT(s.accepted == s.succeeded + s.failed + s.panicked + s.cancelled + s.queue_expired + s.dropped_oldest +
                                 s.processing_timeouts + s.abandoned);
}

Owned submit(RunLoop&, WorkerPool& pool, int& ran, absl::Status& status, const SubmitOptions& options) {
  const auto job = co_await pool.async_submit([&ran] { ++ran; }, options);
  status = job.status();
}

Task<absl::Status> submit_one(WorkerPool& pool, int& ran) {
  const auto job = co_await pool.async_submit([&ran] { ++ran; });
  co_return job.status();
}

}  // namespace

TEST_CASE("async_submit: a freed place against a cancellation", "[model][worker_pool]") {
  must_pass_with_pool({.name = "async submit, place against cancellation"}, [] {
    RunLoop loop;
    const Context::Cancellable caller = Context::background().with_cancel();
    const SubmitOptions options{.context = caller.context};
    const auto pool = make_pool();
    int ran = 0;
    absl::Status status = absl::UnknownError("");
    MODEL_ASSERT(pool->try_submit([] {}) == OpStatus::kOk);
    {
      const Owned coroutine = submit(loop, *pool, ran, status, options);
      world::Thread canceller([&] { caller.source.cancel(); });
      canceller.join();
      while (!coroutine.has_ended()) {
        // Cancelled, or accepted: so it comes on by itself, if perhaps a little later.
        if (loop.run_ready() == 0) world::yield();
      }
    }
    MODEL_ASSERT(status.ok() || absl::IsCancelled(status));
    pool->shutdown(Context::background());
    MODEL_ASSERT(status.ok() || ran == 0);
    check_rest(*pool);
    MODEL_ASSERT(pool->stats().idle == 1);
  });
}

TEST_CASE("async_submit: a freed place against the coroutine's destruction", "[model][worker_pool]") {
  must_pass_with_pool({.name = "async submit, place against destruction"}, [] {
    RunLoop loop;
    const SubmitOptions options;
    const auto pool = make_pool();
    int ran = 0;
    int next_ran = 0;
    absl::Status status = absl::UnknownError("");
    absl::Status next_status = absl::UnknownError("");
    detail::Parker gate;
    MODEL_ASSERT(pool->try_submit([&] { gate.park(); }) == OpStatus::kOk);
    Owned coroutine = submit(loop, *pool, ran, status, options);
    const Owned next = submit(loop, *pool, next_ran, next_status, options);
    MODEL_ASSERT(pool->stats().submitting == 2);
    gate.unpark();
    coroutine.destroy();
    while (!next.has_ended()) {  // for ever, if the place is lost with the first one
      if (loop.run_ready() == 0) world::yield();
    }
    MODEL_ASSERT(next_status.ok());
    pool->shutdown(Context::background());
    MODEL_ASSERT(next_ran == 1);
    check_rest(*pool);
  });
}

TEST_CASE("async_submit: a shutdown against a coroutine that waits, or is about to", "[model][worker_pool]") {
  must_pass_with_pool({.name = "async submit, shutdown against wait"}, [] {
    RunLoop loop;
    const SubmitOptions options;
    int ran = 0;
    absl::Status status = absl::UnknownError("");
    std::optional<Owned> coroutine;
    {
      const auto pool = make_pool();
      detail::Parker gate;
      MODEL_ASSERT(pool->try_submit([&] { gate.park(); }) == OpStatus::kOk);
      world::Thread closer([&] {
        pool->shutdown(Context::background().with_timeout(0s));
        gate.unpark();
      });
      coroutine.emplace(submit(loop, *pool, ran, status, options));
      closer.join();
      pool->shutdown(Context::background());
      check_rest(*pool);
      // The pool goes, and needs no coroutine for that.
    }
    loop.run_ready();
    MODEL_ASSERT(coroutine->has_ended());
    MODEL_ASSERT(absl::IsUnavailable(status));
    MODEL_ASSERT(ran == 0);
  });
}

TEST_CASE("async_submit: a coroutine that goes while its pool shuts down", "[model][worker_pool]") {
  must_pass_with_pool({.name = "async submit, shutdown against destruction"}, [] {
    RunLoop loop;
    const Context::Cancellable caller = Context::background().with_cancel();
    const SubmitOptions options{.context = caller.context};
    int ran = 0;
    absl::Status status = absl::UnknownError("");
    world::Thread closer;
    {
      const auto pool = make_pool();
      detail::Parker gate;
      MODEL_ASSERT(pool->try_submit([&] { gate.park(); }) == OpStatus::kOk);
      Owned coroutine = submit(loop, *pool, ran, status, options);
      closer = world::Thread([&] {
        caller.source.cancel();
        gate.unpark();
      });
      world::Thread shutter([&] { pool->shutdown(Context::background()); });
      coroutine.destroy();
      shutter.join();
      closer.join();
      check_rest(*pool);
    }
    MODEL_ASSERT(loop.run_ready() == 0);
    MODEL_ASSERT(ran == 0 || ran == 1);
  });
}

TEST_CASE("async_submit: a time-out, a cancellation and a freed place", "[model][worker_pool]") {
  must_pass_with_pool({.name = "async submit, time-out, cancellation, place"}, [] {
    ManualClock clock;
    RunLoop loop;
    const Context::Cancellable caller = Context(clock).with_cancel();
    const SubmitOptions options{.context = caller.context};
    const auto pool = make_pool(clock, 10ms);
    int ran = 0;
    absl::Status status = absl::UnknownError("");
    MODEL_ASSERT(pool->try_submit([] {}) == OpStatus::kOk);
    {
      const Owned coroutine = submit(loop, *pool, ran, status, options);
      world::Thread canceller([&] { caller.source.cancel(); });
      clock.advance(10ms);
      canceller.join();
      while (!coroutine.has_ended()) {
        if (loop.run_ready() == 0) world::yield();
      }
    }
    MODEL_ASSERT(status.ok() || absl::IsCancelled(status) || absl::IsDeadlineExceeded(status));
    pool->shutdown(Context::background());
    MODEL_ASSERT(status.ok() || ran == 0);
    check_rest(*pool);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("async_submit: a coroutine of the pool and a thread in line for its one worker", "[model][worker_pool]") {
  must_pass_with_pool({.name = "async submit, on the pool, and a thread"}, [] {
    int ran = 0;  // in the one worker
    const auto pool = make_pool();
    auto first = spawn(*pool, submit_one(*pool, ran));
    world::Thread thread([&] { MODEL_ASSERT(pool->submit([&ran] { ++ran; }).ok()); });
    MODEL_ASSERT(first.get().ok());
    thread.join();
    MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    MODEL_ASSERT(ran == 2);
    check_rest(*pool);
  });
}
