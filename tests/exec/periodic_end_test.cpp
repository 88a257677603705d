// SPDX-License-Identifier: MIT

// How the tasks of a periodic runner end, what their calls are told of it, and what goes wrong on the way.

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/metrics/prometheus_writer.hpp"

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/forked.hpp"
#include "support/gate.hpp"
#include "support/sleep_under.hpp"
#include "support/status_text.hpp"
#include "support/thread_shortage.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::OpenAtEnd;
using penstock::testing::sleep_under;
using penstock::testing::text_of;
using penstock::testing::ThreadShortage;

namespace {

bool settle(const PeriodicTask& task, std::uint64_t calls) {
  return eventually([&] {
    const PeriodicTaskStats stats = task.stats();
    return stats.calls >= calls && !stats.is_running;
  });
}

}  // namespace

// --- stop ---

TEST_CASE("PeriodicTask: stop ends the context and waits for the call", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  std::atomic<bool> is_over{false};
  std::atomic<int> inside{0};
  std::string cause;
  PeriodicTask task = *runner.every({.name = "t"}, [&](const Context& ctx) {
    ++inside;
    sleep_under(ctx);
    cause = text_of(ctx.cause());
    is_over = true;
  });
  REQUIRE(eventually([&] { return inside == 1; }));
  CHECK(task.is_active());
  task.stop();
  CHECK(is_over);
  CHECK(cause == "periodic task 't': stopped");
  CHECK_FALSE(task.is_active());
  CHECK(runner.stats().tasks == 0);
  clock.advance(1h);
  task.run_now();
  task.stop();
  CHECK(task.stats().calls == 1);
  CHECK(task.stats().overruns == 0);
}

