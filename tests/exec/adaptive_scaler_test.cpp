// SPDX-License-Identifier: MIT

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/adaptive_scaler.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "support/catch.hpp"
#include "support/thread_shortage.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::ContainsSubstring;
using penstock::testing::eventually;
using penstock::testing::Gate;
using penstock::testing::TestPool;
using penstock::testing::text_of;

namespace {

/// A pool that is whatever it is told to be.
class FakePool final : public Scalable {
 public:
  PoolFigures now{.workers = 10, .queue_capacity = 100};
  absl::Status answer;
  bool throws = false;
  std::vector<std::size_t> sizes;
  std::function<void()> inside;

  [[nodiscard]] PoolFigures figures() const override {
    if (throws) throw std::runtime_error("no figures today");
    return now;
  }
  absl::Status resize(std::size_t workers) override {
    sizes.push_back(workers);
    if (inside) inside();
    if (throws_in_resize) throw std::runtime_error("no threads today");
    if (answer.ok()) now.workers = workers;
    return answer;
  }

  bool throws_in_resize = false;
};

struct Scene {
  ManualClock clock;
  FakePool pool;
  AdaptiveScaler scaler;

  explicit Scene(ScalingOptions options = thresholds()) : scaler(pool, with(std::move(options), clock)) {}

  static ScalingOptions with(ScalingOptions options, ManualClock& clock) {
    options.clock = &clock;
    return options;
  }
  static ScalingOptions thresholds() {
    ScalingOptions options;
    options.name = "s";
    options.policy = ScalingPolicy::kThresholds;
    options.min_workers = 2;
    options.max_workers = 40;
    options.up_cooldown = 5s;
    options.down_cooldown = 5s;
    return options;
  }
  ScalingDecision after(Duration time) {
    clock.advance(time);
    return *scaler.evaluate();
  }
};

}  // namespace

TEST_CASE("AdaptiveScaler: does what was decided, and tells", "[exec][scaler]") {
  Scene scene;
  scene.pool.now.queued = 85;
  CHECK(scene.after(4999ms) == ScalingDecision{0, ScalingReason::kCooldown});  // from its making on
  CHECK(scene.after(1ms) == ScalingDecision{5, ScalingReason::kUpQueue});
  CHECK(scene.pool.now.workers == 15);
  scene.pool.now.queued = 50;
  CHECK(scene.after(1s) == ScalingDecision{0, ScalingReason::kHold});
  CHECK(scene.after(1s) == ScalingDecision{0, ScalingReason::kHold});
  scene.pool.now.queued = 0;
  scene.pool.now.started = scene.pool.now.finished = 100;
  scene.pool.now.wait_total = scene.pool.now.run_total = 5s;
  CHECK(scene.after(3s) == ScalingDecision{-5, ScalingReason::kDown});
  CHECK(scene.pool.sizes == std::vector<std::size_t>{15, 10});

  const AdaptiveScalerStats stats = scene.scaler.stats();
  CHECK(stats.evaluations == 5);
  CHECK(stats.scale_ups == 1);
  CHECK(stats.scale_downs == 1);
  CHECK(stats.workers_added == 5);
  CHECK(stats.workers_removed == 5);
  CHECK(stats.last_reason == ScalingReason::kDown);
  CHECK(stats.count(ScalingReason::kHold) == 2);
  CHECK(stats.last_sample.average_response == 100ms);
  CHECK(stats.failures == 0);
  CHECK(stats.last_failure.ok());

  const std::vector<ScalingRecord> history = scene.scaler.history();
  REQUIRE(history.size() == 4);
  CHECK(history[0].reason == ScalingReason::kCooldown);
  CHECK(history[1].delta == 5);
  CHECK(history[1].workers == 10);
  CHECK(history[2].times == 2);
  CHECK(history[2].last - history[2].first == 1s);
  CHECK(history[3].delta == -5);
}

