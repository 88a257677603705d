// SPDX-License-Identifier: MIT

// The crew of a worker pool under every schedule: workers that come, go and are replaced while there is work, pauses,
// workers that help, and posted work that is taken back.

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

// A pool is many steps: its schedules with two preemptions are for the long runs.
void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.preemptions = 1;
  options.executions = 5'000;
  checker::must_pass(options, scenario);
}

// Where workers come and go even one preemption is too many schedules, unless the run is a long one.
void must_pass_mostly(checker::Options options, const checker::Scenario& scenario) {
  options.preemptions = 0;
  options.executions = 5'000;
  checker::must_pass(options, scenario);
}

/// A pool without deadlines, unless it has a clock of its own.
std::unique_ptr<WorkerPool> make_pool(WorkerPoolOptions options) {
  options.name = "p";
  options.measure = false;  // histograms are many steps
  if (options.workers == WorkerPoolOptions().workers) options.workers = 1;
  options.shutdown_timeout = Duration::max();
  if (options.clock == &Clock::steady()) {
    options.enqueue_timeout = options.queue_wait_limit = options.processing_timeout = Duration::max();
  }
  const checker::Calm calm;  // the start has scenarios of its own
  auto pool = WorkerPool::create(std::move(options));
  MODEL_ASSERT(pool.ok());
  return *std::move(pool);
}

/// The books, at any time.
WorkerPoolStats check_books(const WorkerPool& pool) {
  const WorkerPoolStats s = pool.stats();
  MODEL_ASSERT(s.submitted == s.accepted + s.rejected + s.dropped_newest + s.enqueue_timeouts + s.enqueue_cancelled +
                                  s.refused_closed + s.enqueue_failures + s.submitting);
  MODEL_ASSERT(s.accepted == s.starting + s.queue_depth + s.running + s.succeeded + s.failed + s.panicked +
                                 s.cancelled + s.queue_expired + s.dropped_oldest + s.shed + s.processing_timeouts +
                                 s.abandoned);
  MODEL_ASSERT(s.live == s.idle + s.busy);
  MODEL_ASSERT(s.live + s.joining == s.configured + s.replacements + s.retiring);
  MODEL_ASSERT(s.running <= s.started && s.overdue <= s.started);
  return s;
}

/// The end: everything is answered, and the books are right. It has scenarios of its own, so it is calm.
WorkerPoolStats end(std::unique_ptr<WorkerPool> pool) {
  const checker::Calm calm;
  MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
  const WorkerPoolStats stats = check_books(*pool);
  MODEL_ASSERT(stats.submitting + stats.starting + stats.queue_depth + stats.running + stats.overdue == 0);
  pool.reset();
  return stats;
}

}  // namespace

TEST_CASE("WorkerPool: a worker more against a job that is waited for", "[model][worker_pool]") {
  must_pass({.name = "pool, resize up against a job"}, [] {
    auto pool = make_pool({.queue_capacity = 2, .max_workers = 2});
    detail::Parker gate;
    MODEL_ASSERT(pool->execute([&] { gate.park(); }) == OpStatus::kOk);
    // Only the second worker can run this one.
    world::Thread submitter([&] { MODEL_ASSERT(pool->execute([&] { gate.unpark(); }) == OpStatus::kOk); });
    MODEL_ASSERT(pool->resize(2).ok());
    check_books(*pool);
    submitter.join();
    MODEL_ASSERT(end(std::move(pool)).succeeded == 2);
  });
}

TEST_CASE("WorkerPool: a worker less against jobs", "[model][worker_pool]") {
  must_pass({.name = "pool, resize down against jobs"}, [] {
    auto pool = make_pool({.workers = 2, .queue_capacity = 2, .min_workers = 1});
    world::Atomic<int> ran{0};
    const auto run = [&] { ran.fetch_add(1, std::memory_order_relaxed); };
    world::Thread submitter([&] { MODEL_ASSERT(pool->execute(run) == OpStatus::kOk); });
    MODEL_ASSERT(pool->remove_workers(1).ok());
    MODEL_ASSERT(pool->execute(run) == OpStatus::kOk);
    submitter.join();
    const WorkerPoolStats stats = end(std::move(pool));
    MODEL_ASSERT(stats.succeeded == 2 && stats.workers_removed == 1);
    MODEL_ASSERT(ran.load(std::memory_order_relaxed) == 2);
  });
}

