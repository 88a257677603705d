// SPDX-License-Identifier: MIT

// Periodic tasks under every schedule: no call begins once a stop has returned, none that was asked for is lost, nobody
// waits for ever, and no thread is left over, whatever races.

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/periodic_runner.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
namespace world = penstock::detail::world;

namespace {

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 2'000;
  checker::must_pass(options, scenario);
}

/// A runner whose threads have no deadlines.
struct Bench {
  template <class F>
  PeriodicTask every(PeriodicTaskOptions options, F function) {
    auto task = runner.every(std::move(options), std::move(function));
    MODEL_ASSERT(task.ok());
    return *std::move(task);
  }

  ManualClock clock;
  PeriodicRunner runner{PeriodicRunnerOptions{.name = "r", .clock = &clock, .thread_idle_timeout = Duration::max()}};
};

}  // namespace

TEST_CASE("PeriodicTask: a stop against a call that falls due", "[model][periodic_runner]") {
  must_pass({.name = "periodic, stop against due", .preemptions = 1}, [] {
    int ran = 0;
    Bench bench;
    PeriodicTask task = bench.every({.initial_delay = 1s}, [&] { ++ran; });
    world::Thread advancer([&] { bench.clock.advance(1s); });
    task.stop();
    const int ran_by_then = ran;
    advancer.join();
    MODEL_ASSERT(ran == ran_by_then && ran <= 1);
    MODEL_ASSERT(bench.runner.stats().tasks == 0);
  });
}

TEST_CASE("PeriodicTask: run_now, and a new interval, against the end of a call", "[model][periodic_runner]") {
  must_pass({.name = "periodic, run_now against an end", .preemptions = 1}, [] {
    detail::Parker begun;
    Bench bench;
    PeriodicTask task = bench.every({}, [&] { begun.unpark(); });
    begun.park();
    task.run_now();
    MODEL_ASSERT(task.set_interval(1h).ok());
    begun.park();  // not lost
    task.stop();
    MODEL_ASSERT(task.stats().calls == 2);
  });
}

TEST_CASE("PeriodicTask: a stop from within against one from outside", "[model][periodic_runner]") {
  must_pass({.name = "periodic, two stops", .preemptions = 1}, [] {
    auto held = std::make_shared<int>(0);
    Bench bench;
    std::optional<PeriodicTask> task;
    task.emplace(bench.every({.initial_delay = 1s}, [held, &task] { task->stop(); }));
    world::Thread advancer([&] { bench.clock.advance(1s); });
    task->stop();
    MODEL_ASSERT(held.use_count() == 1);  // so the function is gone
    advancer.join();
  });
}

TEST_CASE("PeriodicTask: a stop that gives up against the end of the call", "[model][periodic_runner]") {
  must_pass({.name = "periodic, stop gives up", .preemptions = 1}, [] {
    Bench bench;
    PeriodicTask task = bench.every({}, [] {});
    auto [ctx, source] = Context::background().with_cancel();
    world::Thread canceller([source = source] { source.cancel(); });
    const OpStatus status = task.stop(ctx);
    MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kCancelled);
    canceller.join();
    MODEL_ASSERT(task.stop(Context::background()) == OpStatus::kOk);
  });
}

TEST_CASE("PeriodicRunner: its destructor against a run_now and an abandoned call", "[model][periodic_runner]") {
  must_pass({.name = "periodic, destructor", .preemptions = 1}, [] {
    int ran = 0;
    ManualClock clock;
    PeriodicTask kept;
    std::optional<world::Thread> asker;
    {
      PeriodicRunner runner({.name = "r", .clock = &clock, .thread_idle_timeout = Duration::max()});
      PeriodicTask abandoned = *runner.every({}, [] {});
      kept = *runner.every({.initial_delay = Duration::max()}, [&] { ++ran; });
      asker.emplace([&] { kept.run_now(); });
      abandoned.abandon();
    }
    const int ran_by_then = ran;
    asker->join();
    MODEL_ASSERT(ran == ran_by_then && ran <= 1);
    MODEL_ASSERT(!kept.is_active());
  });
}