TEST_CASE("AdaptiveScaler: a change that fails is tried again after the cooldown", "[exec][scaler]") {
  Scene scene;
  scene.pool.now.queued = 85;
  scene.pool.answer = absl::ResourceExhaustedError("no thread");
  CHECK(scene.after(5s).delta == 5);
  CHECK(scene.scaler.stats().failures == 1);
  CHECK(scene.scaler.stats().scale_ups == 0);
  CHECK(text_of(scene.scaler.stats().last_failure) == "no thread");
  CHECK(scene.scaler.history().back().failed);
  CHECK(scene.after(1s).reason == ScalingReason::kCooldown);
  CHECK(scene.pool.sizes.size() == 1);
  scene.pool.answer = absl::OkStatus();
  CHECK(scene.after(4s).delta == 5);
  CHECK(scene.scaler.stats().scale_ups == 1);
  CHECK(scene.pool.now.workers == 15);
}

TEST_CASE("AdaptiveScaler: exceptions of the pool are contained and counted", "[exec][scaler]") {
  Scene scene;
  scene.pool.now.queued = 85;
  scene.pool.throws = true;
  CHECK(scene.after(5s) == ScalingDecision{0, ScalingReason::kNoFigures});
  CHECK(scene.scaler.stats().exceptions == 1);
  scene.pool.throws = false;
  scene.pool.throws_in_resize = true;
  CHECK(scene.after(5s).delta == 5);
  CHECK(scene.scaler.stats().exceptions == 2);
  CHECK(scene.scaler.stats().failures == 1);
  CHECK_THAT(text_of(scene.scaler.stats().last_failure), ContainsSubstring("no threads today"));
  scene.pool.throws_in_resize = false;
  CHECK(scene.after(5s).delta == 5);
  CHECK(scene.scaler.stats().scale_ups == 1);
}

TEST_CASE("AdaptiveScaler: one evaluation at a time, and the pool may call it", "[exec][scaler]") {
  Scene scene;
  scene.pool.now.queued = 85;
  bool was_skipped = false;
  scene.pool.inside = [&] {
    was_skipped = !scene.scaler.evaluate().has_value();
    CHECK(scene.scaler.stats().evaluations == 1);
    CHECK(scene.scaler.set_options(Scene::thresholds()).ok());
    CHECK(scene.scaler.history().empty());
  };
  CHECK(scene.after(5s).delta == 5);
  CHECK(was_skipped);
  CHECK(scene.scaler.stats().skipped == 1);
  scene.pool.inside = nullptr;
  CHECK(scene.scaler.evaluate().has_value());
}

TEST_CASE("AdaptiveScaler: keeps to what the pool allows", "[exec][scaler]") {
  Scene scene;
  scene.pool.now.queued = 95;
  scene.pool.now.min_workers = 8;
  scene.pool.now.max_workers = 12;
  CHECK(scene.after(5s).delta == 2);
  CHECK(scene.after(5s).reason == ScalingReason::kAtMax);
  scene.pool.now.min_workers = scene.pool.now.max_workers = 50;  // no number is right for both
  CHECK(scene.after(5s) == ScalingDecision{38, ScalingReason::kIntoBounds});
  CHECK(scene.scaler.options().max_workers == 40);
}

TEST_CASE("AdaptiveScaler: options change live", "[exec][scaler]") {
  Scene scene;
  scene.pool.now.queued = 85;
  CHECK(scene.after(5s).delta == 5);
  ScalingOptions options = scene.scaler.options();
  options.name = "other";
  options.clock = nullptr;  // stays as it was
  options.max_workers = 16;
  options.up_cooldown = 1s;
  CHECK(scene.scaler.set_options(options).ok());
  CHECK(scene.scaler.name() == "s");
  CHECK(scene.scaler.options().name == "s");
  CHECK(scene.after(1s).delta == 1);
  options.up_factor = std::numeric_limits<double>::quiet_NaN();
  const absl::Status refused = scene.scaler.set_options(options);
  CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
  CHECK_THAT(text_of(refused), ContainsSubstring("scaler 's': options.up_factor"));
  CHECK(scene.scaler.options().max_workers == 16);
  options.up_factor = 2;
  options.min_workers = options.max_workers = 3;
  CHECK(scene.scaler.set_options(options).ok());
  CHECK(scene.after(5s) == ScalingDecision{-13, ScalingReason::kIntoBounds});
  CHECK_THROWS_AS(AdaptiveScaler(scene.pool, {.min_workers = 0}), std::invalid_argument);
}

