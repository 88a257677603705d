// SPDX-License-Identifier: MIT

// Worker pools under every schedule: an accepted job is answered once, a refused one never runs, and nobody waits for
// ever, whatever races.

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using penstock::checker::must_pass_with_pool;
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

/// A pool of one worker without deadlines, unless the scenario is about them.
std::unique_ptr<WorkerPool> make_pool(std::size_t capacity, OverflowPolicy overflow, WorkerPoolOptions options = {}) {
  options.name = "p";
  options.workers = 1;
  options.queue_capacity = capacity;
  options.overflow = overflow;
  options.measure = false;  // histograms are many steps, and have scenarios of their own
  if (options.clock == &Clock::steady()) {
    options.enqueue_timeout = options.queue_wait_limit = Duration::max();
    options.processing_timeout = options.shutdown_timeout = Duration::max();
  }
  const checker::Calm calm;  // the start has scenarios of its own
  auto pool = WorkerPool::create(std::move(options));
  MODEL_ASSERT(pool.ok());
  return *std::move(pool);
}

/// The books at rest.
void check_rest(WorkerPool& pool) {
  const WorkerPoolStats s = pool.stats();
  MODEL_ASSERT(s.submitted == s.accepted + s.rejected + s.enqueue_timeouts + s.enqueue_cancelled + s.refused_closed +
                                  s.enqueue_failures);
  MODEL_ASSERT(s.accepted == s.succeeded + s.failed + s.panicked + s.cancelled + s.queue_expired + s.dropped_oldest +
                                 s.processing_timeouts + s.abandoned);
}

}  // namespace

TEST_CASE("WorkerPool: a submission against a shutdown", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, submit against shutdown"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    int ran = 0;
    OpStatus submitted = OpStatus::kFull;
    world::Thread submitter([&] { submitted = pool->try_submit([&] { ++ran; }); });
    MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    const int ran_by_then = ran;
    submitter.join();
    MODEL_ASSERT(submitted == OpStatus::kOk || submitted == OpStatus::kClosed);
    MODEL_ASSERT(ran_by_then == (submitted == OpStatus::kOk ? 1 : 0));
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: a cancellation against the start", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, cancel against start"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    int ran = 0;
    Job<int> job = pool->submit([&] { return ++ran; }).value();
    job.cancel();
    const absl::StatusOr<int> answer = job.get();
    MODEL_ASSERT(answer.ok() ? *answer == 1 : absl::IsCancelled(answer.status()));
    MODEL_ASSERT(ran == (answer.ok() ? 1 : 0));
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: the caller's cancellation, the job's and the pool's end", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, two cancellations against the end"}, [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    world::Thread canceller;
    Job<absl::Status> job;
    {
      const auto pool = make_pool(1, OverflowPolicy::kReject);
      job =
          pool->submit([](const JobContext& ctx) { return ctx.context.cause(); }, {.context = caller.context}).value();
      canceller = world::Thread([&] {
        caller.source.cancel();
        job.cancel();
      });
    }
    MODEL_ASSERT(job.is_done());
    canceller.join();
    const absl::Status answer = job.get();
    MODEL_ASSERT(answer.ok() || absl::IsCancelled(answer));
  });
}

TEST_CASE("WorkerPool: a blocked submitter, its cancellation and a freed place", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, blocked, cancelled, freed"}, [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    const auto pool = make_pool(0, OverflowPolicy::kBlock);
    int ran = 0;
    MODEL_ASSERT(pool->try_submit([] {}) == OpStatus::kOk);  // the worker is busy with it for a while
    world::Thread canceller([&] { caller.source.cancel(); });
    const auto blocked = pool->submit([&] { ++ran; }, {.context = caller.context});
    canceller.join();
    MODEL_ASSERT(blocked.ok() || absl::IsCancelled(blocked.status()));
    pool->shutdown(Context::background());
    MODEL_ASSERT(blocked.ok() || ran == 0);
    check_rest(*pool);
    MODEL_ASSERT(pool->stats().idle == 1);
  });
}

