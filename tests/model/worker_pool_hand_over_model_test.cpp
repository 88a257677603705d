// SPDX-License-Identifier: MIT

// Jobs that move from one pool to another under every schedule: each is answered once, by one of the pools, and its
// handle finds it wherever it is.

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"

#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

/// Of one worker, and without deadlines unless it is on a clock of its own.
std::unique_ptr<WorkerPool> make_pool(WorkerPoolOptions options = {}) {
  options.workers = 1;
  if (options.overflow == OverflowPolicy::kBlock && options.queue_capacity != 0) {
    options.overflow = OverflowPolicy::kReject;
  }
  if (options.clock == &Clock::steady()) return checker::make_endless_pool(std::move(options));
  options.name = "p";
  options.measure = false;
  options.shutdown_timeout = Duration::max();
  const checker::Calm calm;
  auto pool = WorkerPool::create(std::move(options));
  MODEL_ASSERT(pool.ok());
  return *std::move(pool);
}

/// Keeps the worker of `pool` until `gate` is opened.
void hold(WorkerPool& pool, detail::Parker& gate) {
  const checker::Calm calm;
  detail::Parker started;
  MODEL_ASSERT(pool.execute([&gate, &started] {
    started.unpark();
    gate.park();
  }) == OpStatus::kOk);
  started.park();
}

/// The books at rest.
void check_rest(WorkerPool& pool) {
  const checker::Calm calm;
  const WorkerPoolStats s = pool.stats();
  MODEL_ASSERT(s.submitted == s.accepted + s.rejected + s.enqueue_timeouts + s.enqueue_cancelled + s.refused_closed +
                                  s.enqueue_failures);
  MODEL_ASSERT(s.accepted + s.taken_over == s.succeeded + s.failed + s.panicked + s.cancelled + s.queue_expired +
                                                s.dropped_oldest + s.processing_timeouts + s.abandoned + s.handed_over);
}

void end(WorkerPool& pool) {
  const checker::Calm calm;
  MODEL_ASSERT(pool.shutdown(Context::background()).is_drained());
  check_rest(pool);
}