TEST_CASE("WorkerPool: a worker less against a blocked submitter", "[model][worker_pool]") {
  must_pass({.name = "pool, resize down against a blocked submitter"}, [] {
    auto pool = make_pool({.workers = 2, .queue_capacity = 0, .overflow = OverflowPolicy::kBlock, .min_workers = 1});
    world::Thread submitter([&] {
      for (int i = 0; i < 2; ++i) MODEL_ASSERT(pool->execute([] {}) == OpStatus::kOk);
    });
    MODEL_ASSERT(pool->resize(1).ok());
    submitter.join();
    const WorkerPoolStats stats = end(std::move(pool));
    MODEL_ASSERT(stats.succeeded == 2 && stats.workers_removed == 1);
  });
}

TEST_CASE("WorkerPool: a pool that grows with its work", "[model][worker_pool]") {
  must_pass({.name = "pool, growth"}, [] {
    auto pool = make_pool({.queue_capacity = 2, .max_workers = 2});
    detail::Parker gate;
    detail::Parker started;
    detail::Parker grown;
    {
      const checker::Calm calm;
      MODEL_ASSERT(pool->execute([&] {
        started.unpark();
        gate.park();
      }) == OpStatus::kOk);
      started.park();
    }
    // The only worker is busy, so this one brings a worker along.
    MODEL_ASSERT(pool->execute([&] {
      gate.unpark();
      grown.unpark();
    }) == OpStatus::kOk);
    grown.park();
    check_books(*pool);
    MODEL_ASSERT(end(std::move(pool)).succeeded == 2);
  });
}

TEST_CASE("WorkerPool: a stuck worker is replaced", "[model][worker_pool]") {
  must_pass({.name = "pool, replacement"}, [] {
    ManualClock clock;
    auto pool = make_pool({.queue_capacity = 2,
                           .queue_wait_limit = Duration::max(),
                           .processing_timeout = 5ms,
                           .clock = &clock,
                           .max_replacements = 1});
    detail::Parker gate;
    detail::Parker started;
    detail::Parker replaced;
    {
      const checker::Calm calm;
      MODEL_ASSERT(pool->execute([&] {
        started.unpark();
        gate.park();
      }) == OpStatus::kOk);
      started.park();
    }
    MODEL_ASSERT(pool->execute([&] {
      replaced.unpark();
      gate.unpark();
    }) == OpStatus::kOk);
    clock.advance(5ms);
    replaced.park();
    check_books(*pool);
    const WorkerPoolStats stats = end(std::move(pool));
    MODEL_ASSERT(stats.succeeded == 1 && stats.processing_timeouts == 1 && stats.stuck == 0);
  });
}

TEST_CASE("WorkerPool: jobs against a pause and its end", "[model][worker_pool]") {
  must_pass({.name = "pool, pause and resume"}, [] {
    const auto pool = make_pool({.queue_capacity = 2});
    detail::Parker done;
    world::Thread submitter([&] { MODEL_ASSERT(pool->execute([&] { done.unpark(); }) == OpStatus::kOk); });
    pool->pause();
    check_books(*pool);
    pool->resume();
    done.park();  // for ever, if the job was forgotten over the pause
    submitter.join();
  });
}

TEST_CASE("WorkerPool: a pause against a shutdown", "[model][worker_pool]") {
  must_pass({.name = "pool, pause against shutdown"}, [] {
    const auto pool = make_pool({.queue_capacity = 2});
    world::Thread pauser([&] { pool->pause(); });
    MODEL_ASSERT(pool->execute([] {}) == OpStatus::kOk);
    MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
    pauser.join();
    MODEL_ASSERT(!check_books(*pool).paused);
  });
}