TEST_CASE("WorkerPool: a submitter about to block against a shutdown", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, blocking against shutdown"}, [] {
    const auto pool = make_pool(0, OverflowPolicy::kBlock);
    detail::Parker gate;
    MODEL_ASSERT(pool->try_submit([&] { gate.park(); }) == OpStatus::kOk);
    world::Thread submitter([&] {
      // The only worker is held up until the shutdown has begun, and nothing is accepted after that.
      MODEL_ASSERT(absl::IsUnavailable(pool->submit([] {}).status()));
    });
    pool->shutdown(Context::background().with_timeout(0s));
    gate.unpark();
    submitter.join();
    pool->shutdown(Context::background());
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: a blocked submitter, its time-out and a freed place", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, blocked, timed out, freed"}, [] {
    ManualClock clock;
    const auto pool = make_pool(0, OverflowPolicy::kBlock,
                                {.enqueue_timeout = 10ms,
                                 .queue_wait_limit = Duration::max(),
                                 .processing_timeout = Duration::max(),
                                 .shutdown_timeout = Duration::max(),
                                 .clock = &clock});
    int ran = 0;
    MODEL_ASSERT(pool->try_submit([] {}) == OpStatus::kOk);
    world::Thread time([&] { clock.advance(10ms); });
    const auto blocked = pool->submit([&] { ++ran; });
    time.join();
    MODEL_ASSERT(blocked.ok() || absl::IsDeadlineExceeded(blocked.status()));
    pool->shutdown(Context::background());
    MODEL_ASSERT(ran == (blocked.ok() ? 1 : 0));
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: two submitters into a queue of one", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, two submitters"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kBlock);
    world::Atomic<int> ran{0};
    const auto submit = [&] { MODEL_ASSERT(pool->submit([&] { ran.fetch_add(1); }).ok()); };
    world::Thread other(submit);
    submit();
    submit();
    other.join();
    MODEL_ASSERT(pool->stats().queue_high_water <= 1);
    MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    MODEL_ASSERT(ran.load() == 3);
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: a deadline in the queue and while running", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, deadlines"}, [] {
    ManualClock clock;
    const auto pool = make_pool(
        1, OverflowPolicy::kReject,
        {.queue_wait_limit = 5ms, .processing_timeout = 5ms, .shutdown_timeout = Duration::max(), .clock = &clock});
    int ran = 0;
    Job<int> job = pool->submit([&] { return ++ran; }).value();
    clock.advance(5ms);
    const absl::StatusOr<int> answer = job.get();
    MODEL_ASSERT(answer.ok() || absl::IsDeadlineExceeded(answer.status()));
    pool->shutdown(Context::background());
    check_rest(*pool);
    const WorkerPoolStats stats = pool->stats();
    MODEL_ASSERT(static_cast<std::uint64_t>(ran) == stats.started);
    MODEL_ASSERT(stats.late_results == stats.processing_timeouts);
  });
}

TEST_CASE("WorkerPool: a shutdown that runs out of time against a job's end", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, shutdown without time"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    const Context::Cancellable closing = Context::background().with_cancel();
    Job<void> running = pool->submit([](const JobContext&) {}).value();
    Job<void> queued;
    static_cast<void>(pool->try_submit([] {}, &queued));
    world::Thread canceller([&] { closing.source.cancel(); });
    const ShutdownReport report = pool->shutdown(closing.context);
    canceller.join();
    MODEL_ASSERT(queued.is_done() || !report.is_drained());
    pool->shutdown(Context::background());
    MODEL_ASSERT(running.is_done() && queued.is_done());
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: two shutdowns at once, and a job", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, two shutdowns"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    int ran = 0;
    MODEL_ASSERT(pool->execute([&] { ++ran; }) == OpStatus::kOk);
    const auto close = [&] { MODEL_ASSERT(pool->shutdown(Context::background()).is_drained()); };
    world::Thread other(close);
    close();
    MODEL_ASSERT(ran == 1);
    other.join();
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: a job that shuts its pool down, and the shutdown from outside", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, shutdown from a job"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    int ran = 0;
    MODEL_ASSERT(pool->execute([&] {
      pool->shutdown(Context::background());
      ++ran;
    }) == OpStatus::kOk);
    const OpStatus second = pool->try_submit([&] { ++ran; });
    MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    MODEL_ASSERT(ran == (second == OpStatus::kOk ? 2 : 1));
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: a job that submits to its pool against a shutdown", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, submit from a job against shutdown"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kBlock);
    int ran = 0;
    OpStatus inner = OpStatus::kFull;
    MODEL_ASSERT(pool->execute([&] { inner = pool->execute([&] { ++ran; }); }) == OpStatus::kOk);
    MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    MODEL_ASSERT(inner == OpStatus::kOk ? ran == 1 : inner == OpStatus::kClosed && ran == 0);
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: posted work and a job for the one worker", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, posted work and a job"}, [] {
    int done = 0;  // both run in the only worker
    {
      const auto pool = make_pool(0, OverflowPolicy::kBlock);
      world::Thread poster([&] { pool->post([&] { ++done; }); });
      MODEL_ASSERT(pool->submit([&] { return ++done; })->get().ok());
      poster.join();
      MODEL_ASSERT(pool->stats().queue_high_water == 0);  // the worker is not taken away from an accepted job
    }
    MODEL_ASSERT(done == 2);
  });
}