TEST_CASE("AdaptiveScaler: its history has an end", "[exec][scaler]") {
  Scene scene;
  for (int round = 0; round < 100; ++round) {
    scene.pool.now.queued = round % 2 == 0 ? 50 : 85;
    static_cast<void>(scene.after(1s));
  }
  const auto history = scene.scaler.history();
  CHECK(history.size() == AdaptiveScaler::kHistory);
  for (std::size_t i = 1; i < history.size(); ++i) CHECK(history[i - 1].last < history[i].first);
  CHECK(history.back().last == scene.clock.now());
}

TEST_CASE("AdaptiveScaler: a clock that steps back changes nothing", "[exec][scaler]") {
  Scene scene;
  scene.pool.now.queued = 85;
  CHECK(scene.after(5s).delta == 5);
  const TimePoint then = scene.clock.now();
  CHECK(scene.scaler.evaluate(then - 1h)->reason == ScalingReason::kCooldown);
  CHECK(scene.scaler.evaluate(then - 1h + 4s)->reason == ScalingReason::kCooldown);
  CHECK(scene.scaler.evaluate(then - 1h + 5s)->delta > 0);
}

TEST_CASE("AdaptiveScaler: metrics", "[exec][scaler]") {
  Scene scene;
  JsonMetricSink before;
  scene.scaler.collect(before);
  scene.pool.now.queued = 85;
  static_cast<void>(scene.after(5s));
  JsonMetricSink sink;
  scene.scaler.collect(sink);
  const std::string text = sink.text();
  for (const char* name : {"penstock_scaler_evaluations_total", "penstock_scaler_scale_ups_total",
                           "penstock_scaler_scale_downs_total", "penstock_scaler_workers_added_total",
                           "penstock_scaler_workers_removed_total", "penstock_scaler_last_reason"}) {
    CHECK_THAT(text, ContainsSubstring(name));
  }
  CHECK_THAT(text, ContainsSubstring(R"({"labels":{"reason":"up_queue","scaler":"s"},"value":1})"));
  CHECK(sink.refusals() == MetricRefusals{});
}