TEST_CASE("WorkerPool: a worker that helps against one that comes for the job", "[model][worker_pool]") {
  must_pass({.name = "pool, help against a worker"}, [] {
    const auto pool = make_pool({.workers = 2, .queue_capacity = 2, .inside_wait = InsideWait::kHelp});
    world::Atomic<int> ran{0};
    Job<void> outer = pool->submit([&] {
                            Job<void> inner =
                                pool->submit([&] { ran.fetch_add(1, std::memory_order_relaxed); }).value();
                            MODEL_ASSERT(inner.get().ok());
                            MODEL_ASSERT(ran.load(std::memory_order_relaxed) == 1);
                          })
                          .value();
    MODEL_ASSERT(outer.get().ok());
    pool->shutdown(Context::background());
    MODEL_ASSERT(check_books(*pool).succeeded == 2);
  });
}

TEST_CASE("WorkerPool: a worker that helps against a cancellation", "[model][worker_pool]") {
  must_pass({.name = "pool, help against cancel"}, [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    const auto pool = make_pool({.queue_capacity = 2, .inside_wait = InsideWait::kHelp});
    int ran = 0;
    Job<void> outer = pool->submit([&] {
                            auto inner = pool->submit([&] { ++ran; }, {.context = caller.context});
                            if (!inner.ok()) return;
                            const absl::Status answer = inner->get();
                            MODEL_ASSERT(answer.ok() ? ran == 1 : ran == 0 && absl::IsCancelled(answer));
                          })
                          .value();
    caller.source.cancel();
    MODEL_ASSERT(outer.get().ok());
    pool->shutdown(Context::background());
    check_books(*pool);
  });
}

TEST_CASE("WorkerPool: posted work that is taken back against a worker", "[model][worker_pool]") {
  must_pass({.name = "pool, revoke against take-in"}, [] {
    struct Count : Work {
      Count() : Work([](Work& work) noexcept { ++static_cast<Count&>(work).runs; }) {}
      int runs = 0;
    };
    Count first;
    Count second;
    bool revoked = false;
    {
      const auto pool = make_pool({.queue_capacity = 1});
      pool->post(first);
      pool->post(second);
      world::Thread submitter([&] { MODEL_ASSERT(pool->execute([] {}) == OpStatus::kOk); });
      revoked = pool->revoke(second);
      submitter.join();
    }
    MODEL_ASSERT(first.runs == 1);
    MODEL_ASSERT(second.runs == (revoked ? 0 : 1));
  });
}

TEST_CASE("WorkerPool: a plain job against its time-out", "[model][worker_pool]") {
  must_pass({.name = "pool, plain job against overrun"}, [] {
    ManualClock clock;
    const auto pool =
        make_pool({.queue_capacity = 1, .queue_wait_limit = 5ms, .processing_timeout = 5ms, .clock = &clock});
    int ran = 0;
    MODEL_ASSERT(pool->execute([&] { ++ran; }) == OpStatus::kOk);
    clock.advance(5ms);
    check_books(*pool);
    pool->shutdown(Context::background());
    const WorkerPoolStats stats = check_books(*pool);
    MODEL_ASSERT(static_cast<std::uint64_t>(ran) == stats.started);
    MODEL_ASSERT(stats.late_results == stats.processing_timeouts && stats.stuck == 0);
    MODEL_ASSERT(stats.succeeded + stats.processing_timeouts + stats.queue_expired == 1);
  });
}

TEST_CASE("WorkerPool: plain jobs against a shutdown without time", "[model][worker_pool]") {
  must_pass({.name = "pool, plain jobs against shutdown"}, [] {
    const auto pool = make_pool({.queue_capacity = 2});
    const Context::Cancellable closing = Context::background().with_cancel();
    world::Thread canceller([&] { closing.source.cancel(); });
    OpStatus accepted[2];
    for (OpStatus& status : accepted) status = pool->execute([] {});
    MODEL_ASSERT(accepted[0] == OpStatus::kOk && accepted[1] == OpStatus::kOk);
    pool->shutdown(closing.context);
    canceller.join();
    check_books(*pool);
    pool->shutdown(Context::background());
    const WorkerPoolStats stats = check_books(*pool);
    MODEL_ASSERT(stats.succeeded + stats.abandoned == 2 && stats.succeeded == stats.started);
  });
}