TEST_CASE("Job::then: against the answer", "[model][worker_pool][job_then]") {
  must_pass_with_pool({.name = "job, then on its pool against the answer"}, [] {
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    int calls = 0;
    Job<int> job = pool->submit([] { return 20; }).value();
    JoinHandle<int> end = std::move(job).then(*pool, [&](absl::StatusOr<int> answer) {
      ++calls;
      return answer.value() + 1;
    });
    MODEL_ASSERT(end.get() == 21);
    MODEL_ASSERT(calls == 1);
    check_rest(*pool);
  });
  // Here the function is called by whoever comes second: this thread, or the worker with the answer.
  must_pass_with_pool({.name = "job, then where the answer comes"}, [] {
    int calls = 0;
    {
      const auto pool = make_pool(1, OverflowPolicy::kReject);
      Job<int> job = pool->submit([] { return 20; }).value();
      static_cast<void>(std::move(job).then(Executor::inline_executor(), [&](absl::StatusOr<int> answer) {
        MODEL_ASSERT(*answer == 20);
        ++calls;
      }));
    }
    MODEL_ASSERT(calls == 1);  // although nobody has waited for it
  });
}

TEST_CASE("Job::then: against a cancellation", "[model][worker_pool][job_then]") {
  must_pass_with_pool({.name = "job, then against cancel"}, [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    int ran = 0;
    int calls = 0;
    Job<int> job = pool->submit([&] { return ++ran; }, {.context = caller.context}).value();
    world::Thread canceller([&] { caller.source.cancel(); });
    JoinHandle<absl::Status> end =
        std::move(job).then(Executor::inline_executor(), [&](const absl::StatusOr<int>& answer) {
          ++calls;
          return answer.status();
        });
    const absl::Status answer = end.get();
    MODEL_ASSERT(calls == 1);
    MODEL_ASSERT(answer.ok() ? ran == 1 : ran == 0 && absl::IsCancelled(answer));
    canceller.join();
    check_rest(*pool);
  });
}

TEST_CASE("Job::then: against a shutdown without time", "[model][worker_pool][job_then]") {
  must_pass_with_pool({.name = "job, then against shutdown"}, [] {
    const Context::Cancellable closing = Context::background().with_cancel();
    closing.source.cancel();
    const auto pool = make_pool(1, OverflowPolicy::kReject);
    int ran = 0;
    Job<int> job = pool->submit([&] { return ++ran; }).value();
    world::Thread closer([&] { pool->shutdown(closing.context); });
    const absl::Status answer =
        std::move(job)
            .then(Executor::inline_executor(), [](const absl::StatusOr<int>& came) { return came.status(); })
            .get();
    MODEL_ASSERT(answer.ok() ? ran == 1 : ran == 0 && absl::IsCancelled(answer));
    closer.join();
  });
}

TEST_CASE("WorkerPool: posted work and a job that is called off before it is queued", "[model][worker_pool]") {
  must_pass_with_pool({.name = "pool, posted work and a cancelled job"}, [] {
    const auto pool = make_pool(0, OverflowPolicy::kReject);
    const Context::Cancellable caller = Context::background().with_cancel();
    detail::Parker done;
    world::Thread other([&] {
      pool->post([&] { done.unpark(); });
      caller.source.cancel();
    });
    static_cast<void>(pool->try_submit([] {}, nullptr, {.context = caller.context}));
    done.park();  // for ever, if the worker sleeps beside its work
    other.join();
    pool->shutdown(Context::background());
    check_rest(*pool);
  });
}

TEST_CASE("WorkerPool: a thread that cannot be made leaves nothing behind", "[model][worker_pool]") {
  for (std::uint32_t nth = 1; nth <= 4; ++nth) {
    const checker::Result result =
        checker::explore({.name = "pool, no thread", .preemptions = 1, .fail_thread = nth}, [] {
          const auto pool = WorkerPool::create({.name = "p", .workers = 3});
          MODEL_ASSERT(absl::IsResourceExhausted(pool.status()));
        });
    INFO(result.describe());
    CHECK(result.passed());
    CHECK(result.fault_reached);
  }
}

TEST_CASE("WorkerPool: memory that runs out anywhere reaches one caller and leaves nothing behind",
          "[model][worker_pool]") {
  const checker::Result result =
      checker::explore_allocation_failures({.name = "pool, no memory", .preemptions = 0}, [] {
        try {
          auto pool = WorkerPool::create({.name = "p", .workers = 1, .queue_capacity = 1});
          if (!pool.ok()) return;
          const auto submit = [&pool](auto function) {
            try {
              absl::StatusOr<Job<int>> job = (*pool)->submit(function);
              if (job.ok()) return (void)job->get();  // there is an answer, if only a bare status
            } catch (const std::bad_alloc&) {
            }
          };
          submit([](const JobContext&) { return 1; });
          submit([](const JobContext&) -> int { throw 1; });
          (*pool)->post([] {});
          (*pool)->shutdown(Context::background());
          check_rest(**pool);
        } catch (const std::bad_alloc&) {
        }
      });
  INFO(result.describe());
  CHECK(result.passed());
}