TEST_CASE("PeriodicTask: stop gives up waiting when its context ends", "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({}, [&] { gates[0].pass(); });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  CHECK(task.stop(Context::background().with_timeout(0s)) == OpStatus::kTimedOut);
  auto [ctx, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(task.stop(ctx) == OpStatus::kCancelled);
  gates[0].open();
  CHECK(task.stop(Context::background()) == OpStatus::kOk);
}

TEST_CASE("PeriodicTask: the function is destroyed before stop returns, and by an idle stop itself",
          "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  auto held = std::make_shared<int>(1);
  PeriodicTask task = *runner.every({}, [held] {});
  REQUIRE(settle(task, 1));
  CHECK(held.use_count() == 2);
  task.stop();
  CHECK(held.use_count() == 1);

  std::array<Gate, 1> gates;
  PeriodicTask running = *runner.every({}, [held, &gates] { gates[0].pass(); });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  std::thread opener([&] { gates[0].open(); });
  running.stop();
  CHECK(held.use_count() == 1);
  opener.join();
}

TEST_CASE("PeriodicTask: stopped and destroyed by its own call", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  auto held = std::make_shared<int>(1);
  std::optional<PeriodicTask> task;
  std::atomic<bool> told{false};
  task.emplace(*runner.every({.initial_delay = 1s}, [&told, &task, held](const Context& ctx) {
    task->stop();
    task.reset();
    told = ctx.status() == OpStatus::kCancelled;
  }));
  clock.advance(1s);
  CHECK(eventually([&] { return held.use_count() == 1; }));
  CHECK(eventually([&] { return runner.stats().tasks == 0; }));
  CHECK(told);
  CHECK(runner.stats().calls == 1);
}

TEST_CASE("PeriodicTask: destroyed by the destructor of its function", "[exec][periodic_runner]") {
  struct Owner {
    PeriodicTask task;
    std::atomic<int>* ends;
    ~Owner() {
      task.stop();
      ++*ends;
    }
  };
  ManualClock clock;
  std::atomic<int> ends{0};
  PeriodicRunner runner({.clock = &clock});
  auto owner = std::make_shared<Owner>();
  owner->ends = &ends;
  // By an idle stop.
  owner->task = *runner.every({}, [owner] {});
  REQUIRE(settle(owner->task, 1));
  std::exchange(owner, nullptr)->task.stop();
  CHECK(ends == 1);
  // By the thread of its call.
  owner = std::make_shared<Owner>();
  owner->ends = &ends;
  owner->task = *runner.every({.initial_delay = 1s}, [owner] { owner->task.stop(); });
  owner = nullptr;
  clock.advance(1s);
  CHECK(eventually([&] { return ends == 2; }));
}

TEST_CASE("PeriodicTask: two that stop the same one, and a handle that is assigned", "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({}, [&] { gates[0].pass(); });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  std::atomic<int> returned{0};
  std::thread other([&] {
    task.stop();
    ++returned;
  });
  gates[0].open();
  task.stop();
  other.join();
  CHECK(returned == 1);
  task = *runner.every({.name = "next"}, [] {});
  REQUIRE(settle(task, 1));
  CHECK(task.options().name == "next");
  task = PeriodicTask();
  CHECK(runner.stats().tasks == 0);
}

TEST_CASE("PeriodicTask: an abandoned one is waited for by the runner", "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  std::atomic<bool> is_over{false};
  std::optional<PeriodicRunner> runner;
  runner.emplace(PeriodicRunnerOptions{.clock = &clock});
  PeriodicTask task = *runner->every({}, [&] {
    gates[0].pass();
    is_over = true;
  });
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  task.abandon();
  CHECK_FALSE(task.is_active());
  CHECK(runner->stats().tasks == 1);
  std::thread opener([&] { gates[0].open(); });
  runner.reset();
  CHECK(is_over);
  opener.join();
}

TEST_CASE("PeriodicRunner: its destructor ends contexts first, and handles outlive it", "[exec][periodic_runner]") {
  ManualClock clock;
  std::atomic<int> inside{0};
  std::atomic<int> ended{0};
  PeriodicTask first;
  PeriodicTask second;
  PeriodicTask idle;
  {
    PeriodicRunner runner({.clock = &clock});
    const auto call = [&](const Context& ctx) {
      ++inside;
      sleep_under(ctx);
      ++ended;
    };
    first = *runner.every({.name = "first"}, call);
    second = *runner.every({.name = "second"}, call);
    idle = *runner.every({.initial_delay = 1h}, [] {});
    REQUIRE(eventually([&] { return inside == 2; }));
  }
  CHECK(ended == 2);
  CHECK_FALSE(first.is_active());
  CHECK(first.options().name == "first");
  CHECK(first.stats().calls == 1);
  first.run_now();
  CHECK(first.set_interval(1s).ok());
  first.stop();
  idle.stop();
  second.abandon();
}

// --- the context ---

TEST_CASE("PeriodicRunner: the context of a call ends at its time-out", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  std::atomic<int> inside{0};
  std::atomic<int> timed_out{0};
  PeriodicTask task = *runner.every({.interval = 1h, .timeout = 5s}, [&](const Context& ctx) {
    ++inside;
    sleep_under(ctx);
    timed_out += ctx.status() == OpStatus::kTimedOut ? 1 : 0;
  });
  REQUIRE(eventually([&] { return inside == 1 && clock.armed() == 1; }));
  clock.advance(5s - 1ns);
  CHECK(timed_out == 0);
  clock.advance(1ns);
  REQUIRE(settle(task, 1));
  CHECK(timed_out == 1);
  CHECK(task.stats().timeouts == 1);
  CHECK(task.stats().longest == 5s);
  PeriodicTaskOptions options = task.options();
  options.timeout = 7s;
  REQUIRE(task.set_options(options).ok());
  CHECK(task.stats().next_due == ManualClock().now() + 1h);
  task.run_now();
  REQUIRE(eventually([&] { return inside == 2 && clock.armed() == 1; }));
  clock.advance(7s);
  REQUIRE(settle(task, 2));
  CHECK(task.stats().longest == 7s);
}

// --- what goes wrong ---

TEST_CASE("PeriodicRunner: exceptions are contained, counted and told", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  PeriodicTask task = *runner.every({.interval = 1s}, [n = 0]() mutable {
    if (++n == 1) throw std::runtime_error("boom");
    if (n == 2) throw 7;
  });
  REQUIRE(settle(task, 1));
  CHECK(task.stats().exceptions == 1);
  CHECK(task.stats().last_exception == "std::runtime_error: boom");
  clock.advance(1s);
  REQUIRE(settle(task, 2));
  CHECK(task.stats().exceptions == 2);
  clock.advance(1s);
  REQUIRE(settle(task, 3));
  CHECK(task.stats().exceptions == 2);
  CHECK(runner.stats().exceptions == 2);
  CHECK(task.stats().calls == 3);
}

TEST_CASE("PeriodicRunner: where the system has no thread, it is tried again an interval later",
          "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  {
    const ThreadShortage none(0);
    const auto refused = runner.every({.name = "t"}, [] {});
    CHECK(absl::IsResourceExhausted(refused.status()));
    CHECK(runner.stats().tasks == 0);
  }
  std::optional<PeriodicTask> task;
  {
    const ThreadShortage only_the_scheduler(1);
    task.emplace(*runner.every({.name = "t", .interval = 1s}, [] {}));
    REQUIRE(eventually([&] { return task->stats().start_failures == 1; }));
    clock.advance(1s);
    REQUIRE(eventually([&] { return task->stats().start_failures == 2; }));
    CHECK(task->stats().calls == 0);
    CHECK_FALSE(task->stats().is_running);
  }
  clock.advance(1s);
  REQUIRE(settle(*task, 1));
  CHECK(runner.stats().start_failures == 2);
  CHECK(runner.stats().missed == 0);
}