TEST_CASE("AdaptiveScaler: drives a worker pool up and down", "[exec][scaler]") {
  ManualClock clock;
  Gate gate;
  TestPool pool({.workers = 2,
                 .queue_capacity = 10,
                 .queue_wait_limit = 1h,
                 .processing_timeout = 1h,
                 .clock = &clock,
                 .min_workers = 1,
                 .max_workers = 8,
                 .grow_when_busy = false},
                &gate);
  bool open = false;
  bool limited = false;
  ScalableWorkerPool scalable(*pool, {.breaker_open = [&] { return open; }, .limited = [&] { return limited; }});
  AdaptiveScaler scaler(scalable, {.name = "p", .min_workers = 1, .max_workers = 100, .clock = &clock});

  for (int job = 0; job < 11; ++job) REQUIRE(pool->try_submit([&] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(gate.await(2));
  CHECK(pool->stats().configured == 2);  // it does not grow by itself
  // Nothing is known about the jobs but that nine of them wait for two busy workers.
  open = true;
  clock.advance(1s);
  CHECK(scaler.evaluate()->reason == ScalingReason::kBreakerOpen);
  open = false;
  limited = true;
  clock.advance(1s);
  CHECK(scaler.evaluate()->reason == ScalingReason::kLimited);
  limited = false;
  clock.advance(1s);
  CHECK(*scaler.evaluate() == ScalingDecision{2, ScalingReason::kUpQueue});
  CHECK(pool->stats().live == 4);
  gate.open();
  CHECK(eventually([&] { return pool->stats().succeeded == 11; }));
  for (int second = 0; second < 300; ++second) {
    clock.advance(1s);
    static_cast<void>(scaler.evaluate());
  }
  CHECK(pool->stats().configured == 1);
  CHECK(scaler.stats().last_reason == ScalingReason::kHold);
  CHECK(scaler.stats().count(ScalingReason::kDown) >= 1);
  CHECK(scaler.stats().failures == 0);
}

TEST_CASE("AdaptiveScaler: without measurement only the queue and silence count", "[exec][scaler]") {
  ManualClock clock;
  Gate gate;
  TestPool pool(
      {.workers = 2, .queue_capacity = 4, .clock = &clock, .max_workers = 4, .grow_when_busy = false, .measure = false},
      &gate);
  const ScalableWorkerPool scalable(*pool);
  REQUIRE(pool->try_submit([&] { gate.pass(); }) == OpStatus::kOk);
  REQUIRE(gate.await(1));
  const PoolFigures figures = scalable.figures();
  CHECK(figures.workers == 2);
  CHECK(figures.busy == 1);
  CHECK(figures.arrivals == 1);
  CHECK(figures.finished == 0);
  CHECK(figures.queue_capacity == 4);
  CHECK(figures.min_workers == 2);
  CHECK(figures.max_workers == 4);
}

TEST_CASE("AdaptiveScaler: a pool that was shut down refuses, and that is counted", "[exec][scaler]") {
  ManualClock clock;
  TestPool pool({.workers = 2, .clock = &clock, .min_workers = 1, .max_workers = 4}, nullptr);
  ScalableWorkerPool scalable(*pool);
  AdaptiveScaler scaler(scalable, {.min_workers = 3, .clock = &clock});
  CHECK(pool->shutdown(Context::background()).is_drained());
  clock.advance(1s);
  CHECK(scaler.evaluate()->reason == ScalingReason::kIntoBounds);
  CHECK(scaler.stats().failures == 1);
  CHECK(scaler.stats().last_failure.code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("AdaptiveScaler: is driven by a runner", "[exec][scaler]") {
  Scene scene;
  PeriodicRunner runner({.name = "r", .clock = &scene.clock});
  scene.pool.now.queued = 85;
  CHECK(scene.scaler.start(runner).ok());
  CHECK(scene.scaler.start(runner).code() == absl::StatusCode::kFailedPrecondition);
  CHECK_THAT(text_of(scene.scaler.start(runner)), ContainsSubstring("scaler 's'"));
  const auto looks = [&](std::uint64_t count) {
    return eventually([&] { return scene.scaler.stats().evaluations >= count && runner.stats().running == 0; });
  };
  for (std::uint64_t second = 1; second <= 5; ++second) {
    CHECK(scene.scaler.stats().evaluations == second - 1);
    scene.clock.advance(1s);
    REQUIRE(looks(second));
  }
  CHECK(scene.scaler.stats().scale_ups == 1);
  CHECK(scene.pool.now.workers == 15);

  ScalingOptions options = scene.scaler.options();
  options.interval = 10s;
  CHECK(scene.scaler.set_options(options).ok());
  scene.clock.advance(9s);
  CHECK(scene.scaler.stats().evaluations == 5);
  scene.clock.advance(1s);
  REQUIRE(looks(6));

  // The pool may end it from within.
  scene.pool.inside = [&] { scene.scaler.stop(); };
  scene.clock.advance(10s);
  REQUIRE(looks(7));
  scene.scaler.stop();
  scene.clock.advance(100s);
  CHECK(scene.scaler.stats().evaluations == 7);
  CHECK(runner.stats().tasks == 0);

  scene.pool.inside = nullptr;
  CHECK(scene.scaler.start(runner).ok());
  scene.clock.advance(10s);
  REQUIRE(looks(8));
}

TEST_CASE("AdaptiveScaler: can be ended without waiting for a look that hangs", "[exec][scaler]") {
  Gate gate;
  Scene scene;
  PeriodicRunner runner({.name = "r", .clock = &scene.clock});
  scene.scaler.end();  // nothing to end
  scene.pool.now.queued = 85;
  scene.pool.inside = [&] { gate.pass(); };
  CHECK(scene.scaler.start(runner).ok());
  scene.clock.advance(5s);
  REQUIRE(gate.await(1));
  const std::uint64_t looks = scene.scaler.stats().evaluations;  // the runner may have made it in more than one step
  scene.scaler.end();                                            // or nobody would open the gate
  scene.scaler.end();
  scene.clock.advance(100s);
  CHECK(runner.stats().running == 1);
  SECTION("stop still waits for it") {
    std::atomic<bool> stopped{false};
    std::thread stopper([&] {
      scene.scaler.stop();
      stopped = true;
    });
    CHECK_FALSE(stopped);
    gate.open();
    stopper.join();
    CHECK(scene.scaler.stats().evaluations == looks);
    CHECK(runner.stats().tasks == 0);
  }
  SECTION("it can be started again") {
    gate.open();
    CHECK(scene.scaler.start(runner).ok());
    CHECK(eventually([&] {
      scene.clock.advance(1s);
      return scene.scaler.stats().evaluations > looks;
    }));
  }
}

TEST_CASE("AdaptiveScaler: hands its jitter to the runner", "[exec][scaler]") {
  Scene scene;
  PeriodicRunner runner({.name = "r", .clock = &scene.clock});
  CHECK_THAT(text_of(scene.scaler.start(runner, 1.1)), ContainsSubstring("options.jitter must be in [0, 1], got 1.1"));
  CHECK(runner.stats().tasks == 0);
  CHECK(scene.scaler.start(runner, 1).ok());
}

TEST_CASE("AdaptiveScaler: any name of a scaler is good for a task", "[exec][scaler]") {
  FakePool pool;
  ManualClock clock;
  PeriodicRunner runner({.name = "r", .clock = &clock});
  for (const std::size_t length : {0U, 250U, 251U, 256U}) {
    AdaptiveScaler scaler(pool, {.name = std::string(length, 'n'), .clock = &clock});
    CHECK(scaler.start(runner).ok());
  }
}

TEST_CASE("AdaptiveScaler: may outlive its runner, and be destroyed while it is driven", "[exec][scaler]") {
  ManualClock clock;
  FakePool pool;
  {
    AdaptiveScaler scaler(pool, {.clock = &clock});
    {
      PeriodicRunner runner({.name = "first", .clock = &clock});
      CHECK(scaler.start(runner).ok());
    }
    CHECK(scaler.set_options({.interval = 5s}).ok());
    PeriodicRunner runner({.name = "second", .clock = &clock});
    CHECK(scaler.start(runner).ok());
    clock.advance(5s);
    CHECK(eventually([&] { return scaler.stats().evaluations == 1; }));
    clock.advance(5s);
  }
}

TEST_CASE("AdaptiveScaler: when the system has no thread, a worker is added after the cooldown", "[exec][scaler]") {
  ManualClock clock;
  TestPool pool({.workers = 1, .clock = &clock, .max_workers = 3, .grow_when_busy = false}, nullptr);
  ScalableWorkerPool scalable(*pool);
  AdaptiveScaler scaler(scalable, {.min_workers = 3, .up_cooldown = 5s, .clock = &clock});
  clock.advance(5s);
  {
    const penstock::testing::ThreadShortage shortage(1);
    CHECK(scaler.evaluate()->reason == ScalingReason::kIntoBounds);
  }
  CHECK(scaler.stats().failures == 1);
  CHECK(scaler.stats().last_failure.code() == absl::StatusCode::kResourceExhausted);
  CHECK(pool->stats().configured == 1);  // all or none
  clock.advance(4s);
  CHECK(scaler.evaluate()->reason == ScalingReason::kCooldown);
  clock.advance(1s);
  CHECK(scaler.evaluate()->delta == 2);
  CHECK(pool->stats().live == 3);
  CHECK(scaler.stats().workers_added == 2);
}