void must_pass(const char* name, const checker::Scenario& scenario) {
  checker::must_pass({.name = name, .preemptions = 1, .executions = 3'000}, scenario);
}

/// Where threads wake each other so often that even one preemption leaves too many schedules.
void must_pass_at_random(const char* name, const checker::Scenario& scenario) {
  checker::must_pass({.name = name, .preemptions = 0, .executions = 5'000}, scenario);
}

}  // namespace

TEST_CASE("WorkerPool: hand_over against a submission", "[model][worker_pool][hand_over]") {
  must_pass("hand-over against submit", [] {
    const auto old = make_pool();
    const auto next = make_pool();
    int ran = 0;
    OpStatus submitted = OpStatus::kFull;
    world::Thread submitter([&] {
      submitted = old->try_submit([&] { ++ran; });
      if (submitted == OpStatus::kClosed) MODEL_ASSERT(next->try_submit([&] { ++ran; }) == OpStatus::kOk);
    });
    MODEL_ASSERT(old->hand_over(*next).ok());
    submitter.join();
    end(*old);
    end(*next);
    MODEL_ASSERT(ran == 1);
  });
}

TEST_CASE("WorkerPool: hand_over against a cancellation, and the end of the old pool",
          "[model][worker_pool][hand_over]") {
  must_pass("hand-over against cancel", [] {
    detail::Parker gate;
    const auto next = make_pool();
    auto old = make_pool();
    hold(*next, gate);
    int ran = 0;
    Job<int> job = old->submit([&] { return ++ran; }).value();
    bool called_off = false;
    world::Thread canceller([&] { called_off = job.cancel() && job.is_done(); });
    MODEL_ASSERT(old->hand_over(*next)->left == 0);
    old.reset();
    canceller.join();
    gate.unpark();
    const absl::Status answer = job.get().status();
    MODEL_ASSERT(answer.ok() ? ran == 1 : ran == 0 && absl::IsCancelled(answer) && called_off);
    end(*next);
  });
}

TEST_CASE("WorkerPool: hand_over against the caller's cancellation", "[model][worker_pool][hand_over]") {
  must_pass("hand-over against the caller's cancellation", [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    detail::Parker gate;
    detail::Parker other_gate;
    const auto next = make_pool();
    auto old = make_pool();
    hold(*next, gate);
    hold(*old, other_gate);
    int ran = 0;
    MODEL_ASSERT(old->try_submit([&] { ++ran; }, nullptr, {.context = caller.context}) == OpStatus::kOk);
    MODEL_ASSERT(old->execute([&] { ran += 2; }) == OpStatus::kOk);
    world::Thread canceller([&] { caller.source.cancel(); });
    MODEL_ASSERT(old->hand_over(*next)->left == 0);
    other_gate.unpark();
    old.reset();
    canceller.join();
    gate.unpark();
    end(*next);
    MODEL_ASSERT(ran == 2);
  });
}

TEST_CASE("WorkerPool: hand_over against a wait, and one that gives up", "[model][worker_pool][hand_over]") {
  must_pass_at_random("hand-over against get", [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    detail::Parker gate;
    const auto next = make_pool();
    auto old = make_pool();
    hold(*old, gate);
    int ran = 0;
    Job<int> job = old->submit([&] { return ++ran; }).value();
    world::Thread getter([&] {
      if (job.get(caller.context).ok()) return;
      MODEL_ASSERT(job.get().value() == 1);
    });
    caller.source.cancel();  // the text of which names the pool
    MODEL_ASSERT(old->hand_over(*next)->moved == 1);
    gate.unpark();
    old.reset();
    getter.join();
    end(*next);
    MODEL_ASSERT(ran == 1);
  });
}

TEST_CASE("WorkerPool: hand_over against time that runs out", "[model][worker_pool][hand_over]") {
  must_pass_at_random("hand-over against expiry", [] {
    ManualClock clock;
    const WorkerPoolOptions options{.queue_wait_limit = 5ms, .processing_timeout = Duration::max(), .clock = &clock};
    detail::Parker gate;
    const auto next = make_pool(options);
    auto old = make_pool(options);
    hold(*old, gate);
    int ran = 0;
    Job<int> job = old->submit([&] { return ++ran; }).value();
    world::Thread time([&] { clock.advance(5ms); });
    MODEL_ASSERT(old->hand_over(*next)->left == 0);
    gate.unpark();
    old.reset();
    const absl::Status answer = job.get().status();
    MODEL_ASSERT(answer.ok() ? ran == 1 : ran == 0 && absl::IsDeadlineExceeded(answer));
    time.join();
    end(*next);
  });
  must_pass_at_random("hand-over, then expiry", [] {
    ManualClock clock;
    const WorkerPoolOptions options{.queue_wait_limit = 5ms, .processing_timeout = Duration::max(), .clock = &clock};
    detail::Parker gate;
    detail::Parker next_gate;
    const auto next = make_pool(options);
    const auto old = make_pool(options);
    hold(*old, gate);
    hold(*next, next_gate);
    Job<void> job = old->submit([] {}).value();
    MODEL_ASSERT(old->hand_over(*next)->moved == 1);
    clock.advance(5ms);
    MODEL_ASSERT(absl::IsDeadlineExceeded(job.get()));  // for ever, if the new pool does not watch over it
    gate.unpark();
    next_gate.unpark();
    end(*old);
    end(*next);
  });
}

TEST_CASE("WorkerPool: hand_over against a shutdown of the old pool", "[model][worker_pool][hand_over]") {
  const auto scenario = [](bool in_time) {
    const Context::Cancellable closing = Context::background().with_cancel();
    if (!in_time) closing.source.cancel();
    const auto next = make_pool();
    auto old = make_pool();
    int ran = 0;
    Job<int> job = old->submit([&] { return ++ran; }).value();
    world::Thread closer([&] { old->shutdown(closing.context); });
    const auto report = old->hand_over(*next);
    MODEL_ASSERT(report.ok());
    closer.join();
    end(*old);
    const absl::Status answer = job.get().status();
    MODEL_ASSERT(answer.ok() ? ran == 1 : !in_time && ran == 0 && absl::IsCancelled(answer));
    end(*next);
  };
  must_pass("hand-over against shutdown of the old", [&] { scenario(true); });
  must_pass_at_random("hand-over against shutdown of the old, without time", [&] { scenario(false); });
}

TEST_CASE("WorkerPool: hand_over against a shutdown of the successor", "[model][worker_pool][hand_over]") {
  const auto scenario = [](bool in_time) {
    const Context::Cancellable closing = Context::background().with_cancel();
    if (!in_time) closing.source.cancel();
    const auto next = make_pool();
    const auto old = make_pool();
    int ran = 0;
    Job<int> job = old->submit([&] { return ++ran; }).value();
    world::Thread closer([&] { next->shutdown(closing.context); });
    const auto report = old->hand_over(*next);
    MODEL_ASSERT(report.ok() || absl::IsUnavailable(report.status()));
    closer.join();
    end(*next);
    const absl::Status answer = job.get().status();
    MODEL_ASSERT(answer.ok() ? ran == 1 : !in_time && report->moved == 1 && ran == 0 && absl::IsCancelled(answer));
    MODEL_ASSERT((old->try_submit([] {}) == OpStatus::kClosed) == report.ok());
    end(*old);
  };
  must_pass("hand-over against shutdown of the successor", [&] { scenario(true); });
  must_pass_at_random("hand-over against shutdown of the successor, without time", [&] { scenario(false); });
}

TEST_CASE("WorkerPool: hand_over from a job against the end of its pool", "[model][worker_pool][hand_over]") {
  must_pass("hand-over from a job, against the end of the old", [] {
    const auto next = make_pool();
    auto old = make_pool();
    WorkerPool& hands = *old;
    int ran = 0;
    MODEL_ASSERT(old->execute([&] { MODEL_ASSERT(hands.hand_over(*next).ok()); }) == OpStatus::kOk);
    const OpStatus second = old->execute([&] { ++ran; });
    old.reset();
    end(*next);
    MODEL_ASSERT(ran == (second == OpStatus::kOk ? 1 : 0));
  });
  must_pass("hand-over from a job, against the end of the successor", [] {
    auto next = make_pool();
    const auto old = make_pool();
    WorkerPool& to = *next;
    int ran = 0;
    MODEL_ASSERT(next->execute([&] { static_cast<void>(old->hand_over(to)); }) == OpStatus::kOk);
    const OpStatus second = old->execute([&] { ++ran; });
    next.reset();
    end(*old);
    MODEL_ASSERT(ran == (second == OpStatus::kOk ? 1 : 0));
  });
}

TEST_CASE("WorkerPool: hand_over against a resize", "[model][worker_pool][hand_over]") {
  checker::must_pass({.name = "hand-over against resize", .preemptions = 0, .executions = 2'000}, [] {
    const auto next = make_pool({.max_workers = 2});
    const auto old = make_pool({.max_workers = 2});
    int ran = 0;
    MODEL_ASSERT(old->execute([&] { ++ran; }) == OpStatus::kOk);
    world::Thread resizer([&] {
      static_cast<void>(next->resize(2));
      static_cast<void>(old->resize(2));
    });
    MODEL_ASSERT(old->hand_over(*next).ok());
    resizer.join();
    end(*old);
    end(*next);
    MODEL_ASSERT(ran == 1);
  });
}

TEST_CASE("WorkerPool: hand_over in both directions", "[model][worker_pool][hand_over]") {
  must_pass_at_random("hand-over, there and back", [] {
    const auto one = make_pool();
    const auto other = make_pool();
    int ran = 0;
    int ran_there = 0;
    MODEL_ASSERT(one->execute([&] { ++ran; }) == OpStatus::kOk);
    MODEL_ASSERT(other->execute([&] { ++ran_there; }) == OpStatus::kOk);
    bool back = false;
    world::Thread thread([&] { back = other->hand_over(*one).ok(); });
    const bool there = one->hand_over(*other).ok();
    thread.join();
    MODEL_ASSERT(there != back);  // the first one wins
    end(*one);
    end(*other);
    MODEL_ASSERT(ran == 1 && ran_there == 1);
  });
}

TEST_CASE("WorkerPool: hand_over by two threads, and on to a third pool", "[model][worker_pool][hand_over]") {
  must_pass_at_random("hand-over, twice", [] {
    const auto old = make_pool();
    const auto next = make_pool();
    world::Atomic<int> ran{0};  // two workers
    MODEL_ASSERT(old->execute([&] { ran.fetch_add(1); }) == OpStatus::kOk);
    MODEL_ASSERT(old->execute([&] { ran.fetch_add(1); }) == OpStatus::kOk);
    world::Thread thread([&] { MODEL_ASSERT(old->hand_over(*next).ok()); });
    MODEL_ASSERT(old->hand_over(*next).ok());
    thread.join();
    end(*old);
    end(*next);
    MODEL_ASSERT(ran.load() == 2);
  });
  must_pass_at_random("hand-over, in a chain", [] {
    const auto last = make_pool();
    const auto middle = make_pool();
    auto old = make_pool();
    world::Atomic<int> ran{0};
    Job<void> job = old->submit([&] { ran.fetch_add(1); }).value();
    MODEL_ASSERT(middle->execute([&] { ran.fetch_add(1); }) == OpStatus::kOk);
    world::Thread thread([&] { MODEL_ASSERT(middle->hand_over(*last)->left == 0); });
    static_cast<void>(old->hand_over(*middle));
    old.reset();
    thread.join();
    end(*middle);
    MODEL_ASSERT(job.get().ok());
    end(*last);
    MODEL_ASSERT(ran.load() == 2);
  });
}

// Of the successor's only worker, while it waits for what is coming to it.
TEST_CASE("WorkerPool: hand_over of a job that a worker of the successor waits for",
          "[model][worker_pool][hand_over]") {
  const auto scenario = [](InsideWait inside) {
    detail::Parker gate;
    const auto next = make_pool({.inside_wait = inside});
    const auto old = make_pool();
    hold(*old, gate);
    Job<int> job = old->submit([] { return 7; }).value();
    absl::Status waited;
    detail::Parker started;
    MODEL_ASSERT(next->execute([&] {
      started.unpark();
      waited = job.get().status();
    }) == OpStatus::kOk);
    started.park();  // else the job that has moved, being older, would be next
    MODEL_ASSERT(old->hand_over(*next)->moved == 1);
    gate.unpark();
    end(*next);
    if (inside == InsideWait::kHelp) {
      MODEL_ASSERT(waited.ok());
    } else {
      MODEL_ASSERT(absl::IsFailedPrecondition(waited));
      MODEL_ASSERT(job.get().value() == 7);
    }
    end(*old);
  };
  must_pass_at_random("hand-over to a worker that waits and helps", [&] { scenario(InsideWait::kHelp); });
  must_pass_at_random("hand-over to a worker that must not wait", [&] { scenario(InsideWait::kRefuse); });
}

TEST_CASE("WorkerPool: hand_over of a job that a worker of the old pool helps with",
          "[model][worker_pool][hand_over]") {
  must_pass_at_random("hand-over against help", [] {
    const auto next = make_pool();
    const auto old = make_pool({.inside_wait = InsideWait::kHelp});
    int ran = 0;
    MODEL_ASSERT(old->execute([&] {
      Job<int> job = old->submit([&] { return ++ran; }).value_or(Job<int>());
      static_cast<void>(job.get());
    }) == OpStatus::kOk);
    const auto report = old->hand_over(*next);
    MODEL_ASSERT(report.ok());
    end(*old);
    end(*next);
    MODEL_ASSERT(ran <= 1);
  });
}

TEST_CASE("WorkerPool: hand_over against a thread that gets in line", "[model][worker_pool][hand_over]") {
  must_pass_at_random("hand-over against a blocked submitter", [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    detail::Parker gate;
    const auto next = make_pool();
    const auto old = make_pool({.queue_capacity = 0, .overflow = OverflowPolicy::kBlock});
    hold(*old, gate);
    int ran = 0;
    absl::Status submitted;
    world::Thread submitter([&] {
      submitted = old->submit([&] { ++ran; }, {.context = caller.context}).status();
      if (absl::IsUnavailable(submitted)) MODEL_ASSERT(next->submit([&] { ++ran; }).ok());
    });
    world::Thread canceller([&] { caller.source.cancel(); });
    MODEL_ASSERT(old->hand_over(*next)->moved == 0);
    submitter.join();
    canceller.join();
    gate.unpark();
    end(*old);
    end(*next);
    MODEL_ASSERT(absl::IsUnavailable(submitted) ? ran == 1 : ran == 0 && absl::IsCancelled(submitted));
  });
}

TEST_CASE("WorkerPool: hand_over against a coroutine in line, and its cancellation",
          "[model][worker_pool][hand_over]") {
  struct Submit {
    static Task<absl::Status> run(WorkerPool& pool, Context ctx, int& ran) {
      const SubmitOptions options{.context = ctx};
      absl::StatusOr<Job<int>> job = co_await pool.async_submit([&ran] { return ++ran; }, options);
      if (!job.ok()) co_return job.status();
      co_return (co_await *job).status();
    }
  };
  must_pass_at_random("hand-over against a coroutine in line", [] {
    const Context::Cancellable caller = Context::background().with_cancel();
    detail::Parker gate;
    const auto next = make_pool();
    auto old = make_pool({.queue_capacity = 0, .overflow = OverflowPolicy::kBlock});
    hold(*old, gate);
    int ran = 0;
    auto submitted = spawn(Executor::inline_executor(), Submit::run(*old, caller.context, ran));
    world::Thread canceller([&] { caller.source.cancel(); });
    MODEL_ASSERT(old->hand_over(*next)->left == 0);
    gate.unpark();
    const absl::Status answer = submitted.get();
    MODEL_ASSERT(answer.ok() ? ran == 1 : ran == 0 && absl::IsCancelled(answer));
    canceller.join();
    old.reset();
    end(*next);
  });
}