TEST_CASE("PeriodicRunner: beginning a task where memory runs out begins nothing", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.clock = &clock});
  {
    const PeriodicTask first = *runner.every({}, [] {});
  }
  auto held = std::make_shared<int>(1);
  const auto begin = [&] { static_cast<void>(runner.every({.initial_delay = 1h}, [held] {})); };
  const auto check = [&] {
    CHECK(runner.stats().tasks == 0);
    CHECK(held.use_count() == 1);
  };
  CHECK(penstock::testing::failures_of(begin, check) >= 3);
}

TEST_CASE("PeriodicRunner: bad options are refused, all that is wrong at once", "[exec][periodic_runner]") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  PeriodicRunner runner;
  const auto refused =
      runner.every({.name = "", .interval = 0s, .jitter = kNan, .initial_delay = -1s, .timeout = 0s}, [] {});
  REQUIRE(absl::IsInvalidArgument(refused.status()));
  CHECK(text_of(refused.status()) ==
        "periodic task '': options.name must be 1 to 256 bytes, got 0; options.interval must be positive, got 0 s; "
        "options.jitter must be in [0, 1], got nan; options.initial_delay must be at least 0 s, got -1 s; "
        "options.timeout must be positive, got 0 s");
  for (const double jitter : {-0.1, 1.1, std::numeric_limits<double>::infinity()}) {
    CHECK(absl::IsInvalidArgument(runner.every({.jitter = jitter}, [] {}).status()));
  }
  const std::function<void()> empty;
  CHECK(text_of(runner.every({.name = "t"}, empty).status()) == "periodic task 't': there is no function to call");
  CHECK(runner.stats() == PeriodicRunnerStats{});

  PeriodicTask task = *runner.every({.name = "t", .interval = 1h}, [] {});
  CHECK(text_of(task.set_interval(-1s)) == "periodic task 't': options.interval must be positive, got -1 s");
  CHECK(task.options().interval == 1h);
  CHECK_THROWS_AS(PeriodicRunner({.name = std::string(257, 'x')}), std::invalid_argument);
  CHECK_THROWS_AS(PeriodicRunner({.clock = nullptr}), std::invalid_argument);
  CHECK_THROWS_AS(PeriodicRunner({.thread_idle_timeout = -1s}), std::invalid_argument);
}

TEST_CASE("PeriodicTask: without a task nothing has an effect", "[exec][periodic_runner]") {
  PeriodicTask none;
  none.run_now();
  none.stop();
  none.abandon();
  CHECK(none.stop(Context::background()) == OpStatus::kOk);
  CHECK(none.set_interval(1s).ok());
  CHECK_FALSE(none.is_active());
  CHECK(none.options().name.empty());
  CHECK(none.stats() == PeriodicTaskStats{});
}

// --- figures ---

TEST_CASE("PeriodicRunner: metrics carry the runner's and the task's name", "[exec][periodic_runner]") {
  ManualClock clock;
  PeriodicRunner runner({.name = "r", .clock = &clock});
  PeriodicTask task = *runner.every({.name = "purge", .interval = 1s}, [] {});
  PeriodicTask namesake = *runner.every({.name = "purge", .interval = 1s, .initial_delay = 1h}, [] {});
  REQUIRE(settle(task, 1));
  PrometheusWriter writer;
  runner.collect(writer);
  const std::string text = writer.text();
  const auto has = [&text](const std::string& line) { return text.find(line) != std::string::npos; };
  CHECK(has("penstock_periodic_tasks{runner=\"r\"} 2\n"));
  CHECK(has("penstock_periodic_running{runner=\"r\"} 0\n"));
  CHECK(has("penstock_periodic_calls_total{runner=\"r\",task=\"purge\"} 1\n"));
  CHECK(has("penstock_periodic_overruns_total{runner=\"r\",task=\"purge\"} 0\n"));
  CHECK(has("penstock_periodic_start_failures_total{runner=\"r\",task=\"purge\"} 0\n"));
}

#if PENSTOCK_TEST_FORKS
TEST_CASE("PeriodicRunner: in a forked child nothing begins, runs or is waited for", "[exec][periodic_runner]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  auto runner = std::make_unique<PeriodicRunner>(PeriodicRunnerOptions{.name = "r", .clock = &clock});
  auto task = std::make_unique<PeriodicTask>(*runner->every({.name = "t"}, [&] { gates[0].pass(); }));
  const OpenAtEnd open(gates);
  REQUIRE(gates[0].await(1));
  const int broken_law = penstock::testing::answer_of_child([&] {
    if (!absl::IsFailedPrecondition(runner->every({}, [] {}).status())) return 1;
    if (runner->stats() != PeriodicRunnerStats{} || task->is_active()) return 2;
    task->run_now();
    if (!task->set_interval(1s).ok()) return 3;
    task->stop();
    task.reset();
    runner.reset();
    return 0;
  });
  CHECK(broken_law == 0);
  gates[0].open();
  REQUIRE(settle(*task, 1));
  task->stop();
}
#endif
