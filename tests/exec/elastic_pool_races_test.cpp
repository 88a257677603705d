// SPDX-License-Identifier: MIT

// What comes between the two halves of a step.

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "exec/elastic_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::eventually;
using testing::Gate;
using testing::is_at_rest;
using testing::OpenAtEnd;

/// Gives other threads time to do what they must not.
template <class Predicate>
void give_time_to(const Predicate& predicate) {
  const auto end = std::chrono::steady_clock::now() + 50ms;
  while (!predicate() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

TEST_CASE("ElasticPool: an end from outside waits for a task that is in an end itself", "[exec][elastic_pool]") {
  std::array<Gate, 3> gates;
  std::atomic<bool> is_task_over{false};
  std::atomic<bool> is_end_over{false};
  ElasticPool pool({.name = "p"});
  Gate& runs = gates[0];
  Gate& held = gates[1];
  bool was_task_over = false;
  ElasticShutdownReport report;
  std::optional<DoneCallback> on_stop;
  std::thread closer;
  {
    OpenAtEnd guard(gates);
    Job<void> other = pool.submit([&](const JobContext& job) {
                            on_stop.emplace(job.context.on_done([&]() noexcept { held.pass(); }));
                            runs.pass();
                          })
                          .value();
    REQUIRE(runs.await(1));
    REQUIRE(pool.execute([&] {
      // It has no time, so it asks the other one to stop, and is held there.
      static_cast<void>(pool.shutdown(Context::background().with_timeout(0s)));
      is_task_over = true;
    }) == OpStatus::kOk);
    REQUIRE(held.await(1));
    closer = std::thread([&] {
      report = pool.shutdown();
      was_task_over = is_task_over;
      is_end_over = true;
    });
    runs.open();
    CHECK(eventually([&] { return pool.worker_count() == 1; }));
    give_time_to([&] { return is_end_over.load(); });
  }
  closer.join();
  on_stop.reset();
  CHECK(was_task_over);
  CHECK(report.in_time);
  CHECK(report.running == 0);
}

TEST_CASE("ElasticPool: tasks that block get workers after a size was followed, too", "[exec][elastic_pool]") {
  ManualClock clock;
  ElasticPoolOptions options{.name = "p", .min_workers = 1, .max_workers = 8, .size = AgileSize{}, .clock = &clock};
  options.size_interval = 1s;
  options.size_buffer = 10;
  options.growth.at_once = 1;
  std::array<Gate, 1> gates;
  ElasticPool pool(options);
  REQUIRE(is_at_rest(pool));  // so that nobody looks out for anything
  OpenAtEnd guard(gates);
  REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(1));
  clock.advance(1s);
  REQUIRE(eventually([&] { return pool.stats().idle == 1; }));
  for (int i = 0; i < 5; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  CHECK(gates[0].await(6));
}

/// Calls something while it is copied.
struct TellsCopies {
  explicit TellsCopies(std::function<void()> hook) : on_copy(std::move(hook)) {}
  TellsCopies(const TellsCopies& other) { other.on_copy(); }
  void operator()() const {}

  std::function<void()> on_copy;
};

TEST_CASE("ElasticPool: a worker that stays for a submission goes later", "[exec][elastic_pool]") {
  for (const TrimPolicy& policy : {TrimPolicy(IdleTimeout{1s, 0}), TrimPolicy(PoisonPill{1s, 0, 0})}) {
    ManualClock clock;
    std::array<Gate, 1> gates;
    ElasticPool pool({.name = "p", .trim = policy, .clock = &clock});
    {
      OpenAtEnd guard(gates);
      REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
      REQUIRE(gates[0].await(1));
      std::size_t left = 0;
      const TellsCopies task([&] {
        gates[0].open();
        if (eventually([&] { return pool.stats().idle == 1; })) clock.advance(1s);
        left = pool.worker_count();
      });
      REQUIRE(pool.execute(task) == OpStatus::kOk);
      CHECK(left == 1);
    }
    REQUIRE(is_at_rest(pool));
    clock.advance(10s);
    CHECK(pool.worker_count() == 0);
  }
}

TEST_CASE("ElasticPool: who takes long over a submission keeps nobody from a worker", "[exec][elastic_pool]") {
  ElasticPoolOptions options{.name = "p"};
  options.growth.at_once = 1;
  std::array<Gate, 1> gates;
  ElasticPool pool(options);
  REQUIRE(pool.submit([] {})->get().ok());
  REQUIRE(is_at_rest(pool));  // one worker, which the submission gets
  OpenAtEnd guard(gates);
  int accepted = 0;
  bool all_run = false;
  const TellsCopies task([&] {
    for (int i = 0; i < 4; ++i) accepted += pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk ? 1 : 0;
    all_run = gates[0].await(4);
  });
  REQUIRE(pool.execute(task) == OpStatus::kOk);
  CHECK(accepted == 4);
  CHECK(all_run);
}

TEST_CASE("ElasticPool: an end whose time is up tells of submissions under way", "[exec][elastic_pool]") {
  ElasticPool pool({.name = "p"});
  ElasticShutdownReport report;
  const TellsCopies task([&] { report = pool.shutdown(Context::background().with_timeout(0s)); });
  REQUIRE(pool.execute(task) == OpStatus::kOk);
  CHECK_FALSE(report.in_time);
  CHECK(report.waiting == 1);
  CHECK(pool.shutdown().in_time);
  CHECK(pool.stats().dropped == 1);
}

/// A manual clock that can hold whoever sets a timer, and notices timers that are set twice.
class WatchedClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return clock_.now(); }
  void start_timers() override { clock_.start_timers(); }
  bool arm(Timer& timer, TimePoint when) noexcept override {
    if (holds.exchange(false)) held.pass();
    if (is_armed.exchange(true)) {
      is_armed_twice = true;
      return true;
    }
    const bool armed = clock_.arm(timer, when);
    if (!armed) is_armed = false;
    return armed;
  }
  void disarm(Timer& timer) noexcept override {
    clock_.disarm(timer);
    is_armed = false;
  }

  std::atomic<bool> holds{false};
  std::atomic<bool> is_armed{false};
  std::atomic<bool> is_armed_twice{false};
  Gate held;

 private:
  ManualClock clock_;
};

TEST_CASE("ElasticPool: a change of the trim policy waits for who sets the timer", "[exec][elastic_pool]") {
  WatchedClock clock;
  std::atomic<bool> is_changed{false};
  ElasticPool pool({.name = "p", .trim = IdleTimeout{1s, 0}, .clock = &clock});
  clock.holds = true;
  REQUIRE(pool.execute([] {}) == OpStatus::kOk);
  REQUIRE(clock.held.await(1));
  absl::Status status;
  std::thread changer([&] {
    status = pool.set_trim(IdleTimeout{2s, 0});
    is_changed = true;
  });
  give_time_to([&] { return is_changed.load(); });
  clock.held.open();
  changer.join();
  CHECK(status.ok());
  CHECK(is_at_rest(pool));
  CHECK(clock.is_armed);
  CHECK_FALSE(clock.is_armed_twice);
}

}  // namespace
}  // namespace penstock