TEST_CASE("WorkerPool: more places against a blocked submitter", "[model][worker_pool]") {
  must_pass({.name = "pool, capacity against a blocked submitter"}, [] {
    const auto pool = make_pool({.queue_capacity = 0, .overflow = OverflowPolicy::kBlock});
    detail::Parker gate;
    MODEL_ASSERT(pool->execute([&] { gate.park(); }) == OpStatus::kOk);
    world::Thread submitter([&] {
      MODEL_ASSERT(pool->execute([] {}) == OpStatus::kOk);  // no place before there is a queue
      gate.unpark();
    });
    MODEL_ASSERT(pool->set_queue_capacity(1).ok());
    submitter.join();
    pool->shutdown(Context::background());
    MODEL_ASSERT(check_books(*pool).succeeded == 2);
  });
}

TEST_CASE("WorkerPool: a worker that has nothing to do for long against a job", "[model][worker_pool]") {
  must_pass({.name = "pool, idle time-out against a job"}, [] {
    ManualClock clock;
    auto pool = make_pool({.workers = 2,
                           .queue_capacity = 1,
                           .queue_wait_limit = Duration::max(),
                           .processing_timeout = Duration::max(),
                           .clock = &clock,
                           .min_workers = 1,
                           .idle_timeout = 5ms});
    detail::Parker done;
    world::Thread time([&] { clock.advance(5ms); });
    MODEL_ASSERT(pool->execute([&] { done.unpark(); }) == OpStatus::kOk);
    done.park();
    time.join();
    check_books(*pool);
    MODEL_ASSERT(end(std::move(pool)).succeeded == 1);
  });
}

TEST_CASE("WorkerPool: a resize against growth", "[model][worker_pool]") {
  must_pass_mostly({.name = "pool, resize against growth"}, [] {
    auto pool = make_pool({.queue_capacity = 2, .max_workers = 3});
    detail::Parker gate;
    detail::Parker started;
    {
      const checker::Calm calm;
      MODEL_ASSERT(pool->execute([&] {
        started.unpark();
        gate.park();
      }) == OpStatus::kOk);
      started.park();
    }
    MODEL_ASSERT(pool->execute([&] { gate.unpark(); }) == OpStatus::kOk);  // brings a worker along
    MODEL_ASSERT(pool->resize(3).ok());
    MODEL_ASSERT(check_books(*pool).live == 3);
    MODEL_ASSERT(end(std::move(pool)).succeeded == 2);
  });
}

TEST_CASE("WorkerPool: a pool that begins to grow against its end", "[model][worker_pool]") {
  must_pass({.name = "pool, growth against the end"}, [] {
    int ran = 0;
    {
      const auto pool = make_pool({.queue_capacity = 2, .max_workers = 2});
      detail::Parker started;
      detail::Parker gate;
      {
        const checker::Calm calm;
        MODEL_ASSERT(pool->execute([&] {
          started.unpark();
          gate.park();
        }) == OpStatus::kOk);
        started.park();
      }
      MODEL_ASSERT(pool->execute([&] { ++ran; }) == OpStatus::kOk);  // brings a worker along
      gate.unpark();
      MODEL_ASSERT(pool->shutdown(Context::background()).is_drained());
      MODEL_ASSERT(check_books(*pool).succeeded == 2);
    }
    MODEL_ASSERT(ran == 1);
  });
}

TEST_CASE("WorkerPool: a pool whose worker has nothing to do does not grow", "[model][worker_pool]") {
  must_pass({.name = "pool, idle time-out against growth"}, [] {
    ManualClock clock;
    const auto pool = make_pool({.queue_capacity = 1,
                                 .queue_wait_limit = Duration::max(),
                                 .processing_timeout = Duration::max(),
                                 .clock = &clock,
                                 .max_workers = 2,
                                 .idle_timeout = 5ms});
    detail::Parker done;
    world::Thread time([&] { clock.advance(5ms); });
    MODEL_ASSERT(pool->execute([&] { done.unpark(); }) == OpStatus::kOk);
    done.park();
    time.join();
    MODEL_ASSERT(check_books(*pool).workers_added == 0);
  });
}
